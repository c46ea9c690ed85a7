#!/usr/bin/env python3
"""Makes a store of any number of small images, as the server itself would have written it: for measuring by size.

manycached.py DIRECTORY [IMAGES [BLOBS-PER-IMAGE]]: 100,000 images of a config and five layers each are 600,000 blobs.
"""

import hashlib
import json
import os
import sys
import time

OCI = "application/vnd.oci.image"
TAGS = 100
DAY = 86_400


def shards(parent):
    """Makes the 256 directories of a kind of content; returns them by their first byte."""
    names = [f"{parent}/{number:02x}" for number in range(256)]
    for name in names:
        os.makedirs(name, exist_ok=True)
    return names


def write(path, data, when=None):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(file, data)
    os.close(file)
    if when:
        os.utime(path, (when, when))


def put(directories, data, when=None):
    digest = hashlib.sha256(data).hexdigest()
    write(f"{directories[int(digest[:2], 16)]}/{digest}", data, when)
    return digest


def name_of(number):
    """Repository and tag of an image: a hundred tags a repository."""
    return f"library/app{number // TAGS}", f"v{number % TAGS}"


def descriptor(kind, data, digest):
    return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def make(directory, images=100_000, blobs_each=6):
    """Every second image came ten days ago, the others just now."""
    root = f"{directory}/store-v1"
    blobs, manifests = shards(f"{root}/blobs/sha256"), shards(f"{root}/manifests/oci-manifest/sha256")
    now = int(time.time())
    for number in range(images):
        when = now - 10 * DAY if number % 2 else now - 60
        contents = [f'{{"config of image": {number}}}'.encode()]
        contents += [f"layer {layer} of image {number}".encode() for layer in range(1, blobs_each)]
        kinds = ["config.v1+json"] + ["layer.v1.tar"] * (blobs_each - 1)
        parts = [descriptor(kind, data, put(blobs, data)) for kind, data in zip(kinds, contents)]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": parts[0], "layers": parts[1:],
        }).encode()
        digest = put(manifests, manifest, when)
        repository, tag = name_of(number)
        if number % TAGS == 0:
            tags = f"{root}/tags/docker.io/{repository}/_tags"
            os.makedirs(tags, exist_ok=True)
        write(f"{tags}/{tag}", f"sha256:{digest}\n".encode(), when)


if __name__ == "__main__":
    make(sys.argv[1], *map(int, sys.argv[2:]))
