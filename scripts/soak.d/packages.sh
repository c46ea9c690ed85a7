#!/usr/bin/env bash
# The Debian packages as an administrator uses them: packages.sh CHECKOUT [RELEASE…] (default: bookworm trixie), as root.
#
# In a fresh root of each release, without systemd: install with apt, files, manual pages, completions, removal and purge. Then
# with systemd running, where it does in namespaces: install, pull, upgrade under load, conffiles, removal and purge; and with
# Debian's containerd: setup, pull, and what the doctor says of faults made on purpose. The packages are those of
# .build/packages, which are built first unless PACKAGES_DIRECTORY names others. PACKAGES_KEEP=yes keeps the roots when a check
# has failed, and says where.
set -euo pipefail

checkout=$1
shift
[ $# -gt 0 ] || set -- bookworm trixie
# shellcheck source=scripts/namespaces.sh
source "$checkout/scripts/namespaces.sh"
packages=${PACKAGES_DIRECTORY-}
if [ -z "$packages" ]; then
    packages=$checkout/.build/packages
    "$checkout/scripts/package" deb "$@"
fi

temporary=$(mktemp -d)
is_done=''
finish() {
    # The mounts are in the namespaces, which end with their process 1.
    stop_systemd
    if [ -z "$is_done" ] && [ "${PACKAGES_KEEP-}" = yes ]; then
        echo "packages: the roots are in $temporary" >&2
    else
        rm -rf --one-file-system -- "$temporary"
    fi
}
trap finish EXIT

# next_version PACKAGE TARGET: the same package as the version after it, with another config.yaml. Only what an upgrade looks at
# differs, so the program is not built again.
next_version() {
    local tree=$temporary/next
    rm -rf -- "$tree"
    dpkg-deb --raw-extract "$1" "$tree"
    sed -i 's/^\(Version: .*\)$/\1+next/' "$tree/DEBIAN/control"
    echo '# A line of the next version.' >>"$tree/etc/ociregistry/config.yaml"
    (cd "$tree" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    dpkg-deb --root-owner-group --build "$tree" "$2" >/dev/null
}

for release in "$@"; do
    root=$temporary/$release
    package=$(find "$packages/$release" -name 'ociregistry_*.deb')
    observability=$(find "$packages/$release" -name 'ociregistry-observability_*.deb')
    make_root "$release" "$root"
    install -m 0644 "$checkout/Tests/Systemd/pullers.py" "$checkout/scripts/soak.d/upgrade_clients.py" \
        "$checkout/scripts/soak.d/packages_checks.sh" "$root/srv/"
    cp -- "$package" "$root/srv/ociregistry.deb"
    cp -- "$observability" "$root/srv/observability.deb"
    next_version "$package" "$root/srv/next.deb"
    private bash "$namespaces" in_root "$root" -- bash /srv/packages_checks.sh files </dev/null
    start_systemd "$root" "$temporary/systemd.log"
    in_systemd 600 bash /srv/packages_checks.sh service
    in_systemd 600 bash /srv/packages_checks.sh runtime
    stop_systemd
    echo "packages: $release: passed"
    rm -rf --one-file-system -- "$root"
done
is_done=yes
