#!/usr/bin/env python3
"""Three nodes and a newcomer: an NSP and a desk call a CP. Messages and receipts, a group, a killed relay,
a directory that spreads, a lost disk, a clean stop; and how often idle nodes wake up.

    BUILD=build test/system/test_nodes.py [NAME...]
"""
import os
import shutil
import sys
import time

from harness import Refused, test_region, wait_for

NSP, CP, DESK, NEWCOMER = 344003, 901, 900, 344009
EXTRA = """
[store]
limit_mib = 64

[tuning]
retry_flash_s = 3
retry_immediate_s = 4
retry_priority_s = 4
retry_routine_s = 5
reroute_s = 2
refusal_wait_s = 1

[log]
level = debug
"""
IDLE_S = 10
tests = []


def test(function):
    tests.append(function)
    return function


def say(node, to, words, **options):
    return node.send("text", [to], {"text": words}, **options)


def arrives(author, node, identifier, seconds=20):
    """It is shown at the node, and its author is told."""
    wait_for(f"{identifier} at {node.number}", lambda: node.has(identifier), seconds)
    wait_for(f"receipt of {identifier}", lambda: author.told(identifier)[node.number] == "DELIVERED", seconds)


def directory(node):
    return node.get("/v1/directory")["version"]


@test
def message_passes_two_hops_and_its_receipt_comes_back(region, nsp, cp, desk):
    arrives(nsp, desk, say(nsp, DESK, "Wij hebben de noodkreet gehoord"))


@test
def flash_goes_the_other_way_and_is_read(region, nsp, cp, desk):
    identifier = say(desk, NSP, "Ontruim nu", precedence="FLASH")
    arrives(desk, nsp, identifier)
    nsp.act(identifier, "read")
    wait_for("word of a person who read it", lambda: desk.told(identifier)[NSP] == "READ", 20)


@test
def a_repeated_key_makes_one_message(region, nsp, cp, desk):
    first = say(nsp, DESK, "eenmaal", key="k-1")
    assert say(nsp, DESK, "eenmaal", key="k-1") == first
    arrives(nsp, desk, first)
    arrives(nsp, desk, say(nsp, DESK, "daarna"))
    assert sum(desk.show(one["id"])["body"]["text"] == "eenmaal" for one in desk.inbox()) == 1


@test
def an_unknown_addressee_is_refused_in_words(region, nsp, cp, desk):
    try:
        say(nsp, 77, "x")
    except Refused as why:
        assert 400 <= why.status < 500 and "directory" in why.error["message"], why
    else:
        raise AssertionError("it was taken")


@test
def a_group_reaches_every_member(region, nsp, cp, desk):
    for name in ("group:2", "iedereen"):
        identifier = say(desk, name, "aan allen")
        for node in (nsp, cp):
            arrives(desk, node, identifier)


@test
def a_hundred_messages_arrive_once(region, nsp, cp, desk):
    identifiers = [say(nsp, DESK, f"bericht {i}") for i in range(100)]
    for identifier in identifiers:
        arrives(nsp, desk, identifier)
    shown = [message["id"] for message in desk.inbox()]
    assert len(shown) == len(set(shown))


@test
def what_was_accepted_survives_a_killed_relay(region, nsp, cp, desk):
    desk.stop()
    identifiers = [say(nsp, DESK, f"onderweg {i}") for i in range(20)]
    wait_for("custody at the CP", lambda: not waiting(nsp), 20)
    cp.kill()
    cp.start()
    desk.start()
    for identifier in identifiers:
        arrives(nsp, desk, identifier, 60)


def waiting(node):
    return sum(queue["depth"] for link in node.get("/v1/status")["links"] for queue in link["queue"].values())


@test
def a_newcomer_introduces_itself(region, nsp, cp, desk):
    before = directory(cp)
    newcomer = region.add(NEWCOMER, "nsp", "NSP Nieuw", "GM0344")
    region.certify(newcomer)
    region.install(newcomer)
    region.wire_up(cp, [newcomer])
    region.configure([newcomer])
    newcomer.start()
    for node in (cp, desk, nsp):
        wait_for(f"the newcomer in the directory of {node.number}", lambda: directory(node) == before + 1, 60)
    arrives(newcomer, desk, say(newcomer, DESK, "wij zijn nieuw"), 60)
    assert newcomer.stop() == 0


@test
def an_update_spreads_over_links(region, nsp, cp, desk):
    before = directory(nsp)
    region.make_group(3, "later", [NSP, CP])
    desk.call("POST", "/v1/directory", region.newest_update())
    for node in (desk, cp, nsp):
        wait_for(f"the update at {node.number}", lambda: directory(node) == before + 1, 20)


@test
def a_lost_disk_starts_a_new_epoch_and_loses_nothing(region, nsp, cp, desk):
    kept = say(nsp, DESK, "voor de brand", closing_level="READ")
    arrives(nsp, desk, kept)
    own = say(desk, NSP, "van voor de brand")
    arrives(desk, nsp, own)
    old = desk.get("/v1/status")["node"]["epoch"]
    desk.kill()
    shutil.rmtree(os.path.join(desk.state, "store"))
    desk.start()
    assert desk.get("/v1/status")["node"]["epoch"] > old
    wait_for("what was not closed, offered again", lambda: desk.has(kept), 60)
    fresh = say(desk, NSP, "na de brand")
    arrives(desk, nsp, fresh, 60)
    assert fresh != own


@test
def idle_nodes_sleep(region, nsp, cp, desk):
    """A figure and no verdict: the machine's other work counts too."""
    time.sleep(3)
    before = [wakeups(node) for node in (nsp, cp, desk)]
    time.sleep(IDLE_S)
    rates = [(wakeups(node) - count) * 60 // IDLE_S for node, count in zip((nsp, cp, desk), before)]
    print(f"figure: wake-ups a minute of idle nodes: NSP {rates[0]}, CP with two links {rates[1]}, desk {rates[2]}")


def wakeups(node):
    total = 0
    for task in os.listdir(f"/proc/{node.process.pid}/task"):
        with open(f"/proc/{node.process.pid}/task/{task}/status") as text:
            total += sum(int(line.split()[1]) for line in text if line.startswith("voluntary_ctxt"))
    return total


@test
def stopping_takes_less_than_five_seconds_and_the_stores_are_sound(region, nsp, cp, desk):
    for node in region.nodes.values():
        begin = time.monotonic()
        assert node.stop() == 0, node.number
        assert time.monotonic() - begin < 5, node.number
        check = node.check_store()
        assert check.returncode == 0, check.stdout


@test
def no_log_shows_a_fault(region, nsp, cp, desk):
    for node in region.nodes.values():
        with open(node.log, errors="replace") as text:
            bad = [line for line in text if any(word in line for word in ("runtime error", "Sanitizer", "event=rebuild"))]
        assert not bad, (node.number, bad[:3])


def nodes(checks, region):
    nsp = region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    cp = region.add(CP, "cp", "Coördinatiepunt")
    desk = region.add(DESK, "desk", "Crisisstaf")
    region.admit([(1, "alle-nsp", [NSP]), (2, "iedereen", [NSP, CP, DESK])])
    region.wire_up(cp, [nsp, desk])
    region.configure()
    region.start()
    for one in tests:
        if not sys.argv[1:] or one.__name__ in sys.argv[1:]:
            checks.run(one, region, nsp, cp, desk)


if __name__ == "__main__":
    sys.exit(test_region("nodes", nodes, extra=EXTRA))
