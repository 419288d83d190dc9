#!/usr/bin/env python3
"""A thin, slow, breaking wire: precedence holds, nothing is lost, an alarm does not wait for a pile."""
import sys
import time

from harness import test_region, wait_for

CP, NSP = 901, 344003
PILE = 60


def thin(checks, region):
    region.add(CP, "cp", "Coördinatiepunt")
    region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(region.nodes[CP], [region.nodes[NSP]])
    wire = region.wires[(NSP, CP)]
    wire.rate, wire.delay = 12000, 0.05
    region.configure()
    region.start()
    region.wait_for_links()
    nsp, cp = region.nodes[NSP], region.nodes[CP]
    pile = [nsp.send("text", [CP], {"text": f"stapel {i} " + "y" * 1900}, precedence="ROUTINE") for i in range(PILE)]
    wait_for("the pile to move", lambda: len(cp.inbox()) >= 2, 60)
    before = len(cp.inbox())
    alarm = nsp.send("emergency-call", [CP], {"number": 1, "services": 4, "nature": "MEDICAL", "postcode": "3512JE",
                                              "house_number": "14", "caller_waits": True})
    begin = time.monotonic()
    wait_for("the alarm", lambda: cp.has(alarm), 60, 0.02)
    took = time.monotonic() - begin
    place = [message["id"] for message in cp.inbox()].index(alarm)
    checks.check("an alarm passes a pile of routine traffic", place < PILE - 10 and place - before <= 12, f"place {place}, {before} were there")
    print(f"figure: FLASH over a 12 kB/s wire with {PILE - before} messages of 2 kB waiting: {took:.2f} s, {place - before} messages went before it")
    wire.break_every = 60000
    for i in range(10):
        nsp.send("text", [CP], {"text": f"na {i} " + "z" * 500}, precedence="PRIORITY")
    wait_for("all of it over a wire that breaks", lambda: len(cp.inbox()) >= PILE + 11, 120, 0.5)
    shown = [message["id"] for message in cp.inbox()]
    checks.check("over a wire that breaks everything arrives once", len(shown) == len(set(shown)) == PILE + 11, len(shown))
    checks.check("the pile is whole", set(pile) <= set(shown), len(set(pile) - set(shown)))


if __name__ == "__main__":
    sys.exit(test_region("thin", thin, seed=7, extra="\n[tuning]\ntime_scale = 20\n"))
