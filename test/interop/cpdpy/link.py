"""Section 7: the link with one neighbour, without I/O. Frames go in (`hear`), frames come out (`frames`), time is an
argument. What `frames` gives may leave only after the store has committed: then an acknowledgement never leaves before
the disk has what it is for, and a serial never goes out that a restart would give again.

What an item means is the node's business (`take`, `payload`, `passed`, `refused` and so on)."""
from collections import deque

from . import rules
from .schema import Item, pb
from .strict import Malformed

BULK, URGENT = 0, 1
WINDOW, FOR_FLASH, WANT_BEHIND = 256, 16, 128
URGENT_GRANT = 65536
KEEPALIVE_S, DEAD_S, REPEAT_S, UNANSWERED_S = 40, 115, 10, 5
PIECE_MIN, PIECE_S = 256, 0.5
FIRST_RATE = 1250000  # bytes a second: the profile `ip`


class Breach(Exception):
    """The neighbour broke section 7; the session ends, and nothing is lost by it."""


class Flight:
    """An item that has a serial and is not settled."""

    def __init__(self, serial, what, kind, precedence, data):
        self.serial, self.what, self.precedence, self.data = serial, what, precedence, data
        self.shape = kind | precedence << 4
        self.at = self.counted = self.order = 0
        self.sent_whole = self.is_void = self.is_wanted = False


class Link:
    def __init__(self, neighbour, store, node, bulk_grant=65536):
        self.neighbour, self.store, self.node = neighbour, store, node
        self.bulk_grant = bulk_grant
        self.is_up = False          # a session in which both have said hello
        self.in_session = False
        row = store.one("select * from circuit where neighbour=?", neighbour)
        self.peer_epoch, self.received, self.next_serial, self.doubt, self.acked = (
            (row["peer_epoch"], row["received"], row["next_serial"], row["doubt"], row["acked"]) if row else (0, 0, 1, 0, 0))
        self.numbered_in = row["numbered_in"] if row else 0  # our epoch when our serials began: a memory is of one pair of epochs
        self.above = set(map(int, row["above"].split())) if row else set()
        self.peer_directory = 0
        self.reasons_heard = []     # of refusals by the neighbour
        self.counts = {"sessions": 0, "repeated": 0, "refused_here": 0, "voids": 0, "pieces_in": 0, "pieces_out": 0,
                       "credit_waits": 0}

    def _save(self):
        self.store.run("insert or replace into circuit values(?,?,?,?,?,?,?,?)", self.neighbour, self.peer_epoch, self.numbered_in,
                       self.received, " ".join(map(str, sorted(self.above))), self.next_serial, self.doubt, self.acked)

    @property
    def has_memory(self):
        return self.numbered_in == self.node.epoch

    # ---------------------------------------------------------------- sessions
    def begin(self, now):
        """A connection has begun: we called, so our hello is due."""
        self.in_session, self.is_up = True, False
        self.hello_due, self.said_hello_s, self.introduced = True, None, False
        self.flights, self.todo = {}, {precedence: deque() for precedence in range(4)}
        self.leaves, self.updates = deque(), deque()
        self.granted, self.spent = [0, 0], [0, 0]      # by the neighbour to us, and what we used of it
        self.our_grant = [self.bulk_grant, URGENT_GRANT]
        self.taken = [0, 0]
        self.partial, self.counted, self.shapes = {}, {}, {}
        self.refusals, self.wants = {}, {}             # serial: reason; serial: message id
        self.refusals_due, self.wants_due = set(), set()
        self.ack_due = self.directory_due = self.keepalive_due = False
        self.presences = deque()
        self.order, self.rate, self.rate_mark = 0, FIRST_RATE, None
        self.heard_s = self.sent_s = self.news_s = now
        self.turn = False
        self.counts["sessions"] += 1

    def end(self):
        self.in_session = self.is_up = False

    def _hello(self, now):
        epoch, seen_epoch, seen_sequence, directory, clock_ms, quality = self.node.hello_facts(self.neighbour)
        next_serial = self.next_serial if self.has_memory else 0
        self.doubt_before, self.doubt = self.doubt, max(self.doubt, next_serial)
        self._save()
        hello = pb.Hello(version=1, epoch=epoch, received=self.received, next_serial=next_serial, seen_epoch=seen_epoch,
                         seen_sequence=seen_sequence, directory=directory, clock_ms=clock_ms, clock_quality=quality,
                         credit_bulk=self.our_grant[BULK], credit_urgent=self.our_grant[URGENT], software="cpdpy")
        if self.peer_epoch:
            hello.your_epoch = self.peer_epoch
        if self.above:
            hello.received_bitmap = rules.bitmap([serial - self.received - 1 for serial in self.above])
        self.hello_due, self.said_hello_s = False, now
        return pb.Frame(hello=hello)

    def _heard_hello(self, hello, now):
        if self.is_up:
            raise Breach("a second hello")
        if not hello.version_min <= 1 <= hello.version:
            raise Breach("no version in common")
        epoch = self.node.epoch
        covers_mine = hello.your_epoch == epoch
        covered = {hello.received + 1 + bit for bit in rules.bits(hello.received_bitmap)}
        highest = max([hello.received, *covered]) if covers_mine else 0
        anew = hello.epoch != self.peer_epoch or not covers_mine or not self.has_memory
        if not anew and self.acked > hello.received and self.acked not in covered:
            self.node.alarm("neighbour-set-back", neighbour=self.neighbour)
        # 1. What I sent.
        for row in self.store.all("select * from queue where neighbour=? and serial is not null", self.neighbour):
            serial = row["serial"]
            if not anew and (serial <= hello.received or serial in covered) and serial >= self.doubt_before:
                self._passed(row)
            else:
                self.store.run("update queue set serial=null, not_before=0 where row=?", row["row"])
        self.next_serial = max(1 if anew else self.next_serial, highest + 1)
        self.acked = highest
        self.base = self.next_serial - 1  # what the neighbour's `received` is worth now, for the window
        # 2. What I received.
        if hello.epoch != self.peer_epoch:
            self.received, self.above = 0, set()
        if covers_mine and hello.next_serial:
            self._never_comes(hello.next_serial - 1)
        elif self.above:
            self._never_comes(max(self.above))
        self.peer_epoch, self.doubt, self.numbered_in, self.is_up = hello.epoch, 0, epoch, True
        self._save()
        self.granted = [hello.credit_bulk, hello.credit_urgent]
        self.peer_directory = hello.directory
        self.offer_updates()
        # 3. My epoch.
        self.node.seen_by_others(hello.seen_epoch, hello.seen_sequence)
        self.node.link_is_up(self, now)

    def _never_comes(self, serial):
        self.received = max(self.received, serial)
        self._collapse()

    def _collapse(self):
        while self.received + 1 in self.above:
            self.received += 1
        self.above = {serial for serial in self.above if serial > self.received}

    # ---------------------------------------------------------------- hearing
    def hear(self, data, now):
        """One frame that came. Raises Breach when the session must end."""
        try:
            frame = rules.frame(data)
        except Malformed as why:
            raise Breach(str(why)) from None
        self.heard_s = now
        if frame.hello:
            return self._heard_hello(frame.hello, now)
        if frame.has("introduction"):
            return self.node.introduced(frame.introduction)
        if not self.is_up:
            if frame._values:
                raise Breach("a frame before the hello")
            return None
        if frame.credit:
            self._heard_credit(frame.credit, now)
        if frame.ack:
            self._heard_ack(frame.ack, now)
        if frame.has("directory"):
            self.peer_directory = frame.directory
            self.offer_updates()
        if frame.refusal:
            self._heard_refusal(frame.refusal, now)
        if frame.want:
            self._heard_want(frame.want, now)
        if frame.presence:
            self.node.heard_presence(self.neighbour, frame.presence.record, frame.presence.age_s)
        if frame.data:
            self._heard_data(frame.data, now)
        return None

    def _heard_data(self, data, now):
        self.counts["pieces_in"] += 1
        serial, precedence, kind = data.serial, data.shape >> 4, data.shape & 15
        total = data.total if data.has("total") else len(data.piece)
        if serial > self.received + WINDOW:
            raise Breach(f"serial {serial} is too far above {self.received}")
        if serial <= self.received or serial in self.above:
            self.ack_due = True
            return
        if total == 1 and data.piece == b"\0":
            self.refusals.pop(serial, None)
            self.wants.pop(serial, None)
            self.counts["voids"] += 1
            self._settled(serial)
            return
        if data.offset == 0 and data.piece[0] == 0:
            raise Breach("an item that begins with 0")
        if self.shapes.setdefault(serial, (data.shape, total)) != (data.shape, total):
            raise Breach(f"serial {serial} changed its shape")
        end, which = data.offset + len(data.piece), URGENT if precedence == 3 else BULK
        self.taken[which] += max(0, end - self.counted.get(serial, 0))
        self.counted[serial] = max(end, self.counted.get(serial, 0))
        if self.taken[which] > self.our_grant[which]:
            raise Breach("more than was granted")
        if serial in self.refusals:
            self.refusals_due.add(serial)
            return
        if serial in self.wants:
            self.wants_due.add(serial)
            return
        if data.offset == 0:
            self.partial[precedence] = (serial, bytearray(data.piece))
        else:
            held = self.partial.get(precedence)
            if not held or held[0] != serial or len(held[1]) != data.offset:
                return
            held[1].extend(data.piece)
        if len(self.partial[precedence][1]) < total:
            if self.our_grant[which] - self.taken[which] < self._grant(which) // 2:
                self.ack_due = True  # carries the credit
            return
        item = bytes(self.partial.pop(precedence)[1])
        verdict = self.node.take(self, kind, precedence, item)
        if verdict is None:
            self._settled(serial)
        elif isinstance(verdict, tuple):
            self.wants[serial] = verdict
            self.wants_due.add(serial)
        else:
            self.counts["refused_here"] += 1
            self.refusals[serial] = verdict
            self.refusals_due.add(serial)

    def _settled(self, serial):
        """We have what this serial carried, or owe nothing for it."""
        self.above.add(serial)
        self._collapse()
        self.counted.pop(serial, None)
        self.shapes.pop(serial, None)
        self._save()
        self.ack_due = True

    def large_body_is_complete(self, identifier):
        for serial in [serial for serial, wanted in self.wants.items() if wanted == identifier] if self.is_up else []:
            del self.wants[serial]
            self.wants_due.discard(serial)
            self._settled(serial)

    def _heard_ack(self, ack, now):
        serials = {ack.received + 1 + bit for bit in rules.bits(ack.bitmap)}
        if max([ack.received, *serials]) >= self.next_serial:
            raise Breach("an acknowledgement of what was never sent")
        news = [flight for flight in self.flights.values() if flight.serial <= ack.received or flight.serial in serials]
        if any(not flight.sent_whole for flight in news):
            raise Breach("an acknowledgement of what was not sent whole")
        for flight in news:
            self._drop(flight)
            if not flight.is_void:
                self._passed(flight.what)
        self.base = max(self.base, ack.received)
        if news:
            self.news_s = now
            self.acked = max(self.acked, ack.received, *serials) if serials else max(self.acked, ack.received)
            self._save()
        for flight in self.flights.values():
            if flight.sent_whole and not flight.is_wanted and any(
                    other.order > flight.order and other.precedence <= flight.precedence for other in news):
                self._repeat(flight)

    def _drop(self, flight):
        del self.flights[flight.serial]
        if flight in self.todo[flight.precedence]:
            self.todo[flight.precedence].remove(flight)

    def _passed(self, what):
        """The neighbour has it: a row of the queue; leaves and updates need nothing more."""
        if not isinstance(what, tuple):
            self.store.run("delete from queue where row=?", what["row"])
            self.node.passed(what, self.neighbour)

    def _repeat(self, flight):
        if flight not in self.todo[flight.precedence]:
            flight.at = 0
            self.todo[flight.precedence].append(flight)
            self.counts["repeated"] += 1

    def _void(self, flight):
        flight.data, flight.is_void, flight.is_wanted, flight.sent_whole, flight.at = b"\0", True, False, False, 0
        if flight not in self.todo[flight.precedence]:
            self.todo[flight.precedence].append(flight)

    def _heard_refusal(self, refusal, now):
        flight = self.flights.get(refusal.serial)
        if flight is None:
            return
        self.news_s = now
        if flight.is_void:
            self._repeat(flight)
            return
        self.reasons_heard.append(refusal.reason)
        for_now = refusal.reason >= 32
        if isinstance(flight.what, tuple):
            if for_now and flight.what[0] == "leaf":
                self.leaves.append((now + 5, *flight.what[1:]))
            elif for_now:
                self.updates.append((now + 5, flight.what[1]))
        elif for_now:
            tries = flight.what["tries"] + 1
            wait = min(5 * 2 ** (tries - 1), 20 if flight.precedence == 3 else 320)
            self.store.run("update queue set serial=null, tries=?, not_before=? where row=?", tries, now + wait, flight.what["row"])
        else:
            self.store.run("delete from queue where row=?", flight.what["row"])
            self.node.refused(flight.what, self.neighbour, refusal.reason)
        self._void(flight)

    def _heard_want(self, want, now):
        flight = self.flights.get(want.serial)
        if flight is None or flight.is_void or isinstance(flight.what, tuple):
            return
        identifier = (flight.what["origin"], flight.what["epoch"], flight.what["sequence"])
        if identifier != (want.message.origin, want.message.epoch, want.message.sequence):
            raise Breach("a want of another message")
        flight.is_wanted, self.news_s = True, now
        under_way = {leaf[1:] for leaf in self.leaves} | {other.what[1:] for other in self.flights.values()
                                                          if isinstance(other.what, tuple) and other.what[0] == "leaf"}
        for index in self.node.leaves_missing(identifier, set(rules.bits(want.held))):
            if (identifier, index, flight.precedence) not in under_way:
                self.leaves.append((0, identifier, index, flight.precedence))

    def _heard_credit(self, credit, now):
        for which, value in ((BULK, credit.bulk), (URGENT, credit.urgent)):
            if value < self.granted[which]:
                raise Breach("a grant that falls")
            self.granted[which] = value
        if credit.consumed > sum(self.spent):
            raise Breach("credit for more than was sent")
        # The rate is what arrived between two credits while there was more under way.
        if self.rate_mark and now > self.rate_mark[0] + 0.02 and credit.consumed > self.rate_mark[1]:
            measured = (credit.consumed - self.rate_mark[1]) / (now - self.rate_mark[0])
            self.rate += (measured - self.rate) / 4
        self.rate_mark = (now, credit.consumed) if sum(self.spent) > credit.consumed else None

    # ---------------------------------------------------------------- saying
    def offer_updates(self):
        """Puts in line the directory updates that the neighbour lacks."""
        if not self.is_up:
            return
        coming = {number for _, number in self.updates} | {flight.what[1] for flight in self.flights.values()
                                                           if isinstance(flight.what, tuple) and flight.what[0] == "update"}
        for number in self.node.updates_above(self.peer_directory):
            if number not in coming:
                self.updates.append((0, number))

    def offer_presence(self, node):
        if self.is_up and node not in self.presences and node != self.neighbour:
            self.presences.append(node)

    def tell_directory(self):
        self.directory_due = True

    def _grant(self, which):
        return URGENT_GRANT if which == URGENT else self.bulk_grant

    def _ack_onto(self, frame):
        frame.ack.received = self.received
        if self.above:
            frame.ack.bitmap = rules.bitmap([serial - self.received - 1 for serial in self.above])
        self.our_grant = [max(self.our_grant[which], self.taken[which] + self._grant(which)) for which in (BULK, URGENT)]
        frame.credit.consumed = sum(self.taken)
        frame.credit.bulk, frame.credit.urgent = self.our_grant
        self.ack_due = False

    def frames(self, now, most=24):
        """What is to be sent, at most so many frames. The caller commits the store before it sends them."""
        out = []
        if not self.in_session:
            return out
        if self.hello_due:
            out.append(self._hello(now))
        elif not self.is_up:
            if now - self.said_hello_s >= UNANSWERED_S and not self.introduced:
                self.introduced = True
                record = self.node.introduction()
                if record and len(record) <= 1024:
                    out.append(pb.Frame(introduction=record))
        else:
            self._timers(now)
            while len(out) < most:
                frame = self._next(now)
                if frame is None:
                    break
                out.append(frame)
        if out:
            self.sent_s = now
        return [frame.SerializeToString() for frame in out]

    def _timers(self, now):
        if now - self.sent_s >= KEEPALIVE_S:
            self.ack_due = True
            self.refusals_due |= set(self.refusals)
        if now - self.news_s >= REPEAT_S:
            self.news_s = now
            for flight in self.flights.values():
                if flight.sent_whole and not flight.is_wanted or flight.is_void:
                    self._repeat(flight)

    def is_dead(self, now):
        return self.in_session and now - self.heard_s >= DEAD_S

    def _next(self, now):
        frame = pb.Frame()
        if self.refusals_due:
            serial = self.refusals_due.pop()
            if serial in self.refusals:
                frame.refusal.serial, frame.refusal.reason = serial, self.refusals[serial]
        elif self.wants_due:
            serial = self.wants_due.pop()
            if serial in self.wants:
                identifier = self.wants[serial]
                frame.want.serial = serial
                frame.want.message.origin, frame.want.message.epoch, frame.want.message.sequence = identifier
                held = self.node.leaves_held(identifier)
                if held:
                    frame.want.held = rules.bitmap(held)
        elif not self.ack_due:
            flash = self._piece(now, 3, 3)
            if flash:
                frame.data.CopyFrom(flash)
            elif self.presences and self.turn:
                self.turn = False
                offer = self.node.presence_offer(self.presences.popleft())
                if offer:
                    frame.presence.CopyFrom(offer)
            else:
                self.turn = True
                data = self._piece(now, 2, 0)
                if data:
                    frame.data.CopyFrom(data)
                elif self.presences:
                    return self._next(now)
        if self.directory_due:
            frame.directory, self.directory_due = self.node.directory.version, False
        if self.ack_due:
            self._ack_onto(frame)
        return frame if frame.ByteSize() else None

    def _piece(self, now, first, last):
        """The next piece of data of these precedences, the highest first."""
        for precedence in range(first, last - 1, -1):
            which = URGENT if precedence == 3 else BULK
            flight = self.todo[precedence][0] if self.todo[precedence] else self._start(now, precedence)
            if flight is None:
                continue
            left = len(flight.data) - flight.at
            room = left if flight.is_void else max(0, flight.counted - flight.at) + self.granted[which] - self.spent[which]
            length = min(left, room, rules.PIECE, max(PIECE_MIN, int(self.rate * PIECE_S)))
            if length < min(PIECE_MIN, left):
                self.counts["credit_waits"] += 1
                if which == BULK:
                    return None  # credit that this one waits for is not spent on a lower one
                continue
            data = pb.Data(serial=flight.serial, shape=flight.shape, piece=flight.data[flight.at:flight.at + length])
            if length < len(flight.data):
                data.total = len(flight.data)
            if flight.at:
                data.offset = flight.at
            flight.at += length
            if not flight.is_void and flight.at > flight.counted:
                self.spent[which] += flight.at - flight.counted
                flight.counted = flight.at
            if flight.at == len(flight.data):
                flight.sent_whole = True
                self.todo[precedence].popleft()
                self.order += 1
                flight.order = self.order
                if len(self.flights) == 1:
                    self.news_s = now
            self.counts["pieces_out"] += 1
            return data
        return None

    def _start(self, now, precedence):
        """Gives the next item of this precedence its serial; None when there is none, or the window is full."""
        if self.next_serial > self.base + WINDOW - (0 if precedence == 3 else FOR_FLASH):
            return None
        for flight in list(self.flights.values()):
            if flight.is_wanted and self.next_serial - 1 - flight.serial >= WANT_BEHIND:
                self.store.run("update queue set serial=null where row=?", flight.what["row"])
                self._void(flight)
                return self.todo[precedence][0] if self.todo[precedence] else None
        what = kind = data = None
        for update in self.updates:
            if update[0] <= now and self.node.update_precedence(update[1]) == precedence:
                self.updates.remove(update)
                what, kind, data = ("update", update[1]), Item.DIRECTORY, self.node.directory.records[update[1]]
                break
        while data is None:
            row = self.store.one("select * from queue where neighbour=? and precedence=? and serial is null and not_before<=? order by row "
                                 "limit 1", self.neighbour, precedence, now)
            if row is None:
                break
            data = self.node.payload(row, now)
            if data is None:  # it needs not go any more
                self.store.run("delete from queue where row=?", row["row"])
                continue
            what, kind = row, row["type"]
            self.store.run("update queue set serial=? where row=?", self.next_serial, row["row"])
        if data is None:
            for leaf in self.leaves:
                if leaf[0] <= now and leaf[3] == precedence:
                    self.leaves.remove(leaf)
                    what, kind, data = ("leaf", *leaf[1:]), Item.LEAF, self.node.leaf(leaf[1], leaf[2])
                    break
        if data is None:
            return None
        flight = Flight(self.next_serial, what, kind, precedence, data)
        self.flights[flight.serial] = flight
        self.todo[precedence].append(flight)
        self.next_serial += 1
        self._save()
        return flight


