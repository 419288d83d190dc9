#!/usr/bin/env python3
"""What the NSP of cpdpy does with input that is forged, late, twice or against the rules, and with frames that break
section 7: so that an agreement of cpd with it means something. Region, keys and certificates are those of
test/vectors/protocol.json; no cpd runs. Ends with `N passed, M failed`."""
import json
import os
import shutil
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from cpdpy.debian import require  # noqa: E402

require()
from cpdpy import bodies, rules, tree  # noqa: E402
from nacl.signing import SigningKey  # noqa: E402
from cpdpy.crypto import sign  # noqa: E402
from cpdpy.link import Breach  # noqa: E402
from cpdpy.node import Identity, Node, now_s  # noqa: E402
from cpdpy.schema import Item, Level, REASON_NAMES, Reason, pb  # noqa: E402

with open(os.path.join(HERE, "..", "vectors", "protocol.json")) as file:
    VECTORS = json.load(file)
SEEDS = {who["who"]: bytes.fromhex(who["signing_seed"]) for who in VECTORS["keys"]}
HEX = {vector["name"]: vector["hex"] for vector in VECTORS["vectors"]}
CP, DESK, NSP = 901, 911, 344003
CREATED_S = int(now_s())    # once: an item made twice is the same item
TEXT = pb.Text(text="hooi").SerializeToString()
passed = failed = 0


def check(name, good, detail=""):
    global passed, failed
    passed += bool(good)
    failed += not good
    if not good:
        print(f"FAILED: {name}: {detail}")


class Bench:
    """A node of 344003 in a folder of its own, with 901 as its neighbour."""

    def __init__(self, grant=65536):
        self.folder = tempfile.mkdtemp(prefix="cpdpy-")
        Identity.make(self.folder)
        keys = next(who for who in VECTORS["keys"] if who["who"] == str(NSP))
        Identity(self.folder).change(signing=keys["signing_seed"], sealing=keys["sealing_secret"], transport=keys["transport_secret"], node=NSP,
                                     key_number=1, anchor=VECTORS["fingerprints"]["region.pub"], kit=[HEX["directory-update-record"]])
        self.grant = grant
        self.open()

    def open(self):
        self.node = Node(self.folder, [CP], self.grant)
        self.link = self.node.links[CP]
        self.now = 100.0

    def close(self):
        self.node.store.commit()
        self.node.store.close()

    def end(self):
        self.close()
        shutil.rmtree(self.folder)

    def take(self, kind, data):
        verdict = self.node.take(self.link, kind, 0, data)
        self.node.settle()
        self.node.store.commit()
        return verdict

    # ---- frames
    def begin(self, **hello):
        """A session in which the neighbour says this hello. Returns ours."""
        self.link.begin(self.now)
        mine = self.out()[0].hello
        self.hear(hello=pb.Hello(**dict({"version": 1, "epoch": 1, "your_epoch": 1, "credit_bulk": 100000, "credit_urgent": 100000,
                                    "directory": 1}, **hello)))
        return mine

    def hear(self, **parts):
        self.link.hear(pb.Frame(**parts).SerializeToString(), self.now)
        self.node.settle()

    def out(self):
        frames = [pb.Frame.FromString(data) for data in self.link.frames(self.now)]
        self.node.store.commit()
        return frames

    def breaks(self, name, **parts):
        try:
            self.hear(**parts)
        except Breach:
            check(name, True)
        else:
            check(name, False, "it was taken")


def item(sequence, origin=CP, kind=6, body=TEXT, seed=None, network="nl", purpose="message", trailer=None, key_number=None, epoch=1, nodes=(NSP,),
         **fields):
    message = pb.Message(origin=origin, epoch=epoch, sequence=sequence, kind=kind, nodes=nodes, created_s=CREATED_S, **fields)
    if body is not None:
        message.body = body
    signed = message.SerializeToString()
    envelope = pb.Envelope(signed=signed)
    one = envelope.signatures.add(signature=sign(seed or SEEDS[str(origin)], purpose, network, signed))
    if key_number:
        one.key_number = key_number
    out = pb.MessageItem(envelope=envelope.SerializeToString())
    if trailer is not None:
        out.trailer.CopyFrom(pb.Trailer(**trailer))
    return out.SerializeToString()


def record(purpose, content, seed=SEEDS[str(CP)]):
    return pb.SignedRecord(signed=content, signature=sign(seed, purpose, "nl", content)).SerializeToString()


def released(sequence, *persons):
    """A bulletin of the desk; persons: (number of the function, seed)."""
    out = pb.MessageItem.FromString(item(sequence, DESK, kind=7, body=pb.Bulletin(
        bulletin=1, version=1, title="x", core="x", do_this="x", valid_from_ms=1, valid_to_ms=2, next_update_ms=1, urgency=1, severity=1,
        certainty=1, area=["VR09"], authority="x").SerializeToString()))
    envelope = pb.Envelope.FromString(out.envelope)
    for function, seed in persons:
        envelope.releases.add(function=function, signature=sign(seed, "message", "nl", envelope.signed))
    out.envelope = envelope.SerializeToString()
    return out.SerializeToString()


def update(number, **fields):
    return record("directory", pb.DirectoryUpdate(number=number, created_s=1, **fields).SerializeToString(), SEEDS["authority"])


def messages():
    bench = Bench()
    node = bench.node

    def refused(name, reason, data, kind=Item.MESSAGE):
        before = len(node.inbox())
        verdict = bench.take(kind, data)
        check(f"{name}: {REASON_NAMES[reason]}", verdict == reason and len(node.inbox()) == before, verdict)

    refused("signed with another key", Reason.BAD_SIGNATURE, item(1, seed=SEEDS["911"]))
    refused("signed for another network", Reason.BAD_SIGNATURE, item(1, network="be"))
    refused("signed for another purpose", Reason.BAD_SIGNATURE, item(1, purpose="receipts"))
    refused("a key number that is not held", Reason.UNKNOWN_SIGNER, item(1, key_number=2))
    refused("an origin that is not held", Reason.UNKNOWN_SIGNER, item(1, origin=DESK))
    refused("a bulletin by a CP", Reason.ROLE, item(1, kind=7))
    refused("a byte too few", Reason.MALFORMED, item(1)[:-1])
    refused("a life of a second", Reason.MALFORMED, item(1, lifetime_s=1))
    refused("a version of a group that is not held", Reason.UNKNOWN_GROUP, item(1, nodes=(), groups=[1, 2]))
    refused("a recipient that is no destination", Reason.NOT_ADDRESSED, item(1, trailer={"recipients": [DESK]}))
    refused("a copy for another", Reason.NO_ROUTE, item(1, nodes=[NSP, DESK]))
    refused("no hops left", Reason.HOP_LIMIT, item(1, trailer={"hop_limit": 0}))
    check("a good one is taken", bench.take(Item.MESSAGE, item(1)) is None and [one["id"] for one in node.inbox()] == ["901/1/1"])
    counter = node.store.get("receipts", 0)
    check("the same again is not shown, nor answered", bench.take(Item.MESSAGE, item(1)) is None and len(node.inbox()) == 1
          and node.store.get("receipts", 0) == counter)
    bench.take(Item.MESSAGE, item(1, trailer={"retry": 1}))
    check("a retry is answered", node.store.get("receipts", 0) == counter + 1 and len(node.inbox()) == 1)
    refused("other words under its id", Reason.ID_CONFLICT, item(1, body=pb.Text(text="stro").SerializeToString()))
    bench.take(Item.MESSAGE, item(2, lifetime_s=60, trailer={"age_s": 61}))
    check("what comes after its life is shown as late", node.inbox()[-1]["late"] and not node.inbox()[0]["late"])
    bench.take(Item.MESSAGE, item(3, nodes=(), groups=[1, 1], trailer={"member_bitmap": b"\1"}))
    check("a member of a group by the bitmap", node.inbox()[-1]["id"] == "901/1/3")
    bench.take(Item.MESSAGE, item(4, kind=99))
    bench.take(Item.MESSAGE, item(5, body=b"\xff"))
    check("kind or body unknown: stored, NOT-UNDERSTOOD", [one["level"] for one in node.inbox()[-2:]] == [Level.NOT_UNDERSTOOD] * 2)
    floor = record("presence", pb.Presence(node=CP, epoch=1, counter=1, floors=[1, 50]).SerializeToString())
    node.heard_presence(CP, floor, 0)
    refused("below its origin's floor", Reason.BELOW_FLOOR, item(10))
    node.heard_presence(CP, record("presence", pb.Presence(node=CP, epoch=1, counter=2, floors=[1, 40]).SerializeToString()), 0)
    check("a floor that falls is alarmed and dropped", "floor-fell" in node.alarms and node._floor_of(CP, 1) == 50)
    node.heard_presence(CP, record("presence", pb.Presence(node=CP, epoch=9, counter=1).SerializeToString(), SEEDS["911"]), 0)
    check("a forged presence changes nothing", node.store.one("select epoch from presence where node=?", CP)[0] == 1)
    refused("an update that the authority did not sign", Reason.BAD_SIGNATURE, record("directory", pb.DirectoryUpdate(
        number=2, created_s=1).SerializeToString()), Item.DIRECTORY)
    refused("an update too far ahead", Reason.BUSY, update(66), Item.DIRECTORY)
    bench.take(Item.DIRECTORY, update(2, revocations=[pb.Revocation(node=CP, last_epoch=1, last_sequence=60)]))
    bench.take(Item.MESSAGE, item(60))
    bench.take(Item.MESSAGE, item(61))
    check("after the last word of a revoked key: suspect", [one["suspect"] for one in node.inbox()[-2:]] == [False, True])
    bench.take(Item.DIRECTORY, update(3, revocations=[pb.Revocation(node=CP)]))
    refused("a key of which nothing is trusted", Reason.REVOKED, item(62))
    one, two = bytes([1]) * 32, bytes([2]) * 32
    functions = [pb.FunctionCertificate(number=number, node=DESK, function="f", signing_key=SigningKey(seed).verify_key.encode())
                 for number, seed in ((1, one), (2, two), (3, one))]
    desk = pb.Certificate(node=DESK, role=3, name="desk", signing_key=SigningKey(SEEDS[str(DESK)]).verify_key.encode(), sealing_key=bytes([7]) * 32,
                          transport_key=bytes([8]) * 32)
    bench.take(Item.DIRECTORY, update(4, certificates=[desk]))
    refused("a bulletin before its people are known", Reason.UNKNOWN_SIGNER, released(70, (1, one), (2, two)))
    bench.take(Item.DIRECTORY, update(5, functions=functions))
    refused("a bulletin that nobody released", Reason.ROLE, released(70))
    refused("a bulletin that one person released", Reason.ROLE, released(70, (1, one)))
    refused("a bulletin that one person released under two numbers", Reason.ROLE, released(70, (1, one), (3, one)))
    refused("a release with another's key", Reason.BAD_SIGNATURE, released(70, (1, one), (2, one)))
    check("a bulletin that two people released", bench.take(Item.MESSAGE, released(70, (1, one), (2, two))) is None and node.inbox()[-1]["kind"] == 7)
    functions[1].revoked = True
    bench.take(Item.DIRECTORY, update(6, functions=functions[1:2]))
    refused("a bulletin that a revoked function released", Reason.REVOKED, released(71, (1, one), (2, two)))
    bench.end()


def large_bodies():
    bench = Bench()
    node = bench.node
    body = bytes(range(256)) * 50
    pieces, paths = tree.cut(body), tree.paths(body)
    header = item(1, body=None, large=pb.LargeBody(length=len(body), root=tree.root(body)))

    def leaf(index, data=None, sequence=1):
        return pb.Leaf(message=pb.Reference(origin=CP, sequence=sequence), index=index, bytes=data or pieces[index],
                       path=paths[index]).SerializeToString()

    check("its leaves are wanted", bench.take(Item.MESSAGE, header) == (CP, 1, 1) and not node.inbox())
    check("a leaf that was changed is refused", bench.take(Item.LEAF, leaf(0, bytes(4080))) == Reason.MALFORMED)
    check("a leaf of what is not held is dropped", bench.take(Item.LEAF, leaf(0, sequence=2)) is None
          and not node.leaves_held((CP, 1, 2)))
    for index in (2, 0, 1):
        bench.take(Item.LEAF, leaf(index))
    check("half of it survives a restart, and is not shown", not node.inbox() and node.leaves_missing((CP, 1, 1), set(
        node.leaves_held((CP, 1, 1)))) == [3])
    bench.close()
    bench.open()
    bench.take(Item.LEAF, leaf(3))
    check("whole, it is shown", [one["bytes"] for one in bench.node.inbox()] == [len(body)] and bench.node.body(CP, 1, 1) == body)
    bench.end()


def receipts():
    bench = Bench()
    node = bench.node
    mine = node.send("text", TEXT, [CP])
    row = node.store.one("select * from message where sequence=?", mine[2])
    counter = 0

    def told(level, witness=CP, digest=row["hash"], origin=NSP, seed=None, epoch=1):
        nonlocal counter
        counter += 1
        content = pb.Receipts(fields=[witness, epoch, counter, 0, origin, *mine[1:], level], hashes=digest)
        return bench.take(Item.RECEIPTS, record("receipts", content.SerializeToString(), seed or SEEDS[str(witness)]))

    check("a forged receipt is refused", told(3, seed=SEEDS["911"]) == Reason.BAD_SIGNATURE)
    check("a witness that is not held", told(3, witness=DESK) == Reason.UNKNOWN_SIGNER)
    check("a receipt for another", told(3, origin=CP) == Reason.NO_ROUTE)
    told(3, digest=bytes(8))
    check("a receipt of other bytes is alarmed, not applied", node.told(mine) == {CP: 0} and "id-conflict" in node.alarms)
    told(1)
    told(2)
    check("advice leaves it open", node.told(mine) == {CP: 0})
    told(3, witness=NSP)
    check("the word of one who is no addressee says nothing of others", node.told(mine) == {CP: 0})
    told(5)
    told(3)
    check("READ stays READ", node.told(mine) == {CP: Level.READ})
    node.heard_presence(CP, record("presence", pb.Presence(node=CP, epoch=2, counter=1).SerializeToString()), 0)
    offered = rules.message_item(node.payload(node.store.one("select * from queue order by row desc"), 0)).trailer
    check("an addressee that lost its disk is offered it again", (offered.retry, offered.after_epoch) == (1, 2) and node.told(mine) == {CP: 0})
    told(3)
    check("a receipt of before is no answer to that", node.told(mine) == {CP: 0})
    told(3, epoch=2)
    check("one of its new epoch is", node.told(mine) == {CP: Level.DELIVERED})
    bench.end()


def time_passes():
    bench = Bench()
    node = bench.node
    old, young = node.send("text", TEXT, [CP], lifetime_s=60), node.send("text", TEXT, [CP])
    bench.begin()
    bench.out()
    bench.hear(ack=pb.Ack(received=2))
    check("passed on, it is still kept", [node.told(one) for one in (old, young)] == [{CP: 0}] * 2 and node._own_floor() == 1)
    node.store.run("update message set created_s = created_s - 100")
    node.store.run("update recipient set next_s = 0")
    node.tick(bench.now)
    check("past its life it ends, and its author is told", [row[0] for row in node.store.all("select ended from message order by sequence")] ==
          ["expired", None] and "expired" in node.alarms)
    again = [rules.message_item(frame.data.piece) for frame in bench.out() if frame.HasField("data")]
    check("what no receipt came for is offered again", [(one.trailer.retry, rules.message(rules.envelope(one.envelope).signed).sequence)
                                                        for one in again] == [(1, 2)])
    check("with its age", [one.trailer.age_s >= 100 for one in again] == [True])
    node.store.run("update message set closed_s = closed_s - 73 * 3600")
    node.tick(bench.now)
    check("after its grace it is forgotten, and the floor rises over it", node.store.one("select count(*) from message")[0] == 1
          and node._own_floor() == 2)
    for state in (5, 6, 7):
        node.send("nsp-status", bodies.encode_body("nsp-status", {
            "phase": "OPEN", "persons": state, "staff_present": 1, "staff_needed": 1, "power": "GRID", "autonomy_min": 1, "safety": "GREEN"}), [CP])
    sent = [rules.message_item(frame.data.piece) for frame in bench.out() if frame.HasField("data")]
    check("of a state only the last value goes", [rules.message(rules.envelope(one.envelope).signed).sequence for one in sent] == [5])
    bench.end()


def custody():
    bench = Bench()
    bench.begin()
    bench.hear(data=pb.Data(serial=1, shape=1, piece=item(1)))
    other = sqlite3.connect(os.path.join(bench.folder, "store.db"))
    check("before the commit the disk knows nothing of it", other.execute("select count(*) from message").fetchone()[0] == 0)
    acks = [frame.ack.received for frame in bench.out() if frame.HasField("ack")]
    check("the acknowledgement comes with the commit", acks == [1] and other.execute("select count(*) from message").fetchone()[0] == 1)
    check("and the serial is on the disk with it", other.execute("select received from circuit").fetchone()[0] == 1)
    other.close()
    bench.end()


def reissue():
    bench = Bench()
    mine = bench.node.send("text", TEXT, [CP])
    digest = bench.node.store.one("select hash from message where sequence=?", mine[2])["hash"]
    bench.begin()
    bench.out()
    bench.hear(refusal=pb.Refusal(serial=1, reason=Reason.ID_CONFLICT))
    bench.hear()
    sent = [rules.message_item(frame.data.piece) for frame in bench.out() if frame.HasField("data") and frame.data.piece != b"\0"]
    again = [rules.message(rules.envelope(one.envelope).signed) for one in sent]
    check("words under a taken id go under a new one of a higher epoch", [(one.body, one.epoch > mine[1]) for one in again] == [(TEXT, True)])
    check("that supersedes these words, and no others under that id", [(rules.reference(one.supersedes, one), one.supersedes.hash)
                                                                      for one in again] == [(mine, digest)])
    bench.end()


def frames():
    bench = Bench(grant=2048)
    bench.link.begin(bench.now)
    bench.out()
    bench.breaks("data before the hello", data=pb.Data(serial=1, shape=1, piece=item(1)))
    bench.begin()
    bench.breaks("a second hello", hello=pb.Hello(version=1, epoch=1))
    bench.breaks("a serial 257 above", data=pb.Data(serial=257, shape=1, piece=item(1)))
    bench.breaks("an item that begins with 0", data=pb.Data(serial=1, shape=1, piece=b"\0\1"))
    bench.breaks("an acknowledgement of what was never sent", ack=pb.Ack(received=bench.link.next_serial))
    bench.breaks("a grant that falls", credit=pb.Credit(consumed=0, bulk=1, urgent=1))
    bench.hear(data=pb.Data(serial=1, shape=1, total=3000, piece=bytes([10]) * 2048))
    bench.breaks("more than was granted", data=pb.Data(serial=1, shape=1, total=3000, offset=2048, piece=b"x"))
    bench.hear(data=pb.Data(serial=2, shape=1 | 3 << 4, piece=item(2)))
    check("FLASH has a grant of its own", [one["id"] for one in bench.node.inbox()] == ["901/1/2"])
    ack = [frame.ack for frame in bench.out() if frame.HasField("ack")][-1]
    check("a gap is told by the bitmap", (ack.received, ack.bitmap) == (0, b"\2"))
    bench.breaks("a serial that changes its shape", data=pb.Data(serial=1, shape=2, total=3000, piece=b"xx"))
    for versions in ({"version": 2, "version_min": 2}, {"version": 0}):
        bench.link.begin(bench.now)
        bench.out()
        bench.breaks("no version in common", hello=pb.Hello(**dict({"epoch": 1}, **versions)))
    bench.end()


def refusals():
    bench = Bench()
    bench.begin()
    bad = item(1, seed=SEEDS["911"])
    bench.hear(data=pb.Data(serial=1, shape=1, piece=bad))
    bench.hear(data=pb.Data(serial=2, shape=1, piece=item(2)))
    out = bench.out()
    said = [(frame.refusal.serial, frame.refusal.reason) for frame in out if frame.HasField("refusal")]
    ack = [frame.ack for frame in out if frame.HasField("ack")][-1]
    check("a refused serial is refused, not acknowledged", said == [(1, Reason.BAD_SIGNATURE)] and (ack.received, ack.bitmap) == (0, b"\2"))
    bench.hear(data=pb.Data(serial=1, shape=1, piece=bad))
    check("sent again, it is refused again", [frame.refusal.serial for frame in bench.out() if frame.HasField("refusal")] == [1])
    bench.hear(data=pb.Data(serial=1, shape=1, piece=b"\0"))
    check("its void is acknowledged", [frame.ack.received for frame in bench.out() if frame.HasField("ack")] == [2])
    bench.end()


def sending():
    bench = Bench()
    first = bench.node.send("text", TEXT, [CP])
    bench.begin(credit_bulk=0)
    check("without credit nothing goes", not [frame for frame in bench.out() if frame.HasField("data")])
    bench.hear(credit=pb.Credit(consumed=0, bulk=100, urgent=100000))
    check("nor with less than the smallest piece", not [frame for frame in bench.out() if frame.HasField("data")])
    bench.hear(credit=pb.Credit(consumed=0, bulk=100000, urgent=100000))
    sent = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    bench.now += 11
    again = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    check("what is not answered is repeated under its serial", sent == again == [1], (sent, again))
    call = bodies.encode_body("emergency-call", {"number": 1, "services": 4, "nature": "MEDICAL", "location": "brug", "caller_waits": True})
    bench.node.send("text", TEXT, [CP])
    bench.node.send("emergency-call", call, [CP])
    order = [frame.data.shape >> 4 for frame in bench.out() if frame.HasField("data")]
    check("FLASH goes first", order == [3, 0], order)
    bench.hear(refusal=pb.Refusal(serial=1, reason=Reason.FULL))
    voids = [frame.data.serial for frame in bench.out() if frame.HasField("data") and frame.data.piece == b"\0"]
    check("a refusal is answered by a void, and the copy waits", voids == [1] and bench.node.told(first) == {CP: 0}
          and bench.node.store.one("select serial, tries from queue where sequence=1 and type=1")[:] == (None, 1))
    bench.hear(ack=pb.Ack(received=3))
    check("an acknowledgement takes the rest out of the queue", [row[0] for row in bench.node.store.all("select sequence from queue where type=1")] == [1])
    bench.end()
    bench = Bench()
    for precedence in (0, 1, 2):
        bench.node.send("text", pb.Text(text="x" * 250).SerializeToString(), [CP], precedence=precedence)
    bench.begin(credit_bulk=1000)
    out = [frame.data for frame in bench.out() if frame.HasField("data")]
    check("the highest precedence goes first", [data.shape >> 4 for data in out][:2] == [2, 1])
    check("no more goes than was granted, and what waits is cut to it", 1000 - 256 < sum(len(data.piece) for data in out) <= 1000, out)
    bench.end()


def sessions():
    """7.3: what a hello acknowledges, and what it does not."""
    bench = Bench()
    node = bench.node
    for _ in range(3):
        node.send("text", TEXT, [CP])
    mine = bench.begin()
    check("a new circuit has no memory", (mine.next_serial, mine.your_epoch) == (0, 0))
    bench.out()
    bench.close()
    bench.open()
    mine = bench.begin(received=1, received_bitmap=b"\2")
    check("after a restart it tells where it goes on", mine.next_serial == 4)
    waits = [row[0] for row in bench.node.store.all("select sequence from queue where type=1")]
    sent = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    check("what the hello covers is passed; the rest goes again, under a new serial", waits == [2] and sent == [4], (waits, sent))
    # A hello of ours without an answer: the other may have counted serial 4 as received, without having it.
    bench.link.begin(bench.now)
    check("its hello says so", bench.out()[0].hello.next_serial == 5)
    bench.close()
    bench.open()
    bench.begin(received=4)
    sent = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    check("such a serial is not believed, and offered again", sent == [5], sent)
    bench.begin(your_epoch=7, received=5)
    sent = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    check("what is told of another epoch acknowledges nothing; serials begin again", sent == [1], sent)
    bench.begin(epoch=5, received=6, next_serial=1)
    sent = [frame.data.serial for frame in bench.out() if frame.HasField("data")]
    check("but above what the other knows of this epoch", sent == [7], sent)
    bench.begin(received=7)
    bench.hear(data=pb.Data(serial=2, shape=1, piece=item(7)))
    bench.out()
    mine = bench.begin(received=7, next_serial=9)
    check("it tells what it held before the other's hello took effect", (mine.received, mine.received_bitmap) == (0, b"\2"))
    check("serials below next_serial will never come", bench.link.received == 8)
    bench.begin(epoch=2, your_epoch=1, next_serial=4)
    check("also in an epoch that is new to it", bench.link.received == 3 and bench.link.next_serial == 1, bench.link.received)
    bench.begin(epoch=2, seen_epoch=1, seen_sequence=50)
    check("others have seen more of it: a new epoch", bench.node.epoch == 2)
    bench.link.begin(bench.now)
    check("in which it has no memory of serials", bench.out()[0].hello.next_serial == 0)
    bench.end()


def main():
    for part in (messages, large_bodies, receipts, time_passes, custody, reissue, frames, refusals, sending, sessions):
        part()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
