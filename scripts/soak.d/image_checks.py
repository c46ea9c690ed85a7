#!/usr/bin/env python3
"""What scripts/soak.d/image.sh checks: image_checks.py ARCHIVE DIRECTORY, as root, in namespaces.

The files of the image, and the image run by podman: with a root that is read-only, as its own user, as arbitrary users of group 0
on one volume (as OpenShift does it), with a configuration file, and with podman's health check. Then docker runs it.
"""
import json
import os
import pathlib
import resource
import socket
import stat
import subprocess
import sys
import tarfile
import time
import urllib.request

MAXIMUM_BYTES = 60 << 20
# Programs that nothing in the image may be named like.
UNWANTED = {
    "apk", "apt", "apt-get", "ash", "awk", "bash", "busybox", "cat", "csh", "curl", "dash", "dpkg", "env", "fish", "ksh", "ls",
    "microdnf", "openssl", "perl", "pip", "python3", "rpm", "sh", "su", "sudo", "tar", "wget", "yum", "zsh",
}
PATIENCE_SECONDS = 60


def fail(text):
    sys.exit(f"image: {text}")


def expect(what, actual, wanted):
    if actual != wanted:
        fail(f"{what}: {actual!r}, not {wanted!r}")
    print(f"image: {what}: {actual}")


def run(*command, check=True, **options):
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, **options)
    if check and result.returncode != 0:
        fail(f"{' '.join(command)}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result


def until(what, condition):
    for _ in range(PATIENCE_SECONDS * 10):
        if condition():
            return
        time.sleep(0.1)
    fail(f"not in time: {what}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# What is in it


def check_files(archive):
    """The files of the one layer."""
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))[0]
        expect("layers", len(manifest["Layers"]), 1)
        with tarfile.open(fileobj=image.extractfile(manifest["Layers"][0])) as layer:
            entries = layer.getmembers()
            elf = [e.name for e in entries if e.isfile() and layer.extractfile(e).read(4) == b"\x7fELF"]
    size = sum(entry.size for entry in entries if entry.isfile())
    print(f"image: {len(entries)} files and directories, {size / (1 << 20):.1f} MiB unpacked")
    if size > MAXIMUM_BYTES:
        fail(f"more than {MAXIMUM_BYTES >> 20} MiB unpacked")
    expect("programs of other images", [e.name for e in entries if not e.isdir() and os.path.basename(e.name) in UNWANTED], [])
    programs = [e.name for e in entries if e.isfile() and e.mode & 0o111 and e.name not in elf]
    expect("executables that are not ELF", programs, [])
    others = [n for n in elf if ".so" not in os.path.basename(n)]
    expect("programs", others, ["usr/bin/ociregistry"])
    expect("setuid and setgid files", [e.name for e in entries if e.isfile() and e.mode & 0o6000], [])
    writable = {e.name: oct(e.mode & 0o7777) for e in entries if not e.issym() and e.mode & 0o022}
    expect("writable by group or others", writable, {"tmp": "0o1777", "var/lib/ociregistry": "0o2775"})
    owned = {e.name: (e.uid, e.gid) for e in entries if (e.uid, e.gid) != (0, 0)}
    expect("owned by others than root", owned, {"var/lib/ociregistry": (65532, 0)})
    expect("times", len({e.mtime for e in entries}), 1)
    hashed = [e.name for e in entries if e.name.startswith("etc/ssl/certs/") and e.name.endswith(".0")]
    print(f"image: {len(hashed)} certificate authorities")
    if len(hashed) < 100:
        fail("certificate authorities are missing")


# podman


class Podman:
    """podman with storage and configuration of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        home = self.directory / "home"
        (home / ".config/containers").mkdir(parents=True)
        (home / ".config/containers/policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        (home / "containers.conf").write_text(
            '[engine]\nlock_type = "file"\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\n'
            '[containers]\nlog_driver = "k8s-file"\n')
        (home / "tmp").mkdir()
        self.environment = os.environ | {
            "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home / "tmp"),
            "CONTAINERS_CONF": str(home / "containers.conf")}

    def __call__(self, *arguments, check=True):
        options = ["--root", f"{self.directory}/s", "--runroot", f"{self.directory}/run", "--tmpdir", f"{self.directory}/t",
                   "--storage-driver", "vfs", "--runtime", "crun"]
        return run("podman", *options, *arguments, check=check, env=self.environment)

    def options(self):
        """Limits that a machine without CAP_SYS_RESOURCE can set: by default podman raises them."""
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] % (1 << 63), 1 << 20)
        most = int(pathlib.Path("/proc/sys/kernel/pid_max").read_text())
        processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[1] % (1 << 63), most)
        return ["--cgroups=disabled", "--network=host", f"--ulimit=nofile={files}:{files}",
                f"--ulimit=nproc={processes}:{processes}"]


class Container:
    """A server in a container, with a root that is read-only."""

    def __init__(self, podman, image, *command, options=()):
        self.podman = podman
        created = podman("run", "--detach", "--read-only", "--read-only-tmpfs=false", *podman.options(), *options, image, *command)
        self.id = created.stdout.strip()

    def log(self):
        result = self.podman("logs", self.id)
        return result.stdout + result.stderr

    def address(self):
        """Where it listens, once it does."""
        mark = "listening on http://"
        until("a start in the container", lambda: mark in self.log() or self.state("Running") != "true")
        if mark not in self.log():
            fail(f"the server in the container has ended:\n{self.log()}")
        port = self.log().split(mark)[1].split("\n")[0].rsplit(":", 1)[1]
        return f"127.0.0.1:{port}"

    def state(self, name):
        return self.podman("inspect", "--format", "{{.State.%s}}" % name, self.id).stdout.strip()

    def user(self):
        status = pathlib.Path(f"/proc/{self.state('Pid')}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        return fields["Uid"].split()[0], fields["Gid"].split()[0]

    def health(self):
        """podman's health check: its status, and what the last check printed."""
        result = self.podman("healthcheck", "run", self.id, check=False)
        inspected = json.loads(self.podman("inspect", self.id).stdout)[0]["State"]
        health = inspected.get("Health") or inspected.get("Healthcheck")
        return result.returncode, health["Log"][-1]["Output"].strip()

    def stop(self):
        self.podman("stop", "--time", "40", self.id)
        status = self.state("ExitCode")
        self.podman("rm", "--force", "--volumes", self.id)
        return status


class Docker:
    """A dockerd over a containerd of its own, without networks."""

    def __init__(self, directory):
        place = pathlib.Path(directory) / "docker"
        place.mkdir()
        (place / "containerd.toml").write_text(
            f'version = 2\nroot = "{place}/c"\nstate = "{place}/cs"\n[grpc]\naddress = "{place}/containerd.sock"\n')
        (place / "daemon.json").write_text("{}")
        self.host = f"unix://{place}/docker.sock"
        self.log = place / "log"
        self.processes = [self.start("containerd", "--config", f"{place}/containerd.toml")]
        until("containerd", (place / "containerd.sock").exists)
        self.processes.append(self.start(
            "dockerd", "--config-file", f"{place}/daemon.json", "--host", self.host, "--data-root", f"{place}/data",
            "--exec-root", f"{place}/exec", "--pidfile", f"{place}/pid", "--containerd", f"{place}/containerd.sock",
            "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
            "--ip-masq=false"))
        until("dockerd", lambda: self("version", check=False).returncode == 0)

    def start(self, *command):
        with self.log.open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def __call__(self, *arguments, check=True):
        return run("docker", "--host", self.host, *arguments, check=check)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(PATIENCE_SECONDS)


class Registry:
    """A docker-registry as upstream."""

    def __init__(self, directory):
        self.port = free_port()
        configuration = pathlib.Path(directory) / "registry.yml"
        configuration.write_text(
            f'version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: "{directory}/registry"}}}}\n'
            f'http: {{addr: "127.0.0.1:{self.port}", secret: test}}\n')
        self.process = subprocess.Popen(
            ["docker-registry", "serve", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("docker-registry", lambda: answers(f"http://127.0.0.1:{self.port}/v2/"))

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return response.status == 200
    except OSError:
        return False


def skopeo(*arguments):
    return run("skopeo", "--insecure-policy", *arguments)


def check_defaults(podman, image, directory):
    """As the image has it: its user, its command, an anonymous volume."""
    port = str(free_port())
    container = Container(podman, image, "serve", "--host", "127.0.0.1", "--port", port, "--hello-world")
    address = container.address()
    expect("default user and group", container.user(), ("65532", "0"))
    name = f"docker://{address}/docker.io/library/hello-world:latest"
    skopeo("copy", "--quiet", "--src-tls-verify=false", name, f"oci:{directory}/hello:latest")
    print("image: skopeo has pulled hello-world")
    expect("health check", container.health(), (0, f"healthy: http://127.0.0.1:{port}/v2/: {{}}"))
    # The process exists and does not answer.
    podman("kill", "--signal", "STOP", container.id)
    status, text = container.health()
    podman("kill", "--signal", "CONT", container.id)
    expect("health check of a server that hangs", status, 1)
    print(f"image: it says: {text}")
    # Only the volume can be written to.
    refused = podman("exec", container.id, "/usr/bin/ociregistry", "--image-path", "/cache", "serve", "--port", "0", check=False)
    expect("a cache outside the volume", (refused.returncode, "Read-only file system" in refused.stderr), (1, True))
    for shell in ("/bin/sh", "/bin/bash", "/usr/bin/sh"):
        expect(f"podman exec {shell}", podman("exec", container.id, shell, "-c", "true", check=False).returncode, 127)
    expect("status after a stop", container.stop(), "0")


def check_configuration(podman, image, directory):
    """A configuration file in its place: the health check reads it too."""
    health = free_port()
    file = pathlib.Path(directory) / "config.yaml"
    file.write_text(f"host: \"::\"\nport: 0\nhealth: {health}\nhelloWorld: true\n")
    container = Container(
        podman, image, "serve", "--config-file", "/etc/ociregistry/config.yaml",
        options=[f"--volume={file}:/etc/ociregistry/config.yaml:ro"])
    container.address()
    expect("health check by a configuration file", container.health(), (0, f"healthy: http://[::1]:{health}/readyz: ok"))
    expect("status after a stop", container.stop(), "0")


def check_docker(archive, directory):
    """dockerd checks the health by itself."""
    docker = Docker(directory)
    image = docker("load", "--quiet", "--input", archive).stdout.split(": ")[1].strip()
    ports = [str(free_port()), str(free_port())]
    docker("run", "--detach", "--name", "server", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges",
           "--network=host", "--health-interval=1s", image, "serve", "--host", "127.0.0.1", "--port", ports[0],
           "--health", ports[1])

    def state(name):
        return docker("inspect", "--format", "{{json .State.%s}}" % name, "server").stdout

    until("the container's health", lambda: json.loads(state("Health"))["Status"] == "healthy")
    said = json.loads(state("Health"))["Log"][-1]["Output"].strip()
    expect("health in docker", said, f"healthy: http://127.0.0.1:{ports[1]}/readyz: ok")
    docker("stop", "--time", "40", "server")
    expect("status after docker's stop", json.loads(state("ExitCode")), 0)
    docker("rm", "--volumes", "server")
    docker.stop()


def check_arbitrary_users(podman, image, archive, directory):
    """Two users of group 0, one after the other, on one volume: the second serves what the first has pulled."""
    registry = Registry(directory)
    skopeo("copy", "--quiet", "--dest-tls-verify=false", f"docker-archive:{archive}",
           f"docker://127.0.0.1:{registry.port}/tools/ociregistry:1")
    volume = pathlib.Path(directory) / "volume"
    volume.mkdir()
    os.chown(volume, 0, 0)
    volume.chmod(0o2775)
    file = pathlib.Path(directory) / "upstream.yaml"
    file.write_text(f"host: 127.0.0.1\nport: 0\nregistries:\n- name: registry.test\n"
                    f"  endpoint: http://registry.test:{registry.port}\n")
    for number, user in enumerate(("1000650000", "1000660000")):
        container = Container(
            podman, image, "serve", "--config-file", "/etc/ociregistry/config.yaml",
            options=[f"--user={user}:0", f"--volume={volume}:/var/lib/ociregistry", "--cap-drop=all",
                     "--security-opt=no-new-privileges", "--add-host=registry.test:127.0.0.1",
                     f"--volume={file}:/etc/ociregistry/config.yaml:ro"])
        address = container.address()
        expect("arbitrary user and group", container.user(), (user, "0"))
        source = f"docker://{address}/registry.test/tools/ociregistry:1"
        skopeo("copy", "--quiet", "--src-tls-verify=false", source, f"oci:{directory}/pulled-{number}:1")
        print("image: skopeo has pulled the image through itself", "from the upstream" if number == 0 else "without the upstream")
        expect("status after a stop", container.stop(), "0")
        if number == 0:
            registry.stop()
    pulled = [(pathlib.Path(directory) / f"pulled-{number}/index.json").read_text() for number in (0, 1)]
    expect("both pulls are the same", pulled[0] == pulled[1], True)
    check_modes(volume)


def check_modes(volume):
    files, wrong = 0, []
    for place, _, names in os.walk(volume):
        for path in [place] + [os.path.join(place, name) for name in names]:
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                continue
            files += 1
            bits = 0o2070 if stat.S_ISDIR(status.st_mode) else 0o060
            if status.st_gid != 0 or status.st_mode & bits != bits:
                wrong.append((os.path.relpath(path, volume), oct(status.st_mode), status.st_gid))
    print(f"image: {files} files and directories in the volume")
    expect("of them not writable by group 0", wrong, [])


def main():
    archive, directory = sys.argv[1:]
    check_files(archive)
    podman = Podman(directory)
    image = podman("load", "--quiet", "--input", archive).stdout.split(": ")[1].strip()
    inspected = json.loads(podman("image", "inspect", image).stdout)[0]
    labels = {name.rsplit(".", 1)[1]: value for name, value in inspected["Labels"].items()}
    expect("version", labels["version"], podman("run", "--rm", *podman.options(), image, "version").stdout.split()[1])
    expect("user", inspected["User"], "65532:0")
    expect("architecture", inspected["Architecture"], run("dpkg", "--print-architecture").stdout.strip())
    expect("health check of the image", inspected["Healthcheck"]["Test"],
           ["CMD", "/usr/bin/ociregistry", "healthcheck", "--process", "1"])
    print(f"image: labels: {labels}")
    check_defaults(podman, image, directory)
    check_configuration(podman, image, directory)
    check_arbitrary_users(podman, image, archive, directory)
    check_docker(archive, directory)
    print("image: all is well")


main()
