#!/usr/bin/env python3
"""deploy/kubernetes, rendered by kubectl, against Kubernetes' schemas from 1.30 on and the rules of checkov: kubernetes.py CHECKOUT

What checkov finds must be in the .checkov.yaml files of the manifests, and everything there must be something that it finds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

VERSIONS = ["1.%d.0" % minor for minor in range(30, 38)]

# What is rendered: an overlay, and a component that is added to it.
TARGETS = [
    ("overlays/node", None),
    ("overlays/node", "components/hosts-only"),
    ("overlays/node", "components/node-port"),
    ("overlays/node", "components/without-setup"),
    ("overlays/cluster", None),
    ("overlays/cluster", "components/openshift"),
    ("components/monitoring", None),
]


def run(*command, may_fail=False):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if result.returncode != 0 and not may_fail:
        sys.exit("%s: status %d\n%s%s" % (" ".join(command), result.returncode, result.stdout, result.stderr))
    return result.stdout


def render(folder, overlay, component):
    if component is None:
        return run("kubectl", "kustomize", os.path.join(folder, overlay))
    with tempfile.TemporaryDirectory() as site:
        # kustomize takes relative paths only, from where the directory really is.
        way = os.path.relpath(folder, os.path.realpath(site))
        with open(os.path.join(site, "kustomization.yaml"), "w") as file:
            file.write("resources: [%s/%s]\ncomponents: [%s/%s]\n" % (way, overlay, way, component))
        return run("kubectl", "kustomize", site)


def skips(folder, *places):
    found = set()
    for place in places:
        path = os.path.join(folder, place or "", ".checkov.yaml")
        if place is not None and os.path.exists(path):
            with open(path) as file:
                found.update(re.findall(r"^- (CKV\w+)$", file.read(), re.MULTILINE))
    return found


def validate(text, path):
    # The operator's resources have schemas of their own.
    parts = [part for part in text.split("\n---\n") if "apiVersion: monitoring.coreos.com/" not in part]
    with open(path, "w") as file:
        file.write("\n---\n".join(parts))
    for version in VERSIONS:
        run("kubernetes-validate", "--strict", "--quiet", "-k", version, path)


def check(text, path):
    with open(path, "w") as file:
        file.write(text)
    # Without --skip-download it asks a service for descriptions of its rules.
    output = run("checkov", "--skip-download", "--framework", "kubernetes", "-o", "json", "-f", path, may_fail=True)
    report = json.loads(output)
    return report["summary"]["passed"], {check["check_id"] for check in report["results"]["failed_checks"]}


def main():
    folder = os.path.join(os.path.realpath(sys.argv[1]), "deploy", "kubernetes")
    wrong = []
    used = {}
    for overlay, component in TARGETS:
        name = overlay if component is None else "%s with %s" % (overlay, component)
        text = render(folder, overlay, component)
        allowed = skips(folder, "", overlay, component)
        with tempfile.TemporaryDirectory() as place:
            validate(text, os.path.join(place, "valid.yaml"))
            passed, failed = check(text, os.path.join(place, "resources.yaml"))
        print("%s: valid for Kubernetes %s to %s; checkov: %d passed, %d not followed for a reason: %s" % (
            name, VERSIONS[0], VERSIONS[-1], passed, len(failed & allowed), " ".join(sorted(failed & allowed)) or "-"))
        wrong += ["%s: checkov finds %s" % (name, each) for each in sorted(failed - allowed)]
        for place in ("", overlay, component):
            used.setdefault(place, set()).update(failed)
    for place, failed in used.items():
        wrong += ["%s/.checkov.yaml: %s is not needed" % (place or ".", each) for each in sorted(skips(folder, place) - failed)]
    sys.exit("\n".join(wrong) if wrong else 0)


main()
