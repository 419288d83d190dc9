#!/usr/bin/env python3
"""The man pages against the code: every setting with its bounds, every option, every event of the log.

    BUILD=build test/system/test_man.py
"""
import glob
import re
import sys

from harness import Checks


def read(path):
    with open(path) as text:
        return text.read()


def items(page):
    """{first line of an item: its text}, in mdoc."""
    found = {}
    for item in re.split(r"^\.It ", page, flags=re.M)[1:]:
        head, _, body = item.partition("\n")
        found[head] = re.split(r"^\.(?:El|Ss|Sh)", body, flags=re.M)[0]
    return found


def sections(page):
    """{section of cpd.conf: items}"""
    return {part.split("\n", 1)[0].strip("[]"): items(part) for part in re.split(r"^\.Ss ", page, flags=re.M)[1:]}


def settings(source):
    """(section, key, least, most) of daemon/config.c; 0, 0: no bounds."""
    table = source[source.index("static const struct key keys[]"):]
    table = table[:table.index("};")]
    for section, key, least, most in re.findall(r'\{ "(\w+)", "(\w+)", .*?, (\d+), (\d+) \}', table):
        yield section, key, int(least), int(most)
    for key, least, most in re.findall(r'SECONDS\("(\w+)", .*?, (\d+), (\d+)\)', table):
        yield "tuning", key, int(least), int(most)
    for names in re.findall(r'names\[\] = \{ ("address".*?) \}', source):
        for key in re.findall(r'"(\w+)"', names):
            yield "link N", key, 0, 0


def main():
    checks = Checks()
    source, page = read("daemon/config.c"), read("docs/man/cpd.conf.5")
    known, told = list(settings(source)), sections(page)
    checks.check("the settings are found", len(known) >= 25, known)
    for section, key, least, most in known:
        item = next((text for head, text in told.get(section, {}).items() if head.startswith(f"Cm {key} ")), None)
        good = item is not None and (not most or re.search(rf"\b{least} to {most}\b", item))
        checks.check(f"cpd.conf(5) has [{section}] {key}" + (f", {least} to {most}" if most else ""), good, item)
    for section, keys in told.items():
        for head in keys:
            key = re.match(r"Cm (\w+) ", head)
            if key and section != "route":
                checks.check(f"[{section}] {key[1]} of cpd.conf(5) is read", any((section, key[1]) == one[:2] for one in known))

    page = read("docs/man/cpd.8")
    options = re.findall(r'\{ "([\w-]+)", (?:no|required)_argument', read("daemon/main.c"))
    checks.check("the options are found", len(options) >= 6, options)
    heads = list(items(page))
    for option in options:
        checks.check(f"cpd(8) has --{option}", any(head.split()[:2] == ["Fl", f"-{option}"] for head in heads))
    events = set()
    for path in glob.glob("daemon/*.c"):
        events |= set(re.findall(r'log_l(?:ine|imited)\(\w+, "([\w-]+)"', read(path)))
    relay = read("daemon/relay/relay.c")
    events |= set(re.findall(r'\[JOURNAL_\w+\] = "([\w-]+)"', relay))
    checks.check("the events are found", len(events) >= 60, sorted(events))
    named = {word for head in heads if head.startswith("Li ") for word in head[3:].split(" , ")}
    named = {word.removeprefix("Li ") for word in named}
    checks.check("cpd(8) has every event of the log", events <= named, sorted(events - named))
    checks.check("cpd(8) has no event that is not logged", named <= events, sorted(named - events))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
