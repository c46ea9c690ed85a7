# shellcheck shell=bash
# What scripts/serve and scripts/test share: finding Swift, and installing what a build lacks. Debian 12 and 13, and Ubuntu
# 24.04.
#
# This may run on somebody's own machine. So: what is there already is used, whoever put it there; only what is missing
# is installed; nothing is removed; no service is started, and none that came with a package is left enabled.

swift_minimum=6.2

# Python leaves nothing in a checkout: its byte code is not worth a file that nobody has written.
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# as_root COMMAND…: through sudo unless this is root already.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root, and there is no sudo here: $*"
    fi
}

# can_install: whether packages can be installed: as root, or through sudo without a password or on a terminal.
can_install() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

# Administrators' tools (nginx, dockerd) live in sbin, which an ordinary user's PATH may lack.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

has_tool() { command -v "$1" >/dev/null; }

# has_header PATTERN: from a package, a multiarch package, or built by hand.
has_header() {
    compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/local/include/$1" >/dev/null ||
        compgen -G "/usr/include/*-linux-gnu/$1" >/dev/null
}

# has_library NAME: known to the dynamic linker, which is how Swift's own programs find theirs.
has_library() { [ -n "$(ldconfig -p | awk -v name="$1" '$1 == name { print; exit }')" ]; }

missing=()

# need PACKAGE CHECK…: PACKAGE goes on the list when CHECK says that what it brings is not there. Where releases have it
# under different names, PACKAGE is all of them with bars between, and the first that the release knows is installed.
need() {
    local package=$1
    shift
    "$@" || missing+=("$package")
}

# What Swift's own programs are linked against, and what it links with.
need_swift_surroundings() {
    need libxml2 has_library libxml2.so.2
    need libncurses6 has_library libncurses.so.6
    need libsqlite3-0 has_library libsqlite3.so.0
    need zlib1g has_library libz.so.1
    need libuuid1 has_library libuuid.so.1
    need tzdata test -e /usr/share/zoneinfo/UTC
    # In a package of its own since Debian 13.
    need 'binutils-gold|binutils' has_tool ld.gold
    need libc6-dev has_header stdio.h
    need g++ has_header 'c++/*/cstddef'
    need git has_tool git
    need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
}

# The C libraries behind Sources/C*.
need_build_packages() {
    need libuv1-dev has_header uv.h
    need libcurl4-openssl-dev has_header curl/curl.h
    need libssl-dev has_header openssl/evp.h
    need libyaml-dev has_header yaml.h
    need libpcre2-dev has_header pcre2.h
    need libarchive-dev has_header archive.h
}

# install_missing: one apt-get for all of the list; nothing at all when the list is empty.
install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    has_tool apt-get || die "missing, and there is no apt-get to install them with: ${missing[*]}"
    can_install || die "missing, and only root can install them: ${missing[*]}"
    say "installing what is missing: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c "$install_quietly" install "${missing[@]}" >&2 \
        || die "could not install: ${missing[*]}"
    missing=()
    hash -r
}

# Runs as root. Packages such as docker.io start their service when installed; a policy-rc.d that refuses is Debian's way to
# prevent it. One that is there already is left as it is; ours goes away again whatever happens. Services that came with
# these packages, and with nothing installed before them, are also disabled, so that the next boot does not start them.
# shellcheck disable=SC2016
install_quietly='
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    printf "#!/bin/sh\nexit 101\n" >"$policy"
    chmod 755 "$policy"
fi
before=$(mktemp)
dpkg-query -W -f "\${Package}\n" | sort >"$before"
apt-get -o DPkg::Lock::Timeout=300 -q update
packages=()
for names in "$@"; do
    for name in ${names//|/ }; do
        # A package that the release does not know has no candidate, or "(none)". The last name is taken in any case:
        # apt-get says what is wrong with it.
        candidate=$(LC_ALL=C apt-cache policy "$name" | sed -n "s/^  Candidate: //p")
        case $candidate in "" | "("*) ;; *) break ;; esac
    done
    packages+=("$name")
done
apt-get -o DPkg::Lock::Timeout=300 -q install -y --no-install-recommends --no-remove "${packages[@]}"
if command -v systemctl >/dev/null; then
    dpkg-query -W -f "\${Package}\n" | sort | comm -13 "$before" - | while read -r package; do
        case $package in
        docker.io | containerd | docker-registry | haproxy | nginx-light | nginx-common | nginx | podman | \
            prometheus | prometheus-node-exporter | tinyproxy)
            dpkg-query -L "$package" | sed -nE "s,^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))\$,\2,p" |
                xargs -r systemctl --quiet disable || true ;;
        esac
    done
fi
rm -f "$before"
'

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# python_programs NAME PROGRAM…: puts programs of Python packages on PATH. scripts/python/NAME.txt has the packages with their
# versions; they are installed into an environment of their own below .build, once for each content of that file. Such a
# program is used even if there is another on PATH, since its version decides what a test sees.
python_programs() {
    local name=$1 scripts place list program
    shift
    scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
    place=${scripts%/*}/.build/python/$name list=$scripts/python/$name.txt
    if ! cmp -s -- "$list" "$place/installed.txt"; then
        say "installing the Python packages of scripts/python/$name.txt"
        rm -rf -- "$place"
        if ! { python3 -m venv "$place" && "$place/bin/pip" install --quiet --requirement "$list" >&2; }; then
            say "could not install them"
            return 1
        fi
        mkdir -- "$place/programs"
        for program in "$@"; do ln -s -- "../bin/$program" "$place/programs/$program"; done
        cp -- "$list" "$place/installed.txt"
    fi
    PATH=$place/programs:$PATH
}

# swift_version: "6.3.1", or nothing when swift does not run.
swift_version() {
    { swift --version 2>/dev/null || true; } | sed -nE 's/.*Swift version ([0-9]+(\.[0-9]+)*).*/\1/p'
}

require_swift() {
    local found
    has_tool swift || die "Swift $swift_minimum or newer is needed, and there is none on PATH: https://swift.org/install"
    need_swift_surroundings
    need_build_packages
    # A Swift that runs and is too old must be said before anything is installed for it.
    found=$(swift_version)
    if [ -n "$found" ]; then
        check_swift_version "$found"
        install_missing
    else
        install_missing
        found=$(swift_version)
        [ -n "$found" ] || die "'swift --version' does not run here: $(swift --version 2>&1 || true)"
        check_swift_version "$found"
    fi
}

check_swift_version() {
    printf '%s\n%s\n' "$swift_minimum" "$1" | sort -V -C \
        || die "Swift $swift_minimum or newer is needed, this is $1: https://swift.org/install"
}
