"""The soak test's own book: every id that an author was answered with, every row that an addressee was shown, every
level that an author was told. It knows nothing of cpd's inside, and says what does not add up."""
import threading
import time

RANK = {"NONE": 0, "UNDELIVERABLE": 1, "EXPIRED": 2, "SUPERSEDED": 3, "WITHDRAWN": 4, "DELIVERED": 5, "READ": 6,
        "NOT_UNDERSTOOD": 7, "REFUSED": 8, "ACCEPTED": 9, "DONE": 10}   # PROTOCOL.md 6.2
SIGNED = RANK["DELIVERED"]
ENDS = {"EXPIRED", "SUPERSEDED", "WITHDRAWN"}   # the origin's own decisions


def closes(level, closing):
    return level in ("REFUSED", "NOT_UNDERSTOOD") or RANK[level] >= max(SIGNED, RANK[closing])


class Entry:
    """One message that was taken."""

    def __init__(self, identifier, author, kind, recipients, body, key, may_end):
        self.id, self.author, self.kind, self.recipients, self.body, self.key = identifier, author, kind, recipients, body, key
        self.may_end = may_end            # it has a short life, was withdrawn or superseded: NONE must still become an end
        self.taken = self.asked = time.monotonic()
        self.levels = dict.fromkeys(recipients, "NONE")
        self.acted = {}                   # recipient -> the furthest level that a person there was answered with
        self.closed = self.released = False
        self.hash = None

    def behind(self):
        """People did more than its author knows; its author's node still has it."""
        return not self.released and any(RANK[self.levels[number]] < RANK[level] for number, level in self.acted.items())


class Ledger:
    def __init__(self, numbers, grace_s, say):
        self.lock = threading.RLock()
        self.entries = {}
        self.shown = {number: {} for number in numbers}     # node -> id -> hash
        self.told = {number: set() for number in numbers}   # node -> ids of its delivered-here events
        self.claims = {number: set() for number in numbers} # ids of which an author was told that this node has them
        self.unknown = {}                                   # (node, id) shown before its author was answered
        self.states = set()                                 # ids of states: they go to no inbox
        self.violations, self.grace_s, self.say = [], grace_s, say
        self.unanswered = 0                                 # authors that wait for an answer now
        self.deliveries = self.levels_seen = 0

    def wrong(self, what):
        with self.lock:
            self.violations.append(what)
            if len(self.violations) <= 50:
                self.say(f"VIOLATION {what}")

    # ---- authors
    def taken(self, entry):
        with self.lock:
            if entry.id in self.entries:
                self.wrong(f"{entry.id} was given to two messages: {self.entries[entry.id].key} and {entry.key}")
                return
            self.entries[entry.id] = entry
            for number in list(self.shown):
                if self.unknown.pop((number, entry.id), None) is not None and number not in entry.recipients:
                    self.wrong(f"{entry.id} is shown at {number}, to whom it was not sent")

    def open_of(self, number, many):
        """Those of which more is to be told, the longest unasked first."""
        with self.lock:
            found = [entry for entry in self.entries.values() if entry.author == number and (not entry.closed or entry.behind())]
        return sorted(found, key=lambda entry: entry.asked)[:many]

    def told_levels(self, entry, trace):
        """What a trace at the author says of it."""
        with self.lock:
            entry.asked = time.monotonic()
            told = {recipient["node"]: recipient["level"] for recipient in trace["recipients"]}
            if set(told) != set(entry.recipients):
                self.wrong(f"{entry.id} has the recipients {sorted(told)}, and was sent to {sorted(entry.recipients)}")
            for number in entry.recipients:
                level, before = told.get(number, "NONE"), entry.levels[number]
                if RANK[level] < RANK[before]:
                    self.wrong(f"{entry.id}: the level of {number} went back from {before} to {level}")
                elif level != before:
                    self.levels_seen += 1
                    entry.levels[number] = level
                if RANK[level] >= SIGNED:
                    self.claims[number].add(entry.id)
            if trace["closed"] and not entry.closed:
                entry.closed = True
                for number, level in entry.levels.items():
                    if not closes(level, trace["closing_level"]) and level not in ENDS:
                        self.wrong(f"{entry.id} is closed, and {number} stands at {level}")

    def gone(self, entry):
        """The author's node does not know it any more."""
        with self.lock:
            since = time.monotonic() - entry.asked
            if not entry.closed and since < self.grace_s * 0.9:
                self.wrong(f"{entry.id} was open {since:.0f} s ago, and its author's node has forgotten it")
            entry.closed = entry.released = True

    # ---- addressees
    def row(self, number, message):
        """A row of an inbox that was not read before. Returns its entry when the author was answered already."""
        identifier = message["id"]
        with self.lock:
            entry = self.entries.get(identifier)
            if identifier in self.shown[number]:
                self.wrong(f"{identifier} is shown twice at {number}")
                return None
            self.shown[number][identifier] = message["hash"]
            self.deliveries += 1
            if entry is None:
                self.unknown[(number, identifier)] = time.monotonic()
                return None
            if number not in entry.recipients:
                self.wrong(f"{identifier} is shown at {number}, to whom it was not sent")
            if entry.hash not in (None, message["hash"]):
                self.wrong(f"{identifier} has other bytes at {number}: {message['hash']}, not {entry.hash}")
            entry.hash = message["hash"]
            return entry

    def whole_inbox(self, number, messages, before):
        """before: what had been shown when the inbox was asked for; more may have come while it was read."""
        ids = [message["id"] for message in messages]
        with self.lock:
            if len(ids) != len(set(ids)):
                self.wrong(f"the inbox of {number} has {len(ids) - len(set(ids))} rows twice")
            for lost in sorted(before - set(ids))[:5]:
                self.wrong(f"{lost} was shown at {number}, and is not there any more")

    def event(self, number, what, identifier):
        if what != "delivered-here":
            return
        with self.lock:
            if identifier in self.told[number]:
                self.wrong(f"{identifier} was announced twice at {number}")
            self.told[number].add(identifier)

    def proved(self, number, claims):
        """After an inbox was read to its end: what its authors had been told before must be in it."""
        with self.lock:
            for identifier in claims - set(self.shown[number]):
                self.wrong(f"the author of {identifier} was told that {number} has it, and it has not")
            self.claims[number] -= claims

    # ---- judgement
    def due(self, before):
        """What is still owed of all that was taken before that moment: a text for each."""
        with self.lock:
            owed = []
            for entry in self.entries.values():
                if entry.taken > before:
                    continue
                for number in entry.recipients:
                    if entry.id in self.shown[number]:
                        continue
                    level = entry.levels[number]
                    if entry.may_end and (level in ENDS or entry.released):
                        continue
                    owed.append(f"{entry.id} ({entry.kind} of {entry.author}) is not at {number}; its author was told {level}")
            return owed

    def unclosed(self):
        """When all is quiet: those whose author was not told an end."""
        with self.lock:
            return [f"{entry.id} ({entry.kind} of {entry.author}) is open, or its author knows too little: {entry.levels}, done by people: {entry.acted}"
                    for entry in self.entries.values() if not entry.closed or entry.behind()]

    def finish(self):
        with self.lock:
            for number, identifier in self.unknown:
                self.wrong(f"{identifier} is shown at {number}, and no author was answered with it")
            for number, shown in self.shown.items():
                for identifier in sorted(set(shown) - self.told[number])[:5]:
                    self.wrong(f"{identifier} is shown at {number}, and its events never said so")
                for identifier in sorted(self.told[number] - set(shown) - self.states)[:5]:
                    self.wrong(f"{identifier} was announced at {number}, and is not in its inbox")
