#!/usr/bin/env python3
"""Three real cpd processes on loopback: an NSP calls a CP, a desk calls the CP. Messages, receipts, a
killed and restarted relay, a lost disk, an idempotency key, a directory update that spreads, idle wake-ups.

    BUILD=build test/system/smoke.py            prints `N passed, M failed`; logs stay when one fails
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("BUILD", "build")
CPD = os.path.join(BUILD, "cpd")
MAKE_REGION = os.environ.get("MAKE_REGION", os.path.join(BUILD, "test/system/make_region"))
NSP, CP, DESK, NEWCOMER = 344003, 901, 900, 344009
PATIENCE = float(os.environ.get("PATIENCE", "20"))
CONTENT = "Wij hebben de noodkreet gehoord"


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    def __init__(self, folder, number, role, listen=None, links=(), routes=()):
        self.folder = os.path.join(folder, str(number))
        self.number = number
        self.process = None
        self.config = os.path.join(self.folder, "cpd.conf")
        lines = ["[node]", f"number = {number}", f"role = {role}", f"state = {self.folder}", "[store]", "limit_mib = 64"]
        if listen:
            lines += ["[listen]", f"address = tcp://127.0.0.1:{listen}", "accept_any_certified = yes"]
        for neighbour, port in links:
            lines += [f"[link {neighbour}]"] + ([f"address = tcp://127.0.0.1:{port}"] if port else ["profile = ip"])
        lines += ["[route]"] + [f"{prefix} = {via}" for prefix, via in routes]
        lines += ["[clock]", "quality = ntp", "[tuning]", "retry_flash_s = 3", "retry_immediate_s = 4", "retry_priority_s = 4",
                  "retry_routine_s = 5", "reroute_s = 2", "refusal_wait_s = 1", "[log]", "level = debug"]
        with open(self.config, "w") as file:
            file.write("\n".join(lines) + "\n")

    def start(self):
        self.log = open(os.path.join(self.folder, "log"), "a")
        self.process = subprocess.Popen(WRAP + [CPD, "--config", self.config], stderr=self.log, stdout=self.log)
        wait(lambda: self.status(), f"{self.number} answers")

    def stop(self, number=signal.SIGTERM):
        if not self.process:
            return 0
        self.process.send_signal(number)
        started = time.monotonic()
        code = self.process.wait(10)
        self.stop_s = time.monotonic() - started
        self.process = None
        return code

    def ask(self, method, path, body=None, headers=None):
        connection = UnixConnection(os.path.join(self.folder, "api.sock"))
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None

    def status(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.number} ended with {self.process.returncode}")
        try:
            code, answer = self.ask("GET", "/v1/status")
        except OSError:
            return None
        return answer if code == 200 else None

    def send(self, to, text, key=None, **options):
        order = dict(kind="text", to=[to], body=dict(text=text), **options)
        code, answer = self.ask("POST", "/v1/messages", order, {"Idempotency-Key": key} if key else None)
        assert code in (200, 201), (code, answer)
        return answer["id"]

    def inbox(self):
        code, answer = self.ask("GET", "/v1/inbox?limit=500")
        assert code == 200, answer
        return {one["id"]: one for one in next(v for v in answer.values() if isinstance(v, list))}

    def trace(self, id):
        code, answer = self.ask("GET", f"/v1/messages/{id}/trace")
        return json.dumps(answer) if code == 200 else ""

    def directory(self):
        return self.ask("GET", "/v1/directory")[1]["version"]


def wait(condition, what, patience=None):
    end = time.monotonic() + (patience or PATIENCE)
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {patience or PATIENCE} s: {what}")


def message_passes_two_hops_and_its_receipt_comes_back(nsp, cp, desk):
    id = nsp.send(DESK, CONTENT)
    wait(lambda: id in desk.inbox(), "the desk has it")
    wait(lambda: "DELIVERED" in nsp.trace(id), "the NSP knows")


def flash_goes_the_other_way(nsp, cp, desk):
    id = desk.send(NSP, "Ontruim nu", precedence="FLASH")
    wait(lambda: id in nsp.inbox(), "the NSP has it")
    wait(lambda: "DELIVERED" in desk.trace(id), "the desk knows")
    assert nsp.ask("POST", f"/v1/messages/{id}/read", {})[0] == 200
    wait(lambda: "READ" in desk.trace(id), "the desk knows that a person read it")


def a_repeated_key_makes_one_message(nsp, cp, desk):
    first = nsp.send(DESK, "eenmaal", key="k-1")
    assert nsp.send(DESK, "eenmaal", key="k-1") == first
    wait(lambda: first in desk.inbox(), "the desk has it")
    assert sum(one["line"] == "eenmaal" for one in desk.inbox().values()) <= 1


def an_unknown_addressee_is_refused_in_words(nsp, cp, desk):
    code, answer = nsp.ask("POST", "/v1/messages", dict(kind="text", to=[77], body=dict(text="x")))
    assert 400 <= code < 500 and "directory" in json.dumps(answer), (code, answer)


def a_group_reaches_every_member(nsp, cp, desk):
    id = desk.send("group:2", "aan allen")
    for node in (nsp, cp):
        wait(lambda: id in node.inbox(), f"{node.number} has it")


def a_hundred_messages_arrive_once(nsp, cp, desk):
    ids = [nsp.send(DESK, f"bericht {i}") for i in range(100)]
    wait(lambda: set(ids) <= set(desk.inbox()), "the desk has all")
    wait(lambda: all("DELIVERED" in nsp.trace(id) for id in ids), "the NSP knows of all")


def what_was_accepted_survives_a_killed_relay(nsp, cp, desk):
    desk.stop()
    ids = [nsp.send(DESK, f"onderweg {i}") for i in range(20)]
    wait(lambda: sum(q["depth"] for q in queue_of(nsp, CP)) == 0, "the CP has custody")
    cp.stop(signal.SIGKILL)
    cp.start()
    desk.start()
    wait(lambda: set(ids) <= set(desk.inbox()), "the desk has all", 60)
    wait(lambda: all("DELIVERED" in nsp.trace(id) for id in ids), "the NSP knows of all", 60)


def queue_of(node, link):
    answer = node.status()
    for one in answer["links"]:
        if one.get("neighbour", one.get("node", one.get("number"))) == link:
            return [q for q in one["queue"].values()]
    raise AssertionError(answer["links"])


def a_newcomer_introduces_itself(nsp, cp, desk):
    newcomer = Node(FOLDER, NEWCOMER, "nsp", links=[(CP, PORT)], routes=[("default", CP)])
    newcomer.start()
    try:
        wait(lambda: cp.directory() == 2, "the CP knows it", 60)
        wait(lambda: desk.directory() == 2 and nsp.directory() == 2, "everyone knows it")
        id = newcomer.send(DESK, "wij zijn nieuw")
        wait(lambda: id in desk.inbox(), "the desk has its message", 60)
        wait(lambda: "DELIVERED" in newcomer.trace(id), "and it knows")
    finally:
        newcomer.stop()


def an_update_spreads_over_links(nsp, cp, desk):
    with open(os.path.join(FOLDER, "update-3"), "rb") as file:
        code, answer = desk.ask("POST", "/v1/directory", file.read(), {"Content-Type": "application/octet-stream"})
    assert code == 200, (code, answer)
    wait(lambda: nsp.directory() == 3, "the NSP has the update")
    assert cp.directory() == 3


def a_lost_disk_starts_a_new_epoch_and_loses_nothing(nsp, cp, desk):
    kept = nsp.send(DESK, "voor de brand", closing_level="READ")
    wait(lambda: kept in desk.inbox(), "the desk has it")
    wait(lambda: "DELIVERED" in nsp.trace(kept), "the NSP knows")
    old = desk.status()["node"]["epoch"]
    own = desk.send(NSP, "van voor de brand")
    wait(lambda: own in nsp.inbox(), "the NSP has it")
    desk.stop(signal.SIGKILL)
    shutil.rmtree(os.path.join(desk.folder, "store"))
    shutil.copytree(os.path.join(FOLDER, "seed"), os.path.join(desk.folder, "store"))
    desk.start()
    assert desk.status()["node"]["epoch"] > old, desk.status()["node"]
    wait(lambda: kept in desk.inbox(), "what was not closed is offered again", 60)
    fresh = desk.send(NSP, "na de brand")
    wait(lambda: fresh in nsp.inbox(), "the NSP has the new one")
    assert fresh != own


def stopping_takes_less_than_five_seconds_and_the_stores_are_sound(nsp, cp, desk):
    for node in (nsp, cp, desk):
        assert node.stop() == 0, node.number
        assert node.stop_s < 5, node.stop_s
        check = subprocess.run([CPD, "--check-store", node.config], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr


def idle_nodes_sleep(nsp, cp, desk):
    def wakeups(node):
        total = 0
        for task in os.listdir(f"/proc/{node.process.pid}/task"):
            with open(f"/proc/{node.process.pid}/task/{task}/status") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))
        return total
    time.sleep(3)
    before = {node: wakeups(node) for node in (nsp, cp, desk)}
    time.sleep(20)
    for node, count in before.items():
        print(f"    {node.number}: {(wakeups(node) - count) * 3} wake-ups a minute")
        assert (wakeups(node) - count) * 3 < 100, node.number


def no_log_shows_a_fault(nsp, cp, desk):
    for node in (nsp, cp, desk):
        with open(os.path.join(node.folder, "log"), errors="replace") as file:
            bad = [line for line in file if "runtime error" in line or "Sanitizer" in line or "event=rebuild" in line]
        assert not bad, (node.number, bad[:3])


TESTS = [message_passes_two_hops_and_its_receipt_comes_back, flash_goes_the_other_way, a_repeated_key_makes_one_message,
         an_unknown_addressee_is_refused_in_words, a_group_reaches_every_member, a_hundred_messages_arrive_once,
         what_was_accepted_survives_a_killed_relay, a_newcomer_introduces_itself, an_update_spreads_over_links, a_lost_disk_starts_a_new_epoch_and_loses_nothing,
         idle_nodes_sleep, stopping_takes_less_than_five_seconds_and_the_stores_are_sound, no_log_shows_a_fault]
WRAP = os.environ.get("WRAP", "").split()


def build_region_maker():
    """It needs the project's archives only; built when the Makefile did not."""
    if os.path.exists(MAKE_REGION) and os.path.getmtime(MAKE_REGION) >= os.path.getmtime("test/system/make_region.c"):
        return
    os.makedirs(os.path.dirname(MAKE_REGION), exist_ok=True)
    sanitize = ["-fsanitize=address,undefined"] if "asan" in BUILD else []
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-g", "-I.", f"-I{BUILD}/gen", *sanitize, "-o", MAKE_REGION,
                    "test/system/make_region.c", "-Wl,--start-group"] + [f"{BUILD}/lib{name}.a" for name in ("cpdcrypto", "store", "proto")] +
                   ["-Wl,--end-group", "-llmdb", "-lsodium", "-lprotobuf-c", "-lpthread"], check=True)


def main():
    global FOLDER, PORT
    build_region_maker()
    FOLDER = tempfile.mkdtemp(prefix="cpd-smoke-")
    subprocess.run([MAKE_REGION, FOLDER, f"{NSP}:nsp", f"{CP}:cp", f"{DESK}:desk", f"+{NEWCOMER}:nsp"], check=True)
    shutil.copytree(os.path.join(FOLDER, str(DESK), "store"), os.path.join(FOLDER, "seed"))
    PORT = port = free_port()
    nodes = (Node(FOLDER, NSP, "nsp", links=[(CP, port)], routes=[("default", CP)]),
             Node(FOLDER, CP, "cp", listen=port, links=[(NSP, None), (DESK, None)]),
             Node(FOLDER, DESK, "desk", links=[(CP, port)], routes=[("default", CP)]))
    passed = failed = 0
    wanted = sys.argv[1:]
    try:
        for node in nodes:
            node.start()
        for test in TESTS:
            if wanted and test.__name__ not in wanted:
                continue
            started = time.monotonic()
            try:
                test(*nodes)
                passed += 1
                print(f"ok      {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED  {test.__name__}: {type(error).__name__}: {error}", flush=True)
    finally:
        for node in nodes:
            if node.process:
                node.stop(signal.SIGKILL)
    print(f"{passed} passed, {failed} failed")
    if failed:
        print("logs:", FOLDER)
    else:
        shutil.rmtree(FOLDER)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
