#!/usr/bin/env python3
"""100 clients at once on one cold blob, upstream paced: one upstream GET, every digest right, everyone streams."""

import sys
import threading

import parts

CLIENTS, SIZE, RATE = 100, 256 * parts.MIB, "16m"


def main(program):
    with parts.Bench() as bench:
        registry = bench.upstream()
        digest = parts.push_blob(registry, "library/stampede", SIZE, 1)
        paced, _ = bench.nginx(
            "paced", f"location / {{ proxy_pass http://127.0.0.1:{registry}; proxy_set_header Host $http_host; "
            f"limit_rate {RATE}; proxy_buffering on; proxy_buffers 64 64k; access_log {bench.directory}/paced.log; }}")
        process, port = bench.server(program, paced)
        results = [None] * CLIENTS

        def client(index):
            results[index] = parts.get(port, f"/v2/docker.io/library/stampede/blobs/{digest}")

        threads = [threading.Thread(target=client, args=(index,)) for index in range(CLIENTS)]
        cpu = parts.cpu_seconds(process.pid)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)
        gets = sum("GET" in line and digest in line for line in open(bench.directory / "paced.log"))
        right = sum(result is not None and result[0] == 200 and result[3] == digest for result in results)
        total = max(result[2] for result in results)
        first = max(result[1] for result in results)
        print(f"{CLIENTS} clients, {SIZE >> 20} MiB at {RATE}/s: {gets} upstream GET, {right} right digests")
        print(f"transfer {total:.2f} s; slowest first byte {first:.3f} s ({100 * first / total:.1f} % of it)")
        print(f"server: {parts.cpu_seconds(process.pid) - cpu:.2f} s CPU, peak {parts.memory_kib(process.pid, 'VmHWM')} KiB resident")
        sys.exit(0 if gets == 1 and right == CLIENTS and first < total / 10 else 1)


main(sys.argv[1])
