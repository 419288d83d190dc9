"""What an NSP decides: custody of what it wrote (9.1, 9.3), receipts (6), duplicates (9.2), epochs (9.4), presence
(7.5). It relays nothing. No sockets: daemon.py brings frames and time.

Everything here happens within one transaction of the store; the caller ends it with `commit`, and sends after that."""
import json
import os
import sys
import time

from . import bodies, rules, tree
from .crypto import H, Keys, hash8, sign, verify
from .directory import AHEAD, Directory, NotSigned
from .joining import Anchor, Kit
from .link import Link
from .schema import Item, Level, Reason, pb
from .store import Store
from .strict import Malformed

EPOCH_2026 = 1767225600
FIRST_WAIT_S = {bodies.FLASH: 30, bodies.IMMEDIATE: 120, bodies.PRIORITY: 600, bodies.ROUTINE: 1800}
LONGEST_WAIT_S, DELIVERED_WAIT_S, GRACE_S, PRESENCE_S, REROUTE_S = 7200, 3600, 72 * 3600, 60, 10
NTP = 2


class Identity:
    """The folder of a node: identity.json with its keys (mode 0600), its epoch and its kit; store.db beside it."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "identity.json")
        with open(self.path) as file:
            self.values = json.load(file)
        self.keys = Keys(*(bytes.fromhex(self.values[name]) for name in ("signing", "sealing", "transport")))

    @classmethod
    def make(cls, folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        keys = Keys.make()
        cls._write(os.path.join(folder, "identity.json"), {"signing": keys.signing.hex(), "sealing": keys.sealing.hex(),
                                                           "transport": keys.transport.hex(), "epoch": 0})
        return cls(folder)

    def install(self, kit_path):
        with open(kit_path, "rb") as file:
            data = file.read()
        kit = Kit(data)
        directory = Directory(kit.anchor)
        for record in kit.updates:
            directory.apply(directory.read(record), record)
        mine = directory.certificate(kit.node, kit.key_number)
        if not mine or (mine.signing_key, mine.sealing_key, mine.transport_key) != (
                self.keys.signing_key, self.keys.sealing_key, self.keys.transport_key):
            raise ValueError("this kit is for other keys")
        self.change(node=kit.node, key_number=kit.key_number, anchor=kit.anchor.text, kit=[record.hex() for record in kit.updates])

    def change(self, **values):
        self.values.update(values)
        self._write(self.path, self.values)

    @staticmethod
    def _write(path, values):
        descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def now_s():
    return time.time() - EPOCH_2026


class Node:
    def __init__(self, folder, neighbours, bulk_grant=65536):
        self.identity = Identity(folder)
        values = self.identity.values
        self.number, self.key_number, self.keys = values["node"], values["key_number"], self.identity.keys
        self.anchor = Anchor(values["anchor"])
        self.network = self.anchor.network
        self.store = Store(os.path.join(folder, "store.db"))
        self.directory = Directory(self.anchor)
        for record in [bytes.fromhex(text) for text in values["kit"]] + [row["record"] for row in self.store.all("select record from directory")]:
            self.directory.apply(self.directory.read(record), record)
        self.counts = {"alarms": 0, "duplicates": 0, "delivered": 0, "receipts": 0, "answered_again": 0}
        self.refused_here, self.alarms = {}, []
        self.links = {neighbour: Link(neighbour, self.store, self, bulk_grant) for neighbour in neighbours}
        self.owed, self.restart_links, self.presence_due_s = [], False, 0
        self.epoch = self.store.get("epoch", 0)
        if not self.epoch or self.epoch != values["epoch"]:
            self._new_epoch(max(self.epoch, values["epoch"]), "store and identity differ" if self.epoch else "the store is new")
            self.restart_links = False
        self.store.commit()

    # ---------------------------------------------------------------- small things
    def alarm(self, what, **facts):
        self.counts["alarms"] += 1
        self.alarms.append(what)
        print(f"event={what}", *(f"{key}={value}" for key, value in facts.items()), file=sys.stderr, flush=True)

    def _count(self, key):
        value = self.store.get(key, 0) + 1
        self.store.put(key, value)
        return value

    def _new_epoch(self, above, why):
        """Begins an epoch above this one, on disk before anything is authored in it (9.4)."""
        self.epoch = above + 1
        self.identity.change(epoch=self.epoch)
        self.store.put("epoch", self.epoch)
        self.store.put("sequence", 0)
        self.store.put("receipts", 0)
        self.store.put("presence", 0)
        self.restart_links = True
        self.alarm("new-epoch", epoch=self.epoch, why=repr(why))

    def seen_by_others(self, epoch, sequence):
        if (epoch, sequence) > (self.epoch, self.store.get("sequence", 0)):
            self._new_epoch(max(epoch, self.epoch), "others have seen more of this node")

    def _signed(self, purpose, content):
        record = pb.SignedRecord(signed=content, signature=sign(self.keys.signing, purpose, self.network, content))
        if self.key_number != 1:
            record.key_number = self.key_number
        return record.SerializeToString()

    def _is_signed(self, node, key_number, purpose, content, signature):
        certificate = self.directory.certificate(node, key_number)
        return certificate is not None and verify(certificate.signing_key, purpose, self.network, content, signature)

    def _route(self, node):
        """The neighbour by which a node is reached: itself, else one with a session, else the first."""
        if node in self.links:
            return node
        homes = self.store.one("select record from presence where node=?", node)
        homes = rules.presence(rules.signed_record(homes[0]).signed).homes if homes else []
        best = [link for link in self.links if link in homes] + list(self.links)
        return next((link for link in best if self.links[link].is_up), best[0])

    # ---------------------------------------------------------------- what the link asks
    def hello_facts(self, neighbour):
        seen = self.store.one("select epoch, sequence from message where origin=? order by epoch desc, sequence desc limit 1", neighbour)
        return (self.epoch, *(tuple(seen) if seen else (0, 0)), self.directory.version, int(now_s() * 1000), NTP)

    def link_is_up(self, link, now):
        self.presence_due_s = 0
        for row in self.store.all("select node from presence"):
            link.offer_presence(row["node"])

    def introduction(self):
        return self.directory.introduction(self.number, self.key_number)

    def introduced(self, data):
        try:
            update = self.directory.read(data)
            if len(update.certificates) == 1 and not update.revocations and not update.groups:
                self._keep_update(update, data)
        except (Malformed, NotSigned):
            self.alarm("bad-introduction")

    def updates_above(self, version):
        return [number for number in sorted(self.directory.records) if version < number <= self.directory.version]

    def update_precedence(self, number):
        update = rules.update(rules.signed_record(self.directory.records[number]).signed)
        return bodies.FLASH if update.revocations else bodies.PRIORITY

    def _keep_update(self, update, data):
        if update.number in self.directory.records:
            return
        before = self.directory.version
        self.store.run("insert into directory values(?,?)", update.number, data)
        self.directory.apply(update, data)
        if self.directory.version != before:
            for link in self.links.values():
                if link.is_up:
                    link.tell_directory()
                    link.offer_updates()

    def take(self, link, kind, precedence, data):
        """An item that came whole. None: we have it; a Reason: refused; a message id: its leaves are wanted."""
        try:
            verdict = {Item.MESSAGE: self._take_message, Item.RECEIPTS: self._take_receipts, Item.DIRECTORY: self._take_update,
                       Item.LEAF: self._take_leaf}[kind](data)
        except Malformed as why:
            verdict = Reason.MALFORMED
            self.alarm("malformed", why=repr(str(why)))
        if isinstance(verdict, int):
            self.refused_here[verdict] = self.refused_here.get(verdict, 0) + 1
        return verdict

    # ---------------------------------------------------------------- taking
    def _take_update(self, data):
        try:
            update = self.directory.read(data)
        except NotSigned:
            return Reason.BAD_SIGNATURE
        if update.number > self.directory.version + AHEAD:
            return Reason.BUSY
        self._keep_update(update, data)
        return None

    def _judge_signatures(self, envelope, message):
        """(reason or None, suspect): sections 3, 4.1 and 9.10."""
        first = envelope.signatures[0]
        if first.has("signer") and first.signer != message.origin:
            return Reason.MALFORMED, False
        suspect = False
        for one in envelope.signatures:
            signer = one.signer if one.has("signer") else message.origin
            certificate = self.directory.certificate(signer, one.key_number)
            if certificate is None:
                return Reason.UNKNOWN_SIGNER, False
            if not verify(certificate.signing_key, "message", self.network, envelope.signed, one.signature):
                return Reason.BAD_SIGNATURE, False
            revoked = self.directory.revocation(signer, one.key_number)
            if revoked and (not revoked.last_epoch or signer != message.origin):
                return Reason.REVOKED, False
            if revoked and (message.epoch, message.sequence) > (revoked.last_epoch, revoked.last_sequence):
                suspect = True
            if signer == message.origin and one is first and not self.directory.may_author(certificate, message.kind):
                return Reason.ROLE, False
        return self._judge_releases(envelope, message), suspect

    def _judge_releases(self, envelope, message):
        """A reason or None: section 4.7."""
        keys = []
        for one in envelope.releases:
            person = self.directory.function(one.function)
            if person is None:
                return Reason.UNKNOWN_SIGNER
            if not verify(person.signing_key, "message", self.network, envelope.signed, one.signature):
                return Reason.BAD_SIGNATURE
            if person.revoked:
                return Reason.REVOKED
            if person.node != message.origin or (person.not_after_s and message.created_s > person.not_after_s) or person.signing_key in keys:
                return Reason.ROLE
            keys.append(person.signing_key)
        return Reason.ROLE if message.kind == bodies.BULLETIN and len(keys) < 2 else None

    def _destinations(self, message):
        """Nodes, then members of its groups, each once; None when a version of a group is not held."""
        out = list(message.nodes)
        for group, version in zip(message.groups[::2], message.groups[1::2]):
            members = self.directory.members(group, version)
            if members is None:
                return None
            out += [member for member in members if member not in out]
        if len(out) > 1024:
            raise Malformed("too many destinations")
        return out

    def _recipients(self, message, trailer, destinations):
        if trailer is not None and trailer.has("member_bitmap"):
            if not message.groups:
                raise Malformed("a bitmap without a group")
            members = self.directory.members(*message.groups[:2])
            return [members[bit] if bit < len(members) else 0 for bit in rules.bits(trailer.member_bitmap)]
        return list(trailer.recipients) if trailer is not None and trailer.recipients else destinations

    def _take_message(self, data):
        item = rules.message_item(data)
        envelope = rules.envelope(item.envelope)
        message, trailer = rules.message(envelope.signed), item.trailer
        identifier, digest = (message.origin, message.epoch, message.sequence), hash8(envelope.signed)
        reason, suspect = self._judge_signatures(envelope, message)
        if reason:
            return reason
        destinations = self._destinations(message)
        if destinations is None:
            return Reason.UNKNOWN_GROUP
        recipients = self._recipients(message, trailer, destinations)
        if not recipients or not set(recipients) <= set(destinations):
            return Reason.NOT_ADDRESSED
        if trailer is not None and trailer.hop_limit == 0:
            return Reason.HOP_LIMIT
        if message.origin == self.number:
            self.seen_by_others(message.epoch, message.sequence)
        if recipients != [self.number]:
            return Reason.NO_ROUTE  # an NSP that relays nothing
        if message.sequence < self._floor_of(message.origin, message.epoch):
            return Reason.BELOW_FLOOR
        retry, age_s = (trailer.retry, trailer.age_s) if trailer is not None else (0, 0)
        held = self.store.one("select * from message where origin=? and epoch=? and sequence=?", *identifier)
        if held:
            if held["hash"] != digest:
                self.alarm("id-conflict", msg="%d/%d/%d" % identifier)
                return Reason.ID_CONFLICT
            self.counts["duplicates"] += 1
            if not held["complete"]:
                return identifier
            if retry > held["answered"] and not bodies.kind_of(message.kind).state:
                self.counts["answered_again"] += 1
                self.store.run("update message set answered=? where origin=? and epoch=? and sequence=?", retry, *identifier)
                self._owe(held, held["level"])
            return None
        if not self.directory.is_for(self.number, message.kind):
            return Reason.ROLE
        kind = bodies.kind_of(message.kind)
        if kind.state and self.store.one("select 1 from message where origin=? and kind=? and (epoch, sequence) > (?,?)", message.origin,
                                         message.kind, message.epoch, message.sequence):
            return None
        life = message.lifetime_s if message.has("lifetime_s") else kind.life_s
        self.store.run("insert into message(origin, epoch, sequence, hash, envelope, kind, flags, created_s, life_s, mine, complete, answered, "
                       "late, suspect) values(?,?,?,?,?,?,?,?,?,0,0,?,?,?)", *identifier, digest, item.envelope, message.kind, message.flags,
                       message.created_s, life, retry, age_s > life, suspect)
        if message.large:
            return identifier
        self._deliver(identifier, bodies.is_understood(message.kind, message.body))
        return None

    def _deliver(self, identifier, understood):
        level = Level.DELIVERED if understood else Level.NOT_UNDERSTOOD
        self.counts["delivered"] += 1
        self.store.run("update message set complete=1, level=?, counter=?, taken_s=? where origin=? and epoch=? and sequence=?", level,
                       self._count("inbox"), int(now_s()), *identifier)
        held = self.store.one("select * from message where origin=? and epoch=? and sequence=?", *identifier)
        if not bodies.kind_of(held["kind"]).state:
            self._owe(held, level)

    def _large(self, identifier):
        """The row and the `large` of a message that is held, or (None, None)."""
        row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", *identifier)
        if row is None:
            return None, None
        return row, rules.message(rules.envelope(row["envelope"]).signed).large

    def _take_leaf(self, data):
        leaf = rules.leaf(data)
        identifier = (leaf.message.origin, leaf.message.epoch, leaf.message.sequence)
        row, large = self._large(identifier)
        if row is None or large is None:
            return None  # of nothing that is held: dropped
        if not tree.leaf_holds(large.length, large.root, leaf.index, leaf.bytes, leaf.path):
            raise Malformed("a leaf that does not belong there")
        if not row["complete"]:
            self.store.run("insert or ignore into leaf values(?,?,?,?,?)", *identifier, leaf.index, leaf.bytes)
            if len(self.leaves_held(identifier)) == tree.leaf_count(large.length):
                self._deliver(identifier, bodies.kind_of(row["kind"]).body is not None)
                for link in self.links.values():
                    link.large_body_is_complete(identifier)
        return None

    def leaves_held(self, identifier):
        return [row[0] for row in self.store.all("select number from leaf where origin=? and epoch=? and sequence=?", *identifier)]

    def leaves_missing(self, identifier, held):
        large = self._large(identifier)[1]
        return [index for index in range(tree.leaf_count(large.length)) if index not in held] if large else []

    def leaf(self, identifier, index):
        body = self.body(*identifier)
        leaf = pb.Leaf(index=index, bytes=tree.cut(body)[index], path=tree.paths(body)[index])
        leaf.message.origin, leaf.message.epoch, leaf.message.sequence = identifier
        return leaf.SerializeToString()

    def body(self, origin, epoch, sequence):
        row = self.store.one("select envelope from message where origin=? and epoch=? and sequence=?", origin, epoch, sequence)
        message = rules.message(rules.envelope(row["envelope"]).signed)
        if not message.large:
            return message.body
        return b"".join(row["data"] for row in self.store.all("select data from leaf where origin=? and epoch=? and sequence=? order by number",
                                                              origin, epoch, sequence))

    # ---------------------------------------------------------------- receipts
    def _owe(self, row, level, reason=0, remark=""):
        """A receipt of ours: signed with the others of this turn, by `settle`."""
        self.owed.append((row["origin"], bodies.precedence_of(row["flags"]), row["epoch"], row["sequence"], row["hash"], level | reason << 4,
                          remark))

    def settle(self):
        """Signs the receipts that this turn owes: a record for each origin and precedence."""
        owed, self.owed = self.owed, []
        for origin, precedence in dict.fromkeys(entry[:2] for entry in owed):
            entries = [entry[2:] for entry in owed if entry[:2] == (origin, precedence)]
            for start in range(0, len(entries), 8):
                some = entries[start:start + 8]
                counter = self._count("receipts")
                receipts = pb.Receipts(fields=[self.number, self.epoch, counter, int(now_s()), origin], hashes=b"".join(one[2] for one in some))
                for epoch, sequence, _, level, _ in some:
                    receipts.fields.extend([epoch, sequence, level])
                if any(one[4] for one in some):
                    receipts.remarks.extend(one[4] for one in some)
                record = self._signed("receipts", receipts.SerializeToString())
                self.store.run("insert into receipt values(?,?,?,?)", self.number, self.epoch, counter, record)
                self.store.run("insert into queue(neighbour, precedence, type, origin, epoch, sequence) values(?,?,?,?,?,?)",
                               self._route(origin), precedence, Item.RECEIPTS, self.number, self.epoch, counter)

    def _take_receipts(self, data):
        record = rules.signed_record(data)
        receipts = rules.receipts(record.signed)
        witness, epoch, counter, time_s, origin = receipts.fields[:5]
        if self.directory.certificate(witness, record.key_number) is None:
            return Reason.UNKNOWN_SIGNER
        if not self._is_signed(witness, record.key_number, "receipts", record.signed, record.signature):
            return Reason.BAD_SIGNATURE
        revoked = self.directory.revocation(witness, record.key_number)
        if revoked and not revoked.last_epoch:
            return Reason.REVOKED
        if origin != self.number:
            return Reason.NO_ROUTE
        if revoked and epoch >= revoked.last_epoch:
            return None                     # suspect: acknowledged, and it ends no wait (section 9.10)
        if self.store.one("select 1 from receipt where witness=? and epoch=? and counter=?", witness, epoch, counter):
            self.counts["duplicates"] += 1
            return None
        self.store.run("insert into receipt values(?,?,?,?)", witness, epoch, counter, data)
        self.counts["receipts"] += 1
        for place in range(5, len(receipts.fields), 3):
            index = (place - 5) // 3
            self._apply(witness, epoch, counter, time_s, *receipts.fields[place:place + 3], receipts.hashes[8 * index:8 * index + 8])
        return None

    def _apply(self, witness, witness_epoch, counter, time_s, epoch, sequence, value, digest):
        level, reason = value & 15, value >> 4
        row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", self.number, epoch, sequence)
        if row is None:
            self.seen_by_others(epoch, sequence)
            return
        if row["hash"] != digest:
            self.alarm("id-conflict", msg=f"{self.number}/{epoch}/{sequence}", witness=witness)
            return
        if bodies.rank(level) < 5:
            if reason == Reason.ID_CONFLICT:
                self._reissue(row)
            return  # advice
        held = self.store.one("select * from recipient where epoch=? and sequence=? and node=?", epoch, sequence, witness)
        if held is None or witness_epoch < held["after_epoch"]:
            return
        if bodies.rank(level) > bodies.rank(held["level"]):
            self.store.run("update recipient set level=?, reason=?, time_s=? where epoch=? and sequence=? and node=?", level, reason, time_s,
                           epoch, sequence, witness)
        if (witness_epoch, counter) > (held["witness_epoch"], held["witness_counter"]):
            self.store.run("update recipient set witness_epoch=?, witness_counter=? where epoch=? and sequence=? and node=?", witness_epoch,
                           counter, epoch, sequence, witness)
        # A receipt answers an offer that still waits here: no copy of it needs to go.
        closing = bodies.closing_of(row["flags"], row["kind"])
        if bodies.closes(level, closing):
            self.store.run("update recipient set hop='passed' where epoch=? and sequence=? and node=?", epoch, sequence, witness)
        levels = [one[0] for one in self.store.all("select level from recipient where epoch=? and sequence=?", epoch, sequence)]
        if all(bodies.closes(one, closing) for one in levels) and row["closed_s"] is None:
            self.store.run("update message set closed_s=? where origin=? and epoch=? and sequence=?", int(now_s()), self.number, epoch, sequence)

    # ---------------------------------------------------------------- authoring and custody
    def send(self, kind, body, nodes=(), groups=(), precedence=None, lifetime_s=None, supersedes=None, in_reply_to=None):
        """Writes a message; its id. It is ours to keep once the caller has committed."""
        what = bodies.BY_NAME.get(kind) or bodies.kind_of(int(kind))
        sequence = self._count("sequence")
        message = pb.Message(origin=self.number, sequence=sequence, kind=what.number, nodes=nodes, created_s=int(now_s()),
                             flags=bodies.flags(what.precedence if precedence is None else precedence, NTP))
        if self.epoch != 1:
            message.epoch = self.epoch
        for group in groups:
            message.groups.extend(group)
        if lifetime_s:
            message.lifetime_s = lifetime_s
        for field, value in (("supersedes", supersedes), ("in_reply_to", in_reply_to)):
            if value:
                reference = getattr(message, field)
                reference.origin, reference.epoch, reference.sequence = value
                row = self.store.one("select hash from message where origin=? and epoch=? and sequence=?", *value)
                if field == "supersedes" and row:
                    reference.hash = row["hash"]  # 9.9: these words, and no others that stand under that id elsewhere
        if len(body) <= rules.BODY:
            message.body = body
        else:
            message.large.length, message.large.root = len(body), tree.root(body)
        signed = message.SerializeToString()
        destinations = self._destinations(rules.message(signed))
        if destinations is None:
            raise ValueError("a group version that is not held here")
        envelope = pb.Envelope(signed=signed)
        signature = envelope.signatures.add(signature=sign(self.keys.signing, "message", self.network, signed))
        if self.key_number != 1:
            signature.key_number = self.key_number
        identifier = (self.number, self.epoch, sequence)
        self.store.run("insert into message(origin, epoch, sequence, hash, envelope, kind, flags, created_s, life_s, mine, complete) "
                       "values(?,?,?,?,?,?,?,?,?,1,1)", *identifier, hash8(signed), envelope.SerializeToString(), what.number, message.flags,
                       message.created_s, lifetime_s or what.life_s)
        if message.HasField("large"):
            for index, leaf in enumerate(tree.cut(body)):
                self.store.run("insert into leaf values(?,?,?,?,?)", *identifier, index, leaf)
        for node in destinations:
            self.store.run("insert into recipient(epoch, sequence, node) values(?,?,?)", self.epoch, sequence, node)
        if what.state:
            self._drop_older_states(what.number, identifier)
        row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", *identifier)
        by_link = {}
        for node in destinations:
            by_link.setdefault(self._route(node), []).append(node)
        for neighbour, some in by_link.items():
            self._offer(row, some, neighbour, 0)
        return identifier

    def _drop_older_states(self, kind, newest):
        """9.7: what waits of older values of this state goes out of the queue without a word."""
        for row in self.store.all("select epoch, sequence from message where origin=? and kind=? and (epoch, sequence) < (?,?)", self.number,
                                  kind, *newest[1:]):
            self.store.run("delete from queue where type=? and origin=? and epoch=? and sequence=? and serial is null", Item.MESSAGE,
                           self.number, *row)
            self.store.run("update message set ended='newer state', closed_s=? where origin=? and epoch=? and sequence=? and ended is null",
                           int(now_s()), self.number, *row)

    def _offer(self, row, nodes, neighbour, retry, after_epoch=0):
        """Puts a copy for these recipients in the neighbour's queue."""
        queued = self.store.run("insert into queue(neighbour, precedence, type, origin, epoch, sequence) values(?,?,?,?,?,?)", neighbour,
                                bodies.precedence_of(row["flags"]), Item.MESSAGE, row["origin"], row["epoch"], row["sequence"]).lastrowid
        age = now_s() - row["created_s"]
        for node in nodes:
            held = self.store.one("select level from recipient where epoch=? and sequence=? and node=?", row["epoch"], row["sequence"], node)
            least = DELIVERED_WAIT_S if held["level"] else FIRST_WAIT_S[bodies.precedence_of(row["flags"])]
            wait = max(least, min(age / 2, LONGEST_WAIT_S))
            self.store.run("update recipient set hop=?, retry=?, after_epoch=max(after_epoch, ?), next_s=? where epoch=? and sequence=? and "
                           "node=?", f"row {queued}", retry, after_epoch, now_s() + wait, row["epoch"], row["sequence"], node)

    def payload(self, queued, now):
        """The bytes of an item whose row has come to the head of its queue; None when it needs not go any more."""
        key = queued["origin"], queued["epoch"], queued["sequence"]
        if queued["type"] == Item.RECEIPTS:
            return self.store.one("select record from receipt where witness=? and epoch=? and counter=?", *key)["record"]
        row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", *key)
        some = self.store.all("select * from recipient where epoch=? and sequence=? and hop=? order by node", *key[1:], f"row {queued['row']}")
        if not some or row["ended"]:
            return None
        item = pb.MessageItem(envelope=row["envelope"])
        trailer = item.trailer
        age, retry, after_epoch = int(max(0, now_s() - row["created_s"])), max(one["retry"] for one in some), max(
            one["after_epoch"] for one in some)
        if age:
            trailer.age_s = age
        if retry:
            trailer.retry = retry
        if after_epoch:
            trailer.after_epoch = after_epoch
        if len(some) != self.store.one("select count(*) from recipient where epoch=? and sequence=?", *key[1:])[0]:
            trailer.recipients.extend(one["node"] for one in some)
        trailer.trace.add(node=self.number, received_s=row["created_s"], sent_s=int(now_s()))
        return item.SerializeToString()

    def passed(self, queued, neighbour):
        if queued["type"] != Item.MESSAGE:
            return
        key = queued["epoch"], queued["sequence"]
        self.store.run("update recipient set hop='passed' where epoch=? and sequence=? and hop=?", *key, f"row {queued['row']}")
        row = self.store.one("select kind from message where origin=? and epoch=? and sequence=?", self.number, *key)
        if bodies.kind_of(row["kind"]).state:  # no receipt will come for it
            self.store.run("update message set ended='passed on', closed_s=? where origin=? and epoch=? and sequence=? and ended is null",
                           int(now_s()), self.number, *key)

    def refused(self, queued, neighbour, reason):
        """For good. BELOW-FLOOR is as good as taken; the rest is noted, and offered again by the timer."""
        key = queued["epoch"], queued["sequence"]
        if queued["type"] != Item.MESSAGE or reason == Reason.BELOW_FLOOR:
            self.passed(queued, neighbour)
            return
        self.alarm("refused", msg="%d/%d/%d" % (self.number, *key), by=neighbour, reason=reason)
        self.store.run("update recipient set hop='refused', reason=? where epoch=? and sequence=? and hop=?", reason, *key,
                       f"row {queued['row']}")
        if reason == Reason.ID_CONFLICT:
            self._reissue(self.store.one("select * from message where origin=? and epoch=? and sequence=?", self.number, *key))

    def _reissue(self, row):
        """9.4: the same words under a new id of a new epoch."""
        if row["ended"]:
            return
        message = rules.message(rules.envelope(row["envelope"]).signed)
        key = row["origin"], row["epoch"], row["sequence"]
        self._new_epoch(self.epoch, "an id of ours stands for something else")
        self.store.run("update message set ended='superseded', closed_s=? where origin=? and epoch=? and sequence=?", int(now_s()), *key)
        self.send(str(message.kind), self.body(*key), message.nodes, list(zip(message.groups[::2], message.groups[1::2])),
                  bodies.precedence_of(message.flags), message.lifetime_s if message.has("lifetime_s") else None, supersedes=key)

    def mark(self, identifier, level, reason=0, remark=""):
        """A person read, accepted, refused or did it: levels only go up."""
        row = self.store.one("select * from message where origin=? and epoch=? and sequence=? and mine=0 and complete=1", *identifier)
        if row is None:
            raise ValueError("no such message here")
        if bodies.rank(level) > bodies.rank(row["level"]):
            self.store.run("update message set level=? where origin=? and epoch=? and sequence=?", level, *identifier)
            self._owe(row, level, reason, remark)

    # ---------------------------------------------------------------- presence
    def _floor_of(self, origin, epoch):
        row = self.store.one("select record from presence where node=?", origin)
        if row is None:
            return 0
        floors = rules.presence(rules.signed_record(row["record"]).signed).floors
        return dict(zip(floors[::2], floors[1::2])).get(epoch, 0)

    def _own_floor(self):
        first = self.store.one("select min(sequence) from message where origin=? and epoch=? and (closed_s is null or closed_s > ?)",
                               self.number, self.epoch, int(now_s()) - GRACE_S)[0]
        return first or self.store.get("sequence", 0) + 1

    def _own_presence(self):
        presence = pb.Presence(node=self.number, epoch=self.epoch, counter=self._count("presence"), floors=[self.epoch, self._own_floor()],
                               homes=[link.neighbour for link in self.links.values() if link.is_up][:8], time_s=int(now_s()),
                               clock_quality=NTP)
        record = self._signed("presence", presence.SerializeToString())
        self.store.run("insert or replace into presence values(?,?,?,?,?)", self.number, self.epoch, presence.counter, record, now_s())

    def presence_offer(self, node):
        row = self.store.one("select * from presence where node=?", node)
        return pb.PresenceOffer(record=row["record"], age_s=int(max(0, now_s() - row["heard_s"]))) if row else None

    def heard_presence(self, neighbour, data, age_s):
        try:
            record = rules.signed_record(data)
            presence = rules.presence(record.signed)
        except Malformed:
            self.alarm("bad-presence")
            return
        revoked = self.directory.revocation(presence.node, record.key_number)
        if revoked or not self._is_signed(presence.node, record.key_number, "presence", record.signed, record.signature):
            return
        if presence.node == self.number:
            if presence.epoch > self.epoch:
                self._new_epoch(presence.epoch, "presence of this node from a later epoch")
            return
        held = self.store.one("select * from presence where node=?", presence.node)
        if held and (presence.epoch, presence.counter) <= (held["epoch"], held["counter"]):
            return
        floors = dict(zip(presence.floors[::2], presence.floors[1::2]))
        if held and held["epoch"] == presence.epoch and floors.get(presence.epoch, 0) < self._floor_of(presence.node, presence.epoch):
            self.alarm("floor-fell", node=presence.node)
            return
        self.store.run("insert or replace into presence values(?,?,?,?,?)", presence.node, presence.epoch, presence.counter, data,
                       now_s() - age_s)
        for link in self.links.values():
            if link.neighbour != neighbour:
                link.offer_presence(presence.node)
        # 9.3: an addressee that lost its disk is offered again all that it had signed for before.
        for one in self.store.all("select * from recipient where node=? and witness_epoch between 1 and ? and after_epoch < ?", presence.node,
                                  presence.epoch - 1, presence.epoch):
            row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", self.number, one["epoch"], one["sequence"])
            if row and row["ended"] is None:
                self.store.run("update recipient set level=0 where epoch=? and sequence=? and node=?", one["epoch"], one["sequence"], one["node"])
                self.store.run("update message set closed_s=null where origin=? and epoch=? and sequence=?", self.number, one["epoch"],
                               one["sequence"])
                self._offer(row, [one["node"]], self._route(one["node"]), one["retry"] + 1, presence.epoch)

    # ---------------------------------------------------------------- time
    def tick(self, now):
        """What time brings; called every second or so."""
        if now >= self.presence_due_s:
            self.presence_due_s = now + PRESENCE_S
            self._own_presence()
            for link in self.links.values():
                link.offer_presence(self.number)
        wall = now_s()
        for row in self.store.all("select * from message where mine=1 and closed_s is null and created_s + life_s < ?", wall):
            self.alarm("expired", msg="%d/%d/%d" % (row["origin"], row["epoch"], row["sequence"]))
            self.store.run("update message set ended='expired', closed_s=? where origin=? and epoch=? and sequence=?", int(wall),
                           *row[:3])
        for one in self.store.all("select * from recipient where next_s < ? and hop in ('passed', 'refused')", wall):
            row = self.store.one("select * from message where origin=? and epoch=? and sequence=?", self.number, one["epoch"], one["sequence"])
            if row and row["closed_s"] is None and not bodies.closes(one["level"], bodies.closing_of(row["flags"], row["kind"])):
                self._offer(row, [one["node"]], self._route(one["node"]), one["retry"] + 1, one["after_epoch"])
        up = next((link.neighbour for link in self.links.values() if link.is_up), None)
        for link in self.links.values():
            if up and not link.is_up and now - getattr(link, "heard_s", 0) > REROUTE_S:
                self.store.run("update queue set neighbour=? where neighbour=? and serial is null", up, link.neighbour)
        # What is closed, and its grace over, is forgotten; the floor in our presence has said so.
        if self.store.one("select 1 from message where mine=1 and closed_s < ?", int(wall) - GRACE_S):
            self.store.run("delete from message where mine=1 and closed_s < ?", int(wall) - GRACE_S)

    # ---------------------------------------------------------------- asking
    def told(self, identifier):
        return {row["node"]: row["level"] for row in self.store.all("select node, level from recipient where epoch=? and sequence=?",
                                                                    *identifier[1:])}

    def inbox(self):
        out = []
        for row in self.store.all("select * from message where mine=0 and complete=1 order by counter"):
            key = row["origin"], row["epoch"], row["sequence"]
            body = self.body(*key)
            out.append({"id": "%d/%d/%d" % key, "hash": row["hash"].hex(), "body_hash": H(body).hex(), "kind": row["kind"], "level": row["level"],
                        "late": bool(row["late"]), "suspect": bool(row["suspect"]), "bytes": len(body)})
        return out


