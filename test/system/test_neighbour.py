#!/usr/bin/env python3
"""An NSP that loses its last CP reaches the region through the NSP beside it, both ways, and goes back to its CP when that is
there again: the configuration of docs/OPERATIONS.md, *An NSP has lost all its CPs*, with real processes."""
import sys

from harness import test_region, wait_for

CP, DESK, BESIDE, LOST = 901, 911, 344003, 344009


def arrives(author, node, identifier):
    wait_for(f"{identifier} at {node.number}", lambda: node.has(identifier), 90)
    wait_for(f"receipt of {identifier}", lambda: author.told(identifier)[node.number] == "DELIVERED", 90)


def times_shown(node, words):
    return sum(node.show(one["id"])["body"].get("text") == words for one in node.inbox())


def hops(node, identifier):
    return [hop["node"] for hop in node.trace(identifier)["hops"]]


def neighbour_test(checks, region):
    cp, desk = region.add(CP, "cp", "Coördinatiepunt"), region.add(DESK, "desk", "ROT")
    beside, lost = region.add(BESIDE, "nsp", "NSP Lombok", "GM0344"), region.add(LOST, "nsp", "NSP Zuilen", "GM0344")
    region.admit()
    region.wire_up(cp, [desk, beside, lost])
    region.wire_up(beside, [lost])
    region.configure()
    region.start()
    region.wait_for_links()

    first = lost.send("text", [DESK], {"text": "nog over het CP"})
    arrives(lost, desk, first)
    checks.check("with its CP there it goes over it", BESIDE not in hops(desk, first), hops(desk, first))

    region.wires[(LOST, CP)].cut()
    out = lost.send("text", [DESK], {"text": "hier brandt het"}, precedence="FLASH")
    arrives(lost, desk, out)
    checks.check("its FLASH reaches the desk through the NSP beside it", BESIDE in hops(desk, out), hops(desk, out))
    back = desk.send("text", [LOST], {"text": "hulp onderweg"})
    arrives(desk, lost, back)
    checks.check("and the answer comes the same way", BESIDE in hops(lost, back), hops(lost, back))
    checks.check("the NSP beside it shows neither", not beside.has(out) and not beside.has(back))

    region.wires[(LOST, CP)].restore()
    wait_for("the link to the CP", lambda: lost.link_is_up(CP), 120)
    again = lost.send("text", [DESK], {"text": "weer over het CP"})
    arrives(lost, desk, again)
    checks.check("when the CP is there again it goes over it", BESIDE not in hops(desk, again), hops(desk, again))
    checks.check("everything is shown once", times_shown(desk, "nog over het CP") == times_shown(desk, "weer over het CP") == 1 and
                 times_shown(lost, "hulp onderweg") == 1 and [one["id"] for one in desk.inbox()].count(out) == 1)


if __name__ == "__main__":
    sys.exit(test_region("neighbour", neighbour_test))
