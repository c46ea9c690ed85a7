#!/usr/bin/env bash
# docker-registry takes a blob by its sha512 digest and hands it out as sha256; it takes no manifest by sha512.
#
# Guess: a registry either supports sha512, which the specification registers beside sha256, or refuses it.
# What happens: half of it works. A blob can be pushed with digest=sha512:... and fetched at /blobs/sha512:..., but
#   the Location of the upload, Docker-Content-Digest and ETag all name a sha256 digest that the client never sent.
#   The proxy mode names sha512 while it fetches the blob, and sha256 once it has it. A manifest pushed to
#   /manifests/sha512:... gets 400 DIGEST_INVALID, although the digest is right, and one pushed by tag has no sha512
#   address: 404.
# Why it matters: a client that compares the header with the digest it asked for calls a good blob corrupt, behind a
#   proxy from the second time on. A mirror that keys its cache by the header stores the blob where no later request
#   looks. A test of sha512 that pushes blobs alone passes, and the first image fails.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: OCI distribution specification 1.1, "Pulling blobs" (the header matches the body, in any algorithm); OCI
#   image specification 1.1, descriptor.md, "Registered algorithms".
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

"$registry" --version | sed "s,$dir/debian,,"
timeout 60 python3 - "$upstream" "$proxy" >"$dir/seen" <<'PYTHON'
import hashlib, http.client, json, sys, time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
upstream, proxy = map(int, sys.argv[1:])
names = {}


def sha(bits, data, name):
    digest = "sha%d:%s" % (bits, hashlib.new("sha%d" % bits, data).hexdigest())
    names[digest] = "%s of the %s" % (digest.split(":")[0], name)
    return digest


def call(port, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response, response.read()


def push(data, digest):
    location = call(upstream, "POST", "/v2/a/blobs/uploads/")[0].headers["Location"].split("/", 3)[3]
    octets = {"Content-Type": "application/octet-stream"}
    return call(upstream, "PUT", "/%s&digest=%s" % (location, digest), data, octets)[0]


def show(what, response, body=b""):
    print("%s: %d" % (what, response.status))
    if response.status >= 400 and body:
        print("  " + json.loads(body)["errors"][0]["code"])
    for header in ("Location", "Docker-Content-Digest", "Etag"):
        if header in response.headers and response.status < 300:
            digest = response.headers[header].rsplit("/", 1)[-1].strip('"')
            print("  %s: %s" % (header, names.get(digest, digest)))


blob = b"a layer"
sha(256, blob, "blob")
show("push the blob by sha512", push(blob, sha(512, blob, "blob")))
response, body = call(upstream, "GET", "/v2/a/blobs/" + sha(512, blob, "blob"))
show("get the blob by sha512", response)
print("  body:", "the blob" if body == blob else "other")
response, body = call(proxy, "GET", "/v2/a/blobs/" + sha(512, blob, "blob"))
show("get the blob by sha512 from a proxy", response, body)
for attempt in range(100):
    response, body = call(proxy, "GET", "/v2/a/blobs/" + sha(512, blob, "blob"))
    if "Accept-Ranges" in response.headers: # only an answer from the proxy's own disk has it
        break
    time.sleep(0.1)
show("get the blob by sha512 from a proxy that has it", response, body)

manifest = json.dumps({
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"mediaType": "application/x.example", "digest": sha(256, blob, "blob"), "size": len(blob)},
    "layers": [],
}).encode()
sha(256, manifest, "manifest")
by_digest = "/v2/a/manifests/" + sha(512, manifest, "manifest")
show("push the manifest by sha512", *call(upstream, "PUT", by_digest, manifest, {"Content-Type": MANIFEST}))
show("push the manifest by tag", *call(upstream, "PUT", "/v2/a/manifests/1", manifest, {"Content-Type": MANIFEST}))
show("get the manifest by sha512", *call(upstream, "GET", by_digest, None, {"Accept": MANIFEST}))
PYTHON
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
push the blob by sha512: 201
  Location: sha256 of the blob
  Docker-Content-Digest: sha256 of the blob
get the blob by sha512: 200
  Docker-Content-Digest: sha256 of the blob
  Etag: sha256 of the blob
  body: the blob
get the blob by sha512 from a proxy: 200
  Docker-Content-Digest: sha512 of the blob
  Etag: sha512 of the blob
get the blob by sha512 from a proxy that has it: 200
  Docker-Content-Digest: sha256 of the blob
  Etag: sha256 of the blob
push the manifest by sha512: 400
  DIGEST_INVALID
push the manifest by tag: 201
  Location: sha256 of the manifest
  Docker-Content-Digest: sha256 of the manifest
get the manifest by sha512: 404
  MANIFEST_UNKNOWN
RECORDED
