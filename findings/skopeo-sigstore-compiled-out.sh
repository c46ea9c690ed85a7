#!/usr/bin/env bash
# Debian 12's skopeo lists the options for sigstore signatures, pushes the image, and then says that it cannot sign.
#
# Guess: an option that --help lists works; and a copy that is to be signed and cannot be is refused before anything is
#   pushed.
# What happens: the build has sigstore compiled out. `copy --sign-by-sigstore-private-key` uploads the blobs and the
#   manifest under the tag, then fails with status 1 ("Debian-local change: sigstore disabled"). The key is not even
#   read. The tag is in the registry, without a signature. 1.22.0 (sid) reads the key first, and pushes nothing when it
#   is wrong.
# Why it matters: a pipeline that pushes and signs in one step, and is repeated or ignored after the failure, has
#   published an unsigned image, and a mirror hands it on.
# Seen with: skopeo 1.9.3+ds1-1+b10, docker-registry 2.8.2+ds1-1 (Debian 12, amd64).
# Reference: skopeo-copy(1), --sign-by-sigstore-private-key.
set -euo pipefail

dir=$(mktemp -d)
pids=()
clean_up() {
    if [ ${#pids[@]} -gt 0 ]; then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap clean_up EXIT

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download skopeo=1.9.3+ds1-1+b10 docker-registry=2.8.2+ds1-1 \
    libdevmapper1.02.1 libgpgme11 libassuan0)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
export LD_LIBRARY_PATH=$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu HOME=$dir

while port=$((RANDOM % 10000 + 20000)) && (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
cat >"$dir/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/store}}
http: {addr: "127.0.0.1:$port"}
YAML
timeout 100 "$dir/debian/usr/bin/docker-registry" serve "$dir/registry.yml" 2>"$dir/registry.log" &
pids+=($!)
for _ in $(seq 300); do
    if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 0.1
done

# An image of one layer, as an OCI layout.
python3 - "$dir/image" <<'PYTHON'
import hashlib, io, json, os, sys, tarfile

root = sys.argv[1]
os.makedirs(root + "/blobs/sha256")

def descriptor(kind, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{root}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}

layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as archive:
    entry = tarfile.TarInfo("hello")
    entry.size = 5
    archive.addfile(entry, io.BytesIO(b"hello"))
tar = descriptor("layer.v1.tar", layer.getvalue())
rootfs = {"type": "layers", "diff_ids": [tar["digest"]]}
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", json.dumps(config).encode()), "layers": [tar]}
top = descriptor("manifest.v1+json", json.dumps(manifest).encode())
top["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
with open(root + "/index.json", "w") as file:
    json.dump({"schemaVersion": 2, "manifests": [top]}, file)
with open(root + "/oci-layout", "w") as file:
    file.write('{"imageLayoutVersion":"1.0.0"}')
PYTHON

skopeo=("$dir/debian/usr/bin/skopeo" --insecure-policy --registries.d "$dir/registries.d")
mkdir "$dir/registries.d"
printf 'docker:\n  127.0.0.1:%s:\n    use-sigstore-attachments: true\n' "$port" >"$dir/registries.d/local.yaml"
echo "no key at all" >"$dir/key"
: >"$dir/passphrase"

seen=""
"${skopeo[@]}" copy --help | grep -q -- --sign-by-sigstore-private-key && seen+="listed by --help; "
status=0
timeout 60 "${skopeo[@]}" copy --dest-tls-verify=false --sign-by-sigstore-private-key "$dir/key" \
    --sign-passphrase-file "$dir/passphrase" "oci:$dir/image:v1" "docker://127.0.0.1:$port/app:v1" \
    >"$dir/copy.log" 2>&1 || status=$?
seen+="status $status; "
seen+="$(grep -o 'Debian-local change: sigstore disabled' "$dir/copy.log" || echo 'another reason'); "
seen+="$(timeout 10 python3 -c "
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:$port/v2/app/tags/list').read().decode().strip())")"

expected='listed by --help; status 1; Debian-local change: sigstore disabled; {"name":"app","tags":["v1"]}'
echo "seen:     $seen"
echo "recorded: $expected"
[ "$seen" = "$expected" ]
