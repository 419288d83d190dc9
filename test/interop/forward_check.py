#!/usr/bin/env python3
"""A node of a later version in a region of this one. An NSP in Python that speaks versions 1 to 3 calls a real CP; what it
says has kinds, fields and enumeration values that nobody knows yet, everywhere where they may stand. It crosses the CP
and reaches a desk with the same bytes, and the desk shows "onbekend bericht". And the other way: what is made today is
read with the schemas of version 0.1 (test/vectors/v1), which knows nothing newer.

None of cpd's code is used, nor the schemas of today. Ends with `N passed, M failed`; with `skipped:` when python3-zmq,
python3-protobuf, python3-nacl or protoc is not there.
"""
import hashlib
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
os.chdir(TOP)
sys.path.insert(0, os.path.join("test", "system"))
FROZEN = "test/vectors/v1"


def skip(why):
    print(f"skipped: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


try:
    import zmq
    from google.protobuf.descriptor import FieldDescriptor as FD
    from nacl.signing import SigningKey, VerifyKey
except ImportError as missing:
    if os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3") and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", os.path.join(HERE, "forward_check.py")])
    skip(f"{missing}; apt-get install python3-zmq python3-protobuf python3-nacl")
from harness import BUILD, Checks, Region, cpctl, wait_for  # noqa: E402

generated = os.path.join(BUILD, "interop", "v1")
os.makedirs(generated, exist_ok=True)
try:
    subprocess.run(["protoc", f"--python_out={generated}", f"-I{FROZEN}", f"{FROZEN}/cpd.proto", f"{FROZEN}/body.proto"], check=True, capture_output=True)
except FileNotFoundError:
    skip("protoc is not there; apt-get install protobuf-compiler")
sys.path.insert(0, generated)
import body_pb2  # noqa: E402
import cpd_pb2  # noqa: E402

NETWORK, SELF, CP, DESK = "nl", 344003, 901, 911
ZERO = 1767225600                        # 2026-01-01T00:00:00Z
MESSAGE, RECEIPTS, DIRECTORY = 1, 2, 3
LATER_KIND = 201


def later(number, text=b"from version 3"):
    """A field that nobody knows: bytes, and a varint beside it."""
    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])
    return varint(number << 3 | 2) + varint(len(text)) + text + varint((number + 1) << 3) + varint(300)


def now_s():
    return int(time.time()) - ZERO


def h(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def sign(key, purpose, content):
    over = b"cpd/1/" + purpose.encode() + b"\0" + bytes([len(NETWORK)]) + NETWORK.encode() + len(content).to_bytes(4, "big") + content
    return key.sign(over).signature


def record_of(key, purpose, content):
    """A SignedRecord with a field of its own that nobody knows."""
    return cpd_pb2.SignedRecord(signed=content, signature=sign(key, purpose, content)).SerializeToString() + later(100)


def secret(folder, name):
    with open(os.path.join(folder, name)) as text:
        return bytes.fromhex(text.read().strip())


class LaterNode:
    """One link to the CP. Its frames carry fields that nobody knows."""

    def __init__(self, identity, certificates, port):
        self.signing, self.transport = SigningKey(secret(identity, "signing.key")), secret(identity, "transport.key")
        self.certificates, self.port, self.epoch, self.sequence, self.counter = certificates, port, 1, 0, 0
        self.serial, self.received = 0, 0
        self.partial, self.items, self.acked, self.refused = {}, [], 0, {}
        self.peer_hello = self.socket = None

    def connect(self, directory, version_min=1):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, self.certificates[CP].transport_key)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, self.certificates[SELF].transport_key)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, self.transport)
        self.socket.connect(f"tcp://127.0.0.1:{self.port}")
        self.peer_hello = None
        hello = cpd_pb2.Hello(version=3, version_min=version_min, epoch=self.epoch, directory=directory, credit_bulk=262144, credit_urgent=65536,
                              software="cpd 3.0", clock_quality=9)
        self.send("hello", hello.SerializeToString() + later(100))

    def send(self, part, content):
        """A frame of one part, with a part beside it that nobody knows."""
        number = cpd_pb2.Frame.DESCRIPTOR.fields_by_name[part].number
        frame = bytes([number << 3 | 2]) + self.length(len(content)) + content + later(100)
        self.socket.send(frame)

    @staticmethod
    def length(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])

    def item(self, kind, precedence, content):
        self.serial += 1
        data = cpd_pb2.Data(serial=self.serial, shape=kind | precedence << 4, piece=content)
        self.send("data", data.SerializeToString() + later(100))
        serial = self.serial
        self.until("acknowledgement", lambda: self.acked >= serial or serial in self.refused)
        if serial in self.refused:
            raise AssertionError(f"refused for {self.refused[serial]}")

    def until(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"no {what} within {seconds} s")
            if self.socket.poll(50):
                self.take(cpd_pb2.Frame.FromString(self.socket.recv()))
        return condition()

    def take(self, frame):
        if frame.HasField("hello"):
            self.peer_hello = frame.hello
        if frame.HasField("ack"):
            self.acked = max(self.acked, frame.ack.received)
        if frame.HasField("refusal"):
            self.refused[frame.refusal.serial] = frame.refusal.reason
        if frame.HasField("data"):
            data = frame.data
            precedence, total = data.shape >> 4, data.total if data.HasField("total") else len(data.piece)
            held = (self.partial.get(precedence, b"") if data.offset else b"") + data.piece
            self.partial[precedence] = held
            if len(held) == total:
                self.items.append((data.shape & 15, held))
                self.received = max(self.received, data.serial)
                self.send("ack", cpd_pb2.Ack(received=self.received).SerializeToString() + later(100))

    def envelope(self, kind, body, flags=0):
        self.sequence += 1
        message = cpd_pb2.Message(origin=SELF, epoch=self.epoch, sequence=self.sequence, nodes=[DESK], kind=kind, flags=flags, created_s=now_s(),
                                  body=body)
        if kind == LATER_KIND:
            message.lifetime_s = 86400
        signed = message.SerializeToString() + later(1000)
        envelope = cpd_pb2.Envelope(signed=signed)
        made = envelope.SerializeToString()
        signature = cpd_pb2.Signature(signature=sign(self.signing, "message", signed)).SerializeToString() + later(100)
        return made + b"\x12" + self.length(len(signature)) + signature + later(100), signed

    def offer(self, envelope, precedence=0):
        trailer = cpd_pb2.Trailer(recipients=[DESK])
        trailer.trace.add(node=SELF)
        trailer = trailer.SerializeToString() + later(100)
        item = cpd_pb2.MessageItem(envelope=envelope).SerializeToString() + b"\x12" + self.length(len(trailer)) + trailer + later(100)
        self.item(MESSAGE, precedence, item)

    def levels(self, sequence):
        """What witnesses signed of a message of ours: (level, hash)."""
        found = []
        for kind, item in self.items:
            if kind != RECEIPTS:
                continue
            content = cpd_pb2.Receipts.FromString(cpd_pb2.SignedRecord.FromString(item).signed)
            for i in range((len(content.fields) - 5) // 3):
                if (content.fields[4], content.fields[6 + 3 * i]) == (SELF, sequence):
                    found.append((content.fields[7 + 3 * i] & 15, content.hashes[8 * i:8 * i + 8]))
        return found


def read_directory(folder):
    certificates, version = {}, 0
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            update = cpd_pb2.DirectoryUpdate.FromString(cpd_pb2.SignedRecord.FromString(file.read()).signed)
        certificates.update({one.node: one for one in update.certificates})
        version = max(version, update.number)
    return certificates, version


def waiting(node, neighbour):
    return sum(queue["depth"] for link in node.get("/v1/status")["links"] if link["neighbour"] == neighbour for queue in link["queue"].values())


def stored(node, content):
    with open(os.path.join(node.state, "store", "data.mdb"), "rb") as store:
        return content in store.read()


def shown(node, *words):
    return cpctl("--socket", node.socket, *words).stdout


# ------------------------------------------------------------ the checks
def a_message_of_a_kind_to_come(checks, node, cp, desk):
    # Flags above all that are defined, and the highest value of each that is.
    envelope, signed = node.envelope(LATER_KIND, b"\xff\x00 not even protobuf", flags=2 | 7 << 11 | 1 << 27)
    node.offer(envelope, 2)
    identifier = f"{SELF}/1/{node.sequence}"
    wait_for("the message at the desk", lambda: desk.has(identifier), 30)
    checks.check("an unknown kind: stored at the CP and at the desk with the same bytes", stored(cp, envelope) and stored(desk, envelope))
    checks.check("the desk lists it as onbekend bericht", "onbekend bericht" in shown(desk, "inbox"), shown(desk, "inbox"))
    checks.check("and shows it so", "onbekend bericht" in shown(desk, "show", identifier), shown(desk, "show", identifier))
    node.until("receipt", lambda: node.levels(node.sequence))
    checks.check("its author is told NOT-UNDERSTOOD, of these bytes", node.levels(node.sequence)[0] == (4, h(signed)[:8]), node.levels(node.sequence))


def a_message_of_a_known_kind(checks, node, cp, desk):
    body = body_pb2.EmergencyCall(number=7, check_words=0, services=4, location="Brug bij de molen", caller_waits=True).SerializePartialToString()
    field = body_pb2.EmergencyCall.DESCRIPTOR.fields_by_name["nature"].number
    body = body + bytes([field << 3, 99]) + later(1000)
    envelope, signed = node.envelope(3, body, flags=3)
    node.offer(envelope, 3)
    identifier = f"{SELF}/1/{node.sequence}"
    wait_for("the call at the desk", lambda: desk.has(identifier), 30)
    checks.check("a known kind with fields and values to come: the same bytes", stored(cp, envelope) and stored(desk, envelope))
    checks.check("what is known of it is shown", desk.show(identifier)["body"]["location"] == "Brug bij de molen", desk.show(identifier))
    node.until("receipt", lambda: node.levels(node.sequence))
    checks.check("and it is DELIVERED", node.levels(node.sequence)[0] == (3, h(signed)[:8]), node.levels(node.sequence))


def receipts_of_a_level_to_come(checks, node, cp, desk):
    identifier = desk.send("text", [SELF], {"text": "Hoort u ons?"}, closing_level="READ")
    item = node.until("message", lambda: [item for kind, item in node.items if kind == MESSAGE])[0]
    envelope = cpd_pb2.Envelope.FromString(cpd_pb2.MessageItem.FromString(item).envelope)
    message = cpd_pb2.Message.FromString(envelope.signed)
    for level, name in ((14, "NONE"), (5, "READ")):
        node.counter += 1
        content = cpd_pb2.Receipts(fields=[SELF, 1, node.counter, now_s(), message.origin, message.epoch, message.sequence, level],
                                   hashes=h(envelope.signed)[:8]).SerializeToString() + later(100)
        record = record_of(node.signing, "receipts", content)
        node.item(RECEIPTS, 0, record)
        # The author of the message applies a record and keeps its signature only as what it says: the bytes must have held.
        checks.check(f"a receipt of level {level}: the CP keeps the same bytes", stored(cp, record))
        wait_for("the desk to have it", lambda: not waiting(cp, DESK), 30)
        if name == "READ":
            wait_for("READ", lambda: desk.told(identifier)[SELF] == "READ", 30)
        checks.check(f"of level {level} the desk knows {name}", desk.told(identifier)[SELF] == name, desk.told(identifier))


def presence_with_more(checks, node, cp, desk):
    content = cpd_pb2.Presence(node=SELF, epoch=1, counter=5, homes=[CP], floors=[1, 1], clock_quality=9).SerializeToString() + later(100)
    record = record_of(node.signing, "presence", content)
    node.send("presence", cpd_pb2.PresenceOffer(record=record).SerializeToString() + later(100))
    wait_for("its presence at the desk", lambda: stored(desk, record), 30)
    checks.check("a presence: the same bytes at CP and desk", stored(cp, record))
    heard = [one for one in desk.get("/v1/status")["nsps"] if one["number"] == SELF]
    checks.check("and the desk knows that it was heard", heard and heard[0]["heard_s"] is not None, heard)


def an_update_with_more(checks, region, node, cp, desk, version):
    update = cpd_pb2.DirectoryUpdate(number=version + 1, created_s=now_s())
    keys = [SigningKey.generate().verify_key.encode() for _ in range(3)]
    certificate = cpd_pb2.Certificate(node=344077, role=9, name="Van een rol die nog komt", signing_key=keys[0], sealing_key=keys[1],
                                      transport_key=keys[2]).SerializeToString() + later(100)
    group = cpd_pb2.Group(number=7, version=1, name="groep met meer", members=[SELF, DESK]).SerializeToString() + later(100)
    content = update.SerializeToString()
    content += b"\x1a" + node.length(len(certificate)) + certificate + b"\x2a" + node.length(len(group)) + group + later(100)
    record = record_of(SigningKey(secret(region.authority, "authority.key")), "directory", content)
    cp.call("POST", "/v1/directory", record)
    wait_for("the update at the desk", lambda: desk.get("/v1/directory")["version"] == version + 1 and stored(desk, record), 30)
    checks.check("a directory update: the same bytes at CP and desk", stored(cp, record))
    node.until("the update", lambda: [item for kind, item in node.items if kind == DIRECTORY])
    checks.check("and passed on to the NSP", [item for kind, item in node.items if kind == DIRECTORY] == [record])
    identifier = cp.send("text", [SELF], {"text": "na de wijziging"})
    node.until("a message", lambda: len([item for kind, item in node.items if kind == MESSAGE]) == 2)
    checks.check("the link goes on", identifier == f"{CP}/1/1", identifier)


def frames_to_come(checks, node, cp):
    node.socket.send(later(100))
    node.socket.send(b"")
    envelope, _ = node.envelope(LATER_KIND, b"after")
    node.offer(envelope)
    checks.check("a frame of nothing but what is unknown is a keepalive", cp.link_is_up(SELF))


def versions(checks, node, cp, directory):
    """The CP speaks 1 to 1."""
    checks.check("the CP says that it speaks version 1", (node.peer_hello.version, node.peer_hello.version_min) == (1, 1), node.peer_hello)
    node.socket.close()
    wait_for("the end of the link", lambda: not cp.link_is_up(SELF), 60)
    node.connect(directory, version_min=2)
    wait_for("the reason", lambda: any("version" in link["problem"] for link in cp.get("/v1/status")["links"] if link["neighbour"] == SELF), 30)
    checks.check("a node that no longer speaks version 1 gets no link", not cp.link_is_up(SELF))
    node.socket.close()


def plain(message):
    def one(field, value):
        if field.type == FD.TYPE_MESSAGE:
            return plain(value)
        return value.hex() if field.type == FD.TYPE_BYTES else value
    return {field.name: [one(field, v) for v in value] if field.label == FD.LABEL_REPEATED else one(field, value)
            for field, value in message.ListFields()}


def what_is_made_today(checks):
    """Read by a node of version 0.1: its schemas find what they found in its own vectors."""
    with open("test/vectors/protocol.json") as text:
        today = {one["name"]: one for one in json.load(text)["vectors"]}
    with open(f"{FROZEN}/protocol.json") as text:
        frozen = json.load(text)["vectors"]
    bad = []
    for one in frozen:
        kind = getattr(cpd_pb2, one["type"], None) or getattr(body_pb2, one["type"])
        made = kind.FromString(bytes.fromhex(today[one["name"]]["hex"]))
        wrapping = {"signed", "envelope", "data", "presence", "introduction"} & set(one["fields"])
        if not wrapping and plain(made) != one["fields"]:
            bad.append(one["name"])
    checks.check(f"version 0.1 finds in each of {len(frozen)} vectors of today what it looks for", frozen and not bad, bad)
    keys = [VerifyKey(bytes.fromhex(one["signing_key"])) for one in json.load(open("test/vectors/protocol.json"))["keys"]]
    checks.check("and has the keys to verify them", len(keys) >= 4)


def main():
    checks = Checks()
    what_is_made_today(checks)
    region = Region(os.path.join(BUILD, "interop", "forward"), extra="\n[tuning]\ntime_scale = 20\n")
    try:
        cp, desk, own = region.add(CP, "cp", "CP"), region.add(DESK, "desk", "Meldkamer"), region.add(SELF, "nsp", "Versie 3", "GM0344")
        region.admit()
        region.wire_up(cp, [desk, own])
        region.configure()
        cp.start()
        desk.start()
        wait_for("the link of the desk", lambda: desk.link_is_up(CP), 60)
        certificates, version = read_directory(os.path.join(region.authority, "updates"))
        node = LaterNode(os.path.join(own.state, "identity"), certificates, cp.port)
        node.connect(version)
        node.until("hello", lambda: node.peer_hello)
        a_message_of_a_kind_to_come(checks, node, cp, desk)
        a_message_of_a_known_kind(checks, node, cp, desk)
        receipts_of_a_level_to_come(checks, node, cp, desk)
        presence_with_more(checks, node, cp, desk)
        an_update_with_more(checks, region, node, cp, desk, version)
        frames_to_come(checks, node, cp)
        versions(checks, node, cp, version)
    except Exception as why:
        checks.check(f"{type(why).__name__}: {why}", False, cp.log_tail())
    finally:
        region.close()
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
