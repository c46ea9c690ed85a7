#!/usr/bin/env bash
# A child that libuv starts with pipes cannot open /dev/stderr: what it was given are sockets.
#
# Guess: a program whose output is captured has pipes, so a script may write to its error output as >&2 or as
#   >/dev/stderr.
# What happens: under asyncio both work. Under uvloop, whose loop is libuv's, >/dev/stderr fails with "No such device or
#   address", and a script with set -e ends with status 2: uv_spawn makes a pair of sockets for UV_CREATE_PIPE, and
#   Linux opens no socket by its name in /proc.
# Why it matters: docker's credential helpers, and the credential_process of an AWS profile, are often a few lines of
#   shell, tried in a terminal or under a program that uses pipes. Started by a program on libuv (Node.js too), one that
#   reports by >/dev/stderr ends before it has written the password, and the login fails.
# Seen with: uvloop 0.23.0 (PyPI) and asyncio of the same Python 3.11; dash of Debian 12.
# Reference: uv_spawn of docs.libuv.org; unix(7); proc(5), /proc/pid/fd.
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install uvloop==0.23.0

cat >"$dir/start.py" <<'PYTHON'
import asyncio
import stat

import uvloop

HELPER = "set -e; echo looking {to}; echo '{{\"Username\":\"someone\",\"Secret\":\"word\"}}'"
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


async def start(command):
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    output, errors = await child.communicate()
    return child.returncode, output.decode().strip(), errors.decode().strip()


async def tell():
    _, mode, _ = await start("stat -L -c %f /proc/self/fd/2")
    print(f"  its error output is {KINDS[stat.S_IFMT(int(mode, 16))]}")
    for to in (">&2", ">/dev/stderr"):
        status, output, errors = await start(HELPER.format(to=to))
        print(f"  {to}: status {status}, {len(output)} bytes of output; {errors}")


print("asyncio")
asyncio.run(tell())
print("uvloop")
uvloop.run(tell())
PYTHON
timeout 60 "$dir/venv/bin/python" "$dir/start.py" >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
asyncio
  its error output is a pipe
  >&2: status 0, 38 bytes of output; looking
  >/dev/stderr: status 0, 38 bytes of output; looking
uvloop
  its error output is a socket
  >&2: status 0, 38 bytes of output; looking
  >/dev/stderr: status 2, 0 bytes of output; /bin/sh: 1: cannot create /dev/stderr: No such device or address
RECORDED
