#!/usr/bin/env bash
# tinyproxy answers a wrong proxy password with 401, and a missing one with 407.
#
# Guess: a proxy that wants credentials answers 407 with Proxy-Authenticate, whether they are missing or wrong.
# What happens: without credentials tinyproxy answers 407. With wrong ones it answers 401 with WWW-Authenticate, as an
#   origin does, for CONNECT and for a plain request alike. The password was in Proxy-Authorization.
# Why it matters: a mirror or a client behind such a proxy takes the 401 of a plain request for the registry's: it
#   sends the registry's password, says that the image needs a login, or remembers that password as refused. For
#   CONNECT, a client that looks for 407 alone reports the registry's "401 Unauthorized". Only the Server field tells
#   who it was.
# Seen with: tinyproxy-bin 1.11.1-2.1+deb12u1 (Debian 12, amd64).
# Reference: RFC 9110, sections 15.5.8 (407) and 11.7.1 (Proxy-Authenticate).
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download tinyproxy-bin=1.11.1-2.1+deb12u1)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done

cat >"$dir/ask.py" <<'PYTHON'
import base64
import socket
import subprocess
import sys
import time

program, directory = sys.argv[1:]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


port = free_port()
with open(f"{directory}/tinyproxy.conf", "w") as file:
    file.write(f'Port {port}\nListen 127.0.0.1\nBasicAuth someone secret\nDefaultErrorFile "{directory}/error.html"\n')
open(f"{directory}/error.html", "w").close()
child = subprocess.Popen([program, "-d", "-c", f"{directory}/tinyproxy.conf"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    for what, target in (("CONNECT", "CONNECT 127.0.0.1:9 HTTP/1.1"), ("GET", "GET http://127.0.0.1:9/v2/ HTTP/1.1")):
        for name, password in (("no password", None), ("a wrong password", b"someone:wrong")):
            fields = "Host: 127.0.0.1:9\r\nConnection: close\r\n"
            if password:
                fields += f"Proxy-Authorization: Basic {base64.b64encode(password).decode()}\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(f"{target}\r\n{fields}\r\n".encode())
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            head = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
            names = sorted(line.split(":")[0].lower() for line in head[1:])
            asks = [field for field in names if field.endswith("-authenticate")]
            print(f"{what}, {name}: {head[0].split()[1]}, asks by {', '.join(asks) or 'no field'}")
finally:
    child.terminate()
    child.wait(20)
PYTHON
timeout 60 python3 "$dir/ask.py" "$dir/debian/usr/bin/tinyproxy" "$dir" >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
CONNECT, no password: 407, asks by proxy-authenticate
CONNECT, a wrong password: 401, asks by www-authenticate
GET, no password: 407, asks by proxy-authenticate
GET, a wrong password: 401, asks by www-authenticate
RECORDED
