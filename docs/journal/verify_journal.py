#!/usr/bin/env python3
"""Proves the chain of a node's journal, from files that `cpctl export journal` wrote. Knows nothing of cpd's code.

    verify_journal.py JOURNAL [NEIGHBOUR'S-JOURNAL ...]

A row holds, behind its first 45 bytes, BLAKE2b-256 over "cpd/1/journal" NUL, the same of the row before (zeros at the
begin), and the row without it. Changed, missing and added rows break that chain. Who has the node's disk can make the
whole chain anew; therefore neighbours keep, in their own chains, what the node's signed presences told of it: with their
journals given, a chain made anew, or cut off at its end, shows as well. Signatures are checked where PyNaCl
(python3-nacl) is installed. Exit 0: no findings; 1: findings; 2: a file that is no journal.
"""
import hashlib
import json
import struct
import sys

try:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey
except ImportError:
    VerifyKey = None

FIXED = struct.Struct(">BQqBBBBIIQII")
CHAIN = 32
HEAD = 16


class Bad(Exception):
    """A file that is no journal."""


def link(before, row):
    fixed, rest = row[:FIXED.size], row[FIXED.size + CHAIN:]
    return hashlib.blake2b(b"cpd/1/journal\0" + before + fixed + rest, digest_size=32).digest()


def fields(data):
    """The fields of a protobuf message, each as {number: [values]}; fixed numbers as their bytes."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        elif key & 7 in (1, 2, 5):
            length = {1: 8, 5: 4}.get(key & 7) or varint()
            if at + length > len(data):
                raise ValueError("cut off")
            value = data[at:at + length]
            at += length
        else:
            raise ValueError("a wire type that there is not")
        found.setdefault(key >> 3, []).append(value)
    return found


class Journal:
    """An export: its head, its rows, and what is wrong with its chain."""

    def __init__(self, path):
        self.findings, self.rows, self.begins = [], {}, []
        try:
            with open(path, encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            head, tail = lines[0], lines[-1]
            self.node, self.network = head["node"], head["network"]
            self.keys = {(key["node"], key["key_number"]): bytes.fromhex(key["signing_key"]) for key in head["keys"]}
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Bad(f"{path}: no journal of cpd: {error}") from error
        if tail.get("end") != len(lines) - 2:
            self.findings.append(f"the file ends before its end: {len(lines) - 1} lines after its head")
        for line in lines[1:]:
            if "end" not in line:
                self.take(line)
        self.prove()

    def take(self, line):
        try:
            row, number = bytes.fromhex(line["row"]), line["number"]
            version, inside, _, _, _, _, _, origin, epoch, sequence, node, _ = FIXED.unpack_from(row)
        except (ValueError, KeyError, TypeError, struct.error):
            self.findings.append(f"a line that cannot be read: {json.dumps(line)[:60]}")
            return
        told = f"{origin}/{epoch}/{sequence}" if sequence else None
        if inside != number or line.get("id") != told or line.get("node") != node:
            self.findings.append(f"row {number}: its words are not those of its bytes")
        if number in self.rows:
            self.findings.append(f"row {number}: stands there twice")
        self.rows[number] = (version, row)

    def chain(self, number):
        version, row = self.rows[number]
        return row[FIXED.size:FIXED.size + CHAIN] if version >= 2 and len(row) >= FIXED.size + CHAIN else None

    def prove(self):
        before = None
        for number in sorted(self.rows):
            chain, row = self.chain(number), self.rows[number][1]
            if before is not None and number != before + 1:
                self.findings.append(f"rows {before + 1} to {number - 1} are missing")
            elif chain and before is not None and self.chain(before):
                if link(self.chain(before), row) != chain:
                    self.findings.append(f"row {number}: it, or the row before it, is not what was written")
            elif chain and link(bytes(CHAIN), row) == chain:
                self.begins.append(number)
            elif chain and before is not None:
                self.findings.append(f"row {number}: the chain does not begin here, and the row before has none")
            before = number

    def heads(self, node, key_of):
        """(number, first bytes of the chain value) that rows of this journal say `node` has told; and bad ones."""
        for number in sorted(self.rows):
            row = self.rows[number][1][FIXED.size + CHAIN:]
            if not row or FIXED.unpack_from(self.rows[number][1])[7] != node:
                continue
            try:
                outer = fields(row)
                presence = fields(outer[1][0])
                signed = b"cpd/1/presence\0" + bytes([len(self.network)]) + self.network.encode() + len(outer[1][0]).to_bytes(4, "big") + outer[1][0]
                if presence[1][0] != node:
                    raise ValueError("another node's")
                key = key_of.get((node, outer.get(3, [1])[0]))
                if VerifyKey and key:
                    VerifyKey(key).verify(signed, outer[2][0])
                yield presence[10][0], presence[11][0][:HEAD], presence[2][0], bool(VerifyKey and key)
            except (KeyError, IndexError, ValueError, *((BadSignatureError,) if VerifyKey else ())):
                self.findings.append(f"row {number}: not a presence that node {node} has signed")


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    try:
        journals = [Journal(path) for path in sys.argv[1:]]
    except Bad as bad:
        print(bad, file=sys.stderr)
        return 2
    main_one, newest, seen, unsigned = journals[0], 0, 0, 0
    numbers = sorted(main_one.rows)
    keys = {number: key for journal in journals for number, key in journal.keys.items()}
    for witness in journals[1:]:
        for number, told, epoch, is_proved in witness.heads(main_one.node, keys):
            seen, newest, unsigned = seen + 1, max(newest, number), unsigned + (not is_proved)
            if not numbers or number > numbers[-1]:
                main_one.findings.append(f"row {number}: node {witness.node} has seen it (epoch {epoch}), and the journal ends before it")
            elif number >= numbers[0] and number in main_one.rows and (main_one.chain(number) or b"")[:HEAD] != told:
                main_one.findings.append(f"row {number}: node {witness.node} has seen another chain up to it (epoch {epoch})")
    for path, journal in zip(sys.argv[1:], journals):
        covered = sum(1 for number in journal.rows if journal.chain(number))
        rows = sorted(journal.rows)
        print(f"{path}: node {journal.node}, rows {rows[0] if rows else '-'} to {rows[-1] if rows else '-'}, {covered} in the chain")
        for begin in journal.begins:
            if begin > 1:
                print(f"  note: the chain begins at row {begin}: an older cpd wrote before it, or what stood there was taken away")
        for finding in journal.findings:
            print(f"  FINDING: {finding}")
    if len(journals) > 1:
        print(f"Neighbours have seen {seen} heads of node {main_one.node}, the newest at row {newest}; later rows nobody else can vouch for.")
        if unsigned:
            print(f"  note: {unsigned} of them with a signature that was not checked (python3-nacl, or the key, is absent)")
    findings = sum(len(journal.findings) for journal in journals)
    print("No findings." if not findings else f"{findings} findings.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
