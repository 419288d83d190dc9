#!/usr/bin/env python3
"""docs/RELIABILITY.md names nothing that is not there: files, targets of make, mutants, tests, its links.

    test/system/test_reliability.py
"""
import glob
import os
import re
import subprocess
import sys

from harness import Checks

PAGE = "docs/RELIABILITY.md"


def read(path):
    with open(path) as text:
        return text.read()


def main():
    checks, page = Checks(), read(PAGE)
    files = set(re.findall(r"`(?:python3 )?((?:test|docs|daemon|proto|store|crypto)/[\w./-]+)`", page))
    checks.check("files are found", len(files) >= 20, sorted(files))
    for path in sorted(files):
        checks.check(f"{path} is there", os.path.exists(path))
    for link in sorted(set(re.findall(r"\]\(([\w./-]+)\)", page))):
        checks.check(f"the page {link} is there", os.path.exists(os.path.join("docs", link)))
    rules = read("Makefile") + "".join(read(path) for path in glob.glob("test/*/*.mk"))
    targets = set(re.findall(r"`make (?!build)([a-z][\w-]*)", page))
    checks.check("targets are found", len(targets) >= 6, sorted(targets))
    for target in sorted(targets):
        checks.check(f"make {target} is there", re.search(rf"^{re.escape(target)}:", rules, re.M))
    for setting in sorted(set(re.findall(r"`make [^`]*?([A-Z_]+)=", page))):
        checks.check(f"make knows {setting}=", f"$({setting})" in rules or f"$(if $({setting})" in rules)
    mutants = read("test/mutants/mutants.toml")
    named = re.findall(r'"([^"]+)"', re.search(r"mutants (.*?) \|", page[page.index("Acknowledged is on disk"):])[1])
    checks.check("mutants are found", named)
    for name in named:
        checks.check(f"the mutant {name} is there", f'name = "{name}"' in mutants)
    for option in sorted(set(re.findall(r"`build/test/sim/sim ([^`]*)`", page))):
        for word in re.findall(r"--[\w-]+", option):
            checks.check(f"the simulator knows {word}", any(f'"{word}"' in read(path) or f'"{word[2:]}"' in read(path) for path in glob.glob("test/sim/*.c")))
    told = subprocess.run([sys.executable, "test/soak/soak.py", "--help"], stdout=subprocess.PIPE, text=True).stdout
    for plant in re.search(r"PLANT=(.*?)\.", page, re.S)[1].replace("`", "").replace(" or ", ",").replace("\n", " ").split(","):
        checks.check(f"the soak plants {plant.strip()}", plant.strip() in told, told)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
