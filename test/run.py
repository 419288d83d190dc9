#!/usr/bin/env python3
"""Runs the tests one after another, shows each as it ends, and adds up.

Each test program ends with a line `N passed, M failed` (cmocka programs are read by their own summary).
The last line of this one is `N passed, M failed`, with `, K skipped` when something was skipped.

run.py check            what `make check` runs
run.py asan|tsan        the same programs built with a sanitizer in BUILD (test/sanitize/sanitize.mk). Whatever it finds in a
                        program, or in any cpd or cpctl that a test starts, is a file in BUILD/reports: with one there the
                        test has failed, whatever else it says of itself
"""
import glob
import os
import re
import subprocess
import sys
import time

BUILD = os.environ.get("BUILD", "build")
# Tests whose printed byte counts belong in the report.
BYTE_TABLES = {"bytes", "receipt", "frame", "message"}
MODE = sys.argv[1] if len(sys.argv) == 2 else ""
REPORTS = os.path.abspath(os.path.join(BUILD, "reports"))
HERE = os.path.abspath("test/sanitize")
# A report goes into a file, as a daemon's stderr may go anywhere. Everything that a sanitizer can see at no cost in
# honesty is on; the process goes on after a finding where it can, so that one run shows them all.
SANITIZED = {
    "asan": {
        "ASAN_OPTIONS": f"log_path={REPORTS}/asan:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:"
                        "check_initialization_order=1:strict_init_order=1:verify_asan_link_order=0",
        "UBSAN_OPTIONS": f"log_path={REPORTS}/ubsan:print_stacktrace=1",
    },
    "tsan": {
        "TSAN_OPTIONS": f"log_path={REPORTS}/tsan:suppressions={HERE}/tsan.supp:history_size=7:second_deadlock_stack=1:print_suppressions=0",
    },
}
# test/sanitize/planted.c commits one of these: the report of a process that nobody listens to has to be found.
PLANTED = {"asan": ("overflow", "after-free", "leak", "shift"), "tsan": ("race",)}
# What says nothing under a sanitizer, for it is about the program that is installed: its system calls, its package, its speed.
NOT_SANITIZED = {"test_service.py", "test_systemd.py", "test_package.py", "test_bench.py", "test_man.py", "test_man_cpctl.py"}


def counts(output):
    """(passed, failed, skipped) from what a test program printed; None when it told nothing."""
    passed = failed = skipped = 0
    found = False
    for line in output.splitlines():
        plain = re.search(r"\b(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", line)
        if plain:
            passed, failed, skipped = int(plain[1]), int(plain[2]), int(plain[3] or 0)
            found = True
    if found:
        return passed, failed, skipped
    for pattern, which in ((r"\[  PASSED  \] (\d+) test", 0), (r"\[  FAILED  \] (\d+) test", 1), (r"\[  SKIPPED \] (\d+) test", 2)):
        for number in re.findall(pattern, output):
            found = True
            if which == 0:
                passed += int(number)
            elif which == 1:
                failed += int(number)
            else:
                skipped += int(number)
    return (passed, failed, skipped) if found else None


def run(name, command, seconds, env=None):
    start = time.monotonic()
    print(f"{name:28}", end=" ", flush=True)
    environment = dict(os.environ, BUILD=BUILD, **SANITIZED.get(MODE, {}), **(env or {}))
    os.makedirs(REPORTS, exist_ok=True)
    for old in glob.glob(REPORTS + "/*"):
        os.unlink(old)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds, env=environment, stdin=subprocess.DEVNULL)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace") if isinstance(late.stdout, bytes) else (late.stdout or "")
        output += f"\n{name}: no end after {seconds} s"
        code = -1
    result = counts(output)
    if result is None:
        result = (1, 0, 0) if code == 0 else (0, 1, 0)
    elif code != 0 and result[1] == 0:
        result = (result[0], 1, result[2])
    reports = sorted(glob.glob(REPORTS + "/*"))
    if reports:
        result = (result[0], result[1] + 1, result[2])
    print(f"{result[0]:5} passed {result[1]:3} failed {result[2]:3} skipped {time.monotonic() - start:7.1f} s", flush=True)
    for line in output.splitlines():
        if "skipped:" in line or line.startswith("figure:") or (name in BYTE_TABLES and not line.startswith("[")):
            print("    " + line, flush=True)
    if result[1] or code != 0:
        print(output[-8000:], flush=True)
    if reports:
        print(f"{name}: the sanitizer reported in {len(reports)} processes", flush=True)
    for report in reports:
        keep_report(name, report)
    return result


def see_red():
    """(passed, failed, skipped): whether what is planted is reported, and nothing where nothing is planted."""
    wrong = []
    environment = dict(os.environ, **SANITIZED[MODE])
    os.makedirs(REPORTS, exist_ok=True)
    for fault in ("", *PLANTED[MODE]):
        for old in glob.glob(REPORTS + "/*"):
            os.unlink(old)
        subprocess.run(["sh", "-c", f"{BUILD}/test/sanitize/planted {fault} >/dev/null 2>&1; true"], env=environment, check=True)
        if bool(fault) != bool(glob.glob(REPORTS + "/*")):
            wrong.append(f"planted {fault}: no report" if fault else "a report without a fault")
    print(f"{'planted faults':28} {len(PLANTED[MODE]) + 1 - len(wrong):5} passed {len(wrong):3} failed {'; '.join(wrong)}", flush=True)
    return len(PLANTED[MODE]) + 1 - len(wrong), len(wrong), 0


def keep_report(name, path):
    """Shows the beginning of one; all of it stays in BUILD/findings."""
    kept = os.path.join(BUILD, "findings", re.sub(r"\W+", "-", name) + "-" + os.path.basename(path))
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    os.replace(path, kept)
    with open(kept, errors="replace") as text:
        print("".join(text.readlines()[:60]) + f"    all of it: {kept}", flush=True)


def main():
    if MODE not in ("check", *SANITIZED):
        print(__doc__)
        return 2
    sanitized = MODE in SANITIZED
    jobs = str(os.cpu_count() or 1)
    plan = [] if sanitized else [("layers", ["test/layers.sh"], 300, None)]
    folder = os.path.join(BUILD, "test", "unit")
    for name in sorted(f[:-2] for f in os.listdir("test/unit") if f.startswith("test_") and f.endswith(".c")):
        plan.append((name[5:], [os.path.join(folder, name)], 1800 if sanitized else 300, {"CASES": "100", "ROUNDS": "4"} if sanitized else None))
    seeds = {"check": "1..300", "asan": "1..100", "tsan": "1..20"}[MODE]
    plan.append(("simulator", [os.path.join(BUILD, "test/sim/sim"), "--seeds", seeds, "--jobs", jobs], 1800 if sanitized else 900, None))
    sticks = {"check": "1..24", "asan": "1..12", "tsan": "1..3"}[MODE]
    plan.append(("simulator, sticks", [os.path.join(BUILD, "test/sim/sim"), "--seeds", sticks, "--couriers", "150", "--jobs", jobs], 1800 if sanitized else 300, None))
    crash = os.path.join(BUILD, "test/crash/crash")
    plan.append(("power cuts", [crash, "--seeds", "1", "--images", {"check": "2500", "asan": "800", "tsan": "100"}[MODE]], 900 if sanitized else 300, None))
    for broken in () if sanitized else ("nosync", "nometasync", "early"):
        plan.append((f"power cuts, {broken}", [crash, "--broken", broken, "--messages", "20", "--images", "400"], 120, None))
    plan.append(("fuzz replay", [os.path.join(BUILD, "test/fuzz/replay")], 1800 if sanitized else 600, None))
    if not sanitized:
        plan.append(("mutated messages", [os.path.join(BUILD, "test/fuzz/mutate"), "--count", "20000"], 1200, None))
    for script in sorted(os.listdir("test/system")):
        if script.startswith("test_") and script.endswith(".py") and not (sanitized and script in NOT_SANITIZED):
            plan.append((script[:-3].replace("test_", "system "), [sys.executable, os.path.join("test/system", script)], 1200 if sanitized else 900, None))
    for script in sorted(os.listdir("test/interop")):
        if script.endswith("_check.py"):
            plan.append((script[:-3].replace("_", " ") + " (Python)", [sys.executable, os.path.join("test/interop", script)], 300, None))
    plan.append(("demo", [sys.executable, "test/demo/demo.py"], 600, {"HOLD": "0"}))
    only = os.environ.get("ONLY", "")
    total = list(see_red()) if sanitized else [0, 0, 0]
    for name, command, seconds, env in [part for part in plan if only in part[0]]:
        for index, number in enumerate(run(name, command, seconds, env)):
            total[index] += number
    tail = f", {total[2]} skipped" if total[2] else ""
    print(f"{total[0]} passed, {total[1]} failed{tail}")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
