"""The faults of the soak test: each has a target, takes it, spoils it for a while, and mends it. Several go at once, one
at a target. What faults there are, at what and for how long follows from the seed; when exactly does not."""
import collections
import os
import random
import signal
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import BUILD, Refused, wait_for
from ledger import Entry
from traffic import NO_ANSWER

FAULTS_SO = os.path.abspath(os.path.join(BUILD, "test", "crash", "faults.so"))
HOOKS_SO = os.path.abspath(os.path.join(BUILD, "test", "soak", "hooks.so"))
AT_ONCE = 4
HOUR, DAY = 3600, 86400
FULL_MIB = 16
FULL_WORDS = "🚨" * 1900


class Machine:
    """What stands under one node: its disk, its clock, and who starts it again."""

    def __init__(self, node, leak=None):
        self.node = node
        self.disk, self.clock = os.path.join(node.folder, "fault"), os.path.join(node.folder, "clock")
        self.set_clock(0)
        self.wrapper = ["env", f"LD_PRELOAD={HOOKS_SO}:{FAULTS_SO}", f"CPD_DISK_FAULT={self.disk}", f"CPD_SOAK_CLOCK={self.clock}",
                        *([f"CPD_SOAK_LEAK={leak}"] if leak else []), *node.wrapper]
        node.wrapper = self.wrapper
        self.is_taken = False          # a fault has it: nobody else starts it
        self.may_end_until = 0         # until then it may end by itself, with 1

    def set_clock(self, offset_s):
        # Written in place: the process has it mapped.
        with open(self.clock, "r+b" if os.path.exists(self.clock) else "wb") as out:
            out.write(struct.pack("<q", int(offset_s * 1000)))

    def set_disk(self, how):
        with open(self.disk + ".new", "w") as out:
            out.write(str(how))
        os.rename(self.disk + ".new", self.disk)


class Trouble(threading.Thread):
    """Runs until the test is over; lift() ends all faults and lets none begin until resume()."""

    def __init__(self, soak):
        super().__init__(daemon=True)
        self.soak, self.region, self.random = soak, soak.region, random.Random(f"{soak.seed} trouble")
        self.machines = soak.machines
        self.count = collections.Counter()
        self.lifted = threading.Event()
        self.taken, self.lock = set(), threading.Lock()
        self.full_due = True
        self.figures = {"full": []}
        self.pool = ThreadPoolExecutor(AT_ONCE)
        self.running = set()

    # ---- the schedule
    def lift(self):
        self.lifted.set()
        wait_for("the end of all faults", lambda: not self.running, 120, 0.1)

    def resume(self):
        self.full_due = True
        self.lifted.clear()

    def pause(self, low, high):
        """As long as the fault lasts; less when all are lifted."""
        self.lifted.wait(self.random.uniform(low, high))

    def run(self):
        faults = [(self.kill, 5), (self.kill_in_call, 1), (self.terminate, 2), (self.cut, 5), (self.isolate, 2), (self.thin, 2), (self.lossy, 2),
                  (self.freeze, 2), (self.slow_disk, 2), (self.full_disk, 2), (self.broken_disk, 1), (self.set_clock, 3)]
        while not self.soak.over.wait(self.random.uniform(0.5, 3.0)):
            if self.lifted.is_set() or len(self.running) >= AT_ONCE:
                continue
            if self.full_due:
                fault, self.full_due = self.fill, False
            else:
                fault = self.random.choices([one for one, _ in faults], [weight for _, weight in faults])[0]
            mark = object()
            self.running.add(mark)
            self.pool.submit(self.guard, fault, mark)

    def guard(self, fault, mark):
        try:
            fault()
        except Exception as why:
            import traceback
            self.soak.ledger.wrong(f"the test itself: the fault {fault.__name__}: {why!r}\n{traceback.format_exc()}")
        finally:
            self.running.discard(mark)

    def take(self, choices):
        """A free one of these, taken; None: all are at work."""
        with self.lock:
            free = [one for one in choices if one not in self.taken]
            if not free or self.lifted.is_set():
                return None
            one = self.random.choice(free)
            self.taken.add(one)
            return one

    def give(self, one):
        with self.lock:
            self.taken.discard(one)

    def at_node(self, numbers, name, spoil):
        """spoil(node, machine) at one of these nodes, which nobody else touches meanwhile."""
        number = self.take(numbers)
        if number is None:
            return
        machine = self.machines[number]
        machine.is_taken = True
        try:
            if self.region.nodes[number].is_running():
                self.count[f"{name} {self.region.nodes[number].role}"] += 1
                spoil(self.region.nodes[number], machine)
        finally:
            machine.is_taken = False
            self.give(number)

    def at_wire(self, name, spoil):
        key = self.take(list(self.region.wires))
        if key is None:
            return
        self.count[name] += 1
        wire = self.region.wires[key]
        try:
            spoil(wire)
        finally:
            wire.rate, wire.delay, wire.break_every = None, 0.0, None
            wire.restore()
            wire.wires.loop.call_soon_threadsafe(wire._break)
            self.give(key)

    # ---- processes
    def kill(self):
        def spoil(node, machine):
            node.kill(signal.SIGKILL)
            self.pause(0.2, 6.0)
            node.start(wait=False)
        self.at_node(self.soak.mortals, "kill", spoil)

    def kill_in_call(self):
        """Killed by the kernel within a system call of its store."""
        def spoil(node, machine):
            call = self.random.choice(["fdatasync", "pwrite64", "writev"])
            node.kill(signal.SIGKILL)
            node.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                            "-e", f"inject={call}:signal=SIGKILL:when={self.random.randint(4, 60)}", *machine.wrapper]
            node.start(wait=False)
            self.pause(1.0, 4.0)
            node.wrapper = machine.wrapper
            node.kill(signal.SIGKILL)
            node.start(wait=False)
        self.at_node(self.soak.mortals, "kill in a call", spoil)

    def terminate(self):
        def spoil(node, machine):
            try:    # one that starts just now has not taken the signal over yet, and simply ends
                wait_for(f"answer from {node.number}", node.is_ready, 20)
            except (TimeoutError, RuntimeError):
                return
            status = node.stop()
            if status not in (0, 1) or (status == 1 and time.monotonic() > machine.may_end_until):
                self.soak.ledger.wrong(f"{node.number} was asked to stop, and ended with {status}")
            self.pause(0.2, 4.0)
            node.start(wait=False)
        self.at_node(self.soak.mortals, "stop", spoil)

    def freeze(self):
        def spoil(node, machine):
            os.kill(node.process.pid, signal.SIGSTOP)
            self.pause(1.0, 20.0)
            os.kill(node.process.pid, signal.SIGCONT)
        self.at_node(list(self.region.nodes), "freeze", spoil)

    # ---- wires
    def cut(self):
        def spoil(wire):
            wire.cut()
            self.pause(0.2, 20.0)
        self.at_wire("cut", spoil)

    def isolate(self):
        """All wires of one node: it goes on alone for a while."""
        number = self.take(list(self.region.nodes))
        if number is None:
            return
        wires = [wire for key, wire in self.region.wires.items() if number in key]
        self.count["isolate"] += 1
        for wire in wires:
            wire.cut()
        self.pause(5.0, 40.0)
        for wire in wires:     # one that another fault spoils is restored early: so be it
            wire.restore()
        self.give(number)

    def thin(self):
        def spoil(wire):
            wire.rate, wire.delay = self.random.choice([1500, 3000, 12000]), self.random.uniform(0.02, 0.5)
            wire.wires.loop.call_soon_threadsafe(wire._break)
            self.pause(10.0, 40.0)
        self.at_wire("thin", spoil)

    def lossy(self):
        def spoil(wire):
            wire.break_every = self.random.choice([5000, 20000, 60000])
            self.pause(10.0, 40.0)
        self.at_wire("lossy", spoil)

    # ---- disks
    def slow_disk(self):
        def spoil(node, machine):
            machine.set_disk(self.random.choice([50, 200, 1000]))
            self.pause(5.0, 20.0)
            machine.set_disk("")
        self.at_node(list(self.region.nodes), "slow disk", spoil)

    def spoil_disk(self, how, low, high):
        def spoil(node, machine):
            machine.may_end_until = time.monotonic() + 3600
            machine.set_disk(how)
            self.pause(low, high)
            machine.set_disk("")
            machine.may_end_until = time.monotonic() + 30
            if not node.is_running():
                node.start(wait=False)
        return spoil

    def full_disk(self):
        self.at_node(self.soak.mortals, "full disk", self.spoil_disk("ENOSPC", 1.0, 8.0))

    def broken_disk(self):
        how = self.random.choice(["EIO", "EROFS"])
        self.at_node(self.soak.mortals, f"disk {how}", self.spoil_disk(how, 0.5, 5.0))

    # ---- clocks
    def set_clock(self):
        def spoil(node, machine):
            # A clock that is called trusted is wrong by less than the lives of messages; another one by anything.
            if node.number in self.soak.doubtful:
                offset = self.random.choice([-2 * 365 * DAY, -4 * DAY, 4 * DAY, 400 * DAY, -HOUR, HOUR])
            else:
                offset = self.random.choice([-HOUR, -120, -2, 2, 120, HOUR])
            machine.set_clock(offset)
            self.pause(5.0, 40.0)
            machine.set_clock(0)
        self.at_node(list(self.region.nodes), "clock", spoil)

    # ---- a store that fills up
    def fill(self):
        """The node with the small store is alone and writes until it is refused; a FLASH is taken long after."""
        def spoil(node, machine):
            wires = [wire for key, wire in self.region.wires.items() if node.number in key]
            for wire in wires:
                wire.cut()
            begin, desk, mark = time.monotonic(), self.soak.survivors[1], self.random.randrange(1 << 30)
            taken = refused = at = 0

            def send(index, precedence):
                body = {"text": f"{node.number} vol {mark} {index} {FULL_WORDS}"}
                key = f"{node.number}-v-{mark}-{index}"
                while not self.soak.over.is_set():
                    try:
                        identifier = node.send("text", [desk], body, key=key, precedence=precedence)
                        self.soak.ledger.taken(Entry(identifier, node.number, "text", [desk], body, key, False))
                        return 1
                    except Refused as why:
                        if why.error and why.error.get("code") == "store-full":
                            return 0
                        if why.status != 503:
                            raise
                    except NO_ANSWER:
                        if not node.is_running():
                            raise
                    time.sleep(0.1)
                return 0

            try:
                with ThreadPoolExecutor(4) as people:
                    while not refused and at < 4000 and not self.lifted.is_set():
                        answers = list(people.map(lambda index: send(index, "ROUTINE"), range(at, at + 16)))
                        at += 16
                        taken += sum(answers)
                        refused += answers.count(0)
                flash = send(100000, "FLASH") if refused else None
            finally:
                for wire in wires:
                    wire.restore()
            if flash == 0:
                self.soak.ledger.wrong(f"{node.number} refused ROUTINE for space, and then a FLASH too")
            self.count["store filled up"] += bool(refused)
            self.figures["full"].append({"taken": taken, "refused": refused, "flash_taken": flash, "seconds": round(time.monotonic() - begin, 1)})
        self.at_node([self.soak.small], "fill", spoil)


class Supervisor(threading.Thread):
    """As systemd does: what has ended is started. That it ended is a violation, unless its disk was broken."""

    def __init__(self, soak):
        super().__init__(daemon=True)
        self.soak = soak
        self.restarts = 0

    def run(self):
        while not self.soak.over.wait(0.5):
            for number, node in self.soak.region.nodes.items():
                machine = self.soak.machines[number]
                if machine.is_taken or node.is_running():
                    continue
                status = node.process.returncode
                time.sleep(0.1)
                if machine.is_taken or node.is_running():
                    continue    # a fault took it meanwhile
                if status != 1 or time.monotonic() > machine.may_end_until:
                    self.soak.ledger.wrong(f"{number} ended with {status} by itself: {node.log_tail(3)}")
                self.restarts += 1
                node.start(wait=False)
