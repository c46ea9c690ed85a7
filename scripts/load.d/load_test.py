"""The load test, from end to end: images into a registry, a server in front of it, clients that pull, and a plot."""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.parse

# Nothing is left in the checkout.
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "soak.d"))

import catalog
import parts

# The registry as the server's configuration and the images' names have it.
NAME = "load.test"


def at_least(minimum, multiple=1):
    def parse(text):
        value = int(text)
        if value < minimum or value % multiple:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}" + (f", in steps of {multiple}" if multiple > 1 else ""))
        return value
    return parse


def options(arguments):
    parser = argparse.ArgumentParser(
        prog="load-test",
        description="Pulls whole images through a server: by more and more clients, then by fewer. Everything is described in docs/load-testing.md.")
    add = parser.add_argument
    add("--images", type=at_least(catalog.BATCHES), default=1000, metavar="N", help="images to make (default 1000)")
    add("--layer-bytes", type=at_least(2048, 512), default=4096, metavar="N", help="size of each of the five layers (default 4096)")
    add("--index", action="store_true", help="put an index above each image, as images for several platforms have")
    add("--pullers", type=at_least(1), default=64, metavar="N", help="clients at the top of the ramp: 1, 2, 4 … N … 4, 2, 1 (default 64)")
    add("--step-seconds", type=float, default=5.0, metavar="S", help="length of each step of the ramp (default 5)")
    add("--prune", action="store_true", help="pull-through: prune each batch when it has been pulled (without: cached)")
    add("--hash-every", type=at_least(0), default=10, metavar="N", help="hash every Nth image; 0: none (default 10)")
    add("--output", type=pathlib.Path, default=pathlib.Path(".cache/load-test"), metavar="DIR", help="where load-test.csv and load-test.png go (default .cache/load-test)")
    add("--server", metavar="URL", help="test this running server instead of starting one; needs --registry")
    add("--pid", type=int, metavar="PID", help="with --server: its process, whose CPU time is read")
    add("--registry", metavar="URL", help="put the images into this running registry instead of starting a docker-registry")
    add("--admin", metavar="URL", help="with --server and --prune: where it answers administration (adminListen), when that is not its own port")
    add("--name", default=NAME, metavar="HOST", help=f"with --server: the registry's name there (default {NAME}; empty for a server that mirrors just that one)")
    add("--bin", type=pathlib.Path, metavar="DIR", help="where ociregistry and ociregistry-load are, instead of building them")
    chosen = parser.parse_args(arguments)
    if chosen.prune and chosen.images < 2 * chosen.pullers:
        parser.error(f"--prune: {chosen.pullers} pullers need at least {2 * chosen.pullers} images, so that some are pulled while others are pruned")
    if chosen.server and not chosen.registry:
        parser.error("--server: needs --registry, the one it pulls from")
    if not chosen.server and (chosen.pid or chosen.admin or chosen.name != NAME):
        parser.error("--pid, --admin and --name go with --server")
    return chosen


def say(text):
    print(text, flush=True)


def start_registry(bench, storage):
    """A docker-registry as fast as it can be: no access log, and what it knows of blobs in memory. Returns (address, process id)."""
    port = parts.free_port()
    config = bench.directory / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, cache: {{blobdescriptor: inmemory}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: load}}\n")
    process = bench.start("docker-registry", "serve", str(config), log=bench.directory / "registry.log")
    parts.wait_for(lambda: parts.answers(port), what="docker-registry")
    return f"127.0.0.1:{port}", process.pid


def start_server(bench, program, registry):
    """The server, with the registry as load.test. What has been pulled may be pruned at once. Returns (URL, URL of administration, process id)."""
    config = bench.directory / "ociregistry.yaml"
    config.write_text(f"registries:\n- name: {NAME}\n  endpoint: http://{registry}\nleaseDuration: 0s\n")
    log = bench.directory / "ociregistry.log"
    process = bench.start(
        str(program), "serve", "--config-file", str(config), "--image-path", str(bench.directory / "images"),
        "--host", "127.0.0.1", "--port", "0", "--admin-listen", "127.0.0.1:0", "--log-level", "error", log=log)
    found = []

    def listens():
        found[:] = re.findall(r"(?:listening on|administration:) (http://127\.0\.0\.1:\d+)", log.read_text())
        return len(found) == 2 or process.poll() is not None

    parts.wait_for(listens, what="the server")
    if len(found) != 2:
        raise SystemExit(f"the server did not start:\n{log.read_text()}")
    return *found, process.pid


def plot(csv, png, title):
    script = pathlib.Path(__file__).with_name("plot.gp")
    subprocess.run(
        ["gnuplot", "-e", f"csv='{csv}'; png='{png}'; title='{title}'", str(script)], stdin=subprocess.DEVNULL, timeout=60, check=True)


def main(arguments):
    chosen = options(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    csv, png = chosen.output / "load-test.csv", chosen.output / "load-test.png"
    # So that what was started is ended by Bench, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with parts.Bench() as bench:
        say(f"making {chosen.images} images")
        listing, storage = bench.directory / "catalog", bench.directory / "registry"
        registry, registry_pid = chosen.registry and urllib.parse.urlsplit(chosen.registry).netloc, None
        catalog.make(
            catalog.Registry(registry) if registry else catalog.Storage(storage), listing, count=chosen.images,
            layer_bytes=chosen.layer_bytes, has_index=chosen.index, prefix=f"{chosen.name}/" if chosen.name else "",
            progress=say)
        if not registry:
            registry, registry_pid = start_registry(bench, storage)
        server, admin, pid = chosen.server, chosen.admin, chosen.pid
        if not server:
            server, admin, pid = start_server(bench, chosen.bin / "ociregistry", registry)
        command = [
            str(chosen.bin / "ociregistry-load"), "--server", server, "--catalog", str(listing), "--csv", str(csv),
            "--pullers", str(chosen.pullers), "--step-seconds", str(chosen.step_seconds), "--hash-every", str(chosen.hash_every)]
        command += ["--prune"] if chosen.prune else []
        command += ["--admin", admin] if admin else []
        command += ["--pid", str(pid)] if pid else []
        command += ["--upstream-pid", str(registry_pid)] if registry_pid else []
        driver = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        bench.processes.append(driver)
        status = driver.wait()
        if pid:
            say(f"the server's memory: {parts.memory_kib(pid)} KiB resident, {parts.memory_kib(pid, 'VmHWM')} KiB at its peak")
    # Two rows are the least that makes a line.
    if csv.exists() and len(csv.read_text().splitlines()) > 2:
        mode = "pull-through" if chosen.prune else "cached"
        plot(csv, png, f"{mode}: {chosen.images} images of {catalog.LAYERS} layers of {chosen.layer_bytes} bytes")
        say(f"{csv}\n{png}")
    sys.exit(status)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    main(sys.argv[1:])
