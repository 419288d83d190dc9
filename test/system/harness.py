"""Real cpd processes for tests and the demo: a region made with cpctl, each node with its own keys, store,
configuration and log, and wires between them that can be cut. Everything stays on the loopback."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time

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
        self.wrapper = []

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
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, with_signal)
            self.process.wait(15)

    def stop(self):
        self.kill(signal.SIGTERM)

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
        cpctl("region", "init", self.authority, "--region", region, "--name", name)

    def add(self, number, role, name, municipality=None):
        node = Node(self, number, role, name, municipality)
        os.makedirs(node.folder)
        cpctl("node", "init", node.state, "--name", name)
        self.nodes[number] = node
        return node

    def admit(self, groups=()):
        """Admits every node, makes the groups (number, name, members), installs all of it everywhere."""
        for node in self.nodes.values():
            words = ["region", "admit", self.authority, os.path.join(node.state, "request.cpd"), "--node", node.number,
                     "--role", node.role, "--name", node.name]
            if node.municipality:
                words += ["--municipality", node.municipality]
            cpctl(*words)
        for number, name, members in groups:
            cpctl("region", "group", self.authority, "--number", number, "--name", name, "--members", ",".join(map(str, members)))
        for node in self.nodes.values():
            cpctl("node", "install", node.state, os.path.join(self.authority, "kits", f"{node.number}.kit"))
            updates = os.path.join(node.state, "updates")
            os.makedirs(updates, exist_ok=True)
            for name in os.listdir(os.path.join(self.authority, "updates")):
                shutil.copy(os.path.join(self.authority, "updates", name), updates)

    def wire_up(self, hub, spokes):
        """The hub listens; each spoke calls it over a wire."""
        hub.port = hub.port or free_port()
        for spoke in spokes:
            self.wires[(spoke.number, hub.number)] = self.wiring.add(hub.port)

    def configure(self):
        for node in self.nodes.values():
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
