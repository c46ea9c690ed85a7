#!/usr/bin/env bash
# A whiteout that follows a file of the same layer deletes it in buildah and not in umoci.
#
# Guess: a whiteout hides what lower layers have, so its place in the layer does not matter.
# What happens: the specification says so, and umoci works so. buildah, like podman, unpacks with containers/storage,
#   which applies a layer entry by entry: a plain whiteout (.wh.NAME) removes NAME even when this layer has just
#   brought it. The same layer with the whiteout first keeps the file. An opaque whiteout (.wh..wh..opq) keeps the
#   layer's own files in both orders. So one layer, with one digest, gives two root file systems.
# Why it matters: a builder that writes "add, then delete what was there" gets images that miss files with one runtime
#   and not with another, and every digest is right. Whiteouts have to come before their siblings, which the
#   specification only recommends.
# Seen with: buildah 1.28.2+ds1-3+deb12u1+b3 with its vfs driver, umoci 0.4.7+ds-3+b7 (Debian 12, amd64).
# Reference: OCI image specification 1.1, layer.md, "Whiteouts".
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    chmod -R u+w "$dir" # the root directories are made without it
    rm -rf "$dir"
}
trap clean_up EXIT

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download buildah=1.28.2+ds1-3+deb12u1+b3 umoci=0.4.7+ds-3+b7 \
    libgpgme11=1.18.0-3+deb12u1 libassuan0=2.5.5-5 libdevmapper1.02.1=2:1.02.185-2 libseccomp2=2.5.4-1+deb12u1)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
export PATH="$dir/debian/usr/bin:$PATH"
export LD_LIBRARY_PATH="$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu"
cd "$dir"

# Two images of two layers. The upper layers hold the same entries, whiteouts before or after the files.
cat >make.py <<'PYTHON'
import hashlib, io, json, os, tarfile

OCI = "application/vnd.oci.image."


def layer(*entries):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def image(name, layers):
    os.makedirs(name + "/blobs/sha256")

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        open("%s/blobs/sha256/%s" % (name, digest), "wb").write(data)
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}

    config = blob(json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]},
    }).encode(), "config.v1+json")
    layers = [blob(data, "layer.v1.tar") for data in layers]
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": layers}
    manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    json.dump({"schemaVersion": 2, "manifests": [manifest]}, open(name + "/index.json", "w"))
    open(name + "/oci-layout", "w").write('{"imageLayoutVersion": "1.0.0"}')


lower = layer(("settings", b"old"), ("folder", None), ("folder/old", b""))
files = [("settings", b"new"), ("folder/new", b"")]
whiteouts = [(".wh.settings", b""), ("folder/.wh..wh..opq", b"")]
image("whiteouts-first", [lower, layer(("folder", None), *whiteouts, *files)])
image("whiteouts-last", [lower, layer(("folder", None), *files, *whiteouts)])
PYTHON
python3 make.py

# buildah's storage and settings stay in $dir, and it runs as root of a user namespace of its own.
cat >storage.conf <<EOF
[storage]
driver = "vfs"
runroot = "$dir/run"
graphroot = "$dir/store"
[storage.options]
ignore_chown_errors = "true"
EOF
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >policy.json
echo 'unqualified-search-registries = []' >registries.conf
: >containers.conf
cat >unpack.sh <<'EOF'
set -euo pipefail
container=$(buildah --registries-conf registries.conf from -q --signature-policy policy.json "oci:$1:1")
root=$(buildah --registries-conf registries.conf mount "$container")
(cd "$root" && find . -type f | sort | paste -sd ' ')
EOF
export CONTAINERS_STORAGE_CONF=$dir/storage.conf CONTAINERS_CONF=$dir/containers.conf BUILDAH_ISOLATION=chroot
export XDG_RUNTIME_DIR=$dir TMPDIR=$dir HOME=$dir _CONTAINERS_USERNS_CONFIGURED="done"

buildah --version
umoci --version | sed -n 1p
for image in whiteouts-first whiteouts-last; do
    timeout 60 umoci unpack --rootless --image "$image:1" "unpacked-$image" >/dev/null
    files=$(cd "unpacked-$image/rootfs" && find . -type f | sort | paste -sd ' ')
    echo "umoci, $image: $files"
    files=$(timeout 60 unshare --user --map-root-user --mount bash unpack.sh "$image" 2>log || cat log)
    echo "buildah, $image: $files"
done >seen
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
umoci, whiteouts-first: ./folder/new ./settings
buildah, whiteouts-first: ./folder/new ./settings
umoci, whiteouts-last: ./folder/new ./settings
buildah, whiteouts-last: ./folder/new
RECORDED
