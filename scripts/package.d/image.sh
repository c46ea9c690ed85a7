#!/usr/bin/env bash
# The container image of the commit that is checked out: image.sh [--binary FILE] [--output DIRECTORY], as root.
#
# Builds ociregistry-VERSION-ARCHITECTURE.tar, an archive for 'podman load', 'docker load' and 'skopeo copy docker-archive:…'.
# Beside it, the same name with .packages lists the libraries inside, with their packages. The last two lines of the output are
# the image's id and the archive's SHA-256. The same commit, toolchain and packages give the same bytes.
#
# Everything comes from packages of Debian 13, in a root file system of that release which is made here. The program is built in
# it, with the Swift toolchain that is first on PATH. The architecture is that of the machine. docs/installation.md has more.
#
#   --binary FILE        put FILE into the image, a program built for Debian 13, instead of building one
#   --output DIRECTORY   where the archive goes (default: .build/packages/image, or PACKAGES_DIRECTORY/image)
#
# PACKAGE_ROOTS names a directory where the root is kept, and found the next time. ROOTS_BIND as in scripts/namespaces.sh.
# IMAGE_SECURITY is the address of Debian's security updates, which the image gets (default: that of the mirror, with -security
# behind it; empty: none).
set -euo pipefail

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/prepare.sh
source "$checkout/scripts/prepare.sh"
# shellcheck source=scripts/namespaces.sh
source "$checkout/scripts/namespaces.sh"

release=trixie
# Inside the root.
place=/build/image
libraries=(ca-certificates libarchive13t64 libcurl4t64 libpcre2-8-0 libssl3t64 libuv1t64 libyaml-0-2)

# In the root: installs what the image is made of, and builds the program unless it is there. build_there [SECURITY]
build_there() {
    local security apt=(apt-get -q -y --no-install-recommends)
    # No service is started in the root.
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    security=${1-$(awk '$1 == "deb" { sub("/$", "", $2); print $2 "-security"; exit }' /etc/apt/sources.list)}
    rm -f /etc/apt/sources.list.d/security.list
    [ -z "$security" ] || echo "deb $security $release-security main" >/etc/apt/sources.list.d/security.list
    "${apt[@]}" update
    "${apt[@]}" dist-upgrade
    "${apt[@]}" install binutils "${libraries[@]}"
    if [ ! -e "$place/program" ]; then
        require_swift
        "$place/source/packaging/build-program"
        cp "$place/source/.build/release/ociregistry" "$place/program"
    fi
    strip "$place/program"
}

case ${1-} in
inside)
    IN_ROOT_PATH=${3:+$3/bin} in_root "$2" ${3:+"$3"} -- bash "$place/source/scripts/package.d/image.sh" there "${@:4}"
    ;;
there)
    build_there "${@:2}"
    exit
    ;;
esac

binary='' output=${PACKAGES_DIRECTORY:-$checkout/.build/packages}/image
while [ $# -gt 0 ]; do
    case $1 in
    --binary | --output)
        [ -n "${2-}" ] || die "$1: a value is missing"
        if [ "$1" = --binary ]; then binary=$2; else output=$2; fi
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit
        ;;
    *)
        say "unknown argument '$1': --binary FILE, --output DIRECTORY"
        exit 64
        ;;
    esac
done
[ -z "$binary" ] || [ -f "$binary" ] || die "$binary: no such file"
[ "$(id -u)" -eq 0 ] || die "image: making and entering a root takes root"
need debootstrap has_tool debootstrap
need buildah has_tool buildah
need skopeo has_tool skopeo
need binutils has_tool readelf
need git has_tool git
need python3 has_tool python3
install_missing
toolchain=''
[ -n "$binary" ] || toolchain=$(swift_toolchain)
[ -z "$(git -C "$checkout" status --porcelain)" ] || say "what is not committed is not in the image"

version=$(sed -n 's/.*static let text = "\(.*\)"/\1/p' "$checkout/Sources/App/Commands/Version.swift")
revision=$(git -C "$checkout" rev-parse HEAD)
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$checkout" log -1 --format=%ct)}
temporary=$(mktemp -d)
# The mounts were in the namespace of the build, which has ended: there is nothing else below it.
trap 'rm -rf --one-file-system -- "$temporary"' EXIT

root=${PACKAGE_ROOTS:-$temporary}/$release
[ -x "$root/usr/bin/apt-get" ] || make_root "$release" "$root"
rm -rf --one-file-system -- "${root:?}/$place"
mkdir -p -- "$root$place/source"
git -C "$checkout" archive HEAD | tar -x -C "$root$place/source"
[ -z "$binary" ] || cp -- "$binary" "$root$place/program"
if ! private "${BASH_SOURCE[0]}" inside "$root" "$toolchain" ${IMAGE_SECURITY+"$IMAGE_SECURITY"} </dev/null >"$temporary/log" 2>&1; then
    tail -60 "$temporary/log" >&2
    die "the build in the root has failed"
fi

architecture=$(dpkg-query --admindir "$root/var/lib/dpkg" --show --showformat '${Architecture}' libc6)
name=ociregistry-$version-$architecture
mkdir -p -- "$output"
buildah() {
    command buildah --storage-driver vfs --root "$temporary/storage" --runroot "$temporary/run" "$@"
}
# The format of docker: that of OCI has no place for a health check.
container=$(BUILDAH_FORMAT=docker buildah from --format docker scratch)
files=$(buildah mount "$container")
"$checkout/scripts/package.d/image_files.py" "$root" "$root$place/program" "$files" >"$output/$name.packages"
rm -rf --one-file-system -- "${root:?}/$place"
buildah umount "$container" >/dev/null
# Group 0, as OpenShift has it: see GroupAccess.swift.
buildah config --os linux --arch "$architecture" --user 65532:0 --workingdir / --port 8080 --volume /var/lib/ociregistry \
    --entrypoint '["/usr/bin/ociregistry"]' --cmd serve --stop-signal SIGTERM --env PATH=/usr/local/bin:/usr/bin \
    --healthcheck 'CMD /usr/bin/ociregistry healthcheck --process 1' --healthcheck-interval 30s --healthcheck-timeout 10s \
    --healthcheck-start-period 60s --healthcheck-retries 3 \
    --label org.opencontainers.image.title=ociregistry \
    --label "org.opencontainers.image.description=A pull-only, pull-through, caching registry for OCI images" \
    --label org.opencontainers.image.licenses=Apache-2.0 \
    --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.revision=$revision" \
    --label "org.opencontainers.image.created=$(date --utc --date "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" "$container"
buildah commit --quiet --format docker --timestamp "$epoch" --omit-history --identity-label=false "$container" \
    "dir:$temporary/image" >/dev/null
id=$("$checkout/scripts/package.d/image_config.py" "$temporary/image")
rm -f -- "$output/$name.tar"
skopeo --insecure-policy copy --quiet "dir:$temporary/image" "docker-archive:$output/$name.tar:localhost/ociregistry:$version"
say "$output/$name.tar: $(du --apparent-size --block-size 1 "$output/$name.tar" | cut -f 1) bytes"
echo "id $id"
echo "sha256 $(sha256sum "$output/$name.tar" | cut -d ' ' -f 1)"
