#!/usr/bin/env python3
"""Measures ociregistry beside nginx and docker-registry, on the same content, and prints a table.

Every round measures each server in each scene, a second of one after a second of the other and in an order that changes from
round to round. A round in which the hypervisor took more than a bound of the CPU time is dropped and done again, so many times at most.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import signal
import sys
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / "soak.d"))

import content
import driving
import figures
import machine
import scenes
import servers
import tables

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What an option is when it is not given: in the quick form, and in the full one. Minutes are without the build.
FORMS = {
    "rounds": (3, 7), "cold_rounds": (1, 5), "seconds": (1, 4), "images": (20, 60), "large_mib": (256, 1024),
    "repeats": (0, 2), "minutes": (1.8, 14.5),
}
# How often a server that others made may try one measurement. This one has to be right the first time.
PEER_ATTEMPTS = 3


def options(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument

    def sized(name, kind, metavar, text):
        quick, full = FORMS[name]
        add(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=f"{text} ({full}; quick {quick})")

    add("--quick", action="store_true", help="under two minutes rather than under fifteen")
    sized("rounds", int, "N", "rounds of cached content")
    sized("cold_rounds", int, "N", "rounds of cold content")
    sized("seconds", int, "N", "runs of wrk in a round, of a second each, the servers in turn")
    sized("minutes", float, "N", "no round begins that would end later")
    add("--only", action="append", metavar="SCENE", choices=scenes.KEYS, help=f"one of {', '.join(scenes.KEYS)}; repeatable")
    sized("images", int, "N", "small images, of 7 manifests and 5 layers each")
    sized("large_mib", int, "N", "size of the large blob")
    add("--steal", type=float, default=2, metavar="PERCENT", help="drop rounds above this much stolen CPU time (2)")
    sized("repeats", int, "N", "how often a dropped round is done again")
    add("--server", action="append", default=[], type=servers.external, metavar="NAME=URL,PID[,PID]",
        help="another server: URL is all before a repository's name; cached content only; repeatable")
    add("--upstream-port", type=int, metavar="PORT", help="where such a server finds the upstream (any free one)")
    add("--program", default=str(ROOT / ".build/release/ociregistry"), metavar="PATH", help="the program to measure (built)")
    add("--json", metavar="FILE", help="write all rounds and figures there")
    add("--markdown", action="store_true", help="print markdown rather than text")
    add("--from", dest="earlier", action="append", metavar="FILE",
        help="measure nothing: print what an earlier --json wrote; of several, how they agree")
    parsed = parser.parse_args(arguments)
    for name, (quick, full) in FORMS.items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, quick if parsed.quick else full)
    if min(parsed.rounds, parsed.cold_rounds, parsed.seconds, parsed.images, parsed.large_mib) < 1:
        parser.error("counts begin at 1")
    return parsed


class Run:
    """One run: who is measured, what came of each round, and the time there is."""

    def __init__(self, stage, chosen, started):
        self.stage, self.options, self.started = stage, chosen, started
        self.deadline = started + 60 * chosen.minutes
        self.origin = stage.origin()
        self.say(f"putting {chosen.images} images and a blob of {chosen.large_mib} MiB into the upstream on port {self.origin.port}")
        made = content.Content(self.origin.port, chosen.images, chosen.large_mib)
        self.scenes = [each for each in scenes.all_scenes(made) if not chosen.only or each.key in chosen.only]
        self.results = {each.key: {
            "title": each.title, "rounds": [], "dropped": 0, "skipped": 0, "failed": [], "stolen": False} for each in self.scenes}
        self.running = []
        if any(not scene.cold for scene in self.scenes):
            self._warm(made)

    def say(self, what):
        print(f"bench: {time.monotonic() - self.started:4.0f} s: {what}", file=sys.stderr, flush=True)

    def _warm(self, made):
        """Starts who serves cached content, and has them give all of it without asking the upstream any more."""
        ours, theirs = self.stage.ociregistry(), self.stage.docker_registry(content_of=self.origin)
        pulling = [theirs, ours, *self.options.server]
        for server in pulling:
            self.say(f"warming {server.name}")
            content.warm(server, made, self.stage)
        nginx = self.stage.nginx_static(made, ours)
        content.ask_all(nginx, made)
        self.running = [nginx, *pulling]

    def go(self):
        longest, stolen = {}, {scene.key: [] for scene in self.scenes}
        for number in range(max(self.options.rounds, self.options.cold_rounds)):
            for scene in self.scenes:
                if number < (self.options.cold_rounds if scene.cold else self.options.rounds):
                    self._round(scene, number, longest, stolen[scene.key])
        for key, rounds in stolen.items():
            # Better figures that are said to be doubtful than none.
            if not self.results[key]["rounds"]:
                self.results[key].update(rounds=rounds, stolen=bool(rounds))

    def _round(self, scene, number, longest, stolen):
        """One round, again when too much was stolen, as far as there is time."""
        result = self.results[scene.key]
        for attempt in range(1 + self.options.repeats):
            start = time.monotonic()
            # What has not been done yet may take as long as the longest that has.
            if start + longest.get(scene.key, max(longest.values(), default=0)) > self.deadline:
                result["skipped"] += attempt == 0
                return
            self.say(f"round {number + 1}: {scene.title}")
            figures_of, steal = self._measure(scene, number)
            longest[scene.key] = max(longest.get(scene.key, 0), time.monotonic() - start)
            if steal <= self.options.steal:
                result["rounds"].append(figures_of)
                return
            result["dropped"] += 1
            stolen.append(figures_of)

    def _measure(self, scene, number):
        """({server: {figure: value}}, the most that was stolen during one of them).

        The servers take turns within the round as well, and the median of each one's takes counts: what slows the machine
        for a second or two then falls on all of them, or on a take that is not the one in the middle."""
        line = self._cold_line(scene) if scene.cold else [lambda server=server: server for server in self.running]
        turned = line[number % len(line):] + line[:number % len(line)]
        if number % 2:
            # Nobody always comes behind the same one.
            turned.reverse()
        takes = {}
        for _ in range(scene.takes or self.options.seconds):
            for found in turned:
                name, values = self._take(scene, found)
                takes.setdefault(name, []).append(values)
        told = {name: figures.of_takes(of_one) for name, of_one in takes.items()}
        return told, max(each["steal_percent"] for each in told.values())

    def _take(self, scene, found):
        """(server, {figure: value}) of one measurement: of another server's the first that it gets through."""
        for attempt in range(PEER_ATTEMPTS):
            server = found()
            try:
                values, meter = scene.measure(self.stage, server)
            except driving.Failed as error:
                if not server.is_peer or attempt + 1 == PEER_ATTEMPTS:
                    raise
                self.results[scene.key]["failed"].append(server.name)
                self.say(f"once more: {error}")
                continue
            finally:
                if scene.cold and server is not self.origin:
                    self.stage.stop(server)
                self.stage.settle(self.running)
            return server.name, {**values, "driver_percent": meter.driver_percent, "steal_percent": meter.steal_percent}

    def _cold_line(self, scene):
        """What makes each server of a scene of cold content: a new one on nothing, that has been greeted once."""
        def greeted(start):
            server = start()
            driving.greet(server)
            return server

        makers = (self.stage.nginx_cache, self.stage.docker_registry, self.stage.ociregistry)
        line = [lambda start=start: greeted(start) for start in makers]
        return [lambda: self.origin, *line] if scene.asks_origin else line


def measure(chosen, arguments):
    started, ticks = time.monotonic(), machine.machine_ticks()
    with servers.Stage(chosen.program, chosen.upstream_port) as stage:
        described = machine.describe(chosen.program, stage.directory)
        run = Run(stage, chosen, started)
        run.go()
    stolen, total = (now - then for now, then in zip(machine.machine_ticks(), ticks))
    names = ["nginx", "docker-registry", "origin", *(server.name for server in chosen.server), figures.OURS]
    there = {name for result in run.results.values() for each in result["rounds"] for name in each}
    shown = [name for name in names if name in there]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "command": shlex.join(["scripts/bench", *arguments]), "machine": described, "servers": shown,
        "run": {
            "minutes": (time.monotonic() - started) / 60, "images": chosen.images, "connections": scenes.CONNECTIONS,
            "seconds": chosen.seconds, "rounds": chosen.rounds, "cold_rounds": chosen.cold_rounds,
            "steal_percent": 100 * stolen / max(1, total), "steal_bound": chosen.steal, "repeats": chosen.repeats},
        "scenes": run.results, "rows": figures.row_results(run.results, shown)}


def main(arguments):
    chosen = options(arguments)
    if chosen.earlier:
        earlier = [json.loads(pathlib.Path(name).read_text()) for name in chosen.earlier]
        if len(earlier) > 1:
            print(tables.agreement(earlier, chosen.markdown), end="")
            return
        results = earlier[0]
    else:
        # Ended from outside, what was started is ended too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            results = measure(chosen, arguments)
        except driving.Failed as error:
            sys.exit(f"bench: {error}")
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps(results, indent=1) + os.linesep)
    print(tables.markdown(results) if chosen.markdown else tables.text(results), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
