#!/usr/bin/env bash
# libcurl's CURLINFO_RETRY_AFTER never gives more than six hours.
#
# Guess: it gives the number of seconds in the Retry-After header, or those until the date in it.
# What happens: up to 21600 seconds it does. A longer time, as a number or as a date, comes out as 21600. A number
#   that does not fit 64 bits comes out as 0, which is also what a missing header gives. The manual page names no
#   limit.
# Why it matters: a registry with a daily quota can send a Retry-After of up to 86400. A mirror that goes by libcurl's
#   number asks again after six hours. A caller that needs the real number has to read the header itself
#   (curl_easy_header or a header callback).
# Seen with: pycurl 7.49.0 (PyPI), whose wheel holds libcurl 8.23.0.
# Reference: CURLINFO_RETRY_AFTER(3); RFC 9110, section 10.2.3 (delay-seconds is any number of digits).
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install pycurl==7.49.0

"$dir/venv/bin/python" -c 'import pycurl; print(*pycurl.version.split()[:2])'
timeout 60 "$dir/venv/bin/python" - >"$dir/seen" <<'PYTHON'
import email.utils, socket, threading, time
import pycurl

HOUR = 3600
VALUES = (
    ("none", None),
    ("60 seconds", "60"),
    ("6 hours", str(6 * HOUR)),
    ("6 hours and a second", str(6 * HOUR + 1)),
    ("24 hours", str(24 * HOUR)),
    ("a date in 5 hours", email.utils.formatdate(time.time() + 5 * HOUR, usegmt=True)),
    ("a date in 24 hours", email.utils.formatdate(time.time() + 24 * HOUR, usegmt=True)),
    ("20 digits", "9" * 20),
)
listener = socket.create_server(("127.0.0.1", 0))


def serve():
    for _, value in VALUES:
        connection = listener.accept()[0]
        connection.recv(65536)
        header = "Retry-After: %s\r\n" % value if value else ""
        answer = "HTTP/1.1 429 Too Many Requests\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n" % header
        connection.sendall(answer.encode())
        connection.close()


threading.Thread(target=serve, daemon=True).start()
for what, value in VALUES:
    easy = pycurl.Curl()
    easy.setopt(easy.URL, "http://127.0.0.1:%d/v2/" % listener.getsockname()[1])
    easy.setopt(easy.PROXY, "")
    easy.setopt(easy.TIMEOUT, 20)
    easy.perform()
    seconds = easy.getinfo(pycurl.RETRY_AFTER)
    # The date loses a few seconds until it is read.
    if "date" in what and seconds % HOUR != 0:
        seconds = round(seconds / HOUR) * HOUR
    print("%s: %d" % (what, seconds))
PYTHON
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
none: 0
60 seconds: 60
6 hours: 21600
6 hours and a second: 21600
24 hours: 21600
a date in 5 hours: 18000
a date in 24 hours: 21600
20 digits: 0
RECORDED
