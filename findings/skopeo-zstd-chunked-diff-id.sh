#!/usr/bin/env bash
# skopeo's conversion to zstd:chunked cuts the padding off a layer, so the layer no longer matches its diff_id.
#
# Guess: compressing a layer anew keeps the tar inside as it is. Only the compressed digest changes.
# What happens: a tar made by GNU tar ends in zeros up to a multiple of 10240 bytes. Conversion to zstd keeps them.
#   Conversion to zstd:chunked, which rewrites the layer file by file, keeps the two zero blocks that end a tar and
#   drops the rest. The digest of the unpacked layer is then another one, and the config with its diff_ids is copied
#   as it was. skopeo says nothing and exits with 0.
# Why it matters: diff_ids are what clients compare an unpacked layer with. A mirror that recompresses to save space
#   or to allow partial pulls makes images that such clients refuse. Layers written by Go programs end in two blocks
#   and come out whole, so that a test with a common image does not show it.
# Seen with: skopeo 1.9.3+ds1-1+b10, zstd 1.5.4+dfsg2-5 (Debian 12, amd64). containers/storage pull request 1772 of
#   December 2023 flushes the padding in later releases.
# Reference: OCI image specification 1.1, config.md, rootfs.diff_ids; GNU tar manual, "Blocking Factor";
#   skopeo-copy(1), --dest-compress-format.
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

# Two layers with the same files: one padded as GNU tar does, one with only the two blocks that end a tar.
for number in 1 2 3; do seq "$number" 20000 >"file$number"; done
tar -b 20 -cf padded file1 file2 file3
tar -b 1 -cf unpadded file1 file2 file3
cat >make.py <<'PYTHON'
import gzip, hashlib, json, os, sys

name, OCI = sys.argv[1], "application/vnd.oci.image."
os.makedirs(name + ".oci/blobs/sha256")


def blob(data, kind):
    digest = hashlib.sha256(data).hexdigest()
    open("%s.oci/blobs/sha256/%s" % (name, digest), "wb").write(data)
    return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}


tar = open(name, "rb").read()
config = blob(json.dumps({
    "architecture": "amd64",
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
}).encode(), "config.v1+json")
layer = blob(gzip.compress(tar), "layer.v1.tar+gzip")
manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": [layer]}
manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
json.dump({"schemaVersion": 2, "manifests": [manifest]}, open(name + ".oci/index.json", "w"))
open(name + ".oci/oci-layout", "w").write('{"imageLayoutVersion": "1.0.0"}')
PYTHON

# Unpacks the layer of an OCI layout and compares it with the config and with the tar that it was made from.
cat >show.py <<'PYTHON'
import hashlib, json, subprocess, sys

copy, original = sys.argv[1], open(sys.argv[2], "rb").read()


def path(digest):
    return "%s/blobs/sha256/%s" % (copy, digest[7:])


manifest = json.load(open(path(json.load(open(copy + "/index.json"))["manifests"][0]["digest"])))
diff_id = json.load(open(path(manifest["config"]["digest"])))["rootfs"]["diff_ids"][0]
tar = subprocess.run(["zstd", "-dc", path(manifest["layers"][0]["digest"])], capture_output=True, check=True).stdout
print("%d of %d bytes;" % (len(tar), len(original)), end=" ")
missing = original[len(tar):]
if missing:
    print("zeros are missing at the end;" if original.startswith(tar) and not any(missing) else "other bytes;", end=" ")
print("diff_id", "matches" if diff_id == "sha256:" + hashlib.sha256(tar).hexdigest() else "does not match")
PYTHON

skopeo --version
dpkg-deb -f "$dir"/zstd_*.deb Package Version | paste -sd ' '
for layer in unpadded padded; do
    python3 make.py "$layer"
    for format in zstd zstd:chunked; do
        timeout 60 skopeo --insecure-policy copy -q --dest-compress --dest-compress-format "$format" \
            "oci:$layer.oci" "oci:$layer.${format/:/-}"
        echo "$layer, $format: $(python3 show.py "$layer.${format/:/-}" "$layer")"
    done
done >seen
cat seen
diff -u - seen <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
unpadded, zstd: 329728 of 329728 bytes; diff_id matches
unpadded, zstd:chunked: 329728 of 329728 bytes; diff_id matches
padded, zstd: 337920 of 337920 bytes; diff_id matches
padded, zstd:chunked: 329728 of 337920 bytes; zeros are missing at the end; diff_id does not match
RECORDED
