#!/usr/bin/env python3
"""A full queue, and a process killed ten times while it empties: the store is sound each time, and each
message comes through once. Calmer than test_chaos.py: when this fails, the step that failed is known."""
import os
import random
import sys
import time

from harness import test_region, wait_for

SEED = int(os.environ.get("SEED", "20261124"))
CP, NSP = 901, 344003
MESSAGES, KILLS = 300, 10
RATE = 40000   # bytes a second: slow enough to be killed ten times on the way


def waiting(node):
    return sum(queue["depth"] for link in node.get("/v1/status")["links"] for queue in link["queue"].values())


def kill_while_draining(checks, nsp, cp, generator):
    """Each time some messages further, at any moment of the turn."""
    for turn in range(1, KILLS + 1):
        before = len(cp.inbox())
        wait_for("messages to pass", lambda: len(cp.inbox()) >= before + 5, 60, 0.01)
        time.sleep(generator.uniform(0, 0.1))
        nsp.kill()
        passed = len(cp.inbox())
        check = nsp.check_store()
        checks.check(f"kill {turn}: in the middle, and the store is sound",
                     passed < MESSAGES and check.returncode == 0 and ", 0 in quarantine" in check.stdout, f"{passed} had passed; {check.stdout}")
        nsp.start()


def crash(checks, region):
    print(f"seed {SEED}: SEED={SEED} repeats it")
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    wire = region.wires[(NSP, CP)]
    wire.rate = RATE
    region.configure()
    region.start()
    region.wait_for_links()
    wire.cut()
    wait_for("the end of the link", lambda: not nsp.link_is_up(CP), 30)
    sent = {nsp.send("text", [CP], {"text": f"{i} " + "x" * 900}): f"{i} " for i in range(MESSAGES)}
    checks.check("all of it waits for the link", waiting(nsp) == MESSAGES, waiting(nsp))
    wire.restore()
    begin = time.monotonic()
    kill_while_draining(checks, nsp, cp, random.Random(SEED))
    wait_for("all messages", lambda: len(cp.inbox()) >= MESSAGES, 120, 0.2)
    wait_for("all receipts", lambda: all(one["recipients"]["delivered"] == 1 for one in nsp.outbox()), 60, 0.2)
    print(f"figure: {MESSAGES} messages through {KILLS} kills in {time.monotonic() - begin:.1f} s")
    shown = [message["id"] for message in cp.inbox()]
    checks.check("each arrived, once", sorted(shown) == sorted(sent), f"{len(shown)} shown, {len(set(shown) & set(sent))} of {MESSAGES}")
    checks.check("with its words", all(cp.show(one)["body"]["text"].startswith(words) for one, words in sent.items()))
    checks.check("its author holds them all, and nothing waits", len(nsp.outbox()) == MESSAGES and not waiting(nsp), waiting(nsp))
    for node in (nsp, cp):
        node.stop()
        check = node.check_store()
        checks.check(f"in the end the store of {node.number} is sound", check.returncode == 0, check.stdout)


if __name__ == "__main__":
    sys.exit(test_region("crash", crash, extra="\n[tuning]\ntime_scale = 20\n"))
