"""The NSP of cpdpy as a process, beside the real nodes of test/system/harness.py."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from cpdpy.joining import make_request
from cpdpy.node import Identity
from harness import cpctl, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))


class PythonNode:
    def __init__(self, region, number, name, municipality):
        self.region, self.number, self.name, self.municipality, self.role = region, number, name, municipality, "nsp"
        self.state = os.path.join(region.folder, str(number), "state")
        self.log = os.path.join(region.folder, str(number), "cpdpy.log")
        self.socket = os.path.join(region.sockets, f"{number}.py.sock")
        self.process = self.wire = self.port = None
        self.hub = None
        self.identity = Identity.make(self.state)
        with open(os.path.join(self.state, "request.cpd"), "wb") as out:
            out.write(make_request(self.identity.keys, name))

    def install(self):
        """Fetches its kit at the region and takes it."""
        cpctl("region", "kit", self.region.authority, "--node", self.number)
        self.identity.install(os.path.join(self.region.authority, "kits", f"{self.number}.kit"))

    def wire_up(self, hub):
        self.hub, self.wire = hub.number, self.region.wiring.add(hub.port)

    def start(self, *options):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "cpdpy.daemon", self.state, self.socket,
                                             f"{self.hub}=tcp://127.0.0.1:{self.wire.port}", *options], cwd=HERE, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        wait_for("answer from the Python node", self.is_ready, 20)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the Python node ended with {self.process.returncode}: {self.log_tail()}")
        try:
            return self.status()
        except OSError:
            return None

    def kill(self, with_signal=signal.SIGKILL):
        if self.process:
            self.process.send_signal(with_signal)
            self.process.wait(10)

    def log_tail(self):
        with open(self.log, errors="replace") as text:
            return "".join(text.readlines()[-15:])

    def copy_state(self, to):
        """Its folder as it is on disk now; the process must not run."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.state, to)

    def put_back(self, copy):
        shutil.rmtree(self.state)
        shutil.copytree(copy, self.state)

    # ---- asking it
    def ask(self, do, **words):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(15)
            client.connect(self.socket)
            client.sendall(json.dumps(dict(words, do=do)).encode() + b"\n")
            answer = json.loads(client.makefile().readline() or "{}")
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def status(self):
        return self.ask("status")

    def send(self, kind, to, body, **options):
        return self.ask("send", kind=kind, to=to, body=body, **options)["id"]

    def inbox(self):
        return self.ask("inbox")["messages"]

    def outbox(self):
        return self.ask("outbox")["messages"]

    def told(self, identifier):
        return {int(node): level for node, level in self.ask("told", id=identifier)["levels"].items()}

    def mark(self, identifier, level, remark=""):
        self.ask("mark", id=identifier, level=level, remark=remark)

    def link(self):
        return self.status()["links"][str(self.hub)]

    def is_up(self):
        return self.link()["up"]
