#!/usr/bin/env python3
"""The manual pages are clean, and cpctl(1) and docs/CPCTL.md tell every verb and option there is: what is asked of cpctl's
own help, so that a new verb without a page is found. Last line: N passed, M failed."""
import glob
import os
import re
import subprocess
import sys

from harness import CPCTL, Checks

PAGE = "docs/man/cpctl.1"
VERB = re.compile(r"  ([a-z]+(?: [a-z]+)?)((?: \[?[A-Z]+\]?)*)(?: {2,}.*| [a-z].*)?$")


def help_of(*words):
    return subprocess.run([CPCTL, *words, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def verbs():
    """Names as the table has them: the first part of `cpctl --help`."""
    part = help_of().split("\n\n")[1]
    return [VERB.match(line)[1] for line in part.splitlines() if not line.startswith("      ")]


def options(verb):
    return set(re.findall(r"^  --([a-z_-]+)", help_of(*verb.split()), re.M))


def sections(page):
    """Verb -> its part of the page: from its .It Cm at the outer level to the next."""
    parts = re.split(r"^\.It Cm ", page, flags=re.M)[1:]
    found = {}
    for part in parts:
        words = part.splitlines()[0].split()
        name = " ".join(word for word in words[:words.index("Ar") if "Ar" in words else len(words)] if word not in ("Op", "Oo", "Oc"))
        found[name] = part
    return found


def main():
    checks = Checks()
    pages = sorted(glob.glob("docs/man/*.[1-8]"))
    checks.check("there are pages", PAGE in pages, pages)
    for page in pages:
        done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", page], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        checks.check(f"{page} is clean", done.returncode == 0 and not done.stdout, done.stdout)
    with open(PAGE) as file:
        told = sections(file.read())
    with open("docs/CPCTL.md") as file:
        shapes = file.read()
    there = verbs()
    checks.check("cpctl tells its verbs", len(there) > 25 and "queue withdraw" in there, there)
    for verb in there:
        checks.check(f"{PAGE} has {verb}", verb in told, sorted(told))
        missing = sorted(name for name in options(verb) if f".It Fl -{name}" not in told.get(verb, ""))
        checks.check(f"and every option of {verb}", not missing, missing)
        checks.check(f"docs/CPCTL.md has the JSON of {verb}", f"`{verb}`" in shapes)
    gone = sorted(set(told) - set(there))
    checks.check("the page tells of no verb that is not there", not gone, gone)
    return checks.end()


if __name__ == "__main__":
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    sys.exit(main())
