"""Section 7.11: a courier file, proved and opened."""
from nacl import bindings, public

from . import crypto

FIRST_LINE = b"cpd-courier 1\n"


class Refused(Exception):
    """Nothing of the file may be taken."""


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused("half")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "big")


def tag(raw):
    raw = Bytes(raw)
    link, counter, shape = raw.number(4), raw.number(8), raw.number(1)
    return {"link": link, "counter": counter, "type": shape & 15, "precedence": shape >> 4,
            "id": (raw.number(4), raw.number(4), raw.number(8)), "retry": raw.number(4), "after_epoch": raw.number(4)}


def parts(content):
    rest, before = Bytes(content), 0
    while rest.at < len(content):
        kind, data = rest.number(1), Bytes(rest.take(rest.number(4)))
        if not 1 <= kind <= 4:
            continue
        if kind < before:
            raise Refused("not in order")
        before = kind
        if kind == 1:
            yield {"update": data.data}
        elif kind == 2:
            yield {"age_s": data.number(4), "presence": data.data[4:]}
        elif kind == 3:
            head = {"writer": data.number(4), "epoch": data.number(4), "acks": []}
            while data.at < len(data.data):
                head["acks"].append((data.number(1), tag(data.take(37))))
            yield head
        else:
            yield {"next": data.number(4), "tag": tag(data.take(37)), "item": data.data[41:]}


def read(data, network, writer_key, node, key_number, sealing_secret):
    """(head, parts) of a file for that node; Refused when anything of it is not right."""
    file = Bytes(data)
    if file.take(14) != FIRST_LINE:
        raise Refused("no courier file")
    head = {name: file.number(count) for name, count in (("writer", 4), ("key_number", 4), ("epoch", 4), ("number", 8), ("directory", 4),
                                                         ("time_s", 4), ("clock_quality", 1), ("readers", 2))}
    sealed_keys = {}
    for _ in range(head["readers"]):
        reader = (file.number(4), file.number(4))
        sealed_keys[reader] = file.take(80)
    nonce = file.take(24)
    count = file.number(4)
    bound = data[:file.at]
    sealed = file.take(count)
    over = data[:file.at]
    signature = file.take(64)
    if file.at != len(data):
        raise Refused("longer than it says")
    if not crypto.verify(writer_key, "courier", network, crypto.H(over), signature):
        raise Refused("signature")
    try:
        key = public.SealedBox(public.PrivateKey(sealing_secret)).decrypt(sealed_keys[(node, key_number)])
        content = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, bound, nonce, key)
    except Exception as why:
        raise Refused("seal") from why
    return head, list(parts(content))
