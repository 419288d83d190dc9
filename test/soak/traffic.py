"""Who writes and who reads in the soak test: an author, a reader and a follower of events at each node. They speak to
the API only, and go on asking whatever happens to the node."""
import http.client
import json
import random
import threading
import time

from harness import Refused, UnixConnection
from ledger import Entry

GROUP = "alle-nsp"
NO_ANSWER = (OSError, http.client.HTTPException, ValueError)   # killed, cut off in the middle, too late
POINTS = ("people", "means", "connections", "communication", "logistics", "society")


class Worker(threading.Thread):
    def __init__(self, soak, node):
        super().__init__(daemon=True, name=f"{type(self).__name__} {node.number}")
        self.soak, self.node, self.ledger, self.number = soak, node, soak.ledger, node.number
        self.random = random.Random(f"{soak.seed} {type(self).__name__} {node.number}")

    def run(self):
        try:
            self.work()
        except Exception as why:
            import traceback
            self.ledger.wrong(f"the test itself: {self.name}: {why!r}\n{traceback.format_exc()}")


class Author(Worker):
    """Writes messages of every kind and precedence that its role may, each with a key, until it is answered."""

    def __init__(self, soak, node):
        super().__init__(soak, node)
        self.count = self.persons = self.refusals = self.again = 0
        self.last = []              # ids of texts that a later one may supersede
        self.waiting = None         # (key, since) of a message without an answer

    def choose_to(self, roles):
        others = [node.number for node in self.soak.region.nodes.values() if node.role in roles and node.number != self.number]
        return self.random.sample(others, min(len(others), self.random.choice([1, 1, 1, 2])))

    def line(self, most=120):
        return f"{self.number} nr {self.count} " + "x" * self.random.randint(0, most)

    def text(self):
        options, may_end, chance = {}, False, self.random.random()
        if chance < 0.04:
            options["lifetime_s"], may_end = 60, True
        elif chance < 0.08 and self.last:
            options["supersedes"] = self.last.pop()
        elif chance < 0.12:
            may_end = "withdraw"
        size = self.random.choice([0, 0, 60, 60, 300, 300, 1900])
        body = {"text": f"{self.number} nr {self.count} " + self.random.choice("abcé€") * size}
        if self.node.role != "nsp" and chance > 0.85:
            return "text", [GROUP], body, options, may_end
        return "text", self.choose_to(["nsp", "cp", "desk"]), body, options, may_end

    def report(self):
        points = {name: {"colour": self.random.choice(["GREEN", "AMBER", "RED"]), "text": self.line()} for name in POINTS}
        body = {"number": self.count % 9999 + 1, "version": 1, "from_ms": 28270000000, "to_ms": 28284400000, "core": self.line(),
                "drawn_up_by": "locatieleider", **points}
        return "situation-report", self.choose_to(["cp", "desk"]), body, {}, False

    def call_for_help(self):
        body = {"number": self.count % 9999 + 1, "services": 4, "nature": "MEDICAL", "postcode": "3531GH", "house_number": "112",
                "persons": 1, "hazards": self.line(), "caller_waits": True}
        return "emergency-call", self.choose_to(["desk"]), body, {}, False

    def progress(self):
        return "emergency-progress", self.choose_to(["nsp"]), {"step": "DISPATCHED", "text": self.line()}, {}, False

    def instruction(self):
        to = [GROUP] if self.random.random() < 0.2 else self.choose_to(["nsp"])
        level = self.random.choice(["READ", "ACCEPTED", "DONE"])
        body = {"number": self.count % 9999 + 1, "on_behalf_of": "Crisisstaf", "what": self.line(), "why": self.line(400),
                "by_when_ms": 28300000000, "required_level": f"REQUIRED_{level}"}
        return "instruction", to, body, {}, False

    def say_state(self):
        """A state: the last one counts. It goes by hand, for it has neither row nor receipt."""
        body = {"phase": "OPEN", "persons": self.persons + 1, "staff_present": 6, "staff_needed": 6, "power": "BATTERY",
                "autonomy_min": 420, "safety": "GREEN"}
        identifier = self.ask("nsp-status", self.soak.observers, body, {}, f"{self.number}-s-{self.persons + 1}")
        if identifier:
            with self.ledger.lock:
                self.ledger.states.add(identifier)
            self.persons += 1
            self.soak.persons[self.number] = self.persons

    def ask(self, kind, to, body, options, key):
        """Asks until there is an answer. None: the test ends first, or refused for good."""
        self.waiting = (key, time.monotonic())
        try:
            while not self.soak.over.is_set():
                try:
                    return self.node.send(kind, to, body, key=key, **options)
                except Refused as why:
                    if why.status != 503:
                        self.ledger.wrong(f"{self.number}: a {kind} was refused: {why}")
                        return None
                    self.refusals += 1
                except NO_ANSWER:
                    self.again += 1
                time.sleep(self.random.uniform(0.2, 0.6))
            return None
        finally:
            self.waiting = None

    def choose(self):
        texts = [self.text] * 6
        if self.node.role == "nsp":
            return self.random.choice([*texts, self.report, self.call_for_help, self.call_for_help])
        if self.node.role == "desk":
            return self.random.choice([*texts, self.progress, self.instruction, self.instruction])
        return self.random.choice([*texts, self.report, self.progress, self.instruction])

    def write(self):
        self.count += 1
        kind, to, body, options, may_end = self.choose()()
        recipients = sorted(self.soak.members if to == [GROUP] else to)
        if kind == "text" or self.random.random() < 0.2:
            options["precedence"] = self.random.choice(["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"])
        options["mode"] = self.random.choice(["REAL", "REAL", "EXERCISE", "TEST"])
        key = f"{self.number}-{self.count}"
        identifier = self.ask(kind, to, body, options, key)
        if not identifier:
            return
        entry = Entry(identifier, self.number, kind, recipients, body, key, bool(may_end))
        if "supersedes" in options:
            with self.ledger.lock:
                old = self.ledger.entries.get(options["supersedes"])
                if old:
                    old.may_end = True
        self.ledger.taken(entry)
        if may_end == "withdraw":
            self.act_now(identifier, "withdraw")
        elif kind == "text" and not may_end and self.random.random() < 0.1:
            self.last = self.last[-3:] + [identifier]
        if self.random.random() < 0.05:   # who saw no answer asks again, here an hour's worth of trouble later or at once
            again = self.ask(kind, to, body, options, key)
            if again and again != identifier:
                self.ledger.wrong(f"the key {key} was answered with {identifier}, and then with {again}")

    def act_now(self, identifier, what):
        try:
            self.node.act(identifier, what)
        except (Refused, *NO_ANSWER):
            pass    # closed already, or no answer: either end is right

    def work(self):
        while not self.soak.over.is_set():
            self.soak.over.wait(self.random.expovariate(1 / self.soak.pause_s))
            if self.soak.quiet.is_set():
                if self.soak.over.wait(0.2):
                    return
            elif self.node.role == "nsp" and self.random.random() < 0.12:
                self.say_state()
            else:
                self.write()


class Reader(Worker):
    """The people at a node: read what came, act on it, and ask what became of what was written here."""

    def __init__(self, soak, node):
        super().__init__(soak, node)
        self.after, self.acts, self.states, self.epoch = 0, [], {}, None
        self.unread_bodies = []     # rows whose author was not answered yet

    def work(self):
        while not self.soak.over.is_set():
            self.soak.over.wait(self.random.uniform(0.7, 1.3))
            try:
                self.turn()
            except NO_ANSWER:
                pass
            except Refused as why:
                if why.status != 503:
                    self.ledger.wrong(f"{self.number} was refused: {why}")

    def turn(self):
        with self.ledger.lock:
            claims = set(self.ledger.claims[self.number])
        while True:
            page = self.node.get(f"/v1/inbox?limit=200&after={self.after}")
            for message in page["messages"]:
                self.shown(message)
                self.after = max(self.after, message["counter"])
            if page["next"] is None:
                break
        self.ledger.proved(self.number, claims)
        self.look_into()
        self.act()
        self.follow()
        self.status()

    def shown(self, message):
        self.ledger.row(self.number, message)
        self.unread_bodies.append(message["id"])
        kind = message["kind"]
        if kind == "emergency-call":
            acts = ["read", "accept", "done"]
        elif kind == "instruction":
            acts = self.random.choice([["read", "accept", "done"], ["accept", "done"], ["read", "refuse"]])
        else:
            acts = self.random.choice([[], [], ["read"]])
        self.acts += [(message["id"], what) for what in acts]

    def look_into(self):
        """Every message once: the words are those that were written."""
        later = []
        for identifier in self.unread_bodies:
            with self.ledger.lock:
                entry = self.ledger.entries.get(identifier)
            if entry is None:
                later.append(identifier)
                continue
            if self.soak.sizes.get(identifier) and self.random.random() < 0.5:
                continue
            got = self.node.show(identifier)
            body = got["body"] or {}
            self.soak.sizes[identifier] = got["body_bytes"]
            if any(body.get(name) != value for name, value in entry.body.items()):
                self.ledger.wrong(f"{identifier} has other words at {self.number}")
        self.unread_bodies = later

    def act(self):
        acts, self.acts = self.acts, []
        while acts:
            identifier, what = acts[0]
            try:
                answer = self.node.act(identifier, what, **({"remark": "kan niet"} if what == "refuse" else {}))
            except (Refused, *NO_ANSWER) as why:
                self.acts += acts
                if isinstance(why, Refused) and why.status != 503:
                    self.acts.pop(0)
                    self.ledger.wrong(f"{self.number} could not {what} {identifier}: {why}")
                raise
            acts.pop(0)
            with self.ledger.lock:
                entry = self.ledger.entries.get(identifier)
                if entry:
                    entry.acted[self.number] = answer["level"]

    def follow(self):
        for entry in self.ledger.open_of(self.number, 50):
            try:
                self.ledger.told_levels(entry, self.node.trace(entry.id))
            except Refused as why:
                if why.status != 404:
                    raise
                self.ledger.gone(entry)

    def status(self):
        status = self.node.get("/v1/status")
        epoch = status["node"]["epoch"]
        if self.epoch not in (None, epoch):
            self.ledger.wrong(f"{self.number} went from epoch {self.epoch} to {epoch}, and no disk was lost")
        self.epoch = epoch
        self.soak.waiting[self.number] = sum(queue["depth"] for link in [*status["links"], {"queue": status["unrouted"]}]
                                             for queue in link["queue"].values())
        for nsp in status["nsps"] if self.number in self.soak.observers else ():
            persons, before = nsp.get("persons"), self.states.get(nsp["number"], 0)
            if persons is None:
                if self.states.pop(nsp["number"], None):
                    self.ledger.wrong(f"{self.number} has forgotten the state of {nsp['number']}")
            elif persons < before:
                self.ledger.wrong(f"{self.number} shows a state of {nsp['number']} with {persons} persons after one with {before}")
            else:
                self.states[nsp["number"]] = persons


class Follower(Worker):
    """Reads the events, goes on behind the last one, and counts that none is left out or comes twice."""

    def __init__(self, soak, node):
        super().__init__(soak, node)
        self.last = 0

    def work(self):
        while not self.soak.over.is_set():
            connection = UnixConnection(self.node.socket, 60)
            try:
                self.read(connection)
            except NO_ANSWER:
                self.soak.over.wait(0.5)
            finally:
                connection.close()

    def read(self, connection):
        connection.request("GET", f"/v1/events?after={self.last}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(answer.status)
        event = {}
        while not self.soak.over.is_set():
            line = answer.readline()
            if not line:
                raise OSError("ended")
            if not line.endswith(b"\n"):
                return
            line = line.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            if "id" in event and "data" in event:
                self.take(int(event["id"]), event.get("event"), json.loads(event["data"]))
            event = {}

    def take(self, number, what, data):
        if what == "gap":
            self.ledger.wrong(f"the events of {self.number} have a gap: {data}")
        elif number != self.last + 1:
            self.ledger.wrong(f"the events of {self.number} go from {self.last} to {number}")
        self.last = number
        self.soak.events += 1
        if data.get("id"):
            self.ledger.event(self.number, what, data["id"])
