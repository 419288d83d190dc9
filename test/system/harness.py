"""Real cpd processes for tests and the demo: a region made with cpctl, each node with its own keys, store,
configuration and log, and wires between them that can be cut. Everything stays on the loopback.

A test is a function of (checks, region) that test_region() is given. BUILD tells which cpd; WRAP is put
before it: WRAP="valgrind -q"."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback

from wire import Wires

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
CPD = os.path.join(BUILD, "cpd")
CPCTL = os.path.join(BUILD, "cpctl")


class Refused(Exception):
    """The API said no: status and the error object."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error}")
        self.status, self.error = status, error


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("cpd", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=30, step=0.05):
    """Waits until condition() is true and returns its value; a bound, never a sleep for luck."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(step)


def cpctl(*words, check=True, **options):
    done = subprocess.run([CPCTL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **options)
    if check and done.returncode:
        raise RuntimeError(f"cpctl {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Checks:
    """Tells each result as it comes, and counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        self.passed += bool(good)
        self.failed += not good
        print(("ok   " if good else "FAIL ") + name + ("" if good else f": {detail}"), flush=True)

    def refused(self, name, status, field, call):
        try:
            call()
        except Refused as why:
            good = why.status == status and (field is None or why.error.get("field") == field) and why.error.get("message")
            self.check(name, good, str(why))
        else:
            self.check(name, False, "it was taken")

    def run(self, test, *arguments):
        """One check that is a function: named as it, good when it raises nothing."""
        begin = time.monotonic()
        try:
            test(*arguments)
        except Exception:
            self.check(test.__name__, False, traceback.format_exc())
        else:
            self.check(f"{test.__name__} ({time.monotonic() - begin:.1f} s)", True)

    def end(self):
        """The last line; what the program exits with."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def test_region(name, test, **options):
    """Gives the test an empty region in a new folder, and takes it down whatever happens. When a check
    failed its logs and stores stay. Returns what the program exits with."""
    checks = Checks()
    region = Region(tempfile.mkdtemp(prefix=f"cpd-{name}-"), **options)
    try:
        test(checks, region)
    except Exception:
        checks.check("the test came to its end", False, traceback.format_exc())
    finally:
        region.close()
    if checks.failed:
        print(f"the nodes' logs and stores are kept in {region.folder}")
    else:
        shutil.rmtree(region.folder, ignore_errors=True)
    return checks.end()


class Node:
    def __init__(self, region, number, role, name, municipality=None):
        self.region, self.number, self.role, self.name, self.municipality = region, number, role, name, municipality
        self.folder = os.path.join(region.folder, str(number))
        self.state = os.path.join(self.folder, "state")
        self.conf = os.path.join(self.folder, "cpd.conf")
        self.log = os.path.join(self.folder, "cpd.log")
        # A socket's path is at most 107 bytes, and a build folder may lie deep.
        self.socket = os.path.join(region.sockets, f"{number}.sock")
        self.port = None
        self.process = None
        self.wrapper = os.environ.get("WRAP", "").split()

    # ---- life
    def write_conf(self, links, extra=""):
        lines = ["[node]", f"number = {self.number}", f"role = {self.role}", f"state = {self.state}", ""]
        if self.port:
            lines += ["[listen]", f"address = tcp://127.0.0.1:{self.port}", "accept_any_certified = yes", ""]
        for neighbour, port in links:
            lines += [f"[link {neighbour}]"] + ([f"address = tcp://127.0.0.1:{port}"] if port else []) + ["profile = ip", ""]
        lines += ["[api]", f"socket = {self.socket}", "", "[clock]", "quality = ntp", ""]
        with open(self.conf, "w") as out:
            out.write("\n".join(lines) + extra)

    def start(self, wait=True):
        log = open(self.log, "a")
        self.process = subprocess.Popen([*self.wrapper, CPD, "--config", self.conf], stdout=log, stderr=log,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()
        if wait:
            wait_for(f"answer from node {self.number}; see {self.log}", self.is_ready, 30)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"node {self.number} ended with {self.process.returncode}: {self.log_tail()}")
        try:
            self.get("/healthz")
            return True
        except (OSError, Refused, http.client.HTTPException):
            return False

    def kill(self, with_signal=signal.SIGKILL):
        """Ends it; its exit code, as subprocess tells it."""
        if not self.process:
            return 0
        if self.process.poll() is None:
            os.killpg(self.process.pid, with_signal)
        return self.process.wait(15)

    def stop(self):
        return self.kill(signal.SIGTERM)

    def check_store(self):
        """What `cpd --check-store` says of its store, as a finished process with its stdout."""
        return subprocess.run([CPD, "--check-store", self.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines=15):
        with open(self.log, errors="replace") as text:
            return "".join(text.readlines()[-lines:])

    # ---- API
    def call(self, method, path, body=None, headers=None, timeout=15):
        connection = UnixConnection(self.socket, timeout)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
            kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            connection.request(method, path, data, {"Content-Type": kind, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            value = json.loads(text) if text else {}
            if answer.status >= 400:
                raise Refused(answer.status, value.get("error"))
            return value
        finally:
            connection.close()

    def get(self, path, timeout=15):
        return self.call("GET", path, timeout=timeout)

    def text(self, path, timeout=15):
        """(content type, text) of an answer that is not JSON."""
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status >= 400:
                raise Refused(answer.status, json.loads(text).get("error"))
            return answer.headers["Content-Type"], text
        finally:
            connection.close()

    def send(self, kind, to, body, key=None, **options):
        headers = {"Idempotency-Key": key} if key else {}
        return self.call("POST", "/v1/messages", {"kind": kind, "to": to, "body": body, **options}, headers)["id"]

    def act(self, identifier, what, **options):
        return self.call("POST", f"/v1/messages/{identifier}/{what}", options)

    def inbox(self):
        messages, after = [], 0
        for _ in range(10000):
            page = self.get(f"/v1/inbox?limit=500&after={after}")
            messages += page["messages"]
            if page["next"] is None:
                return messages
            after = page["next"]
        raise RuntimeError("the inbox does not end")

    def has(self, identifier):
        return any(message["id"] == identifier for message in self.inbox())

    def outbox(self):
        messages, after = [], ""
        for _ in range(10000):
            page = self.get("/v1/outbox?limit=500" + (f"&after={after}" if after else ""))
            messages += page["messages"]
            if page["next"] is None:
                return messages
            after = page["next"]
        raise RuntimeError("the outbox does not end")

    def show(self, identifier):
        return self.get(f"/v1/messages/{identifier}")

    def trace(self, identifier):
        return self.get(f"/v1/messages/{identifier}/trace")

    def told(self, identifier):
        """What its author knows: the level reached by each recipient, by number."""
        return {recipient["node"]: recipient["level"] for recipient in self.trace(identifier)["recipients"]}

    def link_is_up(self, neighbour):
        try:
            return any(link["neighbour"] == neighbour and link["up"] for link in self.get("/v1/status")["links"])
        except (OSError, Refused, http.client.HTTPException):
            return False


class Region:
    """One CP that listens, and nodes that call it, each over a wire of its own."""

    def __init__(self, folder, region="VR09", name="Utrecht", seed=1, extra=""):
        self.folder = os.path.abspath(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.sockets = f"/tmp/cpd-{os.getpid()}-{os.path.basename(self.folder)[:40]}" if len(self.folder) > 70 else self.folder
        os.makedirs(self.sockets, mode=0o700, exist_ok=True)
        self.authority = os.path.join(self.folder, "authority")
        self.extra = extra
        self.nodes = {}
        self.wires = {}
        self.wiring = Wires(seed)
        cpctl("region", "init", self.authority, "--region", region, "--name", name, "--unsealed")

    def add(self, number, role, name, municipality=None):
        node = Node(self, number, role, name, municipality)
        os.makedirs(node.folder)
        cpctl("node", "init", node.state, "--name", name)
        self.nodes[number] = node
        return node

    def admit(self, groups=()):
        """Certifies every node, makes the groups (number, name, members), installs all of it everywhere."""
        for node in self.nodes.values():
            self.certify(node)
        for group in groups:
            self.make_group(*group)
        for node in self.nodes.values():
            self.install(node)

    def certify(self, node):
        """The authority's part. The other nodes are not told: see newest_update."""
        words = ["region", "admit", self.authority, os.path.join(node.state, "request.cpd"), "--node", node.number,
                 "--role", node.role, "--name", node.name]
        words += ["--municipality", node.municipality] if node.municipality else []
        cpctl(*words, *(["--address", f"tcp://127.0.0.1:{node.port}"] if node.port else []))

    def make_group(self, number, name, members):
        cpctl("region", "group", self.authority, "--number", number, "--name", name, "--members", ",".join(map(str, members)))

    def install(self, node):
        """The node's part: its kit, with every update so far."""
        cpctl("region", "kit", self.authority, "--node", node.number)
        cpctl("node", "install", node.state, os.path.join(self.authority, "kits", f"{node.number}.kit"))

    def newest_update(self):
        """The bytes of the authority's last word, to be posted to a node."""
        folder = os.path.join(self.authority, "updates")
        with open(os.path.join(folder, max(os.listdir(folder))), "rb") as update:
            return update.read()

    def wire_up(self, hub, spokes):
        """The hub listens; each spoke calls it over a wire."""
        hub.port = hub.port or free_port()
        for spoke in spokes:
            self.wires[(spoke.number, hub.number)] = self.wiring.add(hub.port)

    def configure(self, nodes=None):
        for node in nodes or self.nodes.values():
            links = [(hub, wire.port) for (spoke, hub), wire in self.wires.items() if spoke == node.number]
            routes = ", ".join(str(hub) for hub, _ in links)
            node.write_conf(links, (f"\n[route]\ndefault = {routes}\n" if routes else "") + self.extra)

    def start(self):
        for node in self.nodes.values():
            node.start(wait=False)
        for node in self.nodes.values():
            wait_for(f"answer from node {node.number}; see {node.log}", node.is_ready, 30)

    def wait_for_links(self, seconds=60):
        for spoke, hub in self.wires:
            wait_for(f"link {spoke}-{hub}", lambda: self.nodes[spoke].link_is_up(hub), seconds)

    def close(self):
        for node in self.nodes.values():
            if node.is_running():
                os.killpg(node.process.pid, signal.SIGTERM)
        for node in self.nodes.values():
            if node.process:
                try:
                    node.process.wait(8)
                except subprocess.TimeoutExpired:
                    node.kill()
        self.wiring.stop()
        if self.sockets != self.folder:
            shutil.rmtree(self.sockets, ignore_errors=True)
