"""Clients of a server that is upgraded: upgrade_clients.py HOST:PORT CONNECTIONS READERS PATH BLOB DIGEST

CONNECTIONS connections each ask for PATH once a second and stay open. READERS pull the blob at path BLOB again and again, each
slowly, and check that it hashes to DIGEST. A request on a kept connection that has been closed without an answer is sent once
more on a new one, as HTTP has it (RFC 9112 section 9.3.1). Prints "all connected", then a line for each blob, and after SIGTERM
"ok N, blobs N, sent again N, failed N" with the reasons of failures. Every request that got an answer counts in ok or blobs.
"""
import asyncio
import hashlib
import resource
import signal
import sys

PATIENCE_SECONDS = 60
PAUSE_SECONDS = 1
# A pull of 32 MiB takes about five seconds: an upgrade falls into many.
PIECE, PIECE_PAUSE_SECONDS = 1 << 20, 0.15
# Connections are made in steps, so that the listener's backlog does not overflow.
STEP, STEP_SECONDS = 100, 0.02


class Clients:
    def __init__(self, host, port):
        self.host, self.port = host, port
        self.counts = {"ok": 0, "blobs": 0, "again": 0}
        self.failures = []
        self.is_stopped = asyncio.Event()

    async def connect(self):
        return await asyncio.wait_for(asyncio.open_connection(self.host, self.port), PATIENCE_SECONDS)

    async def ask(self, streams, path):
        """The response's length; None when the connection was closed before its first byte."""
        reader, writer = streams
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        except ConnectionError:
            return None
        lines = head.decode().split("\r\n")
        if not lines[0].startswith("HTTP/1.1 200"):
            raise ValueError(lines[0])
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(fields["content-length"]), fields.get("connection") == "close"

    async def fetch(self, streams, path, pause=0):
        """A whole response on these streams or on new ones: the digest, and the streams when they stay open."""
        is_kept = streams is not None
        streams = streams or await self.connect()
        found = await self.ask(streams, path)
        if found is None:
            if not is_kept:
                raise ConnectionError("closed without an answer")
            self.counts["again"] += 1
            streams[1].close()
            streams = await self.connect()
            found = await self.ask(streams, path)
            if found is None:
                raise ConnectionError("closed without an answer, twice")
        (left, is_last), digest = found, hashlib.sha256()
        while left:
            piece = await asyncio.wait_for(streams[0].readexactly(min(left, PIECE)), PATIENCE_SECONDS)
            digest.update(piece)
            left -= len(piece)
            if pause and left:
                await asyncio.sleep(pause)
        if is_last:
            streams[1].close()
            streams = None
        return digest.hexdigest(), streams

    async def pause(self):
        try:
            await asyncio.wait_for(self.is_stopped.wait(), PAUSE_SECONDS)
        except asyncio.TimeoutError:
            pass

    async def client(self, path, connected):
        streams, body = None, None
        while not self.is_stopped.is_set():
            try:
                digest, streams = await self.fetch(streams, path)
                body = body or digest
                if digest != body:
                    raise ValueError("another body")
                self.counts["ok"] += 1
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.failures.append(repr(error))
                streams = None
            if not connected.done():
                connected.set_result(None)
            await self.pause()

    async def reader(self, path, expected):
        while not self.is_stopped.is_set():
            try:
                digest, streams = await self.fetch(None, path, PIECE_PAUSE_SECONDS)
                if digest != expected:
                    raise ValueError("a wrong body")
                self.counts["blobs"] += 1
                print(f"blob {self.counts['blobs']}", flush=True)
                if streams:
                    streams[1].close()
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.failures.append(f"blob: {error!r}")
                await self.pause()


async def main():
    address, connections, readers, path, blob, digest = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = Clients(host, int(port))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, clients.is_stopped.set)
    tasks, connected = [], []
    for number in range(int(connections)):
        connected.append(loop.create_future())
        tasks.append(asyncio.create_task(clients.client(path, connected[-1])))
        if number % STEP == 0:
            await asyncio.sleep(STEP_SECONDS)
    tasks += [asyncio.create_task(clients.reader(blob, digest)) for _ in range(int(readers))]
    await asyncio.gather(*connected)
    print("all connected", flush=True)
    await asyncio.gather(*tasks)
    counts = clients.counts
    print(
        f"ok {counts['ok']}, blobs {counts['blobs']}, sent again {counts['again']}, failed {len(clients.failures)}"
        f" {sorted(set(clients.failures))[:5]}",
        flush=True,
    )


asyncio.run(main())
