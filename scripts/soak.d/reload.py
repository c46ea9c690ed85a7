#!/usr/bin/env python3
"""Reloads under load: thousands of connections that ask for cached manifests, cold pulls from a throttled upstream, and twenty
reloads, three of them of bad files. No request may be lost or answered wrongly, and the metrics must be right.

reload.py PROGRAM [CONNECTIONS [RELOADS]]
"""

import hashlib
import http.client
import multiprocessing
import os
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import time

import parts

CONNECTIONS, RELOADS, SECONDS_EACH = 5_000, 20, 2.0
# Each connection asks again so long after its answer.
PAUSE_SECONDS = 1.0
PULLERS, BLOB_BYTES, BLOBS = 8, 8 * parts.MIB, 200
UPSTREAM_RATE = "2m"
SPARE_DESCRIPTORS = 500
# Connections are made in steps, so that the listener's backlog does not overflow.
STEP = 100


class Clients(multiprocessing.Process):
    """Connections that ask for one manifest again and again; counts the answers, and everything that is wrong with one."""

    def __init__(self, port, path, body, count):
        super().__init__(daemon=True)
        self.port, self.path, self.body, self.count = port, path, body, count
        self.ours, self.theirs = multiprocessing.Pipe()
        self.ready, self.stop = multiprocessing.Event(), multiprocessing.Event()

    def run(self):
        request = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n".encode()
        poll, sockets, inputs, due, sent = select.epoll(), {}, {}, [], {}
        answers, wrong, slowest = 0, [], 0.0

        def ask(number):
            sockets[number].sendall(request)
            inputs[number], sent[number] = b"", time.monotonic()

        for _ in range(self.count):
            client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            sockets[client.fileno()] = client
            poll.register(client.fileno(), select.EPOLLIN)
            ask(client.fileno())
            if len(sockets) % STEP == 0:
                time.sleep(0.01)
        self.ready.set()
        end = None
        while end is None or (sent and time.monotonic() < end):
            for number, _ in poll.poll(0.01):
                try:
                    piece = sockets[number].recv(65536)
                except OSError as error:
                    piece, reason = b"", str(error)
                else:
                    reason = "closed by the server"
                if not piece or number not in sent:
                    wrong.append(reason if not piece else "bytes without a request")
                    poll.unregister(number)
                    sent.pop(number, None)
                    continue
                inputs[number] += piece
                head, found, body = inputs[number].partition(b"\r\n\r\n")
                if not found or len(body) < len(self.body) and head.startswith(b"HTTP/1.1 200"):
                    continue
                if not head.startswith(b"HTTP/1.1 200") or body != self.body:
                    wrong.append(head.split(b"\r\n")[0].decode())
                answers += 1
                slowest = max(slowest, time.monotonic() - sent.pop(number))
                due.append((time.monotonic() + PAUSE_SECONDS, number))
            if self.stop.is_set():
                # What has been asked is waited for.
                end = end or time.monotonic() + 30
                continue
            now = time.monotonic()
            while due and due[0][0] <= now:
                ask(due.pop(0)[1])
        wrong += ["no answer"] * len(sent)
        self.theirs.send((answers, wrong, slowest))


class Puller(threading.Thread):
    """Pulls blobs that nobody has pulled, one after the other, and checks what comes."""

    def __init__(self, port, digests):
        super().__init__(daemon=True)
        self.port, self.digests, self.stop = port, digests, threading.Event()
        self.pulled, self.wrong = 0, []

    def run(self):
        for digest in self.digests:
            if self.stop.is_set():
                return
            try:
                status, _, _, got, length = parts.get(self.port, f"/v2/docker.io/library/cold/blobs/{digest}")
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(str(error))
                continue
            if status != 200 or got != digest or length != BLOB_BYTES:
                self.wrong.append(f"status {status}, {length} bytes")
            self.pulled += 1


def scrape(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}


def total(metrics, name, label=""):
    return sum(value for series, value in metrics.items() if series.split("{")[0] == name and label in series)


def status_of(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def check(condition, message):
    if not condition:
        raise SystemExit(f"reload: {message}")


class Files:
    """The configuration files, good and bad, for one server."""

    def __init__(self, path, upstream):
        self.path, self.upstream = path, upstream

    def registry(self, port, name="docker.io"):
        return f"- name: {name}\n  endpoint: http://127.0.0.1:{port}\n"

    def good(self, number):
        """(text, maxBytes). Every second one has rules on names."""
        gigabytes = 40 + number % 2
        level = "warn" if number % 2 else "error"
        more = self.registry(self.upstream, f"r{number}.test") if number % 2 else ""
        rules = "" if self.is_open(number) else "registriesOnly: true\ndeny: ['/denied$']\n"
        return (f"logLevel: {level}\nmaxBytes: {gigabytes}GB\n{rules}registries:\n{self.registry(self.upstream)}{more}",
                gigabytes * 10**9)

    def is_open(self, number):
        return number // 2 % 2 == 0

    def bad(self, number):
        """(text, a part of the problem). Used by half, each of them would empty the cache or cut the server off from its upstream."""
        away = f"maxBytes: 1MB\nleaseDuration: 0s\nregistries:\n{self.registry(parts.free_port())}"
        return [(away + "  sheme: http\n", "registries[0].sheme: unknown key; did you mean scheme?"),
                (away + "logFile: /nowhere/log\n", "logFile: /nowhere/log: No such file or directory"),
                (away + "logLevel: [\n", "not YAML")][number % 3]

    def write(self, text):
        with open(f"{self.path}.new", "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(f"{self.path}.new", self.path)


def main(program, connections=CONNECTIONS, reloads=RELOADS):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    check(hard >= 2 * connections + SPARE_DESCRIPTORS, f"{connections} connections need more descriptors than {hard}")
    with parts.Bench() as bench:
        registry = bench.upstream()
        parts.push_image(registry, "library/cached", "1", 100_000, "cached")
        cold = [parts.push_blob(registry, "library/cold", BLOB_BYTES, f"cold {number}") for number in range(BLOBS)]
        throttled, _ = bench.nginx(
            "throttled", f"location / {{ proxy_pass http://127.0.0.1:{registry}; limit_rate {UPSTREAM_RATE}; }}")
        files = Files(str(bench.directory / "config.yaml"), throttled)
        files.write(files.good(0)[0])
        metrics_port, images, log = parts.free_port(), str(bench.directory / "images"), bench.directory / "server.log"
        process = bench.start(
            program, "serve", "--config-file", files.path, "--image-path", images, "--host", "127.0.0.1", "--port", "0",
            "--metrics", str(metrics_port), log=log)
        parts.wait_for(lambda: "listening" in log.read_text(), what="the server")
        port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text()).group(1))
        path = "/v2/docker.io/library/cached/manifests/1"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        check(answer.status == 200, f"the image cannot be pulled: {answer.status}")

        before = scrape(metrics_port)
        clients = Clients(port, path, body, connections)
        clients.start()
        pullers = [Puller(port, cold[number::PULLERS]) for number in range(PULLERS)]
        for puller in pullers:
            puller.start()
        check(clients.ready.wait(120), "the clients did not connect")
        bad_ones = {reloads * share // 4 for share in (1, 2, 3)}
        asked = dict.fromkeys(["manifests", "denied"], 0)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        is_open = True
        longest, limit, seen, loaded = 0.0, files.good(0)[1], 0, total(before, "ociregistry_config_last_reload_success_timestamp_seconds")
        for number in range(reloads):
            is_bad = number in bad_ones
            text, expected = files.bad(seen) if is_bad else files.good(number + 1)
            files.write(text)
            start = time.monotonic()
            done = subprocess.run([program, "reload", "--image-path", images], capture_output=True, text=True, timeout=60)
            longest = max(longest, time.monotonic() - start)
            now = scrape(metrics_port)
            if is_bad:
                seen += 1
                check(done.returncode == 1 and expected in done.stderr, f"a bad file was not refused: {done}")
            else:
                check(done.returncode == 0 and "the configuration was reloaded" in done.stdout, f"a reload failed: {done}")
                limit, is_open = expected, files.is_open(number + 1)
                check(now["ociregistry_config_last_reload_success_timestamp_seconds"] >= loaded, "the time of the reload went back")
                loaded = now["ociregistry_config_last_reload_success_timestamp_seconds"]
            # With rules, a name is denied, and cached content is not served under the name of a registry that does not have it.
            statuses = [status_of(port, f"/v2/docker.io/library/{name}/manifests/{digest}") for name in ("denied", "other")]
            check(statuses == ([200, 200] if is_open else [403, 404]), f"statuses {statuses}, {'without' if is_open else 'with'} rules")
            asked["manifests"] += len(statuses)
            asked["denied"] += 0 if is_open else 2
            check(now["ociregistry_config_last_reload_success"] == (0 if is_bad else 1), "the gauge of the last reload is wrong")
            check(now["ociregistry_config_last_reload_success_timestamp_seconds"] == loaded, "the time of the last load is wrong")
            check(now["ociregistry_store_max_bytes"] == limit, f"maxBytes is {now['ociregistry_store_max_bytes']}, not {limit}")
            check(total(now, "ociregistry_pulls_in_flight", 'kind="blob"') > 0, "no pull was running")
            time.sleep(SECONDS_EACH)
        clients.stop.set()
        answers, wrong, slowest = clients.ours.recv()
        clients.join()
        for puller in pullers:
            puller.stop.set()
        for puller in pullers:
            puller.join()
        after = scrape(metrics_port)
        pulled, failed = sum(each.pulled for each in pullers), [reason for each in pullers for reason in each.wrong]

        def increase(name, label=""):
            return total(after, name, label) - total(before, name, label)

        print(f"{connections} connections, {reloads} reloads, {len(bad_ones)} of them of bad files; the longest took {longest * 1000:.0f} ms")
        print(f"  {answers} manifests, {len(wrong)} wrong or lost; the slowest answer took {slowest * 1000:.0f} ms")
        print(f"  {pulled} blobs of {BLOB_BYTES // parts.MIB} MiB pulled cold, {len(failed)} wrong or lost")
        print(f"  {parts.memory_kib(process.pid, 'VmHWM') // 1024} MiB at most, {len(os.listdir(f'/proc/{process.pid}/fd'))} descriptors at the end")
        check(not wrong and not failed, f"wrong or lost: {wrong[:5]} {failed[:5]}")
        check(pulled > 0 and answers > connections, "hardly anything was asked")
        check(increase("ociregistry_manifest_pulls_total") == answers + asked["manifests"], "the manifests counted are not those answered")
        check(increase("ociregistry_blob_pulls_total") == pulled, "the blobs counted are not those pulled")
        check(increase("ociregistry_http_responses_total", 'class="4xx"') == asked["denied"], "a request was refused")
        for name, label in [("ociregistry_http_responses_total", 'class="5xx"'),
                            ("ociregistry_http_connections_refused_total", ""), ("ociregistry_http_requests_aborted_total", ""),
                            ("ociregistry_pulls_total", 'result="failure"'), ("ociregistry_store_removed_images_total", "")]:
            check(increase(name, label) == 0, f"{name} {label} has risen by {increase(name, label):g}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]))
