"""Makes small images, each with content of its own, puts them into a registry, and writes down what there is to pull."""

import concurrent.futures
import hashlib
import http.client
import io
import json
import re
import tarfile
import threading

LAYERS = 5
# Images are pruned a batch at a time: while one is pruned the others are pulled. More batches would be smaller, and the
# server looks at its whole cache for each.
BATCHES = 4
# What a tar archive of one small file has beside that file's content: a header, and two empty blocks at its end.
TAR_BYTES = 512 + 1024
# Requests to the registry at a time.
PUSHERS = 8
OCI = "application/vnd.oci.image"


def layer(text, size):
    """A tar archive of `size` bytes with one file, whose content is made from `text`."""
    content = hashlib.shake_256(text.encode()).digest(size - TAR_BYTES)
    file = tarfile.TarInfo("data")
    file.size = len(content)
    archive = io.BytesIO()
    archive.write(file.tobuf(tarfile.USTAR_FORMAT))
    archive.write(content)
    archive.write(bytes(1024))
    return archive.getvalue()


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(media_type, data, **more):
    return {"mediaType": f"{OCI}.{media_type}", "digest": digest(data), "size": len(data), **more}


class Image:
    """One image: its blobs, and its manifests from the inside out; the last is what the tag means."""

    def __init__(self, number, layer_bytes, has_index):
        layers = [layer(f"image {number} layer {index}", layer_bytes) for index in range(LAYERS)]
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"number": str(number)}},
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
        }).encode()
        self.blobs = [config, *layers]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
            "config": descriptor("config.v1+json", config),
            "layers": [descriptor("layer.v1.tar", each) for each in layers],
        }).encode()
        self.manifests = [("manifest.v1+json", manifest)]
        if has_index:
            platform = {"architecture": "amd64", "os": "linux"}
            index = json.dumps({
                "schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json",
                "manifests": [descriptor("manifest.v1+json", manifest, platform=platform)],
            }).encode()
            self.manifests.append(("index.v1+json", index))


class Storage:
    """Writes what docker-registry (distribution 2) would have on disk had the images been pushed to it, which takes it 60 ms
    of processor time an image. It is started on the directory afterwards, and serves them as its own."""

    def __init__(self, directory):
        self.root = directory / "docker/registry/v2"

    def write(self, path, data):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def push(self, repository, tag, image):
        base = f"repositories/{repository}"
        manifests = [data for _, data in image.manifests]
        for data in image.blobs + manifests:
            hexadecimal = digest(data)[7:]
            self.write(f"blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data", data)
            kind = "_manifests/revisions" if data in manifests else "_layers"
            self.write(f"{base}/{kind}/sha256/{hexadecimal}/link", digest(data).encode())
        top = digest(manifests[-1])
        for link in ["current", f"index/sha256/{top[7:]}"]:
            self.write(f"{base}/_manifests/tags/{tag}/{link}/link", top.encode())


class Registry:
    """Pushes to a registry that runs already, by the distribution API; a connection for each thread."""

    def __init__(self, address):
        self.address = address
        self.local = threading.local()

    def ask(self, method, path, body=None, headers=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.address, timeout=60)
        self.local.connection.request(method, path, body, headers or {})
        reply = self.local.connection.getresponse()
        text = reply.read()
        return reply, text

    def check(self, method, path, body=None, headers=None):
        reply, text = self.ask(method, path, body, headers)
        if reply.status not in (201, 202):
            raise SystemExit(f"{self.address}: {method} {path}: status {reply.status}\n{text.decode(errors='replace')}")
        return reply

    def push_blob(self, repository, data):
        reply = self.check("POST", f"/v2/{repository}/blobs/uploads/")
        location = re.sub(r"^https?://[^/]+", "", reply.getheader("Location"))
        mark = "&" if "?" in location else "?"
        self.check("PUT", f"{location}{mark}digest={digest(data)}", data, {"Content-Type": "application/octet-stream"})

    def has(self, repository, tag, data):
        accept = {"Accept": f"{OCI}.index.v1+json, {OCI}.manifest.v1+json"}
        reply, _ = self.ask("HEAD", f"/v2/{repository}/manifests/{tag}", headers=accept)
        return reply.status == 200 and reply.getheader("Docker-Content-Digest") == digest(data)

    def push(self, repository, tag, image):
        """Pushes an image that is not there yet."""
        if self.has(repository, tag, image.manifests[-1][1]):
            return
        for blob in image.blobs:
            self.push_blob(repository, blob)
        for index, (media_type, data) in enumerate(image.manifests):
            reference = tag if index == len(image.manifests) - 1 else digest(data)
            self.check("PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": f"{OCI}.{media_type}"})


def make(registry, catalog, *, count, layer_bytes, has_index, prefix, progress):
    """Makes `count` images, pushes them to the registry or its storage, and writes `catalog`, a line an image.

    `prefix` stands before a repository in the paths of the server under test: `load.test/` or nothing.
    """
    def one(number):
        batch, tag = number * BATCHES // count, f"{number:06}"
        repository = f"load/batch-{batch}"
        image = Image(number, layer_bytes, has_index)
        registry.push(repository, tag, image)
        path = f"/v2/{prefix}{repository}"
        words = [f"/load/batch-{batch}[:@]"]
        for index, (_, data) in enumerate(reversed(image.manifests)):
            words += [f"{path}/manifests/{tag if index == 0 else digest(data)}", len(data), digest(data)]
        for blob in image.blobs:
            words += [f"{path}/blobs/{digest(blob)}", len(blob), digest(blob)]
        return " ".join(map(str, words))

    with concurrent.futures.ThreadPoolExecutor(PUSHERS) as pool, open(catalog, "w", encoding="ascii") as file:
        for number, line in enumerate(pool.map(one, range(count)), 1):
            file.write(line + "\n")
            if number % 1000 == 0:
                progress(f"{number} of {count} images")
