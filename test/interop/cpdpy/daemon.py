"""The process of a node: ZeroMQ with CURVE (section 7.10), and a Unix socket on which a test tells it what to do, one JSON
object a line. Run as `python3 -m cpdpy.daemon STATE SOCKET NEIGHBOUR=tcp://ADDRESS:PORT ...`.

Each turn: gather what came, decide, commit once, and only then send."""
import argparse
import json
import os
import socket
import sys
import time

import zmq
from zmq.utils.monitor import parse_monitor_message

from . import bodies
from .crypto import H
from .link import Breach
from .node import Node
from .schema import LEVEL_NAMES, REASON_NAMES, Level

ENDS = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | \
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
BACK_OFF_S = (0.2, 0.4, 0.8, 1.6)


class Caller:
    """One DEALER to one neighbour. A connection is never mended by ZeroMQ: it ends, and a new socket calls again, so
    that a session never mixes the frames of two connections."""

    def __init__(self, context, keys, address, server_key):
        self.context, self.keys, self.address, self.server_key = context, keys, address, server_key
        self.socket = self.monitor = None
        self.again_s, self.failures = 0, 0

    def open(self):
        self.socket = self.context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.IMMEDIATE, 1), (zmq.SNDHWM, 8), (zmq.RCVHWM, 8), (zmq.RECONNECT_IVL, -1),
                              (zmq.MAXMSGSIZE, 65536), (zmq.CURVE_PUBLICKEY, self.keys.transport_key),
                              (zmq.CURVE_SECRETKEY, self.keys.transport), (zmq.CURVE_SERVERKEY, self.server_key)):
            self.socket.setsockopt(option, value)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | ENDS)
        self.waiting = []
        self.socket.connect(self.address)

    def close(self, now):
        if self.socket:
            self.socket.disable_monitor()
            self.monitor.close(0)
            self.socket.close(0)
            self.socket = self.monitor = None
            self.again_s = now + BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
            self.failures += 1

    def events(self):
        """(begun, ended) since last asked."""
        begun = ended = False
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())["event"]
            begun |= event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            ended |= bool(event & ENDS)
        return begun, ended

    def receive(self):
        """The next frame, or None."""
        try:
            parts = self.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        if len(parts) != 1:
            raise Breach("a message of several parts")
        return parts[0]

    def flush(self):
        while self.waiting:
            try:
                self.socket.send(self.waiting[0], zmq.DONTWAIT)
            except zmq.Again:
                return
            self.waiting.pop(0)


def identifier_of(text):
    return tuple(map(int, text.split("/")))


class Daemon:
    def __init__(self, folder, control, addresses, bulk_grant):
        self.node = Node(folder, list(addresses), bulk_grant)
        self.context = zmq.Context()
        self.callers = {}
        for neighbour, address in addresses.items():
            certificate = self.node.directory.newest(neighbour)
            if certificate is None:
                sys.exit(f"cpdpy: the directory has no certificate of {neighbour}: install a newer kit")
            self.callers[neighbour] = Caller(self.context, self.node.keys, address or certificate.address, certificate.transport_key)
        self.control = socket.socket(socket.AF_UNIX)
        if os.path.exists(control):
            os.unlink(control)
        self.control.bind(control)
        self.control.listen(4)
        self.client, self.heard, self.answers = None, b"", b""
        self.breaches, self.stopping = [], False
        self.ticked = 0

    def run(self):
        while not self.stopping:
            self.step()
        self.close()

    def step(self):
        """Waits for something to come, up to a tenth of a second, and takes a turn."""
        poller = zmq.Poller()
        poller.register(self.control, zmq.POLLIN)
        if self.client:
            poller.register(self.client, zmq.POLLIN)
        for caller in self.callers.values():
            if caller.socket:
                poller.register(caller.socket, zmq.POLLIN | (zmq.POLLOUT if caller.waiting else 0))
                poller.register(caller.monitor, zmq.POLLIN)
        ready = dict(poller.poll(100))
        self.turn(time.monotonic(), ready)

    def turn(self, now, ready):
        for neighbour, caller in self.callers.items():
            self.gather(self.node.links[neighbour], caller, now)
        self.hear_control(ready)
        if now - self.ticked >= 0.5 or self.node.presence_due_s == 0:
            self.ticked = now
            self.node.tick(now)
        self.node.settle()
        if self.node.restart_links:
            self.node.restart_links = False
            for neighbour, caller in self.callers.items():
                self.end_session(self.node.links[neighbour], caller, now)
        leaving = [(caller, self.node.links[neighbour].frames(now)) for neighbour, caller in self.callers.items()
                   if caller.socket and not caller.waiting]
        self.node.store.commit()
        # From here on the disk has it.
        for caller, frames in leaving:
            caller.waiting += frames
        for caller in self.callers.values():
            if caller.socket:
                caller.flush()
        if self.answers and self.client:
            answers, self.answers = self.answers, b""
            try:
                self.client.sendall(answers)
            except OSError:
                self.client = None

    def end_session(self, link, caller, now):
        if link.in_session:
            self.node.presence_due_s = 0
        link.end()
        caller.close(now)

    def gather(self, link, caller, now):
        if caller.socket is None:
            if now >= caller.again_s:
                caller.open()
            return
        begun, ended = caller.events()
        if begun and not link.in_session:
            link.begin(now)
        try:
            for _ in range(64):
                frame = caller.receive() if link.in_session else None
                if frame is None:
                    break
                link.hear(frame, now)
                if link.is_up:
                    caller.failures = 0
        except Breach as why:
            self.breaches.append(str(why))
            print(f"event=breach neighbour={link.neighbour} why={why!r}", file=sys.stderr, flush=True)
            ended = True
        if ended or link.is_dead(now):
            self.end_session(link, caller, now)

    def close(self):
        for neighbour, caller in self.callers.items():
            self.end_session(self.node.links[neighbour], caller, time.monotonic())
        self.control.close()
        self.context.term()
        self.node.store.close()

    # ---------------------------------------------------------------- the control socket
    def hear_control(self, ready):
        if self.control.fileno() in ready:
            self.client, _ = self.control.accept()
            self.heard = b""
        elif self.client and self.client.fileno() in ready:
            data = self.client.recv(1 << 16)
            if not data:
                self.client = None
                return
            self.heard += data
            while b"\n" in self.heard:
                line, self.heard = self.heard.split(b"\n", 1)
                words = json.loads(line)
                try:
                    answer = getattr(self, "do_" + words.pop("do"))(**words)
                except (ValueError, KeyError) as why:
                    answer = {"error": str(why)}
                self.answers += json.dumps(answer).encode() + b"\n"

    def do_send(self, kind, to=(), groups=(), body=None, raw=None, **options):
        data = bytes.fromhex(raw) if raw is not None else bodies.encode_body(kind, body)
        return {"id": "%d/%d/%d" % self.node.send(kind, data, to, [tuple(group) for group in groups], **options)}

    def do_mark(self, id, level, remark=""):
        self.node.mark(identifier_of(id), getattr(Level, level), remark=remark)
        return {}

    def do_inbox(self):
        return {"messages": [dict(one, level=LEVEL_NAMES[one["level"]]) for one in self.node.inbox()]}

    def do_outbox(self):
        rows = self.node.store.all("select * from message where mine=1 order by epoch, sequence")
        return {"messages": [{"id": "%d/%d/%d" % row[:3], "hash": row["hash"].hex(), "ended": row["ended"], "closed": row["closed_s"] is not None,
                              "told": self.do_told("%d/%d/%d" % row[:3])["levels"]} for row in rows]}

    def do_body_hash(self, id):
        return {"hash": H(self.node.body(*identifier_of(id))).hex()}

    def do_told(self, id):
        return {"levels": {node: LEVEL_NAMES[level] for node, level in self.node.told(identifier_of(id)).items()}}

    def do_status(self):
        node = self.node
        return {"epoch": node.epoch, "directory": node.directory.version, "counts": node.counts, "alarms": node.alarms,
                "breaches": self.breaches, "refused_here": {REASON_NAMES[reason]: count for reason, count in node.refused_here.items()},
                "queued": node.store.one("select count(*) from queue")[0], "commits": node.store.commits,
                "presence": {row["node"]: row["epoch"] for row in node.store.all("select node, epoch from presence")},
                "links": {link.neighbour: {"up": link.is_up, "received": link.received, "next_serial": link.next_serial,
                                           "peer_epoch": link.peer_epoch, **link.counts} for link in node.links.values()}}

    def do_stop(self):
        self.stopping = True
        return {}


def main():
    words = argparse.ArgumentParser(prog="cpdpy")
    words.add_argument("state")
    words.add_argument("socket")
    words.add_argument("link", nargs="+", help="NEIGHBOUR or NEIGHBOUR=tcp://ADDRESS:PORT")
    words.add_argument("--grant", type=int, default=65536, help="bulk credit ahead, in bytes")
    given = words.parse_args()
    addresses = {int(link.split("=")[0]): link.partition("=")[2] for link in given.link}
    Daemon(given.state, given.socket, addresses, given.grant).run()


if __name__ == "__main__":
    main()
