#!/usr/bin/env python3
"""The journal's chain of hashes: exported by cpctl, proved by docs/journal/verify_journal.py, and forged in every way
that the proof must notice, also by one who makes the whole chain anew."""
import hashlib
import json
import os
import subprocess
import sys

from harness import cpctl, test_region, wait_for

CP, NSP = 901, 344003
VERIFY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "journal", "verify_journal.py")
FIXED, CHAIN = 45, 32


def verify(*paths):
    done = subprocess.run([sys.executable, VERIFY, *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout


def export(node, path):
    cpctl("--socket", node.socket, "export", "journal", path)
    with open(path) as file:
        return [json.loads(line) for line in file]


def write(path, lines):
    lines[-1] = {"end": len(lines) - 2}
    with open(path, "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def changed(line, at, value=None):
    row = bytearray.fromhex(line["row"])
    row[at] = row[at] ^ 1 if value is None else value
    return {**line, "row": row.hex()}


def made_anew(lines):
    """The chain of a forger who has the disk: every row's value is right again."""
    before, out = bytes(CHAIN), [lines[0]]
    for line in lines[1:-1]:
        row = bytes.fromhex(line["row"])
        before = hashlib.blake2b(b"cpd/1/journal\0" + before + row[:FIXED] + row[FIXED + CHAIN:], digest_size=32).digest()
        out.append({**line, "row": (row[:FIXED] + before + row[FIXED + CHAIN:]).hex()})
    return [*out, lines[-1]]


def heads(lines, node):
    return [line for line in lines if line.get("what") == "head-seen" and line["node"] == node]


def the_witness(cp, path):
    return heads(export(cp, path), NSP)


def journal_test(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    region.configure()
    own, witness, forged = (os.path.join(region.folder, name) for name in ("own.journal", "cp.journal", "forged.journal"))
    nsp.start()
    for number in range(4):
        nsp.send("text", [CP], {"text": f"bericht {number}"})
    nsp.kill()
    nsp.start()                              # the chain goes on over a kill
    last_one = nsp.send("text", [CP], {"text": "na de herstart"})
    cp.start()                               # the first that it hears of the NSP tells a journal with all this in it
    region.wait_for_links()
    wait_for("delivery", lambda: nsp.told(last_one).get(CP) == "DELIVERED", 60)
    wait_for("a head of the NSP in the journal of the CP", lambda: the_witness(cp, witness), 90)
    lines = export(nsp, own)
    seen = [int(line["id"].split("/")[2]) for line in heads(export(cp, witness), NSP)]
    checks.check("the export has a head, every row and an end", lines[0]["node"] == NSP and lines[-1] == {"end": len(lines) - 2} and
                 [line["number"] for line in lines[1:-1]] == list(range(1, len(lines) - 1)), lines[:1])
    code, text = verify(own)
    checks.check("alone it is sound", code == 0 and "No findings" in text, text)
    code, text = verify(own, witness)
    checks.check("beside its neighbour's too", code == 0 and f"seen {len(seen)} heads" in text and "not checked" not in text, text)
    checks.check("and the other way about", verify(witness, own)[0] == 0, verify(witness, own)[1])

    last = max(seen)
    where = last // 2                        # a row that a witness vouches for
    for name, edited, finding in (
            ("a changed word", [*lines[:where], changed(lines[where], 20), *lines[where + 1:]], f"row {where}"),
            ("a changed time", [*lines[:where], changed(lines[where], 12), *lines[where + 1:]], f"row {where}: it, or the row before"),
            ("a changed chain value", [*lines[:where], changed(lines[where], FIXED + 3), *lines[where + 1:]], f"row {where}: it, or the row before"),
            ("words that are not those of the bytes", [*lines[:where], {**lines[where], "node": 12}, *lines[where + 1:]], f"row {where}: its words"),
            ("a removed row", lines[:where] + lines[where + 1:], f"rows {where} to {where} are missing"),
            ("a row that stands twice", lines[:where] + [lines[where]] + lines[where:], "twice")):
        code, text = verify(write(forged, list(edited)))
        checks.check(f"{name} is found", code == 1 and finding in text, text)
    with open(forged, "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines[:-3])
    checks.check("half a file is found", verify(forged)[0] == 1, verify(forged)[1])

    cut = write(forged, lines[:last] + [lines[-1]])
    checks.check("a journal cut off at its end looks whole", verify(cut)[0] == 0, verify(cut)[1])
    code, text = verify(cut, witness)
    checks.check("but its neighbour has seen more", code == 1 and f"node {CP} has seen it" in text, text)
    anew = made_anew([*lines[:where], changed(lines[where], 12), *lines[where + 1:]])
    path = write(forged, anew)
    checks.check("a chain made anew looks whole", verify(path)[0] == 0, verify(path)[1])
    code, text = verify(path, witness)
    checks.check("but its neighbour has seen another", code == 1 and "has seen another chain" in text, text)
    # Not even the witness may say what the other never signed.
    told = export(cp, witness)
    at = next(index for index, line in enumerate(told) if line.get("what") == "head-seen")
    lied = write(forged, made_anew([*told[:at], changed(told[at], -60), *told[at + 1:]]))
    code, text = verify(own, lied)
    checks.check("a witness that lies is found", code == 1 and f"not a presence that node {NSP} has signed" in text, text)
    path = os.path.join(region.folder, "nothing")
    with open(path, "w") as file:
        file.write("{}\n")
    checks.check("what is no journal is refused", verify(path)[0] == 2)
    refused = cpctl("--socket", nsp.socket, "export", "journal", os.path.join(region.folder, "absent", "x"), check=False)
    checks.check("a place that cannot be written is told", refused.returncode == 1 and "cannot make it" in refused.stderr, refused.stderr)
    out = cpctl("--socket", nsp.socket, "export", "journal", "-").stdout
    checks.check("- is standard output", out.count("\n") >= len(lines), out[-200:])


if __name__ == "__main__":
    sys.exit(test_region("journal", journal_test, extra="\n[tuning]\npresence_s = 2\n"))
