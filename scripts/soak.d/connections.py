#!/usr/bin/env python3
"""A total: as many connections as descriptors allow, up to 10,000, a tenth of them slow, while blobs are pulled cold and
Prometheus scrapes every second. How cached manifests fare for those who ask, how long the loop's iterations get.

connections.py PROGRAM
"""

import resource
import socket
import sys
import threading
import time

import curves
import manycached
import parts
import scale

IMAGES, SECONDS, PAUSE_MILLISECONDS = 1_000, 30, 3_000
SLOW_SHARE, SLOW_BYTES, SLOW_PAUSE_SECONDS = 10, 2_048, 0.5
COLD_BYTES, SPARE_DESCRIPTORS, WANTED = 64 * parts.MIB, 500, 10_000
# Many cold pulls at once: so many clients, each with the blobs of an image of its own.
PULLERS, BLOBS_EACH, SMALL_BYTES = 100, 10, 128 * 1024


class SlowReaders(threading.Thread):
    """Connections that ask for a large blob and take a little of it twice a second, through a small window."""

    def __init__(self, port, path, count):
        super().__init__(daemon=True)
        self.stop, self.taken, self.lost = threading.Event(), 0, 0
        self.sockets = []
        for _ in range(count):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", port))
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            reader.setblocking(False)
            self.sockets.append(reader)

    def run(self):
        while not self.stop.wait(SLOW_PAUSE_SECONDS):
            for reader in list(self.sockets):
                try:
                    taken = len(reader.recv(SLOW_BYTES))
                except BlockingIOError:
                    continue
                except OSError:
                    taken = 0
                self.taken += taken
                if taken == 0:
                    self.lost += 1
                    self.sockets.remove(reader)

    def end(self):
        self.stop.set()
        self.join()
        for reader in self.sockets:
            reader.close()


class Repeating(threading.Thread):
    """Does something again and again, at most once in so many seconds, until told to stop."""

    def __init__(self, action, every=0.0):
        super().__init__(daemon=True)
        self.action, self.every, self.stop, self.count = action, every, threading.Event(), 0

    def run(self):
        while not self.stop.wait(self.every):
            self.action(self.count)
            self.count += 1

    def end(self):
        self.stop.set()
        self.join()


def quantile(before, after, share):
    """The bucket's upper bound, in seconds, below which this share of the loop's iterations lies."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    total = max(counts.values())
    return next(bound for bound, count in sorted(counts.items()) if count >= share * total)


def main(program):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    total = min(WANTED, hard - SPARE_DESCRIPTORS)
    with parts.Bench() as bench:
        registry = bench.upstream()
        large = parts.push_blob(registry, "library/large", 8 * parts.MIB, "large")
        cold = [parts.push_blob(registry, "library/cold", COLD_BYTES, f"cold {number}") for number in range(12)]
        small = [parts.push_blob(registry, "library/small", SMALL_BYTES, f"small {number}") for number in range(PULLERS * BLOBS_EACH)]
        manycached.make(str(bench.directory / "images"), IMAGES)
        metrics = parts.free_port()
        process, port = bench.server(program, registry, "--metrics", str(metrics), "--metrics-host", "127.0.0.1")
        scrapes = scale.Scrapes(metrics, process.pid)
        path = f"/v2/docker.io/library/large/blobs/{large}"
        assert parts.get(port, path)[0] == 200
        curves.wrk(port, IMAGES, 64, 2)

        def report(name, connections, pause):
            before, cpu = scrapes.turns(), parts.cpu_seconds(process.pid)
            requests, rate, p50, p99, p999, errors = curves.wrk(port, IMAGES, connections, SECONDS, pause)
            after, cpu = scrapes.turns(), parts.cpu_seconds(process.pid) - cpu
            print(f"{name}: {requests} manifests ({rate:.0f}/s), p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, {errors} errors")
            print(f"  loop: p99.9 of its iterations ≤ {quantile(before[0], after[0], 0.999) * 1000:g} ms; {scale.spread(before, after)}")
            print(f"  {cpu / SECONDS * 100:.0f}% of a processor, {scale.memory(process.pid)[1]}", flush=True)

        slow_count = total // SLOW_SHARE
        asking = total - slow_count
        # Everybody asks every few seconds: what is measured is waiting for the server, not for one's turn at a full machine.
        report(f"{asking} connections", asking, PAUSE_MILLISECONDS)
        slow = SlowReaders(port, path, slow_count)
        slow.start()
        scraping = Repeating(lambda _: scrapes.text(), 1.0)
        failures = []

        def pull(repository, digest):
            answer = parts.get(port, f"/v2/docker.io/library/{repository}/blobs/{digest}")
            if answer[0] != 200 or answer[3] != digest:
                failures.append(answer)

        pulling = Repeating(lambda number: pull("cold", cold[number % len(cold)]), 0.5)
        scraping.start()
        pulling.start()
        report(f"and {slow_count} slow readers, cold pulls of {COLD_BYTES // parts.MIB} MiB, a scrape a second", asking,
               PAUSE_MILLISECONDS)
        pulling.end()
        print(f"  {pulling.count} blobs pulled, {len(failures)} of them wrong; {scraping.count} scrapes")

        began = threading.Event()

        def pull_image(number):
            began.wait()
            for digest in small[number * BLOBS_EACH:(number + 1) * BLOBS_EACH]:
                pull("small", digest)

        pullers = [threading.Thread(target=pull_image, args=(number,), daemon=True) for number in range(PULLERS)]
        for each in pullers:
            each.start()
        start = time.monotonic()
        began.set()
        report(f"and {PULLERS} clients that pull {PULLERS * BLOBS_EACH} cold blobs of {SMALL_BYTES // 1024} KiB", asking,
               PAUSE_MILLISECONDS)
        for each in pullers:
            each.join()
        print(f"  all pulled after {time.monotonic() - start:.1f} s at most, {len(failures)} of them wrong")
        for each in (scraping, slow):
            each.end()
        print(f"slow readers took {slow.taken} bytes, {slow.lost} were cut off")


if __name__ == "__main__":
    main(sys.argv[1])
