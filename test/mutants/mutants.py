#!/usr/bin/env python3
"""Breaks the code on purpose, once for each entry of mutants.toml, and tells which test saw it.

Works on a copy of the sources under $BUILD/mutants, so nothing of the tree changes. Every test that is named
must pass on the copy before it is broken. Each line: caught (by which, after how long) or NOT CAUGHT. Exit 1
when one was not caught, or when the code has moved and a mutant no longer fits.

mutants.py [--only TEXT] [--list]
"""
import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
FOLDER = os.path.join(BUILD, "mutants")
SOURCES = ("Makefile", "crypto", "daemon", "proto", "store", "systemd", "test")
SECONDS = 300


def copy_sources():
    """Only what differs is written, so that make builds only that."""
    os.makedirs(FOLDER, exist_ok=True)
    wanted = set()
    for top in SOURCES:
        start = os.path.join(ROOT, top)
        files = [start] if os.path.isfile(start) else [os.path.join(at, f) for at, _, names in os.walk(start) for f in names if "__pycache__" not in at]
        for path in files:
            target = os.path.join(FOLDER, os.path.relpath(path, ROOT))
            wanted.add(target)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(path, "rb") as source:
                data = source.read()
            if not os.path.exists(target) or open(target, "rb").read() != data:
                with open(target, "wb") as out:
                    out.write(data)
                shutil.copymode(path, target)


def target_of(test):
    kind, what = test.split()
    return {"sim": "build/test/sim/sim", "mutate": "build/test/fuzz/mutate"}.get(kind, f"build/test/unit/test_{what}")


def command_of(test):
    kind, what = test.split()
    if kind == "mutate":
        return [target_of(test), "--count", what]
    return [target_of(test), "--seeds", what, "--nsps", "4", "--desks", "1", "--quick-fail"] if kind == "sim" else [target_of(test)]


def make(targets):
    environment = {k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "BUILD=build", *sorted(set(targets))], cwd=FOLDER, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def passes(test):
    try:
        done = subprocess.run(command_of(test), cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False   # it hangs: that is seen too
    return done.returncode == 0


def caught_by(mutant, path, text):
    """The test that saw it, or None."""
    with open(path, "w") as out:
        out.write(text.replace(mutant["old"], mutant["new"]))
    try:
        built = make([target_of(test) for test in mutant["caught_by"]])
        if built.returncode:
            raise RuntimeError(f"{mutant['name']}: does not build\n{built.stdout[-2000:]}")
        return next((test for test in mutant["caught_by"] if not passes(test)), None)
    finally:
        with open(path, "w") as out:
            out.write(text)


def main():
    parser = argparse.ArgumentParser(description="breaks the code on purpose and tells which test saw it")
    parser.add_argument("--only", default="", help="mutants whose name holds this text")
    parser.add_argument("--list", action="store_true", help="names only")
    options = parser.parse_args()
    with open(os.path.join(ROOT, "test", "mutants", "mutants.toml"), "rb") as source:
        mutants = [m for m in tomllib.load(source)["mutant"] if options.only in m["name"]]
    if options.list:
        print("\n".join(m["name"] for m in mutants))
        return 0
    copy_sources()
    tests = sorted({test for m in mutants for test in m["caught_by"]})
    print(f"{len(mutants)} mutants, {len(tests)} tests; building what is not broken", flush=True)
    built = make([target_of(test) for test in tests])
    if built.returncode:
        print(built.stdout[-4000:])
        return 1
    bad = [test for test in tests if not passes(test)]
    if bad:
        print(f"these fail on sound code, so they prove nothing: {', '.join(bad)}\n0 passed, {len(bad)} failed")
        return 1
    caught = 0
    for mutant in mutants:
        begin = time.monotonic()
        path = os.path.join(FOLDER, mutant["file"])
        with open(path) as source:
            text = source.read()
        if text.count(mutant["old"]) != 1:
            verdict = f"NO LONGER FITS: its text stands {text.count(mutant['old'])} times in {mutant['file']}"
        else:
            test = caught_by(mutant, path, text)
            verdict = f"caught by {test}" if test else "NOT CAUGHT"
            caught += test is not None
        print(f"{mutant['name']:72} {verdict} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{caught} passed, {len(mutants) - caught} failed")
    return 0 if caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
