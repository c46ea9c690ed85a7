#!/usr/bin/env bash
# skopeo takes pzstd's output for a plain tar, and compresses such a layer a second time.
#
# Guess: pzstd is the parallel zstd, so what reads .tar.zst made by zstd reads .tar.zst made by pzstd. And a layer
#   whose media type ends in +zstd is handled as zstd.
# What happens: pzstd puts a skippable frame before each frame, which the format allows. zstd reads that. skopeo
#   compares the first four bytes with the magic number of a data frame and takes the file for a plain tar. A
#   docker-archive is refused as an invalid tar. An OCI layer of type tar+zstd is copied without a complaint to one of
#   type tar+gzip: gzip around the untouched zstd bytes, which no longer unpacks to the diff_id of the image's config.
#   GNU tar makes the same mistake, unless the name of the file ends in .zst.
# Why it matters: a mirror that is filled by `skopeo copy` or `skopeo sync` gets an image that cannot be unpacked, and
#   the copy exits with 0. containerd and Docker look past skippable frames, so the source image runs there.
# Seen with: skopeo 1.9.3+ds1-1+b10, zstd 1.5.4+dfsg2-5 (Debian 12, amd64).
# Reference: RFC 8878, section 3.1.2 (skippable frames); the fixed prefix is in pkg/compression/compression.go of
#   containers/image; containerd pull request 6177 and moby pull request 42862 (both look past skippable frames).
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download skopeo=1.9.3+ds1-1+b10 zstd=1.5.4+dfsg2-5 \
    libgpgme11=1.18.0-3+deb12u1 libassuan0=2.5.5-5 libdevmapper1.02.1=2:1.02.185-2)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
export PATH="$dir/debian/usr/bin:$PATH"
export LD_LIBRARY_PATH="$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu"
export _CONTAINERS_ROOTLESS_UID=65534 XDG_DATA_HOME=$dir # skopeo's cache of known blobs stays in $dir
cd "$dir"

for number in 1 2 3; do seq "$number" 20000 >"file$number"; done
tar -cf layer.tar file1 file2 file3
zstd -q layer.tar -o layer.zstd
pzstd -q layer.tar -o layer.pzstd

# An OCI layout whose only layer is the file LAYER.
cat >make.py <<'PYTHON'
import hashlib, json, os, sys

name, layer, kind = sys.argv[1:]
OCI = "application/vnd.oci.image."
os.makedirs(name + "/blobs/sha256")


def blob(data, kind):
    digest = hashlib.sha256(data).hexdigest()
    open("%s/blobs/sha256/%s" % (name, digest), "wb").write(data)
    return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}


config = blob(json.dumps({
    "architecture": "amd64",
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(open("layer.tar", "rb").read()).hexdigest()]},
}).encode(), "config.v1+json")
layer = blob(open(layer, "rb").read(), kind)
manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": [layer]}
manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
json.dump({"schemaVersion": 2, "manifests": [manifest]}, open(name + "/index.json", "w"))
open(name + "/oci-layout", "w").write('{"imageLayoutVersion": "1.0.0"}')
PYTHON

# What the layer of an OCI layout says that it is, and what it is.
cat >show.py <<'PYTHON'
import gzip, json, sys


def load(digest):
    return open("%s/blobs/sha256/%s" % (sys.argv[1], digest[7:]), "rb").read()


index = json.load(open(sys.argv[1] + "/index.json"))
layer = json.loads(load(index["manifests"][0]["digest"]))["layers"][0]
data = load(layer["digest"])
shells = []
if data.startswith(b"\x1f\x8b"):
    shells.append("gzip")
    data = gzip.decompress(data)
for program in ("zstd", "pzstd"):
    if data == open("layer." + program, "rb").read():
        shells.append(program)
        data = open("layer.tar", "rb").read()
shells.append("tar" if data == open("layer.tar", "rb").read() else "other")
print("type %s, content %s" % (layer["mediaType"].rsplit(".", 1)[1], " of ".join(shells)))
PYTHON

skopeo --version
dpkg-deb -f "$dir"/zstd_*.deb Package Version | paste -sd ' '
python3 make.py plain layer.tar layer.v1.tar
timeout 60 skopeo --insecure-policy copy -q oci:plain docker-archive:image.tar:example:1
for program in zstd pzstd; do
    echo "== $program"
    "$program" -q image.tar -o "image.$program"
    echo "zstd -t: $(zstd -qt "image.$program" && echo good)"
    echo "tar, by content: $({ tar -tf "layer.$program" 2>error || head -1 error; } | paste -sd ' ')"
    cp "layer.$program" "layer.$program.zst"
    echo "tar, by name: $(tar -tf "layer.$program.zst" | paste -sd ' ')"
    if timeout 60 skopeo inspect "docker-archive:image.$program" >/dev/null 2>error; then
        echo "skopeo inspect of the archive: good"
    else
        echo "skopeo inspect of the archive:$(grep -o ' archive/tar: [a-z ]*' error)"
    fi
    python3 make.py "$program" "layer.$program" layer.v1.tar+zstd
    timeout 60 skopeo --insecure-policy copy -q "oci:$program" "oci:copy-$program"
    echo "skopeo copy: exit 0, $(python3 show.py "copy-$program")"
done >seen
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
== zstd
zstd -t: good
tar, by content: file1 file2 file3
tar, by name: file1 file2 file3
skopeo inspect of the archive: good
skopeo copy: exit 0, type tar+zstd, content zstd of tar
== pzstd
zstd -t: good
tar, by content: tar: This does not look like a tar archive
tar, by name: file1 file2 file3
skopeo inspect of the archive: archive/tar: invalid tar header
skopeo copy: exit 0, type tar+gzip, content gzip of pzstd of tar
RECORDED
