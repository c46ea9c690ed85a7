#!/usr/bin/env python3
"""Attacks a running server over real sockets: scripts/soak.d/attack.py PROGRAM [--minutes N | --brief SECONDS] [--seed N] …

PROGRAM is the server, best built with AddressSanitizer or ThreadSanitizer (`scripts/soak fuzz` and `fuzz-thread` do that).
After every phase the server must work, and must hold no more descriptors or memory than when it was new. Everything stays on
127.0.0.1. Ends with 0 when all is well; the same seed sends the same requests.

Without --minutes every phase runs once; with it, those that send something else each time are repeated until the time is
over. --brief runs the phases that find most in little time, the random ones for so many seconds each.
"""

import argparse
import inspect
import os
import sys
import tempfile
import time

import phases
from target import Failed, Target, Upstreams
from wire import Hang, Malformed


def run(options, directory):
    upstreams = Upstreams()
    # An upstream that says nothing is given up after 5 s here, so that the liar's phase does not take an hour.
    target = Target(options.program, directory, upstreams.config(), ["--pull-timeout", "5000"])
    bad = []
    try:
        for phase in plan(options):
            start = time.monotonic()
            try:
                told = phase(**{name: value for name, value in {
                    "target": target, "upstreams": upstreams, "options": options, "directory": directory,
                }.items() if name in inspect.signature(phase).parameters})
                told += "; " + target.settle()
            except (Failed, Malformed, Hang, OSError) as error:
                bad.append(phase.__name__)
                told = f"FAILED: {type(error).__name__}: {error}"
            print(f"{phase.__name__:12} {time.monotonic() - start:6.1f} s  {told}", flush=True)
            if target.process.poll() is not None:
                print(target.output()[-8000:], file=sys.stderr)
                return bad or ["the server ended"]
        if not options.only or "stop" in options.only:
            print(f"stopped in {target.stop():.1f} s")
    except Failed as error:
        bad.append(str(error))
    finally:
        target.kill()
        upstreams.process.kill()
    return bad


def plan(options):
    """The phases in order."""
    end = time.monotonic() + 60 * options.minutes
    once = phases.BRIEF if options.brief else phases.ALL
    yield from (phase for phase in once if not options.only or phase.__name__ in options.only)
    while time.monotonic() < end:
        for phase in phases.REPEATED:
            if time.monotonic() < end and (not options.only or phase.__name__ in options.only):
                options.seed += 1000
                yield phase


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--requests", type=int, default=100_000, help="damaged requests to send")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--only", nargs="*", choices=[phase.__name__ for phase in phases.ALL])
    parser.add_argument("--minutes", type=float, default=0, help="how long to run")
    parser.add_argument("--brief", type=float, default=0, metavar="SECONDS", help="only the most fruitful phases")
    parser.add_argument("--patient", action="store_true", help="also wait for the timeouts of 60 and 120 seconds")
    options = parser.parse_args()
    options.seconds = options.brief or (30 if options.minutes else None)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ociregistry-attack-") as directory:
        bad = run(options, directory)
    print(f"FAILED: {', '.join(bad)}" if bad else "all is well")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
