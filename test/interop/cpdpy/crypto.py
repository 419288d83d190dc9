"""Section 3: hashes, signatures, and the three key pairs of a node. All cryptography is libsodium's."""
import hashlib

import nacl.exceptions
import nacl.public
import nacl.signing

LIMIT_CONTENT = 18432


def H(*parts):
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    return digest.digest()


def hash8(content):
    return H(content)[:8]


def signed_over(purpose, network, content):
    """The bytes that a signature is over."""
    name = network.encode("ascii")
    if len(name) > 32 or not len(content) <= LIMIT_CONTENT:
        raise ValueError("too long to sign")
    return b"cpd/1/" + purpose.encode("ascii") + b"\0" + bytes([len(name)]) + name + len(content).to_bytes(4, "big") + content


def sign(seed, purpose, network, content):
    return nacl.signing.SigningKey(seed).sign(signed_over(purpose, network, content)).signature


def verify(key, purpose, network, content, signature):
    """True when it holds. libsodium refuses S >= L, small orders and encodings that are not canonical."""
    if len(signature) != 64 or len(content) > LIMIT_CONTENT:
        return False
    try:
        nacl.signing.VerifyKey(key).verify(signed_over(purpose, network, content), signature)
        return True
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return False


class Keys:
    """The secret seeds of a node and the public keys that go into its certificate."""

    def __init__(self, signing, sealing, transport):
        self.signing, self.sealing, self.transport = signing, sealing, transport
        self.signing_key = bytes(nacl.signing.SigningKey(signing).verify_key)
        self.sealing_key = bytes(nacl.public.PrivateKey(sealing).public_key)
        self.transport_key = bytes(nacl.public.PrivateKey(transport).public_key)

    @classmethod
    def make(cls):
        return cls(bytes(nacl.signing.SigningKey.generate()), *(bytes(nacl.public.PrivateKey.generate()) for _ in range(2)))


def fingerprint(*parts):
    """What people compare: eight groups of four hex digits."""
    text = H(*parts)[:16].hex()
    return " ".join(text[i:i + 4] for i in range(0, 32, 4))
