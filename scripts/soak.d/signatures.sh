#!/usr/bin/env bash
# Signatures through the server with cosign and oras, online and without the registry: signatures.sh PROGRAM DIRECTORY
#
# An image with an SBOM (oras attach) and a signature (cosign sign) is in a docker-registry. It is loaded with its referrers;
# then both clients find them with the registry there, with it stopped, air-gapped, and on another air-gapped server that
# loaded an export. Where the referrers are not known, both clients have to fail. skopeo signs and verifies another tag by
# attachments (cosign's tags), with the registry there and stopped. Needs docker-registry, oras, cosign, skopeo (Debian 12's
# cannot sign) and curl on PATH, and the loopback ports 21901 and 21902. What it writes is in DIRECTORY, which must not exist.
set -euo pipefail

program=$1 directory=$2
upstream=127.0.0.1:21901 mirror=127.0.0.1:21902 failures=0
mkdir -- "$directory"
cd -- "$directory"
export HOME=$directory COSIGN_PASSWORD=''
pids=()
# Processes are ended by their numbers, and waited for.
stop() {
    kill "$1"
    wait "$1" || true
}
# shellcheck disable=SC2154
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# expect OUTCOME WHAT COMMAND…: OUTCOME is ok or fails.
expect() {
    local wanted=$1 what=$2 found=ok
    shift 2
    timeout 60 "$@" >last.log 2>&1 || found=fails
    if [ "$found" = "$wanted" ]; then
        echo "ok: $what"
    else
        echo "WRONG: $what: $found, not $wanted"
        sed 's/^/    /' last.log
        failures=$((failures + 1))
    fi
}

wait_for() {
    for _ in $(seq 100); do
        if curl -fsS -o /dev/null "http://$1/v2/" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "signatures: nothing answers on $1" >&2
    exit 1
}

configure() { # STORE AIR-GAPPED
    cat >server.yml <<EOF
imagePath: $directory/$1
host: ${mirror%:*}
port: ${mirror#*:}
defaultNs: $upstream
airGapped: $2
registries:
- name: $upstream
  scheme: http
EOF
    mkdir -p "$1"
}

serve() {
    "$program" serve --config-file server.yml >>server.log 2>&1 &
    server=$!
    pids+=("$server")
    wait_for "$mirror"
}

clients() { # OUTCOME STAGE
    expect "$1" "$2: cosign verify" \
        cosign verify --key cosign.pub --allow-insecure-registry --insecure-ignore-tlog=true "$mirror/team/app:v1"
    expect "$1" "$2: oras discover" oras discover --plain-http "$mirror/team/app:v1"
    cp last.log discovered.log
    [ "$1" != ok ] || expect ok "$2: the SBOM is listed" grep -q application/x-sbom discovered.log
    rm -rf copied
    expect "$1" "$2: oras copy -r" oras copy -r --from-plain-http "$mirror/team/app:v1" --to-oci-layout copied:v1
    [ "$1" != ok ] || expect ok "$2: all of it is copied" test "$(find copied/blobs -type f | wc -l)" -ge 7
}

attachments() { # STAGE
    rm -rf attached
    expect ok "$1: skopeo copy of an image with a signature" skopeo --policy policy.json --registries.d registries.d copy \
        --src-tls-verify=false "docker://$mirror/team/signed:v1" dir:attached
    expect ok "$1: the signature is copied" test -s attached/signature-1
}

cat >registry.yml <<EOF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $directory/registry}}
http: {addr: '$upstream'}
EOF
docker-registry serve registry.yml >registry.log 2>&1 &
registry=$!
pids+=("$registry")
wait_for "$upstream"
echo layer >layer.txt
echo '{}' >sbom.json
expect ok "an image" oras push --plain-http "$upstream/team/app:v1" layer.txt:text/plain
expect ok "an SBOM" oras attach --plain-http --artifact-type application/x-sbom "$upstream/team/app:v1" sbom.json
expect ok "a key" cosign generate-key-pair
expect ok "a signature" cosign sign --yes --key cosign.key --allow-insecure-registry --use-signing-config=false \
    --tlog-upload=false "$upstream/team/app:v1"

mkdir registries.d
for place in "$upstream" "$mirror"; do
    printf 'docker:\n  %s:\n    use-sigstore-attachments: true\n' "$place" >"registries.d/${place#*:}.yaml"
done
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >accept.json
cat >policy.json <<EOF
{"default": [{"type": "reject"}], "transports": {"docker": {"$mirror": [{"type": "sigstoreSigned", "keyPath": "$directory/cosign.pub",
  "signedIdentity": {"type": "exactRepository", "dockerRepository": "$upstream/team/signed"}}]}}}
EOF
: >passphrase
expect ok "a signature by skopeo" skopeo --policy accept.json --registries.d registries.d copy --src-tls-verify=false \
    --dest-tls-verify=false --sign-by-sigstore-private-key cosign.key --sign-passphrase-file passphrase \
    "docker://$upstream/team/app:v1" "docker://$upstream/team/signed:v1"

echo "$upstream/team/app:v1" >images.txt
configure plain false
expect ok "load" "$program" load --config-file server.yml --image-file images.txt
configure store false
expect ok "load --referrers" "$program" load --config-file server.yml --image-file images.txt --referrers
serve
clients ok online
expect ok "a list of tags" oras repo tags --plain-http "$mirror/team/app"
attachments online
stop "$registry"
clients ok "registry stopped"
attachments "registry stopped"
stop "$server"
configure store true
serve
clients ok air-gapped
expect ok "air-gapped: a list of tags" oras repo tags --plain-http "$mirror/team/app"
expect ok "export" "$program" export --config-file server.yml "$upstream/team/app:v1" --output image.tar
stop "$server"
configure other true
expect ok "load of the export" "$program" load --config-file server.yml --image-file image.tar --all-platforms
serve
clients ok "another air gap"
stop "$server"
# Loaded without referrers: whether there are any is not known.
configure plain true
serve
clients fails "not known"
stop "$server"
[ "$failures" -eq 0 ] || exit 1
