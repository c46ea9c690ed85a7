#!/usr/bin/env bash
# Rules and dashboards with Prometheus 3 and VictoriaMetrics: scripts/soak monitoring, with the tests built already.
#
# Debian stable has older ones, so both come from a root of Debian sid, made here and removed at the end (about 700 MB and a minute).
# MONITORING_ROOT names a directory where it is kept, and found the next time.
# Wrappers that run its programs inside the root stand first on PATH: the tests of Tests/EndToEndTests/Observability then use them.
set -euo pipefail

checkout=$1
temporary=${TMPDIR:-/tmp}
work=$(mktemp -d "$temporary/ociregistry-monitoring-XXXXXX")
sid=${MONITORING_ROOT:-$work/sid}
# Nothing is mounted in there by then: mounts are made in a namespace that ends before.
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

# in_sid COMMAND…: with the root as a mount point of its own, and the checkout and the tests' files in it under their names.
in_sid() {
    # shellcheck disable=SC2016
    unshare --mount bash -euo pipefail -c '
        sid=$1 checkout=$2 temporary=$3
        shift 3
        mount --bind "$sid" "$sid"
        mount -t proc proc "$sid/proc"
        # node_exporter ends when it finds no processors in /sys.
        mount --rbind /sys "$sid/sys"
        mount --rbind /dev "$sid/dev"
        mkdir -p "$sid$checkout" "$sid$temporary"
        mount --bind "$checkout" "$sid$checkout"
        mount --bind "$temporary" "$sid$temporary"
        "$@"' bash "$sid" "$checkout" "$temporary" "$@"
}

make_root() {
    [ ! -x "$sid/usr/bin/vmalert-tool" ] || return 0
    debootstrap --variant=minbase sid "$sid" >"$work/debootstrap.log" || {
        tail -20 "$work/debootstrap.log" >&2
        exit 1
    }
    # No service is started in the root.
    printf '#!/bin/sh\nexit 101\n' >"$sid/usr/sbin/policy-rc.d"
    chmod 755 "$sid/usr/sbin/policy-rc.d"
    # A mirror that lags behind its own dates is good enough here; signatures are checked all the same.
    local apt=(chroot "$sid" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Check-Valid-Until=false)
    in_sid "${apt[@]}" update >"$work/apt.log"
    in_sid "${apt[@]}" install -y --no-install-recommends \
        prometheus prometheus-node-exporter victoria-metrics >>"$work/apt.log" 2>&1 || {
        tail -20 "$work/apt.log" >&2
        exit 1
    }
}

make_wrappers() {
    mkdir "$work/bin"
    local program
    for program in prometheus promtool prometheus-node-exporter vmalert-tool; do
        # By its path: PATH leads to these wrappers inside the root too.
        printf '#!/bin/sh\nexec chroot "%s" /usr/bin/%s "$@"\n' "$sid" "$program" >"$work/bin/$program"
        chmod 755 "$work/bin/$program"
    done
    # shellcheck disable=SC2016
    sed -i 's,/prometheus "\$@"$,/prometheus ${PROMETHEUS_FLAGS-} "$@",' "$work/bin/prometheus"
}

# tests FILTER: of this project, with the root's programs.
tests() {
    in_sid env PATH="$work/bin:$PATH" swift test --package-path "$checkout" --scratch-path "$checkout/.build" \
        --skip-build --disable-xctest --filter "$1"
}

make_root
make_wrappers
say "$(in_sid chroot "$sid" prometheus --version 2>&1 | head -1)"
say "the rules, by Prometheus 3's promtool"
tests 'PrometheusRulesTests|DashboardRulesTests|CatalogueUseTests'

say "the rules, by vmalert-tool"
mkdir "$work/rules"
cp "$checkout/observability/prometheus/rules.yml" "$work/rules/"
# The same tests; only what they call a query is called otherwise.
sed 's/promql_expr_test:/metricsql_expr_test:/' "$checkout/observability/prometheus/rules_test.yml" >"$work/rules/rules_test.yml"
in_sid "$work/bin/vmalert-tool" unittest --disableAlertgroupLabel --files="$work/rules/rules_test.yml"

say "dashboards, alerts and text, by Prometheus 3"
tests 'SessionTests'

say "the same, where it makes native histograms of classic ones, and scrapes those as well"
export PROMETHEUS_FLAGS=--enable-feature=native-histograms
export SCRAPE_OPTIONS='convert_classic_histograms_to_nhcb: true;always_scrape_classic_histograms: true'
tests 'SessionTests'
say "monitoring: all as it should be"
