#!/usr/bin/env bash
# The units under a real systemd: systemd.sh CHECKOUT PROGRAM, as root.
#
# A root of Debian 12 is made, and its systemd (252) runs in it as process 1 of namespaces, with control groups and a
# network of its own. There: start, status, reload with a good and a bad file, a secret, restarts under load, and a server
# that hangs until the watchdog ends it. SYSTEMD_ROOT names a directory where the root is kept, and found the next time.
set -euo pipefail

checkout=$1 program=$2
# shellcheck source=scripts/namespaces.sh
source "$checkout/scripts/namespaces.sh"
temporary=$(mktemp -d)
root=${SYSTEMD_ROOT-}
[ -n "$root" ] || root=$temporary/root
finish() {
    # The mounts are in the namespaces, which end with their process 1.
    stop_systemd
    rm -rf --one-file-system -- "$temporary"
}
trap finish EXIT

if [ ! -x "$root/lib/systemd/systemd" ]; then
    make_root bookworm "$root" \
        --include=ca-certificates,libarchive13,libcurl4,libpcre2-8-0,libuv1,libyaml-0-2,python3,systemd
fi
rm -rf -- "$root/var/lib/private/ociregistry" "$root/var/lib/ociregistry" "$root/etc/ociregistry" "$root/var/log/journal"
install -m 0755 "$program" "$root/usr/bin/ociregistry"
install -m 0644 "$checkout"/packaging/systemd/ociregistry.{service,socket} "$root/etc/systemd/system/"
install -m 0644 "$checkout/Tests/Systemd/pullers.py" "$checkout/scripts/soak.d/systemd_checks.sh" "$root/srv/"
install -d -m 0755 "$root/etc/ociregistry"
install -d -m 0700 "$root/etc/ociregistry/secrets"
install -m 0600 /dev/stdin "$root/etc/ociregistry/secrets/example" <<<"a password"
install -m 0644 /dev/stdin "$root/etc/ociregistry/config.yaml" <<<"helloWorld: true"

start_systemd "$root" "$temporary/systemd.log"
in_systemd 300 bash /srv/systemd_checks.sh
