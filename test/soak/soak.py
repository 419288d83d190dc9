#!/usr/bin/env python3
"""A region of real cpd processes under steady traffic and random faults, judged from the outside all the time.

Two CPs, two desks, eight NSPs, each NSP and desk on both CPs. Authors write every kind at every precedence; readers read
every inbox, act, and ask what became of what was written; followers read every event. The faults come in rounds; at the
end of a round all are lifted, traffic goes on, and all that was taken before must be at each addressee within BOUND_S.

    make soak T=60              minutes; SEED=n: the faults of an earlier run
    make soak T=3 PLANT=memory  broken on purpose, and must fail: memory, descriptors, threads, bytes, loss

Ends with a table, BUILD/soak/soak.json, and `N passed, M failed`."""
import argparse
import json
import os
import random
import shutil
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]
from harness import BUILD, Checks, Region, wait_for  # noqa: E402
from gauges import Gauges, judge_store, rows_of  # noqa: E402
from ledger import Ledger  # noqa: E402
from traffic import GROUP, Author, Follower, Reader  # noqa: E402
from trouble import FULL_MIB, Machine, Supervisor, Trouble  # noqa: E402

CPS, DESKS = [901, 902], [911, 912]
NSPS = [344001, 344002, 344003, 307001, 307002, 736001, 352001, 353001]
SCALE = 20          # the daemon's own terms go this many times faster
BOUND_S = 300       # from the end of the last fault until everything taken before it is there
ROUND_S = 300       # of trouble


class Soak:
    def __init__(self, arguments):
        self.minutes, self.seed, self.plant = arguments.minutes, arguments.seed, arguments.plant
        self.begin = time.monotonic()
        self.grace_s = 20 if self.minutes < 10 else 60
        self.folder = os.path.join(BUILD, "soak")
        presence = f"\n[tuning]\ntime_scale = {SCALE}\npresence_s = 200\n"
        grace = 2592000 if self.plant == "bytes" else self.grace_s * SCALE
        self.region = Region(os.path.join(self.folder, "region"), seed=self.seed, extra=presence + f"grace_s = {grace}\n")
        self.over, self.quiet = threading.Event(), threading.Event()
        self.members, self.observers = sorted(NSPS), CPS + DESKS
        self.survivors = [902, 912, 344001, 307001]     # never killed: what they use must stay flat for the whole time
        self.mortals = [number for number in CPS + DESKS + NSPS if number not in self.survivors]
        self.doubtful = [344002, 307001, 352001]        # nobody trusts their clocks
        self.small = 353001
        self.pause_s = 12 / arguments.rate
        self.persons, self.waiting, self.sizes, self.events = {}, {}, {}, 0
        self.rounds = []

    def say(self, text):
        seconds = int(time.monotonic() - self.begin)
        print(f"{seconds // 60:3}:{seconds % 60:02}  {text}", flush=True)

    # ---- the region
    def build(self):
        region = self.region
        for number in CPS:
            region.add(number, "cp", f"CP {number}")
        for number in DESKS:
            region.add(number, "desk", f"Crisisstaf {number}")
        for number in NSPS:
            region.add(number, "nsp", f"NSP {number}", f"GM{number // 1000:04}")
        region.admit([(1, GROUP, NSPS)])
        region.wire_up(region.nodes[902], [region.nodes[901]])
        for index, number in enumerate(DESKS + NSPS):
            for cp in (CPS if index % 2 else CPS[::-1]):
                region.wire_up(region.nodes[cp], [region.nodes[number]])
        region.configure()
        for number in self.doubtful:
            self.rewrite(number, "quality = ntp", "quality = manual")
        self.rewrite(self.small, "[api]", f"[store]\nlimit_mib = {FULL_MIB}\n\n[api]")
        leak = self.plant if self.plant in ("memory", "descriptors", "threads") else None
        self.machines = {number: Machine(node, leak) for number, node in region.nodes.items()}
        self.ledger = Ledger(region.nodes, self.grace_s, self.say)
        region.start()
        region.wait_for_links()

    def rewrite(self, number, old, new):
        path = self.region.nodes[number].conf
        with open(path) as text:
            conf = text.read()
        assert old in conf
        with open(path, "w") as out:
            out.write(conf.replace(old, new, 1))

    # ---- rounds
    def states_due(self):
        """What was the last state of each NSP when this was asked, and by whom it is not shown yet."""
        owed = []
        for number, persons in self.at_lift.items():
            for reader in self.readers:
                if reader.number in self.observers and reader.states.get(number, 0) < persons:
                    owed.append(f"the state of {number} at {reader.number} is {reader.states.get(number, 0)}, not {persons}")
        return owed

    def checkpoint(self, name):
        """All faults are lifted: everything taken until now must be there. How long that took."""
        self.trouble.lift()
        for node in self.region.nodes.values():
            wait_for(f"answer from {node.number}", lambda: node.is_running() and node.is_ready(), 60)
        moment, self.at_lift = time.monotonic(), dict(self.persons)
        owed = []
        while True:
            owed = self.ledger.due(moment) + self.states_due()
            if not owed or time.monotonic() - moment > BOUND_S:
                break
            time.sleep(0.5)
        took = time.monotonic() - moment
        for one in owed[:10]:
            self.ledger.wrong(f"{name}, {BOUND_S} s after the last fault: {one}")
        for number, node in self.region.nodes.items():
            reader = next(reader for reader in self.readers if reader.number == number)
            before = set(self.ledger.shown[number])
            rows = [row for row in node.inbox() if row["id"] in before or row["counter"] <= reader.after]
            self.ledger.whole_inbox(number, rows, before)
        self.rounds.append({"round": name, "taken": len(self.ledger.entries), "deliveries": self.ledger.deliveries, "settled_s": round(took, 1), "owed": len(owed)})
        self.say(f"{name}: everything taken before ({len(self.ledger.entries)}) is there {took:.0f} s after the last fault" if not owed
                 else f"{name}: {len(owed)} are missing after {took:.0f} s")

    def progress(self):
        ledger = self.ledger
        with ledger.lock:
            waiting = sum(self.waiting.values())
            unclosed = sum(not entry.closed for entry in ledger.entries.values())
        used = sum(values[-1][1] for values in self.gauges.store.values() if values)
        memory = sum(life["memory"][-1][1] for life in (self.gauges.longest(number) for number in self.region.nodes) if life)
        self.say(f"{len(ledger.entries)} taken, {ledger.deliveries} shown, {unclosed} open, {waiting} rows waiting, {ledger.levels_seen} levels, "
                 f"{self.events} events; {sum(self.trouble.count.values())} faults; memory {memory / 1048576:.0f} MiB, stores {used / 1048576:.0f} MiB; "
                 f"{len(ledger.violations)} violations")

    def plant_loss(self):
        """A disk that nobody told of: what it held for others is gone from it. Everything must notice."""
        node = self.region.nodes[911]
        self.machines[911].is_taken = True
        node.kill()
        shutil.rmtree(os.path.join(node.state, "store"))
        node.start()
        self.machines[911].is_taken = False
        self.say("planted: the store of 911 is gone")

    def run(self):
        self.build()
        self.say(f"seed {self.seed}: {len(self.region.nodes)} nodes, {len(self.region.wires)} wires, about {12 / self.pause_s:.1f} messages a second, {self.minutes} min")
        nodes = list(self.region.nodes.values())
        self.readers = [Reader(self, node) for node in nodes]
        self.authors = [Author(self, node) for node in nodes]
        self.trouble, self.supervisor = Trouble(self), Supervisor(self)
        self.gauges = Gauges(self, min(30.0, self.minutes * 60 / 40))
        threads = [*self.readers, *self.authors, *[Follower(self, node) for node in nodes], self.supervisor, self.gauges, self.trouble]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self.minutes * 60
        round_s = min(ROUND_S, self.minutes * 60 * 0.45)
        number = 0
        while time.monotonic() < end:
            number += 1
            stop = min(end, time.monotonic() + round_s)
            while time.monotonic() < stop:
                time.sleep(max(0.0, min(60 if self.minutes >= 10 else 15, stop - time.monotonic())))
                self.progress()
            if self.plant == "loss" and number == 1:
                self.plant_loss()
            self.checkpoint(f"round {number}")
            self.trouble.resume()
        return self.finish()

    # ---- the end
    def settle(self, what, remaining, seconds):
        try:
            wait_for(what, lambda: not remaining(), seconds, 0.5)
        except TimeoutError:
            pass
        left = remaining()
        for one in left[:10]:
            self.ledger.wrong(f"at the end: {one}")
        return not left

    def queues(self):
        return [f"{number} has {rows} rows waiting" for number, rows in self.waiting.items() if rows]

    def finish(self):
        checks = Checks()
        self.quiet.set()
        self.trouble.lift()
        self.settle("an answer to every author", lambda: [f"{author.number} has no answer on {author.waiting}" for author in self.authors if author.waiting], 60)
        quiet = time.monotonic()
        self.checkpoint("the end")
        self.settle("an end to every message", self.ledger.unclosed, BOUND_S + 60)
        self.settle("empty queues", self.queues, 60)
        drained = time.monotonic() - quiet
        self.say(f"drained {drained:.0f} s after the last message; now the grace of {self.grace_s} s goes by")
        stores = self.judge_stores()
        time.sleep(3)   # the followers' last events
        self.over.set()
        self.ledger.finish()
        for author in self.authors:
            author.join(20)
        rows, leaks = self.gauges.judge()
        status = self.stop_all()
        self.report(checks, rows, leaks, stores, status, drained)
        return checks.end()

    def judge_stores(self):
        """Waits until the stores hold what is explained; what is wrong when they do not."""
        begin = time.monotonic()
        while True:
            found, wrong = {}, []
            for node in self.region.nodes.values():
                rows, used = rows_of(node), node.get("/v1/status")["store"]["used_bytes"]
                bad, explained, own = judge_store(self, node, rows, used)
                wrong += bad
                found[node.number] = {"rows": rows, "used": used, "explained": round(explained), "own": own}
            if not wrong or time.monotonic() - begin > self.grace_s + 120:
                return {"nodes": found, "wrong": wrong, "seconds": round(time.monotonic() - begin)}
            time.sleep(2)

    def stop_all(self):
        wrong = []
        for node in self.region.nodes.values():
            self.machines[node.number].is_taken = True
            if node.stop() != 0:
                wrong.append(f"{node.number} did not stop with 0")
            check = node.check_store()
            if check.returncode != 0 or ", 0 in quarantine" not in check.stdout:
                wrong.append(f"the store of {node.number}: {check.stdout[-300:]}")
        return wrong

    def report(self, checks, rows, leaks, stores, status, drained):
        ledger, mib = self.ledger, 1048576
        print(f"\n{'node':>8} {'lives':>5} {'longest':>8} {'rss max':>8} {'memory first, last':>19} {'an hour':>9} {'fds':>8} {'threads':>7} {'store used':>10} {'explained':>9}")
        for row in rows:
            per_hour = "-" if row["memory_per_hour"] is None else f"{row['memory_per_hour'] / mib:+.2f}"
            there = stores["nodes"][row["node"]]
            print(f"{row['node']:>8} {row['lives']:>5} {row['longest_s']:>6} s {row['rss_max'] / mib:>8.1f} {row['memory_first'] / mib:>9.1f} {row['memory_last'] / mib:>9.1f} "
                  f"{per_hour:>9} {row['descriptors_last']:>3}/{row['descriptors_max']:<4} {row['threads_max']:>7} {there['used'] / mib:>10.1f} {there['explained'] / mib:>9.1f}")
        print("figures in MiB; an hour: the slope after the warm-up; fds: last and most\n")
        print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.trouble.count.items())))
        print(f"asked again without an answer {sum(author.again for author in self.authors)}, refused for now {sum(author.refusals for author in self.authors)}, "
              f"started again after a broken disk {self.supervisor.restarts}; stores that filled up: {self.trouble.figures['full']}")
        checks.check("what was taken is at each addressee once, and every end is known to its author", not ledger.violations, ledger.violations[:10])
        checks.check("memory, descriptors and threads are flat", not leaks, leaks[:10])
        checks.check("the stores hold only what is explained", not stores["wrong"], stores["wrong"][:10])
        checks.check("every node stops with 0 and its store is sound", not status, status)
        kinds = {name.split(" ")[0] for name in self.trouble.count}
        missing = {"kill", "stop", "cut", "isolate", "thin", "lossy", "freeze", "slow", "full", "disk", "clock", "store"} - kinds
        checks.check("there was trouble of every sort", not missing or self.minutes < 10, missing)
        settled = [one["settled_s"] for one in self.rounds]
        print(f"figure: {len(ledger.entries)} messages, {ledger.deliveries} deliveries, {ledger.levels_seen} levels, {self.events} events in {self.minutes} min; "
              f"{sum(self.trouble.count.values())} faults; settled within {max(settled):.0f} s of the last fault of a round; {len(ledger.violations)} violations")
        if leaks or ledger.violations or status or stores["wrong"]:
            print(f"the nodes' logs and stores are kept in {self.region.folder}; the faults again: SEED={self.seed}")
        with open(os.path.join(self.folder, "soak.json"), "w") as out:
            json.dump({"seed": self.seed, "minutes": self.minutes, "messages": len(ledger.entries), "deliveries": ledger.deliveries,
                       "levels": ledger.levels_seen, "events": self.events, "faults": self.trouble.count, "rounds": self.rounds, "drained_s": round(drained, 1),
                       "full": self.trouble.figures["full"], "nodes": rows, "stores": stores, "violations": ledger.violations, "leaks": leaks,
                       "samples": {f"{number}/{pid}": life for (number, pid), life in self.gauges.lives.items()}}, out, indent=1)


def main():
    parser = argparse.ArgumentParser(description="a region under faults for a long time")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=3.0, help="messages a second, all authors together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--plant", choices=["memory", "descriptors", "threads", "bytes", "loss"])
    soak = Soak(parser.parse_args())
    try:
        return soak.run()
    finally:
        soak.over.set()
        soak.trouble.lifted.set() if hasattr(soak, "trouble") else None
        for node in soak.region.nodes.values():
            if node.is_running():
                os.kill(node.process.pid, 18)   # SIGCONT: a frozen one does not stop
        soak.region.close()


if __name__ == "__main__":
    sys.exit(main())
