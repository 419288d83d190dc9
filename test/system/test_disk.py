#!/usr/bin/env python3
"""A disk that gives EIO, is full, is read-only or slow, under real processes: cpd takes nothing it cannot keep, says so
to the caller and in its log, loses nothing that it took, and goes on. The faults are test/crash/faults.c."""
import http.client
import os
import sys
import threading
import time

from harness import BUILD, Refused, test_region, wait_for

CP, NSP = 901, 344003
FAULTS = os.path.join(BUILD, "test", "crash", "faults.so")


class Disk:
    """The disk under one node."""

    def __init__(self, node):
        self.path = os.path.join(node.folder, "fault")
        node.wrapper = ["env", f"LD_PRELOAD={FAULTS}", f"CPD_DISK_FAULT={self.path}", *node.wrapper]

    def fails(self, how):
        with open(self.path + ".new", "w") as out:
            out.write(str(how))
        os.rename(self.path + ".new", self.path)

    def is_well(self):
        self.fails("")


class Ledger:
    """What the API took: nothing else counts, and all of it does."""

    def __init__(self, node):
        self.node, self.sent, self.count, self.lock = node, {}, 0, threading.Lock()

    def send(self, precedence="ROUTINE"):
        with self.lock:
            self.count += 1
            words = f"bericht {self.count}"
        identifier = self.node.send("text", [CP], {"text": words}, precedence=precedence)
        self.sent[identifier] = words
        return identifier

    def refused(self):
        """Status and words of a send that was refused; None when it was taken, "" when there was no answer."""
        try:
            self.send()
        except Refused as why:
            return f"{why.status} {(why.error or {}).get('message', '')}"
        except (OSError, http.client.HTTPException):
            return ""
        return None


def logged(node, words):
    with open(node.log, errors="replace") as text:
        return [line for line in text if words in line]


def all_is_there(checks, name, cp, ledger):
    def wrong():
        shown = [message["id"] for message in cp.inbox()]
        return sorted(shown) != sorted(ledger.sent) and f"{len(shown)} shown, {len(ledger.sent)} sent"
    try:
        wait_for("all messages", lambda: not wrong(), 60, 0.2)
    except TimeoutError:
        pass
    checks.check(f"{name}: all that was taken has arrived, once", not wrong(), wrong())
    checks.check(f"{name}: with its words", all(cp.show(one)["body"]["text"] == words for one, words in ledger.sent.items()))


def author_ends(checks, nsp, cp, disk, ledger, fault):
    """EIO, EROFS: the kernel may have dropped pages, so a later sync proves nothing. cpd ends and is started again."""
    disk.fails(fault)
    answer = ledger.refused()
    # No answer when a turn of the node's own met the fault first, and it ended before the call was looked at.
    checks.check(f"{fault}: the caller is not told yes, but why not", answer == "" or (answer and answer.startswith("503 ") and "disk" in answer), answer)
    status = nsp.process.wait(20)
    checks.check(f"{fault}: cpd ends with 1, to be started again", status == 1, status)
    lines = logged(nsp, "event=node-failed")
    checks.check(f"{fault}: and its log says why and the cure", lines and "cure=" in lines[-1], nsp.log_tail())
    nsp.start(wait=False)
    if fault == "EROFS":
        status = nsp.process.wait(20)
        last = nsp.log_tail(3)
        checks.check("EROFS: while it lasts cpd does not start, and names the file", status == 1 and "/store" in last and "ead-only" in last, f"{status}: {last}")
    else:
        nsp.process.wait(20)
    disk.is_well()
    check = nsp.check_store()
    checks.check(f"{fault}: the store is sound", check.returncode == 0 and ", 0 in quarantine" in check.stdout, check.stdout)
    nsp.start()
    ledger.send()
    all_is_there(checks, fault, cp, ledger)


def supervised(node, condition):
    """As systemd does: what has ended is started."""
    if not node.is_running():
        node.start(wait=False)
    return condition()


def full_disk(checks, nsp, cp, disk, ledger):
    process = nsp.process.pid
    disk.fails("ENOSPC")
    answer = ledger.refused()
    disk.is_well()
    checks.check("ENOSPC: the caller is told no", answer and answer.startswith("503 "), answer)
    lines = logged(nsp, "event=commit-failed")
    checks.check("ENOSPC: its log says that there is no room, and the cure", lines and "no room" in lines[-1] and "make room" in lines[-1], lines[-1:])
    wait_for("room", lambda: supervised(nsp, lambda: ledger.refused() is None), 30, 0.3)
    # A machine that stood still meanwhile may have seen it fail five times.
    checks.check("ENOSPC: when there is room again it goes on, without being started again",
                 nsp.process.pid == process or len(logged(nsp, "event=rebuild")) >= 5, nsp.log_tail())
    all_is_there(checks, "ENOSPC", cp, ledger)


def receiver_fails(checks, nsp, cp, disk, ledger, fault):
    """The CP cannot keep what comes: it acknowledges nothing, and the NSP keeps it."""
    disk.fails(fault)
    kept = [ledger.send() for _ in range(5)]
    if fault == "ENOSPC":
        wait_for("line of a failed commit", lambda: logged(cp, "event=rebuild"), 30)
    else:
        checks.check(f"{fault} at the receiver: it ends, to be started again", cp.process.wait(30) == 1)
    checks.check(f"{fault} at the receiver: the author knows that nothing was delivered",
                 all(level not in ("DELIVERED", "READ") for one in kept for level in nsp.told(one).values()))
    disk.is_well()
    wait_for("link", lambda: supervised(cp, lambda: cp.is_running() and cp.is_ready() and nsp.link_is_up(CP)), 60)
    all_is_there(checks, f"{fault} at the receiver", cp, ledger)


def slow_sync(checks, nsp, cp, disk, ledger):
    """Each sync takes a second. The loop does not wait for it, and a FLASH waits for no batch but the one at work."""
    done, begun = {}, {}

    def send(name, precedence):
        begun[name] = time.monotonic()
        ledger.send(precedence)
        done[name] = time.monotonic()

    disk.fails(1000)
    threads = [threading.Thread(target=send, args=(f"routine {i}", "ROUTINE"), daemon=True) for i in range(12)]
    for one in threads:
        one.start()
    wait_for("the sends to begin", lambda: len(begun) == 12, 10)
    nsp.get("/v1/status")
    checks.check("slow: the status comes while the disk is at work on what was sent", len(done) < 12, len(done))
    threads.append(threading.Thread(target=send, args=("flash", "FLASH"), daemon=True))
    threads[-1].start()
    for one in threads:
        one.join(60)
    took = done.get("flash", 0) - begun["flash"]
    checks.check("slow: all are taken", len(done) == 13, sorted(set(begun) - set(done)))
    checks.check("slow: a FLASH is not answered before its sync", took >= 1, took)
    disk.is_well()
    all_is_there(checks, "slow", cp, ledger)
    print(f"figure: with syncs of 1.0 s a FLASH behind 12 ROUTINE is answered after {took:.2f} s, "
          f"the last ROUTINE after {max(done.values()) - min(begun.values()):.2f} s")


def disk(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    region.configure()
    disks = {node: Disk(node) for node in (cp, nsp)}
    region.start()
    region.wait_for_links()
    ledger = Ledger(nsp)
    for _ in range(10):
        ledger.send()
    for fault in ("EIO", "EROFS"):
        author_ends(checks, nsp, cp, disks[nsp], ledger, fault)
    full_disk(checks, nsp, cp, disks[nsp], ledger)
    for fault in ("EIO", "ENOSPC", "EROFS"):
        receiver_fails(checks, nsp, cp, disks[cp], ledger, fault)
    slow_sync(checks, nsp, cp, disks[nsp], ledger)
    print(f"figure: {len(ledger.sent)} of {ledger.count} messages were taken, and all of these arrived")


if __name__ == "__main__":
    sys.exit(test_region("disk", disk, extra="\n[tuning]\ntime_scale = 60\n"))
