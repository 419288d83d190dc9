#!/usr/bin/env python3
"""Two thousand messages through real processes that are killed, and over wires that are cut.

Afterwards what each recipient was shown is held against what was sent: equal sets, each once. A message
counts as sent when the API answered with its id; an author who got no answer asks again with the same key.
"""
import collections
import os
import random
import signal
import sys
import threading
import time

from harness import Refused, test_region, wait_for

SEED = int(os.environ.get("SEED", "20261124"))
MESSAGES = int(os.environ.get("MESSAGES", "2000"))
NSPS = [344003, 307001, 736001, 352001]
CP, DESK = 901, 911
GROUP = "alle-nsp"


class Author(threading.Thread):
    """Sends its share of the messages from one node, whatever happens to it."""

    def __init__(self, region, number, count, ledger, lock):
        super().__init__(daemon=True)
        self.region, self.number, self.count, self.ledger, self.lock = region, number, count, ledger, lock
        self.random = random.Random(SEED * 1000 + number)
        self.failure = None

    def choose(self):
        others = [node for node in [CP, DESK, *NSPS] if node != self.number]
        if self.number in (CP, DESK) and self.random.random() < 0.15:
            return [GROUP], sorted(NSPS)
        one = self.random.choice(others)
        return [one], [one]

    def run(self):
        node = self.region.nodes[self.number]
        for index in range(self.count):
            to, recipients = self.choose()
            words = f"{self.number} zegt {index}: " + "x" * self.random.choice([10, 60, 300])
            precedence = self.random.choice(["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"])
            for _ in range(600):
                try:
                    identifier = node.send("text", to, {"text": words}, key=f"{self.number}-{index}", precedence=precedence)
                    break
                except Refused as why:
                    if why.status != 503:
                        self.failure = f"{self.number}: {why}"
                        return
                except OSError:
                    pass
                except Exception as why:   # an answer cut in the middle
                    if type(why).__name__ not in ("BadStatusLine", "RemoteDisconnected", "IncompleteRead", "JSONDecodeError"):
                        self.failure = f"{self.number}: {why!r}"
                        return
                time.sleep(0.1)
            else:
                self.failure = f"{self.number}: message {index} was never taken"
                return
            with self.lock:
                self.ledger[identifier] = (self.number, recipients, words)
            time.sleep(self.random.random() * 0.3)   # so that the trouble has a minute


class Trouble(threading.Thread):
    """Kills and cuts until it is told to stop."""

    def __init__(self, region):
        super().__init__(daemon=True)
        self.region, self.random = region, random.Random(SEED)
        self.over = threading.Event()
        self.count = collections.Counter()
        self.failure = None

    def kill(self, number):
        node = self.region.nodes[number]
        call = None
        if self.random.random() < 0.4:
            # Killed by the kernel within a system call of its store: between the data and the root page too.
            call = self.random.choice(["fdatasync", "pwrite64", "writev"])
            node.kill()
            node.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                            "-e", f"inject={call}:signal=SIGKILL:when={self.random.randint(4, 60)}"]
            node.start(wait=False)
            self.over.wait(self.random.uniform(1.0, 3.0))
            node.wrapper = []
            self.count[f"kill in {call}"] += 0 if node.is_running() else 1
        node.kill(signal.SIGKILL)
        self.count[f"kill {node.role}"] += 1
        self.over.wait(self.random.uniform(0.2, 2.0))
        node.start(wait=False)

    def run(self):
        try:
            while not self.over.wait(self.random.uniform(0.3, 1.5)):
                if self.random.random() < 0.5:
                    self.kill(self.random.choice([CP, CP, CP, DESK, DESK, *NSPS]))
                else:
                    wire = self.random.choice(list(self.region.wires.values()))
                    wire.cut()
                    self.count["cut"] += 1
                    self.over.wait(self.random.uniform(0.2, 3.0))
                    wire.restore()
        except Exception as why:   # told by main, which ends the test
            self.failure = repr(why)


def ensure_running(region):
    for node in region.nodes.values():
        if not node.is_running():
            node.start(wait=False)
    for node in region.nodes.values():
        wait_for(f"answer from {node.number}", node.is_ready, 30)


def differences(region, ledger):
    due = collections.defaultdict(dict)
    for identifier, (_, recipients, words) in ledger.items():
        for number in recipients:
            due[number][identifier] = words
    wrong = []
    for number, node in region.nodes.items():
        shown = collections.Counter(message["id"] for message in node.inbox())
        wrong += [f"{identifier} is missing at {number}" for identifier in due[number] if identifier not in shown]
        wrong += [f"{identifier} was never sent to {number}" for identifier in shown if identifier not in due[number]]
        wrong += [f"{identifier} is shown {times} times at {number}" for identifier, times in shown.items() if times > 1]
    return wrong


def unclosed(region):
    return [message["id"] for node in region.nodes.values() for message in node.outbox()
            if message["recipients"]["delivered"] < message["recipients"]["total"]]


def settled(what, remaining, seconds):
    """Waits until nothing remains; what then remains."""
    try:
        wait_for(what, lambda: not remaining(), seconds, 1.0)
    except TimeoutError:
        pass   # told by the caller, with names
    return remaining()


def build(region):
    region.add(CP, "cp", "Coördinatiepunt")
    region.add(DESK, "desk", "Crisisstaf")
    for number in NSPS:
        region.add(number, "nsp", f"NSP {number}", f"GM{number // 1000:04}")
    region.admit([(1, GROUP, NSPS)])
    region.wire_up(region.nodes[CP], [region.nodes[number] for number in [DESK, *NSPS]])
    region.configure()
    region.start()
    region.wait_for_links()


def send_amid_trouble(region):
    """The ledger of what was taken, the trouble there was, and what went wrong with the test itself."""
    ledger, lock = {}, threading.Lock()
    share = MESSAGES // len(region.nodes)
    counts = {number: share for number in region.nodes}
    counts[CP] += MESSAGES - share * len(region.nodes)
    trouble = Trouble(region)
    authors = [Author(region, number, count, ledger, lock) for number, count in counts.items()]
    trouble.start()
    for author in authors:
        author.start()
    for author in authors:
        author.join(240)
    trouble.over.set()
    trouble.join(60)
    return ledger, trouble, [thread.failure for thread in [*authors, trouble] if thread.failure]


def chaos(checks, region):
    print(f"seed {SEED}: SEED={SEED} repeats it")
    build(region)
    begin = time.monotonic()
    ledger, trouble, failures = send_amid_trouble(region)
    sent_s = time.monotonic() - begin
    for wire in region.wires.values():
        wire.restore()
    ensure_running(region)
    checks.check("every author was answered", not failures and len(ledger) == MESSAGES, failures[:3] or len(ledger))
    wrong = settled("all messages", lambda: differences(region, ledger), 120)
    checks.check("sent and shown are equal, each once, for every recipient", not wrong, wrong[:5])
    open_ones = settled("all receipts", lambda: unclosed(region), 90)
    checks.check("every author was told DELIVERED by every recipient", not open_ones, open_ones[:5])
    settled_s = time.monotonic() - begin - sent_s
    words = [identifier for identifier, (_, recipients, text) in random.Random(SEED).sample(sorted(ledger.items()), min(100, len(ledger)))
             if region.nodes[recipients[0]].show(identifier)["body"]["text"] != text]
    checks.check("a hundred of them, looked at, have the words that were sent", not words, words[:5])
    checks.check("there was trouble enough: every role was killed, wires were cut",
                 all(trouble.count[f"kill {role}"] for role in ("cp", "desk", "nsp")) and trouble.count["cut"] >= 3, dict(trouble.count))
    print(f"figure: {len(ledger)} messages, {sum(len(r) for _, r, _ in ledger.values())} deliveries in {sent_s:.0f} s of trouble "
          f"({dict(trouble.count)}); all settled {settled_s:.0f} s later")


if __name__ == "__main__":
    sys.exit(test_region("chaos", chaos, seed=SEED, extra="\n[tuning]\ntime_scale = 120\n"))
