"""Numbers at the ends of what fits, in every field that has one and several at once: from clients, and from upstreams.

An upstream's repository `extreme/…` states any sizes; `beyond/…` states such that no disk is asked to reserve them for real:
small ones, and those above 16 TiB. The same name always gives the same image; how it is answered differs each time.
"""

import hashlib
import json
import random

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LIMIT = 16 << 40

WHOLE = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32, 2**53, LIMIT - 1, LIMIT, LIMIT + 1, 2**60, 2**63 - 2, 2**63 - 1, 2**63,
         2**64 - 1, 2**64, 10**30, int("9" * 400)]
# What some readers take for a number.
ODD = ["", "-1", "-0", f"-{2**63}", f"-{2**63 + 1}", "+5", " 5", "5 ", "007", "0x10", "1e3", "5.0", "1_000", "5,5", "NaN", "\u0663"]
# Values of JSON that may stand where a number is meant.
JSON = ["-1", f"-{2**63}", f"-{2**63 + 1}", "0.5", "1e19", "1e300", "-1e300", "5e2", '"5"', "null", "true", "[]", "{}"]


def number(rng):
    return str(rng.choice(WHOLE)) if rng.random() < 0.7 else rng.choice(ODD)


def size(rng, beyond):
    """A size in a field of HTTP."""
    if not beyond:
        return number(rng)
    return str(rng.choice([n for n in WHOLE if n < 2 or n > LIMIT])) if rng.random() < 0.7 else rng.choice(ODD)


def json_number(rng):
    return str(rng.choice(WHOLE)) if rng.random() < 0.7 else rng.choice(JSON)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# MARK: An upstream's image, and what it says of it

class Image:
    def __init__(self, repository):
        rng = random.Random(repository)
        # Half of the images state one size for everything, since what two fields say together overflows where neither does
        # alone; the largest numbers that fit do that best.
        self.size = str(rng.choice([2**63 - 1, 2**63 - 2, 2**62, LIMIT, LIMIT + 1])) if rng.random() < 0.5 else None
        self.blobs = [hashlib.shake_256(f"{repository} {n}".encode()).digest(rng.randrange(1, 3000)) for n in range(5)]
        entries = [f'{{"mediaType":"a/b","digest":"{digest(data)}","size":{self.size or json_number(rng)}}}' for data in self.blobs]
        self.manifest = (f'{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{entries[0]},'
                         f'"layers":[{",".join(entries[1:])}]}}').encode()
        platform = '"platform":{"os":"linux","architecture":"amd64"}'
        entry = f'{{"mediaType":"{MANIFEST}","digest":"{digest(self.manifest)}","size":{self.size or json_number(rng)},{platform}}}'
        self.index = f'{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entry}]}}'.encode()

    def find(self, kind, reference):
        """The content that is asked for, and its type."""
        if kind == "manifests":
            for tag, data, type_ in (("latest", self.manifest, MANIFEST), ("multi", self.index, INDEX)):
                if reference in (tag, digest(data)):
                    return data, type_
        for data in self.blobs if kind == "blobs" else []:
            if reference == digest(data):
                return data, "application/octet-stream"
        return None, None


def _head(status, fields):
    return ("\r\n".join([f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in fields]) + "\r\n\r\n").encode("utf-8")


def answer(asked, count, port):
    """The bytes that a request is answered with; the connection ends behind them."""
    rng = random.Random(f"{asked.path} {asked.fields.get('range')} {count}")
    beyond = asked.repository.startswith("beyond")
    if asked.path.startswith("/token/"):
        body = f'{{"token":"t{count}","expires_in":{json_number(rng)},"issued_at":"{number(rng)}"}}'.encode()
        return _head(200, [("Content-Length", len(body) if rng.random() < 0.8 else size(rng, True))]) + body
    image = Image(asked.repository)
    data, type_ = image.find(asked.kind, asked.reference)
    if asked.kind == "tags":
        body = json.dumps({"name": asked.repository, "tags": ["latest", "multi"] * 3}).encode()
        link = f'<{asked.path}?n={number(rng)}&last=a>; rel="next"'
        return _head(200, [("Link", link), ("Content-Length", len(body))]) + body
    if asked.kind == "referrers":
        body = f'{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"a/b","digest":"{digest(b"")}",' \
               f'"size":{json_number(rng)}}}]}}'.encode()
        return _head(200, [("Content-Type", INDEX), ("Content-Length", len(body))]) + body
    if data is None:
        return _head(404, [("Content-Length", size(rng, beyond))])
    if asked.kind == "blobs" and image.size and int(image.size) > LIMIT and rng.random() < 0.7:
        return _head(200, [("Content-Length", image.size)]) + data
    return _content(asked, data, type_, rng, beyond, port)


def _content(asked, data, type_, rng, beyond, port):
    fields, body = [("Content-Type", type_)], b"" if asked.method == "HEAD" else data
    case = rng.randrange(12)
    if case < 5:
        start = asked.offset or 0
        if 0 < start < len(data):
            fields.append(("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"))
            return _head(206, fields + [("Content-Length", len(data) - start)]) + body[start:]
        return _head(200, fields + [("Content-Length", len(data))]) + body
    if case == 5:
        return _head(429, [("Retry-After", number(rng)), ("Content-Length", size(rng, beyond))])
    if case == 6:
        realm = f'Bearer realm="http://127.0.0.1:{port}/token/extreme",service="{number(rng)}"'
        return _head(401, [("WWW-Authenticate", realm), ("Content-Length", size(rng, beyond))])
    if case == 7:
        return _head(200, fields + [("Content-Length", len(data))]) + body[:len(data) // 2]
    if case == 8:
        return _head(307, [("Location", f"http://127.0.0.1:{port}{asked.path}"), ("Content-Length", size(rng, beyond))])
    if case < 11:
        stated = f"bytes {size(rng, beyond)}-{size(rng, beyond)}/{size(rng, beyond)}"
        fields += [("Content-Range", stated), ("Content-Length", size(rng, beyond))]
        return _head(rng.choice((200, 206, 206, 416)), fields) + body
    return _head(200, fields + [("Content-Length", size(rng, beyond))]) + body


# MARK: A client's requests

def request(rng, repositories):
    """A request with extreme numbers wherever one may stand."""
    repository = rng.choice(repositories)
    image = Image(repository.split("/", 1)[1])
    reference = rng.choice(["latest", "multi", digest(image.manifest)])
    place = rng.choice([f"manifests/{reference}", f"blobs/{digest(rng.choice(image.blobs))}", "tags/list", f"referrers/{digest(b'')}"])
    query = "&".join(f"{name}={number(rng)}" for name in ("n", "last", "count") if rng.random() < 0.5).replace(" ", "%20")
    fields = [f"Host: a:{rng.randrange(65536) if rng.random() < 0.9 else number(rng)}"]
    if rng.random() < 0.5:
        fields.append(f"Range: bytes={number(rng)}-{number(rng)}")
    if rng.random() < 0.2:
        fields.append(f"Content-Length: {number(rng)}")
    if rng.random() < 0.1:
        fields.append(f"X-Registry: extreme.test:{number(rng)}")
    method = rng.choice(["GET", "GET", "GET", "HEAD"])
    text = f"{method} /v2/{repository}/{place}{'?' + query if query else ''} HTTP/1.{rng.randrange(2)}"
    return "\r\n".join([text, *fields, "", ""]).encode("utf-8")


def command(rng):
    """An operator's request. Nothing is really pruned: what has been cached is what the others look at."""
    values = {name: number(rng).replace(" ", "%20") for name in ("count", "dur", "before", "digest", "substr")}
    unit = rng.choice(["", "ns", "ms", "s", "h", "d"])
    text = rng.choice([
        f"GET /cmd/image/list?count={values['count']}&digest={values['digest']}", "GET /cmd/image/list?count=-1",
        f"GET /cmd/manifest/list?count={values['count']}", f"GET /cmd/blob/list?count={values['count']}&substr={values['substr']}",
        "GET /cmd/table", f"DELETE /cmd/prune?type=accessed&dur={values['dur']}{unit}&count={values['count']}&dryRun=true",
        f"DELETE /cmd/prune?type=created&before={values['before']}&dryRun=true&report=true"])
    accept = rng.choice(["text/plain", "application/json"])
    return f"{text} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode("utf-8")
