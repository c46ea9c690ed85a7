#!/usr/bin/env python3
"""An hour of pulls in a minute, with Docker Hub's rules at the upstream: what this server asks of it, and what docker-registry
as a proxy asks. All caches get the same requests at the same time, and each has an upstream of its own that counts.

quota.py PROGRAM [SECONDS]
"""

import concurrent.futures
import hashlib
import http.client
import json
import random
import re
import subprocess
import sys
import threading
import time

import hub
import parts

HOUR, SECONDS, SEED = 3600, 60, 18
# With less, requests with `Cache-Control: no-cache` would come more often than once a second, which is as often as they count.
LEAST_SECONDS = 30
# The defaults of this server, in seconds.
TAG_TTL, NOT_FOUND = 300, 10
# After its ttl a tag is served until the upstream's answer, for this long at most. This time is not compressed.
WAIT_SECONDS = 1.0
# A token is not used in its last seconds.
TOKEN_MARGIN_SECONDS = 10
OCI = "application/vnd.oci.image"
ACCEPT = f"{OCI}.index.v1+json, {OCI}.manifest.v1+json"

# Repository, tag, and whether the image is an index of two platforms.
TAGS = [
    ("library/alpine", "3.20", True), ("library/alpine", "3.21", True), ("library/busybox", "1.36", False),
    ("library/debian", "11", False), ("library/debian", "12", True), ("library/golang", "1.23", False),
    ("library/nginx", "1.27", False), ("library/nginx", "latest", True), ("library/node", "20", False),
    ("library/node", "22", False), ("library/postgres", "16", True), ("library/postgres", "17", False),
    ("library/python", "3.12", False), ("library/python", "3.13", True), ("library/redis", "7", False),
    ("library/registry", "2", False), ("library/traefik", "v3", False), ("grafana/grafana", "11", False),
    ("team/app", "1.0", False), ("team/app", "1.1", False),
]
MOVING, MISSING = ("library/nginx", "latest"), ("team/app", "9.9")
MOVES = (700, 1500, 2400)
JOBS = [MOVING, ("library/alpine", "3.21"), ("team/app", "1.1")]
# Name, architecture, and whether it pulls as podman does: GET by tag. The others pull as containerd and docker do: HEAD by tag.
NODES = [("node-1", "amd64", False), ("node-2", "amd64", False), ("node-3", "amd64", True), ("node-4", "arm64", False),
         ("node-5", "arm64", True), ("node-6", "amd64", False)]
IMAGES_EACH, REPLICAS = 12, 3
# The kubelet waits 10 s before it pulls again, then twice as long each time, up to five minutes.
BACK_OFF = [0, 10, 30, 70, 150, *range(310, HOUR, 300)]


class Content:
    """What the upstream has: fills it, moves a tag, and knows which digests a tag has meant, and when."""

    def __init__(self, port):
        self.port, self.sizes, self.history = port, {}, {}
        for repository, tag, is_index in TAGS:
            self.push(repository, tag, is_index, 0)

    def put(self, repository, reference, manifest):
        body, kind = json.dumps(manifest).encode(), manifest["mediaType"]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/v2/{repository}/manifests/{reference or digest_of(body)}", body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 201, answer.status
        self.sizes[digest_of(body)] = len(body)
        return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}

    def image(self, repository, tag, architecture, version):
        """Two layers, of which one is the repository's base. Each has a few kilobytes: requests are counted here, not bytes."""
        def blob(size, *seed):
            return {"mediaType": f"{OCI}.layer.v1.tar", "size": size,
                    "digest": parts.push_blob(self.port, repository, size, (repository, architecture, *seed))}
        return {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
                "config": {**blob(300, tag, version, "config"), "mediaType": f"{OCI}.config.v1+json"},
                "layers": [blob(6000), blob(3000, tag, version)]}

    def push(self, repository, tag, is_index, version):
        if is_index:
            manifest = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [
                {**self.put(repository, None, self.image(repository, tag, architecture, version)),
                 "platform": {"os": "linux", "architecture": architecture}} for architecture in ("amd64", "arm64")]}
        else:
            manifest = self.image(repository, tag, "amd64", version)
        # The tag moves at some moment of the PUT. Before the PUT has ended, both digests are right.
        meaning = {"digest": digest_of(json.dumps(manifest).encode()), "certain": float("inf")}
        self.history.setdefault((repository, tag), []).append(meaning)
        self.put(repository, tag, manifest)
        meaning["certain"] = time.monotonic()

    def age(self, name, digest, sent):
        """For how long the tag had meant something else when a request was sent, in seconds: 0 if the digest was current.
        None if the tag has never meant it."""
        meanings = self.history[name]
        for number in reversed(range(len(meanings))):
            if meanings[number]["digest"] == digest:
                return 0.0 if number + 1 == len(meanings) else max(sent - meanings[number + 1]["certain"], 0.0)
        return None


def digest_of(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def schedule():
    """[(time, node, action, repository, tag)]: the hour, in seconds of the hour. The same each time."""
    rng, events = random.Random(SEED), []
    for node in range(len(NODES)):
        for repository, tag, _ in rng.sample(TAGS, IMAGES_EACH):
            events.append((rng.uniform(0, HOUR), node, "pull", repository, tag))
    # Jobs of every minute, each on two nodes, with imagePullPolicy: Always.
    for minute in range(HOUR // 60):
        for name in JOBS:
            events += [(60 * minute + rng.uniform(0, 20), node, "pull", *name) for node in rng.sample(range(len(NODES)), 2)]
    # Pods that cannot start, since the tag is missing: they begin within some seconds of each other.
    for node in rng.sample(range(len(NODES)), REPLICAS):
        begin = rng.uniform(0, 15)
        events += [(begin + wait + rng.uniform(0, 2), node, "pull", *MISSING) for wait in BACK_OFF if begin + wait < HOUR - 5]
    events += [(at, len(NODES), "confirm", *MOVING) for at in range(90, HOUR, 180)]
    events += [(at, len(NODES) + 1, "list", repository, "") for at in range(60, HOUR, 600)
               for repository in ("library/nginx", "team/app")]
    return sorted(events)


class Mirror:
    """A cache with the nodes that pull from it, and what was wrong with its answers."""

    def __init__(self, name, upstream, port, content, ttl):
        self.name, self.upstream, self.port, self.content = name, upstream, port, content
        # For how long the cache may serve what a tag has meant before; 0 for a proxy that claims to ask each time.
        self.ttl = ttl
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(
            ["requests", "correct", "within ttl", "with a warning", "stale", "wrong", "failed", "missing"], 0)
        self.pulled = {"manifests": set(), "blobs": set()}
        self.problems, self.missing, self.latest = [], [], 0.0

    def note(self, kind, problem=None):
        with self.lock:
            self.counts[kind] += 1
            if problem:
                self.problems.append(f"{kind}: {problem}")

    def request(self, method, path, fields=()):
        self.note("requests")
        sent = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request(method, path, headers={"Accept": ACCEPT, **dict(fields)})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return sent, answer.status, answer.headers, body
        except (OSError, http.client.HTTPException) as problem:
            return sent, 0, {}, str(problem).encode()

    def refused(self, status, what):
        """Counts an answer that is not the one expected."""
        self.note("failed" if status in (0, 429) or status >= 500 else "wrong", f"{what}: {status}")

    def by_tag(self, method, repository, tag, fields=()):
        """(digest, manifest); the digest is None if the answer is of no use."""
        path = f"/v2/{repository}/manifests/{tag}"
        sent, status, headers, body = self.request(method, path, fields)
        if (repository, tag) == MISSING:
            with self.lock:
                self.missing.append((sent, time.monotonic()))
            self.note("missing")
            if status == 404:
                self.note("correct")
            else:
                self.refused(status, f"{method} {path}")
            return None, b""
        if status != 200:
            self.refused(status, f"{method} {path}")
            return None, b""
        digest = headers.get("Docker-Content-Digest")
        age, size = self.content.age((repository, tag), digest, sent), headers.get("Content-Length")
        is_whole = body == b"" if method == "HEAD" else digest_of(body) == digest
        if age is None or not is_whole or size != str(self.content.sizes[digest]):
            self.note("wrong", f"{method} {path}: {digest}, {size} bytes")
            return None, b""
        self.judge(age, 0.0 if fields else self.ttl, "Warning" in headers, f"{method} {path}")
        with self.lock:
            self.pulled["manifests"].add(digest)
        return digest, body

    def judge(self, age, ttl, has_warning, what):
        if age == 0.0:
            self.note("correct")
        elif has_warning:
            self.note("with a warning")
        elif ttl and age < ttl + WAIT_SECONDS:
            self.note("within ttl")
        else:
            self.note("stale", f"{what}: moved {age:.2f} s before")

    def by_digest(self, kind, repository, digest):
        path = f"/v2/{repository}/{kind}/{digest}"
        _, status, _, body = self.request("GET", path)
        if status != 200:
            self.refused(status, f"GET {path}")
        elif digest_of(body) != digest:
            self.note("wrong", f"GET {path}: other bytes")
        else:
            self.note("correct")
            with self.lock:
                self.pulled[kind].add(digest)
            return body
        return None

    def pull(self, held, architecture, gets_tags, repository, tag, fields=()):
        """As a node does that has the content of `held`, by digest."""
        digest, body = self.by_tag("GET" if gets_tags else "HEAD", repository, tag, fields)
        manifest = {}
        while digest:
            if digest not in held:
                held[digest] = body or self.by_digest("manifests", repository, digest)
                if not held[digest]:
                    del held[digest]
                    return
            manifest = json.loads(held[digest])
            digest, body = next((each["digest"] for each in manifest.get("manifests", ())
                                 if each["platform"]["architecture"] == architecture), None), b""
        for layer in [manifest["config"], *manifest["layers"]] if manifest else ():
            if layer["digest"] not in held and (data := self.by_digest("blobs", repository, layer["digest"])):
                held[layer["digest"]] = data

    def list(self, repository):
        path = f"/v2/{repository}/tags/list"
        _, status, _, body = self.request("GET", path)
        if status != 200:
            return self.refused(status, f"GET {path}")
        tags = json.loads(body)["tags"]
        is_right = sorted(tags) == sorted(tag for name, tag, _ in TAGS if name == repository)
        return self.note(*(("correct",) if is_right else ("wrong", f"GET {path}: {tags}")))

    def play(self, node, events, begin, speed):
        """The events of one node, one after the other, each at its time."""
        _, architecture, gets_tags = NODES[node] if node < len(NODES) else ("", "amd64", False)
        held = {}
        for at, _, action, repository, tag in events:
            late = time.monotonic() - begin - at / speed
            with self.lock:
                self.latest = max(self.latest, late)
            if late > HOUR / speed:
                raise SystemExit(f"quota: {self.name}: gave up, {late:.0f} s late")
            time.sleep(max(-late, 0.0))
            if action == "list":
                self.list(repository)
            else:
                fields = {"Cache-Control": "no-cache"} if action == "confirm" else {}
                self.pull(held, architecture, gets_tags, repository, tag, fields)

    def missing_bound(self, seconds):
        """The most GETs that the missing tag may cost if each 404 is remembered for so long."""
        count, end = 0, 0.0
        for sent, answered in sorted(self.missing):
            # The answer is remembered from a moment after `sent`, so that a request answered before `end` cannot cost one.
            if answered > end:
                count, end = count + 1, sent + seconds
        return count

    def tokens_of_an_hour(self, speed):
        """The tokens that the upstream requests would have taken if tokens had ended as early as the rest is compressed."""
        ends, count = {}, 0
        for at, kind, _, repository, _ in self.upstream.records:
            if kind != "token" and repository and at >= ends.get(repository, 0.0):
                ends[repository], count = at + (hub.TOKEN_SECONDS - TOKEN_MARGIN_SECONDS) / speed, count + 1
        return count


def proxy(bench, name, upstream, more=""):
    """docker-registry as a proxy, with its descriptor cache as in its package; returns its port."""
    port, config = parts.free_port(), bench.directory / f"{name}.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {bench.directory}/{name}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\nproxy: {{remoteurl: 'http://127.0.0.1:{upstream}'{more}}}\n")
    bench.start("docker-registry", "serve", str(config), log=bench.directory / f"{name}.log")
    parts.wait_for(lambda: parts.answers(port), what=name)
    return port


def server(bench, program, upstream, ttl, not_found):
    config, log = bench.directory / "config.yaml", bench.directory / "server.log"
    config.write_text(
        f"tagTTL: {round(ttl * 1000)}ms\nnegativeCache: {{notFound: {round(not_found * 1000)}ms}}\n"
        f"registries:\n- name: docker.io\n  endpoint: http://127.0.0.1:{upstream}\n")
    process = bench.start(
        program, "serve", "--config-file", str(config), "--image-path", str(bench.directory / "images"),
        "--host", "127.0.0.1", "--port", "0", "--default-ns", "docker.io", "--log-level", "warn", log=log)
    parts.wait_for(lambda: "listening" in log.read_text() or process.poll() is not None, what="the server")
    found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
    check(found, f"the server did not start:\n{log.read_text()}")
    return int(found.group(1))


def check(condition, message):
    if not condition:
        raise SystemExit(f"quota: {message}")


def version(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout.split()[-1]


def hour(mirrors, content, speed):
    """All mirrors get the same requests at the same time, from as many threads as there are nodes."""
    events = schedule()
    nodes = sorted({node for _, node, *_ in events})
    begin = time.monotonic() + 0.5
    with concurrent.futures.ThreadPoolExecutor(len(mirrors) * len(nodes)) as pool:
        running = [pool.submit(mirror.play, node, [each for each in events if each[1] == node], begin, speed)
                   for mirror in mirrors for node in nodes]
        for number, at in enumerate(MOVES, 1):
            time.sleep(max(begin + at / speed - time.monotonic(), 0.0))
            content.push(*MOVING, True, number)
        for each in running:
            each.result()


def rows(mirrors):
    def upstream(*what):
        return [mirror.upstream.count(*what) for mirror in mirrors]

    def counted(name):
        return [mirror.counts[name] for mirror in mirrors]

    yield "requests of the clients", counted("requests")
    yield "upstream requests", [len(mirror.upstream.records) for mirror in mirrors]
    yield "  tokens", upstream("token")
    yield "  answered 401, without a token", upstream("challenge")
    yield "  manifest HEAD", upstream("manifest", "HEAD")
    yield "  manifest GET, a manifest", upstream("manifest", "GET", 200)
    yield "  manifest GET, 404", upstream("manifest", "GET", 404)
    yield "  manifest GET, 429", upstream("manifest", "GET", 429)
    yield "  blob HEAD", upstream("blob", "HEAD")
    yield "  blob GET", upstream("blob", "GET")
    yield "  list", upstream("list")
    yield "quota spent", [mirror.upstream.spent for mirror in mirrors]
    yield "distinct manifests pulled", [len(mirror.pulled["manifests"]) for mirror in mirrors]
    yield "distinct blobs pulled", [len(mirror.pulled["blobs"]) for mirror in mirrors]
    yield "answers: correct", counted("correct")
    yield "  an older digest, within ttl", counted("within ttl")
    yield "  an older digest, with a Warning", counted("with a warning")
    yield "  stale", counted("stale")
    yield "  wrong", counted("wrong")
    yield "  failed", counted("failed")


def after_the_limit(mirrors, content, cached, ttl):
    """No pull is left: tags that are cached, one of them moved, and one that is not cached. Prints what each mirror answers."""
    for mirror in mirrors:
        mirror.upstream.limit = mirror.upstream.spent
        mirror.counts = dict.fromkeys(mirror.counts, 0)
    # All tags are due for a check.
    time.sleep(ttl)
    for mirror in mirrors:
        held = {}
        for name in cached:
            mirror.pull(held, "amd64", False, *name)
    counts = [dict(mirror.counts) for mirror in mirrors]
    content.push(*MOVING, True, len(MOVES) + 1)
    content.push("library/new", "1", False, 0)
    time.sleep(ttl)
    for mirror, count in zip(mirrors, counts):
        old = mirror.content.history[MOVING][-2]["digest"]
        _, status, headers, _ = mirror.request("GET", f"/v2/{MOVING[0]}/manifests/{MOVING[1]}")
        digest = headers.get("Docker-Content-Digest")
        moved = {old: "the old digest", None: "no digest"}.get(digest, "the new digest")
        _, new, *_ = mirror.request("GET", "/v2/library/new/manifests/1")
        print(f"  {mirror.name}: {len(cached)} cached images: {count['correct']} of {count['requests']} answers correct; "
              f"a tag that moved: {status}, {moved}, {'a' if 'Warning' in headers else 'no'} Warning; a new image: {new}")
        mirror.after = (count["correct"] == count["requests"], status, digest == old, "Warning" in headers)


def main(program, seconds=SECONDS):
    check(seconds >= LEAST_SECONDS, f"an hour in {seconds} s is too fast: at least {LEAST_SECONDS} s")
    speed = HOUR / seconds
    ttl, not_found = TAG_TTL / speed, NOT_FOUND / speed
    with parts.Bench() as bench:
        content = Content(bench.upstream())
        hubs = [hub.Hub(content.port) for _ in range(3)]
        life = f"{ttl:g}s"
        mirrors = [
            Mirror("ociregistry", hubs[0], server(bench, program, hubs[0].port, ttl, not_found), content, ttl),
            Mirror("docker-registry", hubs[1], proxy(bench, "proxy", hubs[1].port), content, 0),
            Mirror(f"ttl: {life}", hubs[2], proxy(bench, "proxy-ttl", hubs[2].port, f", ttl: {life}"), content, 0),
        ]
        started = [len(each.records) for each in hubs]
        hour(mirrors, content, speed)

        print(f"ociregistry {version(program)}, docker-registry {version('docker-registry')}; seed {SEED}")
        print(f"One hour in {seconds} s, so {speed:.0f} times as fast. Times of policies are compressed likewise: ociregistry has "
              f"tagTTL {ttl:g} s for {TAG_TTL} s\nand negativeCache.notFound {not_found * 1000:.0f} ms for {NOT_FOUND} s. Not "
              f"compressed: tokens ({hub.TOKEN_SECONDS} s), the second that a request waits for a check, and back-off.")
        print(f"The third column is docker-registry with proxy.ttl {life}, for {TAG_TTL} s; its releases before 3 ignore that key. "
              f"Upstream requests\nof the start are included: {', '.join(map(str, started))}.\n")
        print(f"{'':34}" + "".join(f"{mirror.name:>17}" for mirror in mirrors))
        for label, values in rows(mirrors):
            print(f"{label:34}" + "".join(f"{value:17}" for value in values))
        ours = mirrors[0]
        bound = ours.missing_bound(not_found)
        print(f"\nociregistry: {ours.tokens_of_an_hour(speed)} tokens if tokens had ended in compressed time.")
        print(f"The missing tag was requested {ours.counts['missing']} times, and may cost {bound} GETs. The latest request was sent "
              f"{max(mirror.latest for mirror in mirrors):.2f} s late.")
        for mirror in mirrors:
            for problem in mirror.problems[:5]:
                print(f"  {mirror.name}: {problem}")
        manifests = len(ours.pulled["manifests"])
        counts, spent = ours.counts, (hubs[0].count("manifest", "GET", 200), hubs[0].count("manifest", "GET", 404))

        print("\nAfter the hour, with no pull left:")
        cached = sorted({each[3:] for each in schedule() if each[2] == "pull" and each[3:] != MISSING
                         and NODES[each[1]][1] == "amd64"})
        after_the_limit(mirrors, content, cached, ttl)
        for each in hubs:
            each.shutdown()
        check(not counts["wrong"] and not counts["failed"] and not counts["stale"], f"answers were not right: {ours.problems[:5]}")
        check(spent[0] <= manifests, f"{spent[0]} manifests were pulled for {manifests} that clients pulled")
        check(spent[1] <= bound, f"the missing tag cost {spent[1]} GETs, and {bound} suffice")
        check(ours.after == (True, 200, True, True), f"with no pull left: {ours.after}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
