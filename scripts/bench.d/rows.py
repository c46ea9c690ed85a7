"""The rows of the table: which figure of which scene, what it is held against, and the bar it has to meet.

A ratio is made within each round, of two figures that were taken seconds apart, and the rounds' ratios have a median and a
spread of their own. That is steadier than the ratio of two medians: what slows the machine slows both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    key: str
    scene: str
    figure: str
    title: str
    unit: str
    # "ratio" to another server, "difference" from it, or the plain "value".
    compared: str
    against: str
    # The bar, and whether it is the most that will do ("<="), to be exceeded (">") or the only ("="); "" has none.
    sense: str = ""
    bar: float = 0

    def target(self):
        if not self.sense:
            return "–"
        sign = {"<=": "≤", ">": ">", "=": "="}[self.sense]
        if self.compared == "ratio":
            bar = "1/50" if self.bar == 0.02 else f"{self.bar:g}"
            return f"{sign} {bar} × {self.against}" if self.bar != 1 else f"{sign} {self.against}"
        if self.compared == "difference":
            return f"{sign} {self.against} + {self.bar:g} {self.unit}"
        return f"{sign} {self.bar:g}"

    def met(self, value):
        return {"": None, "<=": value <= self.bar, ">": value > self.bar, "=": value == self.bar}[self.sense]


ROWS = (
    Row("digest-cpu", "digest", "cpu_us", "CPU per request", "µs", "ratio", "nginx", "<=", 0.63),
    Row("tag-cpu", "tag", "cpu_us", "CPU per request", "µs", "ratio", "nginx", "<=", 0.63),
    Row("blob-cpu", "blob", "cpu_us", "CPU per request", "µs", "ratio", "nginx", "<=", 0.65),
    Row("medium-cpu", "medium", "cpu_us", "CPU per request", "µs", "ratio", "nginx", "<=", 0.95),
    Row("large-seconds", "large", "seconds", "whole", "s", "ratio", "nginx", "<=", 1),
    Row("digest-rate", "digest", "rate", "requests/s at saturation", "1/s", "ratio", "nginx", ">", 1),
    Row("digest-p99", "digest", "p99_ms", "p99 at saturation", "ms", "ratio", "nginx", "<=", 1),
    Row("image-cpu", "image", "cpu_us", "CPU per image", "µs", "ratio", "docker-registry", "<=", 0.02),
    Row("cold-manifest", "cold-manifest", "first_byte_ms", "first byte", "ms", "difference", "origin", "<=", 2),
    Row("cold-blob", "cold-blob", "seconds", "whole", "s", "ratio", "origin", "<=", 1.15),
    Row("coalescing-gets", "coalescing", "upstream_gets", "GETs upstream", "", "value", "", "=", 1),
    Row("coalescing-first", "coalescing", "slowest_first_byte_ms", "the slowest one's first byte", "ms", "ratio", "nginx"),
    Row("coalescing-resident", "coalescing", "resident_mib", "peak resident", "MiB", "value", "", "<=", 30),
    Row("coalescing-dirty", "coalescing", "private_dirty_mib", "most private and dirty", "MiB", "value", "", "<=", 15),
)
