#!/usr/bin/env bash
# What scripts/soak.d/packages.sh checks inside a root: packages_checks.sh files, without systemd; then packages_checks.sh service and
# packages_checks.sh runtime, with systemd as process 1.
set -euo pipefail

export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unit=ociregistry.service

fail() {
    echo "packages: $*" >&2
    if [ -d /run/systemd/system ]; then
        systemctl status --no-pager -l ociregistry.socket "$unit" >&2 || true
        journalctl --no-pager -u "$unit" | tail -40 >&2 || true
    fi
    exit 1
}

# expect WHAT ACTUAL PATTERN
expect() {
    # shellcheck disable=SC2053
    [[ $2 == $3 ]] || fail "$1: '$2' is not '$3'"
    echo "packages: $1: $2"
}

# quietly COMMAND…: its output is shown on failure only.
quietly() { "$@" >/run/output.log 2>&1 || { cat /run/output.log >&2; fail "$*"; }; }

install_package() { quietly apt-get -q -y --no-install-recommends "$@"; }

# present PATH…
present() { local path; for path in "$@"; do [ -e "$path" ] || fail "$path is missing"; done; }
absent() { local path; for path in "$@"; do [ ! -e "$path" ] || fail "$path is left"; done; }

# candidates WORD…: what bash completes after these words, the last of which may be empty.
candidates() {
    bash --norc -c '
        source /usr/share/bash-completion/bash_completion
        source /usr/share/bash-completion/completions/ociregistry
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMPREPLY=()
        COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
        _ociregistry "$1" "${*: -1}" ""
        printf "%s " "${COMPREPLY[@]}"' bash "$@"
}

check_files() {
    quietly apt-get -q update
    # minbase leaves manual pages out of nothing, but has no reader for them.
    install_package install man-db bash-completion python3 systemd logrotate containerd
    install_package install /srv/ociregistry.deb /srv/observability.deb
    expect version "$(ociregistry version | head -1)" 'ociregistry [0-9]*'
    expect 'package version' "$(dpkg-query -W -f '${Version}' ociregistry)" "$(ociregistry version | sed -n '1s/.* //p')+deb*"
    expect dependencies "$(dpkg-query -W -f '${Depends}' ociregistry)" '*libc6*libcurl4*libuv1*'
    present /etc/ociregistry/config.yaml /etc/logrotate.d/ociregistry /usr/share/doc/ociregistry/docs/configuration.md \
        /usr/share/zsh/vendor-completions/_ociregistry /usr/share/fish/vendor_completions.d/ociregistry.fish \
        /usr/share/ociregistry-observability/grafana/dashboards/server.json \
        /usr/share/ociregistry-observability/prometheus/rules.yml
    expect 'mode of the secrets' "$(stat -c '%a %U' /etc/ociregistry/secrets)" '700 root'
    expect conffiles "$(dpkg-query -W -f '${Conffiles}' ociregistry | awk '{ printf "%s ", $1 }')" \
        '*/etc/ociregistry/config.yaml*'
    expect configuration "$(ociregistry check-config /etc/ociregistry/config.yaml)" '*: valid; *'
    quietly logrotate --debug /etc/logrotate.d/ociregistry
    expect 'files changed since the package' "$(dpkg --verify ociregistry ociregistry-observability)" ''
    local command count=0 commands
    commands=$(ociregistry --help | sed -n '/^SUBCOMMANDS:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
    for command in '' $commands; do
        man ociregistry${command:+-$command} 2>&1 | grep -q '^NAME' || fail "no manual page: $command"
        count=$((count + 1))
    done
    expect 'manual pages' "$count and $(man 5 ociregistry-config | wc -l) lines of configuration" '[1-9][0-9] and [1-9]*'
    for command in $commands; do
        [[ " $(candidates ociregistry '') " == *" $command "* ]] || fail "bash does not complete $command"
    done
    expect 'completed options' "$(candidates ociregistry prune --dr)" '*--dry-run*'
    mkdir -p /var/lib/private/ociregistry
    install_package remove ociregistry
    present /etc/ociregistry/config.yaml
    absent /usr/bin/ociregistry
    install_package purge ociregistry ociregistry-observability
    expect 'purge says' "$(grep -A1 '^ociregistry: the cache' /run/output.log | tr '\n' ' ')" '*/var/lib/private/ociregistry*'
    absent /etc/ociregistry /etc/logrotate.d/ociregistry /usr/share/ociregistry-observability
    rmdir /var/lib/private/ociregistry
}

# until_true SECONDS COMMAND…
until_true() {
    local left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "too slow: $*"
        sleep 0.1
    done
}

is_up() { case $(systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) false ;; esac; }
show() { systemctl show --value --property "$1" "$unit"; }
blobs_pulled() { grep -c '^blob ' /run/clients.log || true; }
have_pulled() { [ "$(blobs_pulled)" -ge "$1" ]; }

# make_layout DIRECTORY: an OCI layout of registry.example/big:1 with one layer of 32 MiB. Prints the layer's digest.
make_layout() {
    python3 - "$1" <<'PYTHON'
import hashlib, json, os, random, sys

os.makedirs(f"{sys.argv[1]}/blobs/sha256")


def put(content):
    digest = hashlib.sha256(content).hexdigest()
    with open(f"{sys.argv[1]}/blobs/sha256/{digest}", "wb") as file:
        file.write(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


oci = "application/vnd.oci.image"
layer = put(random.Random(19).randbytes(32 << 20))
config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
manifest = put(json.dumps({
    "schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json",
    "config": {"mediaType": f"{oci}.config.v1+json", **config}, "layers": [{"mediaType": f"{oci}.layer.v1.tar", **layer}],
}).encode())
name = {"org.opencontainers.image.ref.name": "registry.example/big:1"}
index = {"schemaVersion": 2, "manifests": [{"mediaType": f"{oci}.manifest.v1+json", **manifest, "annotations": name}]}
for file, content in ("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"}):
    with open(f"{sys.argv[1]}/{file}", "w") as output:
        json.dump(content, output)
print(layer["digest"].removeprefix("sha256:"))
PYTHON
}

# on_terminal ANSWER COMMAND…: with a terminal, where ANSWER is given to dpkg's question about a conffile.
on_terminal() {
    python3 -c '
import os, pty, sys

seen = b""


def read(terminal):
    global seen
    data = os.read(terminal, 4096)
    seen += data
    if b"[default=N] ? " in seen:
        seen = b""
        os.write(terminal, sys.argv[1].encode() + b"\n")
    return data


sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))' "$@" </dev/null
}

# status_of PATH: of a GET on the port.
status_of() {
    python3 -c '
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8080" + sys.argv[1]).status)' "$1"
}

check_service() {
    local main since digest clients connections=5000 readers=4 manifest=/v2/docker.io/library/hello-world/manifests/latest
    until_true 60 is_up
    # All that it depends on is there, and there is no network.
    install_package install /srv/ociregistry.deb
    expect 'after the installation' "$(systemctl is-active ociregistry.socket $unit | tr '\n' ' ')" 'active active '
    expect 'at the next boot' "$(systemctl is-enabled ociregistry.socket $unit | tr '\n' ' ')" 'enabled enabled '
    expect 'status' "$(show StatusText)" 'serving on http://*:8080'
    echo 'helloWorld: true' >/etc/ociregistry/config.yaml
    systemctl reload "$unit" || fail "the reload failed"
    expect 'a pull' "$(status_of "$manifest")" 200
    echo 'a password' >/etc/ociregistry/secrets/registry.example

    # A log of its own, to count requests on the server's side.
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Service]\nLogsDirectory=ociregistry\n' >"/etc/systemd/system/$unit.d/log.conf"
    printf 'helloWorld: true\nlogLevel: info\nlogFile: /var/log/ociregistry/log\n' >/etc/ociregistry/config.yaml
    systemctl daemon-reload
    systemctl restart "$unit"
    digest=$(make_layout /srv/layout)
    quietly ociregistry load --image-file /srv/layout --image-path /var/lib/ociregistry
    expect loaded "$(tail -1 /run/output.log)" '1 loaded, *'

    python3 /srv/upgrade_clients.py 127.0.0.1:8080 "$connections" "$readers" "$manifest" \
        "/v2/registry.example/big/blobs/sha256:$digest" "$digest" >/run/clients.log 2>&1 &
    clients=$!
    until_true 120 grep -q '^all connected' /run/clients.log
    until_true 120 have_pulled "$readers"
    main=$(show MainPID)
    since=$(systemctl show --value --property ActiveEnterTimestampMonotonic ociregistry.socket)
    # Without a terminal, the changed file stays, as with the answer N to dpkg's question.
    install_package -o Dpkg::Options::=--force-confold install /srv/next.deb
    [ "$(show MainPID)" != "$main" ] || fail "the upgrade has not restarted the service"
    expect 'the socket during the upgrade' "$(systemctl show --value --property ActiveEnterTimestampMonotonic ociregistry.socket)" "$since"
    expect 'upgraded' "$(dpkg-query -W -f '${Version}' ociregistry)" '*+next'
    expect 'the changed conffile' "$(head -1 /etc/ociregistry/config.yaml)" 'helloWorld: true'
    present /etc/ociregistry/config.yaml.dpkg-dist
    # The log is rotated under load, too.
    quietly logrotate --force /etc/logrotate.d/ociregistry
    until_true 60 test -s /var/log/ociregistry/log
    until_true 120 have_pulled "$(($(blobs_pulled) + readers))"
    kill -TERM "$clients"
    wait "$clients" || fail "the clients ended with an error: $(tail -3 /run/clients.log)"
    expect "$connections connections and $readers pulls during the upgrade" "$(tail -1 /run/clients.log)" 'ok *, failed 0 *'
    systemctl reload "$unit"
    expect 'requests that the server has answered' "$(cat /var/log/ociregistry/log* | grep -c " GET $manifest .* status=200")" \
        "$(sed -n 's/^ok \([0-9]*\),.*/\1/p' /run/clients.log)"
    rm "/etc/systemd/system/$unit.d/log.conf"
    systemctl daemon-reload

    # On a terminal dpkg asks. The answer Y takes the package's file. One that nobody has changed is replaced without a question,
    # which would fail without a terminal.
    quietly on_terminal Y dpkg --install --force-downgrade /srv/ociregistry.deb
    expect 'the question' "$(grep -c 'What would you like to do about it' /run/output.log)" 1
    expect 'the replaced conffile' "$(ociregistry check-config /etc/ociregistry/config.yaml)" '*: valid; 0 registries*'
    present /etc/ociregistry/config.yaml.dpkg-old
    install_package install /srv/next.deb
    expect 'the unchanged conffile' "$(tail -1 /etc/ociregistry/config.yaml)" '# A line of the next version.'
    expect 'after three upgrades' "$(systemctl is-active ociregistry.socket $unit | tr '\n' ' ')" 'active active '

    # Clients that connect while it is removed do not start it again.
    python3 /srv/pullers.py 127.0.0.1:8080 /v2/ 8 >/run/pullers.log 2>&1 &
    clients=$!
    until_true 60 test -s /run/pullers.log
    install_package remove ociregistry
    kill -TERM "$clients"
    wait "$clients" || true
    expect 'after the removal' "$(systemctl is-active ociregistry.socket $unit | tr '\n' ' ')" 'inactive inactive '
    present /etc/ociregistry/config.yaml /etc/ociregistry/secrets/registry.example
    quietly apt-get -q -y purge ociregistry
    expect 'purge says' "$(grep -c '^ociregistry: .* kept' /run/output.log)" 2
    present /var/lib/private/ociregistry/store-v1 /etc/ociregistry/secrets/registry.example
    absent /etc/ociregistry/config.yaml
    expect 'units left' "$(find /etc/systemd/system /var/lib/systemd/deb-systemd-helper-enabled -name 'ociregistry*' 2>/dev/null)" ''
    # The cache is found by the next installation.
    install_package install /srv/ociregistry.deb
    expect 'installed again' "$(systemctl is-active ociregistry.socket $unit | tr '\n' ' ')" 'active active '
    quietly apt-get -q -y purge ociregistry
}

mirror=http://127.0.0.1:8080
hosts=/etc/containerd/certs.d/_default/hosts.toml

# examine OPTION…: the doctor's lines, each with what to do behind it.
examine() { ociregistry doctor --runtime containerd "$@" | sed ':a; N; $!ba; s/\n *→/ →/g' || true; }

# names FAULT CHECK PATTERN [OPTION…]: the doctor finds what has just been broken, says what to do, and exits with 1.
names() {
    local fault=$1 line lines
    lines=$(examine "${@:4}")
    ! ociregistry doctor --runtime containerd "${@:4}" >/dev/null || fail "$fault: the doctor finds nothing: $lines"
    line=$(grep "^failed *$2" <<<"$lines" | grep -E -- "$3" | head -1)
    [ -n "$line" ] || fail "$fault: not named: $lines"
    echo "packages: fault: $fault: ${line:0:240}"
}

restart_containerd() {
    systemctl restart containerd
    until_true 60 ctr version >/run/output.log 2>&1
}

check_runtime() {
    until_true 60 is_up
    install_package install /srv/ociregistry.deb
    # Some registry has to answer where there is no network: this server itself.
    printf 'helloWorld: true\nregistries:\n- name: docker.io\n  endpoint: http://127.0.0.1:8080\n' >/etc/ociregistry/config.yaml
    systemctl restart "$unit"
    restart_containerd
    cp -a /etc/containerd /srv/containerd-before
    quietly ociregistry setup containerd --mirror "$mirror"
    restart_containerd
    quietly ctr images pull --hosts-dir /etc/containerd/certs.d docker.io/library/hello-world:latest
    ociregistry doctor --mirror "$mirror" >/run/output.log || fail "the doctor: $(cat /run/output.log)"
    ! grep -q '^failed' /run/output.log || fail "the doctor: $(cat /run/output.log)"
    expect 'the canary' "$(grep '^ok *canary' /run/output.log)" '*pulls through this mirror: * with ns=*'
    cp "$hosts" /srv/hosts.toml

    sed -i 's/:8080/:8089/' "$hosts"
    names 'a wrong port in hosts.toml' configuration 'names http://127.0.0.1:8089, and not'
    printf 'server = \n' >"$hosts"
    names 'a hosts.toml that is no TOML' configuration 'hosts.toml:1:'
    rm "$hosts"
    names 'no hosts.toml' configuration 'no file of containerd names a mirror'
    names 'no hosts.toml, by the canary' canary 'asked the registry itself, and not this mirror'
    cp /srv/hosts.toml "$hosts"
    cp /etc/containerd/config.toml /srv/config.toml
    sed -i '/config_path/d' /etc/containerd/config.toml
    restart_containerd
    names 'no config_path' configuration 'config_path'
    cp /srv/config.toml /etc/containerd/config.toml
    systemctl stop containerd
    names 'containerd stopped' canary 'the runtime cannot be asked'
    restart_containerd
    names 'a wrong port' server 'nothing listens there' --mirror http://127.0.0.1:8089
    names 'a name that there is not' server 'cannot be resolved' --mirror http://mirror.invalid:8080
    names 'https on a plain port' server 'no TLS' --mirror https://127.0.0.1:8080
    printf 'helloWorld: true\nregistries:\n- name: registry.example\n  endpoint: http://192.0.2.1\n' >/etc/ociregistry/config.yaml
    systemctl reload "$unit"
    names 'an upstream without a way to it' 'upstream registry.example' 'cannot be reached'
    echo 'helloWorld: true' >/etc/ociregistry/config.yaml
    systemctl reload "$unit"
    systemctl stop "$unit"
    mount -t tmpfs -o size=4m tmpfs /var/lib/private/ociregistry
    systemctl start "$unit"
    dd if=/dev/zero of=/var/lib/private/ociregistry/fill bs=64k 2>/dev/null || true
    names 'a full disk' store 'no room'
    systemctl stop "$unit"
    umount /var/lib/private/ociregistry
    systemctl stop ociregistry.socket
    names 'the mirror stopped' server 'nothing listens there'
    systemctl start ociregistry.socket "$unit"
    quietly ociregistry setup containerd --remove
    expect 'changed after the removal' "$(diff -r /srv/containerd-before /etc/containerd)" ''
    quietly apt-get -q -y purge ociregistry
}

case $1 in
files) check_files ;;
service) check_service ;;
runtime) check_runtime ;;
esac
