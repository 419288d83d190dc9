"""Section 9.11: the request, the anchor and the kit of a region."""
import re

from . import rules
from .crypto import H, fingerprint, sign
from .schema import pb


def make_request(keys, name):
    """The bytes of request.cpd."""
    wish = pb.Certificate(node=0, role=0, name=name, signing_key=keys.signing_key, sealing_key=keys.sealing_key,
                          transport_key=keys.transport_key).SerializeToString()
    return pb.SignedRecord(signed=wish, signature=sign(keys.signing, "request", "", wish)).SerializeToString()


def keys_fingerprint(keys):
    return fingerprint(keys.signing_key, keys.sealing_key, keys.transport_key)


class Anchor:
    """region.pub: what a node must know of its region beforehand."""

    def __init__(self, text):
        lines = text.split("\n")
        values = dict(line.split(" ", 1) for line in lines if " " in line)
        if lines[0] != "cpd-region 1" or lines[-1] or [line.split(" ")[0] for line in lines[1:-1]] != [
                "network", "region", "name", "authority-key", "check"]:
            raise ValueError("not a region.pub")
        before = text[:text.index("check ")].encode()
        if values["check"] != H(before)[:8].hex() or not re.fullmatch("[0-9a-f]{64}", values["authority-key"]):
            raise ValueError("region.pub is damaged: its check does not hold")
        self.text, self.network, self.region = text, values["network"], values["region"]
        self.key = bytes.fromhex(values["authority-key"])

    def fingerprint(self):
        return fingerprint(self.network.encode(), b"\0", self.region.encode(), b"\0", self.key)


class Kit:
    """What the region gives a new node: anchor, its numbers, every update so far."""

    def __init__(self, data):
        body, digest = data[:-32], data[-32:]
        if not body.startswith(b"cpd-kit 1\n") or H(body) != digest:
            raise ValueError("not a kit, or a damaged one")
        self.at, self.data = 10, body
        self.anchor = Anchor(self._bytes().decode())
        self.node, self.key_number = self._number(), self._number()
        self.updates = [self._bytes() for _ in range(self._number())]
        if self.at != len(body):
            raise ValueError("a kit with more than belongs in it")
        for record in self.updates:
            rules.signed_record(record)

    def _number(self):
        if self.at + 4 > len(self.data):
            raise ValueError("a kit that ends too soon")
        self.at += 4
        return int.from_bytes(self.data[self.at - 4:self.at], "big")

    def _bytes(self):
        length = self._number()
        if self.at + length > len(self.data):
            raise ValueError("a kit that ends too soon")
        self.at += length
        return self.data[self.at - length:self.at]
