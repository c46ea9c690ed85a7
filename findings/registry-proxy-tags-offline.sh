#!/usr/bin/env bash
# When its upstream is gone, docker-registry's proxy mode answers a tag list with 200 and fewer tags.
#
# Guess: without its upstream, a pull-through cache either serves the last list it saw or answers with an error.
# What happens: the answer is 200 with the tags whose manifests were pulled through it, and nothing marks the list as
#   partial. A repository of which nothing was pulled gets 404 NAME_UNKNOWN, as if it did not exist. A tag that was
#   not pulled gets 404 MANIFEST_UNKNOWN, not a gateway error. The full list that was served before is not kept.
# Why it matters: a job that compares two tag lists, or that removes what is no longer listed, takes an outage of the
#   upstream for a deletion of most tags. A user cannot tell a wrong name from an unreachable registry.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: OCI distribution specification 1.1, "Content discovery"; RFC 9110, section 15.6.3 (502 Bad Gateway).
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
upstream=$(free_port)
proxy=$(free_port)

configure() {
    cat <<EOF
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/$1}}
http: {addr: "127.0.0.1:$2"}
EOF
}
configure upstream "$upstream" >"$dir/upstream.yml"
{
    configure proxy "$proxy"
    echo "proxy: {remoteurl: 'http://127.0.0.1:$upstream'}"
} >"$dir/proxy.yml"
timeout 120 "$registry" serve "$dir/upstream.yml" >"$dir/upstream.log" 2>&1 &
pids+=($!)
listening "$upstream" # the proxy does not start without its upstream
timeout 120 "$registry" serve "$dir/proxy.yml" >"$dir/proxy.log" 2>&1 &
pids+=($!)
listening "$proxy"

cat >"$dir/client.py" <<'PYTHON'
import hashlib, http.client, json, sys

port, action = int(sys.argv[1]), sys.argv[2]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def call(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def push(repository, tags):
    config = b"{}"
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    location = call("POST", "/v2/%s/blobs/uploads/" % repository)[1]["Location"]
    path = "/" + location.split("/", 3)[3]
    octets = {"Content-Type": "application/octet-stream"}
    assert call("PUT", "%s&digest=%s" % (path, digest), config, octets)[0] == 201
    for tag in tags:
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/x.example", "digest": digest, "size": len(config)},
            "layers": [],
            "annotations": {"tag": tag},
        }).encode()
        path = "/v2/%s/manifests/%s" % (repository, tag)
        assert call("PUT", path, manifest, {"Content-Type": MANIFEST})[0] == 201


def show(path):
    status, headers, body = call("GET", path, None, {"Accept": MANIFEST})
    body = json.loads(body)
    if "errors" in body:
        what = body["errors"][0]["code"]
    else:
        what = " ".join(sorted(body["tags"])) if "tags" in body else "manifest"
    print("GET %s: %d %s" % (path, status, what))


if action == "push":
    push("team/app", ["1.0", "1.1", "2.0", "2.1"])
    push("team/other", ["1.0"])
else:
    print(action)
    show("/v2/team/app/tags/list")
    show("/v2/team/app/manifests/2.0")
    show("/v2/team/other/tags/list")
    if action == "without the upstream":
        show("/v2/team/app/manifests/2.1")
        show("/v2/team/other/manifests/1.0")
PYTHON
"$registry" --version | sed "s,$dir/debian,,"
timeout 60 python3 "$dir/client.py" "$upstream" push
{
    timeout 60 python3 "$dir/client.py" "$proxy" "with the upstream"
    kill "${pids[0]}"
    wait "${pids[0]}" || true
    timeout 60 python3 "$dir/client.py" "$proxy" "without the upstream"
} >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
with the upstream
GET /v2/team/app/tags/list: 200 1.0 1.1 2.0 2.1
GET /v2/team/app/manifests/2.0: 200 manifest
GET /v2/team/other/tags/list: 200 1.0
without the upstream
GET /v2/team/app/tags/list: 200 2.0
GET /v2/team/app/manifests/2.0: 200 manifest
GET /v2/team/other/tags/list: 404 NAME_UNKNOWN
GET /v2/team/app/manifests/2.1: 404 MANIFEST_UNKNOWN
GET /v2/team/other/manifests/1.0: 404 MANIFEST_UNKNOWN
RECORDED
