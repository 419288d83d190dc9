#!/usr/bin/env python3
"""Runs the tests one after another, shows each as it ends, and adds up.

Each test program ends with a line `N passed, M failed` (cmocka programs are read by their own summary).
The last line of this one is `N passed, M failed`, with `, K skipped` when something was skipped.
"""
import os
import re
import subprocess
import sys
import time

BUILD = os.environ.get("BUILD", "build")
# Tests whose printed byte counts belong in the report.
BYTE_TABLES = {"bytes", "receipt", "frame", "message"}
FULL = sys.argv[1:] == ["check-all"]


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
    environment = dict(os.environ, BUILD=BUILD, **(env or {}))
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
    print(f"{result[0]:5} passed {result[1]:3} failed {result[2]:3} skipped {time.monotonic() - start:7.1f} s", flush=True)
    for line in output.splitlines():
        if "skipped:" in line or line.startswith("figure:") or (name in BYTE_TABLES and not line.startswith("[")):
            print("    " + line, flush=True)
    if result[1] or code != 0:
        print(output[-8000:], flush=True)
    return result


def main():
    plan = [("layers", ["test/layers.sh"], 300, None)]
    builds = [(BUILD, "")] + ([(BUILD + "/asan", " (asan, ubsan)")] if FULL else [])
    for build, label in builds:
        folder = os.path.join(build, "test", "unit")
        sources = sorted(f[:-2] for f in os.listdir("test/unit") if f.startswith("test_") and f.endswith(".c"))
        for name in sources:
            plan.append((name[5:] + label, [os.path.join(folder, name)], 300, None))
    seeds = "1..10000" if FULL else "1..300"
    plan.append(("simulator", [os.path.join(BUILD, "test/sim/sim"), "--seeds", seeds, "--jobs", str(os.cpu_count() or 1)], 7200 if FULL else 900, None))
    plan.append(("simulator, sticks", [os.path.join(BUILD, "test/sim/sim"), "--seeds", "1..400" if FULL else "1..24", "--couriers", "150",
                                       "--jobs", str(os.cpu_count() or 1)], 1800 if FULL else 300, None))
    if FULL:
        plan.append(("simulator (asan, ubsan)", [os.path.join(BUILD, "asan/test/sim/sim"), "--seeds", "1..100", "--jobs", str(os.cpu_count() or 1)], 3600, None))
    crash = os.path.join(BUILD, "test/crash/crash")
    many = ["--seeds", "1..8", "--images", "104000", "--messages", "150", "--jobs", "2", "--minutes", "35"]
    plan.append(("power cuts", [crash, *(many if FULL else ["--seeds", "1", "--images", "2500"])], 3000 if FULL else 300, None))
    for broken in ("nosync", "nometasync", "early"):
        plan.append((f"power cuts, {broken}", [crash, "--broken", broken, "--messages", "20", "--images", "400"], 120, None))
    if FULL:
        plan.append(("power cuts (asan, ubsan)", [os.path.join(BUILD, "asan/test/crash/crash"), "--images", "800", "--jobs", "2"], 600, None))
    plan.append(("fuzz replay", [os.path.join(BUILD, "test/fuzz/replay")], 600, None))
    plan.append(("mutated messages", [os.path.join(BUILD, "test/fuzz/mutate"), "--count", "1000000" if FULL else "20000"], 1200, None))
    if FULL:
        plan.append(("fuzz replay (asan, ubsan)", [os.path.join(BUILD, "asan/test/fuzz/replay")], 1800, {"BUILD": os.path.join(BUILD, "asan")}))
        plan.append(("fuzz", [sys.executable, "test/fuzz/fuzz.py", "--seconds", "12"], 3600, None))
    for script in sorted(os.listdir("test/system")):
        if script.startswith("test_") and script.endswith(".py"):
            plan.append((script[:-3].replace("test_", "system "), [sys.executable, os.path.join("test/system", script)], 900, {"FULL": "1"} if FULL else None))
    for script in sorted(os.listdir("test/interop")):
        if script.endswith("_check.py"):
            plan.append((script[:-3].replace("_", " ") + " (Python)", [sys.executable, os.path.join("test/interop", script)], 300, None))
    if os.path.exists("test/demo/demo.py"):
        plan.append(("demo", [sys.executable, "test/demo/demo.py"], 600, {"HOLD": "0"}))
    if FULL:
        plan.append(("soak", [sys.executable, "test/soak/soak.py", "--minutes", "2", "--seed", "1"], 900, None))
    total = [0, 0, 0]
    for name, command, seconds, env in plan:
        for index, number in enumerate(run(name, command, seconds, env)):
            total[index] += number
    tail = f", {total[2]} skipped" if total[2] else ""
    print(f"{total[0]} passed, {total[1]} failed{tail}")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
