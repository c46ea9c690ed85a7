#!/usr/bin/env bash
# The matrix of docs/clients.md with the newest clients: clients.sh CHECKOUT PROGRAM, as root.
#
# They come from a root of Debian sid, which is made here and removed at the end (1.5 GB, some minutes). CLIENTS_ROOT names a
# directory where it is kept, and found the next time. CLIENTS and IMAGES choose rows and columns, with semicolons between.
set -euo pipefail

checkout=$1 program=$2
temporary=${TMPDIR:-/tmp}
sid=${CLIENTS_ROOT-}
if [ -z "$sid" ]; then
    sid=$(mktemp -d "$temporary/ociregistry-clients-XXXXXX")
    # Nothing is mounted in there by then: mounts are made in namespaces that end before.
    trap 'rm -rf --one-file-system -- "$sid"' EXIT
fi

# in_sid COMMAND…: in the root, as a mount point of its own, with the checkout under its name and control groups of no one.
# Processes that are left running end with the namespace.
in_sid() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child --propagation private bash -euo pipefail -c '
        sid=$1 checkout=$2 program=$3
        shift 3
        mount --bind "$sid" "$sid"
        mount -t proc proc "$sid/proc"
        mount -t sysfs sysfs "$sid/sys"
        mount --rbind /dev "$sid/dev"
        mkdir -p "$sid$checkout" "$sid/run/ociregistry"
        mount --bind -o ro "$checkout" "$sid$checkout"
        cp -- "$program" "$sid/run/ociregistry/ociregistry"
        exec chroot "$sid" env -i HOME=/root LANG=C.UTF-8 TERM=dumb CLIENTS="${CLIENTS-}" IMAGES="${IMAGES-}" \
            DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' \
        bash "$sid" "$checkout" "$program" "$@"
}

make_root() {
    mkdir -p "$sid"
    debootstrap --variant=minbase sid "$sid" >"$sid.log" || {
        tail -20 "$sid.log" >&2
        exit 1
    }
    # No service is started in the root.
    printf '#!/bin/sh\nexit 101\n' >"$sid/usr/sbin/policy-rc.d"
    chmod 755 "$sid/usr/sbin/policy-rc.d"
    # A mirror that lags behind its own dates is good enough here; signatures are checked all the same.
    in_sid apt-get -q -o Acquire::Check-Valid-Until=false update >"$sid.log"
    in_sid apt-get -q -y --no-install-recommends install adduser ca-certificates containerd cosign crane crun curl docker-cli docker-registry \
        docker.io fuse-overlayfs iproute2 libarchive13t64 libcurl4t64 libpcre2-8-0 libuv1t64 libyaml-0-2 netavark oras podman \
        python3 skopeo >>"$sid.log" 2>&1 || {
        tail -20 "$sid.log" >&2
        exit 1
    }
    rm -f -- "$sid.log"
}

if [ ! -x "$sid/usr/bin/podman" ] || [ ! -x "$sid/usr/bin/cosign" ]; then make_root; fi
# shellcheck disable=SC2016
in_sid dpkg-query --show --showformat '${Package} ${Version}\n' podman skopeo containerd docker.io crane oras cosign
in_sid bash -c "rm -rf /var/lib/clients && mkdir -p /var/lib/clients"
in_sid bash "$checkout/scripts/soak.d/signatures.sh" /run/ociregistry/ociregistry /var/lib/clients/signatures
in_sid python3 "$checkout/scripts/soak.d/clients.py" /run/ociregistry/ociregistry "$checkout" /var/lib/clients
