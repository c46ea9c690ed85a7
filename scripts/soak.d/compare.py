#!/usr/bin/env python3
"""CPU time per cached answer against nginx with the same bytes, in alternating rounds; a cached and a cold 1 GiB blob."""

import os
import pathlib
import statistics
import sys
import time

import parts

ROUNDS, SECONDS = 5, 4


def link(bench, path, source):
    target = bench.directory / "root" / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def cached_file(bench, digest):
    parts.wait_for(lambda: list((bench.directory / "images/store-v1").glob(f"*/**/{digest[7:]}")), what="the cached file")
    return next((bench.directory / "images/store-v1").glob(f"*/**/{digest[7:]}"))


def per_request(pid, url, connections):
    before = parts.cpu_seconds(pid)
    requests, rate, _, p99, _ = parts.wrk(url, connections, SECONDS)
    return 1e6 * (parts.cpu_seconds(pid) - before) / requests, rate, p99


def steal():
    return int(pathlib.Path("/proc/stat").read_text().split()[8])


def compare(name, path, nginx, ours, connections):
    theirs, mine, ratios = [], [], []
    stolen = steal()
    for _ in range(ROUNDS):
        theirs.append(per_request(nginx[1], f"http://127.0.0.1:{nginx[0]}{path}", connections))
        mine.append(per_request(ours[1], f"http://127.0.0.1:{ours[0]}{path}", connections))
        ratios.append(mine[-1][0] / theirs[-1][0])

    def median(rounds, index):
        return statistics.median(each[index] for each in rounds)

    print(
        f"{name:22} nginx {median(theirs, 0):8.2f} µs {median(theirs, 1):8.0f}/s p99 {median(theirs, 2):6.2f} ms"
        f"   ours {median(mine, 0):8.2f} µs {median(mine, 1):8.0f}/s p99 {median(mine, 2):6.2f} ms"
        f"   CPU ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), steal {steal() - stolen}", flush=True)


def seconds(port, path):
    start = time.monotonic()
    status = os.spawnlp(os.P_WAIT, "curl", "curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}{path}")
    assert status == 0, status
    return time.monotonic() - start


def main(program):
    with parts.Bench() as bench:
        registry = bench.upstream()
        base = "/v2/docker.io/library/compare"
        manifest, small = parts.push_image(registry, "library/compare", "v1", 4096, 5)
        medium = parts.push_blob(registry, "library/compare", 4 * parts.MIB, 6)
        large = parts.push_blob(registry, "library/compare", 1 << 30, 7)
        process, port = bench.server(program, registry)
        for path in (f"{base}/manifests/v1", f"{base}/blobs/{small}", f"{base}/blobs/{medium}"):
            parts.get(port, path)
        origin = [seconds(registry, f"/v2/library/compare/blobs/{large}") for _ in range(3)]
        cold = []
        for _ in range(3):
            before = parts.cpu_seconds(process.pid)
            cold.append(seconds(port, f"{base}/blobs/{large}"))
            cpu = parts.cpu_seconds(process.pid) - before
            file = cached_file(bench, large)
            if len(cold) < 3:
                # The next round is cold again; a server that is running keeps what it knows, hence the restart.
                process.terminate()
                process.wait(30)
                file.unlink()
                process, port = bench.server(program, registry)
        print(f"cold 1 GiB: origin {statistics.median(origin):.2f} s, through the mirror {statistics.median(cold):.2f} s, its CPU {cpu:.2f} s")
        link(bench, f"{base}/manifests/v1", cached_file(bench, manifest))
        link(bench, f"{base}/manifests/{manifest}", cached_file(bench, manifest))
        for digest in (small, medium, large):
            link(bench, f"{base}/blobs/{digest}", cached_file(bench, digest))
        nginx = bench.nginx("static", f"root {bench.directory}/root;")
        ours = (port, process.pid)
        compare("manifest by digest", f"{base}/manifests/{manifest}", nginx, ours, 64)
        compare("manifest by tag", f"{base}/manifests/v1", nginx, ours, 64)
        compare("4 KiB blob", f"{base}/blobs/{small}", nginx, ours, 64)
        compare("4 MiB blob", f"{base}/blobs/{medium}", nginx, ours, 4)
        theirs = [seconds(nginx[0], f"{base}/blobs/{large}") for _ in range(5)]
        mine = [seconds(port, f"{base}/blobs/{large}") for _ in range(5)]
        print(f"cached 1 GiB blob: nginx {statistics.median(theirs):.2f} s, ours {statistics.median(mine):.2f} s")
        print(f"resident {parts.memory_kib(process.pid)} KiB, peak {parts.memory_kib(process.pid, 'VmHWM')} KiB")


main(sys.argv[1])
