"""Instructions (callgrind) and system calls (strace) of a cached answer, against limits: counts, which a busy machine does not change.

What is counted is the whole program, its threads, libuv and the C library included, and nothing in the kernel. Start-up and end
fall out: instructions are taken for a stretch of requests, calls as the difference of two runs. The machine has a small part in
it: the C library has variants of memcpy and the like for different processors. Two runs on one machine differ by less than a
percent."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import parts
import store

# Instructions a piece of work may take: a tenth more than it took when the limit was last set, which is the number beside it.
# Who makes one cheaper lowers its limit; who has to make one dearer says why in the commit that raises it.
# A cached answer is all the server does from waking up to going back to sleep, for one request: metrics are on, nothing is logged.
MOST_INSTRUCTIONS = {
    "parser": 2010,  # 1,822: a request of containerd's for a manifest by digest, 480 bytes
    "parser-again": 580,  # 526: the same when its field lines have come before
    "router": 410,  # 369: its path
    # Of these three libuv's loop is about 700: its queues, clock and timers once for each request here, since each wakes it.
    "manifest by tag": 2770,  # 2,517
    "manifest by digest": 3060,  # 2,782: with `ns`, as containerd asks
    "4 KiB blob": 2830,  # 2,568
    "manifest, image not whole": 2780,  # 2,526: checked once for each target and half a minute
    "64 KiB blob": 3640,  # 3,313: sent from its file
}

# With rules on names a cached answer may take this much of what it takes without: the decision about a name is looked up, and not
# even that for what is answered like the request before (the first three).
MOST_WITH_RULES = 1.1
SCENES_WITH_RULES = ("manifest by tag", "manifest by digest", "4 KiB blob", "64 KiB blob")
RULES = r"""
deny: ['evil/', '^docker\.io/library/centos$', '(?i)-test$']
allow: ['quay\.io/.+', 'docker\.io/library/[^/]+']
registriesOnly: true
registries: [{name: docker.io}, {name: '*.example'}]
"""

# System calls a request may take with many connections: what a few requests share (epoll_pwait) is given as its share.
MOST_CALLS = {
    "manifest by tag": {"recvfrom": 1.0, "sendto": 1.0, "epoll_pwait": 0.3},
    "manifest by digest": {"recvfrom": 1.0, "sendto": 1.0, "epoll_pwait": 0.3},
    "4 KiB blob": {"recvfrom": 1.0, "sendto": 1.0, "epoll_pwait": 0.3},
    "1 MiB blob": {"recvfrom": 1.0, "preadv2": 2.0, "sendto": 1.0, "sendfile": 1.0, "epoll_pwait": 0.3},
}
# The odd request that comes in two reads.
CALLS_SLACK = 0.1
# What a run takes beside its requests: once (threads that wait for one another, a scrape), for each connection it opens
# (accepted, looked at for where it comes from, watched, read to its end, closed), and for each second it lasts (timers, and the
# look at the disk that readiness takes). A busy machine makes a run longer, and must not make it fail.
CALLS_A_RUN, CALLS_A_CONNECTION, CALLS_A_SECOND = 300, 10, 100

IMAGES = 32
# Enough that what the timers take (a few thousand instructions a second) is far below a percent of it.
REQUESTS, PARTS = 2000, 20000
# How long a request waits after the answer before it: the server is asleep by then, so that each request wakes it, which is
# the dearest case and always the same. Without it some find the loop still turning.
PAUSE_SECONDS = 0.0003
FIELDS = f"Host: 127.0.0.1\r\nUser-Agent: containerd/1.6.20\r\n{parts.ACCEPT}\r\nAccept-Encoding: gzip\r\n\r\n"
SCENES = {"manifest by tag": "tag", "manifest by digest": "digest", "4 KiB blob": "blob", "64 KiB blob": "middle", "1 MiB blob": "large",
          "manifest, image not whole": "partial"}
# Connections, and requests of each, where system calls are counted; a MiB takes its time under strace.
CONNECTIONS, ROUNDS = {"1 MiB blob": 8}, {"1 MiB blob": 200}


class Client:
    """One keep-alive connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{FIELDS}".encode())

    def take(self):
        """Reads one answer to its end."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        left = int(re.search(rb"Content-Length: (\d+)", head).group(1)) - len(body)
        while left:
            left -= len(self.more())

    def more(self):
        piece = self.socket.recv(1 << 18)
        assert piece, "the server closed the connection"
        return piece


class Run:
    """A server under a tool, from its start to its end."""

    def __init__(self, bench, cache, program, *tool, rules=""):
        log = bench.directory / "server.log"
        config = bench.directory / "config.yaml"
        config.write_text(rules)
        # A seed that is always the same: what collides in a hash table then always does.
        self.process = bench.start(
            *tool, program, "serve", "--config-file", str(config), "--image-path", str(cache.root.parent), "--host", "127.0.0.1", "--port", "0",
            "--metrics", "0", "--log-level", "warn", log=log, env=os.environ | {"SWIFT_DETERMINISTIC_HASHING": "1"})
        ports = []

        def is_listening():
            ports[:] = re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text())
            return "listening on" in log.read_text() or self.process.poll() is not None

        parts.wait_for(is_listening, 60, "the server")
        if len(ports) < 2:
            sys.exit(f"counts: the server did not start:\n{log.read_text()}")
        self.port, self.metrics_port = map(int, ports[:2])
        parts.wait_for(self.is_recovered, 60, "the indexes of the cache")
        self.paths = {scene: [image[key] for image in cache.images] for scene, key in SCENES.items()}
        self.warm()

    def is_recovered(self):
        """Whether it has gone through its cache: until then, what it does depends on when it is asked."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as reply:
            return b"\nociregistry_store_recovered 1\n" in reply.read()

    def warm(self):
        """Asks for everything twice, so that it is in memory, or open, and known to be whole."""
        client = Client(self.port)
        for _ in range(2):
            for paths in self.paths.values():
                for path in paths:
                    client.ask(path)
                    client.take()

    def one_by_one(self, scene, requests):
        client = Client(self.port)
        paths = self.paths[scene]
        for index in range(requests):
            client.ask(paths[index % len(paths)])
            client.take()
            time.sleep(PAUSE_SECONDS)

    def side_by_side(self, scene, connections, rounds):
        clients = [Client(self.port) for _ in range(connections)]
        paths = self.paths[scene]
        for start in range(rounds):
            for index, client in enumerate(clients):
                client.ask(paths[(start + index) % len(paths)])
            for client in clients:
                client.take()

    def end(self, pid):
        os.kill(pid, signal.SIGTERM)
        self.process.wait(60)


class Callgrind:
    """A server whose instructions are counted: asked for when it has nothing to do, so that they are those of one stretch."""

    def __init__(self, bench, cache, program, rules=""):
        self.file = bench.directory / ("instructions-rules" if rules else "instructions")
        self.dumps = 0
        self.run = Run(bench, cache, program, *callgrind(self.file), rules=rules)
        self.taken()

    def taken(self):
        """The instructions since the last call."""
        self.dumps += 1
        subprocess.run(
            ["vgdb", f"--pid={self.run.process.pid}", "dump"], check=True, timeout=60, capture_output=True)
        return summary(self.file.with_name(f"{self.file.name}.{self.dumps}"))

    def per_request(self, scene):
        self.run.one_by_one(scene, REQUESTS)
        return self.taken() / REQUESTS


def summary(file):
    return int(re.search(r"^(?:summary|totals): (\d+)", file.read_text(), re.MULTILINE).group(1))


def callgrind(file):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"]


def instructions_of_part(bench, counted, part):
    """What one call of a part takes: the program `counted` makes nothing but calls."""
    totals = []
    for calls in (0, PARTS):
        file = bench.directory / f"part-{calls}"
        subprocess.run(callgrind(file) + [counted, part, str(calls)], check=True, timeout=120, capture_output=True)
        totals.append(summary(file))
    return (totals[1] - totals[0]) / PARTS


def calls_of_server(bench, cache, program, *load):
    """How often each system call was made from start to end, and how many seconds the load lasted."""
    file = bench.directory / "calls"
    run = Run(bench, cache, program, "strace", "-f", "-c", "-o", str(file))
    began = time.monotonic()
    if load:
        run.side_by_side(*load)
    seconds = time.monotonic() - began
    children = pathlib.Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    run.end(int(children[0]))
    calls = {}
    for line in file.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            # libuv 1.44 waits by epoll_wait, later ones by epoll_pwait.
            name = fields[-1].replace("epoll_wait", "epoll_pwait")
            calls[name] = calls.get(name, 0) + int(fields[3])
    return calls, seconds


failures = []


def show(name, value, most, unit):
    verdict = "" if value <= most else "   MORE THAN IT MAY"
    if verdict:
        failures.append(name)
    print(f"{name:32} {value:9.2f} {unit}, at most {most}{verdict}", flush=True)


def count_instructions(bench, cache, program, counted):
    for part in ("parser", "parser-again", "router"):
        show(part, instructions_of_part(bench, counted, part), MOST_INSTRUCTIONS[part], "instructions")
    plain = {}
    server = Callgrind(bench, cache, program)
    for scene in SCENES:
        if scene in MOST_INSTRUCTIONS:
            plain[scene] = server.per_request(scene)
            show(scene, plain[scene], MOST_INSTRUCTIONS[scene], "instructions")
    server.run.end(server.run.process.pid)
    server = Callgrind(bench, cache, program, RULES)
    for scene in SCENES_WITH_RULES:
        most = round(plain[scene] * MOST_WITH_RULES)
        show(f"{scene}, with rules", server.per_request(scene), most, "instructions")
    server.run.end(server.run.process.pid)


def count_calls(bench, cache, program):
    base, _ = calls_of_server(bench, cache, program)
    for scene, most in MOST_CALLS.items():
        connections, rounds = CONNECTIONS.get(scene, 64), ROUNDS.get(scene, 160)
        requests = connections * rounds
        calls, seconds = calls_of_server(bench, cache, program, scene, connections, rounds)
        each = {name: (count - base.get(name, 0)) / requests for name, count in calls.items()}
        for name, share in most.items():
            show(f"{scene}: {name}", each.pop(name, 0.0), share + CALLS_SLACK, "calls")
        beside = (CALLS_A_RUN + CALLS_A_CONNECTION * connections + CALLS_A_SECOND * seconds) / requests
        show(f"{scene}: any other", sum(each.values()), round(beside, 2), "calls")


def main(program, counted):
    with parts.Bench() as bench:
        cache = store.Cache(bench.directory / "images", IMAGES, parts.MIB)
        count_instructions(bench, cache, program, counted)
        count_calls(bench, cache, program)
    if failures:
        sys.exit(f"counts: {', '.join(failures)}: more than the limits in {os.path.basename(__file__)}")


main(*sys.argv[1:])
