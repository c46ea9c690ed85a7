#!/usr/bin/env python3
"""kill -9 at ten points of a 1 GiB pull: what is under a final name hashes to it, and the pull resumes where it was."""

import hashlib
import http.client
import pathlib
import re
import signal
import subprocess
import sys

import parts

SIZE = 1 << 30
POINTS = [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]


def pull_until(port, path, limit):
    """Reads until `limit` bytes have come, or the answer breaks off; returns how many came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    reply = connection.getresponse()
    count = 0
    while count < limit:
        piece = reply.read1(parts.MIB)
        if not piece:
            break
        count += len(piece)
    return count


def wrong_files(images):
    """Files under a final name whose content does not hash to it."""
    store = pathlib.Path(images) / "store-v1"
    found = []
    for path in list(store.glob("blobs/*/*/*")) + list(store.glob("manifests/*/*/*/*")):
        with open(path, "rb") as file:
            if hashlib.file_digest(file, path.parts[-3]).hexdigest() != path.name:
                found.append(path)
    return found


def syscall_order(trace):
    """Whether the blob's final rename stands between the fsync of its file and that of its directory."""
    calls = [line for line in open(trace) if re.search(r"(fsync|fdatasync|rename\w*)\(", line) and "= 0" in line]
    at = next(i for i, line in enumerate(calls) if "rename" in line and "/blobs/" in line)
    before = any("sync(" in line for line in calls[:at])
    after = any("fsync(" in line for line in calls[at + 1:])
    return before and after, [re.sub(r"^\d+\s+", "", line.strip())[:150] for line in calls[max(0, at - 1):at + 2]]


def main(program):
    with parts.Bench() as bench:
        registry = bench.upstream()
        digest = parts.push_blob(registry, "library/kill", SIZE, 2)
        path = f"/v2/docker.io/library/kill/blobs/{digest}"
        log = bench.directory / "paced.log"
        paced, _ = bench.nginx(
            "paced", f"location / {{ proxy_pass http://127.0.0.1:{registry}; proxy_set_header Host $http_host; "
            f"limit_rate 200m; access_log {log}; }}")
        failed = 0
        for point in POINTS:
            process, port = bench.server(program, paced)
            count = pull_until(port, path, SIZE * point // 100)
            process.send_signal(signal.SIGKILL)
            process.wait()
            partial = sum(file.stat().st_size for file in (bench.directory / "images/store-v1/partial").iterdir())
            wrong = wrong_files(bench.directory / "images")
            failed += bool(wrong)
            print(f"killed at {point:2} %: client had {count >> 20} MiB, partial file {partial >> 20} MiB, {len(wrong)} wrong files", flush=True)
        final = bench.directory / "images/store-v1/blobs/sha256" / digest[7:9] / digest[7:]
        # On a busy machine the pull may end before its client is at the last point; it is made again then.
        is_resumed = not final.exists()
        final.unlink(missing_ok=True)
        trace = bench.directory / "trace"
        process, port = bench.server(program, paced)
        tracer = bench.start("strace", "-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", str(trace), "-p", str(process.pid))
        parts.wait_for(lambda: "TracerPid:\t0" not in pathlib.Path(f"/proc/{process.pid}/status").read_text(), what="strace")
        status, _, seconds, found, _ = parts.get(port, path)
        parts.wait_for(final.exists, what="the blob's final name")
        process.terminate()
        process.wait(30)
        tracer.wait(10)
        ordered, lines = syscall_order(trace)
        print(f"final pull: {status}, digest {'right' if found == digest else 'WRONG'}, {seconds:.2f} s, wrong files {len(wrong_files(bench.directory / 'images'))}")
        ranges = [line.split('"')[2].split() for line in open(log)]
        print(f"upstream requests (status, bytes): {[(int(status), int(size)) for status, size in ranges]}")
        print("system calls:", *lines, sep="\n  ")
        sys.exit(0 if not failed and found == digest and ordered and (not is_resumed or ranges[-1][0] in ("206", "416")) else 1)


main(sys.argv[1])
