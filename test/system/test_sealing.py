#!/usr/bin/env python3
"""What only some may read, with real processes: a call's personal part is opened where it is meant for, and stands in clear in no
file, log, list or event of any node. Last line: N passed, M failed.

    BUILD=build test/system/test_sealing.py
"""
import json
import os
import sys

from harness import Refused, cpctl, test_region, wait_for

NSP, CP, DESK, FRIEND = 344003, 901, 911, 902
CALL = {"number": 41, "services": 4, "nature": "MEDICAL", "postcode": "3512JE", "house_number": "12", "caller_waits": True}
PERSONAL = {"name": "Jacoba Planteygh", "contact": "0699-PLANTEYGH", "address": "Planteyghstraat 9 achter",
            "equipment": "beademing PLANTEYGH-3000", "health": "Planteygh kan niet liggen"}
CONTACT = {name: PERSONAL[name] for name in ("name", "contact")}
CARE = {name: PERSONAL[name] for name in ("address", "equipment", "health")}
# What is searched for: each as it stands, in UTF-8 and UTF-16.
PLANTED = [text.encode(code) for text in ("Jacoba Planteygh", "PLANTEYGH", "Planteygh") for code in ("utf-8", "utf-16-le")]


def every_file(folder):
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            if os.path.isfile(whole):
                with open(whole, "rb") as file:
                    yield whole, file.read()


def hits(folder):
    """Files of a node (keys, store with its deleted pages, configuration, log) that hold something planted, in clear."""
    return [path for path, data in every_file(folder) if any(text in data for text in PLANTED)]


def opened(node, identifier):
    return {part["audience"]: part.get("fields") for part in node.act(identifier, "open")["sealed"]}


def states(node, identifier):
    return {part["audience"]: part["state"] for part in node.show(identifier)["sealed"]}


def ask(node, *words, code=0, **options):
    done = cpctl("--socket", node.socket, *words, check=False, **options)
    assert done.returncode == code, f"cpctl {words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def begin(region):
    nsp, cp, desk = region.add(NSP, "nsp", "NSP Lombok", "GM0344"), region.add(CP, "cp", "CP Utrecht"), region.add(DESK, "desk", "Meldkamer")
    friend = region.add(FRIEND, "desk", "GHOR")
    region.wire_up(cp, [nsp, desk, friend])
    region.admit()
    region.configure()
    nsp.conf_links = [(CP, region.wires[(NSP, CP)].port)]
    nsp.write_conf(nsp.conf_links, f"\n[route]\ndefault = {CP}\n\n[sealing]\nescalation = {FRIEND}\n")
    region.start()
    region.wait_for_links()
    return nsp, cp, desk, friend


def a_call_is_opened_where_it_is_meant_for(checks, region, nsp, cp, desk, friend):
    call = nsp.send("emergency-call", [CP, DESK], CALL, personal=PERSONAL)
    wait_for("the call at both", lambda: cp.has(call) and desk.has(call))
    checks.check("the desk reads all of it", opened(desk, call) == {"contact": CONTACT, "care": CARE}, opened(desk, call))
    checks.check("the CP reads how to reach someone, and not about health", opened(cp, call) == {"contact": CONTACT, "care": None}, opened(cp, call))
    checks.check("who wrote it can read it", opened(nsp, call) == {"contact": CONTACT, "care": CARE})
    checks.check("what may be read is told before", states(cp, call) == {"contact": "for-this-node", "care": "for-others"}, states(cp, call))
    readers = {part["audience"]: part["readers"] for part in nsp.show(call)["sealed"]}
    checks.check("the escalation chain is among the readers", readers == {"contact": [CP, FRIEND, DESK], "care": [FRIEND, DESK]}, readers)
    text = ask(cp, "show", call)
    checks.check("show tells it in words", "verzegeld, niet voor dit punt" in text and "verzegeld, voor dit punt" in text, text)
    text = ask(desk, "open", call)
    checks.check("open shows the words", all(value in text for value in PERSONAL.values()), text)
    return call


def a_relay_opens_nothing(checks, region, nsp, cp, desk):
    call = nsp.send("emergency-call", DESK, dict(CALL, number=42), personal=PERSONAL)
    wait_for("the call at the desk", lambda: desk.has(call))
    checks.check("the desk reads it", opened(desk, call) == {"contact": CONTACT, "care": CARE})
    try:
        answer = cp.act(call, "open")
        checks.check("a relay opens nothing", False, answer)
    except Refused as why:
        checks.check("a relay opens nothing", why.status == 404, str(why))
    checks.check("and is not told that it could", ask(cp, "open", call, code=1) != "")


def reading_is_put_down(checks, nsp, desk, call):
    def lines():
        found, after = [], 0
        while after is not None:
            page = desk.get(f"/v1/journal?limit=500&after={after}")
            found, after = found + [line for line in page["lines"] if line["what"] == "unsealed"], page["next"]
        return found

    before = len(lines())
    opened(desk, call)
    after = lines()
    checks.check("each reading is a line in the journal", len(after) == before + 1 and after[-1]["id"] == call, after[-1:])


def what_cannot_be_sealed_is_told(checks, nsp):
    def send(to, personal, kind="emergency-call", body=None):
        return lambda: nsp.send(kind, to, body or dict(CALL, number=43), personal=personal)

    checks.refused("care needs a desk among the readers", 404, None, lambda: no_chain(nsp, CP, CARE))
    checks.refused("an unknown field", 400, "personal.bsn", send(DESK, {"bsn": "1"}))
    checks.refused("a name that is too long", 400, "personal.name", send(DESK, {"name": "x" * 81}))
    checks.refused("nothing in it", 400, "personal", send(DESK, {}))
    checks.refused("a blank", 400, "personal.name", send(DESK, {"name": "  "}))
    checks.refused("another kind", 400, "personal", send(DESK, CONTACT, "text", {"text": "x"}))


def no_chain(nsp, to, personal):
    """The same without an escalation chain."""
    nsp.stop()
    nsp.write_conf(nsp.conf_links, f"\n[route]\ndefault = {CP}\n")
    nsp.start()
    try:
        nsp.send("emergency-call", to, dict(CALL, number=44), personal=personal)
    finally:
        nsp.stop()
        nsp.write_conf(nsp.conf_links, f"\n[route]\ndefault = {CP}\n\n[sealing]\nescalation = {FRIEND}\n")
        nsp.start()


def a_person_sends_it_from_a_file(checks, region, nsp, desk):
    path = os.path.join(region.folder, "personal.json")
    with open(path, "w") as out:
        json.dump(PERSONAL, out)
    words = ["send", "emergency-call", "--to", str(DESK), "--number", "45", "--services", "4", "--nature", "MEDICAL", "--location", "dijk", "--caller_waits", "yes"]
    call = ask(nsp, *words, "--personal", path).strip()
    wait_for("the call at the desk", lambda: desk.has(call))
    checks.check("from a file", opened(desk, call) == {"contact": CONTACT, "care": CARE})
    call = ask(nsp, *words, "--personal", "-", input=json.dumps(CONTACT)).strip()
    wait_for("the call at the desk", lambda: desk.has(call))
    checks.check("from standard input", opened(desk, call) == {"contact": CONTACT})
    os.unlink(path)


def it_stands_in_clear_nowhere(checks, region, nodes):
    for node in nodes:
        shown = json.dumps([node.inbox(), node.outbox(), node.get("/v1/status")]) + node.text("/metrics")[1] + node.text("/v1/journal")[1]
        shown += "".join(json.dumps(node.show(message["id"])) for message in node.inbox() + node.outbox())
        checks.check(f"no list, journal or figure of {node.number} has it", not any(text in shown.encode() for text in PLANTED))
        checks.check(f"no file of {node.number} has it in clear", not hits(node.folder), hits(node.folder))


def the_search_finds_what_is_clear(checks, nsp, cp):
    """So that the checks above can fail: the same words in a message that is not sealed."""
    text = nsp.send("text", CP, {"text": PERSONAL["health"]})
    wait_for("the text", lambda: cp.has(text))
    for node in (nsp, cp):
        checks.check(f"the search finds it at {node.number} when it is not sealed", any(path.endswith("data.mdb") for path in hits(node.folder)))


def test(checks, region):
    nsp, cp, desk, friend = begin(region)
    call = a_call_is_opened_where_it_is_meant_for(checks, region, nsp, cp, desk, friend)
    a_relay_opens_nothing(checks, region, nsp, cp, desk)
    reading_is_put_down(checks, nsp, desk, call)
    what_cannot_be_sealed_is_told(checks, nsp)
    a_person_sends_it_from_a_file(checks, region, nsp, desk)
    it_stands_in_clear_nowhere(checks, region, (nsp, cp, desk, friend))
    the_search_finds_what_is_clear(checks, nsp, cp)


if __name__ == "__main__":
    sys.exit(test_region("sealing", test))
