"""From rounds to figures: medians, spreads, and what each row of the table comes to."""

import statistics

from rows import ROWS

OURS = "ociregistry"


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def of_takes(takes):
    """A server's figures in a round: the medians of its takes; failed answers are counted, for one in four must be told too."""
    return {key: (sum if key == "errors" else statistics.median)([take[key] for take in takes]) for key in takes[0]}


def _compared(row, rounds):
    """The values that are held against the bar, one a round."""
    if row.compared == "value":
        return [each[OURS][row.figure] for each in rounds if OURS in each]
    pairs = [(each[OURS][row.figure], each[row.against][row.figure])
             for each in rounds if OURS in each and row.against in each]
    if row.compared == "difference":
        return [ours - theirs for ours, theirs in pairs]
    return [ours / theirs for ours, theirs in pairs]


def row_results(scenes, servers):
    """What the table shows. `scenes` has title and rounds ({server: {figure: value}}) of each scene by its key."""
    results = []
    for row in ROWS:
        scene = scenes.get(row.scene)
        if not scene or not scene["rounds"]:
            continue
        rounds = scene["rounds"]
        figures = {}
        for server in servers:
            values = [each[server][row.figure] for each in rounds if server in each]
            if values:
                figures[server] = spread(values)
        compared = _compared(row, rounds)
        results.append({
            "key": row.key, "title": f"{scene['title']}: {row.title}", "unit": row.unit, "servers": figures,
            "compared": row.compared, "against": row.against or None, "target": row.target(),
            "comparison": spread(compared) if compared else None,
            "met": row.met(statistics.median(compared)) if compared else None})
    return results


def details(scenes, servers):
    """Every figure of every scene: [(title, server, {figure: spread})]."""
    lines = []
    for scene in scenes.values():
        for server in servers:
            rounds = [each[server] for each in scene["rounds"] if server in each]
            if rounds:
                lines.append((scene["title"], server, {key: spread([each[key] for each in rounds]) for key in rounds[0]}))
    return lines
