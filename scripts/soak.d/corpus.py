"""What attackers send: requests that two readers could understand differently, odd but plain ones, and damage."""

import upstreams

REPOSITORY = "fuzz/image"
MANIFEST, BLOBS = upstreams.image(REPOSITORY)
DIGEST = upstreams.digest(MANIFEST)
LAYER = list(BLOBS)[-1]
PING = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"

_H = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"

# Request, and the status of its refusal; the connection ends behind each.
SMUGGLING = [(data, status) for status, list_ in {
    400: [
        _H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", _H + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        _H + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", _H + b"Content-Length: 5, 5\r\n\r\nhello",
        _H + b"Content-Length: +5\r\n\r\nhello", _H + b"Content-Length: -1\r\n\r\n", _H + b"Content-Length: 0x5\r\n\r\nhello",
        _H + b"Content-Length: 5 5\r\n\r\n", _H + b"Content-Length:\r\n\r\n", _H + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        _H + b"Content-Length : 5\r\n\r\nhello", _H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _H + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", _H + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        _H + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", _H + b"Transfer-Encoding:\r\n\r\n",
        _H + b'Transfer-Encoding: "chunked"\r\n\r\n', _H + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        _H + b" Transfer-Encoding: chunked\r\n\r\n", _H + b"X: a\r\n b\r\n\r\n", _H + b"X: a\r\n\tb\r\n\r\n", _H + b"X: a\nY: b\r\n\r\n",
        _H + b"X: a\rY: b\r\n\r\n", _H + b"X: a\x00b\r\n\r\n", _H + b"X\x00: b\r\n\r\n", _H + b": b\r\n\r\n", _H + b"X\r\n\r\n",
        _H + b"X Y: b\r\n\r\n", _H + b"\x80: b\r\n\r\n", _H + b"Host: b\r\n\r\n", _H + b"X-Registry: a.b\r\nX-Registry: c.d\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a@b\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a,b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a:99999\r\n\r\n", b"GET /v2/ HTTP/1.1\nHost: a\n\n", b"GET /v2/ HTTP/1.1\rHost: a\r\r",
        b"GET  /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /v2/  HTTP/1.1\r\nHost: a\r\n\r\n", b"GET\t/v2/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /v2/ HTTP/1.1 \r\nHost: a\r\n\r\n", b"GET /v2/\r\nHost: a\r\n\r\n",
        b"GET /v2/ http/1.1\r\nHost: a\r\n\r\n", b"GET /v2/ HTTP/11\r\nHost: a\r\n\r\n", b"GET /v2/ HTTP/1.10\r\nHost: a\r\n\r\n",
        b"GET v2 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /v2/#x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/\x80 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http:///v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://u@a/v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"G(T /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        _H + b"Range: bytes=" + b"1-2," * 9000 + b"3-4\r\n\r\n",
    ],
    431: [_H + b"X: " + b"a" * 33000 + b"\r\n\r\n", _H + b"X: a\r\n" * 200 + b"\r\n", b"GET /" + b"a" * 33000],
    501: [_H + b"Transfer-Encoding: gzip\r\n\r\n", _H + b"Transfer-Encoding: xchunked\r\n\r\n"],
    505: [b"GET /v2/ HTTP/2.0\r\nHost: a\r\n\r\n", b"GET /v2/ HTTP/1.2\r\nHost: a\r\n\r\n", b"GET /v2/ HTTP/0.9\r\nHost: a\r\n\r\n",
          b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
}.items() for data in list_]

_IMAGE = f"/v2/{REPOSITORY}"
_HELLO = "/v2/docker.io/library/hello-world"
_LONG = "a" * 300

# Method, target, further fields, version, and the statuses that are right.
ODD = [
    ("GET", "/v2/", [], "1.0", {200}), ("GET", "http://other.host:1/v2/", [], "1.1", {200}),
    ("GET", "HTTPS://other.host/v2/", [], "1.1", {200}), ("GET", "http://other.host", [], "1.1", {404}),
    ("OPTIONS", "*", [], "1.1", {404, 405}), ("GET", "/", [], "1.1", {404}), ("GET", "/v2", [], "1.1", {200}),
    ("GET", "//v2/", [], "1.1", {404}), ("GET", "/v2/../../etc/passwd", [], "1.1", {404}), ("GET", "/v3/", [], "1.1", {404}),
    ("GET", "/v2/%61uth", [], "1.1", {200}), ("GET", "/v2/%2e%2e/manifests/x", [], "1.1", {400}),
    ("GET", "/v2/a%2fb/manifests/latest", [], "1.1", {400}), ("GET", "/v2/a%00b/manifests/latest", [], "1.1", {400}),
    ("GET", "/v2/a%0d%0aX:%20b/manifests/latest", [], "1.1", {400}), ("GET", "/v2/%", [], "1.1", {400}),
    ("GET", "/v2/%4", [], "1.1", {400}), ("GET", "/v2/%zz/manifests/x", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/blobs/{LAYER.replace(':', '%3A')}", [], "1.1", {200}),
    ("GET", f"/v2/{_LONG}/manifests/latest", [], "1.1", {400}), ("GET", f"/v2/{_LONG}.com/x/manifests/latest", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/{_LONG}", [], "1.1", {400}), ("GET", f"{_IMAGE}/manifests/latest?ns={_LONG}", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/latest?ns=a%0d%0ab", [], "1.1", {400}), ("GET", f"{_IMAGE}/manifests/latest?ns=%", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/latest?ns=good.test&ns=good.test", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/latest?ns=user@good.test", [], "1.1", {400}), ("GET", f"{_IMAGE}/manifests/latest?", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/manifests/latest?ns=good.test", [], "1.1", {200}), ("GET", f"{_IMAGE}/manifests/latest?ns=", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/manifests/latest", ["X-Registry: good.test/x"], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/latest", ["X-Registry: good.test:0"], "1.1", {400}),
    ("GET", f"{_IMAGE}/manifests/latest", ["X-Registry: GOOD.test"], "1.1", {200}),
    ("GET", "/v2/127.0.0.1:1/x/manifests/latest", [], "1.1", {403}), ("GET", "/v2/169.254.169.254/x/manifests/y", [], "1.1", {403}),
    ("GET", "/v2/localhost/x/manifests/latest", [], "1.1", {403}), ("GET", "/v2/[::1]:80/x/manifests/latest", [], "1.1", {403}),
    ("GET", "/v2/[:.:]/x/manifests/latest", [], "1.1", {400, 403, 503}), ("GET", "/v2/2130706433:1/x/manifests/y", [], "1.1", {403}),
    ("GET", f"{_IMAGE}/manifests/cold-accept", ["Accept: ;", "Accept: ,;,", "Accept:"], "1.1", {404}),
    ("GET", f"{_IMAGE}/manifests/cold-via", ["Via: ,,;", "Via: 1.1 " + "x" * 3000], "1.1", {508}),
    ("GET", f"{_IMAGE}/manifests/sha256:{'0' * 63}", [], "1.1", {400}), ("GET", f"{_IMAGE}/blobs/sha256:{'A' * 64}", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/blobs/sha512:{'a' * 64}", [], "1.1", {400}), ("GET", f"{_IMAGE}/blobs/latest", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/tags/list?n=0", [], "1.1", {200}), ("GET", f"{_IMAGE}/tags/list?n={'9' * 50}", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/tags/list?n=-1", [], "1.1", {400}), ("GET", f"{_IMAGE}/tags/list?n=", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/tags/list?n=1&n=2", [], "1.1", {400}), ("GET", f"{_IMAGE}/tags/list?n=3&last=%ff", [], "1.1", {400}),
    ("GET", f"{_IMAGE}/tags/list?n=3&last=t05", [], "1.1", {200}), ("GET", f"{_IMAGE}/tags/list?last=%0d%0a", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/tags/list?n=%31", [], "1.1", {200}), ("GET", f"{_IMAGE}/tags/list?&&=&=&n=2&", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/referrers/{DIGEST}?artifactType=%0d%0a", [], "1.1", {200}),
    ("GET", f"{_IMAGE}/referrers/latest", [], "1.1", {400}),
    ("POST", f"{_IMAGE}/blobs/uploads/", ["Content-Length: 0"], "1.1", {405}), ("PUT", f"{_IMAGE}/manifests/x", [], "1.1", {405}),
    ("DELETE", f"{_IMAGE}/manifests/latest", [], "1.1", {405}), ("BREW", "/v2/", [], "1.1", {405}),
    ("GET", "/v2/", ["Expect: 100-continue", "Content-Length: 5"], "1.1", {200}),
    ("GET", "/v2/", ["Content-Length: 99999999999"], "1.1", {200}), ("GET", "/v2/", ["Transfer-Encoding: chunked"], "1.1", {200}),
]
ODD += [(method, f"{place}", [f"Range: {value}"], "1.1", {200, 206, 416}) for method in ("GET", "HEAD") for place in (
    f"{_IMAGE}/manifests/latest", f"{_IMAGE}/blobs/{LAYER}", f"{_HELLO}/manifests/latest") for value in (
    "bytes=0-", "bytes=-1", "bytes=-0", "bytes=0-0", "bytes=5-3", "bytes=-" + "9" * 40, "bytes=" + "9" * 40 + "-",
    "bytes=0-" + "9" * 40, "bytes=0-1,2-3", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2-3", "bytes", "lines=0-1", "bytes= 0-1", "")]

# What damage begins with: all that the server knows how to read.
SEEDS = [("\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *fields, "", ""])).encode() for method, target, fields in [
    ("GET", "/v2/", []), ("HEAD", f"{_IMAGE}/manifests/latest", ["Accept: " + upstreams.MANIFEST + ";q=0.5, */*"]),
    ("GET", f"{_IMAGE}/manifests/{DIGEST}", [f'If-None-Match: W/"{DIGEST}", "x"']),
    ("GET", f"{_IMAGE}/manifests/latest?ns=good.test", ["Accept: a/b", "Accept: application/x", "Via: 1.1 a, 1.0 b (c)"]),
    ("GET", f"{_IMAGE}/blobs/{LAYER}", ["Range: bytes=10-20", f'If-Range: "{LAYER}"']),
    ("GET", f"{_HELLO}/manifests/latest", ["X-Registry: docker.io", "Connection: keep-alive, x"]),
    ("GET", f"{_IMAGE}/tags/list?n=3&last=t05&ns=good.test", []), ("GET", f"{_IMAGE}/referrers/{DIGEST}?artifactType=a/b", []),
    ("POST", f"{_IMAGE}/blobs/uploads/?mount={DIGEST}", ["Content-Length: 0", "Expect: 100-continue"]),
    ("GET", "http://a.b:80/v2/auth?service=x&scope=repository:a:pull", ["Authorization: Basic YTpi"]),
]]

_DICTIONARY = [b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b";", b",", b"%", b"%00", b"%2f", b"/", b"?", b"&", b"=", b"#", b'"',
               b"..", b"@", b"[", b"]", b"-", b"\xff", b"\x7f", b"9" * 25, b"-1", b"bytes=", b"Host: b\r\n", b"Content-Length: 9\r\n",
               b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0", b"manifests/", b"blobs/", b"sha256:", b"sha512:", b"Accept: ;\r\n", b"ns=",
               b"Connection: close\r\n", b"Range: bytes=0-0\r\n", b"X-Registry: a.b\r\n", b"Expect: 100-continue\r\n", b"a" * 300]


def damage(rng):
    """A request with one to six things wrong with it."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(1, 7)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 5, 20, 100)))
        match rng.randrange(7):
            case 0: data[at:at] = rng.choice(_DICTIONARY)
            case 1: data[at:end] = rng.choice(_DICTIONARY)
            case 2: del data[at:end]
            case 3: data[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
            case 4: data[at:at] = data[at:end]
            case 5: data[at:at] = rng.choice(SEEDS)[:rng.randrange(200)]
            case 6: data[at:at] = rng.choice(_DICTIONARY) * rng.randrange(1, 60)
    return bytes(data)
