#!/usr/bin/env python3
"""Upgrade and going back with a full queue: a store of the older schema is brought to this one by a cpd that
is killed at its commits, goes back half-way through the queue and comes again; each message arrives, once.

CPD_OLD=PATH names a cpd of an older version. Then that one runs the store after the way back, delivers some
of it, and is shown to refuse the newer store. Without it all but that is tested."""
import concurrent.futures
import hashlib
import os
import re
import subprocess
import sys
import time

from harness import CPD, test_region, wait_for

OLD = os.environ.get("CPD_OLD")
CP, NSP = 901, 344003
MESSAGES = 5000
# Which call ends the process, and the how manieth: at the sync of a piece, and at the meta page behind it.
KILLS = [("fdatasync", 1), ("fdatasync", 2), ("fdatasync", 1), ("pwrite64", 1), ("fdatasync", 2), ("fdatasync", 1)]


def waiting(node):
    return sum(queue["depth"] for link in node.get("/v1/status")["links"] for queue in link["queue"].values())


def cpd(*words, binary=CPD):
    return subprocess.run([binary, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def fill(nsp):
    """Several at once, so that they share commits."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda i: nsp.send("text", [CP], {"text": f"{i} " + "x" * 200}, key=f"m{i}"), range(MESSAGES)))


def digest(node):
    with open(os.path.join(node.state, "store", "data.mdb"), "rb") as store:
        return hashlib.sha256(store.read()).hexdigest()


def downgrade(checks, nsp, when):
    done = cpd("--downgrade-store", "1", nsp.conf)
    checks.check(f"{when}: the store goes back to schema 1", done.returncode == 0 and "schema 1;" in done.stdout, done.stdout)


def kill_while_migrating(checks, nsp):
    pieces = 0
    for call, number in KILLS:
        nsp.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        nsp.start(wait=False)
        nsp.process.wait(60)
        nsp.wrapper = []
        said = cpd("--check-store", nsp.conf).stdout
        pieces += "half made" in said
        checks.check(f"killed at {call} {number} of the migration", "has schema 1 and" in said or "has schema 2, half made" in said, said)
    checks.check("some kills came half-way", pieces >= 2, pieces)


def refused_by_old(checks, nsp):
    before = digest(nsp)
    done = cpd("--check-store", "--repair", nsp.conf, binary=OLD)
    checks.check("the older cpd refuses the newer store and leaves it as it was",
                 done.returncode == 1 and "schema 2" in done.stdout and digest(nsp) == before, done.stdout)


def run_old_for_a_while(checks, cp, nsp):
    before = len(cp.inbox())
    log = open(nsp.log, "a")
    nsp.process = subprocess.Popen([OLD, "--config", nsp.conf], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    log.close()
    wait_for("messages from the older cpd", lambda: len(cp.inbox()) > before + 200, 60)
    nsp.stop()
    checks.check("the older cpd goes on with the queue", len(cp.inbox()) > before + 200)


def upgrade(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    wire = region.wires[(NSP, CP)]
    region.configure()
    region.start()
    region.wait_for_links()
    wire.cut()
    wait_for("the end of the link", lambda: not nsp.link_is_up(CP), 30)
    begin = time.monotonic()
    sent = fill(nsp)
    print(f"figure: {MESSAGES} messages authored in {time.monotonic() - begin:.1f} s")
    depth = waiting(nsp)
    checks.check("all of it waits for the link", depth >= MESSAGES, depth)
    nsp.stop()

    if OLD:
        refused_by_old(checks, nsp)
    downgrade(checks, nsp, "before")
    if OLD:
        done = cpd("--check-store", nsp.conf, binary=OLD)
        checks.check("the older cpd finds it sound", done.returncode == 0, done.stdout)
    kill_while_migrating(checks, nsp)
    nsp.start()
    with open(nsp.log, errors="replace") as log:
        lines = log.read()
    checks.check("its log tells the way back before the first piece", re.search(r"store-migrating.*--downgrade-store 1 ", lines), lines[-2000:])
    checks.check("and that it is done", "store-migrated" in lines, lines[-2000:])
    checks.check("the queue is as long as before", waiting(nsp) == depth, f"{waiting(nsp)}, {depth} before")
    nsp.stop()
    check = nsp.check_store()
    checks.check("the store is sound", check.returncode == 0, check.stdout)

    nsp.start()
    wire.restore()
    wait_for("a part to pass", lambda: len(cp.inbox()) > 500, 120, 0.05)
    nsp.stop()
    passed = len(cp.inbox())
    checks.check("stopped in the middle", passed < MESSAGES, passed)
    downgrade(checks, nsp, "in the middle")
    if OLD:
        run_old_for_a_while(checks, cp, nsp)
    nsp.start()
    wait_for("all messages", lambda: len(cp.inbox()) >= MESSAGES, 300, 0.2)
    wait_for("all receipts", lambda: all(one["recipients"]["delivered"] == 1 for one in nsp.outbox()), 120, 0.2)
    shown = [message["id"] for message in cp.inbox()]
    checks.check("each arrived, once", sorted(shown) == sorted(sent), f"{len(shown)} shown, {len(set(shown) & set(sent))} of {MESSAGES}")
    wait_for("an empty queue", lambda: not waiting(nsp), 60)
    for node in (nsp, cp):
        node.stop()
        check = node.check_store()
        checks.check(f"in the end the store of {node.number} is sound", check.returncode == 0, check.stdout)


if __name__ == "__main__":
    sys.exit(test_region("upgrade", upgrade, extra="\n[tuning]\ntime_scale = 20\n"))
