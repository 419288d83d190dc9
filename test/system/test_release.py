#!/usr/bin/env python3
"""A bulletin goes when two people have signed it, each with a key of their own, and not before: with real processes, and
keys made, certified and used by cpctl. Last line: N passed, M failed."""
import json
import os
import re
import sys

from harness import Refused, cpctl, test_region, wait_for

CP, DESK, NSP = 901, 911, 344003
BULLETIN = {"bulletin": 3, "version": 1, "title": "Geen stroom tot vannacht", "core": "De stroom is uit in heel Utrecht.",
            "do_this": "Blijf binnen. Kijk naar uw buren om.", "valid_from_ms": 1, "valid_to_ms": 9, "next_update_ms": 8,
            "urgency": "IMMEDIATE", "severity": "SEVERE", "certainty": "OBSERVED", "area": ["GM0344"], "authority": "burgemeester"}


class Person:
    """A file with a key, a passphrase, and a function that the region certified."""

    def __init__(self, region, number, node, function):
        self.region, self.number = region, number
        self.key = os.path.join(region.folder, f"person-{number}.key")
        self.words = os.path.join(region.folder, f"person-{number}.words")
        with open(self.words, "w") as out:
            out.write(f"correct horse battery {number}\n")
        os.chmod(self.words, 0o600)
        told = cpctl("function", "init", self.key, env={**os.environ, "CPD_NEW_PASSPHRASE_FILE": self.words}).stdout
        self.public = re.search(r"[0-9a-f]{64}", told)[0]
        cpctl("region", "function", region.authority, "--number", number, "--node", node, "--function", function, "--key", self.public)

    def sign(self, node, identifier, words=None):
        return cpctl("sign", identifier, "--key", self.key, "--socket", node.socket, check=False,
                     env={**os.environ, "CPD_PASSPHRASE_FILE": words or self.words})


def missing(node, identifier):
    return node.show(identifier)["releases_missing"]


def settle(region, node):
    """Whatever could have gone has gone: a later message of the same node arrived."""
    marker = node.send("text", [NSP], {"text": "hierna"})
    wait_for("a later message", lambda: region.nodes[NSP].has(marker), 30)


def two_people(checks, region, first, second):
    desk, nsp = region.nodes[DESK], region.nodes[NSP]
    path = os.path.join(region.folder, "bulletin.json")
    with open(path, "w") as out:
        json.dump(BULLETIN, out)
    told = cpctl("send", "bulletin", "--to", NSP, "--body", path, "--socket", desk.socket)
    draft = told.stdout.strip()
    checks.check("a bulletin waits for two, and its author is told so", missing(desk, draft) == 2 and "waits here until 2 people have signed" in told.stderr, told)
    settle(region, desk)
    checks.check("and goes nowhere meanwhile", not nsp.has(draft))
    checks.refused("one who drafts stops no older one", 400, None, lambda: desk.send("bulletin", [NSP], BULLETIN, supersedes=draft))
    checks.refused("nor when an operator lets it go", 409, None, lambda: desk.act(draft, "release"))
    wrong = first.sign(desk, draft, second.words)
    checks.check("another passphrase opens nothing", wrong.returncode == 1 and "passphrase" in wrong.stderr, wrong.stderr)
    told = first.sign(desk, draft)
    checks.check("the first signs", told.returncode == 0 and "waits for 1 more" in told.stdout, told)
    again = first.sign(desk, draft)
    checks.check("the same person is not the second", again.returncode == 1 and "two people" in again.stderr, again.stderr)
    desk.kill()
    desk.start()
    checks.check("what was signed outlives a kill", missing(desk, draft) == 1 and [one["number"] for one in desk.show(draft)["released_by"]] == [first.number])
    wait_for("its link", lambda: desk.link_is_up(CP), 60)
    settle(region, desk)
    checks.check("one signature does not let it go", not nsp.has(draft))
    before = desk.show(draft)["signed"]
    told = second.sign(desk, draft)
    checks.check("the second signs", told.returncode == 0 and "goes" in told.stdout, told)
    wait_for("the bulletin", lambda: nsp.has(draft), 30)
    message = nsp.show(draft)
    checks.check("with both it arrives, and names both functions", [one["function"] for one in message["released_by"]] == ["communicatie", "informatiemanager"]
                 and message["body"]["title"] == BULLETIN["title"] and not message["suspect"], message)
    checks.check("its id and bytes were fixed when the first signed", len(before) > 100 and draft == message["id"])
    wait_for("its receipt", lambda: desk.told(draft)[NSP] == "DELIVERED", 30)
    late = second.sign(desk, draft)
    checks.check("nobody signs what has gone", late.returncode == 1 and "nobody needs to sign" in late.stderr, late.stderr)
    return draft


def who_may_not(checks, region, first, stranger, released):
    desk, nsp = region.nodes[DESK], region.nodes[NSP]
    draft = desk.send("bulletin", ["alle"], BULLETIN)
    other = stranger.sign(desk, draft)
    checks.check("a person of another node does not release here", other.returncode == 1 and "another node" in other.stderr, other.stderr)
    checks.refused("a signature that is none", 403, None, lambda: desk.call("POST", f"/v1/messages/{draft}/sign", {"function": first.number, "signature": "00" * 64}))
    checks.refused("a function that nobody has", 403, None, lambda: desk.call("POST", f"/v1/messages/{draft}/sign", {"function": 99, "signature": "00" * 64}))
    checks.refused("half a signature", 400, "signature", lambda: desk.call("POST", f"/v1/messages/{draft}/sign", {"function": 1, "signature": "00"}))
    checks.check("nothing of these counts", missing(desk, draft) == 2)
    cpctl("region", "function", region.authority, "--number", first.number, "--revoke")
    desk.call("POST", "/v1/directory", region.newest_update())
    gone = first.sign(desk, draft)
    checks.check("a revoked function releases nothing", gone.returncode == 1 and "revoked" in gone.stderr, gone.stderr)
    wait_for("the word at the NSP", lambda: nsp.show(released)["suspect"], 10)
    checks.check("what it had released is doubted where it hangs", True)
    desk.act(draft, "withdraw")
    checks.check("a draft is withdrawn", "withdrawn" in desk.trace(draft)["flags"])
    late = stranger.sign(desk, draft)
    checks.check("and signed no more", late.returncode == 1, late.stderr)
    settle(region, desk)
    checks.check("nor sent", not nsp.has(draft))


def release(checks, region):
    region.add(CP, "cp", "CP Utrecht")
    region.add(DESK, "desk", "Communicatie")
    region.add(NSP, "nsp", "NSP Lombok")
    for node in region.nodes.values():
        region.certify(node)
    first, second = Person(region, 1, DESK, "communicatie"), Person(region, 2, DESK, "informatiemanager")
    stranger = Person(region, 3, CP, "coordinator")
    region.make_group(1, "alle", [NSP, CP])
    for node in region.nodes.values():
        region.install(node)
    done = cpctl("region", "function", region.authority, "--number", 9, "--node", DESK, "--function", "x", "--key", first.public, check=False)
    checks.check("one key is one person: the region gives it no second function", done.returncode == 1 and "one key is one person" in done.stderr, done.stderr)
    region.wire_up(region.nodes[CP], [region.nodes[NSP], region.nodes[DESK]])
    region.configure()
    region.start()
    region.wait_for_links()
    try:
        region.nodes[CP].send("bulletin", [NSP], BULLETIN)
    except Refused as why:
        checks.check("a CP writes no bulletin", why.status == 403, why)
    released = two_people(checks, region, first, second)
    who_may_not(checks, region, first, stranger, released)
    for node in region.nodes.values():
        node.stop()
        report = node.check_store()
        checks.check(f"the store of {node.number} is sound", report.returncode == 0, report.stdout)


if __name__ == "__main__":
    sys.exit(test_region("release", release))
