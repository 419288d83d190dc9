#!/usr/bin/env python3
"""A laptop is stolen: one directory update at one node cuts it off at every node, what it wrote after is shown as suspect
and counts for nothing, what it wrote before stays, and its place is taken by other keys. Last line: N passed, M failed."""
import json
import os
import shutil
import sys

from harness import Refused, cpctl, test_region, wait_for

CP, OTHER, NSP, THIEF, FAR = 901, 902, 344003, 307001, 736001
STATUS = {"phase": "OPEN", "persons": 12, "staff_present": 2, "staff_needed": 3, "power": "BATTERY", "autonomy_min": 300, "safety": "GREEN"}


def update(region, number):
    with open(os.path.join(region.authority, "updates", f"{number:06}.update"), "rb") as file:
        return file.read()


def directory(node):
    return node.get("/v1/status")["directory"]


def board(node, number):
    return next((nsp for nsp in node.get("/v1/status")["nsps"] if nsp["number"] == number), None)


def shown(node, identifier):
    return next((message for message in node.inbox() if message["id"] == identifier), None)


def is_doubted(node, identifier):
    return shown(node, identifier)["suspect"] and node.show(identifier)["suspect"]


def before(checks, region):
    """What it writes while its people have it, and what the thief writes before anyone knows."""
    thief, cp, nsp = region.nodes[THIEF], region.nodes[CP], region.nodes[NSP]
    good = thief.send("text", [NSP, FAR], {"text": "alles rustig"})
    wait_for("the last good word", lambda: nsp.has(good), 30)
    status = thief.send("nsp-status", [CP], STATUS)
    wait_for("its state at the CP", lambda: (board(cp, THIEF) or {}).get("persons") == 12, 30)
    bad = thief.send("text", [NSP, FAR], {"text": "iedereen naar huis"})
    thief.send("nsp-status", [CP], dict(STATUS, persons=999))
    wait_for("the thief's word", lambda: nsp.has(bad), 30)
    wait_for("the thief's state at the CP", lambda: (board(cp, THIEF) or {}).get("persons") == 999, 30)
    checks.check("before the revocation nothing tells them apart", not is_doubted(nsp, good) and not is_doubted(nsp, bad))
    return good, bad, status


def by_stick(checks, region, good, bad):
    """A node without any link hears of it with the thief's own messages, in one file."""
    far, cp, stick = region.nodes[FAR], region.nodes[CP], os.path.join(region.folder, "stick")
    os.makedirs(stick)
    cpctl("courier", "write", stick, "--to", FAR, "--socket", cp.socket)
    cpctl("courier", "read", stick, "--socket", far.socket)
    wait_for("both messages", lambda: far.has(good) and far.has(bad), 20)
    checks.check("through a courier file too: cut, and what came with it doubted", is_doubted(far, bad) and not is_doubted(far, good)
                 and any(n["number"] == THIEF and n["revoked"] for n in far.get("/v1/directory")["nodes"]))
    checks.check("over the same gap, and it tells so", directory(far) == directory(cp), (directory(far), directory(cp)))


def revoked(checks, region, good, bad, status):
    """An update that nobody brings stands before the one that revokes, which is brought to one node at the region's edge."""
    nsp, cp, other = region.nodes[NSP], region.nodes[CP], region.nodes[OTHER]
    version = directory(nsp)["version"]
    region.make_group(2, "wijk", [NSP, FAR])
    told = cpctl("region", "revoke", region.authority, "--node", THIEF, "--last", "/".join(status.split("/")[1:]), "--reason", "laptop gestolen")
    checks.check("the administrator is told which update to take where", f"updates/{version + 2:06}.update" in told.stdout, told.stdout)
    nsp.call("POST", "/v1/directory", update(region, version + 2))
    for node in (nsp, cp, other):
        wait_for(f"the revocation at {node.number}", lambda: any(n["number"] == THIEF and n["revoked"] for n in node.get("/v1/directory")["nodes"]), 20)
    checks.check("one update at one node reaches every node, over the gap before it", True)
    for node in (cp, other):
        wait_for(f"{node.number} to cut the thief's session", lambda: not node.link_is_up(THIEF), 20)
    checks.check("its sessions are cut at every node", True)
    checks.check("each tells which update is missing", all(directory(node) == {"version": version, "missing": [version + 1]} for node in (nsp, cp, other)),
                 [directory(node) for node in (nsp, cp, other)])
    checks.check("so does status", f"MISSING: {version + 1}" in cpctl("status", "--socket", nsp.socket).stdout)
    doctor = json.loads(cpctl("doctor", "--json", "--socket", nsp.socket, check=False).stdout)
    checks.check("and doctor", any(one["name"] == "directory" and one["state"] == "warn" and str(version + 1) in one["text"] for one in doctor["checks"]), doctor)
    checks.check("what came before the line is as it was", shown(nsp, good) and not is_doubted(nsp, good))
    checks.check("what came after it is kept, and doubted though it came in before the revocation", is_doubted(nsp, bad))
    inbox = cpctl("inbox", "--socket", nsp.socket).stdout
    checks.check("the inbox says so, of that one alone", inbox.count("verdacht: na intrekking") == 1, inbox)
    checks.check("and so does the message", "verdacht: na intrekking" in cpctl("show", bad, "--socket", nsp.socket).stdout)
    checks.check("and its trace", nsp.trace(bad)["suspect"] and not nsp.trace(good)["suspect"])
    checks.check("a revoked node is on no board", board(cp, THIEF) is None)
    by_stick(checks, region, good, bad)
    nsp.call("POST", "/v1/directory", update(region, version + 1))
    wait_for("the gap to be filled everywhere", lambda: all(directory(node) == {"version": version + 2, "missing": []} for node in (nsp, cp, other)), 20)
    checks.check("what was missing follows to every node", True)


def refused(checks, region):
    """It still has its keys and calls on."""
    thief, nsp = region.nodes[THIEF], region.nodes[NSP]
    try:
        late = thief.send("text", [NSP], {"text": "doe open"})
    except Refused as why:
        checks.check("it was told that it is revoked", "revoked" in why.error["message"], why)
        late = None
    marker = region.nodes[CP].send("text", [NSP], {"text": "na de diefstal"})
    wait_for("other traffic", lambda: nsp.has(marker), 30)
    thief.stop()
    thief.start()
    wait_for("its calls to be refused", lambda: all(f'call-failed link={hub} why="it refuses our key"' in thief.log_tail(40) for hub in (CP, OTHER)), 60)
    checks.check("its calls are refused, at each node that it calls", True)
    checks.check("its new messages reach nobody", late is None or not nsp.has(late))
    checks.refused("nobody writes to it", 400, "to", lambda: nsp.send("text", [THIEF], {"text": "x"}))


def reinstated(checks, region, bad):
    """The same number, a new machine, new keys."""
    thief, cp, nsp = region.nodes[THIEF], region.nodes[CP], region.nodes[NSP]
    thief.stop()
    shutil.rmtree(thief.state)
    cpctl("node", "init", thief.state, "--name", thief.name)
    region.certify(thief)
    region.install(thief)
    cp.call("POST", "/v1/directory", region.newest_update())
    thief.start()
    wait_for("its links", lambda: thief.link_is_up(CP) and thief.link_is_up(OTHER), 60)
    checks.check("the thief's last state is not shown as this place's", board(cp, THIEF)["phase"] is None and board(cp, THIEF)["status_suspect"], board(cp, THIEF))
    back = thief.send("text", [NSP], {"text": "wij zijn er weer"})
    wait_for("its first word", lambda: nsp.has(back), 30)
    checks.check("under a new key it is trusted", not is_doubted(nsp, back), nsp.show(back))
    checks.check("and what the thief wrote stays doubted", is_doubted(nsp, bad))
    thief.send("nsp-status", [CP], dict(STATUS, persons=7))
    wait_for("its state", lambda: board(cp, THIEF).get("persons") == 7, 30)
    checks.check("its state counts again", not board(cp, THIEF)["status_suspect"])
    there = nsp.send("text", [THIEF], {"text": "welkom terug"})
    wait_for("an answer", lambda: nsp.told(there)[THIEF] == "DELIVERED", 30)
    checks.check("and people write to it again", True)
    for node in region.nodes.values():
        node.stop()
        node.start()
    checks.check("after a restart all of it stands", is_doubted(nsp, bad) and not is_doubted(nsp, back))


def stolen(checks, region):
    for number, role, name in ((CP, "cp", "CP Utrecht"), (OTHER, "cp", "CP Amersfoort"), (NSP, "nsp", "NSP Lombok"),
                               (THIEF, "nsp", "NSP Kruiskamp"), (FAR, "nsp", "NSP Mijdrecht")):
        region.add(number, role, name)
    region.admit()
    region.wire_up(region.nodes[CP], [region.nodes[NSP], region.nodes[THIEF], region.nodes[OTHER], region.nodes[FAR]])
    region.wire_up(region.nodes[OTHER], [region.nodes[THIEF]])
    region.wires[(FAR, CP)].cut()
    region.configure()
    region.start()
    for spoke, hub in ((NSP, CP), (THIEF, CP), (OTHER, CP), (THIEF, OTHER)):
        wait_for(f"link {spoke}-{hub}", lambda: region.nodes[spoke].link_is_up(hub), 60)
    good, bad, status = before(checks, region)
    revoked(checks, region, good, bad, status)
    refused(checks, region)
    reinstated(checks, region, bad)


if __name__ == "__main__":
    sys.exit(test_region("stolen", stolen))
