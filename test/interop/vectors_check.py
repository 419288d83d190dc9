#!/usr/bin/env python3
"""cpdpy's reading of docs/PROTOCOL.md against the byte vectors of test/vectors and the tables in the text itself: none of
cpd's code is used. Ends with `N passed, M failed`."""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, HERE)
from cpdpy.debian import require  # noqa: E402

require()
from cpdpy import bodies, courier, crypto, joining, rules, sealing, strict, tree  # noqa: E402
from cpdpy.crypto import Keys, fingerprint, hash8, signed_over, verify  # noqa: E402
from cpdpy.schema import CLASSES, LEVEL_NAMES  # noqa: E402

CLOSING_NAMES = (None, "DELIVERED", "READ", "ACCEPTED", "DONE")
RULES = {"Message": rules.message, "Envelope": rules.envelope, "MessageItem": rules.message_item, "Receipts": rules.receipts,
         "Presence": rules.presence, "DirectoryUpdate": rules.update, "SignedRecord": rules.signed_record, "Leaf": rules.leaf,
         "Frame": rules.frame}
passed = failed = 0


def check(good, what):
    global passed, failed
    passed += bool(good)
    failed += not good
    if not good:
        print(f"FAILED: {what}")


def take(name, data):
    return RULES[name](data) if name in RULES else strict.decode(name, data)


def plain(value):
    """As the vectors write it: names of the schema, bytes in hex."""
    if isinstance(value, strict.Fields):
        return {name: plain(one) for name, one in value._values.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value.hex() if isinstance(value, bytes) else value


def read_tables(text):
    """The tables of kinds (8.1), levels (6.2) and limits (10) as the text has them."""
    lives = {"h": 3600, "d": 86400}
    kinds, ranks, names, limits = {}, {}, {}, {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 9 and cells[0].isdigit():
            amount, unit = cells[4].split()
            roles = [["nsp", "cp", "desk", "partner"] if c == "any" else c.split(", ") for c in cells[7:9]]
            kinds[int(cells[0])] = {"number": int(cells[0]), "name": cells[1].rstrip(" °"), "precedence": cells[3],
                                    "lifetime_s": int(amount) * lives[unit], "closing_level": cells[5], "is_state": cells[6] == "yes",
                                    "from": roles[0], "to": roles[1]}
        elif len(cells) == 4 and cells[0].isdigit() and cells[2].isdigit() and cells[1].isupper():
            names[int(cells[0])], ranks[int(cells[0])] = cells[1], int(cells[2])
        elif len(cells) == 3 and re.fullmatch(r"`LI\w+`", cells[0]):
            limits[cells[0].strip("`")] = int(cells[1].replace(",", ""))
    return kinds, ranks, names, limits


def as_told(kind):
    return {"number": kind.number, "name": kind.name, "precedence": bodies.PRECEDENCES[kind.precedence], "lifetime_s": kind.life_s,
            "closing_level": CLOSING_NAMES[kind.closes], "is_state": kind.state, "from": list(kind.senders), "to": list(kind.receivers)}


def header_of(message):
    flags, kind = message.flags, bodies.KINDS.get(message.kind)
    return {"id": f"{message.origin}/{message.epoch}/{message.sequence}", "precedence": bodies.PRECEDENCES[bodies.precedence_of(flags)],
            "mode": ["REAL", "EXERCISE", "TEST", "?"][flags >> 7 & 3], "closing_level": CLOSING_NAMES[bodies.closing_of(flags, message.kind)],
            "clock_quality": flags >> 5 & 3, "confidentiality": flags >> 9 & 3, "entry_mode": flags >> 11 & 7,
            "kind_name": kind.name if kind else "unknown",
            "lifetime_s": message.lifetime_s if message.has("lifetime_s") else bodies.kind_of(message.kind).life_s}


def check_vectors(data, quoted):
    network = data["network"]
    keys = {who["who"]: who for who in data["keys"]}
    for who in data["keys"]:
        made = Keys(*(bytes.fromhex(who[name]) for name in ("signing_seed", "sealing_secret", "transport_secret")))
        for use in ("signing", "sealing", "transport"):
            check(getattr(made, use + "_key").hex() == who[use + "_key"], f"{use} key of {who['who']}")
    held, made = {}, {}
    for vector in data["vectors"]:
        name, raw = vector["name"], bytes.fromhex(vector["hex"])
        try:
            message = take(vector["type"], raw)
        except strict.Malformed as why:
            check(False, f"{name} is refused: {why}")
            continue
        made[name] = (raw, message)
        check(len(raw) == vector["length"] and plain(message) == vector["fields"], f"{name}: fields {plain(message)}")
        check(CLASSES[vector["type"]].FromString(raw).SerializeToString() == raw, f"{name} is written in another way")
        if vector["type"] == "DirectoryUpdate":
            held.update({str(c.node): c for c in message.certificates})
        if "header" in vector:
            check(header_of(message) == vector["header"], f"{name}: header {header_of(message)}")
        if "signer" in vector:
            signature = message.signatures[0].signature if vector["type"] == "Envelope" else message.signature
            key = bytes.fromhex(keys["authority"]["signing_key"]) if vector["signer"] == "authority" else held[vector["signer"]].signing_key
            check(verify(key, vector["purpose"], network, message.signed, signature), f"{name}: signature")
            check(not verify(key, vector["purpose"], network + "x", message.signed, signature), f"{name}: signature holds in another network")
            check(not verify(key, "request", network, message.signed, signature), f"{name}: signature holds for another purpose")
        if "hash8" in vector:
            check(hash8(message.signed).hex() == vector["hash8"], f"{name}: hash8")
    for name in ("directory-update", "call", "call-item", "receipt-record", "presence-record", "frame-hello", "frame-data", "frame-ack"):
        check(made[name][0].hex() in quoted, f"{name} does not stand in PROTOCOL.md as it is")
    return made, held, keys


def check_meaning(data, made, held, keys):
    check(made["call-signed"][1].body == made["call-body"][0], "the body of the call")
    for name in ("call-body", "text-body"):
        kind = bodies.BY_NAME["emergency-call" if name == "call-body" else "text"]
        check(bodies.is_understood(kind.number, made[name][0]), f"{name} is understood")
    body = made["call-body"][1]
    check(bodies.check_words(body.number, body.services, body.nature, body.postcode, body.house_number, body.location) == body.check_words,
          "check words of the call")
    check(made["receipt"][1].hashes == hash8(made["call"][1].signed), "the receipt is of the call")
    check(made["call-item"][1].envelope == made["call"][0], "the item holds the envelope")
    first, second = made["frame-piece-1"][1].data, made["frame-piece-2"][1].data
    check(first.piece + second.piece == made["call-item"][0] and first.total == len(made["call-item"][0]), "two pieces are the item")
    check(made["frame-void"][1].data.piece == b"\0", "a void")
    large = made["large-signed"][1].large
    for name in ("leaf-0", "leaf-2"):
        leaf = made[name][1]
        check(tree.leaf_holds(large.length, large.root, leaf.index, leaf.bytes, leaf.path), f"{name} leads to the root")
        changed = bytes([leaf.bytes[0] ^ 1]) + leaf.bytes[1:]
        check(not tree.leaf_holds(large.length, large.root, leaf.index, changed, leaf.path), f"{name} changed leads to the root")
    for length in (1, 4080, 4081, 8160, 12241, 100000):
        content = bytes(i * 7 & 255 for i in range(length))
        pieces, paths = tree.cut(content), tree.paths(content)
        check(all(tree.leaf_holds(length, tree.root(content), i, pieces[i], paths[i]) for i in range(tree.leaf_count(length))),
              f"a tree over {length} bytes")
    nsp = held["344003"]
    check(fingerprint(nsp.signing_key, nsp.sealing_key, nsp.transport_key) == data["fingerprints"]["certificate_344003"],
          "fingerprint of a certificate")
    anchor = joining.Anchor(data["fingerprints"]["region.pub"])
    check(anchor.fingerprint() == data["fingerprints"]["anchor"], "fingerprint of the anchor")
    check(anchor.network == data["network"] and anchor.key.hex() == keys["authority"]["signing_key"], "region.pub")
    for one in data["check_words"]:
        words = [one[name] for name in ("number", "services", "nature", "postcode", "house_number", "location")]
        check(bodies.check_words(*words) == one["bits"], f"check words of {one}")


def check_tables(data, text):
    kinds, ranks, names, limits = read_tables(text)
    check([names[i] for i in range(11)] == data["levels"]["names"] == [LEVEL_NAMES[i].replace("_", "-") for i in range(11)], "names of the levels")
    check(ranks == bodies.RANKS, "ranks of the levels")
    for held in range(11):
        for told in range(11):
            merged = told if bodies.rank(told) > bodies.rank(held) else held
            check(merged == data["levels"]["merge"][held][told], f"merge of {held} and {told}")
        for at, closing in enumerate((1, 2, 3, 4)):
            check(bodies.closes(held, closing) == data["levels"]["closes"][held][at], f"{names[held]} closes {CLOSING_NAMES[closing]}")
    check([kinds[n] for n in sorted(kinds)] == data["kinds"], "the table of kinds in the text")
    check([as_told(bodies.KINDS[n]) for n in sorted(bodies.KINDS)] == data["kinds"], "the table of kinds here")
    defined = {}
    with open(os.path.join(TOP, "proto", "limits.h")) as header:
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
        except strict.Malformed as refused:
            taken, why = False, str(refused)
        check(taken == one["good"], f"{one['type']} {one['hex']} ({one['why'] or 'good'}): {why}")


def check_signatures():
    with open(os.path.join(TOP, "test", "vectors", "signatures.json")) as text:
        for one in json.load(text)["vectors"]:
            content, signature = bytes.fromhex(one["bytes"]), bytes.fromhex(one["signature"])
            check(signed_over(one["purpose"], one["network"], content).hex() == one["signed_over"], f"signed over, {one['purpose']}")
            check(verify(bytes.fromhex(one["public_key"]), one["purpose"], one["network"], content, signature), f"signature, {one['purpose']}")
            check(crypto.sign(bytes.fromhex(one["secret_seed"]), one["purpose"], one["network"], content) == signature, f"signing, {one['purpose']}")


def check_courier(data):
    with open(os.path.join(TOP, "test", "vectors", "courier.json")) as text:
        one = json.load(text)
    file, arguments = bytes.fromhex(one["file"]), ("nl", bytes.fromhex(one["writer_signing_key"]), 901, 1, bytes.fromhex(one["reader_sealing_secret"]))
    head, parts = courier.read(file, *arguments)
    item = next(vector["hex"] for vector in data["vectors"] if vector["name"] == "call-item")
    check(head["writer"] == 344003 and head["epoch"] == 2 and head["number"] == 7 and head["readers"] == 1, f"head of a courier file: {head}")
    check(len(parts) == 1 and parts[0]["next"] == 901 and parts[0]["tag"]["id"] == (344003, 2, 118) and parts[0]["tag"]["precedence"] == 3
          and parts[0]["item"].hex() == item, f"parts of a courier file: {parts}")
    taken = 0
    for at in range(len(file)):
        for changed in (file[:at], file[:at] + bytes([file[at] ^ 1]) + file[at + 1:]):
            try:
                courier.read(changed, *arguments)
                taken += 1
            except courier.Refused:
                pass
    check(not taken, f"{taken} changed courier files were taken")


def check_sealed(data, made, keys):
    def opened(message, raw, who, number=1, network=data["network"]):
        try:
            return sealing.open_part(message, raw, network, int(who), number, bytes.fromhex(keys[who]["sealing_secret"]))
        except (sealing.Refused, strict.Malformed):
            return None

    for one in data["sealed"]:
        message, raw, inside = rules.message(made[one["message"]][1].signed), made[one["part"]][0], made[one["inside"]][0]
        part = made[one["part"]][1]
        check(raw in message.sealed, f"{one['part']} stands in its message")
        check(sealing.bound(message, part, data["network"]).hex() == one["bound"], f"what {one['part']} is bound to")
        for who in ("901", "911", "344003"):
            check(opened(message, raw, who) == (inside if int(who) in part.readers[::2] else None), f"{one['part']} for {who}")
        check(opened(message, raw, "911", number=2) is None and opened(message, raw, "911", network="xx") is None, f"{one['part']}: another key or network")
        other = rules.message(made["call"][1].signed)
        check(opened(other, raw, "911") is None, f"{one['part']} opens in another message")
        changed = sum(opened(message, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:], "911") is not None for at in range(len(raw)))
        cut = sum(opened(message, raw[:at], "911") is not None for at in range(len(raw)))
        # The keys of other readers are not 911's to judge.
        check(changed <= 48 * (len(part.readers) // 2 - 1) and not cut, f"{one['part']}: {changed} changed and {cut} cut ones open")


def main():
    with open(os.path.join(TOP, "test", "vectors", "protocol.json")) as text:
        data = json.load(text)
    with open(os.path.join(TOP, "docs", "PROTOCOL.md")) as text:
        prose = text.read()
    made, held, keys = check_vectors(data, re.sub(r"\s", "", prose))
    check_meaning(data, made, held, keys)
    check_tables(data, prose)
    check_judged(data)
    check_signatures()
    check_courier(data)
    check_sealed(data, made, keys)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
