#!/usr/bin/env python3
"""A second reading of docs/PROTOCOL.md: decodes, checks and verifies test/vectors/protocol.json with Debian's
python3-protobuf and python3-nacl, from the text and the schemas alone; none of cpd's code is used.

Ends with `N passed, M failed`; with `skipped:` when the packages or protoc are not there. BUILD says where the
generated Python goes.
"""
import hashlib
import json
import os
import re
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.environ.get("BUILD", "build")
SCRIPT = os.path.abspath(sys.argv[0])
os.chdir(TOP)


def skip(why):
    print(f"skipped: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


try:
    from google.protobuf.descriptor import FieldDescriptor as FD
    from nacl import bindings
    from nacl.exceptions import BadSignatureError
    from nacl.signing import SigningKey, VerifyKey
except ImportError as missing:
    if os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3") and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", SCRIPT])   # Debian's own has the packages
    skip(f"{missing}; apt-get install python3-protobuf python3-nacl")
generated = os.path.join(BUILD, "interop")
os.makedirs(generated, exist_ok=True)
try:
    subprocess.run(["protoc", f"--python_out={generated}", "-Iproto", "proto/cpd.proto", "proto/body.proto"], check=True, capture_output=True)
except FileNotFoundError:
    skip("protoc is not there; apt-get install protobuf-compiler")
sys.path.insert(0, generated)
try:
    import body_pb2
    import cpd_pb2
except (ImportError, TypeError) as mismatch:
    skip(f"protoc and python3-protobuf do not fit together: {mismatch}")

passed = failed = 0


def check(good, what):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {what}")
    return good


class Refused(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Refused(why)


# ------------------------------------------------------------ section 1: hashes
def h(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def fingerprint(data):
    digits = h(data)[:16].hex()
    return " ".join(digits[i:i + 4] for i in range(0, 32, 4))


# ------------------------------------------------------------ section 2: the strict walk
def varint(data, at):
    value = shift = 0
    while True:
        need(at < len(data), "the end is missing")
        byte = data[at]
        value |= (byte & 0x7f) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            need(shift == 7 or byte != 0, "longer than it needs to be")
            need(value < 1 << 64, "above 64 bits")
            return value, at
        need(shift < 70, "above 64 bits")


def fits(kind, value):
    if kind in (FD.TYPE_UINT32, FD.TYPE_SINT32):
        return value < 1 << 32
    if kind == FD.TYPE_ENUM:
        return value < 1 << 31 or value >= (1 << 64) - (1 << 31)
    return kind != FD.TYPE_BOOL or value <= 1


def good_text(data, one_line=False):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    allowed = "" if one_line else "\n\t"
    return all(c in allowed or not (c < " " or "\x7f" <= c < "\xa0") for c in text)


def strict(descriptor, data):
    at, seen = 0, set()
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        need(0 < number < 1 << 29, "field number")
        content = None
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            need(at <= len(data), "the end is missing")
        elif wire == 2:
            length, at = varint(data, at)
            need(at + length <= len(data), "a length beyond the end")
            content, at = data[at:at + length], at + length
        else:
            raise Refused("wire type")
        field = descriptor.fields_by_number.get(number)
        if field is None:
            continue
        repeated = field.label == FD.LABEL_REPEATED
        need(repeated or number not in seen, "twice")
        seen.add(number)
        has_length = field.type in (FD.TYPE_STRING, FD.TYPE_BYTES, FD.TYPE_MESSAGE)
        if wire == 2 and repeated and not has_length:
            inside = 0
            while inside < len(content):
                value, inside = varint(content, inside)
                need(fits(field.type, value), "too wide")
            continue
        need(wire == (2 if has_length else 0), "another wire type")
        if field.type == FD.TYPE_MESSAGE:
            strict(field.message_type, content)
        elif field.type == FD.TYPE_STRING:
            need(good_text(content), "no good text")
        elif not has_length:
            need(fits(field.type, value), "too wide")
    for field in descriptor.fields:
        need(field.label != FD.LABEL_REQUIRED or field.number in seen, f"{field.name} is absent")


def kind_of(name):
    return getattr(cpd_pb2, name, None) or getattr(body_pb2, name)


def decode(name, data):
    made = kind_of(name)()
    strict(made.DESCRIPTOR, data)
    made.ParseFromString(data)
    return made


def plain(message):
    """As the vectors write it: names of the schema, bytes in hex."""
    def one(field, value):
        if field.type == FD.TYPE_MESSAGE:
            return plain(value)
        return value.hex() if field.type == FD.TYPE_BYTES else value
    return {field.name: [one(field, v) for v in value] if field.label == FD.LABEL_REPEATED else one(field, value)
            for field, value in message.ListFields()}


# ------------------------------------------------------------ sections 4 to 7: rules beyond the schema
def distinct(numbers, why):
    need(0 not in numbers and len(set(numbers)) == len(numbers), why)


def pairs(numbers):
    need(len(numbers) % 2 == 0, "half a pair")
    return list(zip(numbers[::2], numbers[1::2]))


def rules_message(m):
    need(m.origin and m.epoch and m.sequence and m.kind, "0 in the id or kind")
    groups = pairs(m.groups)
    need(len(m.nodes) <= 64 and len(groups) <= 8 and (m.nodes or groups), "addressees")
    distinct(m.nodes, "nodes")
    distinct([number for number, _ in groups], "groups")
    need(all(version for _, version in groups), "version 0")
    need(not m.HasField("lifetime_s") or 60 <= m.lifetime_s <= 2592000, "lifetime")
    need(m.HasField("body") != m.HasField("large"), "body or large")
    need(len(m.body) <= 16384, "body")
    if m.HasField("large"):
        need(1 <= m.large.length <= 8388608 and len(m.large.root) == 32, "large")
    for name in ("in_reply_to", "supersedes", "incident"):
        if m.HasField(name):
            r = getattr(m, name)
            target = (r.origin if r.HasField("origin") else m.origin, r.epoch, r.sequence)
            need(all(target) and (name == "incident" or target != (m.origin, m.epoch, m.sequence)), name)
    need(good_text(m.author.encode(), True) and len(m.author.encode()) <= 64, "author")


def rules_receipts(r):
    need(len(r.fields) >= 8 and (len(r.fields) - 5) % 3 == 0, "fields")
    count = (len(r.fields) - 5) // 3
    need(count <= 64 and len(r.hashes) == 8 * count and len(r.remarks) in (0, count), "entries")
    need(all(r.fields[i] for i in (0, 1, 2, 4)) and all(r.fields[i] < 1 << 32 for i in (0, 1, 3, 4)), "head")
    for i in range(count):
        epoch, sequence, level = r.fields[5 + 3 * i:8 + 3 * i]
        need(0 < epoch < 1 << 32 and sequence and level >> 4 <= 255, "entry")
    need(all(good_text(t.encode(), True) and len(t.encode()) <= 280 for t in r.remarks), "remark")


def rules_presence(p):
    need(p.node and p.epoch and p.counter, "0")
    distinct(p.homes, "homes")
    floors = pairs(p.floors)
    distinct([epoch for epoch, _ in floors], "floors")
    need(len(p.homes) <= 8 and len(floors) <= 4 and all(epoch <= p.epoch for epoch, _ in floors), "floors")


def rules_update(u):
    need(u.number, "number 0")
    for c in u.certificates:
        need(c.node and c.key_number and c.name and good_text(c.name.encode(), True) and len(c.name.encode()) <= 80, "certificate")
        need(len(c.signing_key) == len(c.sealing_key) == len(c.transport_key) == 32, "keys")
        need(re.fullmatch(r"(GM\d{4})?", c.municipality) and re.fullmatch(r"(VR\d{2})?", c.region), "codes")
    for r in u.revocations:
        need(r.node and r.key_number, "revocation")
    for g in u.groups:
        need(g.number and g.version and g.name and good_text(g.name.encode(), True), "group")
        distinct(g.members, "members")
    for things, names in ((u.certificates, ("node", "key_number")), (u.revocations, ("node", "key_number")), (u.groups, ("number", "version"))):
        words = [tuple(getattr(one, name) for name in names) for one in things]
        need(len(set(words)) == len(words), "two words on one thing")


def rules_frame(f):
    main = [name for name in ("hello", "data", "refusal", "want", "presence", "introduction") if f.HasField(name)]
    beside = [name for name in ("ack", "credit", "directory") if f.HasField(name)]
    need(len(main) <= 1 and not (beside and main and main[0] in ("hello", "introduction")), "parts")
    if f.HasField("hello"):
        need(1 <= f.hello.version_min <= f.hello.version and f.hello.epoch and len(f.hello.received_bitmap) <= 32, "hello")
    if f.HasField("data"):
        d = f.data
        total = d.total if d.HasField("total") else len(d.piece)
        need(d.serial and 1 <= d.shape & 15 <= 4 and d.shape >> 4 <= 3, "shape")
        need(1 <= len(d.piece) <= 32768 and total <= 24576 and d.offset + len(d.piece) <= total, "piece")
    if f.HasField("refusal"):
        need(f.refusal.serial and f.refusal.reason, "refusal")
    if f.HasField("want"):
        m = f.want.message
        need(f.want.serial and m.HasField("origin") and m.origin and m.epoch and m.sequence, "want")
    need(not f.HasField("introduction") or 1 <= len(f.introduction) <= 1024, "introduction")
    need(not f.HasField("presence") or 1 <= len(f.presence.record) <= 512, "presence")


RULES = {"Message": rules_message, "Receipts": rules_receipts, "Presence": rules_presence, "DirectoryUpdate": rules_update, "Frame": rules_frame}


def take(name, data):
    message = decode(name, data)
    if name in RULES:
        RULES[name](message)
    return message


# ------------------------------------------------------------ section 3: signatures
def signed_over(purpose, network, content):
    return b"cpd/1/" + purpose.encode() + b"\0" + bytes([len(network)]) + network.encode() + len(content).to_bytes(4, "big") + content


def verifies(key, purpose, network, content, signature):
    try:
        VerifyKey(key).verify(signed_over(purpose, network, content), signature)
        return True
    except BadSignatureError:
        return False


# ------------------------------------------------------------ section 4.2: flags
PRECEDENCE = ["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"]
CLOSING = [None, "DELIVERED", "READ", "ACCEPTED", "DONE", None, None, None]


def read_tables(text):
    """The tables of kinds (8.1), levels (6.2) and limits (10) as the text has them."""
    lives = {"h": 3600, "d": 86400}
    kinds, ranks, names, limits = {}, {}, {}, {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 9 and cells[0].isdigit():
            amount, unit = cells[4].split()
            roles = [["nsp", "cp", "desk", "partner"] if c == "any" else c.split(", ") for c in cells[7:9]]
            kinds[int(cells[0])] = {"number": int(cells[0]), "name": cells[1].rstrip(" °"), "precedence": cells[3], "lifetime_s": int(amount) * lives[unit],
                                    "closing_level": cells[5], "is_state": cells[6] == "yes", "from": roles[0], "to": roles[1]}
        elif len(cells) == 4 and cells[0].isdigit() and cells[2].isdigit() and cells[1].isupper():
            names[int(cells[0])], ranks[int(cells[0])] = cells[1], int(cells[2])
        elif len(cells) == 3 and re.fullmatch(r"`LI\w+`", cells[0]):
            limits[cells[0].strip("`")] = int(cells[1].replace(",", ""))
    return kinds, ranks, names, limits


def header_of(message, kinds):
    flags, kind = message.flags, kinds.get(message.kind)
    closing = CLOSING[flags >> 2 & 7] or (kind["closing_level"] if kind else "DELIVERED")
    return {"id": f"{message.origin}/{message.epoch}/{message.sequence}", "precedence": PRECEDENCE[flags & 3], "mode": ["REAL", "EXERCISE", "TEST", "?"][flags >> 7 & 3],
            "closing_level": closing, "clock_quality": flags >> 5 & 3, "confidentiality": flags >> 9 & 3, "entry_mode": flags >> 11 & 7,
            "kind_name": kind["name"] if kind else "unknown",
            "lifetime_s": message.lifetime_s if message.HasField("lifetime_s") else kind["lifetime_s"] if kind else 259200}


# ------------------------------------------------------------ section 4.5: the tree
def leaf_leads_to(root, length, leaf):
    count = (length + 4079) // 4080
    if leaf.index >= count or len(leaf.bytes) != (4080 if leaf.index + 1 < count else length - 4080 * leaf.index):
        return False
    value, index, width, path = h(b"\0" + leaf.bytes), leaf.index, count, list(leaf.path)
    while width > 1:
        if index % 2 or index + 1 < width:
            if not path:
                return False
            other = path.pop(0)
            value = h(b"\1" + (other + value if index % 2 else value + other))
        index, width = index // 2, (width + 1) // 2
    return not path and value == root


# ------------------------------------------------------------ section 8.3: check words
def check_words(call):
    def norm(text):
        return (text or "").replace(" ", "").translate({c: c - 32 for c in range(ord("a"), ord("z") + 1)})
    text = "|".join([str(call["number"]), str(call["services"]), str(call["nature"]), norm(call["postcode"]), norm(call["house_number"]), norm(call["location"])])
    return int.from_bytes(h(text.encode())[:3], "big") >> 4


# ------------------------------------------------------------ all of it
def check_vectors(data, kinds, quoted):
    network = data["network"]
    keys = {who["who"]: who for who in data["keys"]}
    for who in data["keys"]:
        check(SigningKey(bytes.fromhex(who["signing_seed"])).verify_key.encode().hex() == who["signing_key"], f"signing key of {who['who']}")
        for use in ("sealing", "transport"):
            check(bindings.crypto_scalarmult_base(bytes.fromhex(who[use + "_secret"])).hex() == who[use + "_key"], f"{use} key of {who['who']}")
    held, made = {}, {}
    for vector in data["vectors"]:
        name, raw = vector["name"], bytes.fromhex(vector["hex"])
        try:
            message = made[name] = take(vector["type"], raw)
        except Refused as why:
            check(False, f"{name} is refused: {why}")
            continue
        check(len(raw) == vector["length"] and plain(message) == vector["fields"], f"{name}: fields {plain(message)}")
        check(message.SerializeToString() == raw, f"{name} is written in another way")
        if vector["type"] == "DirectoryUpdate":
            held.update({str(c.node): c for c in message.certificates})
        if "header" in vector:
            check(header_of(message, kinds) == vector["header"], f"{name}: header {header_of(message, kinds)}")
        if "signer" in vector:
            signature = message.signatures[0].signature if vector["type"] == "Envelope" else message.signature
            key = bytes.fromhex(keys["authority"]["signing_key"]) if vector["signer"] == "authority" else held[vector["signer"]].signing_key
            check(verifies(key, vector["purpose"], network, message.signed, signature), f"{name}: signature")
            check(not verifies(key, vector["purpose"], network + "x", message.signed, signature), f"{name}: signature holds in another network")
            check(not verifies(key, "request", network, message.signed, signature), f"{name}: signature holds for another purpose")
        if "hash8" in vector:
            check(h(message.signed)[:8].hex() == vector["hash8"], f"{name}: hash8")
    for name in ("directory-update", "call", "call-item", "receipt-record", "presence-record", "frame-hello", "frame-data", "frame-ack"):
        check(made[name].SerializeToString().hex() in quoted, f"{name} does not stand in PROTOCOL.md as it is")
    return made, held, keys


def check_meaning(data, made, held, keys):
    call = made["call-signed"]
    check(take("EmergencyCall", call.body) == made["call-body"], "the body of the call")
    body = plain(made["call-body"])
    check(check_words({**body, "location": None}) == body["check_words"], "check words of the call")
    check(made["receipt"].hashes == h(made["call"].signed)[:8], "the receipt is of the call")
    check(made["call-item"].envelope.hex() == made["call"].SerializeToString().hex(), "the item holds the envelope")
    pieces = made["frame-piece-1"].data.piece + made["frame-piece-2"].data.piece
    check(pieces == made["call-item"].SerializeToString() and len(pieces) == made["frame-piece-1"].data.total, "two pieces are the item")
    void = made["frame-void"].data
    check(void.piece == b"\0", "a void")
    large = made["large-signed"].large
    for name in ("leaf-0", "leaf-2"):
        check(leaf_leads_to(large.root, large.length, made[name]), f"{name} leads to the root")
        changed = cpd_pb2.Leaf()
        changed.CopyFrom(made[name])
        changed.bytes = bytes([changed.bytes[0] ^ 1]) + changed.bytes[1:]
        check(not leaf_leads_to(large.root, large.length, changed), f"{name} changed leads to the root")
    nsp = held["344003"]
    check(fingerprint(nsp.signing_key + nsp.sealing_key + nsp.transport_key) == data["fingerprints"]["certificate_344003"], "fingerprint of a certificate")
    authority = bytes.fromhex(keys["authority"]["signing_key"])
    check(fingerprint(data["network"].encode() + b"\0VR09\0" + authority) == data["fingerprints"]["anchor"], "fingerprint of the anchor")
    lines = f"cpd-region 1\nnetwork {data['network']}\nregion VR09\nname Utrecht\nauthority-key {authority.hex()}\n"
    check(lines + f"check {h(lines.encode())[:8].hex()}\n" == data["fingerprints"]["region.pub"], "region.pub")
    for one in data["check_words"]:
        check(check_words(one) == one["bits"], f"check words of {one}")


def check_tables(data, kinds, ranks, names, limits):
    check([names[i] for i in range(11)] == data["levels"]["names"], "names of the levels")
    for held in range(11):
        for told in range(11):
            check((told if ranks[told] > ranks[held] else held) == data["levels"]["merge"][held][told], f"merge of {held} and {told}")
        for at, closing in enumerate((3, 5, 7, 8)):
            closes = names[held] in ("REFUSED", "NOT-UNDERSTOOD") or (ranks[held] >= 5 and ranks[held] >= ranks[closing])
            check(closes == data["levels"]["closes"][held][at], f"{names[held]} closes {names[closing]}")
    check([kinds[n] for n in sorted(kinds)] == data["kinds"], "the table of kinds")
    defined = {}
    with open("proto/limits.h") as header:
        for name, value in re.findall(r"#define (LI[A-Z_]+) +(.+?)(?:\s*/\*.*)?$", header.read(), re.M):
            defined[name] = eval(value) if re.fullmatch(r"[\d\s()*]+", value) else None
    check(len(limits) > 40, "the table of limits")
    for name, value in limits.items():
        check(defined.get(name) == value, f"{name} is {defined.get(name)}, the text says {value}")


def check_judged(data):
    for one in data["judged"]:
        try:
            take(one["type"], bytes.fromhex(one["hex"]))
            taken, why = True, "nothing is wrong"
        except Refused as refused:
            taken, why = False, str(refused)
        check(taken == one["good"], f"{one['type']} {one['hex']} ({one['why'] or 'good'}): {why}")


def check_signatures():
    with open("test/vectors/signatures.json") as text:
        for one in json.load(text)["vectors"]:
            content, key = bytes.fromhex(one["bytes"]), bytes.fromhex(one["public_key"])
            check(signed_over(one["purpose"], one["network"], content).hex() == one["signed_over"], f"signed over, {one['purpose']}")
            check(verifies(key, one["purpose"], one["network"], content, bytes.fromhex(one["signature"])), f"signature, {one['purpose']}")


def main():
    with open("test/vectors/protocol.json") as text:
        data = json.load(text)
    with open("docs/PROTOCOL.md") as text:
        prose = text.read()
    kinds, ranks, names, limits = read_tables(prose)
    made, held, keys = check_vectors(data, kinds, re.sub(r"\s", "", prose))
    check_meaning(data, made, held, keys)
    check_tables(data, kinds, ranks, names, limits)
    check_judged(data)
    check_signatures()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
