#!/usr/bin/env python3
"""What cpd does in a second, on this machine, beside what the machine itself could in the same minutes.

    BUILD=build test/bench/bench.py full|quick|tiny [--json FILE] [PART...]

Real cpd processes over the loopback: a CP, a desk, an NSP with two CPs, and build/test/bench/load, which is many
senders in one process. Prints a table, writes it with all else to BUILD/bench.json. Parts: idle, bytes, rate,
latency, links, backlog. See docs/PERFORMANCE.md.
"""
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from harness import BUILD, Region, free_port, wait_for  # noqa: E402

NSP, CP, CP2, DESK, FIRST = 344003, 901, 902, 900, 500001
SIZES = {
    #        idle seconds, messages a run, repeats, latency samples, links, backlog
    "full": dict(idle_s=60, messages=20000, repeats=3, samples=300, links=[100, 500, 5000], backlog=1000000, machine_s=2),
    "quick": dict(idle_s=5, messages=2000, repeats=1, samples=30, links=[100], backlog=20000, machine_s=0.3),
    "tiny": dict(idle_s=1, messages=300, repeats=1, samples=4, links=[5], backlog=300, machine_s=0.05),
}
SENDERS = 100
REGION = 500        # nodes in the directory, but for the links' part
GAP_MS = 10
MOMENT_S = 0.05     # threads that wake within it cost one wake-up: the processor leaves its sleep once
STORE_MIB = 8192
PARTS = ("idle", "bytes", "rate", "latency", "links", "backlog")
PRECEDENCES = ("FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE")
CALL = {"number": 53, "check_words": 0, "services": 4, "nature": "MEDICAL", "postcode": "3532AB", "house_number": "7", "persons": 1, "caller_waits": True}


def tool(name, *words):
    """One line of JSON of a program of the bench."""
    done = subprocess.run([os.path.join(BUILD, "test", "bench", name), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(map(str, words))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def process_status(node):
    """Memory in MiB and voluntary switches: each is one wake-up of a thread."""
    with open(f"/proc/{node.process.pid}/status") as text:
        fields = dict(line.split(":", 1) for line in text if ":" in line)
    wakeups = 0
    for task in os.listdir(f"/proc/{node.process.pid}/task"):
        with open(f"/proc/{node.process.pid}/task/{task}/status") as text:
            wakeups += sum(int(line.split()[1]) for line in text if line.startswith("voluntary_ctxt"))
    with open(f"/proc/{node.process.pid}/stat") as text:
        ticks = sum(map(int, text.read().rsplit(")", 1)[1].split()[11:13]))
    return {"rss_mib": int(fields["VmRSS"].split()[0]) / 1024, "own_mib": int(fields["RssAnon"].split()[0]) / 1024,
            "wakeups": wakeups, "cpu_s": ticks / os.sysconf("SC_CLK_TCK")}


def middle(rows, *path):
    values = []
    for row in rows:
        for name in path:
            row = row[name]
        values.append(row)
    return statistics.median(values)


class Bench:
    def __init__(self, size, region):
        self.size, self.region = SIZES[size], region
        self.rows = []
        self.detail = {"size": size, "cores": os.cpu_count()}
        self.epoch = 0
        self.quiet = None
        self.certified = 0

    def row(self, name, value, unit, beside=None, of=None, budget=None):
        """beside: what the machine does itself; budget: a text of DESIGN's."""
        ratio = value / beside if beside else None
        self.rows.append({"name": name, "value": value, "unit": unit, "of": of, "ratio": ratio, "budget": budget})
        told = f"{name:58} {value:12,.2f} {unit:11}" if value < 100 else f"{name:58} {value:12,.0f} {unit:11}"
        told += f" {ratio:6.2f} of {of}" if ratio is not None else ""
        print(told + (f"   [budget {budget}]" if budget else ""), flush=True)

    # ---- the region
    def make_region(self):
        region = self.region
        self.nsp = region.add(NSP, "nsp", "NSP Lombok", "GM0344")
        self.cp = region.add(CP, "cp", "Coördinatiepunt")
        self.cp2 = region.add(CP2, "cp", "Tweede coördinatiepunt")
        self.desk = region.add(DESK, "desk", "Crisisstaf")
        region.admit()
        region.wire_up(self.cp, [self.nsp])  # its bytes are counted
        self.cp2.port = free_port()
        wire = region.wires[(NSP, CP)]
        extra = f"\n[store]\nlimit_mib = {STORE_MIB}\n\n[log]\nlevel = warning\n"
        self.cp.write_conf([], extra)
        self.cp2.write_conf([], extra)
        self.nsp.write_conf([(CP, wire.port), (CP2, self.cp2.port)], f"\n[route]\ndefault = {CP}, {CP2}\n" + extra)
        self.desk.write_conf([(CP, self.cp.port), (CP2, self.cp2.port)], f"\n[route]\ndefault = {CP}, {CP2}\n" + extra)
        self.key = tool("load", "key", os.path.join(self.cp.state, "identity"))["key"]
        region.start()
        for node, hubs in ((self.nsp, (CP, CP2)), (self.desk, (CP, CP2))):
            for hub in hubs:
                wait_for(f"link {node.number}-{hub}", lambda: node.link_is_up(hub), 60)
        self.certify(REGION)

    def certify(self, count):
        """So many senders have certificates, signed by the region's authority, at every node that runs."""
        if count <= self.certified:
            return
        folder = tempfile.mkdtemp(prefix="senders-", dir=self.region.folder)
        have = self.cp.get("/v1/directory")["version"]
        tool("load", "certify", self.region.authority, folder, FIRST + self.certified, count - self.certified, have + 1)
        self.certified = count
        files = sorted(os.listdir(folder))
        for name in files:  # the links bring it to the others
            with open(os.path.join(folder, name), "rb") as update:
                self.cp.call("POST", "/v1/directory", update.read())
        for node in self.region.nodes.values():
            if node.is_running():
                wait_for(f"the directory at {node.number}", lambda: node.get("/v1/directory")["version"] == have + len(files), 120)

    def load(self, what, *words):
        """The load generator against the CP, under an epoch of its own; and what it cost the CP."""
        self.epoch += 1
        before = process_status(self.cp)["cpu_s"]
        told = tool("load", what, CP, f"tcp://127.0.0.1:{self.cp.port}", self.key, FIRST, self.epoch, *words)
        if "messages" in told:
            told["cpu_us"] = (process_status(self.cp)["cpu_s"] - before) * 1e6 / told["messages"]
        return told

    # ---- the parts
    def idle(self):
        """Wake-ups, CPU and memory of nodes that have nothing to do but to be heard: an NSP with two CPs."""
        nodes = {"NSP with two CPs": self.nsp, "CP": self.cp, "desk": self.desk}
        time.sleep(min(3, self.size["idle_s"]))  # what starting began has ended
        before = {name: process_status(node) for name, node in nodes.items()}
        moments, seen = dict.fromkeys(nodes, 0), {name: status["wakeups"] for name, status in before.items()}
        end = time.monotonic() + self.size["idle_s"]
        while time.monotonic() < end:
            time.sleep(MOMENT_S)
            for name, node in nodes.items():
                now = process_status(node)["wakeups"]
                moments[name] += now > seen[name]
                seen[name] = now
        for name, node in nodes.items():
            now = process_status(node)
            self.row(f"idle {name}: wake-ups", moments[name] * 60 / self.size["idle_s"], "a minute", budget="< 10" if node is self.nsp else None)
            self.row(f"idle {name}: switches of all threads", (now["wakeups"] - before[name]["wakeups"]) * 60 / self.size["idle_s"], "a minute")
            self.row(f"idle {name}: CPU", (now["cpu_s"] - before[name]["cpu_s"]) * 60000 / self.size["idle_s"], "ms/minute")
            self.row(f"idle {name}: RSS", now["rss_mib"], "MiB", budget="<= 12" if node is self.nsp else None)
            self.row(f"idle {name}: RSS without files", now["own_mib"], "MiB")

    def bytes(self):
        """On the wire between NSP and CP, both ways, for a call that goes on to the desk and is signed for."""
        wire = self.region.wires[(NSP, CP)]
        count = max(4, self.size["samples"] // 10)
        quiet = wire.passed
        time.sleep(1)
        quiet = wire.passed - quiet
        begin, since = wire.passed, time.monotonic()
        for _ in range(count):
            identifier = self.nsp.send("emergency-call", [DESK], CALL)
            wait_for(f"receipt of {identifier}", lambda: self.nsp.told(identifier)[DESK] == "DELIVERED", 30)
        spent = wire.passed - begin - quiet * (time.monotonic() - since)
        self.row("noodhulpmelding NSP to CP, with its receipt, one by one", spent / count, "bytes")
        begin = wire.passed
        sent = [self.nsp.send("emergency-call", [DESK], CALL) for _ in range(count)]
        wait_for("receipts", lambda: all(self.nsp.told(identifier)[DESK] == "DELIVERED" for identifier in sent), 60)
        self.row("noodhulpmelding NSP to CP, with its receipt, together", (wire.passed - begin) / count, "bytes")

    def rate(self):
        """Runs of cpd between runs of the machine, so that both see the same noise."""
        self.nsp.stop()
        self.cp2.stop()
        seconds, messages = self.size["machine_s"], self.size["messages"]
        runs = []
        folder = os.path.join(self.region.folder, "machine")
        for _ in range(self.size["repeats"]):
            os.makedirs(folder)
            runs.append({"verify": tool("machine", "verify", seconds), "commit": tool("machine", "commit", seconds, folder),
                         "curve": tool("machine", "curve", seconds),
                         "one": self.load("rate", CP, 1, messages // 2, "ROUTINE"), "many": self.load("rate", CP, SENDERS, messages, "ROUTINE"),
                         "through": self.load("rate", DESK, SENDERS, messages // 2, "ROUTINE"), "verify again": tool("machine", "verify", seconds)})
            shutil.rmtree(folder)
        self.detail["rate"] = runs
        verify_one = statistics.median([run[name]["one_core"] for run in runs for name in ("verify", "verify again")])
        verify_all = statistics.median([run[name]["all_cores"] for run in runs for name in ("verify", "verify again")])
        self.row("machine: Ed25519 verifications, one core", verify_one, "a second")
        self.row("machine: Ed25519 verifications, all cores", verify_all, "a second")
        self.row("machine: LMDB synced commits of one message", middle(runs, "commit", "commits_of_one"), "a second")
        self.row("machine: LMDB messages in synced commits of 256", middle(runs, "commit", "messages_in_groups"), "a second")
        self.row("machine: ZeroMQ+CURVE acknowledged, one at a time", middle(runs, "curve", "one_at_a_time"), "a second")
        self.row("machine: ZeroMQ+CURVE acknowledged, window of 240", middle(runs, "curve", "window"), "a second")
        for name, key, of in (("NSP to CP, 1 sender: acknowledged after sync", "one", "acked_per_s"),
                              ("NSP to CP, 100 senders: acknowledged after sync", "many", "acked_per_s"),
                              ("NSP to CP, 100 senders: receipt signed and back", "many", "signed_per_s"),
                              ("NSP to CP to desk, 100 senders: receipt signed and back", "through", "signed_per_s")):
            self.row(name, middle(runs, key, of), "a second", verify_one, "verify, one core", ">= 0.8" if key == "many" and of == "acked_per_s" else None)
        cpu_us = statistics.median([run[name]["cpu_us"] for run in runs for name in ("verify", "verify again")])
        self.row("machine: processor time of one Ed25519 verification", cpu_us, "us")
        for name, key in (("CP: processor time a message, 1 sender", "one"), ("CP: processor time a message, 100 senders", "many"),
                          ("CP: processor time a message to the desk, 100 senders", "through")):
            self.row(name, middle(runs, key, "cpu_us"), "us", cpu_us, "one verification")

    def latency_rows(self, when, told):
        for precedence in PRECEDENCES:
            row = told[precedence]
            self.row(f"{when}: {precedence} acknowledged by the CP, p50", row["ack_p50_ms"], "ms")
            self.row(f"{when}: {precedence} acknowledged by the CP, p99", row["ack_p99_ms"], "ms")
            if when == "idle" or precedence != "ROUTINE":
                self.row(f"{when}: {precedence} signed for by the desk, p50", row["signed_p50_ms"], "ms")
                self.row(f"{when}: {precedence} signed for by the desk, p99", row["signed_p99_ms"], "ms")

    def latency(self):
        self.quiet = self.load("latency", DESK, self.size["samples"], GAP_MS)
        self.detail["latency idle"] = self.quiet
        self.latency_rows("idle", self.quiet)

    def links(self):
        """Memory of a CP by the number of links that are up."""
        self.desk.stop()
        self.cp.stop()
        self.cp.start()
        none = process_status(self.cp)
        self.row("CP without links: RSS", none["rss_mib"], "MiB")
        for count in self.size["links"]:
            self.certify(count)
            self.epoch += 1
            holder = subprocess.Popen([os.path.join(BUILD, "test", "bench", "load"), "links", str(CP), f"tcp://127.0.0.1:{self.cp.port}", self.key,
                                       str(FIRST), str(self.epoch), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            told = holder.stdout.readline()
            if not told or json.loads(told)["up"] != count:
                holder.wait(30)
                raise RuntimeError(f"{count} links did not come up")
            time.sleep(1)
            now = process_status(self.cp)
            self.row(f"CP with {count} links: RSS", now["rss_mib"], "MiB", budget="<= 64" if count == 500 else None)
            self.row(f"CP with {count} links: RSS without files, a link", (now["own_mib"] - none["own_mib"]) * 1024 / count, "KiB")
            holder.stdin.close()
            holder.wait(60)

    def ready_s(self):
        begin = time.monotonic()
        self.cp.start(wait=False)
        wait_for("answer", self.cp.is_ready, 120, step=0.002)
        return time.monotonic() - begin

    def backlog(self):
        """A CP that holds as many messages for a desk that was away, is killed, and then sends them while others pass."""
        count = self.size["backlog"]
        if not self.quiet:
            self.latency()
        self.desk.stop()
        self.cp.stop()
        self.epoch += 1
        made = tool("backlog", self.cp.conf, FIRST, SENDERS, self.epoch, DESK, count)
        self.detail["backlog made in s"] = made["seconds"]
        self.row("messages queued for a desk that is away", made["messages"], "messages")
        self.row("of these put into custody, signatures apart", made["messages"] / made["seconds"], "a second")
        begin = time.monotonic()
        check = subprocess.run([os.path.join(BUILD, "cpd"), "--check-store", self.cp.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)
        if check.returncode:
            raise RuntimeError(f"the store is not sound: {check.stdout[-2000:]}")
        self.row("cpd --check-store of it", time.monotonic() - begin, "s")
        self.ready_s()
        self.row("CP with the backlog, just started: RSS", process_status(self.cp)["rss_mib"], "MiB")
        times = []
        for _ in range(self.size["repeats"]):
            self.cp.kill(signal.SIGKILL)
            times.append(self.ready_s())
        self.detail["ready after SIGKILL, s"] = times
        self.row("ready after SIGKILL with the backlog", statistics.median(times), "s", budget="<= 1")
        self.desk.start()
        wait_for("link desk-CP", lambda: self.desk.link_is_up(CP), 60)
        inbox = self.desk.get("/v1/status")["counters"]["taken"]
        begin = time.monotonic()
        behind = self.load("latency", DESK, self.size["samples"], GAP_MS)
        self.detail["latency behind"] = behind
        taken = self.desk.get("/v1/status")["counters"]["taken"] - inbox
        self.row("desk takes of the backlog meanwhile", taken / (time.monotonic() - begin), "a second")
        self.latency_rows("backlog", behind)
        self.row("FLASH signed for by the desk, p99: backlog against idle", behind["FLASH"]["signed_p99_ms"] / max(self.quiet["FLASH"]["signed_p99_ms"], 0.01), "times", budget="<= 2")
        self.row("CP with the backlog: RSS", process_status(self.cp)["rss_mib"], "MiB")
        self.row("CP with the backlog: RSS without files", process_status(self.cp)["own_mib"], "MiB")


def main():
    words = sys.argv[1:]
    path = os.path.join(BUILD, "bench.json")
    if "--json" in words[:-1]:
        path = words.pop(words.index("--json") + 1)
        words.remove("--json")
    if not words or words[0] not in SIZES or set(words[1:]) - set(PARTS):
        sys.exit(__doc__)
    size, parts = words[0], words[1:] or PARTS
    folder = tempfile.mkdtemp(prefix="cpd-bench-")
    region = Region(folder)
    bench = Bench(size, region)
    begin = time.monotonic()
    is_whole = False
    try:
        bench.make_region()
        for part in PARTS:
            if part in parts:
                print(f"-- {part}", flush=True)
                getattr(bench, part)()
        is_whole = True
    finally:
        region.close()
        if is_whole:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"the nodes' logs are kept in {folder}")
    bench.detail["seconds"] = time.monotonic() - begin
    with open(path, "w") as out:
        json.dump({"rows": bench.rows, **bench.detail}, out, indent=1)
    print(f"{len(bench.rows)} rows in {time.monotonic() - begin:.0f} s, also in {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
