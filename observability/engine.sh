# shellcheck shell=bash
# The container engine, and the two containers, for start-containers and stop-containers. Needs scripts/prepare.sh.
# shellcheck disable=SC2034
prometheus_name=ociregistry-prometheus
# shellcheck disable=SC2034
grafana_name=ociregistry-grafana

# A daemon that hangs must not hang the script.
engine_answers() { timeout 20 "$1" info >/dev/null 2>&1; }

# choose_engine: $ENGINE, or the first of docker and podman that works.
choose_engine() {
    local candidate found=
    for candidate in ${ENGINE:-docker podman}; do
        has_tool "$candidate" || continue
        found="$found $candidate"
        if engine_answers "$candidate"; then
            chosen_engine=$candidate
            return
        fi
    done
    [ -n "$found" ] || die "there is no ${ENGINE:-docker or podman} here; observability/start-local needs neither"
    die "installed, but '$candidate info' fails (is the service running, and may you use it?):$found"
}

engine() { "$chosen_engine" "$@"; }

is_running() { [ "$(engine container inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }

exists() { engine container inspect "$1" >/dev/null 2>&1; }

# remove NAME: with the volume that holds what it gathered.
remove() { engine rm --force --volumes "$1" >/dev/null || die "could not remove $1"; }
