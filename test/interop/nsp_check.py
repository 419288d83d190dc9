#!/usr/bin/env python3
"""An NSP written in Python from docs/PROTOCOL.md (cpdpy/) in a region of real cpd nodes: it joins, reports, is
instructed, and loses nothing and counts nothing twice while its link is cut, the CP is killed, it is killed itself, and its
disk is put back from an old copy. Ends with `N passed, M failed`."""
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]
from cpdpy.debian import require  # noqa: E402

require()
from cpdpy.crypto import hash8, sign  # noqa: E402
from cpdpy.daemon import Daemon  # noqa: E402
from cpdpy.joining import Anchor, keys_fingerprint  # noqa: E402
from cpdpy.schema import Item, Level, REASON_NAMES, Reason, pb  # noqa: E402
from harness import cpctl, test_region, wait_for  # noqa: E402
from pynode import PythonNode  # noqa: E402

CP, DESK, NSP, OTHER = 901, 911, 344003, 307001
ALL_NSPS = 1
PLACE = {"postcode": "3531GH", "house_number": "12 bis"}
POINT = {"colour": "AMBER", "text": "gaat"}
WIDE = "\U0001f6a8"  # four bytes a character: bodies above one frame within the bounds of section 8.2


def call(number):
    return {"number": number, "services": 4, "nature": "MEDICAL", "caller_waits": True, **PLACE}


def report(number, text="Het loopt."):
    point = dict(POINT, text=text)
    return {"number": number, "version": 1, "from_ms": 1000, "to_ms": 2000, "core": text, "drawn_up_by": "operator", "people": point,
            "means": point, "connections": point, "communication": point, "logistics": point, "society": point}


def status(persons):
    return {"phase": "OPEN", "persons": persons, "staff_present": 3, "staff_needed": 4, "power": "BATTERY", "autonomy_min": 90, "safety": "GREEN"}


def instruction(number, what="Ga open", level="REQUIRED_ACCEPTED"):
    return {"number": number, "on_behalf_of": "ROT", "what": what, "why": "Er is geen stroom", "by_when_ms": 31536000000, "required_level": level}


class Scene:
    """The nodes, and what each wrote for whom: told apart by id, hash of the signed bytes, hash of the body."""

    def __init__(self, checks, region):
        self.checks, self.region = checks, region
        self.cp = region.add(CP, "cp", "Coördinatiepunt")
        self.desk = region.add(DESK, "desk", "Meldkamer")
        self.nsp = PythonNode(region, NSP, "NSP Lombok", "GM0344")
        self.other = PythonNode(region, OTHER, "NSP Kruiskamp", "GM0307")
        self.to_nsp, self.to_desk, self.to_cp = [], [], []

    def check(self, *what):
        self.checks.check(*what)

    def sets_agree(self, when):
        """What each addressee has is what was written for it, once each, by id, hash and body."""
        nsp = [(one["id"], one["hash"], one["body_hash"]) for one in self.nsp.inbox()]
        wrote = [(one["id"], one["hash"], one["body_hash"]) for one in map(self.desk.show, self.to_nsp)]
        self.check(f"{when}: the NSP has each message that was written for it, once", sorted(nsp) == sorted(wrote), f"{nsp}\n{wrote}")
        mine = {one["id"]: one["hash"] for one in self.nsp.outbox()}
        for node, written in ((self.desk, self.to_desk), (self.cp, self.to_cp)):
            got = [(one["id"], one["hash"]) for one in node.inbox() if one["origin"] == NSP and one["kind"] != "nsp-status"]
            want = [(one, mine.get(one, dict(got).get(one))) for one in written]
            self.check(f"{when}: {node.number} has each message of the NSP, once", sorted(got) == sorted(want), f"{got}\n{want}")


def joins(scene):
    """Certified while the CP is out of the region's reach: it has to introduce itself."""
    region, nsp = scene.region, scene.nsp
    region.certify(scene.other)
    region.admit()
    region.wire_up(scene.cp, [scene.desk])
    region.configure()
    region.start()
    scene.other.install()
    told = cpctl("region", "admit", region.authority, os.path.join(nsp.state, "request.cpd"), "--node", NSP, "--role", "nsp", "--name", nsp.name,
                 "--municipality", nsp.municipality)
    scene.check("the region reads the request, and shows the fingerprint that the NSP computes",
                keys_fingerprint(nsp.identity.keys) in told.stdout + told.stderr, told.stdout + told.stderr)
    nsp.install()
    with open(os.path.join(region.authority, "region.pub")) as file:
        scene.check("the kit brings the region's anchor", Anchor(file.read()).text == nsp.identity.values["anchor"])
    before = scene.cp.get("/v1/directory")
    scene.check("the CP does not know the newcomer", NSP not in [one["number"] for one in before["nodes"]])
    for node in (scene.other, nsp):
        node.wire_up(scene.cp)
        node.start()
    wait_for("a link after the introduction", nsp.is_up, 30)
    after = scene.cp.get("/v1/directory")
    scene.check("it introduced itself, and is let in", NSP in [one["number"] for one in after["nodes"]] and nsp.link()["sessions"] >= 2)
    region.make_group(ALL_NSPS, "alle-nsp", [OTHER, NSP])
    scene.desk.call("POST", "/v1/directory", region.newest_update())
    version = scene.desk.get("/v1/directory")["version"]
    wait_for("the group at the NSP", lambda: nsp.status()["directory"] == version)
    scene.check("directory updates reach it over the link", True)
    wait_for("its presence at the desk", lambda: any(one["number"] == NSP and one["homes"] == [CP] for one in scene.desk.get("/v1/status")["nsps"]))
    scene.check("its presence reaches the desk", True)


def reports(scene):
    nsp, desk, cp = scene.nsp, scene.desk, scene.cp
    emergency = nsp.send("emergency-call", [DESK], call(41))
    both = nsp.send("situation-report", [CP, DESK], report(1))
    scene.to_desk += [emergency, both]
    scene.to_cp += [both]
    wait_for("DELIVERED for the call", lambda: nsp.told(emergency) == {DESK: "DELIVERED"})
    wait_for("DELIVERED for the report", lambda: nsp.told(both) == {CP: "DELIVERED", DESK: "DELIVERED"})
    scene.check("signed receipts of both addressees came, and hold", nsp.status()["counts"]["receipts"] >= 3)
    shown = desk.show(emergency)["body"]
    scene.check("the call is as it was written, check words included", shown["number"] == 41 and shown["postcode"] == "3531GH" and shown["check_words"],
                shown)
    for act, level in (("read", "READ"), ("accept", "ACCEPTED"), ("done", "DONE")):
        desk.act(emergency, act)
        wait_for(level, lambda: nsp.told(emergency) == {DESK: level})
    scene.check("READ, ACCEPTED, DONE follow, and the call is closed", [one["closed"] for one in nsp.outbox() if one["id"] == emergency] == [True])
    for persons in (5, 6, 7):
        nsp.send("nsp-status", [CP], status(persons))
    wait_for("the last state at the CP", lambda: [one.get("persons") for one in cp.get("/v1/status")["nsps"] if one["number"] == NSP] == [7])
    wait_for("the states to be let go", lambda: all(one["ended"] for one in nsp.outbox()[-3:]))
    scene.check("of its states the last one holds, without receipts", True)


def is_instructed(scene):
    nsp, desk = scene.nsp, scene.desk
    own = desk.send("instruction", [NSP], instruction(1))
    group = desk.send("instruction", ["alle-nsp"], instruction(2))
    scene.to_nsp += [own, group]
    wait_for("the instructions", lambda: len(nsp.inbox()) == 2, 20)
    wait_for("DELIVERED of the group", lambda: desk.told(group) == {NSP: "DELIVERED", OTHER: "DELIVERED"})
    wait_for("DELIVERED of the other", lambda: desk.told(own) == {NSP: "DELIVERED"})
    scene.check("an instruction comes by number and by group", True)
    for identifier in (own, group):
        nsp.mark(identifier, "READ")
    wait_for("READ at the desk", lambda: all(desk.told(one)[NSP] == "READ" for one in (own, group)))
    told = cpctl("--socket", desk.socket, "trace", own).stdout
    scene.check("cpctl trace at the desk tells READ by the Python NSP", any(str(NSP) in line and "READ" in line for line in told.splitlines()), told)
    nsp.mark(own, "ACCEPTED", remark="Wij gaan open")
    nsp.mark(group, "REFUSED", remark="Geen mensen")
    wait_for("ACCEPTED and REFUSED", lambda: desk.told(own)[NSP] == "ACCEPTED" and desk.told(group)[NSP] == "REFUSED")
    scene.check("ACCEPTED closes its instruction", desk.trace(own)["closed"])


def sends_large_bodies(scene):
    nsp, desk, other = scene.nsp, scene.desk, scene.other
    big = nsp.send("situation-report", [DESK], dict(report(2, WIDE * 280), outlook=WIDE * 280, bottlenecks=[WIDE * 280] * 3, needs=[WIDE * 280] * 3,
                                                    local=[{"key": "foto", "value": WIDE * 280}] * 16))
    scene.to_desk.append(big)
    wait_for("the large report", lambda: nsp.told(big) == {DESK: "DELIVERED"}, 20)
    shown = desk.show(big)
    scene.check("a large report of its own arrives whole", shown["body_bytes"] > 16384 and nsp.ask("body_hash", id=big)["hash"] == shown["body_hash"], shown)
    # A body of no known shape: 50 leaves, through the CP to another NSP.
    raw = bytes(range(256)) * 800
    identifier = nsp.ask("send", kind="text", to=[OTHER], raw=raw.hex())["id"]
    wait_for("50 leaves at the other NSP", lambda: nsp.told(identifier) == {OTHER: "DELIVERED"}, 20)
    scene.check("204,800 bytes go leaf by leaf through the CP", [one["body_hash"] for one in other.inbox() if one["id"] == identifier] ==
                [nsp.ask("body_hash", id=identifier)["hash"]])
    scene.check("and wait for credit on the way", nsp.link()["credit_waits"] > 0)


def traffic(scene, first, count):
    """Both ways, of all precedences."""
    for number in range(first, first + count):
        kind, body = (("emergency-call", call(number)) if number % 4 == 0 else ("situation-report", report(number)) if number % 4 == 1 else
                      ("text", {"text": f"bericht {number}"}))
        scene.to_desk.append(scene.nsp.send(kind, [DESK], body))
        scene.to_nsp.append(scene.desk.send("instruction", ["alle-nsp"] if number % 3 == 0 else [NSP], instruction(number)))


def arrived(scene):
    """All that was written has arrived and its authors know."""
    def done():
        return len(scene.nsp.inbox()) == len(scene.to_nsp) and all(
            level not in ("NONE", None) for one in scene.nsp.outbox() if not one["ended"] for level in one["told"].values())
    wait_for("everything, and its receipts", done, 40)
    wait_for("the receipts of the NSP", lambda: all(scene.desk.told(one).get(NSP) not in ("NONE", None) for one in scene.to_nsp), 40)


def survives_a_cut(scene):
    nsp = scene.nsp
    before = nsp.link()
    held = len(nsp.inbox())
    traffic(scene, 100, 12)
    wait_for("the first of it", lambda: len(nsp.inbox()) > held)
    nsp.wire.cut()
    wait_for("the cut", lambda: not nsp.is_up())
    traffic(scene, 120, 6)
    scene.check("what is written during the cut waits on its disk", nsp.status()["queued"] >= 6)
    nsp.wire.restore()
    wait_for("the link", nsp.is_up)
    arrived(scene)
    after = nsp.link()
    scene.check("serials go on over the cut", after["next_serial"] > before["next_serial"] and after["received"] >= before["received"] + 12, after)
    scene.sets_agree("after the cut")


def survives_kills(scene):
    nsp, cp = scene.nsp, scene.cp
    traffic(scene, 200, 10)
    cp.kill()
    wait_for("the loss of the CP", lambda: not nsp.is_up())
    for number in range(220, 226):
        scene.to_desk.append(nsp.send("situation-report", [DESK], report(number)))
    cp.start()
    wait_for("the link", nsp.is_up)
    for number in range(230, 240):
        scene.to_nsp.append(scene.desk.send("instruction", [NSP], instruction(number)))
        if number == 234:
            nsp.kill()  # in the middle of what it takes
    nsp.start("--grant", "512")
    scene.check("it comes back in its epoch", nsp.status()["epoch"] == 1)
    traffic(scene, 240, 4)
    arrived(scene)
    scene.check("a grant of 512 bytes is kept to by the CP", not nsp.status()["breaches"] and nsp.link()["pieces_in"] > 0)
    scene.sets_agree("after the kills")


def survives_an_old_copy(scene):
    """Its disk is put back to what it was some messages ago: it learns from the CP that it said more than it knows."""
    nsp, desk = scene.nsp, scene.desk
    copy = os.path.join(scene.region.folder, "copy")
    nsp.kill(signal.SIGTERM)
    nsp.copy_state(copy)
    nsp.start()
    wait_for("the link", nsp.is_up)
    lost = nsp.send("situation-report", [DESK], report(300))
    later = desk.send("instruction", [NSP], instruction(300))
    scene.to_desk.append(lost)
    scene.to_nsp.append(later)
    wait_for("both", lambda: nsp.told(lost) == {DESK: "DELIVERED"} and desk.told(later)[NSP] == "DELIVERED")
    nsp.kill()
    nsp.put_back(copy)
    nsp.start()
    wait_for("a new epoch", lambda: nsp.status()["epoch"] == 2)
    fresh = nsp.send("situation-report", [DESK], report(301))
    scene.check("what it writes then has an id of the new epoch", fresh == f"{NSP}/2/1", fresh)
    scene.to_desk.append(fresh)
    wait_for("what the desk knew delivered, again", lambda: any(one["id"] == later for one in nsp.inbox()), 30)
    wait_for("the fresh report", lambda: nsp.told(fresh) == {DESK: "DELIVERED"}, 30)
    nsp.mark(later, "READ")
    wait_for("READ by the new epoch", lambda: desk.told(later)[NSP] == "READ", 30)
    scene.check("what was lost with the disk comes again, and is answered", True)
    scene.sets_agree("after the old copy")


class Puppet:
    """The other NSP again, within this process, so that it can be made to say what it should not."""

    def __init__(self, scene):
        nsp = scene.other
        nsp.kill(signal.SIGTERM)
        self.daemon = Daemon(nsp.state, nsp.socket, {CP: f"tcp://127.0.0.1:{nsp.wire.port}"}, 65536)
        self.node, self.link = self.daemon.node, self.daemon.node.links[CP]
        self.left_before_commit = 0
        for caller in self.daemon.callers.values():
            caller.flush = self.watched(caller.flush)
        self.until("its link", lambda: self.link.is_up)

    def watched(self, flush):
        def watch():
            self.left_before_commit += self.node.store.base.in_transaction
            flush()
        return watch

    def until(self, what, condition, seconds=20):
        def step():
            self.daemon.step()
            return condition()
        return wait_for(what, step, seconds, step=0)

    def row(self, identifier):
        return self.node.store.one("select * from message where origin=? and epoch=? and sequence=?", *identifier)

    def writes(self, text, forge=None, kind="text", to=CP):
        """Writes a message, with its envelope changed by forge(envelope) before it leaves."""
        identifier = self.node.send(kind, pb.Text(text=text).SerializeToString(), [to])
        if forge:
            envelope = pb.Envelope.FromString(self.row(identifier)["envelope"])
            forge(envelope)
            self.node.store.run("update message set envelope=?, hash=? where origin=? and epoch=? and sequence=?", envelope.SerializeToString(),
                                hash8(envelope.signed), *identifier)
        return identifier

    def sign(self, envelope):
        envelope.signatures[0].signature = sign(self.node.keys.signing, "message", self.node.network, envelope.signed)


def is_refused(scene):
    """What a node must not say is refused by cpd, for the reason that the text gives, and shown to nobody; what it may
    say, however strange, is not."""
    puppet, cp = Puppet(scene), scene.cp
    node, link = puppet.node, puppet.link
    before = len(cp.inbox())

    def told(what, reason, text, forge, kind="text"):
        identifier = puppet.writes(text, forge, kind)
        puppet.until(what, lambda: link.reasons_heard)
        puppet.until("the acknowledgement of the void", lambda: not any(flight.is_void for flight in link.flights.values()))
        scene.check(f"{what} is refused: {REASON_NAMES[reason]}", link.reasons_heard == [reason], link.reasons_heard)
        node.store.run("delete from queue where sequence=? and type=?", identifier[2], Item.MESSAGE)
        link.reasons_heard.clear()

    def set_signature(envelope):
        envelope.signatures[0].signature = bytes(64)

    def set_key_number(envelope):
        envelope.signatures[0].key_number = 9

    told("a signature that does not hold", Reason.BAD_SIGNATURE, "verminkt", set_signature)
    told("a key that is not in the directory", Reason.UNKNOWN_SIGNER, "vreemd", set_key_number)
    told("an instruction by an NSP", Reason.ROLE, "een opdracht", None, "instruction")
    puppet.until("quiet", lambda: not link.flights)
    scene.check("nothing of these is shown", len(cp.inbox()) == before)

    good = puppet.writes("eerste woorden")
    puppet.until("its receipt", lambda: node.told(good) == {CP: Level.DELIVERED})

    def take_id_of_the_good_one(envelope):
        message = pb.Message.FromString(envelope.signed)
        message.sequence = good[2]
        envelope.signed = message.SerializeToString()
        puppet.sign(envelope)

    puppet.writes("andere woorden", take_id_of_the_good_one)
    puppet.until("a new epoch", lambda: node.epoch == 2)
    scene.check("other words under a known id are refused: ID_CONFLICT", link.reasons_heard == [Reason.ID_CONFLICT], link.reasons_heard)
    anew = (OTHER, 2, 1)
    puppet.until("the receipt of the same words under a new id", lambda: node.told(anew) == {CP: Level.DELIVERED}, 30)
    scene.check("and written again under an id of a new epoch they are taken", cp.show("%d/%d/%d" % anew)["body"]["text"] == "andere woorden")

    def add_a_field(envelope):
        envelope.signed += b"\xc2\x3e\x05later"  # field 1000, of some version to come
        puppet.sign(envelope)

    strange = puppet.writes("uit een latere versie", add_a_field, kind="99", to=NSP)
    puppet.until("the receipt of an unknown kind", lambda: node.told(strange) == {NSP: Level.NOT_UNDERSTOOD})
    scene.check("unknown kind and field go through the CP byte for byte, and are answered NOT-UNDERSTOOD", [
        one["hash"] for one in scene.nsp.inbox() if one["id"] == "%d/%d/%d" % strange] == [puppet.row(strange)["hash"].hex()])

    count = len(cp.inbox())
    records = node.counts["receipts"]
    node._offer(puppet.row(anew), [CP], CP, 1)
    puppet.until("an answer to the retry", lambda: node.counts["receipts"] > records)
    scene.check("a retry is answered with another record, and not shown again", len(cp.inbox()) == count)

    asked = cp.send("text", [OTHER], {"text": "Komt er hulp?"}, closing_level="READ")
    key = tuple(map(int, asked.split("/")))
    puppet.until("the question", lambda: puppet.row(key))
    for level in (Level.READ, Level.DELIVERED):  # that it was delivered is told again, late: it may not take READ back
        node._owe(puppet.row(key), level)
        puppet.until("an empty queue", lambda: not node.store.one("select count(*) from queue")[0])
    wait_for("the receipts at the CP", lambda: cp.told(asked) == {OTHER: "READ"} and cp.trace(asked)["closed"])
    scene.check("DELIVERED after READ leaves READ", True)
    scene.check("of all that it sent nothing left before its commit", puppet.left_before_commit == 0, puppet.left_before_commit)
    puppet.daemon.close()


def nothing_was_broken(scene):
    state = scene.nsp.status()
    scene.check("no breach was seen by the Python node", not state["breaches"], state["breaches"])
    with open(scene.cp.log, errors="replace") as text:
        broke = [line for line in text if "session-down" in line and "broke a rule" in line]
    scene.check("and none by the CP", not broke, "".join(broke[:5]))


def test(checks, region):
    scene = Scene(checks, region)
    try:
        for step in (joins, reports, is_instructed, sends_large_bodies, survives_a_cut, survives_kills, survives_an_old_copy, is_refused, nothing_was_broken):
            step(scene)
    finally:
        print(scene.nsp.log_tail() if checks.failed else "", end="")
        scene.nsp.kill()
        scene.other.kill()


if __name__ == "__main__":
    sys.exit(test_region("nsp", test))
