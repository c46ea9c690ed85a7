"""The programs side by side: an upstream that all pull from, and who serves its content from a cache.

- nginx serves cached content as static files, hard links to the very files of this server's cache. Cold, it is nginx with
  proxy_cache before the upstream.
- docker-registry is a proxy before the upstream, as its package has it, without an access log.
- ociregistry is this server, with its defaults.
- origin is the upstream itself, asked directly: what no cache can be faster than.

For cached content a server runs all the time; for cold content a new one is started on an empty directory each time.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import driving
import figures
import machine
import parts

# A server that has not ended so long after SIGTERM is killed: its directory goes away anyhow.
END_SECONDS = 5
# Servers are quiet when all of them together take not a clock tick of CPU time in so long.
SETTLING_SECONDS, MOST_SETTLING_SECONDS = 0.1, 5
NGINX_HEAD = (
    "{user} daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
    "events {{ worker_connections 16384; }}\n"
    "http {{\n"
    "  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/octet-stream;\n"
    "  open_file_cache max=10000; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n"
    "  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n"
)


class Server:
    """Where it listens, what its paths begin with, and the processes whose CPU time and memory are its own."""

    def __init__(self, name, port, prefix, pids, host="127.0.0.1", process=None, directory=None):
        self.name, self.host, self.port, self.prefix, self.pids = name, host, port, prefix, pids
        self.process, self.directory = process, directory

    def path(self, path):
        return f"{self.prefix}/{path}"

    @property
    def is_peer(self):
        """Whether it is somebody else's, that is here to be compared with."""
        return self.name != figures.OURS

    def said(self):
        """The end of what it logged."""
        logs = self.directory.glob("*.log") if self.directory else []
        return "".join(log.read_text(errors="replace") for log in logs)[-4000:]


def external(argument):
    """NAME=URL,PID[,PID…]: a server that somebody else runs; the URL is all that stands before a repository's name."""
    found = re.fullmatch(r"([\w.-]+)=http://([\w.-]+):(\d+)(/[^,]*?)/?((?:,\d+)+)", argument)
    if not found:
        raise ValueError("NAME=http://HOST:PORT/PATH,PID[,PID…] is expected")
    name, host, port, prefix, pids = found.groups()
    return Server(name, int(port), prefix, [int(pid) for pid in pids.split(",")[1:]], host=host)


class Stage:
    """A temporary directory and the programs started in it; all of it goes away at the end."""

    def __init__(self, program, upstream_port=None):
        self.program, self.upstream_port = program, upstream_port or parts.free_port()

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ociregistry-bench-"))
        self._processes, self._count = [], 0
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            self._end(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, *command, log, **more):
        with open(log, "wb") as sink:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, **more)
        self._processes.append(process)
        return process

    def _end(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self._processes:
            self._processes.remove(process)

    def stop(self, server):
        """Ends a server of this stage and removes what it stored."""
        self._end(server.process)
        shutil.rmtree(server.directory, ignore_errors=True)

    def settle(self, others):
        """Waits until what was started, and the servers among `others`, do nothing any more: a proxy goes on with what its
        clients have given up, and would take a processor from whoever is measured next."""
        started = [each.pid for each in self._processes if each.poll() is None]
        pids = {*started, *(worker for pid in started for worker in _workers(pid)), *(pid for each in others for pid in each.pids)}

        def spent():
            return machine.cpu_seconds(pids)

        deadline, before = time.monotonic() + MOST_SETTLING_SECONDS, spent()
        while time.monotonic() < deadline:
            time.sleep(SETTLING_SECONDS)
            now = spent()
            if now == before:
                return
            before = now

    def _home(self, name):
        self._count += 1
        home = self.directory / f"{name}-{self._count}"
        home.mkdir()
        return home

    def _answering(self, server):
        parts.wait_for(
            lambda: parts.answers(server.port) or server.process.poll() is not None, what=f"{server.name} to listen")
        if server.process.poll() is not None:
            raise driving.Failed(f"{server.name} did not start:\n{server.said()}")
        return server

    def _registry(self, name, port, more, access_log, content_of=None):
        home = self._home(name)
        if content_of:
            shutil.copytree(content_of.directory / "data", home / "data", copy_function=os.link)
        config = home / "config.yml"
        disabled = "false" if access_log else "true"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: {disabled}}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {home}/data}}, cache: {{blobdescriptor: inmemory}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}', secret: bench}}\n{more}")
        process = self._start("docker-registry", "serve", str(config), log=home / "registry.log")
        return self._answering(Server(name, port, "/v2", [process.pid], process=process, directory=home))

    def origin(self):
        """The upstream, with an access log that tells who asked it for what."""
        server = self._registry("origin", self.upstream_port, "", access_log=True)
        self._access_log = server.directory / "registry.log"
        return server

    def upstream_gets(self, path="bench/"):
        """How many GETs of a path (of any content, without one) the upstream has answered."""
        return len(re.findall(rf'"GET /v2/{re.escape(path)}\S* HTTP', self._access_log.read_text(errors="replace")))

    def docker_registry(self, content_of=None):
        """A proxy before the upstream. It stores what it pulls as a registry does, so that hard links to the upstream's own
        files are a warm cache, of the same pages of memory."""
        return self._registry(
            "docker-registry", parts.free_port(), f"proxy: {{remoteurl: 'http://127.0.0.1:{self.upstream_port}'}}\n",
            access_log=False, content_of=content_of)

    def ociregistry(self):
        home = self._home("ociregistry")
        config, log = home / "config.yaml", home / "server.log"
        config.write_text(f"registries:\n- name: docker.io\n  endpoint: http://127.0.0.1:{self.upstream_port}\n")
        process = self._start(
            self.program, "serve", "--config-file", str(config), "--image-path", str(home / "images"),
            "--host", "127.0.0.1", "--port", "0", log=log)
        found = None

        def listening():
            nonlocal found
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
            return found or process.poll() is not None

        parts.wait_for(listening, what="ociregistry to listen")
        if not found:
            raise driving.Failed(f"ociregistry did not start:\n{log.read_text()}")
        return Server(
            figures.OURS, int(found.group(1)), "/v2/docker.io", [process.pid], process=process, directory=home)

    def _nginx(self, home, prefix, inside):
        listener = _unpaced_listener()
        port = listener.getsockname()[1]
        # As root nginx would serve as another user, who may not read here.
        user = "user root;" if os.geteuid() == 0 else ""
        (home / "nginx.conf").write_text(
            NGINX_HEAD.format(user=user, home=home) + inside.format(home=home, port=port, upstream=self.upstream_port) + "}\n")
        # NGINX names the listening sockets that a new nginx takes over from an old one (nginx.org, "Upgrading Executable").
        with listener:
            process = self._start(
                "nginx", "-e", f"{home}/error.log", "-c", str(home / "nginx.conf"), log=home / "output.log",
                pass_fds=[listener.fileno()], env={**os.environ, "NGINX": f"{listener.fileno()};"})
        server = self._answering(Server("nginx", port, prefix, [], process=process, directory=home))
        parts.wait_for(lambda: _workers(process.pid), what="nginx's worker")
        server.pids = _workers(process.pid)
        return server

    def nginx_static(self, content, cache):
        """Static files: hard links to the files of a warm server's cache."""
        home = self._home("nginx")
        files = _stored(cache, {content.digests[path] for path, _ in content.cached()})
        for path, _ in content.cached():
            link = home / "root/v2/docker.io" / path
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(files[content.digests[path]], link)
        return self._nginx(home, "/v2/docker.io", "  server {{ listen 127.0.0.1:{port}; root {home}/root; }}\n")

    def nginx_cache(self):
        """A cache before the upstream, in which clients of the same file wait for the first one's."""
        return self._nginx(
            self._home("nginx"), "/v2",
            "  proxy_cache_path {home}/cache levels=1:2 keys_zone=bench:10m max_size=100g use_temp_path=off;\n"
            "  server {{ listen 127.0.0.1:{port}; location / {{ proxy_cache bench; proxy_cache_valid 200 1h;\n"
            "    proxy_cache_lock on; proxy_cache_lock_timeout 120s; proxy_cache_lock_age 120s;\n"
            "    proxy_pass http://127.0.0.1:{upstream}; proxy_set_header Host $http_host; }} }}\n")


def _unpaced_listener():
    """A listening socket whose connections have the congestion control that this server gives to those of its own machine: with
    the machine's default (bbr, where the administrator has made it that) a body is spread over time."""
    listener = socket.socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    listener.bind(("127.0.0.1", 0))
    # What the kernel allows, as nginx itself would ask for (net.core.somaxconn).
    listener.listen(65535)
    return listener


def _workers(master):
    """nginx's worker processes, without those that look after its cache."""
    children = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in children if b"worker process" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]


def _stored(cache, digests):
    """The files of this server's cache by digest: the last may get their final names only after the answer."""
    wanted = {digest.split(":")[1]: digest for digest in digests}
    found = {}

    def there():
        for folder, _, names in os.walk(cache.directory / "images/store-v1"):
            if os.path.basename(folder) not in ("partial", "temporary"):
                found.update((wanted[name], os.path.join(folder, name)) for name in names if name in wanted)
        return len(found) == len(wanted)

    parts.wait_for(there, what="the cached files")
    return found
