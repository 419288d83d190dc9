#!/usr/bin/env python3
"""The bench runs to its end with a handful of messages and yields every row: nothing is said here of speed.

    BUILD=build test/system/test_bench.py
"""
import json
import os
import subprocess
import sys
import tempfile

from harness import BUILD, Checks

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "bench.py")
ROWS = [
    "idle NSP with two CPs: wake-ups", "idle NSP with two CPs: switches of all threads", "idle NSP with two CPs: CPU", "idle NSP with two CPs: RSS", "idle CP: RSS", "idle desk: RSS",
    "noodhulpmelding NSP to CP, with its receipt, one by one", "noodhulpmelding NSP to CP, with its receipt, together",
    "machine: Ed25519 verifications, one core", "machine: Ed25519 verifications, all cores", "machine: LMDB synced commits of one message",
    "machine: LMDB messages in synced commits of 256", "machine: ZeroMQ+CURVE acknowledged, one at a time",
    "machine: ZeroMQ+CURVE acknowledged, window of 240", "NSP to CP, 1 sender: acknowledged after sync",
    "NSP to CP, 100 senders: acknowledged after sync", "NSP to CP, 100 senders: receipt signed and back",
    "NSP to CP to desk, 100 senders: receipt signed and back", "CP with 5 links: RSS", "messages queued for a desk that is away",
    "cpd --check-store of it", "ready after SIGKILL with the backlog", "desk takes of the backlog meanwhile",
    "FLASH signed for by the desk, p99: backlog against idle", "CP with the backlog: RSS",
]
for precedence in ("FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE"):
    for part in ("p50", "p99"):
        ROWS += [f"idle: {precedence} acknowledged by the CP, {part}", f"idle: {precedence} signed for by the desk, {part}",
                 f"backlog: {precedence} acknowledged by the CP, {part}"]
        ROWS += [f"backlog: {precedence} signed for by the desk, {part}"] if precedence != "ROUTINE" else []


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="cpd-bench-") as folder:
        path = os.path.join(folder, "bench.json")
        done = subprocess.run([sys.executable, BENCH, "tiny", "--json", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        checks.check("the bench comes to its end", done.returncode == 0, done.stdout[-4000:])
        if done.returncode == 0:
            with open(path) as text:
                rows = {row["name"]: row for row in json.load(text)["rows"]}
            missing = [name for name in ROWS if name not in rows or not isinstance(rows[name]["value"], (int, float)) or rows[name]["value"] < 0]
            checks.check("it yields every row, each with a figure", not missing, f"missing: {missing}")
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
