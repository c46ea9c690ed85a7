#!/usr/bin/env python3
"""Takes what differs between two builds out of an image: image_config.py DIRECTORY, an image as containers/image's `dir:` has it.

buildah writes the id of its working container into the configuration, also as a host name, and that container's settings once
more. Nothing that runs the image uses them. Prints the image's id, the digest of its configuration.
"""
import hashlib
import json
import os
import sys

UNUSED = ("container", "container_config", "docker_version")


def main():
    directory = sys.argv[1]
    manifest_path = os.path.join(directory, "manifest.json")
    with open(manifest_path, encoding="utf-8") as file:
        manifest = json.load(file)
    former = os.path.join(directory, manifest["config"]["digest"].removeprefix("sha256:"))
    with open(former, encoding="utf-8") as file:
        configuration = json.load(file)
    for key in UNUSED:
        configuration.pop(key, None)
    configuration["config"].pop("Hostname", None)
    content = json.dumps(configuration, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()
    os.remove(former)
    with open(os.path.join(directory, digest), "wb") as file:
        file.write(content)
    manifest["config"].update(digest=f"sha256:{digest}", size=len(content))
    with open(manifest_path, "w", encoding="utf-8") as file:
        json.dump(manifest, file)
    print(f"sha256:{digest}")


main()
