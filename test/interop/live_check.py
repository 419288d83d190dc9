#!/usr/bin/env python3
"""A second implementation of a node, as small as it gets, written from docs/PROTOCOL.md: it calls a real cpd, says
hello, sends messages and takes them, signs receipts and presence. Its keys are made and certified with cpctl; of
cpd's code it uses nothing. Needs python3-zmq beside what vectors_check.py needs.

Ends with `N passed, M failed`; with `skipped:` when a package is absent.
"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]
import vectors_check as spec  # noqa: E402  (skips when protobuf or nacl are not there)

try:
    import zmq
except ImportError as missing:
    spec.skip(f"{missing}; apt-get install python3-zmq")
from harness import BUILD, Region, wait_for  # noqa: E402
from vectors_check import SigningKey, check, cpd_pb2, h, signed_over, take, verifies  # noqa: E402

import body_pb2  # noqa: E402

NETWORK, SELF, PEER = "nl", 344003, 901
ZERO = 1767225600                  # 2026-01-01T00:00:00Z
MESSAGE, RECEIPTS, DIRECTORY = 1, 2, 3
ROUTINE, FLASH = 0, 3


def now_s():
    return int(time.time()) - ZERO


class SecondNode:
    """One node, one link. Its store is this object: it never restarts within the test, only its session does."""

    def __init__(self, identity, certificates, port):
        def key(name):
            with open(os.path.join(identity, name)) as text:
                return bytes.fromhex(text.read().strip())
        self.signing, self.transport = SigningKey(key("signing.key")), key("transport.key")
        self.certificates, self.port = certificates, port
        self.epoch, self.peer_epoch, self.sequence, self.counter, self.presence = 1, 0, 0, 0, 0
        self.next_serial, self.received, self.above = 1, 0, set()
        self.known = False                 # has memory of what it sent
        self.partial, self.items = {}, []  # precedence -> (serial, total, bytes); whole items taken
        self.acked, self.refused = set(), {}
        self.socket = self.peer_hello = None

    # ---- session
    def connect(self, version):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, self.certificates[PEER].transport_key)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, self.certificates[SELF].transport_key)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, self.transport)
        self.socket.connect(f"tcp://127.0.0.1:{self.port}")
        self.peer_hello, self.partial = None, {}
        frame = cpd_pb2.Frame()
        hello = frame.hello
        hello.version, hello.epoch, hello.your_epoch, hello.received = 1, self.epoch, self.peer_epoch, self.received
        hello.next_serial = self.next_serial if self.known else 0
        hello.directory, hello.credit_bulk, hello.credit_urgent = version, 262144, 65536
        self.send(frame)
        self.until("hello", lambda: self.peer_hello)

    def close(self):
        self.socket.close()

    def send(self, frame):
        self.socket.send(frame.SerializeToString())

    def until(self, what, condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"no {what} within {seconds} s")
            if self.socket.poll(50):
                self.frame(take("Frame", self.socket.recv()))
        return condition()

    # ---- what comes
    def frame(self, frame):
        if frame.HasField("hello"):
            hello = self.peer_hello = frame.hello
            if hello.epoch != self.peer_epoch:
                self.peer_epoch, self.received, self.above, self.next_serial = hello.epoch, 0, set(), 1
            held = hello.received if hello.your_epoch == self.epoch else 0
            self.next_serial, self.known = max(self.next_serial, held + 1), True
            if hello.your_epoch == self.epoch and hello.next_serial:
                self.received = max(self.received, hello.next_serial - 1)
        if frame.HasField("ack"):
            self.acked.update(range(1, frame.ack.received + 1))
            self.acked.update(frame.ack.received + 1 + i for i in range(8 * len(frame.ack.bitmap)) if frame.ack.bitmap[i // 8] >> i % 8 & 1)
        if frame.HasField("refusal"):
            self.refused[frame.refusal.serial] = frame.refusal.reason
            self.data(b"\0", MESSAGE, ROUTINE, serial=frame.refusal.serial)
        if frame.HasField("data"):
            self.piece(frame.data)

    def piece(self, data):
        precedence, total = data.shape >> 4, data.total if data.HasField("total") else len(data.piece)
        serial, _, held = self.partial.get(precedence, (0, 0, b""))
        if data.offset == 0:
            serial, held = data.serial, b""
        if serial != data.serial or data.offset != len(held):
            return
        held += data.piece
        self.partial[precedence] = (serial, total, held)
        if len(held) < total:
            return
        del self.partial[precedence]
        if held != b"\0":
            self.items.append((data.shape & 15, held))
        self.above.add(serial)
        while self.received + 1 in self.above:
            self.received += 1
            self.above.discard(self.received)
        frame = cpd_pb2.Frame()
        frame.ack.received = self.received
        self.send(frame)

    # ---- what goes
    def data(self, item, kind, precedence, pieces=1, serial=None):
        if serial is None:
            serial, self.next_serial = self.next_serial, self.next_serial + 1
        size = -(-len(item) // pieces)
        for offset in range(0, len(item), size):
            frame = cpd_pb2.Frame()
            frame.data.serial, frame.data.shape, frame.data.piece = serial, kind | precedence << 4, item[offset:offset + size]
            if pieces > 1:
                frame.data.total = len(item)
            if offset:
                frame.data.offset = offset
            self.send(frame)
        return serial

    def sign(self, purpose, content):
        return self.signing.sign(signed_over(purpose, NETWORK, content)).signature

    def message(self, kind, body, flags, sequence=None):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        message = cpd_pb2.Message(origin=SELF, epoch=self.epoch, sequence=sequence, nodes=[PEER], kind=kind, flags=flags, created_s=now_s(),
                                  body=body.SerializeToString())
        envelope = cpd_pb2.Envelope(signed=message.SerializeToString())
        envelope.signatures.add(signature=self.sign("message", envelope.signed))
        return envelope

    def offer(self, envelope, precedence, retry=0, pieces=1):
        item = cpd_pb2.MessageItem(envelope=envelope.SerializeToString())
        item.trailer.recipients.append(PEER)
        item.trailer.trace.add(node=SELF)
        item.trailer.retry = retry
        return self.data(item.SerializeToString(), MESSAGE, precedence, pieces)

    def record(self, purpose, content):
        return cpd_pb2.SignedRecord(signed=content, signature=self.sign(purpose, content)).SerializeToString()

    def sign_receipt(self, message, signed, level):
        self.counter += 1
        receipts = cpd_pb2.Receipts(fields=[SELF, self.epoch, self.counter, now_s(), message.origin, message.epoch, message.sequence, level],
                                    hashes=h(signed)[:8])
        return self.data(self.record("receipts", receipts.SerializeToString()), RECEIPTS, message.flags & 3)

    def announce(self):
        self.presence += 1
        presence = cpd_pb2.Presence(node=SELF, epoch=self.epoch, counter=self.presence, homes=[PEER], floors=[self.epoch, 1])
        frame = cpd_pb2.Frame()
        frame.presence.record = self.record("presence", presence.SerializeToString())
        self.send(frame)

    def receipts(self):
        """(counter, subject, level, hash) of every entry that came, each record verified."""
        found = []
        for kind, item in self.items:
            if kind != RECEIPTS:
                continue
            record = take("SignedRecord", item)
            content = take("Receipts", record.signed)
            if check(verifies(self.certificates[content.fields[0]].signing_key, "receipts", NETWORK, record.signed, record.signature), "signature of a receipt"):
                for i in range((len(content.fields) - 5) // 3):
                    epoch, sequence, level = content.fields[5 + 3 * i:8 + 3 * i]
                    found.append((content.fields[2], (content.fields[4], epoch, sequence), level & 15, content.hashes[8 * i:8 * i + 8]))
        return found


def read_directory(folder):
    certificates, version = {}, 0
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            update = take("DirectoryUpdate", take("SignedRecord", file.read()).signed)
        certificates.update({one.node: one for one in update.certificates})
        version = max(version, update.number)
    return certificates, version


def call(number):
    return body_pb2.EmergencyCall(number=number, check_words=0, services=4, nature=1, location="Brug bij de molen", caller_waits=True)


def sends(node, cp):
    first = node.message(3, call(1), FLASH)
    serial = node.offer(first, FLASH, pieces=3)
    node.until("acknowledgement", lambda: serial in node.acked)
    check([m["id"] for m in cp.inbox()] == ["344003/1/1"], "acknowledged, and in the inbox")
    check(cp.show("344003/1/1")["body"]["location"] == "Brug bij de molen", "with the words that were sent")
    node.until("receipt", lambda: [r for r in node.receipts() if r[1:3] == ((SELF, 1, 1), 3)])
    check(node.receipts()[0][3] == h(first.signed)[:8], "DELIVERED is of these bytes")
    count = len(node.receipts())
    again = node.offer(first, FLASH, retry=1)
    node.until("acknowledgement of the retry", lambda: again in node.acked)
    node.until("a fresh receipt", lambda: len(node.receipts()) > count)
    check(len({r[0] for r in node.receipts()}) == len(node.receipts()), "a retry is answered with another record")
    check(len(cp.inbox()) == 1, "shown once")
    cp.act("344003/1/1", "read")
    node.until("READ", lambda: [r for r in node.receipts() if r[2] == 5])


def is_refused(node, cp):
    def told(envelope, reason, what):
        serial = node.offer(envelope, ROUTINE)
        node.until(what, lambda: serial in node.refused)
        check(node.refused[serial] == reason, f"{what}: {node.refused[serial]}")
        node.until("acknowledgement of the void", lambda: serial in node.acked)
    told(node.message(3, call(2), 0, sequence=1), 6, "another content under a known id")
    bad = node.message(6, body_pb2.Text(text="verminkt"), 0)
    bad.signatures[0].signature = bytes(64)
    told(bad, 3, "a signature that does not hold")
    told(node.message(5, body_pb2.Text(text="een opdracht"), 0), 5, "a kind that its role may not send")
    alien = node.message(6, body_pb2.Text(text="vreemd"), 0)
    alien.signatures[0].key_number = 9
    told(alien, 32, "a key that is not in the directory")
    check(len(cp.inbox()) == 1, "nothing of these is shown")


def takes(node, cp):
    identifier = cp.send("text", [SELF], {"text": "Komt er hulp? " + "Ja. " * 400}, closing_level="READ")
    node.until("message", lambda: [item for kind, item in node.items if kind == MESSAGE])
    item = take("MessageItem", [item for kind, item in node.items if kind == MESSAGE][0])
    envelope = take("Envelope", item.envelope)
    message = take("Message", envelope.signed)
    check(f"{message.origin}/{message.epoch}/{message.sequence}" == identifier, "the message that was sent")
    check(verifies(node.certificates[PEER].signing_key, "message", NETWORK, envelope.signed, envelope.signatures[0].signature), "its signature")
    check(take("Text", message.body).text.startswith("Komt er hulp?"), "its words")
    check([hop.node for hop in item.trailer.trace] == [PEER] and item.trailer.hop_limit == 16 and list(item.trailer.recipients) == [SELF], "its trailer")
    for level, name in ((5, "READ"), (3, "READ")):          # DELIVERED comes late: it may not take READ back
        serial = node.sign_receipt(message, envelope.signed, level)
        node.until("acknowledgement of a receipt", lambda: serial in node.acked)
        check(cp.trace(identifier)["recipients"][0]["level"] == name, f"the author is told {name}")
    check(cp.trace(identifier)["closed"], "and it is closed")


def comes_back(node, cp, version):
    check(not [n for n in cp.get("/v1/status")["nsps"] if n["number"] == SELF and n["heard_s"] is not None], "not heard before")
    node.announce()
    wait_for("presence", lambda: [n for n in cp.get("/v1/status")["nsps"] if n["number"] == SELF and n["heard_s"] is not None and n["homes"] == [PEER]])
    sent, got = node.next_serial - 1, node.received
    node.close()
    node.connect(version)
    check(node.peer_hello.your_epoch == node.epoch and node.peer_hello.received == sent, "its hello tells every serial of the last session")
    check(node.received == got or node.received == node.peer_hello.next_serial - 1, "and goes on with its own")
    check((node.peer_hello.seen_epoch, node.peer_hello.seen_sequence) == (1, 1), "and what it has seen of us")
    serial = node.offer(node.message(6, body_pb2.Text(text="weer terug"), ROUTINE), ROUTINE)
    check(serial == sent + 1, "serials go on")
    node.until("acknowledgement", lambda: serial in node.acked)
    check(len(cp.inbox()) == 2, "delivered after the new hello")


def main():
    region = Region(os.path.join(BUILD, "interop", "live"))
    try:
        cp, own = region.add(PEER, "cp", "CP"), region.add(SELF, "nsp", "Tweede", "GM0344")
        region.admit()
        region.wire_up(cp, [own])
        region.configure()
        cp.start()
        certificates, version = read_directory(os.path.join(region.authority, "updates"))
        node = SecondNode(os.path.join(own.state, "identity"), certificates, cp.port)
        node.connect(version)
        check(node.peer_hello.directory == version, "the directory is at the same version")
        sends(node, cp)
        is_refused(node, cp)
        takes(node, cp)
        comes_back(node, cp, version)
        node.close()
    except (TimeoutError, spec.Refused) as why:
        check(False, f"{why}\n{cp.log_tail()}")
    finally:
        region.close()
    print(f"{spec.passed} passed, {spec.failed} failed")
    return 1 if spec.failed else 0


if __name__ == "__main__":
    sys.exit(main())
