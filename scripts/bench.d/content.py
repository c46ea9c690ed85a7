"""What is measured with: images that are made, put into a real registry, and the same for the same numbers.

An image is an index of six platforms, a manifest and a config for each, and five layers of 4 KiB that they share: 60 of
them are 420 manifests and 300 layers. Beside them stand eight blobs of 4 MiB, one blob of 1 GiB in an image of its own, and
a smaller one for many clients at once. All are named by paths that begin with the repository; a server knows what comes before.
"""

import hashlib
import http.client
import json

import driving
import parts

PLATFORMS, LAYERS, LAYER_BYTES = 6, 5, 4096
MEDIUM_BLOBS, MEDIUM_BYTES = 8, 4 * parts.MIB
OCI = "application/vnd.oci.image"
# The small content goes up over so many connections, and is asked for over as many to warm a cache.
LANES = 4
# A cache that has given a body may still be writing it.
SETTLING_PASSES = 10


class Content:
    """Paths with their sizes, by what they are; `digests` has the digest of each path's content."""

    def __init__(self, port, images, large_mib):
        self.port, self.digests = port, {}
        self.large_bytes, self.shared_bytes = large_mib * parts.MIB, max(1, large_mib // 4) * parts.MIB
        made = driving.together(LANES, lambda lane: [self._image(each) for each in range(lane, images, LANES)])
        self.images = [image for lane in made for image in lane]
        self.medium = [self._blob("bench/medium", MEDIUM_BYTES, f"medium {each}") for each in range(MEDIUM_BLOBS)]
        # The large image: its manifest is what a client waits for first, whatever the size of its layer.
        self.large = self._blob("bench/large", self.large_bytes, "large")
        self.shared = self._blob("bench/coalescing", self.shared_bytes, "coalescing")
        config = self._blob("bench/large", 300, "large config")
        self.large_manifest = self._manifest("bench/large", "v1", self._described(config, [self.large]))[1]

    def by_digest(self):
        return [manifest["by_digest"] for image in self.images for manifest in image["manifests"]]

    def by_tag(self):
        return [manifest["by_tag"] for image in self.images for manifest in image["manifests"]]

    def layers(self):
        return [layer for image in self.images for layer in image["layers"]]

    def pulls(self):
        """What clients of whole images ask for: index by tag, manifest by digest, config, layers; image after image."""
        return [path for image in self.images for path in (
            image["manifests"][0]["by_tag"], image["manifests"][1]["by_digest"], image["config"], *image["layers"])]

    @property
    def requests_per_pull(self):
        return 3 + LAYERS

    def cached(self):
        """All that the rows of cached content ask for, once."""
        configs = [image["config"] for image in self.images]
        return self.by_tag() + self.by_digest() + configs + self.layers() + self.medium + [self.large]

    def _image(self, index):
        repository = f"bench/image-{index:03}"
        layers = [self._blob(repository, LAYER_BYTES, f"layer {index} {each}") for each in range(LAYERS)]
        manifests, configs = [], []
        for platform in range(PLATFORMS):
            configs.append(self._blob(repository, 300, f"config {index} {platform}"))
            manifests.append(self._manifest(repository, f"v1-{platform}", self._described(configs[-1], layers)))
        listed = [{
            "mediaType": f"{OCI}.manifest.v1+json", "digest": manifest[0], "size": manifest[2],
            "platform": {"architecture": f"arch{platform}", "os": "linux"},
        } for platform, manifest in enumerate(manifests)]
        index_document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": listed}
        named = [self._manifest(repository, "v1", index_document)] + manifests
        return {
            "layers": layers, "config": configs[0],
            "manifests": [{"by_tag": by_tag, "by_digest": (f"{repository}/manifests/{digest}", size)}
                          for digest, by_tag, size in named]}

    def _described(self, config, layers):
        def descriptor(kind, blob):
            return {"mediaType": f"{OCI}.{kind}", "digest": self.digests[blob[0]], "size": blob[1]}

        return {
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": descriptor("config.v1+json", config),
            "layers": [descriptor("layer.v1.tar+gzip", layer) for layer in layers],
            "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"}}

    def _blob(self, repository, size, seed):
        digest = parts.push_blob(self.port, repository, size, seed)
        path = f"{repository}/blobs/{digest}"
        self.digests[path] = digest
        return path, size

    def _manifest(self, repository, tag, document):
        """Puts a manifest under a tag: (digest, (path by tag, size), size)."""
        body = json.dumps(document, indent=2).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": document["mediaType"]})
        reply = connection.getresponse()
        reply.read()
        connection.close()
        if reply.status != 201:
            raise driving.Failed(f"the registry refused {repository}:{tag} with {reply.status}")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.digests[f"{repository}/manifests/{tag}"] = self.digests[f"{repository}/manifests/{digest}"] = digest
        return digest, (f"{repository}/manifests/{tag}", len(body)), len(body)


def ask_all(server, content):
    """Asks for everything once, and has every body's digest right: whoever is measured serves the right bytes."""
    wanted = content.cached()

    def lane(number):
        for path, _ in wanted[number::LANES]:
            answer = driving.get(server, path, hashed=True)
            if answer.status != 200 or answer.digest != content.digests[path]:
                raise driving.Failed(f"{server.name}: {path}: {answer.status} and {answer.digest}, not what was pushed")

    driving.together(LANES, lane)


def warm(server, content, stage):
    """Asks for everything until the upstream is not asked any more: what is measured as cached is."""
    for _ in range(SETTLING_PASSES):
        before = stage.upstream_gets()
        ask_all(server, content)
        if stage.upstream_gets() == before:
            return
    raise driving.Failed(f"{server.name} still asks the upstream for content that it has had {SETTLING_PASSES} times")
