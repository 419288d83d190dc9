"""Section 9.10: who is who, by numbered updates of the region's authority."""
from . import rules
from .bodies import KINDS
from .crypto import verify
from .schema import ROLES

AHEAD = 64


class NotSigned(ValueError):
    """The authority did not sign this."""


class Directory:
    def __init__(self, anchor):
        self.anchor = anchor
        self.records = {}       # number: bytes of the SignedRecord
        self.certificates = {}  # (node, key number): (number of the update, Certificate)
        self.revocations = {}   # (node, key number): (number of the update, Revocation)
        self.groups = {}        # (group, version): (number of the update, Group)
        self.functions = {}     # number: (number of the update, FunctionCertificate)
        self.version = 0

    def read(self, data):
        """The update in this record; raises Malformed or NotSigned. Changes nothing."""
        record = rules.signed_record(data)
        if record.key_number != 1 or not verify(self.anchor.key, "directory", self.anchor.network, record.signed, record.signature):
            raise NotSigned("not the authority's signature")
        return rules.update(record.signed)

    def apply(self, update, data):
        self.records[update.number] = data
        for table, words in ((self.certificates, [((one.node, one.key_number), one) for one in update.certificates]),
                             (self.revocations, [((one.node, one.key_number), one) for one in update.revocations]),
                             (self.groups, [((one.number, one.version), one) for one in update.groups]),
                             (self.functions, [(one.number, one) for one in update.functions])):
            for key, word in words:
                if key not in table or table[key][0] < update.number:
                    table[key] = (update.number, word)
        while self.version + 1 in self.records:
            self.version += 1

    def certificate(self, node, key_number):
        return self.certificates.get((node, key_number), (0, None))[1]

    def revocation(self, node, key_number):
        return self.revocations.get((node, key_number), (0, None))[1]

    def newest(self, node):
        """Its certificate with the highest key number that is not revoked, or None."""
        keys = [key for number, key in self.certificates if number == node and (number, key) not in self.revocations]
        return self.certificate(node, max(keys)) if keys else None

    def members(self, group, version):
        found = self.groups.get((group, version))
        return list(found[1].members) if found else None

    def introduction(self, node, key_number):
        """The record of the update in which this certificate came, or None."""
        found = self.certificates.get((node, key_number))
        return self.records[found[0]] if found else None

    def function(self, number):
        return self.functions.get(number, (0, None))[1]

    def is_for(self, node, kind):
        keys = [key for number, key in self.certificates if number == node]
        if not keys or kind not in KINDS:
            return True
        return ROLES.get(self.certificate(node, max(keys)).role) in KINDS[kind].receivers

    def may_author(self, certificate, kind):
        if certificate.kinds:
            return kind in certificate.kinds
        return kind not in KINDS or ROLES.get(certificate.role) in KINDS[kind].senders
