#!/usr/bin/env python3
"""A store that fills up: the lowest precedence is refused first and in words, a FLASH is taken long after that, nothing
that was taken is dropped, and when there is room again all goes on. At an author and at a receiver."""
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from harness import Refused, cpctl, test_region, wait_for

CP, NSP = 901, 344003
WORDS = "x" * 1900
MANY = 12000   # more than 16 MiB hold, whatever a message costs


def send(node, to, precedence, number):
    """Its id; None: the store is full for this precedence. Other refusals are failures."""
    try:
        return node.send("text", [to], {"text": f"{number} {WORDS}"}, key=f"{precedence}-{number}", precedence=precedence)
    except Refused as why:
        if why.status == 503 and why.error["code"] == "store-full":
            return None
        raise


def fill(node, to, precedence):
    """Sends until it is refused: the ids that were taken."""
    taken, at = set(), 0
    with ThreadPoolExecutor(8) as people:
        while at < MANY:
            ids = list(people.map(lambda n: send(node, to, precedence, n), range(at, at + 64)))
            at += 64
            taken.update(one for one in ids if one)
            if None in ids:
                return taken
    raise RuntimeError(f"{at} messages of {precedence}, and the store is not full")


def refusal(node, to, precedence):
    try:
        node.send("text", [to], {"text": WORDS}, precedence=precedence)
    except Refused as why:
        return why.error
    return None


def limit_store(node, mebibytes):
    with open(node.conf, "a") as out:
        out.write(f"\n[store]\nlimit_mib = {mebibytes}\n")


def told(node, event):
    """For which precedences the log tells this, in order."""
    words = [line.split() for line in node.log_tail(1000000).splitlines() if f"event={event}" in line]
    return [word.partition("=")[2] for line in words for word in line if word.startswith("precedence=")]


def doctor(node):
    done = cpctl("--socket", node.socket, "--json", "doctor", "--config", node.conf, check=False)
    return next(one for one in json.loads(done.stdout)["checks"] if one["name"] == "store")


def full(checks, region):
    cp = region.add(CP, "cp", "Coordinatiepunt Utrecht")
    nsp = region.add(NSP, "nsp", "Lombok", "GM0344")
    region.wire_up(cp, [nsp])
    region.admit()
    region.configure()
    limit_store(nsp, 16)
    region.start()
    region.wait_for_links()
    wire = region.wires[(NSP, CP)]
    wire.cut()
    wait_for("link down", lambda: not nsp.link_is_up(CP), 120)

    at = 0
    while not told(nsp, "store-filling"):
        assert at < MANY and send(nsp, CP, "PRIORITY", 300000 + at) is not None
        at += 1
    ledger = {m["id"] for m in nsp.outbox()}
    store = nsp.get("/v1/status")["store"]
    checks.check("it is told before anything is refused: in the log", told(nsp, "store-filling") == ["ROUTINE"] and not told(nsp, "store-refuses"))
    checks.check("at four fifths of what ROUTINE may use", 0.47 <= store["used_bytes"] / store["limit_bytes"] < 0.6, store)
    checks.check("in the status", store["filling"] == ["ROUTINE"] and not store["refuses"] and "soon refused here: ROUTINE" in cpctl("--socket", nsp.socket, "status").stdout, store)
    checks.check("by the doctor", doctor(nsp)["state"] == "warn" and "ROUTINE" in doctor(nsp)["text"], doctor(nsp))
    ledger |= fill(nsp, CP, "ROUTINE")
    error = refusal(nsp, CP, "ROUTINE")
    checks.check("ROUTINE is refused, with what to do", error and error["code"] == "store-full" and error["remedy"], error)
    store = nsp.get("/v1/status")["store"]
    checks.check("the first refusal is told, once", told(nsp, "store-refuses") == ["ROUTINE"], told(nsp, "store-refuses"))
    checks.check("in the status too", store["refuses"] == ["ROUTINE"] and "refused here now: ROUTINE" in cpctl("--socket", nsp.socket, "status").stdout, store)
    checks.check("and by the doctor", doctor(nsp)["state"] == "fail" and "ROUTINE" in doctor(nsp)["text"], doctor(nsp))
    checks.check("PRIORITY is taken when ROUTINE is not", send(nsp, CP, "PRIORITY", 100001) is not None)
    for precedence in ("PRIORITY", "IMMEDIATE"):
        taken = fill(nsp, CP, precedence)
        checks.check(f"{precedence} had room of its own", taken, len(taken))
        ledger |= taken
        checks.check(f"ROUTINE stays refused while {precedence} fills up", refusal(nsp, CP, "ROUTINE") is not None)
    flashes = {send(nsp, CP, "FLASH", 200000 + i) for i in range(50)}
    checks.check("50 FLASH are taken when all else is refused", None not in flashes)
    ledger |= flashes
    store = nsp.get("/v1/status")["store"]
    print(f"figure: {len(ledger)} messages waiting, {store['used_bytes'] * 100 // store['limit_bytes']} % of {store['limit_bytes'] >> 20} MiB used", flush=True)

    checks.check("each precedence was told before it was refused, each once", told(nsp, "store-filling") == ["ROUTINE", "PRIORITY", "IMMEDIATE"]
                 or told(nsp, "store-filling") == ["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"], told(nsp, "store-filling"))
    checks.check("and each refusal", told(nsp, "store-refuses") == ["ROUTINE", "PRIORITY", "IMMEDIATE"], told(nsp, "store-refuses"))

    nsp.kill()
    nsp.start()
    wire.restore()
    delivered = lambda: {m["id"] for m in cp.inbox()} >= ledger   # noqa: E731
    wait_for("everything at the CP", delivered, 180)
    came = [m["id"] for m in cp.inbox()]
    checks.check("all that was taken has arrived, once, also over a SIGKILL of the full node", len(came) == len(set(came)) and ledger <= set(came),
                 f"{len(came)} {len(set(came))} {len(ledger)}")
    wait_for("room for ROUTINE", lambda: refusal(nsp, CP, "ROUTINE") is None, 180)
    checks.check("when its grace is over the author has room again", True)
    wait_for("the word of it", lambda: not nsp.get("/v1/status")["store"]["refuses"], 60)
    checks.check("which is told", "ROUTINE" in told(nsp, "store-has-room"), told(nsp, "store-has-room"))

    # ---- the receiver is the full one
    used = cp.get("/v1/status")["store"]["used_bytes"]
    cp.stop()
    with open(cp.conf) as text:
        conf = text.read()
    limit_store(cp, max(16, used * 10 // 8 >> 20))   # 80 %: over what ROUTINE and PRIORITY may fill
    cp.start()
    wait_for("link up", lambda: nsp.link_is_up(CP), 60)
    held = nsp.send("text", [CP], {"text": "kan wachten"}, precedence="ROUTINE")
    flash = nsp.send("text", [CP], {"text": "kan niet wachten"}, precedence="FLASH")
    wait_for("the FLASH at the full CP", lambda: cp.has(flash), 60)
    wait_for("a refusal, told", lambda: any("FULL" in line for line in open(cp.log, errors="replace")), 60)
    checks.check("a full receiver takes the FLASH and refuses the ROUTINE behind it for now", not cp.has(held) and nsp.told(held)[CP] == "NONE", nsp.told(held))
    cp.stop()
    with open(cp.conf, "w") as out:
        out.write(conf)
    cp.start()
    wait_for("the ROUTINE, when there is room", lambda: cp.has(held), 120)
    checks.check("what was refused for now comes by itself when there is room", True)
    for node in (cp, nsp):
        node.stop()
        check = node.check_store()
        checks.check(f"the store of {node.number} is sound", check.returncode == 0, check.stdout)


if __name__ == "__main__":
    sys.exit(test_region("full", full, extra="\n[tuning]\ntime_scale = 60\ngrace_s = 900\n"))
