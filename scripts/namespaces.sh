#!/usr/bin/env bash
# Root file systems of Debian releases, and systemd in them: what scripts/package and scripts/soak share. Sourced, or run as
# namespaces.sh FUNCTION ARGUMENT… in a namespace of its own. Everything here takes root.
#
# ROOTS_BIND names further files and directories that are mounted into the roots, with colons between: an apt configuration, a
# Git configuration and what it refers to, certificates.

namespaces=$(readlink -f -- "${BASH_SOURCE[0]}")

# make_root RELEASE ROOT [OPTION…]: debootstrap's minimal system, with options of debootstrap. Its output is shown on failure only.
make_root() {
    local release=$1 root=$2 log
    shift 2
    mkdir -p -- "$root"
    log=$(mktemp)
    if ! debootstrap --variant=minbase "$@" "$release" "$root" >"$log"; then
        tail -20 "$log" >&2
        rm -f -- "$log"
        return 1
    fi
    rm -f -- "$log"
}

# swift_toolchain: the directory of the Swift toolchain that is first on PATH.
swift_toolchain() {
    local swift toolchain
    swift=$(readlink -f -- "$(command -v swift)")
    toolchain=$(dirname -- "$(dirname -- "$swift")")
    case $toolchain in
    / | /usr | /usr/local)
        echo "the toolchain is in $toolchain together with other programs; one in a directory of its own is needed" >&2
        return 1
        ;;
    esac
    printf '%s\n' "$toolchain"
}

# private COMMAND…: in mount and process namespaces of its own. Mounts are not visible outside, and processes left running end
# with it.
private() { unshare --mount --propagation private --pid --fork --kill-child "$@"; }

# mount_into ROOT PATH: a file or directory of this machine at the same place in a root, read-only.
mount_into() {
    local target=$1$2
    if [ -d "$2" ]; then
        mkdir -p -- "$target"
    else
        mkdir -p -- "$(dirname -- "$target")"
        : >>"$target"
    fi
    mount --bind -- "$2" "$target"
    mount -o remount,bind,ro -- "$target"
}

# mount_root ROOT [PATH…]: what programs in a root need, each PATH, and ROOTS_BIND.
mount_root() {
    local root=$1 path more=()
    shift
    # podman and buildah refuse a root that is no mount point.
    mount --bind -- "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    IFS=: read -r -a more <<<"${ROOTS_BIND-}"
    for path in "$@" ${more[@]+"${more[@]}"}; do mount_into "$root" "$path"; done
}

# in_root ROOT [PATH…] -- COMMAND…: in a root with its mounts, after `private`. IN_ROOT_PATH is put before the usual PATH.
in_root() {
    local root=$1 paths=()
    shift
    while [ "$1" != -- ]; do
        paths+=("$1")
        shift
    done
    shift
    mount_root "$root" ${paths[@]+"${paths[@]}"}
    exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive \
        PATH="${IN_ROOT_PATH:+$IN_ROOT_PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

# boot_systemd ROOT: its systemd as process 1, in the namespaces of start_systemd.
boot_systemd() {
    local root=$1 name
    mount --bind "$root" "$root"
    cd "$root" || return
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do
        : >"dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    ln -s /proc/self/fd dev/fd
    # PrivateDevices= copies it.
    ln -s pts/ptmx dev/ptmx
    mkdir dev/shm dev/pts
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    # Where this machine's own systemd or another has the controllers of version 1, only the named hierarchy is used.
    if ! mount -t cgroup2 cgroup2 sys/fs/cgroup || [ ! -s sys/fs/cgroup/cgroup.controllers ]; then
        mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
        mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
        mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    fi
    # Not chroot: in one, no user namespace can be made, and PrivateUsers= needs one (user_namespaces(7)).
    mkdir -p old
    pivot_root . old
    # Mounts are shared, as systemd expects it of containers: it passes credentials by one.
    exec chroot . /bin/sh -c 'umount -l /old && mount --make-rshared / && exec env -i container=namespaces \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=no'
}

# start_systemd ROOT LOG: boots ROOT, with control groups and a network of its own. Sets `systemd_parent`, to be killed at the end
# (the namespaces end with it), and `systemd_first`, its process 1 as seen from here.
start_systemd() {
    unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private \
        bash -euo pipefail "$namespaces" boot_systemd "$1" </dev/null >"$2" 2>&1 &
    systemd_parent=$!
    systemd_first=''
    for _ in $(seq 100); do
        systemd_first=$(pgrep -P "$systemd_parent" -x systemd || true)
        [ -z "$systemd_first" ] || return 0
        sleep 0.1
    done
    cat "$2" >&2
    echo "systemd does not start in namespaces here" >&2
    return 1
}

# stop_systemd: ends what start_systemd has started, if anything.
stop_systemd() {
    [ -n "${systemd_parent-}" ] || return 0
    kill -KILL "$systemd_parent" 2>/dev/null || true
    wait "$systemd_parent" 2>/dev/null || true
    systemd_parent=''
}

# in_systemd SECONDS COMMAND…: beside the process 1 of start_systemd.
in_systemd() {
    local seconds=$1
    shift
    timeout --signal=KILL "$seconds" nsenter -t "$systemd_first" -m -p -n -i -u -C -r -w "$@" </dev/null
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    "$@"
fi
