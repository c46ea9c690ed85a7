#!/usr/bin/env bash
# What scripts/soak.d/systemd.sh checks, inside the root where systemd runs.
set -euo pipefail

unit=ociregistry.service

fail() {
    echo "systemd: $*" >&2
    systemctl status --no-pager -l "$unit" >&2 || true
    journalctl --no-pager -u "$unit" | tail -40 >&2 || true
    exit 1
}

# expect WHAT ACTUAL PATTERN
expect() {
    # shellcheck disable=SC2053
    [[ $2 == $3 ]] || fail "$1: '$2' is not '$3'"
    echo "systemd: $1: $2"
}

show() { systemctl show --value --property "$1" "$unit"; }

# until_true SECONDS COMMAND…
until_true() {
    local left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "too slow: $*"
        sleep 0.1
    done
}

# answers: how many lines of progress the clients have printed.
answers() { wc -l </run/pullers.log; }
have_more_than() { [ "$(answers)" -gt "$1" ]; }
process_differs() { local now; now=$(show MainPID); [ "$now" != 0 ] && [ "$now" != "$1" ]; }

is_up() { systemctl is-system-running --quiet 2>/dev/null; }

until_true 30 is_up
systemctl daemon-reload
systemctl start ociregistry.socket "$unit" || fail "no start"
expect version "$(systemctl --version | head -1)" 'systemd *'
expect status "$(show StatusText)" 'serving on http://*:8080'
main=$(show MainPID)
expect user "$(stat -c %u "/proc/$main" | awk '{ print ($1 >= 61184 && $1 <= 65519) ? "dynamic" : $1 }')" dynamic
expect capabilities "$(awk '/^CapEff/ { print $2 }' "/proc/$main/status")" 0000000000000000
expect "system calls" "$(awk '/^Seccomp:/ { print $2 }' "/proc/$main/status")" 2
# A systemd without CAP_SYS_RESOURCE cannot exceed its own limit.
hard=$(awk '/open files/ { print $5 }' /proc/1/limits)
expect descriptors "$(awk '/open files/ { print $4 }' "/proc/$main/limits")" "$((hard < 65536 ? hard : 65536))"
expect credentials "$(nsenter -t "$main" -m cat /run/credentials/$unit/secrets_example)" 'a password'

systemctl reload "$unit" || fail "a reload failed"
expect reload "$(show StatusText)" 'the configuration was reloaded'
echo 'logLevel: loud' >/etc/ociregistry/config.yaml
! systemctl reload "$unit" 2>/dev/null || fail "the reload of a bad file has succeeded"
expect 'bad reload' "$(show ActiveState) $(show StatusText)" 'active the configuration was not reloaded: *logLevel*'
cat >/etc/ociregistry/config.yaml <<'YAML'
helloWorld: true
registries:
- name: registry.example
  auth:
    user: me
    passwordFile: /run/credentials/ociregistry.service/secrets_example
YAML
systemctl reload "$unit" || fail "the reload with a secret failed"

python3 /srv/pullers.py 127.0.0.1:8080 /v2/docker.io/library/hello-world/manifests/latest 16 >/run/pullers.log 2>&1 &
pullers=$!
for number in 1 2 3 4 5; do
    until_true 60 have_more_than "$(answers)"
    systemctl restart "$unit" || fail "restart $number"
done
until_true 60 have_more_than "$(answers)"
kill -TERM "$pullers"
wait "$pullers" || fail "the clients ended with an error: $(tail -3 /run/pullers.log)"
expect 'five restarts under load' "$(tail -1 /run/pullers.log)" 'ok *, failed 0 *'

# A shorter time than the unit's, so that this does not take half a minute.
mkdir -p "/run/systemd/system/$unit.d"
printf '[Service]\nWatchdogSec=2\n' >"/run/systemd/system/$unit.d/watchdog.conf"
systemctl daemon-reload
systemctl restart "$unit"
main=$(show MainPID)
[ "$main" -gt 1 ] || fail "no process"
kill -STOP "$main"
until_true 60 process_differs "$main"
until_true 60 systemctl is-active --quiet "$unit"
expect watchdog "$(journalctl --no-pager -u "$unit" -o cat | grep -c 'Watchdog timeout')" '[1-9]*'
systemctl stop ociregistry.socket "$unit"
expect stop "$(show Result)" success
