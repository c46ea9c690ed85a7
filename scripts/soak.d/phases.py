"""The phases of an attack. Each takes what it names (the target, the upstreams, the options) and says what it did."""

import concurrent.futures
import json
import multiprocessing
import os
import random
import resource
import socket
import tempfile
import threading
import time

import corpus
import extremes as extreme
import upstreams as upstream
from target import Target, check
from wire import Hang, Malformed, Peer, ask

WORKERS = 12
STATUSES = {200, 206, 304, 400, 403, 404, 405, 408, 416, 429, 431, 501, 502, 503, 505, 508}


def _all(action, items, workers=WORKERS):
    """Runs `action` for all items in threads; the first failure counts."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(action, items))


# MARK: What is sent

def smuggling(target):
    """Each refusal must come, be the only answer, and be followed by the end of the connection, not a reset."""
    def send(case):
        data, status, behind, pieces = case
        with Peer(target.port) as peer:
            peer.send((corpus.PING if behind else b"") + data + corpus.PING, pieces)
            peer.half_close()
            if behind:
                check(peer.answer().status == 200, "the request before a bad one was not answered")
            answer = peer.answer()
            check(answer and answer.status == status, f"{data!r} got {answer and answer.status}, not {status}")
            check(json.loads(answer.body)["errors"], "a refusal without a reason")
            check(not peer.more() and not peer.buffer, f"{data!r}: more after the refusal: {peer.buffer!r}")
            check(not peer.was_reset, f"{data!r}: reset")

    cases = [(data, status, behind, pieces) for data, status in corpus.SMUGGLING
             for behind in (False, True) for pieces in (1, 7, len(data))]
    _all(send, cases)
    return f"{len(cases)} requests"


def odd(target):
    """Plain requests of every odd kind."""
    def send(case):
        method, target_text, fields, version, statuses = case
        answer = ask(target.port, target_text, method, fields, version)
        check(answer.status in statuses, f"{method} {target_text} {fields} got {answer.status} {answer.body[:200]}")
        check(answer.complete, f"{method} {target_text} {fields}: a short body")
        return answer

    ask(target.port, f"/v2/{corpus.REPOSITORY}/manifests/latest")
    _all(send, corpus.ODD)
    for method, text, fields, version, _ in corpus.ODD:
        if method == "GET" and not fields and version == "1.1":
            get, head = ask(target.port, text), ask(target.port, text, "HEAD")
            check((get.status, get.first("content-type")) == (head.status, head.first("content-type")), f"HEAD {text}")
    return f"{len(corpus.ODD)} requests, and HEAD of all"


def _fuzz_worker(port, seed, count, seconds=None):
    rng = random.Random(seed)
    sent, end = 0, seconds and time.monotonic() + seconds
    for number in range(count):
        if end and time.monotonic() > end:
            break
        try:
            sent += _fuzz_one(port, rng)
        except (Malformed, Hang, OSError) as error:
            return sent, f"worker seed {seed}, connection {number}: {type(error).__name__} {error}"
    return sent, None


def _fuzz_one(port, rng):
    data, before = corpus.damage(rng), rng.choice((0, 0, 1, 4))
    with Peer(port, timeout=25) as peer:
        match rng.randrange(10):
            case 0:
                peer.send(data[:rng.randrange(len(data) + 1)])
                peer.abort()
                return 1
            case 1:
                peer.send(corpus.PING * before + data)
                return 1 + before
            case 2:
                for _ in range(before):
                    peer.send(corpus.PING)
                    if peer.answer().status != 200:
                        raise Malformed("a plain request was refused")
                before = 0
        peer.send(corpus.PING * before + data, rng.choice((1, 1, 2, 5)), rng)
        peer.half_close()
        for _ in range(before):
            answer = peer.answer()
            if answer is None or answer.status != 200:
                raise Malformed(f"before {data!r}: {answer and answer.status}")
        while peer.more():
            pass
        first = peer.buffer.split(b"\r\n", 1)[0]
        if first and not (first[:9] == b"HTTP/1.1 " and int(first[9:12]) in STATUSES):
            raise Malformed(f"{data!r} got {first!r}")
        if peer.was_reset:
            raise Malformed(f"{data!r} was reset")
        return 1 + before


def fuzz(target, options):
    """Damaged requests by the thousand: in pieces, behind others, half-closed, hung up."""
    ask(target.port, f"/v2/{corpus.REPOSITORY}/manifests/latest")
    share = -(-options.requests // WORKERS)
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        work = [(target.port, options.seed + n, share, options.seconds) for n in range(WORKERS)]
        results = pool.starmap(_fuzz_worker, work)
    faults = [fault for _, fault in results if fault]
    check(not faults, "; ".join(faults))
    return f"{sum(sent for sent, _ in results)} requests on at most {share * WORKERS} connections"


def pipelines(target):
    """Thousands of requests in one go: answered in order to who reads, and held back from who does not."""
    count = 5000
    targets = ["/v2/", f"/v2/{corpus.REPOSITORY}/manifests/latest", f"/v2/{corpus.REPOSITORY}/tags/list?n=1", "/v2/x"]
    data = b"".join(f"GET {targets[n % 4]} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for n in range(count))
    with Peer(target.port, timeout=60) as peer:
        threading.Thread(target=peer.send, args=(data,), daemon=True).start()
        for n in range(count):
            answer = peer.answer()
            check(answer and answer.status == (404 if n % 4 == 3 else 200), f"answer {n}: {answer and answer.status}")
    rude = [Peer(target.port, timeout=2) for _ in range(30)]

    def push(peer):
        try:
            peer.send(data * 20)
        except TimeoutError:
            pass

    _all(push, rude, workers=len(rude))
    target.pull()
    for peer in rude:
        peer.close()
    return f"{count} answers in order; {len(rude)} pipelines never read"


# MARK: Who is slow

def slow_heads(target):
    """Heads a byte at a time must be ended at their tenth second, by a 408."""
    start = time.monotonic()
    peers = [Peer(target.port, timeout=30) for _ in range(300)]
    for second in range(9):
        for n, peer in enumerate(peers):
            peer.send(b"GET /v2/ HTTP/1.1\r\nX: " [second:second + 1] if n % 2 else b"X" * (second == 0))
        time.sleep(1)
    target.pull()
    for peer in peers:
        answer = peer.answer()
        check(answer and answer.status == 408, f"a slow head got {answer and answer.status}")
        check(not peer.more() and not peer.was_reset, "no end after 408")
        peer.close()
    took = time.monotonic() - start
    check(9 < took < 16, f"slow heads ended after {took:.1f} s")
    return f"{len(peers)} ended after {took:.1f} s"


def never_read(target, options):
    """Readers of a large blob who take nothing of it."""
    manifest, blobs = upstream.image("big/never")
    layer = list(blobs)[-1]
    check(ask(target.port, f"/v2/big/never/blobs/{layer}").body == blobs[layer], "a large blob")
    request = f"GET /v2/big/never/blobs/{layer} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    peers = [Peer(target.port, timeout=200, receive_buffer=4096) for _ in range(300)]
    for peer in peers:
        peer.send(request * 3)
    time.sleep(2)
    target.pull()
    grown = target.resident() - target.memory
    start = time.monotonic()
    while options.patient and target.count_descriptors() > target.descriptors + 250:
        check(time.monotonic() - start < 150, "readers that take nothing are kept")
        time.sleep(1)
    for peer in peers:
        peer.close()
    return f"{len(peers)} readers, {grown >> 20:+} MiB meanwhile, {time.monotonic() - start:.0f} s waited"


def idle(target, options):
    """Thousands who say nothing, or no more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before, peers = target.resident(), [Peer(target.port, timeout=100) for _ in range(2000)]
    for peer in peers[::2]:
        peer.send(corpus.PING)
        check(peer.answer().status == 200, "a connection that is idle afterwards")
    for _ in range(20):
        target.pull()
    each = (target.resident() - before) // len(peers)
    start = time.monotonic()
    if options.patient:
        for peer in peers:
            check(not peer.more() and not peer.was_reset, "an idle connection was not ended by FIN")
    for peer in peers:
        peer.close()
    return f"{len(peers)} connections, about {each} bytes each, ended after {time.monotonic() - start:.0f} s"


def hang_up(target):
    """Clients who ask for what is cold, large or slow, and leave."""
    rng = random.Random(1)
    layers = {}

    def leave(n):
        repository = f"big/leave{n % 5}"
        layer = layers.setdefault(repository, None) or list(upstream.image(repository)[1])[-1]
        layers[repository] = layer
        host = rng.choice(["good.test", "good.test", "silent.liar.test", "drip.liar.test"])
        name = host.split(".")[0] + "/x" if host != "good.test" else repository
        place = rng.choice([f"blobs/{layer}", f"manifests/t{n % 50}", "tags/list", f"referrers/{layer}"])
        with Peer(target.port) as peer:
            peer.send(f"GET /v2/{host}/{name}/{place} HTTP/1.{n % 2}\r\nHost: a\r\n\r\n".encode())
            if n % 3 == 0:
                peer.sock.settimeout(0.05)
                try:
                    peer.more()
                except Hang:
                    pass
            peer.abort() if n % 2 else peer.close()

    _all(leave, range(3000))
    return "3000 clients"


# MARK: The connection cap

def cap(upstreams, options, directory):
    """Past the cap everyone is told 503 so that it arrives, and the door opens again."""
    place = tempfile.mkdtemp(dir=directory)
    target = Target(options.program, place, upstreams.config(), descriptors=256)
    try:
        peers = [Peer(target.port, timeout=20) for _ in range(128)]
        for peer in peers:
            peer.send(corpus.PING)
            check(peer.answer().status == 200, "a connection within the cap")
        told = 0
        for _ in range(20):
            with Peer(target.port, timeout=20) as peer:
                peer.send(corpus.PING)
                answer = peer.answer()
                check(answer and answer.status == 503 and json.loads(answer.body), "no 503 past the cap")
                check(answer.first("connection") == "close" and not peer.more() and not peer.was_reset, "503 and no end")
                told += 1
        flood = [Peer(target.port, timeout=20) for _ in range(200)]
        for peer in peers + flood:
            peer.close()
        told_after = target.settle()
        return f"128 in, {told} told 503, {len(flood)} more at once; {told_after}; stopped in {target.stop():.1f} s"
    finally:
        target.kill()


# MARK: The upstream lies

def _questions(name, number):
    digest = upstream.digest(f"{name} {number}".encode())
    path = f"/v2/{name}.liar.test/{name}/{number}"
    return [("GET", f"{path}/manifests/latest", []), ("GET", f"{path}/manifests/{digest}", []),
            ("HEAD", f"{path}/manifests/other", []), ("GET", f"{path}/blobs/{digest}", []),
            ("HEAD", f"{path}/blobs/{digest}", []), ("GET", f"{path}/blobs/{digest}", ["Range: bytes=5-30"]),
            ("GET", f"{path}/tags/list?n=3", []), ("GET", f"{path}/referrers/{digest}", [])]


def _has_last_byte(answer):
    if answer.status != 206:
        return False
    last, total = answer.first("content-range").split("-")[1].split("/")
    return int(last) + 1 >= int(total)


def liar(target, options):
    """Whatever an upstream says, a client gets an answer in time, and never a complete wrong body."""
    def pose(case):
        name, (method, text, fields), version = case
        start = time.monotonic()
        try:
            answer = ask(target.port, text, method, fields, version, timeout=45)
        except (Malformed, Hang) as error:
            check(False, f"{name}: {method} {text}: {type(error).__name__} {error}")
        took = time.monotonic() - start
        check(answer.status in STATUSES - {400, 408, 431}, f"{name}: {method} {text} got {answer.status}")
        check(took < 40 or answer.status == 200, f"{name}: {method} {text} took {took:.0f} s")
        if "/blobs/" in text and method == "GET" and answer.complete:
            # A span goes out while the rest comes in; what must never go out is the last byte of what is wrong.
            check(answer.status != 200 and not _has_last_byte(answer), f"{name}: a wrong blob, {answer.body[:80]!r}")
        if "/manifests/" in text and method == "GET" and answer.status == 200:
            said = answer.first("docker-content-digest")
            check(said == upstream.digest(answer.body), f"{name}: a wrong manifest")
            check("latest" in text, f"{name}: a manifest of another digest")
            json.loads(answer.body)
        for text in (answer.first("link") or "", answer.first("location") or ""):
            check(not any(ord(c) < 0x20 for c in text), f"{name}: {text!r}")
        return answer.status

    names = upstream.names()
    cases = [(name, question, version) for name in names for question in _questions(name, options.seed)
             for version in ("1.1", "1.0")]
    random.Random(options.seed).shuffle(cases)
    statuses = _all(pose, cases, workers=48)
    # What they left behind must not keep anybody else from pulling.
    target.pull()
    tally = {status: statuses.count(status) for status in sorted(set(statuses))}
    return f"{len(names)} lies, {len(cases)} questions, {tally}"


# MARK: Numbers

def _exchange(peer, data):
    """Sends one request, and reads to the end. The status, or None where the connection was only ended."""
    peer.send(data)
    peer.half_close()
    while peer.more():
        pass
    first = peer.buffer.split(b"\r\n", 1)[0]
    if first and not (first[:9] == b"HTTP/1.1 " and int(first[9:12]) in STATUSES | {401}):
        raise Malformed(f"{data!r} got {first!r}")
    return int(first[9:12]) if first else None


def _extremes_worker(port, admin_socket, seed, repositories, seconds):
    """Asks the server's port, and its operator's socket, for so long."""
    rng, end, count = random.Random(seed), time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            count += 1
            if rng.random() < 0.05:
                with Peer(port, timeout=60) as peer:
                    peer.sock.close()
                    peer.sock = socket.socket(socket.AF_UNIX)
                    peer.sock.settimeout(60)
                    peer.sock.connect(admin_socket)
                    _exchange(peer, extreme.command(rng))
                continue
            with Peer(port, timeout=60) as peer:
                _exchange(peer, b"".join(extreme.request(rng, repositories) for _ in range(rng.choice((1, 1, 3)))))
    except (Malformed, Hang, OSError) as error:
        return count, f"worker seed {seed}, request {count}: {type(error).__name__} {error}"
    return count, None


def _look(target, directory, repositories):
    """Everything that adds up what the cache holds: sums over manifests that state any sizes."""
    check(ask(target.metrics, "/metrics").status == 200, "a scrape")
    json.loads(target.run("list", "--json"))
    target.run("list", "--header")
    target.run("verify")
    names = os.path.join(directory, "names.txt")
    with open(names, "w", encoding="ascii") as file:
        file.writelines(f"{repository}:latest\n{repository}:multi\n" for repository in repositories[:3])
    target.run("load", "--image-file", names, "--all-platforms", statuses=(0, 1))
    target.run("prune", "--unused-for", "36500d", "--dry-run")


def extremes(upstreams, options, directory):
    """Extreme numbers from clients and from an upstream at the same time, with and without limits of the cache."""
    seconds, reports = (options.seconds or 60) / 2, []
    for kind, limits in (("beyond", []), ("extreme", ["--max-bytes", "200MB", "--min-free-bytes", "1KB"])):
        place = tempfile.mkdtemp(dir=directory)
        target = Target(options.program, place, upstreams.config(), ["--metrics", "0", "--pull-timeout", "5000", *limits])
        try:
            repositories = [f"extreme.test/{kind}/{options.seed}/{n}" for n in range(20)]
            admin_socket = os.path.join(target.images, "store-v1", "ADMIN")
            with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
                results = pool.starmap(_extremes_worker, [
                    (target.port, admin_socket, options.seed + n, repositories, seconds) for n in range(WORKERS)])
            faults = [fault for _, fault in results if fault]
            check(not faults, "; ".join(faults) + target.output()[-4000:])
            _look(target, place, repositories)
            reports.append(f"{kind}: {sum(count for count, _ in results)} requests, {target.settle()}")
            target.stop()
            # The same without a server.
            json.loads(target.run("list", "--json"))
            target.run("verify")
            target.run("export", "--pattern", ".", "--output", os.path.join(place, "layout"), statuses=(0, 1))
            target.run("prune", "--unused-for", "1ns")
        finally:
            target.kill()
    return "; ".join(reports)


# MARK: The end

def stop(upstreams, options, directory):
    """SIGTERM while all of that is going on."""
    place = tempfile.mkdtemp(dir=directory)
    target = Target(options.program, place, upstreams.config())
    peers = []
    try:
        layer = list(upstream.image("big/stop")[1])[-1]
        for n in range(200):
            peer = Peer(target.port, timeout=1, receive_buffer=4096)
            peers.append(peer)
            peer.send([f"GET /v2/big/stop/blobs/{layer} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 3, b"GET /v2/ HT", b"",
                       f"GET /v2/silent.liar.test/silent/x/blobs/{layer} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
                       f"GET /v2/drip.liar.test/drip/x/manifests/t{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode()][n % 5])
        workers = [multiprocessing.Process(target=_fuzz_worker, args=(target.port, options.seed + n, 10**6), daemon=True)
                   for n in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(3)
        took = target.stop(within=30)
        for worker in workers:
            worker.join(30)
            worker.kill()
        return f"{len(peers)} stuck clients and {len(workers)} attackers; ended in {took:.1f} s"
    finally:
        target.kill()
        for peer in peers:
            peer.close()


ALL = [smuggling, odd, fuzz, pipelines, slow_heads, never_read, idle, hang_up, cap, liar, extremes, stop]
# Seconds: for every run of the tests.
BRIEF = [smuggling, odd, fuzz, extremes]
# Those that send something else each time.
REPEATED = [fuzz, hang_up, liar, extremes]
