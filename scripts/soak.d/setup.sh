#!/usr/bin/env bash
# What 'ociregistry setup containerd' writes, read by real versions of containerd: setup.sh PROGRAM, as root.
#
# The packages of containerd and libc of each release are unpacked into a directory, which is removed at the end
# (SETUP_ROOTS keeps and finds them). For each release and each config.toml below: setup, 'containerd config dump', a pull by
# the CRI plugin of an image that only the server has, and --remove, after which every file is as it was. SETUP_RELEASES
# chooses releases.
set -euo pipefail

# In namespaces of its own: the daemon's mounts are not visible outside, and it ends with this.
if [ "${1-}" = inside ]; then
    root=$2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs tmpfs "$root/run"
    mount --bind /dev "$root/dev"
    # Overlay file systems cannot be on every file system, and can be on this one.
    mkdir -p "$root/var/lib/containerd"
    mount -t tmpfs tmpfs "$root/var/lib/containerd"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    : >"$root/etc/resolv.conf"
    chroot "$root" containerd --log-level info >"$root.log" 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        ! grep -q 'containerd successfully booted' "$root.log" || break
        kill -0 "$daemon"
        sleep 0.1
    done
    # PullImageRequest { image: ImageSpec { image: "…" } } of runtime.v1, in a gRPC frame. curl speaks HTTP/2.
    python3 - "$3" >"$root/request" <<'PYTHON'
import struct, sys
name = sys.argv[1].encode()
spec = b"\x0a" + bytes([len(name)]) + name
message = b"\x0a" + bytes([len(spec)]) + spec
sys.stdout.buffer.write(b"\0" + struct.pack(">I", len(message)) + message)
PYTHON
    curl --silent --show-error --max-time 60 --http2-prior-knowledge --unix-socket "$root/run/containerd/containerd.sock" \
        --header 'content-type: application/grpc' --header 'te: trailers' --data-binary "@$root/request" \
        --dump-header "$root/answer" --output /dev/null http://localhost/runtime.v1.ImageService/PullImage
    grep -qi '^grpc-status: 0' "$root/answer" || {
        cat "$root/answer" >&2
        tail -20 "$root.log" >&2
        exit 1
    }
    exit
fi

program=$1
directory=${SETUP_ROOTS-}
temporary=$(mktemp -d)
server=''
finish() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    # What was mounted has gone with the namespaces.
    rm -rf --one-file-system -- "$temporary"
}
trap finish EXIT
[ -n "$directory" ] || directory=$temporary/roots

# make_root RELEASE: the packages of a release, with an apt state of its own.
make_root() {
    local state=$temporary/$1 root=$directory/$1 link package
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/packages" "$root"
    : >"$state/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $1 main" >"$state/list"
    local options=(-qq -o "Dir::State::Lists=$state/lists" -o "Dir::State::Status=$state/status" -o "Dir::Cache=$state/cache"
        -o "Dir::Etc::SourceList=$state/list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false)
    apt-get "${options[@]}" update
    (cd "$state/packages" && apt-get "${options[@]}" download containerd libc6)
    for package in "$state"/packages/*.deb; do dpkg-deb --extract "$package" "$root"; done
    for link in lib lib64; do [ -e "$root/$link" ] || ln -s "usr/$link" "$root/$link"; done
    mkdir -p "$root"/{proc,sys,run,dev,etc,tmp,var/lib}
}

# The files that a node may have, by name: config_NAME prints one.
config_none() { :; }
config_packaged() { cat "$directory/packaged-config.toml"; }
config_default() { chroot "$1" containerd config default; }
config_version1() { printf '[plugins.cri]\n  sandbox_image = "registry.k8s.io/pause:3.8"\n'; }
config_version2() { printf 'version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n'; }
config_version3() { printf 'version = 3\n[debug]\nlevel = "info"'; }

"$program" --image-path "$temporary/cache" --log-level info --log-file "$temporary/server.log" \
    serve --host 127.0.0.1 --port 0 --hello-world >"$temporary/banner" 2>&1 &
server=$!
port=''
for _ in $(seq 100); do
    port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]\{1,\}\).*/\1/p' "$temporary/banner" | head -1)
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || { cat "$temporary/banner" >&2 && exit 1; }

image=docker.io/library/hello-world:latest
# check RELEASE NAME: one config.toml of one release.
check() {
    local root=$directory/$1 name=$2 etc dump pulls
    etc=$root/etc/containerd
    rm -rf -- "$etc" "$root/var/lib/containerd"
    mkdir -p "$etc"
    "config_$name" "$root" >"$etc/config.toml"
    [ -s "$etc/config.toml" ] || rm -- "$etc/config.toml"
    cp -a "$etc" "$temporary/before"
    "$program" setup containerd --root "$root" --mirror "http://127.0.0.1:$port" >"$temporary/setup.txt"
    [ "$("$program" setup containerd --root "$root" --mirror "http://127.0.0.1:$port" | head -1)" = 'Nothing to change.' ]
    dump=$(chroot "$root" containerd config dump 2>/dev/null)
    grep -q "config_path = ['\"]/etc/containerd/certs.d" <<<"$dump" || {
        echo "$1 $name: config_path is not in containerd's own view of its configuration" >&2
        exit 1
    }
    unshare --mount --pid --fork --kill-child --propagation private "${BASH_SOURCE[0]}" inside "$root" "$image"
    pulls=$(grep -c 'ns=docker.io' "$temporary/server.log")
    : >"$temporary/server.log"
    "$program" setup containerd --root "$root" --remove >"$temporary/remove.txt"
    diff -r "$temporary/before" "$etc"
    rm -rf -- "$temporary/before"
    printf '%-9s %-9s config dump has config_path; CRI pull: %d requests here; removed: as before\n' "$1" "$name" "$pulls"
}

for release in ${SETUP_RELEASES:-bookworm trixie sid}; do
    [ -x "$directory/$release/usr/bin/containerd" ] || make_root "$release"
    if [ ! -e "$directory/packaged-config.toml" ]; then
        cp "$directory/$release/etc/containerd/config.toml" "$directory/packaged-config.toml"
    fi
    chroot "$directory/$release" containerd --version | cut -d' ' -f 2-3
    for name in none packaged default version1 version2; do check "$release" "$name"; done
    # containerd 1 refuses a version that it does not know.
    case $release in bookworm | trixie) ;; *) check "$release" version3 ;; esac
done
