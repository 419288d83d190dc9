"""What a decoded message must hold beyond its schema: sections 4 to 7 and 9.10. Each function raises Malformed, or
returns what it decoded."""
import re

from .strict import Malformed, decode

FRAME, PIECE, ITEM, ENVELOPE, BODY, LARGE = 40960, 32768, 24576, 18432, 16384, 8388608


def need(good, what):
    if not good:
        raise Malformed(what)


def one_line(text, limit, what, empty=False):
    need(len(text.encode()) <= limit, f"{what}: above {limit} bytes")
    need("\n" not in text and "\t" not in text, f"{what}: more than a line")
    need(text or empty, f"{what}: empty")


def distinct(numbers, what):
    need(0 not in numbers and len(set(numbers)) == len(numbers), f"{what}: 0, or one twice")


def signed_record(data):
    record = decode("SignedRecord", data)
    need(len(record.signature) == 64, "a signature of another length")
    need(record.key_number, "key number 0")
    need(0 < len(record.signed) <= ENVELOPE, "nothing signed, or too much")
    return record


def envelope(data):
    need(len(data) <= ENVELOPE, "an envelope too large")
    out = decode("Envelope", data)
    need(1 <= len(out.signatures) <= 4, "no signature, or more than four")
    need(len(out.releases) <= 4, "more than four releases")
    for one in out.releases:
        need(one.function and len(one.signature) == 64, "a release")
    for one in out.signatures:
        need(len(one.signature) == 64 and one.key_number, "a signature of another length, or key number 0")
        need(not one.has("signer") or one.signer, "signer 0")
    return out


def reference(ref, message):
    origin = ref.origin if ref.has("origin") else message.origin
    need(origin and ref.epoch and ref.sequence, "a reference with 0")
    need(not ref.has("hash") or len(ref.hash) == 8, "the hash of a reference is not 8 bytes")
    return origin, ref.epoch, ref.sequence


def message(data):
    out = decode("Message", data)
    need(out.origin and out.epoch and out.sequence and out.kind, "origin, epoch, sequence or kind is 0")
    need(len(out.nodes) <= 64, "too many addressees")
    distinct(out.nodes, "nodes")
    need(len(out.groups) % 2 == 0 and len(out.groups) <= 16 and 0 not in out.groups, "groups are pairs, up to 8, none 0")
    distinct(out.groups[::2], "groups")
    need(out.nodes or out.groups, "no addressee")
    need(not out.has("lifetime_s") or 60 <= out.lifetime_s <= 2592000, "lifetime")
    need(out.has("body") != out.has("large"), "either body or large")
    need(len(out.body) <= BODY, "a body too large")
    if out.has("large"):
        need(1 <= out.large.length <= LARGE and len(out.large.root) == 32, "large")
    for name in ("in_reply_to", "supersedes", "incident"):
        if out.has(name):
            other = reference(getattr(out, name), out)
            need(name == "incident" or other != (out.origin, out.epoch, out.sequence), f"{name} is the message itself")
    if out.has("author"):
        one_line(out.author, 64, "author", empty=True)
    return out


def trailer(out):
    need(0 not in out.recipients and len(out.recipients) <= 1024, "recipients")
    need(all(a < b for a, b in zip(out.recipients, out.recipients[1:])), "recipients do not ascend")
    need(len(out.member_bitmap) <= 128, "member_bitmap")
    need(len(out.trace) <= 24 and all(hop.node for hop in out.trace), "trace")
    need(out.hop_limit <= 16, "hop_limit")


def message_item(data):
    need(len(data) <= ITEM, "an item too large")
    out = decode("MessageItem", data)
    if out.trailer:
        trailer(out.trailer)
    return out


def receipts(data):
    need(len(data) <= 4096, "a record too large")
    out = decode("Receipts", data)
    fields = out.fields
    count = (len(fields) - 5) // 3
    need(len(fields) >= 8 and (len(fields) - 5) % 3 == 0 and count <= 64, "entries")
    need(len(out.hashes) == 8 * count, "hashes")
    need(fields[0] and fields[1] and fields[2] and fields[4], "0 in the name of a record")
    need(not any(fields[i] >> 32 for i in (0, 1, 3, 4)), "above 32 bits")
    for i in range(count):
        epoch, sequence, level = fields[5 + 3 * i:8 + 3 * i]
        need(epoch and not epoch >> 32 and sequence and level >> 4 <= 255, "an entry")
    need(len(out.remarks) in (0, count), "remarks")
    for remark in out.remarks:
        one_line(remark, 280, "remark", empty=True)
    return out


def presence(data):
    out = decode("Presence", data)
    need(out.node and out.epoch and out.counter, "0 in presence")
    need(len(out.homes) <= 8, "homes")
    distinct(out.homes, "homes")
    need(len(out.floors) % 2 == 0 and len(out.floors) <= 8, "floors are pairs, up to 4")
    epochs = out.floors[::2]
    distinct(epochs, "floors")
    need(all(epoch <= out.epoch for epoch in epochs), "a floor of an epoch to come")
    need(out.has("journal_number") == out.has("journal_head"), "half of a journal's head")
    need(not out.has("journal_head") or (out.journal_number and len(out.journal_head) >= 16), "a journal's head")
    return out


def certificate(out, of_request=False):
    need(out.key_number and (out.node or of_request), "node or key number 0")
    one_line(out.name, 80, "name")
    need(len(out.signing_key) == len(out.sealing_key) == len(out.transport_key) == 32, "keys of 32 bytes")
    need(not out.has("municipality") or re.fullmatch(r"GM\d{4}", out.municipality, re.ASCII), "municipality")
    need(not out.has("region") or re.fullmatch(r"VR\d{2}", out.region, re.ASCII), "region")
    need(abs(out.latitude_e5) <= 9000000 and abs(out.longitude_e5) <= 18000000, "coordinates")
    if out.has("address"):
        one_line(out.address, 120, "address", empty=True)
    need(len(out.kinds) <= 32, "kinds")
    distinct(out.kinds, "kinds")
    if out.has("not_before_s") and out.has("not_after_s"):
        need(out.not_after_s > out.not_before_s, "not_after_s")


def update(data):
    need(len(data) <= 16384, "an update too large")
    out = decode("DirectoryUpdate", data)
    need(out.number, "number 0")
    need(len(out.certificates) + len(out.revocations) + len(out.groups) + len(out.functions) <= 512, "too many entries")
    for one in out.certificates:
        certificate(one)
    for one in out.revocations:
        need(one.node and one.key_number, "revocation of 0")
        one_line(one.reason, 80, "reason", empty=True)
    for one in out.functions:
        need(one.number and one.node and len(one.signing_key) == 32, "function")
        one_line(one.function, 64, "function")
    for one in out.groups:
        need(one.number and one.version and len(one.members) <= 1024, "group")
        one_line(one.name, 80, "name")
        distinct(one.members, "members")
    for words in ([(one.node, one.key_number) for one in out.certificates], [(one.node, one.key_number) for one in out.revocations],
                  [(one.number, one.version) for one in out.groups], [one.number for one in out.functions]):
        need(len(set(words)) == len(words), "two words on one thing")
    return out


def leaf(data):
    out = decode("Leaf", data)
    need(out.message.origin and out.message.epoch and out.message.sequence, "a leaf of no message")
    need(1 <= len(out.bytes) <= 4080 and len(out.path) <= 12 and all(len(one) == 32 for one in out.path), "leaf")
    return out


def frame(data):
    """A frame, as 7.2 to 7.6 and 7.9 want it. A breach of these ends the session."""
    need(len(data) <= FRAME, "a frame too large")
    out = decode("Frame", data)
    main = [name for name in ("hello", "data", "refusal", "want", "presence", "introduction") if out.has(name)]
    need(len(main) <= 1, "two main parts")
    alone = out.has("hello") or out.has("introduction")
    need(not (alone and any(map(out.has, ("ack", "credit", "directory")))), "something beside a hello")
    if out.hello:
        hello = out.hello
        need(1 <= hello.version_min <= hello.version and hello.epoch and len(hello.received_bitmap) <= 32, "hello")
    if out.data:
        piece = out.data
        need(1 <= piece.serial < 1 << 48, "serial")
        need(piece.shape & 15 in (1, 2, 3, 4) and piece.shape >> 4 <= 3, "shape")
        need(1 <= len(piece.piece) <= PIECE, "piece")
        total = piece.total if piece.has("total") else len(piece.piece)
        need(piece.has("total") or not piece.offset, "an offset without a total")
        need(1 <= total <= ITEM and piece.offset + len(piece.piece) <= total, "a piece beyond its total")
    if out.ack:
        need(len(out.ack.bitmap) <= 32, "bitmap")
    if out.refusal:
        need(out.refusal.serial and out.refusal.reason, "refusal")
    if out.want:
        ref = out.want.message
        need(out.want.serial and ref.origin and ref.epoch and ref.sequence, "want")
    if out.presence:
        need(len(out.presence.record) <= 512, "presence too large")
    if out.has("introduction"):
        need(len(out.introduction) <= 1024, "introduction too large")
    return out


def bits(bitmap):
    """Places of the bits that are set."""
    return [8 * i + j for i, byte in enumerate(bitmap) for j in range(8) if byte >> j & 1]


def bitmap(places):
    out = bytearray(max(places) // 8 + 1) if places else bytearray()
    for place in places:
        out[place // 8] |= 1 << place % 8
    return bytes(out)
