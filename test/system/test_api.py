#!/usr/bin/env python3
"""What docs/API.md promises to who writes programs against it: pages, the same thing asked twice, events that
resume, and callers that are slow, many or gone."""
import os
import socket
import sys
import threading
import time

import lmdb

from harness import Refused, UnixConnection, test_region, wait_for

CP, NSP = 901, 344003
MANY = 700     # journal lines: more than an event stream may have waiting, and more than one page


class Events:
    """A reader of /v1/events: each event as (id, name, data line), until its socket ends."""

    def __init__(self, node, last=None):
        self.connection = UnixConnection(node.socket, 20)
        self.connection.request("GET", "/v1/events", headers={"Last-Event-ID": str(last)} if last is not None else {})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.status

    def next(self):
        event = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if not line and event:
                return int(event["id"]), event["event"], event["data"]
            if line and not line.startswith(":"):
                key, _, value = line.partition(": ")
                event[key] = value

    def until(self, number):
        """Events up to and with this id."""
        events = []
        while not events or events[-1][0] < number:
            events.append(self.next())
        return events

    def close(self):
        self.connection.close()


def newest(node):
    """The id of the last line of the journal: that of the next message, less one."""
    events = Events(node)
    identifier = node.send("text", [CP if node.number == NSP else NSP], {"text": "waar is het eind?"})
    while True:
        number, name, data = events.next()
        if name == "authored" and f'"{identifier}"' in data:
            events.close()
            return number


def versions(checks, node):
    answer = node.get("/v1")
    checks.check("the version of the API and of cpd", answer == {"api": 1, "version": node.get("/v1/status")["node"]["version"]}, answer)
    checks.refused("another version of it is not there", 404, None, lambda: node.get("/v2/status"))


def pages(checks, nsp):
    """With the link cut: what is written waits."""
    sent = [nsp.send("text", [CP], {"text": f"{i}"}, precedence=one) for i in range(3) for one in ("ROUTINE", "FLASH")]
    whole = nsp.get("/v1/queue")
    checks.check("the queue in the order it will go, FLASH first", [row["id"] for row in whole["rows"] if row["id"] in sent] == sent[1::2] + sent[0::2]
                 and whole["next"] is None, whole)
    seen, after = [], ""
    while after is not None and len(seen) < 100:
        page = nsp.get("/v1/queue?limit=2" + (f"&after={after}" if after else ""))
        assert len(page["rows"]) <= 2
        seen, after = seen + page["rows"], page["next"]
    checks.check("its pages make the whole", [row["id"] for row in seen] == [row["id"] for row in whole["rows"]], seen)
    checks.check("of one link", len(nsp.get(f"/v1/queue?link={CP}")["rows"]) == len(whole["rows"]) and not nsp.get("/v1/queue?link=0")["rows"])
    for after in ("901/FLASH", "901/HASTE/1", "x", "901/FLASH/1/2"):
        checks.refused(f"a place that is none: {after}", 400, "after", lambda: nsp.get(f"/v1/queue?after={after}"))
    for path in ("queue", "inbox", "outbox"):
        checks.refused(f"{path}: a page of nothing", 400, "limit", lambda: nsp.get(f"/v1/{path}?limit=0"))
        checks.refused(f"{path}: a page too long", 400, "limit", lambda: nsp.get(f"/v1/{path}?limit=501"))


def long_inbox(checks, nsp, cp):
    """More than is looked at for one page, and the unread one at its end."""
    rows = [message["id"] for message in cp.inbox()]
    for identifier in rows[:-1]:
        cp.act(identifier, "read")
    found, after, count = [], 0, 0
    while after is not None:
        page = cp.get(f"/v1/inbox?unread=1&limit=500&after={after}")
        found, after, count = found + page["messages"], page["next"], count + 1
    checks.check("the one unread message of a long inbox is found", [one["id"] for one in found] == rows[-1:] and len(rows) > 100, f"{len(found)} of {len(rows)} in {count} pages")


def twice(checks, nsp, cp):
    key = {"Idempotency-Key": "melding-118"}
    body = {"kind": "text", "to": [CP], "body": {"text": "eens en voor al"}}
    first = nsp.call("POST", "/v1/messages", body, key)
    again = nsp.call("POST", "/v1/messages", dict(body, body={"text": "andere woorden"}), key)
    checks.check("the same key is the same message", not first["existing"] and again == {"id": first["id"], "existing": True}, again)
    wait_for("it", lambda: cp.has(first["id"]))
    for act, level in (("read", "READ"), ("accept", "ACCEPTED"), ("done", "DONE")):
        answers = [cp.act(first["id"], act) for _ in range(2)]
        checks.check(f"{act} twice is once", answers == [{"id": first["id"], "level": level}] * 2, answers)
    checks.check("what came first does not undo what came later", cp.act(first["id"], "read")["level"] == "DONE")
    other = nsp.send("text", [CP], {"text": "dit niet"})
    wait_for("the other", lambda: cp.has(other))
    checks.check("refuse twice is once", [cp.act(other, "refuse", remark="kan niet")["level"] for _ in range(2)] == ["REFUSED"] * 2)


def twice_at_the_origin(checks, nsp):
    held = nsp.send("text", [CP], {"text": "nog even niet"})
    for act in ("hold", "release", "hold", "withdraw"):
        for _ in range(2):
            nsp.act(held, act)
    trace = nsp.trace(held)
    checks.check("hold, release and withdraw can be asked again", "withdrawn" in trace["flags"] and trace["closed"], trace)


def resuming(checks, nsp):
    last = newest(nsp)
    for i in range(MANY):
        nsp.send("text", [CP], {"text": f"regel {i}"}, precedence="ROUTINE")
    end = newest(nsp)
    events = Events(nsp, last)
    numbers = [number for number, _, _ in events.until(end)]
    events.close()
    checks.check(f"one that is {end - last} lines behind gets each of them, once", numbers == list(range(last + 1, end + 1)),
                 f"{len(numbers)} from {numbers[:1]} to {numbers[-1:]}")
    nsp.kill()
    nsp.start()
    events = Events(nsp, end - 3)
    first = [events.next()[0] for _ in range(3)]
    checks.check("ids go on after a kill", first == [end - 2, end - 1, end], first)
    late = newest(nsp)
    checks.check("and nothing is passed over", [number for number, _, _ in events.until(late)] == list(range(end + 1, late + 1)))
    events.close()
    for header in ("x", "-1", "1x", ""):
        connection = UnixConnection(nsp.socket, 5)
        connection.request("GET", "/v1/events", headers={"Last-Event-ID": header})
        checks.check(f"an id of an event that is none: {header!r}", connection.getresponse().status == 400)
        connection.close()


def a_slow_reader(checks, nsp):
    """It asks for everything and does not read: the node's memory does not grow with it, and it misses nothing."""
    end = newest(nsp)
    raw = socket.socket(socket.AF_UNIX)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(20)
    raw.connect(nsp.socket)
    raw.sendall(b"GET /v1/events HTTP/1.1\r\nHost: cpd\r\nLast-Event-ID: 0\r\n\r\n")
    for i in range(50):
        nsp.send("text", [CP], {"text": f"en nog {i}"})
    late = newest(nsp)
    text = b""
    while f"id: {late}\n".encode() not in text:
        text += raw.recv(65536)
    raw.close()
    ids = [int(line[4:]) for line in text.decode().splitlines() if line.startswith("id: ")]
    checks.check("a slow reader misses nothing", ids == list(range(ids[0], late + 1)) and late > end, f"{ids[:2]} {len(ids)} {late}")


def gaps(checks, nsp):
    end = newest(nsp)
    events = Events(nsp, end + 1000)
    number, name, data = events.next()
    checks.check("an id that the journal has not reached: it was set back", name == "gap" and '"set-back"' in data and number >= end, data)
    events.close()
    nsp.stop()
    with lmdb.open(os.path.join(nsp.state, "store"), max_dbs=32, map_size=64 << 20, lock=False) as store, store.begin(write=True) as change:
        journal = store.open_db(b"journal", change, create=False)
        for key in range(1, end - 10):
            change.delete(key.to_bytes(8, "big"), db=journal)
    nsp.start()
    events = Events(nsp, 5)
    number, name, data = events.next()
    checks.check("what the journal keeps no more is told", (number, name) == (end - 11, "gap") and '"too-old"' in data and '"from":6' in data and f'"to":{end - 11}' in data, (number, name, data))
    checks.check("and then what it has", events.next()[0] == end - 10)
    events.close()


def trickle(node, ended):
    """A request that never comes to its end, a byte at a time."""
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(node.socket)
    begin = time.monotonic()
    raw.sendall(b"GET /v1/status HTTP/1.1\r\nX-Slow: ")
    try:
        while time.monotonic() < begin + 120:
            raw.sendall(b"x")
            raw.settimeout(1)
            try:
                if not raw.recv(100):
                    break
            except TimeoutError:
                pass
    except OSError:
        pass
    ended.append(time.monotonic() - begin)
    raw.close()


def many_callers(checks, node):
    crowd = []
    for _ in range(80):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(node.socket)
        crowd.append(raw)
    answers = b""
    for raw in crowd:
        raw.settimeout(0.05)
        try:
            answers += raw.recv(1000)
        except (TimeoutError, OSError):
            pass
    checks.check("more than 64 callers at a time are told to wait", 10 < answers.count(b"503 Service Unavailable") < 40, answers.count(b"503"))
    for raw in crowd:
        raw.close()
    wait_for("an answer after the crowd", node.is_ready, 10)
    followers = [Events(node) for _ in range(16)]
    checks.refused("a seventeenth follower", 503, None, lambda: node.get("/v1/events"))
    followers.pop().close()
    for one in followers:
        one.close()
    wait_for("a place for another", lambda: can_follow(node), 10)
    checks.check("places come free again", True)


def memory_of_its_own(node):
    """Bytes: what it allocated, no files."""
    with open(f"/proc/{node.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def follow_and_hang_up(node, times):
    for _ in range(times):
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(20)
        raw.connect(node.socket)
        raw.sendall(b"GET /v1/events HTTP/1.1\r\nHost: cpd\r\n\r\n")
        answer = raw.recv(100)
        raw.close()
        if b" 503 " in answer:    # those before are not gone yet
            wait_for("a place for another", lambda: can_follow(node), 20)


def followers_that_hang_up(checks, node):
    """Each once cost 951 bytes for as long as cpd ran: 2 MB here."""
    follow_and_hang_up(node, 300)
    begin = memory_of_its_own(node)
    follow_and_hang_up(node, 2400)
    grown = memory_of_its_own(node) - begin
    print(f"figure: {grown >> 10} KiB more after 2,400 followers that hung up")
    checks.check("a follower that hangs up leaves nothing", grown < 1 << 20, grown)


def can_follow(node):
    try:
        Events(node).close()
        return True
    except AssertionError:
        return False


def api_test(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    region.configure()
    region.start()
    region.wait_for_links()
    ended = []
    slow = threading.Thread(target=trickle, args=(cp, ended))
    slow.start()
    wire = region.wires[(NSP, CP)]
    checks.run(versions, checks, nsp)
    checks.run(twice, checks, nsp, cp)
    checks.run(many_callers, checks, cp)
    checks.run(followers_that_hang_up, checks, cp)
    wire.cut()
    wait_for("the end of the link", lambda: not nsp.link_is_up(CP))
    for part in (pages, twice_at_the_origin):
        checks.run(part, checks, nsp)
    for part in (resuming, a_slow_reader):
        checks.run(part, checks, nsp)
    wire.restore()
    wait_for("all of it", lambda: len(cp.inbox()) > MANY, 60, 0.5)
    checks.run(long_inbox, checks, nsp, cp)
    checks.run(gaps, checks, nsp)
    slow.join()
    print(f"figure: a request that trickles was cut off after {ended[0]:.0f} s")
    checks.check("a request that never ends is cut off", ended[0] < 100, ended)


if __name__ == "__main__":
    sys.exit(test_region("api", api_test))
