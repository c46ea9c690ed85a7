#!/usr/bin/env bash
# docker-registry's proxy mode gets a new token for each client request by tag, and keeps none for the next.
#
# Guess: a proxy keeps a token until it expires: with the lifetime of 300 s that Docker Hub gives, ten checks of a tag
#   within a second take one token.
# What happens: each client request by tag costs a token and a HEAD at the upstream, also when the manifest is cached
#   and the token of the request before is good for an hour. Within one client request the token is used again, as for
#   the GET of a manifest that is not cached. Requests by digest of cached content cost neither token nor HEAD.
# Why it matters: the token service sees every pull of every node. When it limits or is slow, each pull by tag waits
#   for it, although the image is in the cache.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: distribution, "Token Authentication Specification", expires_in: for how long a token remains valid.
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

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download docker-registry=2.8.2+ds1-1)
dpkg-deb -x "$dir"/docker-registry_*.deb "$dir/debian"
registry=$dir/debian/usr/bin/docker-registry

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
store=$(free_port)
upstream=$(free_port)
proxy=$(free_port)

configure() {
    cat <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/$1}}
http: {addr: "127.0.0.1:$2"}
YAML
}
configure store "$store" >"$dir/store.yml"
{
    configure proxy "$proxy"
    echo "proxy: {remoteurl: 'http://127.0.0.1:$upstream'}"
} >"$dir/proxy.yml"

# The upstream: the store behind a token service that counts the tokens. The counts are at /counts.
cat >"$dir/upstream.py" <<'PYTHON'
import http.client, http.server, json, sys, threading

port, store = int(sys.argv[1]), int(sys.argv[2])
lock, counts = threading.Lock(), {"tokens": 0, "HEAD": 0, "GET": 0}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def count(self, kind):
        with lock:
            counts[kind] += 1
            return counts[kind]

    def do_GET(self):
        if self.path == "/counts":
            return self.send(200, json.dumps(counts).encode(), {})
        if self.path.startswith("/token"):
            token = {"token": "token-%d" % self.count("tokens"), "expires_in": 3600}
            return self.send(200, json.dumps(token).encode(), {"Content-Type": "application/json"})
        # Every token that was ever given is good.
        if not self.headers.get("Authorization", "").startswith("Bearer token-"):
            challenge = 'Bearer realm="http://127.0.0.1:%d/token",service="upstream"' % port
            return self.send(401, b"{}", {"WWW-Authenticate": challenge})
        self.count(self.command)
        connection = http.client.HTTPConnection("127.0.0.1", store, timeout=20)
        accept = ", ".join(self.headers.get_all("Accept", ["*/*"]))
        connection.request(self.command, self.path, headers={"Accept": accept})
        answer = connection.getresponse()
        names = ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version")
        fields = {name: answer.headers[name] for name in names if name in answer.headers}
        self.send(answer.status, answer.read(), fields, answer.headers["Content-Length"])

    do_HEAD = do_GET

    def send(self, status, body, fields, length=None):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
PYTHON

cat >"$dir/client.py" <<'PYTHON'
import hashlib, http.client, json, sys

store, upstream, proxy = map(int, sys.argv[1:])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def call(port, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def push():
    config = b"{}"
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    path = "/" + call(store, "POST", "/v2/team/app/blobs/uploads/")[1]["Location"].split("/", 3)[3]
    octets = {"Content-Type": "application/octet-stream"}
    assert call(store, "PUT", "%s&digest=%s" % (path, digest), config, octets)[0] == 201
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/x.example", "digest": digest, "size": len(config)},
        "layers": [],
    }).encode()
    assert call(store, "PUT", "/v2/team/app/manifests/1", manifest, {"Content-Type": MANIFEST})[0] == 201
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def counts():
    return json.loads(call(upstream, "GET", "/counts")[2])


def show(what, method, reference, times):
    before = counts()
    for _ in range(times):
        assert call(proxy, method, "/v2/team/app/manifests/" + reference, None, {"Accept": MANIFEST})[0] == 200
    after = counts()
    print("%d x %s %s: " % (times, method, what) + ", ".join(
        "%d x %s" % (after[kind] - before[kind], kind) for kind in after))


digest = push()
show("by tag, cold", "GET", "1", 1)
show("by tag, cached", "GET", "1", 10)
show("by tag, cached", "HEAD", "1", 10)
show("by digest, cached", "GET", digest, 10)
PYTHON

timeout 120 "$registry" serve "$dir/store.yml" >"$dir/store.log" 2>&1 &
pids+=($!)
listening "$store"
timeout 120 python3 "$dir/upstream.py" "$upstream" "$store" >"$dir/upstream.log" 2>&1 &
pids+=($!)
listening "$upstream" # the proxy does not start without its upstream
timeout 120 "$registry" serve "$dir/proxy.yml" >"$dir/proxy.log" 2>&1 &
pids+=($!)
listening "$proxy"

"$registry" --version | sed "s,$dir/debian,,"
timeout 60 python3 "$dir/client.py" "$store" "$upstream" "$proxy" >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
1 x GET by tag, cold: 1 x tokens, 1 x HEAD, 1 x GET
10 x GET by tag, cached: 10 x tokens, 10 x HEAD, 0 x GET
10 x HEAD by tag, cached: 10 x tokens, 10 x HEAD, 0 x GET
10 x GET by digest, cached: 0 x tokens, 0 x HEAD, 0 x GET
RECORDED
