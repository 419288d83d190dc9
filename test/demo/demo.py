#!/usr/bin/env python3
"""Plays blackout.toml through real cpd processes and judges what arrived.

The verdict rests on this script's own ledger: for each message what was said, to whom, with which words. It
is held against every node's inbox, by id and by hash of the words. What the daemons count is shown, but is
no evidence. HOLD=0 ends after the verdict; else the region stays up until Ctrl-C.
"""
import hashlib
import json
import os
import signal
import sys
import time
import tomllib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import BUILD, CPCTL, Refused, Region, wait_for  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
STATE_KINDS = {"nsp-status"}
SETTLE_S = 60


def words_hash(body):
    """Hash of what was said, whatever the order of the fields; what the daemon fills in is left out."""
    body = {name: value for name, value in body.items() if name != "check_words"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Demo:
    def __init__(self, scenario):
        self.scenario = scenario
        self.members = {group["name"]: group["members"] for group in scenario["group"]}
        self.ledger = {}      # label -> entry
        self.late_acts = []   # acts whose message has not arrived yet
        self.start = None

    def clock(self, at):
        hours, minutes = map(int, at.split(":"))
        return hours + minutes / 60

    def say(self, at, text):
        print(f"  {at}  {text}", flush=True)

    def build(self):
        folder = os.path.join(BUILD, "demo")
        self.region = Region(folder, extra="\n[tuning]\ntime_scale = 120\n")
        for node in self.scenario["node"]:
            self.region.add(node["number"], node["role"], node["name"], node.get("municipality"))
        self.region.admit([(group["number"], group["name"], group["members"]) for group in self.scenario["group"]])
        hub = self.region.nodes[901]
        self.region.wire_up(hub, [node for node in self.region.nodes.values() if node is not hub])
        self.region.configure()
        self.region.start()
        self.region.wait_for_links()

    def recipients(self, to):
        found = []
        for one in to:
            found += self.members[one] if isinstance(one, str) else [one]
        return sorted(set(found))

    def name(self, number):
        return self.region.nodes[number].name

    def play_send(self, event):
        node = self.region.nodes[event["from"]]
        options = {name: event[name] for name in ("precedence", "mode", "author") if name in event}
        if "reply_to" in event:
            options["in_reply_to"] = self.ledger[event["reply_to"]]["id"]
        sent = time.monotonic()
        identifier = node.send(event["send"], event["to"], event["body"], key=f"{event['at']}-{event['from']}-{event['send']}", **options)
        label = event.get("label", identifier)
        self.ledger[label] = {"id": identifier, "kind": event["send"], "from": event["from"], "to": self.recipients(event["to"]),
                              "hash": words_hash(event["body"]), "sent": sent, "seen": {}, "levels": {}}
        self.say(event["at"], f"{self.name(event['from'])} -> {', '.join(map(str, event['to']))}: {event['send']} ({identifier})")

    def act(self, act):
        """True when done; False: the message is not there yet, or the node is down."""
        label, number, what, remark = act
        node = self.region.nodes[number]
        try:
            node.act(self.ledger[label]["id"], what, **({"remark": remark} if what == "refuse" else {}))
        except (Refused, OSError) as why:
            if isinstance(why, Refused) and why.status not in (404, 409, 503):
                raise
            return False
        self.ledger[label]["levels"].setdefault(number, []).append(what)
        return True

    def try_late_acts(self):
        waiting = []
        blocked = set()
        for act in self.late_acts:
            key = act[:2]
            if key in blocked or not self.act(act):
                blocked.add(key)      # what one person does with one message stays in order
                waiting.append(act)
        self.late_acts = waiting

    def play(self, event):
        if "send" in event:
            self.play_send(event)
        elif "answer" in event:
            self.say(event["at"], f"{', '.join(map(str, event['by']))}: {' and '.join(event['acts'])} {event['answer']}")
            self.late_acts += [(event["answer"], number, what, event.get("remark")) for number in event["by"] for what in event["acts"]]
            self.try_late_acts()
        elif "cut" in event:
            self.region.wires[(event["cut"], 901)].cut()
            self.say(event["at"], f"-- the link of {self.name(event['cut'])} is cut")
        elif "restore" in event:
            self.region.wires[(event["restore"], 901)].restore()
            self.say(event["at"], f"-- the link of {self.name(event['restore'])} is back")
        elif "kill" in event:
            self.region.nodes[event["kill"]].kill(signal.SIGKILL)
            self.say(event["at"], f"-- {self.name(event['kill'])} is killed (SIGKILL)")
        elif "start" in event:
            self.region.nodes[event["start"]].start()
            self.say(event["at"], f"-- {self.name(event['start'])} is up again")

    def watch(self):
        """Notes when each message was first seen at each recipient."""
        for number, node in self.region.nodes.items():
            if not node.is_running():
                continue
            try:
                held = {message["id"] for message in node.inbox()}
            except (OSError, Refused):
                continue
            for entry in self.ledger.values():
                if number in entry["to"] and entry["id"] in held:
                    entry["seen"].setdefault(number, time.monotonic())

    def run(self):
        events = sorted(self.scenario["event"], key=lambda event: self.clock(event["at"]))
        zero = self.clock(events[0]["at"])
        begin = time.monotonic()
        for event in events:
            due = begin + (self.clock(event["at"]) - zero) * self.scenario["seconds_an_hour"]
            while True:
                self.watch()
                self.try_late_acts()
                left = due - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(left, 0.3))
            self.play(event)

    def is_settled(self):
        self.watch()
        self.try_late_acts()
        if self.late_acts:
            return False
        for entry in self.ledger.values():
            if entry["kind"] in STATE_KINDS:
                continue
            if set(entry["to"]) - set(entry["seen"]):
                return False
            trace = self.region.nodes[entry["from"]].trace(entry["id"])
            told = {recipient["node"]: recipient["level"] for recipient in trace["recipients"]}
            for number in entry["to"]:
                if told.get(number) != self.expected_level(entry, number):
                    return False
        return True

    @staticmethod
    def expected_level(entry, number):
        acts = entry["levels"].get(number, [])
        for what, level in (("done", "DONE"), ("accept", "ACCEPTED"), ("refuse", "REFUSED"), ("read", "READ")):
            if what in acts:
                return level
        return "DELIVERED"

    def judge(self):
        """Holds the ledger against every inbox. Returns the list of what is wrong."""
        wrong, delivered, read, suppressed, worst = [], 0, 0, 0, 0.0
        expected = {number: {} for number in self.region.nodes}
        for label, entry in self.ledger.items():
            if entry["kind"] not in STATE_KINDS:
                for number in entry["to"]:
                    expected[number][entry["id"]] = (label, entry)
        for number, node in self.region.nodes.items():
            shown = [message["id"] for message in node.inbox()]
            for identifier in set(shown):
                if shown.count(identifier) > 1:
                    wrong.append(f"{identifier} is shown {shown.count(identifier)} times at {number}")
                if identifier not in expected[number]:
                    wrong.append(f"{identifier} is shown at {number}, and was never sent there")
            for identifier, (label, entry) in expected[number].items():
                if identifier not in shown:
                    wrong.append(f"{identifier} ({label}) is LOST: it never came to {number}")
                    continue
                if words_hash(node.show(identifier)["body"]) != entry["hash"]:
                    wrong.append(f"{identifier} ({label}) has other words at {number}")
                    continue
                delivered += 1
                read += "read" in entry["levels"].get(number, [])
                worst = max(worst, entry["seen"].get(number, entry["sent"]) - entry["sent"])
            suppressed += node.get("/v1/status")["counters"]["duplicates"]
        for label, entry in self.ledger.items():
            if entry["kind"] in STATE_KINDS:
                continue
            trace = self.region.nodes[entry["from"]].trace(entry["id"])
            told = {recipient["node"]: recipient["level"] for recipient in trace["recipients"]}
            for number in entry["to"]:
                if told.get(number) != self.expected_level(entry, number):
                    wrong.append(f"{entry['id']} ({label}): its author is told {told.get(number)} for {number}, it is {self.expected_level(entry, number)}")
        board = {nsp["number"]: nsp["phase"] for nsp in self.region.nodes[901].get("/v1/status")["nsps"]}
        last_status = {}
        for event in self.scenario["event"]:
            if event.get("send") == "nsp-status":
                last_status[event["from"]] = event["body"]["phase"]
        for number, phase in last_status.items():
            if board.get(number) != phase:
                wrong.append(f"the board shows {number} as {board.get(number)}, it said {phase}")
        sent = sum(1 for entry in self.ledger.values() if entry["kind"] not in STATE_KINDS)
        due = sum(len(one) for one in expected.values())
        hours = worst / self.scenario["seconds_an_hour"]
        print(f"""
  messages sent               {sent:5}
  deliveries due              {due:5}
  delivered, words equal      {delivered:5}
  read by a person            {read:5}
  duplicates suppressed       {suppressed:5}   (as the daemons count since their last start)
  lost                        {due - delivered:5}
  worst delay                 {worst:7.1f} s  ({hours:.1f} h of the scenario's day: links were cut and the CP was down)
""", flush=True)
        return wrong


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # an end from outside stops the nodes too
    with open(os.path.join(HERE, "blackout.toml"), "rb") as text:
        scenario = tomllib.load(text)
    demo = Demo(scenario)
    print(f"{scenario['title']}\n  a region of {len(scenario['node'])} nodes, each a process of its own, under {os.path.relpath(BUILD)}/demo/", flush=True)
    begin = time.monotonic()
    demo.build()
    print(f"  the region is up ({time.monotonic() - begin:.0f} s); the day begins", flush=True)
    try:
        demo.run()
        print("  the day is over; waiting until everyone has what is theirs", flush=True)
        try:
            wait_for("end of the traffic", demo.is_settled, SETTLE_S, 0.5)
        except TimeoutError:
            pass      # the judge says what is missing
        wrong = demo.judge()
        for line in wrong[:40]:
            print(f"  WRONG: {line}")
        print("  VERDICT: " + ("FAILED" if wrong else "everything arrived, once, with the words that were sent"), flush=True)
        if os.environ.get("HOLD", "0") != "0" and not wrong:
            hold(demo)
        return 1 if wrong else 0
    except KeyboardInterrupt:
        print("\nstopped before the end of the day")
        return 130
    finally:
        demo.region.close()


def hold(demo):
    print("\nThe region stays up until Ctrl-C. In another terminal, for example:\n")
    relative = os.path.relpath(CPCTL)
    for number in (901, 344003, 911):
        print(f"  {relative} --socket {os.path.relpath(demo.region.nodes[number].socket)} status      # {demo.name(number)}")
    cp, nsp = (os.path.relpath(demo.region.nodes[number].socket) for number in (901, 344003))
    call = demo.ledger["noodhulp-041"]["id"]
    print(f"""  {relative} --socket {nsp} trace {call}
  {relative} --socket {cp} send text --to alle-nsp --text "Hoe gaat het?"
  {relative} --socket {nsp} inbox
  {relative} --socket {cp} watch
  kill -9 {demo.region.nodes[901].process.pid}      # the coordination point; start it again with
  {os.path.relpath(os.path.join(BUILD, 'cpd'))} --config {os.path.relpath(demo.region.nodes[901].conf)}
""", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nstopping the region")


if __name__ == "__main__":
    sys.exit(main())
