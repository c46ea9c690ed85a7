#!/usr/bin/env python3
"""What a cached manifest costs by how many there are and by how many connections ask; start-up and memory by size.

curves.py PROGRAM [DIRECTORY]: writes curves-manifests.csv, curves-connections.csv and a PNG of each to DIRECTORY.
"""

import csv
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import time

import manycached
import parts
import scale

COUNTS = (100, 1_000, 10_000, 100_000)
CONNECTIONS = (10, 100, 1_000, 10_000)
ROUNDS, SECONDS, STEP, ATTEMPTS = 3, 4, 7919, 4
TYPICAL_IMAGES, TYPICAL_CONNECTIONS = 1_000, 64


def wrk(port, images, connections, seconds, pause=0):
    """A bounded run over all images: (requests, requests/s, p50, p99, p99.9 in ms, errors)."""
    script = pathlib.Path(__file__).with_name("many.lua")
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script),
         f"http://127.0.0.1:{port}", "--", str(images), str(STEP), str(pause), parts.ACCEPT.split(": ")[1]],
        capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    requests, microseconds, p50, p99, p999, errors = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+) (\d+)", out).groups()
    return int(requests), int(requests) / (int(microseconds) / 1e6), float(p50), float(p99), float(p999), int(errors)


class Run:
    """A server on a store of so many images, its indexes complete."""

    def __init__(self, bench, program, images):
        self.images, self.port, self.metrics = images, parts.free_port(), parts.free_port()
        store = bench.directory / f"images-{images}"
        if not store.exists():
            manycached.make(str(store), images)
        began = time.monotonic()
        self.process = bench.start(
            program, "serve", "--image-path", str(store), "--host", "127.0.0.1", "--port", str(self.port), "--metrics",
            str(self.metrics), "--metrics-host", "127.0.0.1", "--air-gapped", "--log-level", "warn",
            log=bench.directory / "server.log")
        parts.wait_for(lambda: parts.answers(self.port), what="the server")
        assert parts.get(self.port, "/v2/docker.io/library/app0/manifests/v1")[0] == 200
        scrapes = scale.Scrapes(self.metrics, self.process.pid)
        self.first_seconds = time.monotonic() - began
        parts.wait_for(lambda: scrapes.value("ociregistry_store_recovered") == 1, 120, "the indexes")
        self.indexed_seconds = time.monotonic() - began

    def cost(self, connections):
        """Medians of some rounds: CPU µs a request, requests/s, p99 and p99.9 in ms."""
        rounds = []
        # Every manifest once, so that what is measured is the same from the first round on.
        wrk(self.port, self.images, connections, 2 + self.images // 20_000)
        for _ in range(ROUNDS):
            rounds.append(self.round(connections))
        return [statistics.median(column) for column in zip(*rounds)]

    def round(self, connections):
        """One round. On a busy machine wrk can end before its first answer: it then gets twice the time, some times."""
        for attempt in range(ATTEMPTS):
            seconds = SECONDS << attempt
            before = parts.cpu_seconds(self.process.pid)
            requests, rate, _, p99, p999, errors = wrk(self.port, self.images, connections, seconds)
            assert errors == 0, errors
            if requests:
                return (parts.cpu_seconds(self.process.pid) - before) * 1e6 / requests, rate, p99, p999
            load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
            print(f"{connections:7} connections: wrk got no answer within {seconds} s (load average {load})", flush=True)
        raise SystemExit(f"curves: {ATTEMPTS} rounds of wrk with {connections} connections got no answer. "
                         "Try again when nothing else runs on this machine")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def draw(directory, name, **variables):
    script = pathlib.Path(__file__).with_name(f"{name}.gp")
    values = "".join(f"{key}='{value}';" for key, value in variables.items())
    subprocess.run(["gnuplot", "-e", f"csv='{directory}/{name}.csv'; png='{directory}/{name}.png';{values}", str(script)], check=True)


def table(directory, name, header, rows):
    with open(directory / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{value:.6g}" for value in row] for row in rows)
    draw(directory, name)


def by_manifests(bench, program, directory):
    rows = []
    for images in COUNTS:
        run = Run(bench, program, images)
        idle_kib, idle_dirty = parts.memory_kib(run.process.pid), scale.memory(run.process.pid)[0]
        cpu, rate, p99, p999 = run.cost(TYPICAL_CONNECTIONS)
        served_kib, served_dirty = parts.memory_kib(run.process.pid), scale.memory(run.process.pid)[0]
        rows.append((images, cpu, rate, p99, p999, run.first_seconds, run.indexed_seconds,
                     idle_kib / 1024, idle_dirty / 1024, served_kib / 1024, served_dirty / 1024))
        print("{:7} manifests: {:5.2f} µs CPU a request, {:6.0f} requests/s, p99 {:.2f} ms, p99.9 {:.2f} ms; first answer {:.3f} s, "
              "all indexed {:.2f} s; resident {:.1f} MiB ({:.1f} dirty), after serving {:.1f} MiB ({:.1f})".format(*rows[-1]), flush=True)
        run.stop()
    table(directory, "curves-manifests",
          ("manifests", "cpu_us", "rate", "p99_ms", "p999_ms", "first_s", "indexed_s", "rss_mib", "dirty_mib", "served_rss_mib",
           "served_dirty_mib"), rows)


def by_connections(bench, program, directory):
    rows = []
    run = Run(bench, program, TYPICAL_IMAGES)
    for connections in CONNECTIONS:
        cpu, rate, p99, p999 = run.cost(connections)
        rows.append((connections, cpu, rate, p99, p999, parts.memory_kib(run.process.pid) / 1024))
        print("{:7} connections: {:5.2f} µs CPU a request, {:6.0f} requests/s, p99 {:.2f} ms, p99.9 {:.2f} ms, resident {:.1f} MiB"
              .format(*rows[-1]), flush=True)
    run.stop()
    table(directory, "curves-connections", ("connections", "cpu_us", "rate", "p99_ms", "p999_ms", "rss_mib"), rows)


def main(program, directory="."):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with parts.Bench() as bench:
        by_connections(bench, program, directory)
        by_manifests(bench, program, directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
