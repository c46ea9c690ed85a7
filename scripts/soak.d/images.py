"""Large real images, through real clients: a Debian root file system and a layer of 1 GiB under one image, as OCI types and as
docker's (schema 2). Each client pulls cold, cached, and with the upstream stopped. It needs root, for debootstrap and containerd."""

import os
import re
import subprocess
import sys
import time

from parts import MIB, Bench, pieces, wait_for


def run(*command, **environment):
    done = subprocess.run(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def make(bench, port):
    """Pushes debian/system:oci and debian/system:v2s2: the root file system in one layer, 1 GiB in another."""
    root = bench.directory / "root"
    run("debootstrap", "--variant=minbase", "stable", str(root), "http://deb.debian.org/debian")
    big = bench.directory / "big"
    with open(big, "wb") as file:
        for piece in pieces(1024 * MIB, "layer"):
            file.write(piece)

    def buildah(*arguments):
        storage = bench.directory / "buildah"
        return run("buildah", "--storage-driver", "vfs", "--root", f"{storage}/root", "--runroot", f"{storage}/run",
                   *arguments, TMPDIR=str(bench.directory))

    base = buildah("from", "scratch")
    buildah("add", base, str(root), "/")
    buildah("commit", "--quiet", base, "base")
    whole = buildah("from", "--pull=never", "base")
    buildah("add", whole, str(big), "/big")
    for kind in ["oci", "v2s2"]:
        buildah("commit", "--quiet", "--format", {"oci": "oci", "v2s2": "docker"}[kind], whole, kind)
        buildah("push", "--quiet", "--tls-verify=false", kind, f"docker://127.0.0.1:{port}/debian/system:{kind}")


def containerd(bench, home, mirror):
    """Starts a containerd that asks the mirror for docker.io; returns the beginning of a `ctr` command line."""
    (home / "certs.d/docker.io").mkdir(parents=True)
    (home / "certs.d/docker.io/hosts.toml").write_text(
        f'server = "http://127.0.0.1:9"\n[host."http://127.0.0.1:{mirror}"]\ncapabilities = ["pull", "resolve"]\n')
    (home / "config.toml").write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{home}/socket"\n[ttrpc]\naddress = "{home}/ttrpc"\n')
    process = bench.start("containerd", "--config", str(home / "config.toml"), log=home / "log")
    wait_for(lambda: "successfully booted" in (home / "log").read_text(), what="containerd")
    return process, ["ctr", "--address", f"{home}/socket", "images", "pull", "--hosts-dir", f"{home}/certs.d",
                     "--snapshotter", "native"]


def skopeo_pull(bench, home, mirror, kind, reference):
    run("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
        f"docker://127.0.0.1:{mirror}/docker.io/debian/system:{kind}", f"dir:{home}/image")
    run("diff", "-r", reference, f"{home}/image")


def podman_pull(bench, home, mirror, kind, reference):
    # podman refuses a run directory of more than 50 characters.
    (home / "containers.conf").write_text('[engine]\nlock_type = "file"\nevents_logger = "none"\n')
    run("podman", "--root", f"{home}/storage", "--runroot", f"{bench.directory}/run", "--tmpdir", f"{home}/libpod",
        "--storage-driver", "vfs", "pull", "--quiet", "--tls-verify=false",
        f"127.0.0.1:{mirror}/docker.io/debian/system:{kind}",
        HOME=str(home), TMPDIR=str(home), CONTAINERS_CONF=f"{home}/containers.conf")


def containerd_pull(bench, home, mirror, kind, reference):
    process, pull = containerd(bench, home, mirror)
    try:
        run(*pull, f"docker.io/debian/system:{kind}")
    finally:
        process.terminate()
        process.wait(20)


def main(program):
    if os.geteuid() != 0:
        sys.exit("images: debootstrap and containerd need root")
    clients = {"skopeo": skopeo_pull, "podman": podman_pull, "containerd": containerd_pull}
    with Bench() as bench:
        port = bench.upstream()
        upstream = bench.processes[-1]
        make(bench, port)
        references = {}
        for kind in ["oci", "v2s2"]:
            references[kind] = bench.directory / f"direct-{kind}"
            run("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
                f"docker://127.0.0.1:{port}/debian/system:{kind}", f"dir:{references[kind]}")
        log = bench.directory / "upstream.log"
        servers = {}
        for client in clients:
            images = bench.directory / f"images-{client}"
            servers[client] = bench.server(program, port, images=images)[1]

        def pulls(stage):
            for client, pull in clients.items():
                for kind in ["oci", "v2s2"]:
                    home = bench.directory / f"{client}-{kind}-{stage}"
                    home.mkdir()
                    start = time.monotonic()
                    pull(bench, home, servers[client], kind, str(references[kind]))
                    print(f"{client:10} {kind:4} {stage:7} {time.monotonic() - start:6.1f} s", flush=True)
                    run("rm", "-rf", str(home))

        def asked():
            return len(re.findall(r'"(?:GET|HEAD) /v2/debian', log.read_text()))

        pulls("cold")
        # The upstream writes its line when it is done with a request, a moment after the client is.
        time.sleep(1)
        before = asked()
        pulls("cached")
        if asked() != before:
            sys.exit(f"images: {asked() - before} requests reached the upstream for what was cached")
        upstream.terminate()
        upstream.wait(20)
        pulls("offline")
    print("images: every pull was whole, and what was cached asked nothing of the upstream")


main(sys.argv[1])
