#!/usr/bin/env python3
"""Manual pages: manual.py PROGRAM DIRECTORY

One page for the program and one for each sub-command, from the program's own description of its options
(--experimental-dump-help), and ociregistry-config(5) from the tables of docs/configuration.md. SOURCE_DATE_EPOCH sets the date.
"""
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "configuration.md"


def escaped(text):
    """Plain text for roff: a backslash, a hyphen and a leading dot or quote have meanings there."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def bold(text):
    return f"\\fB{escaped(text)}\\fP"


def italic(text):
    return f"\\fI{escaped(text)}\\fP"


class Manual:
    def __init__(self, program, directory):
        self.program = program
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.version = subprocess.run([program, "version"], check=True, capture_output=True, text=True).stdout.split()[1]
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
        self.date = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")

    def write(self, name, section, title, lines):
        head = [
            f'.TH {escaped(name.upper())} {section} {self.date} "ociregistry {self.version}" "ociregistry"',
            # Lines are not stretched, and words not divided: most of them are names and paths.
            ".nh", ".ad l",
            ".SH NAME", f"{escaped(name)} \\- {escaped(title)}",
        ]
        (self.directory / f"{name}.{section}").write_text("\n".join(head + lines) + "\n")


def spelled(name):
    return ("-" if name["kind"] == "short" else "--") + name["name"]


def is_flag(argument):
    return argument["kind"] == "flag"


def value(argument):
    """The value as it follows an option's name: in brackets where it may be left out."""
    if is_flag(argument):
        return ""
    text = italic(argument["valueName"])
    return f" [{text}]" if argument.get("defaultValue") else f" {text}"


def usage(argument):
    if argument["kind"] == "positional":
        text = italic(argument["valueName"]) + ("..." if argument["isRepeating"] else "")
    else:
        text = bold(spelled(argument["preferredName"])) + value(argument)
    return f"[{text}]" if argument["isOptional"] else text


def described(argument):
    if argument["kind"] == "positional":
        head = italic(argument["valueName"])
    else:
        head = ", ".join(bold(spelled(name)) for name in argument["names"]) + value(argument)
    texts = [argument.get("abstract"), argument.get("discussion")]
    return [".TP", head] + [escaped(text) for text in texts if text]


def shown(things):
    return [each for each in things if each["shouldDisplay"]]


def paragraphs(text):
    lines = []
    for paragraph in text.split("\n\n"):
        lines += [".PP", escaped(paragraph)]
    return lines


def see_also(names):
    names = sorted(names)
    commas = [f"{name}," for name in names[:-1]] + names[-1:]
    return [".SH SEE ALSO"] + [f".BR {escaped(name).replace('(', ' (')}" for name in commas]


def sentence(text):
    """The part of NAME behind the hyphen: no capital, no full stop."""
    return text[:1].lower() + text[1:].rstrip(".")


def command_children(command):
    return [each for each in shown(command.get("subcommands") or []) if each["commandName"] != "help"]


def command_pages(manual, command, parents, see):
    """The pages of a command and of its sub-commands; `see` are the pages that each of them refers to."""
    words = parents + [command["commandName"]]
    name = "-".join(words)
    arguments = shown(command.get("arguments") or [])
    children = command_children(command)
    usages = [usage(each) for each in arguments if not is_flag(each) or each["preferredName"]["name"] not in ("help", "version")]
    if children:
        usages.append(f"{italic('command')} [{italic('argument')}...]")
    lines = [".SH SYNOPSIS", " ".join([bold(" ".join(words))] + usages), ".SH DESCRIPTION", escaped(command["abstract"])]
    if command.get("discussion"):
        lines += paragraphs(command["discussion"])
    if children:
        lines.append(".SH COMMANDS")
        for child in children:
            lines += [".TP", bold(child["commandName"]), escaped(child["abstract"])]
            lines[-1] += f" See {bold(name + '-' + child['commandName'])}(1)."
    lines.append(".SH OPTIONS")
    for each in arguments:
        lines += described(each)
    related = see + [f"{'-'.join(words[:-1])}(1)"] * (len(words) > 1) + [f"{name}-{each['commandName']}(1)" for each in children]
    lines += see_also(set(related))
    manual.write(name, 1, sentence(command["abstract"]), lines)
    for child in children:
        command_pages(manual, child, words, see)


def inline(text):
    """Markdown within a line: links lose their target, code becomes bold."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("\\|", "|").replace("<br>", " ")
    pieces = re.split(r"`([^`]*)`", text)
    return "".join(bold(piece) if index % 2 else escaped(piece.replace("*", "")) for index, piece in enumerate(pieces))


def cells(row):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]


def table_page_lines(rows):
    """A table: the first column is the term, and the others say what their heading is."""
    head, body = cells(rows[0]), [cells(row) for row in rows[2:]]
    lines = []
    for row in body:
        term, rest = row[0], list(zip(head, row))[1:]
        if term in ("–", ""):
            term, rest = row[1], rest[1:]
        lines += [".TP", inline(term)]
        *facts, (_, meaning) = rest
        lines.append(inline(meaning))
        shown_facts = [f"{inline(name)}: {inline(fact)}" for name, fact in facts if fact not in ("–", "")]
        if shown_facts:
            lines += [".br", "; ".join(shown_facts) + "."]
    return lines


def configuration_page(manual, names):
    lines, rows, is_code, is_list = [".SH DESCRIPTION"], [], False, False
    for line in DOCUMENT.read_text().splitlines() + [""]:
        if rows and not line.startswith("|"):
            lines += table_page_lines(rows)
            rows = []
        if line.startswith("```"):
            is_code = not is_code
            lines += [".PP", ".in +4n", ".nf"] if is_code else [".fi", ".in"]
        elif is_code:
            lines.append(escaped(line))
        elif line.startswith("|"):
            rows.append(line)
        elif line.startswith("#"):
            title = line.lstrip("#").strip()
            level = len(line) - len(line.lstrip("#"))
            if level > 1:
                lines.append(f".{'SH' if level == 2 else 'SS'} {escaped(title.upper() if level == 2 else title)}")
        elif line.startswith("- "):
            lines += [".IP \\(bu 2", inline(line[2:])]
        elif line.strip():
            if not lines[-1].startswith(".SH"):
                lines.extend([".PP"] if lines[-1] == "" else [])
            lines.append(inline(line.strip()))
        else:
            lines.append("")
    text = [line for index, line in enumerate(lines) if line or (index and lines[index - 1])]
    text = [".PP" if not line else line for line in text]
    manual.write("ociregistry-config", 5, "configuration file of ociregistry", text + see_also(names))


def main():
    program, directory = sys.argv[1:]
    manual = Manual(program, directory)
    description = subprocess.run([program, "--experimental-dump-help"], check=True, capture_output=True, text=True).stdout
    root = json.loads(description)["command"]
    command_pages(manual, root, [], ["ociregistry-config(5)"])
    configuration_page(manual, ["ociregistry(1)"])


if __name__ == "__main__":
    main()
