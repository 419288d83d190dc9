"""What each process uses, sampled, and whether it stays flat: memory, descriptors, threads, and the store held against
what it should hold."""
import os
import re
import statistics
import threading
import time

WARM_UP = 0.3                 # of a process's life, in which it may grow
SAMPLES = 10                  # after that; fewer say nothing
MEMORY_BYTES = 3 << 20        # what a process may grow by after its warm-up, by its slope
DESCRIPTORS = 12              # a CP has one more for each link that is up again
THREADS = 2
# The store, in bytes: LMDB fills its pages half at worst.
PAGE = 4096
ROW = {"custody": 420, "envelopes": 700, "inbox": 260, "receipts": 520, "authored": 120, "journal": 150, "queue": 200,
       "leaves": 8192, "directory": 16384}
FILL = 2.0
BASE = 2 << 20


def proc_status(pid):
    with open(f"/proc/{pid}/status") as text:
        found = dict(line.split(":", 1) for line in text if ":" in line)
    return {"rss": int(found["VmRSS"].split()[0]) << 10, "memory": int(found["RssAnon"].split()[0]) << 10, "threads": int(found["Threads"])}


def slope(points):
    """Theil and Sen: the median of the slopes of all pairs; a few odd samples do not move it."""
    return statistics.median((y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1:] if x2 > x1)


def growth(points):
    """(per second, over the time after the warm-up); None: too few."""
    begin = points[0][0] + (points[-1][0] - points[0][0]) * WARM_UP
    late = [point for point in points if point[0] >= begin]
    if len(late) < SAMPLES:
        return None
    per_s = slope(late)
    return per_s, per_s * (late[-1][0] - late[0][0])


class Gauges(threading.Thread):
    def __init__(self, soak, every_s):
        super().__init__(daemon=True)
        self.soak, self.every_s = soak, every_s
        self.lives = {}     # (node, pid) -> what -> [(s, value)]
        self.store = {}     # node -> [(s, used bytes, file bytes)]
        self.begin = time.monotonic()

    def run(self):
        while not self.soak.over.wait(self.every_s):
            for node in self.soak.region.nodes.values():
                self.sample(node)

    def sample(self, node):
        process = node.process
        if process is None or process.poll() is not None:
            return
        now = time.monotonic() - self.begin
        try:
            with open(f"/proc/{process.pid}/comm") as text:
                if text.read().strip() != "cpd":
                    return     # env or strace before it
            values = proc_status(process.pid)
            values["descriptors"] = len(os.listdir(f"/proc/{process.pid}/fd"))
        except (OSError, KeyError):
            return
        life = self.lives.setdefault((node.number, process.pid), {})
        for what, value in values.items():
            life.setdefault(what, []).append((now, value))
        try:
            used = node.get("/v1/status", 5)["store"]["used_bytes"]
            self.store.setdefault(node.number, []).append((now, used, os.path.getsize(os.path.join(node.state, "store", "data.mdb"))))
        except Exception:      # it may be down; the next sample tells
            pass

    def longest(self, number):
        lives = [life for (node, _), life in self.lives.items() if node == number]
        return max(lives, key=lambda life: len(life["memory"]), default=None)

    def judge(self):
        """(lines of the table, what is wrong)."""
        rows, wrong = [], []
        for (number, pid), life in sorted(self.lives.items()):
            for what, most in (("memory", MEMORY_BYTES), ("descriptors", DESCRIPTORS), ("threads", THREADS)):
                grew = growth(life[what])
                if grew and grew[1] > most:
                    wrong.append(f"{what} of {number} (process {pid}) grew by {grew[1]:.0f} after its warm-up, at {grew[0] * 3600:.0f} an hour; {most} is allowed")
        for number in self.soak.region.nodes:
            life = self.longest(number)
            if not life:
                continue
            grew = growth(life["memory"])
            used = self.store.get(number, [(0, 0, 0)])
            rows.append({
                "node": number, "lives": sum(node == number for node, _ in self.lives),
                "longest_s": round(life["memory"][-1][0] - life["memory"][0][0]), "samples": len(life["memory"]),
                "rss_max": max(value for _, value in life["rss"]), "memory_first": life["memory"][0][1], "memory_last": life["memory"][-1][1],
                "memory_per_hour": round(grew[0] * 3600) if grew else None,
                "descriptors_max": max(value for _, value in life["descriptors"]), "descriptors_last": life["descriptors"][-1][1],
                "threads_max": max(value for _, value in life["threads"]),
                "store_used": used[-1][1], "store_file": used[-1][2]})
        return rows, wrong


def rows_of(node):
    """Rows of each table, by the node's own count."""
    return {name: int(float(value)) for name, value in re.findall(r'cpd_store_rows\{table="(\w+)"\} (\S+)', node.text("/metrics")[1])}


def rounded(size):
    """A value above a quarter of a page may take pages of its own."""
    return size if size < PAGE // 4 else (size + PAGE - 1) // PAGE * PAGE


def judge_store(soak, node, rows, used):
    """When all is closed and the grace over: only what the inbox keeps, and the journal, may be there. What is wrong."""
    wrong = []
    shown = len(soak.ledger.shown[node.number])
    own = sum(entry.author == node.number for entry in soak.ledger.entries.values())
    most = {"queue": 0, "leaves": 0, "inbox": shown, "envelopes": shown + 2 * len(soak.region.nodes)}
    for table, limit in most.items():
        if rows.get(table, 0) > limit:
            wrong.append(f"{node.number} holds {rows[table]} rows of {table}, and {limit} are explained")
    bodies = sum(rounded(soak.sizes.get(identifier, 0) + 200) for identifier in soak.ledger.shown[node.number])
    explained = BASE + FILL * (bodies + sum(ROW.get(table, 300) * count for table, count in rows.items()))
    if used > explained:
        wrong.append(f"the store of {node.number} uses {used} bytes, and {explained:.0f} are explained")
    return wrong, explained, own
