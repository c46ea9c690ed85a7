#!/usr/bin/env bash
# The units under a real systemd: systemd.sh CHECKOUT PROGRAM, as root.
#
# A root of Debian 12 is made, and its systemd (252) runs in it as process 1 of namespaces, with control groups and a
# network of its own. There: start, status, reload with a good and a bad file, a secret, restarts under load, and a server
# that hangs until the watchdog ends it. SYSTEMD_ROOT names a directory where the root is kept, and found the next time.
set -euo pipefail

if [ "${1-}" = inside ]; then
    root=$2
    mount --bind "$root" "$root"
    cd "$root"
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
fi

checkout=$1 program=$2
temporary=$(mktemp -d)
root=${SYSTEMD_ROOT-}
[ -n "$root" ] || root=$temporary/root
manager=''
finish() {
    # The mounts are in the namespaces, which end with their process 1.
    if [ -n "$manager" ]; then
        kill -KILL "$manager" 2>/dev/null || true
        wait "$manager" 2>/dev/null || true
    fi
    rm -rf --one-file-system -- "$temporary"
}
trap finish EXIT

if [ ! -x "$root/lib/systemd/systemd" ]; then
    mkdir -p "$root"
    debootstrap --variant=minbase --include=ca-certificates,libarchive13,libcurl4,libpcre2-8-0,libuv1,libyaml-0-2,python3,systemd \
        bookworm "$root" >"$temporary/log" || {
        tail -20 "$temporary/log" >&2
        exit 1
    }
fi
rm -rf -- "$root/var/lib/private/ociregistry" "$root/var/lib/ociregistry" "$root/etc/ociregistry" "$root/var/log/journal"
install -m 0755 "$program" "$root/usr/bin/ociregistry"
install -m 0644 "$checkout"/packaging/systemd/ociregistry.{service,socket} "$root/etc/systemd/system/"
install -m 0644 "$checkout/Tests/Systemd/pullers.py" "$checkout/scripts/soak.d/systemd_checks.sh" "$root/srv/"
install -d -m 0755 "$root/etc/ociregistry"
install -d -m 0700 "$root/etc/ociregistry/secrets"
install -m 0600 /dev/stdin "$root/etc/ociregistry/secrets/example" <<<"a password"
install -m 0644 /dev/stdin "$root/etc/ociregistry/config.yaml" <<<"helloWorld: true"

unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private \
    "${BASH_SOURCE[0]}" inside "$root" </dev/null >"$temporary/systemd.log" 2>&1 &
manager=$!
# Process 1 is the child of unshare.
first=''
for _ in $(seq 100); do
    first=$(pgrep -P "$manager" -x systemd || true)
    [ -z "$first" ] || break
    sleep 0.1
done
[ -n "$first" ] || {
    cat "$temporary/systemd.log" >&2
    echo "systemd: it does not start in namespaces here" >&2
    exit 1
}
timeout --signal=KILL 300 nsenter -t "$first" -m -p -n -i -u -C -r -w bash /srv/systemd_checks.sh </dev/null
