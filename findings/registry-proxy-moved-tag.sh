#!/usr/bin/env bash
# A tag that moves while the upstream refuses pulls is lost in docker-registry's proxy mode, and stays lost offline.
#
# Guess: when the upstream's pull limit is used up (429), a pull-through cache serves the image it has under the tag, or
#   hands on the 429. Without its upstream it serves what it served last.
# What happens: a request by tag makes a HEAD at the upstream, which Docker Hub does not count, and the new digest is
#   written to the local tag at once. Then the manifest is fetched, and refused. The client gets 500 UNKNOWN, without
#   the upstream's Retry-After. The old image is still there by digest, but the tag does not lead to it any more: with
#   the upstream gone, the tag still gets 500. A tag that did not move is served offline, as expected.
# Why it matters: one HEAD during a limit or a partial outage turns a cached image into a missing one. An outage that
#   follows makes the tag unpullable, although image and layers are on disk. Clients do not back off from a 500 as they
#   do from a 429, and alerts on 429 see nothing.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: RFC 6585, section 4 (429 Too Many Requests); Docker Hub documentation, "Docker Hub pull usage and limits"
#   (HEAD requests are not counted).
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

# The upstream: the store, with a limit on GETs of manifests that is used up once the file "limit" is there.
cat >"$dir/upstream.py" <<'PYTHON'
import http.client, http.server, os, sys

port, store, limit = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.command == "GET" and "/manifests/" in self.path and os.path.exists(limit):
            body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
            return self.send(429, body, {"Content-Type": "application/json", "Retry-After": "60"}, len(body))
        connection = http.client.HTTPConnection("127.0.0.1", store, timeout=20)
        accept = ", ".join(self.headers.get_all("Accept", ["*/*"]))
        connection.request(self.command, self.path, headers={"Accept": accept})
        answer = connection.getresponse()
        names = ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version")
        fields = {name: answer.headers[name] for name in names if name in answer.headers}
        self.send(answer.status, answer.read(), fields, answer.headers["Content-Length"])

    do_HEAD = do_GET

    def send(self, status, body, fields, length):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
PYTHON

cat >"$dir/client.py" <<'PYTHON'
import hashlib, http.client, json, sys

port, action = int(sys.argv[1]), sys.argv[2]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"


def call(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def manifest(version):
    digest = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/x.example", "digest": digest, "size": len(CONFIG)},
        "layers": [],
        "annotations": {"version": version},
    }).encode()


def push(tag, version):
    digest = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
    path = "/" + call("POST", "/v2/team/app/blobs/uploads/")[1]["Location"].split("/", 3)[3]
    octets = {"Content-Type": "application/octet-stream"}
    assert call("PUT", "%s&digest=%s" % (path, digest), CONFIG, octets)[0] == 201
    assert call("PUT", "/v2/team/app/manifests/" + tag, manifest(version), {"Content-Type": MANIFEST})[0] == 201


OLD = "sha256:" + hashlib.sha256(manifest("old")).hexdigest()


def show(name, reference):
    status, headers, body = call("GET", "/v2/team/app/manifests/" + reference, None, {"Accept": MANIFEST})
    body = json.loads(body)
    if "errors" in body:
        what = "%s, Retry-After: %s" % (body["errors"][0]["code"], headers.get("Retry-After", "none"))
    else:
        what = body["annotations"]["version"]
    print("GET %s: %d %s" % (name, status, what))


if action == "push":
    push(sys.argv[3], sys.argv[4])
else:
    print(action)
    show("moving", "moving")
    show("steady", "steady")
    show("the old digest of moving", OLD)
PYTHON

timeout 120 "$registry" serve "$dir/store.yml" >"$dir/store.log" 2>&1 &
pids+=($!)
listening "$store"
timeout 120 python3 "$dir/upstream.py" "$upstream" "$store" "$dir/limit" >"$dir/upstream.log" 2>&1 &
pids+=($!)
listening "$upstream" # the proxy does not start without its upstream
timeout 120 "$registry" serve "$dir/proxy.yml" >"$dir/proxy.log" 2>&1 &
pids+=($!)
listening "$proxy"

"$registry" --version | sed "s,$dir/debian,,"
timeout 60 python3 "$dir/client.py" "$store" push moving old
timeout 60 python3 "$dir/client.py" "$store" push steady steady
{
    timeout 60 python3 "$dir/client.py" "$proxy" "with pulls left"
    timeout 60 python3 "$dir/client.py" "$store" push moving new
    touch "$dir/limit"
    timeout 60 python3 "$dir/client.py" "$proxy" "moved, and with no pull left"
    kill "${pids[1]}"
    wait "${pids[1]}" || true
    timeout 60 python3 "$dir/client.py" "$proxy" "without the upstream"
} >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
with pulls left
GET moving: 200 old
GET steady: 200 steady
GET the old digest of moving: 200 old
moved, and with no pull left
GET moving: 500 UNKNOWN, Retry-After: none
GET steady: 200 steady
GET the old digest of moving: 200 old
without the upstream
GET moving: 500 UNKNOWN, Retry-After: none
GET steady: 200 steady
GET the old digest of moving: 200 old
RECORDED
