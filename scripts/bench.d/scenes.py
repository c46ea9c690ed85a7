"""What is done to each server in a round, and what is counted meanwhile.

A scene of cached content asks servers that run all the time, over and over; a scene of cold content starts each one anew on
an empty directory. The upstream's own files are in the page cache for all of them: it has just been given them, and every
scene reads them again.
"""

import threading
import time

import driving
import machine

CONNECTIONS = 64
# For large bodies: enough to keep a server busy.
LARGE_CONNECTIONS = 4
# How long wrk runs each time: the shorter, the more alike is the machine to those that are compared.
TAKE_SECONDS = 1
CLIENTS = 20
# Of private dirty memory while they are served: a look costs a server under a millisecond.
SAMPLE_SECONDS = 0.1
# The upstream writes a line when it has answered; it has answered all when no more come for so long.
QUIET_SECONDS = 0.5


class Cached:
    """wrk asks for the paths in rotation for a second; `unit` requests are one of what is counted."""

    # As many takes a round as the run was given seconds for.
    cold, takes = False, None

    def __init__(self, key, title, paths, connections=CONNECTIONS, unit=1):
        self.key, self.title, self.paths, self.connections, self.unit = key, title, paths, connections, unit

    def measure(self, stage, server):
        with machine.Meter(server.pids) as meter:
            told = driving.wrk(server, self.paths, self.connections, TAKE_SECONDS, stage.directory)
        return {
            "cpu_us": 1e6 * meter.cpu_seconds / told["requests"] * self.unit, "rate": told["rate"] / self.unit,
            **{key: told[key] for key in ("p50_ms", "p99_ms", "p999_ms", "errors")},
            "cpu_percent": 100 * meter.cpu_seconds / meter.seconds,
            "resident_mib": machine.resident_mib(server.pids),
            "private_dirty_mib": machine.private_dirty_mib(server.pids)}, meter


class OneClient:
    """One client takes one large cached blob."""

    # Whoever is the first to read pages that nobody has read for a minute pays for it (a host gives its guest's memory a
    # rest): that is one take of three.
    cold, takes = False, 3

    def __init__(self, key, title, blob):
        self.key, self.title, self.blob = key, title, blob

    def measure(self, stage, server):
        with machine.Meter(server.pids) as meter:
            answer = driving.get_right(server, *self.blob)
        return {"seconds": answer.whole, "cpu_seconds": meter.cpu_seconds}, meter


class FirstByte:
    """How long a client waits for the first byte of the manifest of a large image that nobody has pulled before."""

    # It is over in milliseconds: the median of a few is the round's.
    cold, asks_origin, takes = True, True, 5

    def __init__(self, key, title, manifest):
        self.key, self.title, self.manifest = key, title, manifest

    def measure(self, stage, server):
        with machine.Meter(server.pids) as meter:
            answer = driving.get_right(server, *self.manifest)
        return {"first_byte_ms": 1000 * answer.first}, meter


class ColdBlob:
    """One client takes a large blob that nobody has pulled before."""

    cold, asks_origin, takes = True, True, 1

    def __init__(self, key, title, blob):
        self.key, self.title, self.blob = key, title, blob

    def measure(self, stage, server):
        with machine.Meter(server.pids) as meter:
            answer = driving.get_right(server, *self.blob)
        return {
            "seconds": answer.whole, "first_byte_ms": 1000 * answer.first, "cpu_seconds": meter.cpu_seconds}, meter


class Coalescing:
    """Twenty clients at once take a blob that nobody has pulled before."""

    cold, asks_origin, takes = True, False, 1

    def __init__(self, key, title, blob):
        self.key, self.title, self.blob = key, title, blob

    def measure(self, stage, server):
        gets, dirty, over = stage.upstream_gets(self.blob[0]), [], threading.Event()

        def watch():
            while not over.is_set():
                dirty.append(machine.private_dirty_mib(server.pids))
                over.wait(SAMPLE_SECONDS)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            with machine.Meter(server.pids) as meter:
                answers = driving.together(CLIENTS, lambda _: driving.get_right(server, *self.blob))
        finally:
            over.set()
            watcher.join()
        return {
            "upstream_gets": self._settled(stage) - gets,
            "slowest_first_byte_ms": 1000 * max(answer.first for answer in answers),
            "seconds": max(answer.whole for answer in answers), "cpu_seconds": meter.cpu_seconds,
            "resident_mib": machine.peak_resident_mib(server.pids), "private_dirty_mib": max(dirty)}, meter

    def _settled(self, stage):
        """The upstream's GETs of the blob, when no more come."""
        count = stage.upstream_gets(self.blob[0])
        since = time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(QUIET_SECONDS / 10)
            now = stage.upstream_gets(self.blob[0])
            if now != count:
                count, since = now, time.monotonic()
        return count


def all_scenes(content):
    size = _size(content.large_bytes)
    return [
        Cached("digest", "cached manifest by digest", content.by_digest()),
        Cached("tag", "cached manifest by tag", content.by_tag()),
        Cached("blob", "cached 4 KiB blob", content.layers()),
        Cached("medium", "cached 4 MiB blob, 4 connections", content.medium, LARGE_CONNECTIONS),
        Cached("image", "cached whole image, a pull's 8 requests", content.pulls(), unit=content.requests_per_pull),
        OneClient("large", f"cached {size} blob, one client", content.large),
        FirstByte("cold-manifest", f"cold manifest of a {size} image", content.large_manifest),
        ColdBlob("cold-blob", f"cold {size} blob", content.large),
        Coalescing("coalescing", f"{CLIENTS} cold clients, one {_size(content.shared_bytes)} blob", content.shared),
    ]


def _size(count):
    mib = count >> 20
    return f"{mib >> 10} GiB" if mib % 1024 == 0 else f"{mib} MiB"


KEYS = ("digest", "tag", "blob", "medium", "image", "large", "cold-manifest", "cold-blob", "coalescing")
