#!/usr/bin/env python3
"""100,000 images on disk: start, memory, list, and prune of half, with cached pulls beside; and the loop's iterations.

scale.py PROGRAM [IMAGES [STORE]]: a STORE that is there (manycached.py) is copied by hard links rather than made anew.
"""

import http.client
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import manycached
import parts

PULLERS, PAUSE_MILLISECONDS, SETTLED_SECONDS = 8, 2, 10
TURNS = "ociregistry_loop_iteration_busy_seconds"
SLOW = 0.005


class Scrapes:
    """The metrics listener, and how the loop's iterations were spread between two looks at it."""

    def __init__(self, port, pid):
        self.port, self.pid = port, pid

    def text(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def value(self, name):
        return float(re.search(rf"^{re.escape(name)} (\S+)", self.text(), re.M).group(1))

    def turns(self):
        pairs = re.findall(rf'^{TURNS}_bucket{{le="([^"]+)"}} (\d+)', self.text(), re.M)
        return {float(bound): int(count) for bound, count in pairs}, waits(self.pid)


def waits(pid):
    """Seconds that the loop's thread has been ready to run and had no core (/proc/PID/task/PID/schedstat)."""
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


def spread(before, after):
    """What lies between two looks: iterations, those above 5 ms, and the bound that the longest stayed below."""
    (before, former_wait), (after, wait) = before, after
    bounds = sorted(after)
    each, former = [], 0
    for bound in bounds:
        total = after[bound] - before.get(bound, 0)
        each.append((bound, total - former))
        former = total
    longest = max((bound for bound, count in each if count), default=0)
    slow = sum(count for bound, count in each if bound > SLOW)
    top = ", ".join(f"{count} ≤ {bound * 1000:g} ms" for bound, count in each if count and bound > 0.001)
    text = f"{former} iterations, longest ≤ {longest * 1000:g} ms, {slow} above 5 ms" + (f" ({top})" if top else "")
    return f"{text}; without a core for {wait - former_wait:.2f} s in all"


def memory(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    dirty = int(re.search(r"Private_Dirty:\s+(\d+)", rollup).group(1))
    return dirty, f"resident {parts.memory_kib(pid) / 1024:.1f} MiB, private and dirty {dirty / 1024:.1f} MiB"


def wait_for_answer(port, path, process):
    """Seconds until a first request is answered 200."""
    start = time.monotonic()
    while process.poll() is None and time.monotonic() < start + 120:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return time.monotonic() - start
        except OSError:
            time.sleep(0.002)
    raise SystemExit("the server does not answer")


class Pulls:
    """wrk, each connection with a pause after each answer: cached manifests of the images that stay."""

    def __init__(self, bench, port, images, seconds=600):
        script = bench.directory / "pulls.lua"
        script.write_text(
            "local n = 0\n"
            "init = function() math.randomseed(1) end\n"
            f"delay = function() return {PAUSE_MILLISECONDS} end\n"
            "request = function()\n"
            f"  local i = math.random(0, {images // 2 - 1}) * 2\n"
            f"  local app, tag = math.floor(i / {manycached.TAGS}), i % {manycached.TAGS}\n"
            "  return wrk.format('GET', '/v2/docker.io/library/app' .. app .. '/manifests/v' .. tag)\n"
            "end\n" + pathlib.Path(__file__).with_name("latency.lua").read_text())
        self.process = subprocess.Popen(
            ["wrk", "-t1", f"-c{PULLERS}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}"],
            stdout=subprocess.PIPE, text=True)
        bench.processes.append(self.process)

    def end(self):
        """SIGINT has wrk report what it has."""
        self.process.send_signal(2)
        out = self.process.communicate(timeout=30)[0]
        found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+) (\d+)", out)
        if not found:
            return out
        requests, microseconds, p50, p99, p999, errors = found.groups()
        rate = int(requests) / (int(microseconds) / 1e6)
        return f"{requests} pulls ({rate:.0f}/s), p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, {errors} errors"


def timed(command):
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start, done.stdout


def main(program, images=100_000, source=None):
    with parts.Bench() as bench:
        store = bench.directory / "images"
        start = time.monotonic()
        if source:
            # Links: made in the same file system, and nothing writes to a file that has its final name.
            subprocess.run(["cp", "-al", source, str(store)], check=True)
        else:
            manycached.make(str(store), images)
        files = sum(len(names) for _, _, names in os.walk(store))
        print(f"{images} images, {files} files, made in {time.monotonic() - start:.0f} s", flush=True)

        port, metrics = parts.free_port(), parts.free_port()
        command = [program, "serve", "--image-path", str(store), "--host", "127.0.0.1", "--port", str(port),
                   "--metrics", str(metrics), "--metrics-host", "127.0.0.1", "--air-gapped"]
        process = bench.start(*command, log=bench.directory / "server.log")
        first = wait_for_answer(port, "/v2/docker.io/library/app1/manifests/v1", process)
        scrapes, start = Scrapes(metrics, process.pid), time.monotonic() - first
        pulls = Pulls(bench, port, images)
        parts.wait_for(lambda: scrapes.value("ociregistry_store_recovered"), 300, "recovery")
        print(f"start: first answer after {first * 1000:.0f} ms, all indexes after {time.monotonic() - start:.1f} s")
        print(f"  with pulls beside: {pulls.end()}")
        print(f"  loop: {spread(({}, 0), scrapes.turns())}", flush=True)
        dirty, text = memory(process.pid)
        print(f"memory after start: {text}", flush=True)

        before = scrapes.turns()
        pulls = Pulls(bench, port, images, SETTLED_SECONDS)
        pulls.process.wait()
        print(f"nothing else running: {pulls.end()}\n  loop: {spread(before, scrapes.turns())}")
        cached = scrapes.value('ociregistry_live_objects{kind="cached_manifest"}')
        inside = scrapes.value("ociregistry_manifest_memory_bytes")
        now, text = memory(process.pid)
        print(f"memory with {cached:.0f} manifests ready to be sent ({inside / 2**20:.1f} MiB): {text}", flush=True)

        socket_path = store / "store-v1/ADMIN"
        steps = [
            ("list", [program, "list", "--image-path", str(store)]),
            ("/cmd/manifest/list, all", ["curl", "-sSf", "--unix-socket", str(socket_path),
                                         "http://localhost/cmd/manifest/list?count=-1"]),
            ("/cmd/image/list, 50", ["curl", "-sSf", "--unix-socket", str(socket_path),
                                     "http://localhost/cmd/image/list"]),
            ("prune of half, dry run", [program, "prune", "--image-path", str(store), "--unused-for", "5d", "--dry-run"]),
            ("prune of half", [program, "prune", "--image-path", str(store), "--unused-for", "5d"]),
        ]
        for name, command in steps:
            before = scrapes.turns()
            pulls = Pulls(bench, port, images)
            seconds, out = timed(command)
            print(f"{name}: {seconds:.1f} s, {len(out.splitlines())} lines, the last {out.splitlines()[-1][:100]!r}")
            print(f"  pulls beside: {pulls.end()}\n  loop: {spread(before, scrapes.turns())}", flush=True)
            print(f"  {memory(process.pid)[1]}, peak {parts.memory_kib(process.pid, 'VmHWM') / 1024:.0f} MiB", flush=True)
        process.terminate()
        process.wait(60)
        left = sum(len(names) for _, _, names in os.walk(store))
        print(f"{left} files are left")


if __name__ == "__main__":
    # Ended from outside, it still takes its programs and files with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main(sys.argv[1], *map(int, sys.argv[2:3]), *sys.argv[3:4])
