"""A cache as the server keeps it (docs/architecture.md, "Store layout"), written without a server: small images that are whole, and
manifests whose layer is missing."""

import hashlib
import json

OCI = "application/vnd.oci.image"


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def content(size, seed):
    return hashlib.shake_256(seed.encode()).digest(size)


class Cache:
    """`images` images of docker.io, one a repository, tag `v1`: a config, a layer of 4 KiB, a layer of `large_bytes`; and a blob of
    64 KiB, which is sent from its file as a large one is."""

    def __init__(self, directory, images, large_bytes):
        self.root = directory / "store-v1"
        self.images = []
        self.proofs = []
        large = self.blob(content(large_bytes, "large"))
        self.middle, _ = self.blob(content(65536, "middle"))
        for index in range(images):
            self.images.append(self.image(f"library/app{index}", index, large))
        (self.root / "PROOFS").write_text("".join(self.proofs))

    def put(self, data, folder):
        name = digest_of(data)
        path = self.root / folder / "sha256" / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name, len(data)

    def blob(self, data):
        return self.put(data, "blobs")

    def image(self, repository, index, large):
        config = self.blob(content(300, f"config {index}"))
        small = self.blob(content(4096, f"layer {index}"))
        layers = [{"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": f"sha256:{name}", "size": size}
                  for name, size in (small, large)]
        manifest, size = self.put(json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", "digest": f"sha256:{config[0]}", "size": config[1]},
            "layers": layers,
        }, indent=2).encode(), "manifests/oci-manifest")
        tags = self.root / "tags/docker.io" / repository / "_tags"
        tags.mkdir(parents=True)
        (tags / "v1").write_text(f"sha256:{manifest}\n")
        missing = digest_of(content(10, f"missing {index}"))
        partial, _ = self.put(json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", "digest": f"sha256:{config[0]}", "size": config[1]},
            "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": f"sha256:{missing}", "size": 10}],
        }, indent=2).encode(), "manifests/oci-manifest")
        (tags / "partial").write_text(f"sha256:{partial}\n")
        for name in (manifest, partial, config[0], small[0], large[0], self.middle):
            line = f"+ sha256:{name} docker.io/{repository}"
            self.proofs.append(f"{line} {digest_of(line.encode())[:16]}\n")
        return {
            "partial": f"/v2/docker.io/{repository}/manifests/partial",
            "tag": f"/v2/docker.io/{repository}/manifests/v1",
            "digest": f"/v2/{repository}/manifests/sha256:{manifest}?ns=docker.io",
            "manifest bytes": size,
            "blob": f"/v2/docker.io/{repository}/blobs/sha256:{small[0]}",
            "middle": f"/v2/docker.io/{repository}/blobs/sha256:{self.middle}",
            "large": f"/v2/docker.io/{repository}/blobs/sha256:{large[0]}",
        }
