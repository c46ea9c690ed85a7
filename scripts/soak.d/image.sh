#!/usr/bin/env bash
# The container image: image.sh CHECKOUT [ARCHIVE], as root.
#
# Builds the image twice and compares the bytes, then checks what is in it and runs it with podman and docker (image_checks.py). With
# ARCHIVE, an archive of scripts/package image, that one is checked and nothing is built.
set -euo pipefail

checkout=$1 archive=${2-}
# podman refuses a run directory of more than 50 characters.
temporary=$(mktemp -d /tmp/ociregistry-image-XXXXXX)
trap 'rm -rf --one-file-system -- "$temporary"' EXIT

if [ -z "$archive" ]; then
    for build in first second; do
        seconds=$SECONDS
        "$checkout/scripts/package" image --output "$temporary/$build"
        echo "image: $build build: $((SECONDS - seconds)) s"
    done
    archive=$(printf '%s\n' "$temporary"/first/*.tar)
    if ! cmp -- "$archive" "$temporary/second/${archive##*/}"; then
        for build in first second; do
            mkdir -p -- "$temporary/$build/files"
            tar -x --to-stdout --wildcards -f "$temporary/$build/${archive##*/}" '*.tar' | tar -x -C "$temporary/$build/files"
        done
        diff --brief --recursive --no-dereference -- "$temporary/first/files" "$temporary/second/files" >&2 || true
        echo "image: two builds of one commit differ" >&2
        exit 1
    fi
    echo "image: two builds are the same bytes"
fi
# In namespaces: containers that are left running end with them. Hierarchies of version 1, which crun refuses, are covered.
unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euo pipefail -c '
    [ -d /sys/fs/cgroup ] || mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec python3 "$@"' bash "$checkout/scripts/soak.d/image_checks.py" "$archive" "$temporary" </dev/null
