#!/usr/bin/env bash
# A new connection of libcurl trusts what a CA file held a minute ago; a CA directory beside it prevents that no longer.
#
# Guess: CURLOPT_CAINFO names a file that is read for each connection, so an authority that is removed from it is not
#   trusted by the next connection, which makes a handshake of its own.
# What happens: with a multi handle the file's first content counts for a day (CURLOPT_CA_CACHE_TIMEOUT), by its name,
#   whatever it holds by then. In libcurl 8.16 nothing was kept if CURLOPT_CAPATH was set too, even to an empty
#   directory, as it is by default in Debian's build; in libcurl 8.23 the old content counts there as well. So a program
#   that noticed a changed file for years stops doing so with an update of the library.
# Why it matters: an operator who withdraws a private authority, or corrects a file with a wrong one, expects the next
#   connection to see that. A long-lived client has to set CURLOPT_CA_CACHE_TIMEOUT to 0.
# Seen with: pycurl 7.45.7 and 7.49.0 (PyPI), with the libcurl 8.16.0-DEV and 8.23.0 of their wheels; certificates made
#   by OpenSSL 3.0 of Debian 12.
# Reference: CURLOPT_CA_CACHE_TIMEOUT(3), which does not mention CURLOPT_CAPATH.
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

for version in 7.45.7 7.49.0; do
    python3 -m venv "$dir/$version"
    "$dir/$version/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: "pycurl==$version"
done

cd "$dir"
mkdir empty
for name in first second; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=authority $name" -keyout "$name.key" -out "$name.pem" \
        2>>openssl.log
done
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr 2>>openssl.log
openssl x509 -req -in server.csr -CA first.pem -CAkey first.key -days 2 -out server.pem \
    -extfile <(echo subjectAltName=DNS:localhost) 2>>openssl.log

cat >"$dir/connect.py" <<'PYTHON'
import shutil
import socket
import ssl
import threading

import pycurl


def serve(listener):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("server.pem", "server.key")
    while True:
        client, _ = listener.accept()
        try:
            with context.wrap_socket(client, server_side=True) as stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        except OSError:
            pass


def get(multi, port, directory):
    """The result of a transfer on a connection of its own, without a TLS session of an earlier one."""
    easy = pycurl.Curl()
    easy.setopt(pycurl.URL, f"https://localhost:{port}/")
    easy.setopt(pycurl.CAINFO, "authorities.pem")
    if directory:
        easy.setopt(pycurl.CAPATH, directory)
    else:
        easy.unsetopt(pycurl.CAPATH)
    easy.setopt(pycurl.FRESH_CONNECT, 1)
    easy.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
    easy.setopt(pycurl.WRITEFUNCTION, lambda data: len(data))
    easy.setopt(pycurl.TIMEOUT, 20)
    multi.add_handle(easy)
    running = 1
    while running:
        multi.select(1.0)
        _, running = multi.perform()
    _, good, bad = multi.info_read()
    result = f"status {easy.getinfo(pycurl.RESPONSE_CODE)}" if good else f"error {bad[0][1]}"
    multi.remove_handle(easy)
    easy.close()
    return result


listener = socket.create_server(("localhost", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
port = listener.getsockname()[1]
print(pycurl.version.split()[1])
for directory in (None, "empty"):
    multi = pycurl.CurlMulti()
    shutil.copy("first.pem", "authorities.pem")
    before = get(multi, port, directory)
    shutil.copy("second.pem", "authorities.pem")
    after = get(multi, port, directory)
    other = pycurl.CurlMulti()
    fresh = get(other, port, directory)
    print(f"  {'an empty' if directory else 'no'} CA directory: {before}; other authority in the file: {after}; "
          f"with another multi handle: {fresh}")
    multi.close()
    other.close()
PYTHON
for version in 7.45.7 7.49.0; do
    timeout 120 "$dir/$version/bin/python" "$dir/connect.py"
done >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
libcurl/8.16.0-DEV
  no CA directory: status 200; other authority in the file: status 200; with another multi handle: error 60
  an empty CA directory: status 200; other authority in the file: error 60; with another multi handle: error 60
libcurl/8.23.0
  no CA directory: status 200; other authority in the file: status 200; with another multi handle: error 60
  an empty CA directory: status 200; other authority in the file: status 200; with another multi handle: error 60
RECORDED
