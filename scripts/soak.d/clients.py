"""Clients against images of every kind: straight from an origin, and through the server cold, cached, with the origin away, and
air-gapped. Runs inside a root of Debian sid (clients.sh makes it), as root. Prints the matrix, and what differs from the one in
docs/clients.md. A cell is "ok", or "-" where the client fails straight too; anything else is a stage at which it is worse off with
the server than without."""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OCI = "application/vnd.oci.image."
INDEX, MANIFEST, CONFIG, LAYER = OCI + "index.v1+json", OCI + "manifest.v1+json", OCI + "config.v1+json", OCI + "layer.v1.tar+gzip"
STAGES = ["cold", "cached", "away", "air-gapped"]
work = Path(sys.argv[3])
children = []


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(*command, seconds=120, **environment):
    """The status and output of a command."""
    try:
        done = subprocess.run(
            [str(part) for part in command], env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return 124, "it took too long"
    return done.returncode, done.stdout


def must(*command, **environment):
    status, output = run(*command, **environment)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {status}\n{output}")
    return output


def start(*command, log, mark, **environment):
    """A process in the background, once its log has the mark."""
    with open(log, "w") as file:
        child = subprocess.Popen(
            [str(part) for part in command], env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    children.append(child)
    for _ in range(300):
        if mark in Path(log).read_text(errors="replace"):
            return child
        if child.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"{command[0]} does not start:\n{Path(log).read_text(errors='replace')}")


def stop(child):
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# The origin.

class Origin:
    """A registry that gives what it was given, with ranges, and counts what it sends."""

    def __init__(self):
        self.manifests, self.blobs, self.sent, self.requests = {}, {}, 0, []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are sent one after the other.
            disable_nagle_algorithm = True

            def do_GET(self):
                origin.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.handler, self.port, self.server = Handler, free_port(), None
        self.open()

    def open(self):
        ThreadingHTTPServer.daemon_threads = True
        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def blob(self, data, algorithm="sha256"):
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def manifest(self, repository, tag, document, kind=MANIFEST, algorithm="sha256"):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        for reference in filter(None, [tag, digest]):
            self.manifests[repository, reference] = kind, data, digest
        return digest, len(data)

    def answer(self, request):
        path = request.path.split("?")[0]
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        kind, data, digest = "application/json", b"{}", None
        status = 200 if path == "/v2/" else 404
        if found and found[2] == "manifests" and (found[1], found[3]) in self.manifests:
            status, (kind, data, digest) = 200, self.manifests[found[1], found[3]]
        elif found and found[2] == "blobs" and found[3] in self.blobs:
            status, kind, data, digest = 200, "application/octet-stream", self.blobs[found[3]], found[3]
        self.requests.append(f"{request.command} {path}")
        status, fields, body = ranged(request.headers.get("Range"), status, kind, data)
        request.send_response(status)
        fields["Content-Length"] = str(len(body))
        if digest:
            fields["Docker-Content-Digest"] = digest
        for name, value in fields.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            self.sent += len(body)
            request.wfile.write(body)


def ranged(field, status, kind, data):
    sets = re.fullmatch(r"bytes=([0-9, -]+)", field or "")
    if status != 200 or not sets:
        return status, {"Content-Type": kind}, data
    spans = []
    for part in sets[1].split(","):
        first, last = part.strip().split("-")
        low = int(first) if first else max(0, len(data) - int(last))
        spans.append((low, min(int(last), len(data) - 1) if first and last else len(data) - 1))
    stated = [f"bytes {low}-{high}/{len(data)}" for low, high in spans]
    if len(spans) == 1:
        return 206, {"Content-Type": kind, "Content-Range": stated[0]}, data[spans[0][0]:spans[0][1] + 1]
    body = b"".join(
        f"\r\n--part\r\nContent-Type: {kind}\r\nContent-Range: {range_}\r\n\r\n".encode() + data[low:high + 1]
        for range_, (low, high) in zip(stated, spans)) + b"\r\n--part--\r\n"
    return 206, {"Content-Type": "multipart/byteranges; boundary=part"}, body


# The images.

def layer_of(seed, files=200, size=20_000, changed=lambda number: False):
    """A tar archive of files that do not compress; the changed ones differ from those of another layer of the seed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(files):
            entry = tarfile.TarInfo(f"data-{seed}/{number}")
            entry.size = size
            noise = random.Random(f"{seed} {number} {changed(number)}")
            archive.addfile(entry, io.BytesIO(noise.randbytes(size)))
    return out.getvalue()


def descriptor(kind, digest, size, **more):
    return {"mediaType": kind, "digest": digest, "size": size} | more


def image(origin, repository, tag, tars, arch="amd64", algorithm="sha256", change=lambda document: document, squeeze=gzip.compress):
    """A manifest with these layers; returns its descriptor."""
    layers = []
    for tar in tars:
        data = squeeze(tar)
        layers.append(descriptor(LAYER, origin.blob(data, algorithm), len(data)))
    config = json.dumps({
        "architecture": arch, "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in tars]}}).encode()
    document = change({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, origin.blob(config, algorithm), len(config)),
        "layers": layers})
    digest, size = origin.manifest(repository, tag, document, algorithm=algorithm)
    return descriptor(MANIFEST, digest, size, platform={"architecture": arch, "os": "linux"})


def index(origin, repository, tag, entries):
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    digest, size = origin.manifest(repository, tag, document, INDEX)
    return descriptor(INDEX, digest, size)


def make_plain(origin, name):
    index(origin, name, "1", [image(origin, name, None, [layer_of(arch), layer_of(arch + "2", 3)], arch) for arch in ["amd64", "arm64"]])


def make_duplicate(origin, name):
    tar = layer_of("dup", 3)
    image(origin, name, "1", [tar, tar])


def make_empty(origin, name):
    """A layer that is an archive without entries."""
    image(origin, name, "1", [layer_of("e", 3), b"\0" * 1024])


def make_sha512(origin, name):
    image(origin, name, "1", [layer_of("512", 3)], algorithm="sha512")


def make_artifact(origin, name):
    data, empty = b"some text\n", b"{}"
    origin.manifest(name, "1", {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.text",
        "config": descriptor("application/vnd.oci.empty.v1+json", origin.blob(empty), 2, data="e30="),
        "layers": [descriptor("text/plain", origin.blob(data), len(data), annotations={"org.opencontainers.image.title": "text"})]})


def make_inline(origin, name):
    """An image whose config is in its descriptor as well, and whose second layer is."""
    def change(document):
        for each in [document["config"], document["layers"][1]]:
            each["data"] = base64.b64encode(origin.blobs[each["digest"]]).decode()
        return document
    image(origin, name, "1", [layer_of("inline", 3), layer_of("inline2", 1, 100)], change=change)


def make_attested(origin, name):
    """As BuildKit makes it: an index with the image, and its provenance as a manifest of unknown platform."""
    kept = image(origin, name, None, [layer_of("att", 3)])
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "predicate": {}, "subject": []}).encode()
    config = json.dumps({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(statement).hexdigest()]}}).encode()
    digest, size = origin.manifest(name, None, {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, origin.blob(config), len(config)),
        "layers": [descriptor("application/vnd.in-toto+json", origin.blob(statement), len(statement))]})
    index(origin, name, "1", [kept, descriptor(MANIFEST, digest, size, platform={"architecture": "unknown", "os": "unknown"}, annotations={
        "vnd.docker.reference.digest": kept["digest"], "vnd.docker.reference.type": "attestation-manifest"})])


def make_estargz(origin, name):
    """As stargz makes it: a member of gzip for each file, a table of contents, and a footer that says where it begins."""
    def squeeze(tar):
        out, entries = io.BytesIO(), []
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for entry in archive:
                end = entry.offset_data + (entry.size + 511) // 512 * 512
                entries.append({
                    "name": entry.name, "type": "reg", "size": entry.size, "offset": out.tell(), "NumLink": 1,
                    "digest": "sha256:" + hashlib.sha256(tar[entry.offset_data:entry.offset_data + entry.size]).hexdigest()})
                out.write(gzip.compress(tar[entry.offset:end]))
        table, place = json.dumps({"version": 1, "entries": entries}).encode(), out.tell()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as toc:
            entry = tarfile.TarInfo("stargz.index.json")
            entry.size = len(table)
            toc.addfile(entry, io.BytesIO(table))
        out.write(gzip.compress(archive.getvalue()))
        extra = b"SG\x16\x00" + f"{place:016x}STARGZ".encode()
        out.write(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra + b"\x01\0\0\xff\xff" + b"\0" * 8)
        return out.getvalue()
    tar = layer_of("lazy", 50)
    data = squeeze(tar)
    image(origin, name, "1", [gzip.decompress(data)], squeeze=lambda _: data)


def make_chunked(origin, name):
    chunked(origin, name, {"1": layer_of("chunked")})


def chunked(origin, name, tars):
    """zstd:chunked images of one layer each, by tag, made by podman and taken over from a registry."""
    port, place = free_port(), work / f"make-{random.randrange(10**9)}"
    place.mkdir()
    (place / "registry.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {place}/registry\nhttp:\n  addr: 127.0.0.1:{port}\n")
    registry = start("docker-registry", "serve", place / "registry.yml", log=place / "registry.log", mark="listening on")
    podman = podman_command(place / "podman", "vfs")

    def get(path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/chunked/{path}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers["Content-Type"], answer.read()
    for tag, tar in tars.items():
        (place / "layer.tar").write_bytes(tar)
        must(*podman, "import", "--quiet", place / "layer.tar", f"chunked:{tag}")
        must(*podman, "push", "--quiet", "--tls-verify=false", "--compression-format", "zstd:chunked", "--force-compression",
             "--format", "oci", f"chunked:{tag}", f"127.0.0.1:{port}/chunked:{tag}")
        kind, data = get(f"manifests/{tag}")
        document = json.loads(data)
        for each in [document["config"], *document["layers"]]:
            origin.blob(get(f"blobs/{each['digest']}")[1])
        origin.manifest(name, tag, data, kind)
    stop(registry)


IMAGES = {
    "plain": make_plain, "zstd:chunked": make_chunked, "estargz": make_estargz, "attested": make_attested, "artifact": make_artifact,
    "sha512": make_sha512, "duplicate": make_duplicate, "empty": make_empty, "inline": make_inline,
}


# The clients. Each is given a fresh directory, the address to ask, and whether that is a mirror; it returns a status and output.

def podman_command(home, driver, *more):
    home.mkdir(parents=True, exist_ok=True)
    (home / "containers.conf").write_text('[engine]\nlock_type = "file"\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\n')
    # podman refuses a run directory of more than 50 characters, and another one for the same storage.
    short = Path("/tmp") / hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return ["env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", f"CONTAINERS_CONF={home}/containers.conf", f"HOME={home}", *more, "podman", "--root", f"{home}/storage",
            "--runroot", str(short), "--tmpdir", f"{home}/libpod", "--storage-driver", driver]


def registries(home, address, mirrored):
    text = f'[[registry]]\nprefix = "fake.example"\nlocation = "{address}{"/fake.example" if mirrored else ""}"\ninsecure = true\n'
    (home / "registries.conf").write_text(text)
    return home / "registries.conf"


def podman(home, address, mirrored, name, driver="vfs", storage="", tag="1"):
    home.mkdir(parents=True, exist_ok=True)
    conf = registries(home, address, mirrored)
    (home / "storage.conf").write_text(f'[storage]\ndriver = "{driver}"\n{storage}')
    base = podman_command(home, driver, f"CONTAINERS_REGISTRIES_CONF={conf}", f"CONTAINERS_STORAGE_CONF={home}/storage.conf")
    result = run(*base, "pull", "--quiet", f"fake.example/{name}:{tag}")
    run(*base, "image", "umount", "--all")
    return result


def podman_partial(home, address, mirrored, name, tag="1"):
    options = '[storage.options]\npull_options = {enable_partial_images = "true", convert_images = "false"}\n'
    return podman(home, address, mirrored, name, "overlay", options, tag)


def skopeo(home, address, mirrored, name):
    return run("skopeo", "--insecure-policy", "--registries-conf", registries(home, address, mirrored), "copy", "--quiet", "--all",
               f"docker://fake.example/{name}:1", f"dir:{home}/image")


def named(address, mirrored, name):
    return f"{address}/{'fake.example/' if mirrored else ''}{name}:1"


def crane(home, address, mirrored, name):
    return run("crane", "pull", "--insecure", "--format", "oci", named(address, mirrored, name), home / "image", HOME=str(home))


def oras(home, address, mirrored, name):
    return run("oras", "copy", "--from-plain-http", "--to-oci-layout", named(address, mirrored, name), f"{home}/image:1", HOME=str(home))


def containerd(home):
    socket_ = f"/tmp/c{random.randrange(10**9)}"
    (home / "config.toml").write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket_}"\n[ttrpc]\naddress = "{socket_}.ttrpc"\n')
    return start("containerd", "--config", home / "config.toml", log=home / "containerd.log", mark="successfully booted"), socket_


def ctr(home, address, mirrored, name):
    certificates = home / "certs.d/fake.example"
    certificates.mkdir(parents=True)
    (certificates / "hosts.toml").write_text(
        f'server = "http://{address}"\n[host."http://{address}"]\ncapabilities = ["pull", "resolve"]\n')
    child, socket_ = containerd(home)
    try:
        return run("ctr", "--address", socket_, "images", "pull", "--local", "--platform", "linux/amd64", "--hosts-dir", home / "certs.d",
                   "--snapshotter", "native", f"fake.example/{name}:1")
    finally:
        stop(child)


def docker(home, address, mirrored, name, features=""):
    """docker.io's mirror; straight, the origin itself by name, which is on loopback and so may speak http."""
    child, socket_ = containerd(home)
    own = f"unix:///tmp/d{random.randrange(10**9)}"
    (home / "daemon.json").write_text("{%s}" % features)
    prepare = "[ -d /sys/fs/cgroup ] || mount -t sysfs sysfs /sys; " \
              "grep -q ' /sys/fs/cgroup' /proc/mounts || mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec \"$@\""
    daemon = start(
        "unshare", "--mount", "sh", "-c", prepare, "sh", "dockerd", "--config-file", home / "daemon.json", "--host", own,
        "--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid", "--containerd", socket_,
        "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        *([] if features else ["--storage-driver", "vfs"]), "--registry-mirror", f"http://{address}",
        log=home / "dockerd.log", mark="API listen on")
    try:
        reference = f"docker.io/{name}:1" if mirrored else f"{address}/{name}:1"
        return run("docker", "--host", own, "pull", "--quiet", reference, DOCKER_CONFIG=str(home))
    finally:
        stop(daemon)
        stop(child)


def docker_containerd(home, address, mirrored, name):
    return docker(home, address, mirrored, name, '"features": {"containerd-snapshotter": true}, "storage-driver": "native"')


CLIENTS = {
    "containerd": ctr, "docker": docker, "docker, containerd store": docker_containerd, "podman": podman,
    "podman, partial": podman_partial, "skopeo": skopeo, "crane": crane, "oras": oras,
}


# The matrix.

class Mirror:
    def __init__(self, program, origin, home):
        self.program, self.home, self.port, self.metrics, self.child = program, home, free_port(), free_port(), None
        home.mkdir(parents=True)
        entries = "".join(f"- name: {name}\n  endpoint: http://127.0.0.1:{origin.port}\n" for name in ["fake.example", "docker.io"])
        (home / "config.yaml").write_text("registries:\n" + entries)

    def begin(self, *options):
        self.child = start(
            self.program, "--config-file", self.home / "config.yaml", "--image-path", self.home / "images", "--log-level", "info", "serve",
            "--host", "127.0.0.1", "--port", self.port, "--default-ns", "docker.io", "--metrics", self.metrics, *options, log=self.home / "log", mark="listening on")

    def sent(self):
        """Bytes of response bodies so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("ociregistry_http_response_bytes_total"))

    def end(self):
        stop(self.child)


def attempt(client, number, address, mirrored, name):
    home = work / f"run-{number}"
    home.mkdir()
    try:
        return CLIENTS[client](home, address, mirrored, name)
    finally:
        clear(home)


def clear(home):
    # Overlays that a client leaves are mounts of this namespace.
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if str(home) in line.split()[1]:
            run("umount", "--lazy", line.split()[1])
    shutil.rmtree(home, ignore_errors=True)


def last_line(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def cell(program, origin, client, kind, numbers):
    """One client and one image: its verdict, and the reasons for it."""
    name = "team/" + re.sub("[^a-z0-9]", "", kind)
    status, output = attempt(client, next(numbers), f"127.0.0.1:{origin.port}", False, name)
    straight = last_line(output) if status else None
    mirror = Mirror(program, origin, work / f"mirror-{next(numbers)}")
    mirror.begin()
    worse, reasons = [], [f"straight: {straight}"] if straight else []
    try:
        for stage in STAGES:
            before = len(origin.requests)
            if stage == "away":
                origin.close()
            if stage == "air-gapped":
                mirror.end()
                mirror.begin("--air-gapped")
            status, output = attempt(client, next(numbers), f"127.0.0.1:{mirror.port}", True, name)
            if status:
                reasons.append(f"{stage}: {last_line(output)}")
                if not straight:
                    worse.append(stage)
            asked = [line for line in origin.requests[before:] if "/blobs/" in line]
            if stage != "cold" and asked:
                reasons.append(f"{stage}: asked the origin for {len(asked)} blobs")
                worse.append(f"{stage} (asks)")
    finally:
        mirror.end()
        origin.open()
    return ("-" if straight else "ok") if not worse else ", ".join(worse), reasons


def documented():
    """The matrix in docs/clients.md: {client: {image: cell}}."""
    lines = (Path(sys.argv[2]) / "docs/clients.md").read_text().splitlines()
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    for number, row in enumerate(rows):
        if row[0] == "client \\ image":
            head = row[1:]
            found = {}
            for each in rows[number + 1:]:
                if len(each) != len(head) + 1:
                    break
                found[each[0]] = dict(zip(head, each[1:]))
            return found
    return {}


def partial_pulls(program, origin):
    """Three versions of a zstd:chunked image of 30 MB, one after the other into one storage: 20 of 300 files differ, then 150."""
    name, tags = "team/versions", ["1", "2", "3"]
    parts = {"1": lambda _: False, "2": lambda number: number % 15 == 0, "3": lambda number: number % 2 == 0}
    chunked(origin, name, {tag: layer_of("versions", 300, 100_000, changed) for tag, changed in parts.items()})
    mirror = Mirror(program, origin, work / "mirror-versions")
    mirror.begin()
    moved = {}
    for stage, address in [("straight", origin.port), ("cold", mirror.port), ("cached", mirror.port)]:
        # podman fails now and then when it takes files from another layer, straight too; a fresh storage tries again.
        for number in range(3):
            home = work / f"versions-{stage}-{number}"
            moved[stage] = []
            for tag in tags:
                before = origin.sent if stage == "straight" else mirror.sent()
                status, output = podman_partial(home, f"127.0.0.1:{address}", stage != "straight", name, tag)
                if status:
                    print(f"partial pull, {stage}, {tag}: {last_line(output)}")
                    break
                moved[stage].append((origin.sent if stage == "straight" else mirror.sent()) - before)
            clear(home)
            if len(moved[stage]) == len(tags):
                break
    mirror.end()
    if any(len(amounts) < len(tags) for amounts in moved.values()):
        return ["partial pull: podman failed three times"]
    for stage, amounts in moved.items():
        print(f"zstd:chunked, {stage:9} MB to podman for three versions: " + ", ".join(f"{amount / 1e6:.2f}" for amount in amounts))
    return [
        f"partial pull {stage}, version {tag}: {amount / straight:.2f} x straight" for stage, amounts in moved.items()
        for tag, amount, straight in zip(tags, amounts, moved["straight"]) if amount > 1.05 * straight + 10_000]


def main():
    program = sys.argv[1]
    wanted_clients = [name for name in CLIENTS if not os.environ.get("CLIENTS") or name in os.environ["CLIENTS"].split(";")]
    wanted_images = [name for name in IMAGES if not os.environ.get("IMAGES") or name in os.environ["IMAGES"].split(";")]
    origin = Origin()
    for kind in wanted_images:
        IMAGES[kind](origin, "team/" + re.sub("[^a-z0-9]", "", kind))
    numbers, table, expected, changed = iter(range(10**6)), {}, documented(), []
    for client in wanted_clients:
        table[client] = {}
        for kind in wanted_images:
            verdict, reasons = cell(program, origin, client, kind, numbers)
            table[client][kind] = verdict
            print(f"{client:26} {kind:14} {verdict}", *[f"\n    {reason}" for reason in reasons], sep="", flush=True)
            before = expected.get(client, {}).get(kind)
            if before != verdict:
                changed.append(f"{client}, {kind}: {before} -> {verdict}")
    print("\n| client \\ image | " + " | ".join(wanted_images) + " |\n|" + "---|" * (len(wanted_images) + 1))
    for client, row in table.items():
        print(f"| {client} | " + " | ".join(row.values()) + " |")
    print("clients: " + ("as in docs/clients.md" if not changed else "changed since docs/clients.md:\n  " + "\n  ".join(changed)))
    worse = partial_pulls(program, origin) if "podman, partial" in wanted_clients else []
    worse += [f"{client}, {kind}: {value}" for client, row in table.items() for kind, value in row.items() if value not in ("ok", "-")]
    if worse:
        sys.exit("clients: worse through the server than without it:\n  " + "\n  ".join(worse))


try:
    main()
finally:
    for each in children:
        if each.poll() is None:
            stop(each)
