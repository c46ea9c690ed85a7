#!/usr/bin/env bash
# scripts/test in fresh roots of Debian releases: roots.sh [RELEASE [ARGUMENT…]]
#
# RELEASE is a name that debootstrap knows, several with commas between (default: bookworm,trixie). ARGUMENTs go to
# scripts/test. What is tested is the commit that is checked out; nothing that is not committed is seen.
#
# Each root is debootstrap's minimal system. The Swift toolchain that is first on PATH is mounted into it, read-only, at the
# same place. ROOTS_BIND names further files and directories to be mounted likewise (scripts/namespaces.sh). The roots go away
# at the end.
set -euo pipefail

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

# shellcheck source=scripts/namespaces.sh
source "$checkout/scripts/namespaces.sh"

# In namespaces of its own.
if [ "${1-}" = inside ]; then
    root=$2 release=$3 toolchain=$4
    shift 4
    make_root "$release" "$root"
    git clone --quiet --no-hardlinks -- "$checkout" "$root/checkout"
    IN_ROOT_PATH=$toolchain/bin in_root "$root" "$toolchain" -- /checkout/scripts/test "$@"
fi

toolchain=$(swift_toolchain)
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
    if private "${BASH_SOURCE[0]}" inside "$root" "$release" "$toolchain" "$@" </dev/null; then
        result=passed
    else
        result=failed
        failed+=("$release")
    fi
    echo "roots: $release: $result after $((SECONDS - seconds)) s"
    rm -rf --one-file-system -- "$root"
done
[ ${#failed[@]} -eq 0 ]
