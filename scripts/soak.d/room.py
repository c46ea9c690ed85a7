#!/usr/bin/env python3
"""A 200 MiB tmpfs as the cache and a stream of 60 MiB images through skopeo, under maxBytes and under minFreeBytes.

Needs root, and a mount namespace of its own: unshare -m room.py PROGRAM.
"""

import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import parts

DISK, LAYERS, IMAGES, PULLERS = 200 * parts.MIB, [10 * parts.MIB, 20 * parts.MIB, 30 * parts.MIB], 12, 2
LIMITS = {"maxBytes": 180_000_000, "minFreeBytes": 30_000_000}
OCI = "application/vnd.oci.image"


def push(registry, number):
    """Puts an image of random layers into the registry; returns its manifest's digest."""
    def blob(kind, size, part):
        digest = parts.push_blob(registry, "library/room", size, f"{number} {part}")
        return {"mediaType": f"{OCI}.{kind}", "digest": digest, "size": size}

    config = json.dumps({"architecture": "amd64", "os": "linux", "number": number,
                         "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    layers = [blob("layer.v1.tar", size, part) for part, size in enumerate(LAYERS)]
    connection = http.client.HTTPConnection("127.0.0.1", registry, timeout=30)
    connection.request("POST", "/v2/library/room/blobs/uploads/")
    reply = connection.getresponse()
    reply.read()
    name = f"sha256:{hashlib.sha256(config).hexdigest()}"
    place = re.sub(r"^https?://[^/]+", "", reply.getheader("Location"))
    connection.request("PUT", f"{place}&digest={name}", config, {"Content-Type": "application/octet-stream"})
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 201, reply.status
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json", "digest": name, "size": len(config)}, "layers": layers,
    }).encode()
    connection.request("PUT", f"/v2/library/room/manifests/v{number}", manifest,
                       {"Content-Type": f"{OCI}.manifest.v1+json"})
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 201, reply.status
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def pull(bench, port, number, digest):
    """skopeo, which hashes what it gets; then the manifest's digest is compared, and everything is thrown away."""
    target = bench.directory / f"pulled-{number}"
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests",
         f"docker://127.0.0.1:{port}/docker.io/library/room:v{number}", f"dir:{target}"],
        capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        found = hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest()
        assert f"sha256:{found}" == digest, f"image {number} has digest {found}"
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return done.returncode == 0, done.stderr.strip()


def halves(images):
    """Manifests on disk some of whose blobs are not; and how many manifests there are."""
    store, broken = images / "store-v1", []
    manifests = list((store / "manifests").glob("*/*/*/*"))
    for path in manifests:
        content = json.loads(path.read_bytes())
        for part in [content["config"], *content["layers"]]:
            digest = part["digest"][7:]
            file = store / "blobs/sha256" / digest[:2] / digest
            if not file.exists() or file.stat().st_size != part["size"]:
                broken.append(path.name)
    return broken, len(manifests)


def metric(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    return float(re.search(rf"^{re.escape(name)} (\S+)", connection.getresponse().read().decode(), re.M).group(1))


class Watch(threading.Thread):
    """Looks at the disk and the metrics as often as it can, and keeps the extremes."""

    def __init__(self, images, metrics):
        super().__init__(daemon=True)
        self.images, self.metrics, self.isOver = images, metrics, threading.Event()
        self.most, self.least_free, self.most_counted = 0, DISK, 0
        self.start()

    def run(self):
        while not self.isOver.wait(0.005):
            disk = os.statvfs(self.images)
            free = disk.f_bavail * disk.f_frsize
            self.least_free = min(self.least_free, free)
            self.most = max(self.most, disk.f_blocks * disk.f_frsize - free)
            self.most_counted = max(self.most_counted, metric(self.metrics, "ociregistry_store_used_bytes"))


class Scene:
    """A tmpfs, and a server over it with so much configuration besides."""

    def __init__(self, bench, program, registry, more):
        self.bench, self.images = bench, bench.directory / "images"
        self.images.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "room", str(self.images)], check=True)
        self.metrics, self.health = parts.free_port(), parts.free_port()
        config = bench.directory / "more.yaml"
        config.write_text(f"registries:\n- name: docker.io\n  endpoint: http://127.0.0.1:{registry}\n{more}")
        self.process, self.port = bench.server(
            program, registry, "--config-file", str(config), "--metrics", str(self.metrics), "--metrics-host",
            "127.0.0.1", "--health", str(self.health), "--log-level", "info")

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        subprocess.run(["umount", str(self.images)], check=True)

    def settle(self):
        """Until nothing is pulled: a walk beside a pull would see what is on its way."""
        parts.wait_for(
            lambda: metric(self.metrics, 'ociregistry_pulls_in_flight{kind="blob"}') == 0
            and metric(self.metrics, "ociregistry_pulls_queued") == 0, 60, "the pulls' end")

    def walk(self):
        broken, count = halves(self.images)
        assert not broken, f"half images: {broken}"
        return count


def stream(bench, program, registry, key, digests):
    scene = Scene(bench, program, registry, f"{key}: {LIMITS[key]}\nleaseDuration: 0s\n")
    watch, answered, walks = Watch(scene.images, scene.metrics), 0, []
    with concurrent.futures.ThreadPoolExecutor(PULLERS) as pool:
        for number in range(0, IMAGES, PULLERS):
            some = range(number, number + PULLERS)
            for done, error in pool.map(lambda each: pull(bench, scene.port, each, digests[each]), some):
                answered += done
                assert done, error
            scene.settle()
            walks.append(scene.walk())
    watch.isOver.set()
    watch.join()
    evicted = metric(scene.metrics, 'ociregistry_store_removed_images_total{reason="no_room"}')
    refused = metric(scene.metrics, 'ociregistry_store_write_failures_total{reason="no_space"}')
    print(f"{key} {LIMITS[key] / 1e6:.0f} MB: {answered} of {IMAGES} images right, {evicted:.0f} names evicted, "
          f"{refused:.0f} refused, at most {watch.most_counted / 1e6:.1f} MB counted, {watch.most / 1e6:.1f} MB on disk, "
          f"at least {watch.least_free / 1e6:.1f} MB free; whole images after each step: {walks}", flush=True)
    if key == "maxBytes":
        assert watch.most_counted <= LIMITS[key] and watch.most <= LIMITS[key] + parts.MIB
    else:
        assert watch.least_free >= LIMITS[key] - sum(LAYERS) * PULLERS
    scene.end()


def pass_through(bench, program, registry, key, digests, more, what):
    """When nothing may leave: images pass through and are not kept, which is shown; what is cached is served."""
    scene = Scene(bench, program, registry, f"{key}: {LIMITS[key]}\n{more}")
    answered = [pull(bench, scene.port, number, digests[number]) for number in range(4)]
    assert all(done for done, _ in answered), answered
    connection = http.client.HTTPConnection("127.0.0.1", scene.port, timeout=60)
    connection.request("GET", f"/v2/docker.io/library/room/manifests/{digests[3]}")
    layer = json.loads(connection.getresponse().read())["layers"][2]["digest"]
    connection.request("GET", f"/v2/docker.io/library/room/blobs/{layer}")
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 200 and reply.getheader("X-Ociregistry-Cache") == "bypass", (reply.status, reply.getheaders())
    passed = metric(scene.metrics, "ociregistry_pulls_passed_through_total")
    refused = metric(scene.metrics, 'ociregistry_store_write_failures_total{reason="no_space"}')
    health = http.client.HTTPConnection("127.0.0.1", scene.health, timeout=30)
    answers = {}
    for target in ["/readyz", "/readyz?pull"]:
        health.request("GET", target)
        ready = health.getresponse()
        answers[target] = ready.status, ready.read().decode().strip()
    log = [line for line in (bench.directory / "server.log").read_text().splitlines() if "no room in the cache" in line]
    assert refused > 0 and passed > 0 and log, (refused, passed, log)
    assert answers["/readyz"][0] == 200 and answers["/readyz?pull"][0] == 503, answers
    assert metric(scene.metrics, "ociregistry_ready_for_pulls") == 0
    assert pull(bench, scene.port, 0, digests[0])[0], "what is cached is served"
    print(f"{what}: 4 images right, {passed:.0f} blobs passed through\n  metric: {refused:.0f} refused writes\n"
          f"  log: {log[0][:160]}\n  {answers}", flush=True)
    scene.end()


def main(program):
    if os.geteuid() != 0:
        raise SystemExit("room: mounting a tmpfs takes root")
    with parts.Bench() as bench:
        registry = bench.upstream()
        digests = [push(registry, number) for number in range(IMAGES)]
        for key in LIMITS:
            stream(bench, program, registry, key, digests)
        pass_through(bench, program, registry, "maxBytes", digests, "leaseDuration: 0s\npinned: .\n", "all pinned, maxBytes")
        pass_through(bench, program, registry, "minFreeBytes", digests, "", "all in use, minFreeBytes")


main(sys.argv[1])
