#!/usr/bin/env python3
"""Measures ociregistry beside nginx and docker-registry, on the same content, and prints a table.

Every round measures each server once in each scene, one right after the other and in an order that changes from round to
round. A round in which the hypervisor took more than a bound of the CPU time is dropped and done again, so many times at most.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import signal
import statistics
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
# Rounds of cached content, of cold content, seconds of a wrk run, small images, and minutes in all without the build.
QUICK, FULL = (3, 1, 1, 20, 1.9), (7, 5, 4, 60, 14.5)


def options(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("--quick", action="store_true", help="under two minutes rather than under fifteen")
    add("--rounds", type=int, metavar="N", help=f"rounds of cached content ({FULL[0]}; quick {QUICK[0]})")
    add("--cold-rounds", type=int, metavar="N", help=f"rounds of cold content ({FULL[1]}; quick {QUICK[1]})")
    add("--seconds", type=int, metavar="N", help=f"length of a wrk run ({FULL[2]}; quick {QUICK[2]})")
    add("--minutes", type=float, metavar="N", help=f"no round begins that would end later ({FULL[4]}; quick {QUICK[4]})")
    add("--only", action="append", metavar="SCENE", choices=scenes.KEYS, help=f"one of {', '.join(scenes.KEYS)}; repeatable")
    add("--images", type=int, metavar="N",
        help=f"small images, of 7 manifests and 5 layers each ({FULL[3]}; quick {QUICK[3]})")
    add("--large-mib", type=int, default=1024, metavar="N", help="size of the large blob (1024)")
    add("--steal", type=float, default=2, metavar="PERCENT", help="drop rounds above this much stolen CPU time (2)")
    add("--repeats", type=int, default=2, metavar="N", help="how often a dropped round is done again (2)")
    add("--server", action="append", default=[], type=servers.external, metavar="NAME=URL,PID[,PID]",
        help="another server: URL is all before a repository's name; cached content only; repeatable")
    add("--upstream-port", type=int, metavar="PORT", help="where such a server finds the upstream (any free one)")
    add("--program", default=str(ROOT / ".build/release/ociregistry"), metavar="PATH", help="the program to measure (built)")
    add("--json", metavar="FILE", help="write all rounds and figures there")
    add("--markdown", action="store_true", help="print markdown rather than text")
    add("--from", dest="earlier", metavar="FILE", help="measure nothing: print what an earlier --json wrote")
    parsed = parser.parse_args(arguments)
    for name, value in zip(("rounds", "cold_rounds", "seconds", "images", "minutes"), QUICK if parsed.quick else FULL):
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
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
            "title": each.title, "rounds": [], "dropped": 0, "skipped": 0, "stolen": False} for each in self.scenes}
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
        longest = {}
        for number in range(max(self.options.rounds, self.options.cold_rounds)):
            for scene in self.scenes:
                result = self.results[scene.key]
                if number >= (self.options.cold_rounds if scene.cold else self.options.rounds):
                    continue
                if time.monotonic() + longest.get(scene.key, 0) > self.deadline:
                    result["skipped"] += 1
                    continue
                self.say(f"round {number + 1}: {scene.title}")
                self._round(scene, number, result, longest)

    def _round(self, scene, number, result, longest):
        """One round, again when too much was stolen; the least stolen one counts when there is no better in the end."""
        stolen = []
        for _ in range(1 + self.options.repeats):
            start = time.monotonic()
            if stolen and start + longest[scene.key] > self.deadline:
                break
            figures_of, steal = self._measure(scene, number)
            longest[scene.key] = max(longest.get(scene.key, 0), time.monotonic() - start)
            if steal <= self.options.steal:
                if result["stolen"]:
                    result["stolen"], result["rounds"] = False, []
                result["rounds"].append(figures_of)
                return
            result["dropped"] += 1
            stolen.append((steal, figures_of))
        if not result["rounds"]:
            result["stolen"] = True
            result["rounds"] = [min(stolen, key=lambda each: each[0])[1]]

    def _measure(self, scene, number):
        """({server: {figure: value}}, the most that was stolen during one of them)."""
        line = self._cold_line(scene) if scene.cold else [lambda server=server: server for server in self.running]
        turned = line[number % len(line):] + line[:number % len(line)]
        told = {}
        for found in turned:
            takes = [self._take(scene, found) for _ in range(scene.takes)]
            name = takes[0][0]
            told[name] = {key: statistics.median(take[1][key] for take in takes) for key in takes[0][1]}
        return told, max(each["steal_percent"] for each in told.values())

    def _take(self, scene, found):
        """(server, {figure: value}) of one measurement."""
        server = found()
        try:
            values, meter = scene.measure(self.stage, server, self.options.seconds)
        finally:
            if scene.cold and server is not self.origin:
                self.stage.stop(server)
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
        results = json.loads(pathlib.Path(chosen.earlier).read_text())
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
