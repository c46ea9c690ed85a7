"""The results as text for a terminal and as markdown for docs/performance.md; both show the same cells."""

import figures

# Above this share of a core wrk asks as fast as it can: the rate is then its own, not the server's.
DRIVER_LIMIT_PERCENT = 95

# The figures of scenes in which wrk asks for short answers, and of those in which clients take whole bodies.
ANSWERS = (
    ("cpu_us", "CPU µs"), ("rate", "per second"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("p999_ms", "p99.9 ms"),
    ("cpu_percent", "CPU %"), ("driver_percent", "driver's CPU %"), ("resident_mib", "resident MiB"),
    ("private_dirty_mib", "private dirty MiB"), ("steal_percent", "steal %"),
)
BODIES = (
    ("first_byte_ms", "first byte ms"), ("slowest_first_byte_ms", "slowest first byte ms"), ("seconds", "whole s"),
    ("cpu_seconds", "CPU s"), ("driver_percent", "driver's CPU %"), ("upstream_gets", "GETs upstream"),
    ("resident_mib", "peak resident MiB"), ("private_dirty_mib", "private dirty MiB"), ("steal_percent", "steal %"),
)


MET = {True: "yes", False: "**no**", None: "–"}


def short(value):
    """Three digits that mean something."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def _spread(each):
    if each is None:
        return "–"
    middle = short(each["median"])
    if each["rounds"] == 1 or each["min"] == each["max"]:
        return middle
    return f"{middle} ({short(each['min'])} to {short(each['max'])})"


def table(results):
    """Heading and lines of the table: medians, and in brackets the least and the most of the rounds."""
    servers = results["servers"]
    head = ["", *servers, f"{figures.OURS} compared", "target", "met"]
    lines = []
    for row in results["rows"]:
        title = f"{row['title']}, {row['unit']}" if row["unit"] else row["title"]
        compared = {
            "ratio": f"× {row['against']}", "difference": f"{row['unit']} more than {row['against']}", "value": "",
        }[row["compared"]]
        comparison = "–"
        if row["comparison"] and compared:
            comparison = f"{_spread(row['comparison'])} {compared}"
        lines.append([
            title, *(_spread(row["servers"].get(server)) for server in servers), comparison, row["target"], MET[row["met"]]])
    return head, lines


def details(results):
    """Heading and lines of all figures' medians: of short answers, and of whole bodies."""
    lines = figures.details(results["scenes"], results["servers"])
    for of_answers, columns in ((True, ANSWERS), (False, BODIES)):
        chosen = [line for line in lines if ("rate" in line[2]) == of_answers]
        shown = [(key, name) for key, name in columns if any(key in values for _, _, values in chosen)]
        if chosen:
            yield ["", "server", "rounds", *(name for _, name in shown)], [[
                title, server, str(values["steal_percent"]["rounds"]),
                *(short(values[key]["median"]) if key in values else "–" for key, _ in shown),
            ] for title, server, values in chosen]


def notes(results):
    """What a reader has to know of this run, a sentence each."""
    machine, run = results["machine"], results["run"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    said = [
        f"{results['date']}, `{results['command']}`, {run['minutes']:.1f} minutes.",
        f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_gib']:g} GiB, Linux {machine['kernel']}, "
        f"{machine['system']}, files on {machine['file_system']}, "
        f"congestion control {machine.get('congestion_control', 'unknown')}. {versions}.",
        f"{run['images']} images in rotation, {run['connections']} connections, {run['seconds']} s of wrk a round, "
        f"rounds: {run['rounds']} of cached content, {run['cold_rounds']} of cold.",
    ]
    dropped = sum(scene["dropped"] for scene in results["scenes"].values())
    told = f"Hypervisor steal: {run['steal_percent']:.2f} % of CPU time over the whole run."
    if dropped:
        which = ", ".join(f"{key} {scene['dropped']}" for key, scene in results["scenes"].items() if scene["dropped"])
        told += f" {dropped} rounds were above {run['steal_bound']:g} % and dropped ({which})"
        told += f"; each is repeated {run['repeats']} times at most."
    else:
        told += f" No round was above {run['steal_bound']:g} %, none was dropped."
    said.append(told)
    for key, scene in results["scenes"].items():
        if scene["stolen"]:
            said.append(f"No round of `{key}` was within that bound: its figures are from rounds above it.")
        if scene["skipped"]:
            said.append(f"Rounds of `{key}` left out for time: {scene['skipped']}.")
        for server in sorted(set(scene.get("failed", []))):
            said.append(f"Measurements of `{key}` that {server} failed and was given again: {scene['failed'].count(server)}.")
    for title, server, values in figures.details(results["scenes"], results["servers"]):
        if values.get("errors", {"max": 0})["max"]:
            said.append(f"{server} failed some answers of {title}: {short(values['errors']['max'])} at most in a round.")
    bound = [f"{server} in {title}" for title, server, values in figures.details(results["scenes"], results["servers"])
             if "rate" in values and values["driver_percent"]["median"] >= DRIVER_LIMIT_PERCENT]
    if bound:
        said.append(f"wrk's one core was full, so that rate and latencies are bounded by it: {'; '.join(bound)}.")
    return said


def agreement(runs, is_markdown):
    """What each row came to in each of several runs, and in all their rounds together."""
    servers = runs[0]["servers"]
    merged = {}
    for run in runs:
        for key, scene in run["scenes"].items():
            merged.setdefault(key, {"title": scene["title"], "rounds": []})["rounds"].extend(scene["rounds"])
    head = ["", *(f"run {number + 1}" for number in range(len(runs))), "all rounds", "target", "met"]
    lines = []
    for row in figures.row_results(merged, servers):
        own = [next((each for each in run["rows"] if each["key"] == row["key"]), None) for run in runs]
        against = {"ratio": f", × {row['against']}", "difference": f", more than {row['against']}", "value": ""}[row["compared"]]
        unit = f", {row['unit']}" if row["unit"] and row["compared"] != "ratio" else ""
        lines.append([
            f"{row['title']}{unit}{against}", *(_spread(each["comparison"]) if each else "–" for each in own),
            _spread(row["comparison"]), row["target"], MET[row["met"]]])
    told = [f"Run {number + 1}: {run['date']}, {run['run']['minutes']:.1f} minutes, {run['run']['steal_percent']:.2f} % of CPU time "
            f"stolen, {sum(scene['dropped'] for scene in run['scenes'].values())} rounds dropped." for number, run in enumerate(runs)]
    if is_markdown:
        return "\n".join([*(f"- {note}" for note in told), "", *_markdown(head, lines), ""])
    return "\n".join([*told, "", *_padded(head, [[cell.replace("*", "") for cell in line] for line in lines]), ""])


def _padded(head, lines):
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [head, *lines]]


def text(results):
    plain = [line.replace("`", "") for line in notes(results)]
    head, lines = table(results)
    lines = [[cell.replace("*", "") for cell in line] for line in lines]
    told = [*plain, "", *_padded(head, lines)]
    for each in details(results):
        told += ["", *_padded(*each)]
    return "\n".join([*told, ""])


def _markdown(head, lines):
    marks = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [head, marks, *lines]]


def markdown(results):
    told = [*(f"- {note}" for note in notes(results)), "", *_markdown(*table(results)), "", "Medians of all figures:"]
    for each in details(results):
        told += ["", *_markdown(*each)]
    return "\n".join([*told, ""])
