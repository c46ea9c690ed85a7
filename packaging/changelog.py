#!/usr/bin/env python3
"""debian/changelog from CHANGELOG.md: changelog.py CHANGELOG VERSION MAINTAINER SUFFIX RELEASE

An entry for each version, the newest first. VERSION is the program's, and must be the newest one in CHANGELOG. SUFFIX is put
behind each version: packages of different Debian releases have different ones, so that an upgrade of the system takes the next.
"""
import datetime
import re
import sys
import textwrap


class Version:
    def __init__(self, number, date):
        self.number = number
        self.date = date
        self.changes = []


def versions(text):
    found, paragraph = [], []

    def finish():
        if paragraph and found:
            found[-1].changes.append(" ".join(paragraph))
        paragraph.clear()

    is_unreleased = False
    for line in text.splitlines():
        heading = re.fullmatch(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", line)
        if heading:
            finish()
            is_unreleased = False
            found.append(Version(heading[1], heading[2]))
        elif line.startswith("## "):
            finish()
            is_unreleased = True
            if line != "## [Unreleased]":
                sys.exit(f"changelog: not a version, and not Unreleased: {line}")
        elif line.startswith("#") or not line.strip():
            finish()
        elif not is_unreleased:
            if line.startswith("- "):
                finish()
            paragraph.append(line.removeprefix("- ").strip())
    finish()
    return found


def entry(version, maintainer, suffix, release):
    date = datetime.datetime.fromisoformat(version.date).replace(tzinfo=datetime.timezone.utc)
    lines = [f"ociregistry ({version.number}{suffix}) {release}; urgency=medium", ""]
    for change in version.changes:
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", change).replace("`", "")
        lines.append(textwrap.fill(plain, 78, initial_indent="  * ", subsequent_indent="    "))
    # Not strftime: its names follow the locale.
    weekday = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[date.weekday()]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[date.month - 1]
    lines += ["", f" -- {maintainer}  {weekday}, {date.day:02} {month} {date.year} 00:00:00 +0000", ""]
    return "\n".join(lines)


def main():
    path, number, maintainer, suffix, release = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        found = versions(file.read())
    if not found or found[0].number != number:
        newest = found[0].number if found else "none"
        sys.exit(f"changelog: the newest version of {path} is {newest}, and the program's is {number}")
    print("\n".join(entry(each, maintainer, suffix, release) for each in found), end="")


if __name__ == "__main__":
    main()
