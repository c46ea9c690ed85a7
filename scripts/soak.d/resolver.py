#!/usr/bin/env python3
"""Name lookups, connections and handshakes that take long or never end, with this machine's libcurl and with that of Debian
sid: which pulls still come, what the log says, and how long the server takes to stop.

It needs root: sid goes into a temporary directory by debootstrap, and everything runs in a network namespace that has no way
out, with name servers of its own. Run it in a mount namespace of its own (scripts/soak does)."""

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import parts

# What the server's program needs beyond the smallest system, under sid's names.
PACKAGES = "ca-certificates,libarchive13t64,libcurl4t64,libpcre2-8-0,libssl3t64,libuv1t64,libyaml-0-2"
# An address that is not loopback, which registries without configuration may have.
ADDRESS = "10.99.0.1"
SILENT, ANSWERING = "127.0.0.53", "127.0.0.54"
MADE_UP, HANDSHAKE_SECONDS = 24, 7
# A client's wait for an upstream's first word, and some more.
PATIENCE = 20
PROGRAM = "ociregistry"

failures = []


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def report(what, holds, figures):
    print(f"  {'holds' if holds else 'FAILS'}  {what}: {figures}", flush=True)
    if not holds:
        failures.append(what)


class NameServer:
    """Answers some names on UDP port 53 of an address, and nothing else. `names` maps a name to an IPv4 address, or to None for
    "no such name"."""

    def __init__(self, address, names):
        self.names = names
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            question, client = self.socket.recvfrom(2048)
            labels, position = [], 12
            while question[position]:
                labels.append(question[position + 1:position + 1 + question[position]].decode())
                position += 1 + question[position]
            name, kind = ".".join(labels).lower(), question[position + 1:position + 3]
            if name not in self.names:
                continue
            address = self.names[name]
            # A pointer to the name, type A, class IN, 1 s to live, and four bytes.
            record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04" + socket.inet_aton(address or "0.0.0.0")
            has_answer = address is not None and kind == b"\0\x01"
            flags = b"\x81\x80" if address else b"\x81\x83"
            reply = question[:2] + flags + b"\0\x01" + (b"\0\x01" if has_answer else b"\0\0") + b"\0\0\0\0"
            self.socket.sendto(reply + question[12:position + 5] + (record if has_answer else b""), client)


class Terminator:
    """TLS in front of a plain server; each handshake begins after a pause."""

    def __init__(self, port, certificate, target, pause=0.0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        listener = socket.create_server((ADDRESS, port), backlog=128)
        self.port = listener.getsockname()[1]

        def serve(client):
            time.sleep(pause)
            with contextlib.suppress(OSError):
                secured = context.wrap_socket(client, server_side=True)
                server = socket.create_connection(("127.0.0.1", target))
                threading.Thread(target=copy, args=(server, secured), daemon=True).start()
                copy(secured, server)

        def copy(source, sink):
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    sink.sendall(piece)

        def accept():
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()


def certificates(folder):
    """An authority, and a server's certificate by it: (authority, (certificate, key))."""
    name = lambda file: str(folder / file)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=soak", "-keyout", name("ca.key"),
        "-out", name("ca.pem"))
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=soak", "-addext",
        f"subjectAltName=IP:{ADDRESS},DNS:public.test", "-keyout", name("server.key"), "-out", name("server.csr"))
    run("openssl", "x509", "-req", "-days", "2", "-copy_extensions", "copy", "-in", name("server.csr"), "-CA", name("ca.pem"),
        "-CAkey", name("ca.key"), "-CAcreateserial", "-out", name("server.pem"))
    return name("ca.pem"), (name("server.pem"), name("server.key"))


class Place:
    """Where the server runs: this machine, or the root of another one."""

    def __init__(self, name, command, files, seen_as, resolver):
        # `files` is a directory of ours that the server sees as `seen_as`.
        self.name, self.command, self.files, self.seen_as, self.resolver = name, command, files, seen_as, resolver

    def name_servers(self, *addresses):
        self.resolver.write_text("".join(f"nameserver {address}\n" for address in addresses))

    @contextlib.contextmanager
    def server(self, bench, registries, **environment):
        """The server under test; yields (process, port)."""
        (self.files / "config.yaml").write_text("registries:\n" + "".join(registries))
        shutil.rmtree(self.files / "images", ignore_errors=True)
        log = bench.directory / "server.log"
        process = bench.start(
            *self.command, "serve", "--config-file", f"{self.seen_as}/config.yaml", "--image-path", f"{self.seen_as}/images",
            "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--no-prefetch-layers", log=log,
            env={**os.environ, **environment})
        parts.wait_for(lambda: "listening" in log.read_text() or process.poll() is not None, what="the server")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
        if not found:
            raise SystemExit(f"the server did not start:\n{log.read_text()}")
        try:
            yield process, int(found.group(1))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def ask(port, path, client="127.0.0.1"):
    """(status, seconds, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(client, 0))
    start = time.monotonic()
    try:
        connection.request("GET", path, headers={"Accept": parts.ACCEPT.split(": ")[1]})
        reply = connection.getresponse()
        return reply.status, time.monotonic() - start, reply.read().decode(errors="replace")
    except OSError as error:
        return 0, time.monotonic() - start, str(error)
    finally:
        connection.close()


def shown(answers):
    return ", ".join(f"{status} after {seconds:.1f} s" for status, seconds, _ in answers)


# ---------------------------------------------------------------- the measurements

def dead_name_server(bench, place, registry):
    place.name_servers(SILENT, ANSWERING)
    host = f"registry.corp.test:{registry}"
    with place.server(bench, [f"- name: {host}\n  scheme: http\n"]) as (_, port):
        answers = [ask(port, f"/v2/{host}/library/soak/manifests/v{number}") for number in range(3)]
    report("the first name server is dead, and pulls come", answers[-1][0] == 200, shown(answers))


def slow_handshake(bench, place, slow, authority):
    host = f"{ADDRESS}:{slow}"
    shutil.copy(authority, place.files / "ca.pem")
    with place.server(bench, [f"- name: {host}\n  tls: {{ca: {place.seen_as}/ca.pem}}\n"]) as (_, port):
        answers = [ask(port, f"/v2/{host}/library/soak/manifests/v{number}") for number in range(2)]
    report(f"TLS takes {HANDSHAKE_SECONDS} s, and pulls come", answers[-1][0] == 200, shown(answers))


def silent_proxy(bench, place):
    proxy = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    with place.server(bench, ["- name: behind.corp.test\n"], https_proxy=url) as (_, port):
        answer = ask(port, "/v2/behind.corp.test/library/soak/manifests/v1")
    proxy.close()
    reasons = [line for line in (bench.directory / "server.log").read_text().splitlines() if "proxy's answer" in line]
    report("a proxy is silent, and the log says so", answer[0] == 503 and reasons, f"{shown([answer])}: {reasons}")


def made_up_names(bench, place, registry):
    """One client asks for names that no name server knows about; another one pulls, also by names not looked up before."""
    place.name_servers(ANSWERING)
    hosts = [f"registry{number}.corp.test:{registry}" for number in range(4)]
    with place.server(bench, [f"- name: {host}\n  scheme: http\n" for host in hosts]) as (process, port):
        refused = []
        path = lambda number: f"/v2/library/soak/manifests/v1?ns=name{number}.made-up.test"
        askers = [
            threading.Thread(target=lambda number: refused.append(ask(port, path(number), "127.0.0.2")), args=(number,))
            for number in range(MADE_UP)]
        for asker in askers:
            asker.start()
        answers = []
        for host in hosts:
            time.sleep(1)
            answers.append(ask(port, f"/v2/{host}/library/soak/manifests/v1", "127.0.0.3"))
        report(
            f"{MADE_UP} made-up names are looked up, and configured registries serve",
            all(answer[0] == 200 and answer[1] < 3 for answer in answers), shown(answers))
        answer = ask(port, "/v2/library/soak/manifests/v1?ns=public.test", "127.0.0.3")
        report("so does another one, for another client", answer[0] == 200 and answer[1] < 3, shown([answer]))
        for asker in askers:
            asker.join()
        seconds = sorted(answer[1] for answer in refused)
        report(
            "made-up names are answered within a client's 15 s", all(answer[0] == 503 for answer in refused) and seconds[-1] < 16,
            f"{seconds[0]:.1f} to {seconds[-1]:.1f} s")
    with place.server(bench, [f"- name: {host}\n  scheme: http\n" for host in hosts]) as (process, port):
        # Clients that leave by a reset, so that the server does not wait to answer them; their lookups continue.
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(MADE_UP)]
        for number, client in enumerate(clients):
            client.sendall(f"GET {path(number)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(1)
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        seconds = time.monotonic() - start
        report(
            "SIGTERM ends it within 6 s, lookups or not", process.returncode == 0 and seconds < 6,
            f"{seconds:.1f} s, status {process.returncode}")


def late_name(bench, place, registry, names):
    place.name_servers(ANSWERING)
    host = f"late.corp.test:{registry}"
    names["late.corp.test"] = None
    with place.server(bench, [f"- name: {host}\n  scheme: http\n"]) as (_, port):
        path = f"/v2/{host}/library/soak/manifests/v1"
        first = ask(port, path)
        names["late.corp.test"] = "127.0.0.1"
        time.sleep(3)
        second = ask(port, path)
    report("a name that is entered late is found 3 s later", first[0] == 503 and second[0] == 200, shown([first, second]))


def measure(program, root):
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    names = {"public.test": ADDRESS, "registry.corp.test": "127.0.0.1"}
    names.update({f"registry{number}.corp.test": "127.0.0.1" for number in range(4)})
    NameServer(SILENT, {})
    NameServer(ANSWERING, names)
    with parts.Bench() as bench:
        registry = bench.upstream()
        for number in range(3):
            parts.push_image(registry, "library/soak", f"v{number}", 4096, number)
        authority, certificate = certificates(bench.directory)
        Terminator(443, certificate, registry)
        slow = Terminator(0, certificate, registry, pause=HANDSHAKE_SECONDS)
        for place in places(bench, program, root, authority):
            version = subprocess.run([*place.command, "version"], capture_output=True, text=True, check=True).stdout
            library = re.search(r"libcurl\S*\s*\S+", version)
            print(f"{place.name} ({library.group(0) if library else version.strip()}):", flush=True)
            dead_name_server(bench, place, registry)
            slow_handshake(bench, place, slow.port, authority)
            silent_proxy(bench, place)
            made_up_names(bench, place, registry)
            late_name(bench, place, registry, names)


def places(bench, program, root, authority):
    """This machine, whose files are covered by ours in this mount namespace, and the root."""
    here = bench.directory / "here"
    here.mkdir()
    trusted = bench.directory / "trusted.pem"
    trusted.write_text(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text() + pathlib.Path(authority).read_text())
    run("mount", "--bind", trusted, "/etc/ssl/certs/ca-certificates.crt")
    resolver = bench.directory / "resolv.conf"
    resolver.write_text("")
    run("mount", "--bind", resolver, os.path.realpath("/etc/resolv.conf"))
    yield Place("this machine", [program], here, here, resolver)

    with open(root / "etc/ssl/certs/ca-certificates.crt", "a") as bundle:
        bundle.write(pathlib.Path(authority).read_text())
    shutil.copy(program, root / PROGRAM)
    run("mount", "-t", "proc", "proc", root / "proc")
    run("mount", "--rbind", "/dev", root / "dev")
    yield Place("Debian sid", ["chroot", str(root), f"/{PROGRAM}"], root / "srv", "/srv", root / "etc/resolv.conf")


def main(program, root=None):
    if os.geteuid() != 0:
        sys.exit("resolver: debootstrap and namespaces need root")
    if root:
        measure(os.path.abspath(program), pathlib.Path(root))
        sys.exit(f"{len(failures)} of the above fail" if failures else 0)
    with parts.Bench() as bench:
        sid = bench.directory / "sid"
        sid.mkdir()
        run("mount", "--bind", sid, sid)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "sid", sid)
        status = subprocess.run(["unshare", "--net", "--mount", sys.executable, __file__, program, sid]).returncode
        run("umount", sid)
    sys.exit(status)


main(*sys.argv[1:])
