"""Section 4.6: a sealed part, opened."""
from nacl import bindings

from . import crypto
from .strict import Malformed, decode

NONCE = bytes(24)


class Refused(Exception):
    """It does not open here."""


def bound(message, part, network):
    name = network.encode("ascii")

    def number(value, count):
        return value.to_bytes(count, "big")

    out = b"cpd/1/sealed\0" + bytes([len(name)]) + name
    out += number(message.origin, 4) + number(message.epoch, 4) + number(message.sequence, 8) + number(message.kind, 4)
    out += number(len(message.nodes), 2) + b"".join(number(node, 4) for node in message.nodes)
    out += number(len(message.groups) // 2, 2) + b"".join(number(one, 4) for one in message.groups)
    return out + number(part.audience, 4) + number(len(part.readers) // 2, 2) + b"".join(number(one, 4) for one in part.readers)


def part_of(raw):
    out = decode("SealedPart", raw)
    pairs = list(zip(out.readers[::2], out.readers[1::2]))
    nodes = [node for node, _ in pairs]
    if not out.audience or len(out.readers) % 2 or not 1 <= len(pairs) <= 64 or 0 in out.readers or nodes != sorted(set(nodes)):
        raise Malformed("audience or readers of a sealed part")
    if len(out.ephemeral) != 32 or len(out.keys) != 48 * len(pairs) or not 80 <= len(out.content) <= 2128 or len(out.content) % 64 != 16:
        raise Malformed("lengths in a sealed part")
    return out


def open_part(message, raw, network, node, key_number, sealing_secret):
    """What is inside, for that reader."""
    part = part_of(raw)
    pairs = list(zip(part.readers[::2], part.readers[1::2]))
    if (node, key_number) not in pairs:
        raise Refused("for others")
    place, over = pairs.index((node, key_number)), bound(message, part, network)
    public = bindings.crypto_scalarmult_base(sealing_secret)
    try:
        shared = bindings.crypto_scalarmult(sealing_secret, part.ephemeral)
        key = crypto.H(b"cpd/1/sealed-key\0", shared, part.ephemeral, public, node.to_bytes(4, "big"), key_number.to_bytes(4, "big"))
        content_key = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(part.keys[48 * place:48 * place + 48], over, NONCE, key)
        padded = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(part.content, over, NONCE, content_key)
    except Exception as why:
        raise Refused("seal") from why
    inside = padded.rstrip(b"\0")
    if inside[-1:] != b"\x80" or len(padded) - len(inside) >= 64:
        raise Refused("padding")
    return inside[:-1]
