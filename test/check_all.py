#!/usr/bin/env python3
"""Every test in its long form: `make check-all`. One part after another, each with its own log in BUILD/check-all.

A part that fails does not stop the others: which failed is told at once, and all of them at the end. What fails soonest
when something is broken comes first. The minutes are what a part is given on two idle cores; together at most 120, which
is checked here. A part that takes half as long again has not failed, but is named: its minutes are wrong, or the code is.

check_all.py [PART...]   only these; BUILD, CC and MAKE as make gives them. Last line: N passed, M failed (parts)
"""
import os
import shlex
import subprocess
import sys
import time

BUILD = os.environ.get("BUILD", "build")
LIMIT_MINUTES = 120
# name, minutes, command. To add a part, add a line.
PARTS = [
    ("check",       15, "{make} check-run"),
    ("allocations",  2, "{make} allocations"),
    ("valgrind",     2, "{make} valgrind"),
    ("asan",        14, "{make} asan"),
    ("tsan",        14, "{make} tsan"),
    ("fuzz",         4, "{make} fuzz T=8"),
    ("mutate",       1, "{make} mutate"),
    ("mutants",     11, "{make} mutants"),
    ("disasters",    3, "env FULL=1 {python} test/system/test_disasters.py"),
    ("systemd",      1, "env FULL=1 {python} test/system/test_systemd.py"),
    ("soak",         3, "{python} test/soak/soak.py --minutes 2 --seed 1"),
    ("sticks",       2, "{build}/test/sim/sim --seeds 1..400 --couriers 150 --jobs {cores}"),
    ("crash",       17, "{build}/test/crash/crash --seeds 1..8 --images 104000 --jobs {cores} --minutes 35"),
    ("simulator",   31, "{build}/test/sim/sim --seeds 301..10300 --jobs {cores}"),
]


def clock(seconds):
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def play(command, log_path):
    """True when it ended well. Its words go to the terminal and to the log."""
    with open(log_path, "w") as log:
        child = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                 stdin=subprocess.DEVNULL)
        for line in child.stdout:
            print(line, end="", flush=True)
            log.write(line)
        return child.wait() == 0


def main():
    names = [name for name, _, _ in PARTS]
    asked = sys.argv[1:] or names
    unknown = [one for one in asked if one not in names]
    if unknown:
        print(f"there is no part {', '.join(unknown)}; there are {', '.join(names)}")
        return 2
    total = sum(minutes for _, minutes, _ in PARTS)
    if total > LIMIT_MINUTES:
        print(f"the parts are given {total} minutes, more than {LIMIT_MINUTES}: shorten one in {__file__}")
        return 2
    words = {"make": os.environ.get("MAKE", "make") + " --no-print-directory", "build": BUILD, "python": sys.executable, "cores": os.cpu_count() or 1}
    folder = os.path.join(BUILD, "check-all")
    os.makedirs(folder, exist_ok=True)
    begin, told, failed = time.monotonic(), [], []
    for name, minutes, command in [part for part in PARTS if part[0] in asked]:
        start = time.monotonic()
        log = os.path.join(folder, name + ".log")
        print(f"\n== {name}: about {minutes} min; {clock(start - begin)} since the start; {len(told)} of {len(asked)} done"
              + (f"; FAILED so far: {', '.join(failed)}" if failed else ""), flush=True)
        good = play(command.format(**words), log)
        took = time.monotonic() - start
        late = f", longer than its {minutes} min" if took > 90 * minutes else ""
        told.append(f"  {name:12} {'passed' if good else 'FAILED'} {clock(took)} of {clock(60 * minutes)}{late}" + ("" if good else f"   see {log}"))
        print(told[-1], flush=True)
        if not good:
            failed.append(name)
    print(f"\n== {len(told)} parts in {clock(time.monotonic() - begin)}; they are given {clock(60 * total)}")
    print("\n".join(told))
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    print(f"{len(told) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not told else 0


if __name__ == "__main__":
    sys.exit(main())
