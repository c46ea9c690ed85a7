"""What the measurements share: an upstream registry, a server under test, nginx, and bodies that are made, not stored."""

import hashlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

MIB = 1 << 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=20.0, what="something"):
    """Polls, bounded: for programs that have no way of saying that they are ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise SystemExit(f"gave up waiting for {what}")


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    """A temporary directory and the programs started in it; all of it goes away at the end."""

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ociregistry-soak-"))
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *command, log=None, **options):
        sink = open(log, "wb") if log else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, **options)
        self.processes.append(process)
        return process

    def upstream(self):
        """A docker-registry; returns its port. Its access log is in upstream.log."""
        port = free_port()
        config = self.directory / "upstream.yml"
        config.write_text(
            "version: 0.1\nlog: {accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/upstream}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n")
        self.start("docker-registry", "serve", str(config), log=self.directory / "upstream.log")
        wait_for(lambda: answers(port), what="docker-registry")
        return port

    def nginx(self, name, server):
        """An nginx with one worker and one server block; returns (port, the worker's process id)."""
        port = free_port()
        home = self.directory / name
        home.mkdir()
        # As root nginx would serve as another user, who may not read here.
        user = "user root;" if os.geteuid() == 0 else ""
        (home / "nginx.conf").write_text(
            f"{user} daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
            "events { worker_connections 16384; }\n"
            "http { access_log off; sendfile on; tcp_nopush on; open_file_cache max=10000; keepalive_requests 1000000000;\n"
            f"  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; proxy_max_temp_file_size 0;\n"
            f"  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n"
            "  default_type application/octet-stream;\n"
            f"  server {{ listen 127.0.0.1:{port}; {server} }} }}\n")
        master = self.start("nginx", "-e", f"{home}/error.log", "-c", str(home / "nginx.conf"))
        wait_for(lambda: answers(port), what="nginx")
        children = pathlib.Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        return port, int(children[0])

    def server(self, program, upstream_port, *flags, images=None):
        """The server under test, with docker.io at the upstream; returns (process, port)."""
        config = self.directory / "config.yaml"
        config.write_text(f"registries:\n- name: docker.io\n  endpoint: http://127.0.0.1:{upstream_port}\n")
        log = self.directory / "server.log"
        process = self.start(
            program, "serve", "--config-file", str(config), "--image-path", str(images or self.directory / "images"),
            "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", *flags, log=log)
        wait_for(lambda: "listening" in log.read_text() or process.poll() is not None, what="the server")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
        if not found:
            raise SystemExit(f"the server did not start:\n{log.read_text()}")
        return process, int(found.group(1))


def pieces(size, seed):
    """A body's bytes, a MiB at a time: the same for the same seed, and no two MiB alike."""
    block = hashlib.shake_256(str(seed).encode()).digest(MIB)
    for index in range(0, size, MIB):
        yield (block[:-8] + index.to_bytes(8, "big"))[: size - index]


def push_blob(port, repository, size, seed):
    """Puts a blob of `size` bytes into a registry; returns its digest."""
    digest = hashlib.sha256()
    for piece in pieces(size, seed):
        digest.update(piece)
    name = f"sha256:{digest.hexdigest()}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/")
    reply = connection.getresponse()
    reply.read()
    location = re.sub(r"^https?://[^/]+", "", reply.getheader("Location"))
    connection.putrequest("PUT", f"{location}&digest={name}")
    connection.putheader("Content-Length", str(size))
    connection.putheader("Content-Type", "application/octet-stream")
    connection.endheaders()
    for piece in pieces(size, seed):
        connection.send(piece)
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 201, reply.status
    return name


def push_image(port, repository, tag, layer_size, seed):
    """Puts an image of one layer into a registry; returns (manifest digest, layer digest)."""
    import json

    config = push_blob(port, repository, 300, f"config {seed}")
    layer = push_blob(port, repository, layer_size, seed)
    oci = "application/vnd.oci.image"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json",
        "config": {"mediaType": f"{oci}.config.v1+json", "digest": config, "size": 300},
        "layers": [{"mediaType": f"{oci}.layer.v1.tar", "digest": layer, "size": layer_size}],
    }).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": f"{oci}.manifest.v1+json"})
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 201, reply.status
    return reply.getheader("Docker-Content-Digest"), layer


def get(port, path, headers=None, timeout=120):
    """A whole answer: (status, seconds to the first byte, seconds in all, sha256 of the body, length)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    start = time.monotonic()
    connection.request("GET", path, headers=headers or {})
    reply = connection.getresponse()
    first, digest, length = None, hashlib.sha256(), 0
    while True:
        piece = reply.read1(MIB)
        if not piece:
            break
        first = first or time.monotonic() - start
        digest.update(piece)
        length += len(piece)
    connection.close()
    return reply.status, first, time.monotonic() - start, f"sha256:{digest.hexdigest()}", length


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid, key="VmRSS"):
    return int(re.search(rf"{key}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


ACCEPT = ("Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
          "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*")


def wrk(url, connections, seconds):
    """A bounded wrk run: (requests, requests/s, p50, p99 and p99.9 in ms); refuses a run with errors."""
    script = pathlib.Path(__file__).with_name("latency.lua")
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), "-H", ACCEPT, url],
        capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+) (\d+)", out)
    requests, microseconds, p50, p99, p999, errors = found.groups()
    assert errors == "0", out
    return int(requests), int(requests) / (int(microseconds) / 1e6), float(p50), float(p99), float(p999)
