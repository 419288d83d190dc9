#!/usr/bin/env python3
"""Bad input of every sort, from outside: a clear refusal, no change, and the process lives on."""
import os
import random
import socket
import subprocess
import sys

from harness import CPD, UnixConnection, cpctl, test_region, wait_for

CP, NSP, THIEF = 901, 344003, 307001
CALL = {"number": 1, "services": 4, "nature": "MEDICAL", "postcode": "3512JE", "house_number": "14", "caller_waits": True}


def api(checks, region):
    nsp = region.nodes[NSP]
    before = len(nsp.outbox())
    send = nsp.send
    checks.refused("an instruction from an NSP is refused by role", 403, None, lambda: send("instruction", [CP], {
        "number": 1, "on_behalf_of": "x", "what": "y", "why": "z", "by_when_ms": 1, "required_level": "REQUIRED_READ"}))
    checks.refused("a kind nobody knows", 400, "kind", lambda: send("dream", [CP], {}))
    checks.refused("an addressee nobody knows", 400, "to", lambda: send("text", [4711], {"text": "x"}))
    checks.refused("no addressee", 400, "to", lambda: send("text", [], {"text": "x"}))
    checks.refused("a missing field is named", 400, "body.text", lambda: send("text", [CP], {}))
    checks.refused("an unknown field is named", 400, "body.txet", lambda: send("text", [CP], {"txet": "x", "text": "y"}))
    checks.refused("a field of the wrong type is named", 400, "body.persons", lambda: send("emergency-call", [CP], dict(CALL, persons="veel")))
    checks.refused("a field out of bounds is named", 400, "body.postcode", lambda: send("emergency-call", [CP], dict(CALL, postcode="X")))
    checks.refused("a nested field is named", 400, None, lambda: send("nsp-status", [CP], {
        "phase": "OPEN", "persons": 1, "staff_present": 1, "staff_needed": 1, "power": "GRID", "autonomy_min": 1, "safety": "GREEN",
        "supplies": [{"code": "water"}]}))
    checks.refused("too long a text", 400, "body.text", lambda: send("text", [CP], {"text": "x" * 2001}))
    checks.refused("control characters", 400, "body.text", lambda: send("text", [CP], {"text": "a\u0007b"}))
    checks.refused("an unknown precedence", 400, "precedence", lambda: send("text", [CP], {"text": "x"}, precedence="URGENT"))
    checks.refused("an unknown option", 400, "urgency", lambda: send("text", [CP], {"text": "x"}, urgency=1))
    checks.refused("an id that is none", 400, "id", lambda: nsp.show("901/1"))
    checks.refused("an id nobody has", 404, None, lambda: nsp.show("901/1/999"))
    checks.refused("an act on what is not here", 404, None, lambda: nsp.act("901/1/999", "read"))
    checks.refused("a body above the limit", 413, None, lambda: nsp.call("POST", "/v1/messages", {"x": "y" * 300000}))
    for text in (b"", b"{", b"[]", b'{"kind": 1}', b'{"kind":"text","kind":"text"}', b"\xff\xfe", b'{"a":' * 2000):
        connection = UnixConnection(nsp.socket, 10)
        connection.request("POST", "/v1/messages", text, {"Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        checks.check(f"no JSON object: {text[:12]!r}", status == 400, status)
    generator = random.Random(5)
    for _ in range(200):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(5)
            raw.connect(nsp.socket)
            try:
                raw.sendall(bytes(generator.randrange(256) for _ in range(generator.randrange(1, 300))) + b"\r\n\r\n")
                raw.shutdown(socket.SHUT_WR)
                raw.recv(100)
            except OSError:
                pass
    checks.check("noise on the API socket leaves it standing", nsp.is_ready())
    checks.check("nothing of it was authored", len(nsp.outbox()) == before)


def network(checks, region):
    cp = region.nodes[CP]
    generator = random.Random(6)
    for _ in range(60):
        with socket.socket() as raw:
            raw.settimeout(2)
            try:
                raw.connect(("127.0.0.1", cp.port))
                raw.sendall(bytes(generator.randrange(256) for _ in range(generator.randrange(1, 2000))))
                raw.recv(10)
            except OSError:
                pass
    checks.check("noise on the listening port leaves the CP standing", cp.is_ready())
    region.wait_for_links()
    identifier = region.nodes[NSP].send("text", [CP], {"text": "na het lawaai"})
    wait_for("a message after the noise", lambda: cp.has(identifier), 30)
    checks.check("and traffic goes on", True)


def revocation(checks, region):
    cp, thief = region.nodes[CP], region.nodes[THIEF]
    checks.check("before: the NSP is linked", thief.link_is_up(CP))
    cpctl("region", "revoke", region.authority, "--node", THIEF, "--last", "1/0", "--reason", "laptop gestolen")
    record = region.newest_update()
    checks.refused("an update with one byte changed is refused", 403, None,
                   lambda: cp.call("POST", "/v1/directory", record[:40] + bytes([record[40] ^ 1]) + record[41:]))
    cp.call("POST", "/v1/directory", record)
    wait_for("the session to be cut", lambda: not any(link["neighbour"] == THIEF and link["up"] for link in cp.get("/v1/status")["links"]), 20)
    checks.check("a revoked node is cut off at once", True)
    wait_for("the revocation at another NSP", lambda: any(n["number"] == THIEF and n["revoked"] for n in region.nodes[NSP].get("/v1/directory")["nodes"]), 20)
    checks.check("and every reachable node knows", True)
    checks.refused("a message to the revoked node itself is refused", 400, "to", lambda: cp.send("text", [THIEF], {"text": "x"}))
    identifier = cp.send("text", ["alle-nsp"], {"text": "aan wie er nog is"})
    wait_for("the group's message", lambda: cp.trace(identifier)["closed"] or None, 20)
    checks.check("a message to its group goes to the others, and closes", [r["node"] for r in cp.trace(identifier)["recipients"]] == [NSP])
    checks.refused("the same update again is no second one", 409, None, lambda: cp.call("POST", "/v1/directory", record))


def files(checks, region):
    nsp = region.nodes[NSP]
    good = open(nsp.conf).read()
    path = os.path.join(region.folder, "broken.conf")
    for name, text, words in (
            ("a word that is none", good.replace("number =", "nummer ="), "nummer"),
            ("a port that is none", good.replace("tcp://127.0.0.1:", "tcp://localhost:"), "tcp://"),
            ("a section that is none", good + "\n[strange]\na = 1\n", "strange"),
            ("a file that stops in a word", good[:good.index("state") + 3], "")):
        with open(path, "w") as out:
            out.write(text)
        done = subprocess.run([CPD, "--check-config", "--config", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
        checks.check(f"configuration: {name} is told", done.returncode != 0 and words in done.stdout and "broken.conf" in done.stdout, done.stdout)
    nsp.stop()
    key = os.path.join(nsp.state, "identity", "signing.key")
    os.chmod(key, 0o644)
    done = subprocess.run([CPD, "--config", nsp.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
    checks.check("a key that others may read is refused, with the cure", done.returncode != 0 and "chmod" in done.stdout, done.stdout)
    os.chmod(key, 0o600)
    words = open(key).read()
    with open(key, "w") as out:
        out.write(words[:20])
    done = subprocess.run([CPD, "--config", nsp.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
    checks.check("a half-written key is refused", done.returncode != 0 and "signing.key" in done.stdout, done.stdout)
    with open(key, "w") as out:
        out.write(words)
    nsp.start()
    checks.check("and with its key it works again", nsp.is_ready())


def refusals(checks, region):
    region.add(CP, "cp", "Coördinatiepunt")
    region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.add(THIEF, "nsp", "NSP Kruiskamp", "GM0307")
    region.admit([(1, "alle-nsp", [NSP, THIEF])])
    region.wire_up(region.nodes[CP], [region.nodes[NSP], region.nodes[THIEF]])
    region.configure()
    region.start()
    region.wait_for_links()
    api(checks, region)
    network(checks, region)
    revocation(checks, region)
    files(checks, region)
    checks.check("the daemons all live", all(node.is_running() for node in region.nodes.values()))


if __name__ == "__main__":
    sys.exit(test_region("refusals", refusals, seed=3))
