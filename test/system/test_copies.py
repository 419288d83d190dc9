#!/usr/bin/env python3
"""One identity, two machines: the folder of an NSP is copied to a spare laptop and both are switched on. The newer
copy has the node, the older one is told, stops, stays stopped, and keeps what it holds.

    BUILD=build test/system/test_copies.py [NAME...]
"""
import os
import shutil
import subprocess
import sys
import time

from harness import Node, Refused, cpctl, test_region, wait_for

NSP, CP, CP2, DESK = 344003, 901, 902, 900
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
copy_doubt_s = 3
presence_s = 1

[log]
level = debug
"""
tests = []


def test(function):
    tests.append(function)
    return function


def say(node, words, to=DESK, **options):
    return node.send("text", [to], {"text": words}, **options)


def arrives(author, node, identifier, seconds=30):
    wait_for(f"{identifier} at {node.number}", lambda: node.has(identifier), seconds)
    wait_for(f"receipt of {identifier}", lambda: author.told(identifier)[node.number] == "DELIVERED", seconds)


def fenced(node):
    try:
        return node.get("/v1/status")["fenced"]
    except (OSError, Refused):
        return None


def copy_of(node, name):
    """The machine's folders as a stick brings them to another one."""
    copy = Node(node.region, node.number, node.role, node.name)
    copy.folder = os.path.join(node.region.folder, name)
    copy.state, copy.conf, copy.log = (os.path.join(copy.folder, part) for part in ("state", "cpd.conf", "cpd.log"))
    copy.socket = os.path.join(node.region.sockets, f"{name}.sock")
    shutil.copytree(node.folder, copy.folder)
    with open(copy.conf) as conf:
        text = conf.read().replace(node.state, copy.state).replace(node.socket, copy.socket)
    with open(copy.conf, "w") as conf:
        conf.write(text)
    open(copy.log, "w").close()
    node.region.nodes[name] = copy
    return copy


def claim_of(node):
    return os.path.join(node.state, "identity", "claim")


def up(node):
    """A fenced node is not healthy, and is started all the same."""
    node.start(wait=False)
    wait_for(f"answer of {node.log}", lambda: status(node), 30)


def status(node):
    try:
        return node.get("/v1/status")
    except (OSError, Refused):
        return None


def heard_rise(node):
    """How often it has heard of a new epoch of the NSP."""
    with open(node.log, errors="replace") as log:
        return log.read().count(f"event=epoch-rose link={NSP}")


def is_refused(node):
    try:
        say(node, "mag niet")
    except Refused as why:
        return "another copy" in why.error["message"]
    return False


@test
def the_newer_copy_has_the_node_and_the_older_is_fenced(region, old, cp, cp2, desk):
    arrives(old, desk, say(old, "van de eerste laptop"))
    old.stop()
    spare = copy_of(old, "spare")
    old.start()
    wait_for("its links", lambda: old.link_is_up(CP) and old.link_is_up(CP2))
    with open(claim_of(old)) as claim:
        region.claim_before = claim.read()
    region.mine = say(old, "geschreven na de kopie")
    arrives(old, desk, region.mine)
    spare.start(wait=False)
    wait_for("the fence", lambda: fenced(old))
    wait_for("links of the spare one", lambda: spare.link_is_up(CP) and spare.link_is_up(CP2))
    assert status(spare)["node"]["claim"] == 2 and status(old)["node"]["claim"] == 1
    assert is_refused(old)
    identifier = say(spare, "van de reservelaptop")
    arrives(spare, desk, identifier)
    # No id of the two can be the same: the copy that was moved began its own epoch.
    assert identifier.split("/")[1] != region.mine.split("/")[1]
    assert "cpd_fenced 1" in old.text("/metrics")[1] and "cpd_fenced 0" in spare.text("/metrics")[1]
    told = cpctl("--socket", old.socket, "status").stdout
    assert "FENCED" in told and "node claim" in told, told
    told = cpctl("--socket", old.socket, "doctor", "--config", old.conf, check=False)
    assert told.returncode == 1 and "fenced" in told.stdout, told.stdout


@test
def a_fenced_copy_stays_fenced_when_it_starts_again(region, old, cp, cp2, desk):
    spare = region.nodes["spare"]
    old.kill()
    up(old)
    assert fenced(old) and is_refused(old)
    before = spare.get("/v1/status")["links"]
    arrives(spare, desk, say(spare, "gaat door"))
    assert [link["since_s"] >= earlier["since_s"] for link, earlier in zip(spare.get("/v1/status")["links"], before)] == [True, True]


@test
def an_old_laptop_from_the_drawer_does_not_take_the_node_back(region, old, cp, cp2, desk):
    """It was never told, and the newer copy is switched off at that moment."""
    spare = region.nodes["spare"]
    old.stop()
    with open(claim_of(old), "w") as claim:
        claim.write(region.claim_before)
    spare.stop()
    up(old)
    wait_for("the fence", lambda: fenced(old))
    spare.start()
    wait_for("links of the spare one", lambda: spare.link_is_up(CP) and spare.link_is_up(CP2))
    arrives(spare, desk, say(spare, "nog steeds"))
    assert not fenced(spare)


@test
def who_is_told_to_take_over_does(region, old, cp, cp2, desk):
    spare = region.nodes["spare"]
    refused = cpctl("node", "claim", old.state, check=False)
    assert refused.returncode == 1 and "stop it first" in refused.stderr, refused.stderr
    old.stop()
    told = cpctl("node", "claim", old.state).stdout
    assert "claim 3" in told, told
    cp.stop()
    cp2.stop()
    wait_for("no links", lambda: not spare.link_is_up(CP) and not spare.link_is_up(CP2))
    region.stranded = say(spare, "aangenomen, en nooit verzonden")
    spare.stop()
    cp.start()
    cp2.start()
    before = [heard_rise(each) for each in (cp, cp2)]
    old.start()
    # Until they have its word, a second after its links are up, they cannot know the spare one for the older copy.
    wait_for("its new epoch", lambda: all(heard_rise(each) > one for each, one in zip((cp, cp2), before)))
    up(spare)
    wait_for("the fence of the spare one", lambda: fenced(spare))
    wait_for("links", lambda: old.link_is_up(CP) and old.link_is_up(CP2))
    arrives(old, desk, say(old, "weer de eerste laptop"))
    assert is_refused(spare) and not fenced(old)


@test
def a_stick_carries_out_what_a_fenced_copy_had_accepted(region, old, cp, cp2, desk):
    spare, stick = region.nodes["spare"], os.path.join(region.folder, "stick")
    os.mkdir(stick)
    told = cpctl("--socket", spare.socket, "courier", "write", stick).stdout     # which CP it waits for is not known
    assert "1 message" in told and "fenced" in told, told
    for each in (cp, cp2):
        cpctl("--socket", each.socket, "courier", "read", stick, check=False)
    wait_for("it is at the desk", lambda: desk.has(region.stranded))
    told = cpctl("--socket", spare.socket, "courier", "read", stick).stdout
    assert "1 that went by stick from here is in custody there" in told, told
    assert is_refused(spare) and fenced(spare)


@test
def of_a_disk_that_was_copied_whole_the_later_start_has_the_node(region, old, cp, cp2, desk):
    """Nothing on the two disks differs: the same claim, the same epoch, the same machine."""
    old.stop()
    twin = copy_of(old, "twin")
    with open(claim_of(twin)) as claim:
        words = claim.read().split()
    born = subprocess.run(["stat", "-c", "%.9W", os.path.join(twin.state, "identity", "signing.key")], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    words[-2], words[-1] = born.split(".")[0], str(int(born.split(".")[1]))
    with open(claim_of(twin), "w") as claim:
        claim.write(" ".join(words) + "\n")
    old.start()
    wait_for("its links", lambda: old.link_is_up(CP) and old.link_is_up(CP2))
    arrives(old, desk, say(old, "nog alleen"))
    time.sleep(3.5)     # copy_doubt_s: that it was up before the other began must be beyond doubt
    up(twin)
    wait_for("a fence", lambda: fenced(old))
    assert status(twin)["node"]["claim"] == 3 and not fenced(twin)
    wait_for("links of the twin", lambda: twin.link_is_up(CP) and twin.link_is_up(CP2))
    arrives(twin, desk, say(twin, "de tweeling"))


@test
def nothing_was_shown_twice_and_no_id_was_given_twice(region, old, cp, cp2, desk):
    shown = [message["id"] for message in desk.inbox()]
    assert len(shown) == len(set(shown))
    for node in (cp, cp2, desk):
        with open(node.log, errors="replace") as log:
            text = log.read()
        assert "event=id-conflict" not in text, node.number


def copies(checks, region):
    for number, role, name in ((NSP, "nsp", "NSP De Meern"), (CP, "cp", "CP Utrecht"), (CP2, "cp", "CP Houten"), (DESK, "desk", "Meldkamer")):
        region.add(number, role, name)
    region.admit()
    old, cp, cp2, desk = (region.nodes[number] for number in (NSP, CP, CP2, DESK))
    region.wire_up(cp, [old, desk])
    region.wire_up(cp2, [old, desk])
    region.configure()
    region.start()
    region.wait_for_links()
    wanted = sys.argv[1:]
    for one in tests:
        if not wanted or one.__name__ in wanted:
            checks.run(one, region, old, cp, cp2, desk)


if __name__ == "__main__":
    sys.exit(test_region("copies", copies, extra=EXTRA))
