#!/usr/bin/env bash
# A HEAD of a cold blob makes docker-registry's proxy mode download the blob twice.
#
# Guess: the proxy answers HEAD from a HEAD at its upstream, a range from a ranged GET, and a GET from one GET.
# What happens: HEAD, a range of ten bytes and GET cost the upstream the same: one HEAD and two whole GETs. One GET
#   fills the cache, the other serves the client, and neither is skipped for HEAD. The range gets a 200 with the whole
#   blob. The ETag of the cold answer also lacks its quotes; the warm answer has them, so the two tags differ.
# Why it matters: a client or a mirror below that only asks whether a layer exists makes the proxy pull it twice over
#   the wide link. Lazy pulling, which reads a few kilobytes by range, costs two whole layers.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: RFC 9110, sections 8.8.3 (entity tags are quoted), 9.3.2 (HEAD) and 14.2 (Range may be ignored).
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
log: {level: error}
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
timeout 100 python3 - "$upstream" "$proxy" "$dir/upstream.log" >"$dir/seen" <<'PYTHON'
import collections, hashlib, http.client, os, re, sys, time

upstream, proxy, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def call(port, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def push(size):
    blob = os.urandom(size)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    location = call(upstream, "POST", "/v2/a/b/blobs/uploads/")[1]["Location"]
    path = location.split("/", 3)[3]
    octets = {"Content-Type": "application/octet-stream"}
    status = call(upstream, "PUT", "/%s&digest=%s" % (path, digest), blob, octets)[0]
    assert status == 201, status
    return digest


def seen_by_upstream(digest):
    lines = re.findall(r'"(GET|HEAD) /v2/a/b/blobs/%s[^"]*" 200 (\d+)' % digest, open(log).read())
    return sorted(collections.Counter("%s of %s bytes" % line for line in lines).items())


for name, method, headers in (
    ("HEAD", "HEAD", {}),
    ("range", "GET", {"Range": "bytes=10-19"}),
    ("GET", "GET", {}),
):
    digest = push(3000000)
    for state in ("cold", "warm"):
        before = seen_by_upstream(digest)
        status, answer, body = call(proxy, method, "/v2/a/b/blobs/" + digest, None, headers)
        for attempt in range(50 if state == "cold" else 0):
            if sum(count for _, count in seen_by_upstream(digest)) >= 3:
                break
            time.sleep(0.1)
        time.sleep(1)
        etag = answer["Etag"].replace(digest, "DIGEST")
        print("%s %s: status %d, %d bytes of body, etag %s" % (state, name, status, len(body), etag))
        if state == "warm":
            assert seen_by_upstream(digest) == before
            print("  upstream: nothing")
        else:
            for line, count in seen_by_upstream(digest):
                print("  upstream: %d x %s" % (count, line))
PYTHON
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
cold HEAD: status 200, 0 bytes of body, etag DIGEST
  upstream: 2 x GET of 3000000 bytes
  upstream: 1 x HEAD of 0 bytes
warm HEAD: status 200, 0 bytes of body, etag "DIGEST"
  upstream: nothing
cold range: status 200, 3000000 bytes of body, etag DIGEST
  upstream: 2 x GET of 3000000 bytes
  upstream: 1 x HEAD of 0 bytes
warm range: status 206, 10 bytes of body, etag "DIGEST"
  upstream: nothing
cold GET: status 200, 3000000 bytes of body, etag DIGEST
  upstream: 2 x GET of 3000000 bytes
  upstream: 1 x HEAD of 0 bytes
warm GET: status 200, 3000000 bytes of body, etag "DIGEST"
  upstream: nothing
RECORDED
