#!/usr/bin/env bash
# Debian packages of the commit that is checked out: deb.sh [RELEASE…] (default: bookworm trixie), as root.
#
# Each release's packages are built by dpkg-buildpackage in a root of that release, since the libraries differ, and checked by
# its lintian. They are put into .build/packages/RELEASE, or PACKAGES_DIRECTORY/RELEASE. The Swift toolchain that is first on
# PATH is mounted into the root; the Swift packages come through git. ROOTS_BIND as in scripts/namespaces.sh. PACKAGE_ROOTS names
# a directory where the roots are kept, and found the next time. PACKAGE_PLACE is the directory inside the root where it is
# built (default: /build); it is not seen in the packages.
set -euo pipefail

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/prepare.sh
source "$checkout/scripts/prepare.sh"
# shellcheck source=scripts/namespaces.sh
source "$checkout/scripts/namespaces.sh"

# suffix RELEASE: of the version, so that a later release's package is newer.
suffix() {
    case $1 in
    bookworm) echo +deb12 ;;
    trixie) echo +deb13 ;;
    *) die "deb: no release '$1': bookworm, trixie" ;;
    esac
}

# make_tree RELEASE DIRECTORY: the commit's tree with `debian` in its place.
make_tree() {
    local maintainer
    mkdir -p -- "$2"
    git -C "$checkout" archive HEAD | tar -x -C "$2"
    cp -R -- "$2/packaging/debian" "$2/debian"
    maintainer=$(sed -n 's/^Maintainer: //p' "$2/debian/control")
    "$2/packaging/changelog.py" "$2/CHANGELOG.md" "$version" "$maintainer" "$(suffix "$1")" "$1" >"$2/debian/changelog"
}

# In the root: what the build needs, and the build. build_there RELEASE PLACE
build_there() {
    cd -- "$2/ociregistry-$version"
    apt-get -q update
    # The toolchain's own libraries, then what debian/control names.
    require_swift
    apt-get -q -y --no-install-recommends install dpkg-dev lintian
    apt-get -q -y --no-install-recommends build-dep ./
    dpkg-buildpackage --build=binary --no-sign
    # It may run as root: the root is made for this alone.
    lintian --allow-root --tag-display-limit 0 --fail-on error,warning ../*.changes
}

version=$(sed -n 's/.*static let text = "\(.*\)"/\1/p' "$checkout/Sources/App/Commands/Version.swift")
place=${PACKAGE_PLACE:-/build}

case ${1-} in
inside)
    release=$2 root=$3 toolchain=$4
    IN_ROOT_PATH=$toolchain/bin in_root "$root" "$toolchain" -- bash "$place/ociregistry-$version/scripts/package.d/deb.sh" there "$release" "$place"
    ;;
there)
    build_there "$2" "$3"
    exit
    ;;
esac

[ $# -gt 0 ] || set -- bookworm trixie
for release in "$@"; do suffix "$release" >/dev/null; done
[ "$(id -u)" -eq 0 ] || die "deb: making and entering a root takes root"
need debootstrap has_tool debootstrap
need git has_tool git
need python3 has_tool python3
install_missing
toolchain=$(swift_toolchain)
destination=${PACKAGES_DIRECTORY:-$checkout/.build/packages}
[ -z "$(git -C "$checkout" status --porcelain)" ] || say "what is not committed is not packaged"
temporary=$(mktemp -d)
# The mounts are in the namespaces of the builds, which have ended: there is nothing else below it.
trap 'rm -rf --one-file-system -- "$temporary"' EXIT
roots=${PACKAGE_ROOTS:-$temporary}
for release in "$@"; do
    root=$roots/$release
    [ -x "$root/usr/bin/apt-get" ] || make_root "$release" "$root"
    rm -rf --one-file-system -- "${root:?}/$place"
    make_tree "$release" "$root/$place/ociregistry-$version"
    say "$release: building"
    log=$temporary/$release.log
    if ! private "${BASH_SOURCE[0]}" inside "$release" "$root" "$toolchain" </dev/null >"$log" 2>&1; then
        tail -60 "$log" >&2
        die "$release: the build has failed"
    fi
    mkdir -p -- "$destination/$release"
    rm -f -- "$destination/$release"/*
    find "$root/$place" -maxdepth 1 -type f -exec cp -- {} "$destination/$release/" \;
    cp -- "$log" "$destination/$release/build.log"
    rm -rf --one-file-system -- "${root:?}/$place"
    say "$release: $(cd "$destination/$release" && printf '%s ' *.deb)"
done
