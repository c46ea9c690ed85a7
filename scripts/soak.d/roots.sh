#!/usr/bin/env bash
# scripts/test in fresh roots of Debian releases: roots.sh [RELEASE [ARGUMENT…]]
#
# RELEASE is a name that debootstrap knows, several with commas between (default: bookworm,trixie). ARGUMENTs go to
# scripts/test. What is tested is the commit that is checked out; nothing that is not committed is seen.
#
# Each root is debootstrap's minimal system. The Swift toolchain that is first on PATH is mounted into it, read-only, at the
# same place. ROOTS_BIND names further files and directories to be mounted likewise, with colons between: an apt
# configuration, a Git configuration and what it refers to, certificates. The roots go away at the end.
set -euo pipefail

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

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

# In namespaces of its own: mounts are not visible outside, and processes left running end with this.
if [ "${1-}" = inside ]; then
    root=$2 release=$3 toolchain=$4
    shift 4
    # podman and buildah refuse a root that is no mount point.
    mount --bind -- "$root" "$root"
    debootstrap --variant=minbase "$release" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    mount_into "$root" "$toolchain"
    IFS=: read -r -a more <<<"${ROOTS_BIND-}"
    for path in ${more[@]+"${more[@]}"}; do mount_into "$root" "$path"; done
    git clone --quiet --no-hardlinks -- "$checkout" "$root/checkout"
    exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
        PATH="$toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        /checkout/scripts/test "$@"
fi

swift=$(readlink -f -- "$(command -v swift)")
toolchain=$(dirname -- "$(dirname -- "$swift")")
case $toolchain in
/ | /usr | /usr/local)
    echo "roots: the toolchain is in $toolchain together with other programs; one in a directory of its own is needed" >&2
    exit 1
    ;;
esac

releases=${1:-bookworm,trixie}
[ $# -eq 0 ] || shift
directory=$(mktemp -d)
# The mounts are in the namespaces of the runs, which have ended: there is nothing else below it.
trap 'rm -rf --one-file-system -- "$directory"' EXIT
failed=()
for release in ${releases//,/ }; do
    root=$directory/$release
    mkdir -- "$root"
    seconds=$SECONDS
    if unshare --mount --propagation private --pid --fork --kill-child \
        "${BASH_SOURCE[0]}" inside "$root" "$release" "$toolchain" "$@" </dev/null; then
        result=passed
    else
        result=failed
        failed+=("$release")
    fi
    echo "roots: $release: $result after $((SECONDS - seconds)) s"
    rm -rf --one-file-system -- "$root"
done
[ ${#failed[@]} -eq 0 ]
