"""Two upstreams for attacks, in one process: one that serves whatever image it is asked for, and one that lies.

What the liar does is the first component of the repository asked for; LIES has them all.
"""

import asyncio
import functools
import gzip
import hashlib
import json

import extremes

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LARGEST = 2**63 - 1
BIG_BYTES = 16 * 1024 * 1024


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@functools.lru_cache(64)
def image(repository):
    """The image of a repository: manifest, then its blobs by digest. The same name always gives the same."""
    size = BIG_BYTES if repository.startswith("big") else 3000
    layer = hashlib.shake_256(repository.encode()).digest(size)
    config = json.dumps({"architecture": "amd64", "os": "linux", "name": repository}).encode()
    blobs = {digest(data): data for data in (config, layer)}
    described = [{"mediaType": "application/octet-stream", "digest": name, "size": len(data)}
                 for name, data in blobs.items()]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    return json.dumps(manifest).encode(), blobs


def head(status, fields, body=b"", length=True):
    lines = [f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines + ["", ""]).encode("latin-1") + body


class Asked:
    def __init__(self, text):
        lines = text.decode("latin-1").split("\r\n")
        self.method, target, _ = lines[0].split(" ", 2)
        self.path, _, self.query = target.partition("?")
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        parts = self.path.split("/")
        self.repository, self.kind, self.reference = "/".join(parts[2:-2]), parts[-2], parts[-1]
        self.offset = int(self.fields["range"][6:].split("-")[0]) if "range" in self.fields else None


class Good:
    """Serves every repository it is asked for."""

    def __init__(self):
        self.blobs, self.gets = {}, 0

    async def answer(self, asked, writer):
        manifest, blobs = image(asked.repository) if asked.repository else (b"", {})
        self.blobs.update(blobs)
        if asked.kind == "manifests" and asked.reference in ("latest", digest(manifest)):
            fields = [("Content-Type", MANIFEST), ("Docker-Content-Digest", digest(manifest))]
            return self.send(asked, writer, fields, manifest)
        if asked.kind == "blobs" and asked.reference in self.blobs:
            return self.send(asked, writer, [], self.blobs[asked.reference])
        if asked.kind == "tags":
            body = json.dumps({"name": asked.repository, "tags": [f"t{n:02}" for n in range(20)] + ["latest"]}).encode()
            return self.send(asked, writer, [("Content-Type", "application/json")], body)
        writer.write(head(404, [("Content-Type", "application/json")], b"{}"))

    def send(self, asked, writer, fields, body):
        data = head(200, fields, body)
        writer.write(data[:len(data) - len(body)] if asked.method == "HEAD" else data)


def _json(value, fields=()):
    return head(200, [("Content-Type", MANIFEST), *fields], json.dumps(value).encode())


def _redirect(place):
    return head(307, [("Location", place)])


def _realm(realm):
    return head(401, [("WWW-Authenticate", f'Bearer realm="{realm}",service="liar"')])


def _raw(text):
    return text.encode("latin-1")


def _length(value, body="x" * 50):
    return _raw(f"HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\n{body}")


def _ranged(asked, fields):
    """Breaks off at 10 of 100 bytes, and lies when it is asked for the rest."""
    if not asked.offset:
        return _length(100, "x" * 10)
    return _raw(f"HTTP/1.1 206 Partial\r\n{fields.format(asked.offset)}\r\n\r\n" + "y" * 20)


def lies(port):
    """Every lie: bytes, or what makes bytes of a request, by name. The connection ends behind them."""
    here = f"http://127.0.0.1:{port}"
    config = {"digest": digest(b""), "size": 0}
    many = [{"digest": digest(b"%d" % n), "size": 1} for n in range(20_000)]
    found = {
        "garbage-status": _raw("HTTP/9.9 banana\r\n\r\n"), "no-http": _raw("hello\r\n\r\nworld"),
        "status-000": _raw("HTTP/1.1 000 X\r\n\r\n"), "status-099": _raw("HTTP/1.1 099 X\r\n\r\n"),
        "status-999": head(999, []), "status-huge": _raw("HTTP/1.1 99999999999999999999 X\r\n\r\n"),
        "status-again": _raw("HTTP/1.1 404 X\r\nHTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nhi"),
        "giant-header": _raw("HTTP/1.1 200 OK\r\nX: " + "x" * 1_000_000 + "\r\n\r\n"),
        "switching": _raw("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\nstuff"),
        "no-content": head(204, []), "not-modified": head(304, []), "reset-content": head(205, []),
        "nothing": b"", "control-field": _raw("HTTP/1.1 200 OK\r\nX: \x00\x01\r\n\x7f: y\r\nContent-Length: 2\r\n\r\n{}"),
        "negative-length": _length("-5"), "overflowing-length": _length("9" * 40), "largest-length": _length(LARGEST),
        "plus-length": _length("+50"), "two-lengths": _length("10\r\nContent-Length: 20"), "hex-length": _length("0x32"),
        "longer-body": _length(5), "shorter-body": _length(5000), "no-length": _raw("HTTP/1.1 200 OK\r\n\r\nstuff"),
        "chunk-garbage": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nstuff\r\n"),
        "chunk-overflow": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "f" * 30 + "\r\nstuff"),
        "chunk-cut": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstu"),
        "chunk-trailer": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: " + "b" * 90_000),
        "both-framings": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        "gzip": head(200, [("Content-Encoding", "gzip")], gzip.compress(b"{}" * 1000)),
        "odd-coding": _raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        "partial-unasked": head(206, [("Content-Range", "bytes 5-9/10")], b"xxxxx"),
        "unsatisfiable": head(416, [("Content-Range", f"bytes */{LARGEST}")]),
        "wrong-digest": _json({"schemaVersion": 2}, [("Docker-Content-Digest", digest(b"other"))]),
        "garbage-digest": _json({"schemaVersion": 2}, [("Docker-Content-Digest", "sha256:nonsense")]),
        "nested": head(200, [("Content-Type", MANIFEST)], b"[" * 1_000_000),
        "nested-fields": head(200, [("Content-Type", MANIFEST)], b'{"config":' * 200_000),
        "large": head(200, [("Content-Type", MANIFEST)], b" " * (4 * 1024 * 1024 + 1)),
        "huge-number": head(200, [("Content-Type", MANIFEST)], b'{"schemaVersion":1e99999}'),
        "negative-size": _json({"schemaVersion": 2, "config": {"digest": digest(b""), "size": -1}}),
        "largest-size": _json({"schemaVersion": 2, "config": {"digest": digest(b""), "size": LARGEST}, "layers": []}),
        "many-layers": _json({"schemaVersion": 2, "config": config, "layers": many}),
        "schema-1": head(200, [("Content-Type", "application/vnd.docker.distribution.manifest.v1+json")], b"{}"),
        "odd-type": head(200, [("Content-Type", ";;;")], b"{}"), "bad-utf8": head(200, [("X", "\xff\xfe")], b"\xff\xfe"),
        "bad-tags": _json({"name": 'a"b', "tags": ['"', "\n", "a/b", "\u0000", "-", "x" * 500, "ok"]}),
        "bad-link": _json({"tags": ["a", "b"]}, [("Link", '<?last=\x01">; rel="next"'), ("Link", "<<>>; rel=next")]),
        "unauthorized": head(401, []), "odd-challenge": head(401, [("WWW-Authenticate", 'Bearer realm=,,="x", =')]),
        "long-challenge": head(401, [("WWW-Authenticate", "Bearer " + "a=b," * 5000)]),
        "forbidden": head(403, []), "teapot": head(418, []), "unavailable": head(503, [("Retry-After", "soon")]),
        "redirect-loop": lambda asked: _redirect(asked.path), "redirect-long": _redirect("/" + "x" * 20_000),
        "redirect-nowhere": head(307, []), "redirect-empty": _redirect(""), "redirect-slashes": _redirect("//"),
        "redirect-user": _redirect("http://user:secret@127.0.0.1:1/"), "redirect-control": _redirect("/a\x01b"),
        "unwilling-range": lambda asked: head(416, []) if asked.offset else _length(100, "x" * 10),
        "token-crlf": _realm(here + "/token/crlf"), "token-odd-life": _realm(here + "/token/life"),
        "token-garbage": _realm(here + "/token/garbage"), "token-status": _realm(here + "/token/status"),
        "token-redirect": _realm(here + "/token/redirect"), "token-endless": _realm(here + "/token/endless"),
        "token-silent": _realm(here + "/token/silent"), "token-nested": _realm(here + "/token/nested"),
    }
    for name, value in {"minus": "-1", "huge": "9" * 30, "text": "later", "past": "Thu, 01 Jan 1970 00:00:00 GMT",
                        "far": "Fri, 31 Dec 9999 23:59:60 GMT"}.items():
        found[f"too-many-{name}"] = head(429, [("Retry-After", value)])
    for name, place in {"file": "file:///etc/passwd", "gopher": "gopher://127.0.0.1:1/", "loopback": "http://127.0.0.2:1/",
                        "name": "http://localhost:1/", "metadata": "http://169.254.169.254/latest/", "six": "http://[::1]:1/",
                        "mapped": "http://[::ffff:127.0.0.3]:1/", "decimal": "http://2130706434:1/",
                        "octal": "http://0177.0.0.2:1/", "zero": "http://0.0.0.0:1/", "dots": "http://localhost.:1/"}.items():
        found[f"redirect-{name}"], found[f"realm-{name}"] = _redirect(place), _realm(place)
    for name, fields in {"largest": f"Content-Range: bytes {{}}-99/*\r\nContent-Length: {LARGEST}",
                         "total": f"Content-Range: bytes {{}}-99/100\r\nContent-Length: {LARGEST}",
                         "overflow": f"Content-Range: bytes {{}}-{LARGEST}/{LARGEST + 1}\r\nContent-Length: 20",
                         "edge": f"Content-Range: bytes {{}}-{LARGEST - 1}/{LARGEST}\r\nContent-Length: 20",
                         "negative": "Content-Range: bytes -5-10/20\r\nContent-Length: 20",
                         "backwards": "Content-Range: bytes {0}-5/4\r\nContent-Length: 20",
                         "none": "Content-Length: 20", "grown": "Content-Range: bytes {}-199/200\r\nContent-Length: 20",
                         }.items():
        found[f"range-{name}"] = lambda asked, fields=fields: _ranged(asked, fields)
    return found


# What takes its time; a coroutine each. Bounded: the other side is expected to have enough of it long before.
ENDLESS = {
    "endless-headers": (b"HTTP/1.1 200 OK\r\n", b"X-Some: thing\r\n" * 50),
    "interim-flood": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 20),
    "endless-line": (b"HTTP/1.1 200 ", b"x" * 4096),
    "endless-manifest": (f"HTTP/1.1 200 OK\r\nContent-Type: {MANIFEST}\r\n\r\n".encode(), b" " * 65536),
}


class Liar:
    def __init__(self, port):
        self.lies, self.port, self.extremes = lies(port), port, 0

    async def answer(self, asked, writer):
        if asked.repository.startswith(("extreme/", "beyond/")) or asked.path == "/token/extreme":
            self.extremes += 1
            writer.write(extremes.answer(asked, self.extremes, self.port))
            await writer.drain()
        elif asked.path.startswith("/token/"):
            await self.token(asked.path.split("/")[2], writer)
        else:
            await self.lie(asked.repository.split("/")[0], asked, writer)
        writer.close()

    async def lie(self, name, asked, writer):
        if name in ENDLESS:
            return await self.endless(writer, *ENDLESS[name])
        if name == "silent":
            return await asyncio.sleep(120)
        if name == "drip":
            return await self.drip(writer, head(200, [], b"x" * 5000))
        if name == "reset":
            return writer.transport.abort()
        lie = self.lies.get(name, head(404, [], b"{}"))
        writer.write(lie(asked) if callable(lie) else lie)
        await writer.drain()

    async def endless(self, writer, first, rest):
        writer.write(first)
        for _ in range(2000):
            writer.write(rest)
            await writer.drain()

    async def drip(self, writer, data):
        for index in range(min(len(data), 120)):
            writer.write(data[index:index + 1])
            await writer.drain()
            await asyncio.sleep(1)

    async def token(self, name, writer):
        body = {"crlf": '{"token":"a\\r\\nX-Evil: 1"}', "life": '{"token":"t","expires_in":1e300}', "garbage": "<html>",
                "nested": "[" * 60_000}.get(name, "")
        if name == "endless":
            return await self.endless(writer, b"HTTP/1.1 200 OK\r\n\r\n", b"{" * 4096)
        if name == "silent":
            return await asyncio.sleep(60)
        fields = [("Location", "http://169.254.169.254/")] if name == "redirect" else []
        writer.write(head({"status": 500, "redirect": 302}.get(name, 200), fields, body.encode()))
        await writer.drain()


def names():
    """All that the liar can do."""
    return sorted([*lies(0), *ENDLESS, "silent", "drip", "reset"])


async def _serve(upstream, reader, writer):
    try:
        while True:
            text = await reader.readuntil(b"\r\n\r\n")
            await upstream.answer(Asked(text), writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError, IndexError):
        pass
    finally:
        writer.close()


async def _run(connection):
    good = await asyncio.start_server(lambda r, w: _serve(Good.shared, r, w), "127.0.0.1", 0, backlog=4096)
    liar = await asyncio.start_server(lambda r, w: _serve(Liar.shared, r, w), "127.0.0.1", 0, backlog=4096)
    ports = [server.sockets[0].getsockname()[1] for server in (good, liar)]
    Good.shared, Liar.shared = Good(), Liar(ports[1])
    connection.send(ports)
    async with good, liar:
        await asyncio.gather(good.serve_forever(), liar.serve_forever())


def main(connection):
    """The whole process: sends the two ports, and serves until it is ended."""
    asyncio.run(_run(connection))
