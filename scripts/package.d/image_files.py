#!/usr/bin/env python3
"""The file system of the container image: image_files.py ROOT PROGRAM DIRECTORY, as root.

Lays into DIRECTORY, which must be empty: PROGRAM as /usr/bin/ociregistry, the shared libraries that it needs and the dynamic
linker out of ROOT (a root file system of Debian or Ubuntu), the certificate authorities, and the few files that the C library
reads. Each package of which something is used has its copyright file there, and its entry in /var/lib/dpkg/status.d, where
vulnerability scanners look for the packages of images without a package manager.

Prints what was taken: a line for each library with its package and version.
"""
import os
import re
import subprocess
import sys

# The user and its group; the volume's group is 0, which is the group of OpenShift's arbitrary users.
USER = 65532
VOLUME = "var/lib/ociregistry"
VOLUME_MODE = 0o2775
LINKS_AT_MOST = 40

PASSWD = f"""root:x:0:0:root:/:/sbin/nologin
ociregistry:x:{USER}:0:ociregistry:/{VOLUME}:/sbin/nologin
"""
GROUP = f"""root:x:0:
ociregistry:x:{USER}:
"""
# Both are built into glibc (since 2.34), so no further library is loaded for them.
NSSWITCH = """passwd: files
group: files
hosts: files dns
services: files
"""


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def inside(root, path):
    """The path on this machine of a path in a root, with all links followed as they lead there."""
    done = "/"
    left = [part for part in path.split("/") if part]
    for _ in range(LINKS_AT_MOST * 10):
        if not left:
            return os.path.join(root, done.lstrip("/"))
        part = left.pop(0)
        if part == "..":
            done = os.path.dirname(done)
            continue
        candidate = os.path.join(done, part)
        place = os.path.join(root, candidate.lstrip("/"))
        if os.path.islink(place):
            target = os.readlink(place)
            if target.startswith("/"):
                done = "/"
            left = [each for each in target.split("/") if each and each != "."] + left
        else:
            done = candidate
    sys.exit(f"image_files: {path}: too many links in {root}")


def needed(file):
    """The names of the shared libraries that an ELF file needs (DT_NEEDED)."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "--dynamic", "--wide", file))


def interpreter(program):
    found = re.search(r"Requesting program interpreter: (.+)\]", output("readelf", "--program-headers", "--wide", program))
    if not found:
        sys.exit(f"image_files: {program}: not a dynamically linked program")
    return found.group(1)


def libraries(root, program):
    """The libraries that the dynamic linker loads with a program, by name: each a path in ROOT."""
    linker = inside(root, interpreter(program))
    # Debian has the linker beside all other libraries.
    directory = os.path.dirname(linker)
    found = {}
    waiting = needed(program)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        place = os.path.join(directory, name)
        if not os.path.exists(place):
            sys.exit(f"image_files: {name} is not in {directory}: install the package that has it")
        found[name] = inside(root, "/" + os.path.relpath(place, root))
        waiting += needed(found[name])
    return directory, dict(sorted(found.items()))


class Packages:
    """The packages of a root, as far as the image has files of them."""

    def __init__(self, root):
        self.root = root
        self.admindir = os.path.join(root, "var/lib/dpkg")
        self.used = {}

    def owner(self, file):
        """Notes the package of a file, and returns its name and version."""
        path = "/" + os.path.relpath(file, self.root)
        # Before /usr was merged, packages were built with /lib.
        for name in (path, path.removeprefix("/usr")):
            search = subprocess.run(
                ["dpkg-query", "--admindir", self.admindir, "--search", name], capture_output=True, encoding="utf-8")
            for line in search.stdout.splitlines():
                if not line.startswith("diversion "):
                    return self.note(line.split(": ")[0].split(", ")[0])
        sys.exit(f"image_files: {path}: of no package")

    def note(self, package):
        if package not in self.used:
            show = ["dpkg-query", "--admindir", self.admindir, "--show", "--showformat", "${Package} ${Version}", package]
            self.used[package] = output(*show)
        return self.used[package]

    def lay(self, target):
        licences = set()
        for package, version in sorted(self.used.items()):
            name = version.split()[0]
            text = read(inside(self.root, f"/usr/share/doc/{name}/copyright"))
            write(target, f"usr/share/doc/{name}/copyright", text)
            licences.update(re.findall(rb"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9])", text))
            status = output("dpkg-query", "--admindir", self.admindir, "--status", package)
            write(target, f"var/lib/dpkg/status.d/{name}", status.encode())
        for licence in sorted(licences):
            path = f"usr/share/common-licenses/{licence.decode()}"
            place = inside(self.root, "/" + path)
            if os.path.isfile(place):
                write(target, path, read(place))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(target, path, content, mode=0o644):
    place = os.path.join(target, path)
    os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
    with open(place, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.chmod(place, mode)


def lay_libraries(root, program, target, packages):
    directory, found = libraries(root, program)
    relative = os.path.relpath(directory, root)
    for name, file in found.items():
        write(target, os.path.join(relative, name), read(file), 0o755)
        print(f"{name} {os.path.getsize(file)} {packages.owner(file)}")
    # As Debian has them.
    for name in ("lib", "lib64"):
        if os.path.isdir(os.path.join(root, "usr", name)):
            os.makedirs(os.path.join(target, "usr", name), mode=0o755, exist_ok=True)
            os.symlink(f"usr/{name}", os.path.join(target, name))
    linker = interpreter(program)
    place = os.path.join(target, "usr", linker.lstrip("/"))
    if not os.path.lexists(place):
        library = os.path.join(target, relative, os.path.basename(inside(root, linker)))
        os.symlink(os.path.relpath(library, os.path.dirname(place)), place)


def lay_certificates(root, target, packages):
    """The bundle, and the directory by hash: libcurl reads the directory where a configuration names a file of its own."""
    certificates = inside(root, "/etc/ssl/certs")
    if not os.path.isfile(os.path.join(certificates, "ca-certificates.crt")):
        sys.exit("image_files: no ca-certificates.crt: install ca-certificates")
    write(target, "etc/ssl/certs/ca-certificates.crt", read(os.path.join(certificates, "ca-certificates.crt")))
    for name in sorted(os.listdir(certificates)):
        if re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", name):
            write(target, f"etc/ssl/certs/{name}", read(inside(root, f"/etc/ssl/certs/{name}")))
    packages.note("ca-certificates")
    # OpenSSL's own defaults.
    os.makedirs(os.path.join(target, "usr/lib/ssl"), mode=0o755)
    os.symlink("/etc/ssl/certs", os.path.join(target, "usr/lib/ssl/certs"))
    os.symlink("/etc/ssl/certs/ca-certificates.crt", os.path.join(target, "usr/lib/ssl/cert.pem"))


def main():
    root, program, target = sys.argv[1:]
    root = os.path.realpath(root)
    os.umask(0o022)
    if os.listdir(target):
        sys.exit(f"image_files: {target} is not empty")
    packages = Packages(root)
    write(target, "usr/bin/ociregistry", read(program), 0o755)
    lay_libraries(root, program, target, packages)
    lay_certificates(root, target, packages)
    write(target, "etc/passwd", PASSWD)
    write(target, "etc/group", GROUP)
    write(target, "etc/nsswitch.conf", NSSWITCH)
    # Tells scanners the release that the packages are of.
    write(target, "etc/os-release", read(inside(root, "/etc/os-release")))
    packages.note("base-files")
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    write(target, "usr/share/doc/ociregistry/copyright", read(os.path.join(checkout, "LICENSE")))
    packages.lay(target)
    # Mount points: runtimes make those that are missing, but not all of them in a root that is read-only.
    modes = {"dev": 0o755, "proc": 0o555, "run": 0o755, "sys": 0o555, "tmp": 0o1777, "etc/ociregistry": 0o755}
    for name, mode in modes.items():
        os.makedirs(os.path.join(target, name), exist_ok=True)
        os.chmod(os.path.join(target, name), mode)
    os.symlink("../run", os.path.join(target, "var/run"))
    os.makedirs(os.path.join(target, VOLUME), exist_ok=True)
    os.chown(os.path.join(target, VOLUME), USER, 0)
    os.chmod(os.path.join(target, VOLUME), VOLUME_MODE)


main()
