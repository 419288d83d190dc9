#!/usr/bin/env python3
"""SIGHUP tells what holds at once and what wants a restart; SIGTERM ends cpd within 5 s, whatever goes on."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

from harness import UnixConnection, test_region, wait_for

CP, NSP = 901, 344003


def hang_up(node, event):
    """Sends SIGHUP; what was logged from then to this event."""
    before = len(open(node.log, errors="replace").read())
    os.kill(node.process.pid, signal.SIGHUP)
    return wait_for(event, lambda: (text := open(node.log, errors="replace").read()[before:]) and f"event={event}" in text and text, 10)


def edit(node, old, new):
    with open(node.conf) as text:
        words = text.read()
    assert old in words, words
    with open(node.conf, "w") as text:
        text.write(words.replace(old, new, 1))


def reloading(checks, nsp):
    told = hang_up(nsp, "log-level")
    checks.check("nothing changed: nothing wants a restart", "restart-needed" not in told, told)
    with open(nsp.conf) as text:
        before = text.read()
    address = re.search(r"address = (tcp://127.0.0.1:\d+)", before)[1]
    edit(nsp, address, "tcp://127.0.0.1:9")
    edit(nsp, f"default = {CP}", f"9 = {CP}\ndefault = {CP}")
    edit(nsp, "quality = ntp", "quality = manual")
    edit(nsp, "[clock]", "[link 902]\naddress = tcp://127.0.0.1:10\n[store]\nlimit_mib = 77\n[log]\nlevel = debug\n[tuning]\ntime_scale = 2\n[clock]")
    told = hang_up(nsp, "log-level")
    settings = re.findall(r'event=restart-needed setting="?(.+?)"? cure=', told)
    checks.check("each setting that wants a restart is named, once", sorted(settings) == sorted(
        [f"[link {CP}]", "[link 902]", "[route]", "[clock] quality", "[store] limit_mib", "[tuning] time_scale"]), told)
    edit(nsp, "level = debug", "level = warning")
    told = hang_up(nsp, "restart-needed")
    silent = nsp.send("text", [CP], {"text": "in stilte"})
    edit(nsp, "level = warning", "level = info")
    hang_up(nsp, "log-level")
    loud = nsp.send("text", [CP], {"text": "hoorbaar"})
    told = open(nsp.log, errors="replace").read()
    checks.check("the log level holds at once", f"event=authored msg={loud} " in told and f"event=authored msg={silent} " not in told, told[-600:])
    edit(nsp, "limit_mib = 77", "limit_mib = veel")
    told = hang_up(nsp, "config-refused")
    checks.check("a file with a mistake is refused, with its line", re.search(r"cpd\.conf:\d+: \[store\] limit_mib", told), told)
    checks.check("and the node lives on", nsp.is_ready())
    with open(nsp.conf, "w") as text:
        text.write(before)


def load(node, stop):
    while not stop.is_set():
        try:
            node.send("text", [CP if node.number == NSP else NSP], {"text": "druk"})
        except Exception:
            return


def stopping_under_load(checks, node):
    stop = threading.Event()
    threads = [threading.Thread(target=load, args=(node, stop)) for _ in range(4)]
    for thread in threads:
        thread.start()
    callers = []
    for _ in range(8):                  # followers, some of which read nothing, and a request that is not at its end
        connection = UnixConnection(node.socket, 20)
        connection.request("GET", "/v1/events", headers={"Last-Event-ID": "0"})
        callers.append(connection)
    half = UnixConnection(node.socket, 20)
    half.connect()
    half.sock.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
    wait_for("a load", lambda: node.get("/v1/status")["counters"]["commits"] > 50, 30)
    os.kill(node.process.pid, signal.SIGTERM)
    code = gone(node)
    checks.check("SIGTERM under load, with followers that read nothing: gone within 5 s, cleanly", code == 0, f"{code} {node.log_tail()}")
    stop.set()
    for thread in threads:
        thread.join()
    for connection in (*callers, half):
        connection.close()
    check = node.check_store()
    checks.check("and the store is sound", check.returncode == 0, check.stdout)


def gone(node):
    """Its exit code; None: it is there after 5 s."""
    try:
        return node.process.wait(5)
    except subprocess.TimeoutExpired:
        return None


def stopping_with_a_disk_that_hangs(checks, node):
    node.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=60000000:when=20+"]
    node.start()
    stop = threading.Event()
    thread = threading.Thread(target=load, args=(node, stop))
    thread.start()
    wait_for("a turn that waits", lambda: re.search(r"^cpd_turns_in_flight [1-9]", node.text("/metrics")[1], re.M) and time.monotonic() > 0, 30, 0.5)
    daemon = int(subprocess.run(["pgrep", "-P", str(node.process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()[0])
    begin = time.monotonic()
    os.kill(daemon, signal.SIGTERM)
    gone_after = None
    while time.monotonic() - begin < 20:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(daemon)], stdout=subprocess.PIPE, text=True).stdout.strip()
        if not state or state[0] == "Z":
            gone_after = time.monotonic() - begin
            break
        time.sleep(0.1)
    checks.check("SIGTERM with a disk that hangs: gone within 5 s", gone_after is not None and gone_after < 5.5, gone_after)
    stop.set()
    node.kill()
    node.wrapper = []
    thread.join()
    node.start()
    checks.check("and it starts again", node.is_ready())


def signals_test(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    region.configure()
    region.start()
    region.wait_for_links()
    checks.run(reloading, checks, nsp)
    checks.run(stopping_under_load, checks, nsp)
    checks.run(stopping_with_a_disk_that_hangs, checks, nsp)


if __name__ == "__main__":
    sys.exit(test_region("signals", signals_test))
