"""The server under attack: starts it, watches what it holds, and checks that it still works."""

import multiprocessing
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

import upstreams
from wire import ask

# What may stay open when nobody is connected any more: curl's idle connections, partial files.
SPARE_DESCRIPTORS = 200
# What a server that has been attacked may hold beyond what it held when it was new, in bytes; a sanitizer's own included, of
# which ThreadSanitizer's is some eight times the program's.
SPARE_MEMORY = {"AddressSanitizer": 768 * 1024 * 1024, "ThreadSanitizer": 4 * 1024 * 1024 * 1024}
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan.supp")


class Failed(Exception):
    """The server did what it must not."""


def check(condition, message):
    if not condition:
        raise Failed(message)


class Upstreams:
    """The upstreams' process."""

    def __init__(self):
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=upstreams.main, args=(theirs,), daemon=True)
        self.process.start()
        self.good, self.liar = ours.recv()

    def config(self):
        hosts = [("good.test", self.good), ("extreme.test", self.liar)]
        hosts += [(f"{name}.liar.test", self.liar) for name in upstreams.names()]
        lines = [f"  - name: {host}\n    endpoint: http://127.0.0.1:{port}" for host, port in hosts]
        return "registries:\n" + "\n".join(lines) + "\n"


class Target:
    """A running server."""

    def __init__(self, program, directory, config, options=(), descriptors=None):
        self.log = tempfile.TemporaryFile()
        file = os.path.join(directory, "config.yaml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(config)
        environment = dict(
            os.environ, ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=16:abort_on_error=1",
            TSAN_OPTIONS=f"halt_on_error=1:abort_on_error=1:suppressions={SUPPRESSIONS}")
        self.program, self.images = program, os.path.join(directory, "images")
        # Requests name any host there is. Nothing leaves this machine: what is not local goes to a proxy that is not there.
        environment.update(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1")
        limit = descriptors and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)))
        arguments = ["--config-file", file, "serve", "--host", "127.0.0.1", "--port", "0", "--hello-world",
                     "--default-ns", "good.test", "--image-path", self.images, *options]
        self.configuration, self.environment = file, environment
        self.process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.PIPE,
            env=environment, preexec_fn=limit, start_new_session=True)
        os.set_blocking(self.process.stderr.fileno(), False)
        banner = self._banner()
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", banner)[1])
        metrics = re.search(r"metrics: http://127\.0\.0\.1:(\d+)", banner)
        self.metrics = int(metrics[1]) if metrics else None
        self.sanitizer = "ThreadSanitizer" if "/tsan/" in program else "AddressSanitizer"
        self.pulls = 0
        self.pull()
        self.descriptors, self.memory = self.count_descriptors(), self.resident()

    def _banner(self):
        text, end = "", time.monotonic() + 60
        while time.monotonic() < end:
            select.select([self.process.stderr], [], [], 1)
            text += (self.process.stderr.read() or b"").decode()
            # Its last line is about hello-world.
            if "hello-world:" in text:
                return text
            check(self.process.poll() is None, f"the server did not start: {text}")
        raise Failed(f"no banner: {text}")

    def output(self):
        """What it has written to standard error since the last time."""
        return (self.process.stderr.read() or b"").decode(errors="replace")

    def count_descriptors(self):
        """Without the blobs that are kept open: they are as many as it has served, up to a bound of the server's own."""
        held = 0
        for name in os.listdir(folder := f"/proc/{self.process.pid}/fd"):
            try:
                held += "/store-v1/blobs/" not in os.readlink(f"{folder}/{name}")
            except FileNotFoundError:
                pass
        return held

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def pull(self):
        """A cold pull of an image that nobody has asked for, and the same again from the cache."""
        self.pulls += 1
        repository = f"normal/{os.getpid()}/{self.pulls}"
        manifest, blobs = upstreams.image(repository)
        for _ in range(2):
            answer = ask(self.port, f"/v2/{repository}/manifests/latest")
            check(answer.status == 200 and answer.body == manifest, f"a normal pull got {answer.status} {answer.body[:99]}")
            for digest, data in blobs.items():
                answer = ask(self.port, f"/v2/good.test/{repository}/blobs/{digest}")
                check(answer.status == 200 and answer.complete and answer.body == data, f"a blob got {answer.status}")

    def settle(self, patience=60):
        """Waits until what attackers held is given back; says how much is held then."""
        check(self.process.poll() is None, f"the server ended with {self.process.poll()}: {self.output()[-4000:]}")
        end = time.monotonic() + patience
        while (held := self.count_descriptors()) > self.descriptors + SPARE_DESCRIPTORS:
            check(time.monotonic() < end, f"{held} descriptors are held, {self.descriptors} at the start")
            time.sleep(0.2)
        self.pull()
        grown = self.resident() - self.memory
        check(grown < SPARE_MEMORY[self.sanitizer], f"{grown >> 20} MiB more are held than at the start")
        text = self.output()
        check("Sanitizer: " not in text and "Fatal error" not in text, text[-4000:])
        return f"{held} descriptors ({self.descriptors} at the start), {grown >> 20:+} MiB"

    def run(self, *arguments, statuses=(0,), seconds=300):
        """A sub-command on the same cache; what it writes to standard output."""
        done = subprocess.run(
            [self.program, "--config-file", self.configuration, *arguments, "--image-path", self.images],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=self.environment, check=False)
        errors = done.stderr.decode(errors="replace")
        check(done.returncode in statuses and "Sanitizer: " not in errors and "Fatal error" not in errors,
              f"{' '.join(arguments)}: {done.returncode}: {errors[-4000:]}")
        return done.stdout.decode(errors="replace")

    def stop(self, within=30):
        """Asks it to end as an operator does; it must do so with 0 in time."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"it did not end within {within} s of SIGTERM") from None
        check(code == 0, f"it ended with {code}: {self.output()[-4000:]}")
        return time.monotonic() - start

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
