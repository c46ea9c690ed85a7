"""What asks: wrk for many short answers, plain sockets for single large ones and for many clients of one.

Every request carries the header lines of containerd, the long Accept line with its manifest types above all: a server has
to read them, and short ones would flatter whoever reads slowly.
"""

import hashlib
import http.client
import pathlib
import re
import socket
import subprocess
import threading
import time

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
HEADERS = ("User-Agent: containerd/1.6.20", "Accept: " + ", ".join(MANIFEST_TYPES) + ", */*", "Accept-Encoding: gzip")

# Longest silence before an answer counts as failed. A proxy that pulls 1 GiB before it says a word needs its time.
PATIENCE_SECONDS = 120
# Of wrk, whose two seconds are too few for a slow server behind 64 connections on a busy machine.
WRK_PATIENCE_SECONDS = 20
# A real server may fail now and then (a registry as a proxy does, when its upstream is busy): that is told beside its
# figures. Above this share of its answers they would be of something else than what was asked for.
TOLERATED_SHARE = 0.01


class Failed(Exception):
    """A server gave something else than what was asked for: its figures would mean nothing."""


def wrk(server, paths, connections, seconds, directory):
    """A run over `paths` (a list of (path, size)): requests answered right, rate, latencies, and how many were failed, of
    which there may be none unless the server is one that others made."""
    names = pathlib.Path(directory) / "paths"
    names.write_text("".join(f"{server.path(path)}\n" for path, _ in paths))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{WRK_PATIENCE_SECONDS}s"]
    command += ["-s", str(pathlib.Path(__file__).with_name("rotation.lua"))]
    for header in HEADERS:
        command += ["-H", header]
    command += [f"http://{server.host}:{server.port}", "--", str(names)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 2 * WRK_PATIENCE_SECONDS, check=False)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\S+) (\S+) (\S+)", done.stdout)
    if not found:
        raise Failed(f"wrk: {done.stdout}{done.stderr}")
    requests, microseconds, received, errors = (int(each) for each in found.groups()[:4])
    right = requests - errors
    if right < 1 or errors > (max(1, requests * TOLERATED_SHARE) if server.is_peer else 0):
        raise Failed(f"{server.name}: {errors} errors in {requests} requests:\n{done.stdout}{server.said()}")
    # Bodies alone, and a round not finished taken off: a server that sends less than it should is no faster for that.
    mean, largest = sum(size for _, size in paths) / len(paths), max(size for _, size in paths)
    least = (requests - len(paths)) * mean - errors * largest
    if received < least:
        raise Failed(f"{server.name}: {received} bytes in {requests} requests, less than the bodies of {least:.0f}")
    p50, p99, p999 = (float(each) for each in found.groups()[4:])
    return {
        "requests": right, "rate": right / (microseconds / 1e6), "p50_ms": p50, "p99_ms": p99, "p999_ms": p999,
        "errors": errors}


class Answer:
    def __init__(self, status, length, first, whole, digest):
        self.status, self.length, self.first, self.whole, self.digest = status, length, first, whole, digest


def _head(connection, buffer):
    """(status, Content-Length, how much of the body is in the buffer, time of the first byte)."""
    have, first = 0, None
    while b"\r\n\r\n" not in bytes(buffer[:min(have, 65536)]):
        count = connection.recv_into(memoryview(buffer)[have:])
        if not count:
            raise Failed("a connection ended before its answer")
        first = first or time.monotonic()
        have += count
    head, _, _ = bytes(buffer[:have]).partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    if not length:
        raise Failed(f"no length in {head!r}")
    return int(head.split()[1]), int(length.group(1)), have - len(head) - 4, first


def get(server, path, hashed=False):
    """One answer over a connection of its own. Times are seconds since before it was opened."""
    buffer, digest = bytearray(1 << 20), hashlib.sha256()
    start = time.monotonic()
    with socket.create_connection((server.host, server.port), PATIENCE_SECONDS) as connection:
        lines = (f"GET {server.path(path)} HTTP/1.1", f"Host: {server.host}:{server.port}", "Connection: close", *HEADERS)
        connection.sendall("\r\n".join(lines + ("", "")).encode())
        status, length, have, first = _head(connection, buffer)
        if hashed and have:
            end = bytes(buffer).index(b"\r\n\r\n") + 4
            digest.update(memoryview(buffer)[end:end + have])
        while have < length:
            count = connection.recv_into(buffer)
            if not count:
                raise Failed(f"{server.name}: {path} broke off at {have} of {length} bytes")
            if hashed:
                digest.update(memoryview(buffer)[:count])
            have += count
        whole = time.monotonic()
    return Answer(status, length, first - start, whole - start, f"sha256:{digest.hexdigest()}" if hashed else None)


def get_right(server, path, size):
    """The same, of which status and length must be right."""
    answer = get(server, path)
    if (answer.status, answer.length) != (200, size):
        raise Failed(f"{server.name}: {path}: {answer.status} with {answer.length} bytes instead of {size}")
    return answer


def greet(server):
    """What every client asks first: is there a registry? A process that has answered once is one that runs."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/v2/")
    connection.getresponse().read()
    connection.close()


def together(count, work):
    """`work(index)` in so many threads at once; what they returned, or the first failure."""
    results, failures, barrier = [None] * count, [], threading.Barrier(count)

    def run(index):
        try:
            barrier.wait(PATIENCE_SECONDS)
            results[index] = work(index)
        except (Failed, OSError, threading.BrokenBarrierError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(str(failures[0]))
    return results
