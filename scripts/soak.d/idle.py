#!/usr/bin/env python3
"""2,000 idle keep-alive connections, and 200 slow readers on a growing blob: what they cost cached manifests."""

import resource
import socket
import sys
import threading
import time

import parts

IDLE, SLOW, SIZE, SECONDS, ROUNDS = 2000, 200, 256 * parts.MIB, 5, 3


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def idle_connection(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(4096)
    return connection


def slow_reader(port, path, stop):
    """Takes 16 KiB every tenth of a second, through a small window."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while not stop.wait(0.1):
        connection.recv(16384)
    connection.close()


def measure(url):
    rounds = [parts.wrk(url, 64, SECONDS) for _ in range(ROUNDS)]
    middle = sorted(rounds, key=lambda each: each[3])[ROUNDS // 2]
    return f"{middle[1]:8.0f} requests/s, p50 {middle[2]:.2f} ms, p99 {middle[3]:.2f} ms, p99.9 {middle[4]:.2f} ms"


def main(program):
    raise_descriptor_limit()
    with parts.Bench() as bench:
        registry = bench.upstream()
        manifest, _ = parts.push_image(registry, "library/idle", "latest", 4096, 3)
        blob = parts.push_blob(registry, "library/idle", SIZE, 4)
        paced, _ = bench.nginx(
            "paced", f"location / {{ proxy_pass http://127.0.0.1:{registry}; proxy_set_header Host $http_host; limit_rate 2m; }}")
        process, port = bench.server(program, paced)
        url = f"http://127.0.0.1:{port}/v2/docker.io/library/idle/manifests/{manifest}"
        parts.get(port, f"/v2/docker.io/library/idle/manifests/{manifest}")
        parts.wrk(url, 64, 2)
        print("alone:                     ", measure(url), flush=True)
        before = parts.memory_kib(process.pid)
        idle = [idle_connection(port) for _ in range(IDLE)]
        after = parts.memory_kib(process.pid)
        print(f"with {IDLE} idle:           ", measure(url))
        print(f"  {(after - before) * 1024 / IDLE:.0f} bytes resident per idle connection ({before} to {after} KiB)", flush=True)
        stop = threading.Event()
        path = f"/v2/docker.io/library/idle/blobs/{blob}"
        readers = [threading.Thread(target=slow_reader, args=(port, path, stop)) for _ in range(SLOW)]
        for reader in readers:
            reader.start()
        time.sleep(2)
        print(f"and {SLOW} slow readers:     ", measure(url))
        print(f"  {parts.memory_kib(process.pid)} KiB resident")
        stop.set()
        for reader in readers:
            reader.join()
        for connection in idle:
            connection.close()


main(sys.argv[1])
