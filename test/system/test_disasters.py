#!/usr/bin/env python3
"""A CP burns down, a desk's disk dies, an NSP's laptop is replaced, an old backup comes back: in a region under
traffic, with real processes, and put right by the very commands that docs/OPERATIONS.md gives.

After each: what was answered with an id is shown once at every addressee, and every author's outbox is closed.
What was written on a machine that was lost is held to what the page promises: if it had left, it arrives; if
not, it is gone.

    BUILD=build FULL=1 test/system/test_disasters.py           all of them; without FULL the first and the last
    BUILD=build test/system/test_disasters.py NAME ...         these: see ALL
"""
import collections
import http.client
import os
import pwd
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time

from harness import CPCTL, CPD, Refused, test_region, wait_for

SEED = int(os.environ.get("SEED", "20261125"))
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "OPERATIONS.md")
FIRST, SECOND = 901, 902
DESKS = [911, 912]
LONE = 344003                                  # calls the first CP only
QUIET = 736001                                 # writes nothing: others know of it by its receipts and its presence alone
NSPS = [LONE, 307001, QUIET, 352001]
GROUP, STAFF = "alle-nsp", "staf"
MEMBERS = {GROUP: NSPS, STAFF: [FIRST, SECOND, *DESKS]}
EXTRA = "\n[tuning]\ntime_scale = 120\n"
EACH = int(os.environ.get("MESSAGES", "8"))    # what each author has taken before a disaster, and after it


# ---------------------------------------------------------------- traffic
class Word:
    """One message that a node was asked to take, known by its first words: an id may be given again by its origin."""

    def __init__(self, origin, life, recipients, text, closing):
        self.origin, self.life, self.recipients, self.text, self.closing = origin, life, recipients, text, closing
        self.id = None          # once it was answered


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.words = {}

    def add(self, word):
        with self.lock:
            self.words[word.text] = word

    def answered(self):
        with self.lock:
            return [word for word in self.words.values() if word.id]


class Author(threading.Thread):
    """Writes at one node until told to stop, whatever happens to it."""

    def __init__(self, disasters, number):
        super().__init__(daemon=True)
        self.disasters, self.number = disasters, number
        self.random = random.Random(SEED * 1000 + number + disasters.count * 77)
        self.is_over = threading.Event()
        self.taken, self.failure = 0, None

    def choose(self):
        role = self.disasters.region.nodes[self.number].role
        if role != "nsp" and self.random.random() < 0.2:
            group = self.random.choice([GROUP, STAFF])
            return [group], MEMBERS[group]
        one = self.random.choice([node for node in [FIRST, SECOND, *DESKS, *NSPS] if node != self.number])
        return [one], [one]

    def run(self):
        try:
            while not self.is_over.wait(self.random.uniform(0.05, 0.4)):
                to, recipients = self.choose()
                word = self.disasters.word(self.number, recipients, self.random.choice(["DELIVERED", "DELIVERED", "READ", "DONE"]))
                if self.write(word, to):
                    self.taken += 1
        except Exception as why:
            self.failure = f"{self.number}: {why!r}"

    def write(self, word, to):
        """Until it is taken; not after the disk of its node was lost with what it may have taken."""
        while not self.is_over.is_set() and word.life == self.disasters.lives[self.number]:
            try:
                self.disasters.send(word, to, self.random.choice(["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"]))
                return True
            except Refused as why:
                if "revoked" in why.error["message"]:
                    return False    # nobody has taken its place yet: it is not taken, and says so
                if why.status != 503:
                    raise
            except (OSError, http.client.HTTPException, ValueError):
                pass            # no daemon, or an answer that was cut off
            time.sleep(0.1)
        return False


class Disasters:
    def __init__(self, checks, region):
        self.checks, self.region = checks, region
        self.ledger = Ledger()
        self.lives = collections.Counter()    # disks lost, by node
        self.count = self.numbers = 0
        self.authors = []
        self.gone, self.left = set(), set()   # texts that must not, and must, arrive though their author's disk is lost
        self.stick = os.path.join(region.folder, "stick")
        self.safe = os.path.join(region.folder, "safe")
        os.makedirs(self.stick)
        os.makedirs(self.safe)

    # ---- traffic
    def word(self, origin, recipients, closing="DELIVERED"):
        with self.ledger.lock:
            self.numbers += 1
            number = self.numbers
        word = Word(origin, self.lives[origin], recipients, f"{origin} schrijft {number}.", closing)
        self.ledger.add(word)
        return word

    def send(self, word, to, precedence="PRIORITY"):
        node = self.region.nodes[word.origin]
        identifier = node.send("text", to, {"text": word.text}, key=word.text.replace(" ", "-"), precedence=precedence, closing_level=word.closing)
        # Between a revocation and the certificate of who takes its place, a group goes without that member.
        if QUIET in word.recipients and QUIET not in node.told(identifier):
            word.recipients = [number for number in word.recipients if number != QUIET]
        word.id = identifier
        return word

    def begin(self):
        self.count += 1
        self.authors = [Author(self, number) for number in self.region.nodes if number != QUIET]
        for author in self.authors:
            author.start()
        self.flow(EACH)

    def flow(self, count, seconds=90):
        """Every author has so many more taken."""
        goals = {author: author.taken + count for author in self.authors if self.region.nodes[author.number].is_running()}
        wait_for(f"{count} messages of each author", lambda: self.failures() or all(author.taken >= goal for author, goal in goals.items()), seconds)
        if self.failures():
            raise RuntimeError(f"authors gave up: {self.failures()[:3]}")

    def failures(self):
        return [author.failure for author in self.authors if author.failure]

    def end(self, name):
        """The traffic stops; all must come to rest."""
        self.flow(EACH)
        for author in self.authors:
            author.is_over.set()
        for author in self.authors:
            author.join(30)
        self.checks.check(f"{name}: every author was answered", not self.failures(), self.failures()[:3])
        begin = time.monotonic()
        wrong = self.settled("all messages", self.differences, 150)
        self.checks.check(f"{name}: all that was answered with an id is shown once, at every addressee", not wrong, wrong[:6])
        open_ones = self.settled("all states", self.unclosed, 90)
        self.checks.check(f"{name}: every author has the states of all recipients, and each message is closed", not open_ones, open_ones[:6])
        versions = self.settled("the directory", self.behind, 60)
        self.checks.check(f"{name}: everyone has the region's newest directory", not versions, versions)
        words = self.ledger.answered()
        print(f"figure: {name}: {len(words)} messages so far, {sum(len(word.recipients) for word in words)} deliveries; at rest "
              f"{time.monotonic() - begin:.0f} s after the last", flush=True)

    def settled(self, what, remaining, seconds):
        try:
            wait_for(what, lambda: not remaining(), seconds, 0.5)
        except TimeoutError:
            pass                # told by the caller, with names
        return remaining()

    # ---- what must hold
    def is_lost(self, word):
        return word.life != self.lives[word.origin]

    def differences(self):
        due = collections.defaultdict(set)
        for word in self.ledger.answered():
            if not self.is_lost(word) or word.text in self.left:
                for number in word.recipients:
                    due[number].add(word.text)
        wrong = []
        for number, node in self.region.nodes.items():
            inbox = [message for message in node.inbox() if not message["superseded"]]
            shown = collections.Counter(message["line"] for message in inbox)
            wrong += [f"{text} is missing at {number}" for text in due[number] if text not in shown]
            wrong += [f"{text} is shown {times} times at {number}" for text, times in shown.items() if times > 1]
            wrong += [f"{text} at {number} was never sent to it" for text in shown
                      if text not in self.ledger.words or number not in self.ledger.words[text].recipients]
            wrong += [f"{text} had not left its author's disk, and came to {number}" for text in shown if text in self.gone]
        return wrong

    def unclosed(self):
        """People do what they were asked; what then is open at an author."""
        wrong = []
        for node in self.region.nodes.values():
            for message in node.inbox():
                word = self.ledger.words.get(message["line"])
                for level, act in (("READ", "read"), ("ACCEPTED", "accept"), ("DONE", "done")):
                    if word and word.closing in ("READ", "DONE") and message["level"] in ("DELIVERED", "READ", "ACCEPTED") and \
                            (level == "READ" or word.closing == "DONE"):
                        node.act(message["id"], act)
        for node in self.region.nodes.values():
            for message in node.outbox():
                told = message["recipients"]
                is_told = told["delivered"] == told["closed"] == told["total"] or message["superseded"]
                if not message["closed"] or not is_told:
                    wrong.append(f"{message['id']} {message['line']} {told}")
        return wrong

    def behind(self):
        newest = len(os.listdir(os.path.join(self.region.authority, "updates")))
        return {number: node.get("/v1/directory")["version"] for number, node in self.region.nodes.items() if node.get("/v1/directory")["version"] != newest}

    # ---- the machine that is lost
    def wires_of(self, number):
        return [wire for ends, wire in self.region.wires.items() if number in ends]

    def before_the_end_of(self, node, other):
        """Two messages that have left the node, and then two that cannot."""
        left = [self.send(self.word(node.number, [other]), [other]) for _ in range(2)]
        wait_for(f"what {node.number} wrote to be taken over", lambda: all(self.has_left(node, word) for word in left), 60)
        for wire in self.wires_of(node.number):
            wire.cut()
        wait_for(f"{node.number} to be alone", lambda: not any(link["up"] for link in node.get("/v1/status")["links"]), 60)
        return left, [self.send(self.word(node.number, [other]), [other]) for _ in range(2)]

    @staticmethod
    def has_left(node, word):
        return all(recipient["state"] == "passed" or recipient["level"] != "NONE" for recipient in node.trace(word.id)["recipients"])

    def destroy(self, node, left, gone):
        """The machine with all that was on it."""
        node.kill()
        self.set_back(node, left, gone)
        shutil.move(node.folder, f"{node.folder}.burnt-{self.lives[node.number]}")   # for who reads a failure
        os.makedirs(node.folder)

    def set_back(self, node, left, gone):
        """Its disk will not be the one that took what it has taken so far."""
        # What came here from an author whose disk is lost too, nobody keeps: two lost disks are more than custody covers.
        self.left = {text for text in self.left if node.number not in self.ledger.words[text].recipients}
        self.left |= {word.text for word in left}
        self.gone |= {word.text for word in gone}
        self.lives[node.number] += 1
        for wire in self.wires_of(node.number):
            wire.restore()

    # ---- docs/OPERATIONS.md, as it stands
    def follow(self, title, block, node, others=None, without=(), only="", old=None):
        """Gives the commands of that block (its place in the chapter, from 0) as a person would: at the node; at
        other nodes, where the page says at whom, those of `others` by its words; on its old machine."""
        for command, place in commands(title, block):
            if any(word in command + place for word in without) or only not in command:
                continue
            for at in (others or {}).get(place, [old if "old machine" in place else node]):
                self.give(command, at)

    def give(self, command, node):
        certified = os.path.join(self.region.authority, "updates")
        newest = max(os.listdir(certified))
        for old, new in (("/media/stick/cpd/.", self.stick + "/state/."), ("/var/lib/cpd", node.state), ("/etc/cpd/cpd.conf", node.conf), ("/media/stick", self.stick), ("/media/safe", self.safe),
                         ("NUMBER.update", newest), ("DIR", self.region.authority)):
            command = re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", new, command)
        command = re.sub(r"\b(901|911|344003)(?=\.kit|\.backup|$| )", str(node.number), command)
        words = shlex.split(command)
        if words[0] == "systemctl":
            return node.start() if "start" in words else node.stop()
        if words[0] == "chown" and not has_user("cpd"):
            return None
        if words[0] == "cp":
            os.makedirs(os.path.dirname(words[-1].rstrip("/")), exist_ok=True)
            os.makedirs(words[-1], exist_ok=True) if words[-1].endswith("/") else None
        program = {"cpctl": CPCTL, "cpd": CPD}.get(words[0], words[0])
        done = subprocess.run([program, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                              env={**os.environ, "CPD_SOCKET": node.socket, "CPD": CPD})
        print(f"     {' '.join(words)}", flush=True)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}")
        if "--conf" in words:
            self.fit(node)
        return done

    def fit(self, node):
        """What a test bench needs else than the machine that the configuration is made for."""
        with open(node.conf) as file:
            text = file.read()
        text = text.replace("/run/cpd/api.sock", node.socket).replace("quality = auto", "quality = ntp").replace("0.0.0.0", "127.0.0.1")
        for (spoke, hub), wire in self.region.wires.items():
            if spoke == node.number:
                text = text.replace(f":{self.region.nodes[hub].port}\n", f":{wire.port}\n")
        with open(node.conf, "w") as file:
            file.write(re.sub(r"(?m)^group =.*$", "", text) + EXTRA)


class Machine:
    """The old laptop: as the node stood on it; the node itself goes on in an empty folder."""

    def __init__(self, node, folder):
        self.node, self.number, self.socket = node, node.number, node.socket
        self.state, self.conf = os.path.join(folder, "state"), os.path.join(folder, "cpd.conf")
        self.folder = folder

    def stop(self):
        self.node.stop()
        shutil.move(self.node.folder, self.folder)
        os.makedirs(self.node.state)


def has_user(name):
    try:
        return pwd.getpwnam(name) is not None
    except KeyError:
        return False


def commands(title, block):
    """(command, place) of each line of a block of commands under a heading."""
    with open(PAGE) as page:
        chapter = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page.read())[1]
    blocks = re.findall(r"(?m)(?:^    \S.*\n)+", chapter)
    lines = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in blocks[block].splitlines()]
    return [(line[0], line[1] if len(line) > 1 else "") for line in lines]


# ---------------------------------------------------------------- the disasters
def build(region):
    for number, role, name in ((FIRST, "cp", "CP Utrecht"), (SECOND, "cp", "CP Amersfoort"), (911, "desk", "Crisisstaf"), (912, "desk", "Meldkamer")):
        region.add(number, role, name)
    for number in NSPS:
        region.add(number, "nsp", f"NSP {number}", f"GM{number // 1000:04}")
    nodes = region.nodes
    both = [nodes[number] for number in [*DESKS, *NSPS] if number != LONE]
    region.wire_up(nodes[FIRST], [nodes[SECOND], nodes[LONE], *both])
    region.wire_up(nodes[SECOND], both)
    region.admit([(1, GROUP, NSPS), (2, STAFF, MEMBERS[STAFF])])
    region.configure()
    region.start()
    region.wait_for_links()


def cp_burns_down(disasters):
    """No copy of its keys: new keys under the old number. One NSP calls no other CP."""
    node = disasters.region.nodes[FIRST]
    disasters.begin()
    left, gone = disasters.before_the_end_of(node, 912)
    disasters.destroy(node, left, gone)
    disasters.flow(EACH // 2)
    nodes = disasters.region.nodes
    disasters.follow("A CP burns down", 1, node, without=("directory import",))
    told = wait_for("a word of advice at the NSP that calls nobody else", lambda: "new keys? import the region's update" in nodes[LONE].log_tail(400), 60)
    disasters.checks.check("an NSP that knows only the old keys says what to do", told)
    disasters.follow("A CP burns down", 1, node, {"at one other CP or desk": [nodes[911]], "at each NSP that calls only this CP": [nodes[LONE]]},
                     only="directory import")
    disasters.end("a CP burnt down, new keys")


def cp_burns_down_with_keys(disasters):
    node = disasters.region.nodes[SECOND]
    disasters.begin()
    disasters.follow("Keep in a safe", 0, node, without=("backup",))
    left, gone = disasters.before_the_end_of(node, 911)
    disasters.destroy(node, left, gone)
    disasters.follow("A CP burns down", 0, node, without=("restore",))
    disasters.end("a CP burnt down, its keys were in the safe")


def desk_dies(disasters):
    """New keys. Nobody calls a desk: it tells who it is, and nobody is told by hand."""
    node = disasters.region.nodes[911]
    disasters.begin()
    left, gone = disasters.before_the_end_of(node, LONE)
    disasters.destroy(node, left, gone)
    disasters.flow(EACH // 2)
    disasters.follow("A desk's disk dies", 1, node)
    disasters.end("a desk's disk died, new keys")


def desk_dies_with_keys(disasters):
    """Keys and a backup were in the safe; the backup is older than what had left."""
    node = disasters.region.nodes[912]
    disasters.begin()
    disasters.follow("Keep in a safe", 0, node)
    left, gone = disasters.before_the_end_of(node, LONE)
    disasters.destroy(node, left, gone)
    disasters.flow(EACH // 2)
    disasters.follow("A desk's disk dies", 0, node)
    disasters.end("a desk's disk died, keys and backup were in the safe")


def nsp_moves(disasters):
    """The disk still works: what was never sent goes along."""
    region, node = disasters.region, disasters.region.nodes[352001]
    disasters.begin()
    left, kept = disasters.before_the_end_of(node, 912)
    old = Machine(node, node.folder + ".old")
    disasters.follow("An NSP's laptop is replaced", 0, node, old=old)
    for wire in disasters.wires_of(node.number):
        wire.restore()
    disasters.end("an NSP's disk moved to another laptop")
    shown = {message["line"] for message in region.nodes[912].inbox()}
    disasters.checks.check("what had never left the old laptop arrived", {word.text for word in left + kept} <= shown)


def nsp_lost(disasters):
    node = disasters.region.nodes[307001]
    disasters.begin()
    left, gone = disasters.before_the_end_of(node, 912)
    disasters.destroy(node, left, gone)
    disasters.flow(EACH // 2)
    disasters.follow("An NSP's laptop is replaced", 1, node, without=("if it was stolen",))
    disasters.end("an NSP's laptop was lost")


def nsp_stolen(disasters):
    """Its key is revoked. It never wrote a word, so that nobody can tell its epoch from a message of it."""
    node = disasters.region.nodes[QUIET]
    disasters.begin()
    disasters.destroy(node, [], [])
    disasters.flow(EACH // 2)
    disasters.follow("An NSP's laptop is replaced", 1, node, {"at a CP or desk, if it was stolen": [disasters.region.nodes[911]]})
    disasters.end("an NSP's laptop was stolen")


def backup_comes_back(disasters):
    node = disasters.region.nodes[SECOND]
    disasters.begin()
    disasters.follow("Backup and restore", 0, node)
    disasters.flow(EACH)
    left, gone = disasters.before_the_end_of(node, 911)
    disasters.set_back(node, left, gone)
    disasters.follow("Backup and restore", 1, node)
    disasters.end("an old backup came back")


def image_comes_back(disasters):
    """The whole disk as it was some time ago, keys and epoch too: only others can tell."""
    node = disasters.region.nodes[352001]
    disasters.begin()
    node.stop()
    shutil.copytree(node.state, node.folder + ".image")
    node.start()
    disasters.flow(EACH)
    left, gone = disasters.before_the_end_of(node, 911)
    node.kill()
    disasters.set_back(node, left, gone)
    shutil.rmtree(node.state)
    shutil.copytree(node.folder + ".image", node.state)
    node.start()
    disasters.end("an image of a whole disk came back")


def main(checks, region):
    print(f"seed {SEED}: SEED={SEED} repeats it")
    build(region)
    disasters = Disasters(checks, region)
    wanted = sys.argv[1:] or (list(ALL) if os.environ.get("FULL") else FEW)
    for name in wanted:
        print(f"---- {name}", flush=True)
        begin = time.monotonic()
        ALL[name](disasters)
        print(f"figure: {name} took {time.monotonic() - begin:.0f} s", flush=True)


ALL = {"cp": cp_burns_down, "cp-keys": cp_burns_down_with_keys, "desk": desk_dies, "desk-keys": desk_dies_with_keys, "nsp-moves": nsp_moves,
       "nsp-lost": nsp_lost, "nsp-stolen": nsp_stolen, "backup": backup_comes_back, "image": image_comes_back}
FEW = ["cp", "image"]                          # in `make check`; the others in `make check-all`

if __name__ == "__main__":
    sys.exit(test_region("disasters", main, seed=SEED, extra=EXTRA))
