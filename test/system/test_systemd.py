#!/usr/bin/env python3
"""cpd.service under a real systemd: a small container (systemd-nspawn) boots systemd as its first process, which starts the real
binary by the real unit. From inside a probe looks at the process, then the keys go into encrypted credentials and it starts again;
then one system call is taken from the filter and the start must fail.

    FULL=1 BUILD=build test/system/test_systemd.py

Needs root and systemd-container; says `skipped` where a container cannot boot."""
import json
import os
import shutil
import subprocess
import sys

from harness import test_region

NODE = 901
DEBIAN_LINKS = ("bin", "lib", "lib64", "sbin")

UNIT_PROBE = """[Unit]
Description=looks at cpd.service
After=cpd.service basic.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /probe.py
ExecStopPost=/usr/bin/systemctl --no-block poweroff -f
"""

TARGET = """[Unit]
Description=all of it
Requires=sysinit.target
Wants=probe.service
After=probe.service
"""

PROBE = r'''
import json, os, subprocess, time, traceback

found = {}

def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout

def show(key):
    return run("systemctl", "show", "cpd.service", "--value", "-p", key)[1].strip()

def start(name):
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "--no-block", "cpd.service")
    end = time.monotonic() + 20
    code, text = 1, ""
    while code and time.monotonic() < end and show("NRestarts") in ("", "0"):
        code, text = run("/opt/cpd/bin/cpctl", "--socket", "/run/cpd/api.sock", "status", "--json")
        time.sleep(0.1)
    status = {}
    pid = show("MainPID")
    if pid not in ("", "0"):
        with open(f"/proc/{pid}/status") as lines:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    limits = run("cat", f"/proc/{pid}/limits")[1]
    environ = run("sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ")[1]
    found[name] = {"answers": code == 0, "text": text, "active": show("ActiveState"), "status": status, "limits": limits, "environ": environ,
                   "user": run("stat", "-c", "%U", f"/proc/{pid}/environ")[1].strip(),
                   "result": show("Result"), "journal": run("journalctl", "-b", "-u", "cpd.service", "-n", "40", "--no-pager", "-o", "cat")[1]}
    run("systemctl", "stop", "cpd.service")
    run("systemctl", "reset-failed", "cpd.service")

def drop_in(text):
    os.makedirs("/etc/systemd/system/cpd.service.d", exist_ok=True)
    with open("/etc/systemd/system/cpd.service.d/test.conf", "w") as out:
        out.write("[Service]\n" + text)

try:
    start("as it is")
    keys = "/var/lib/cpd/identity"
    os.makedirs("/etc/credstore.encrypted", exist_ok=True)
    lines = ""
    for name in ("signing", "sealing", "transport"):
        code, text = run("systemd-creds", "encrypt", "--with-key=host", f"--name=cpd.{name}.key", f"{keys}/{name}.key", f"/etc/credstore.encrypted/cpd.{name}.key")
        assert not code, text
        lines += f"LoadCredentialEncrypted=cpd.{name}.key:/etc/credstore.encrypted/cpd.{name}.key\n"
    drop_in(lines)
    start("credentials and open keys")
    run("sh", "-c", f"shred -u {keys}/*.key")
    start("credentials")
    found["doctor"] = run("/opt/cpd/bin/cpctl", "doctor")[1]
    found["key files"] = [name for name in os.listdir(keys) if name.endswith(".key")]
    drop_in(lines + "LimitMEMLOCK=0\n")
    start("nothing may be locked")
    drop_in(lines + "SystemCallFilter=~eventfd2\n")
    start("without eventfd2")
    drop_in("")
    start("no keys at all")
except Exception:
    found["problem"] = traceback.format_exc()
with open("/found.json", "w") as out:
    json.dump(found, out)
'''


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as out:
        out.write(text)


def make_root(region, node):
    """A folder that boots: /usr is this machine's, read-only; the rest is small and its own."""
    root = os.path.join(region.folder, "root")
    for folder in ("usr", "proc", "sys", "dev", "run", "tmp", "var/lib", "root"):
        os.makedirs(os.path.join(root, folder))
    for name in DEBIAN_LINKS:
        os.symlink(f"usr/{name}", os.path.join(root, name))
    done = subprocess.run(["make", "--no-print-directory", "install", f"BUILD={os.environ.get('BUILD', 'build')}", "PREFIX=/opt/cpd", "SYSCONFDIR=/etc",
                           "UNITDIR=/etc/systemd/system", f"DESTDIR={root}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert not done.returncode, done.stdout
    write(f"{root}/etc/passwd", "root:x:0:0::/root:/bin/sh\ncpd:x:990:990::/var/lib/cpd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
    write(f"{root}/etc/group", "root:x:0:\ncpd:x:990:\nnogroup:x:65534:\n")
    write(f"{root}/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    write(f"{root}/etc/os-release", "ID=debian\n")    # nspawn wants one before it binds /usr
    shutil.copy("/etc/ld.so.cache", f"{root}/etc/ld.so.cache")
    shutil.copytree(node.state, f"{root}/var/lib/cpd")
    for place, folders, files in os.walk(f"{root}/var/lib/cpd"):
        for name in (".", *folders, *files):
            os.chown(os.path.join(place, name), 990, 990)
    write(f"{root}/etc/cpd/cpd.conf", f"[node]\nnumber = {NODE}\nrole = cp\nstate = /var/lib/cpd\n\n[listen]\naddress = tcp://127.0.0.1:5600\n"
          "accept_any_certified = yes\n\n[store]\nlimit_mib = 64\n\n[api]\nsocket = /run/cpd/api.sock\ngroup = cpd\n\n[clock]\nquality = auto\n")
    write(f"{root}/etc/systemd/system/probe.service", UNIT_PROBE)
    write(f"{root}/etc/systemd/system/probe.target", TARGET)
    write(f"{root}/probe.py", PROBE)
    return root


def boot(root):
    """What the probe found; None: no container can boot here; and what was on its console."""
    words = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", root, "--bind-ro=/usr", "--private-network",
             # Without it nspawn lets nobody inside lock memory, which no machine does.
             "--system-call-filter=@memlock", "-M", f"cpd-{os.getpid()}",
             "-b", "systemd.unit=probe.target"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300)
        console = done.stdout
    except subprocess.TimeoutExpired as late:
        console = (late.stdout or b"").decode(errors="replace")
    try:
        with open(f"{root}/found.json") as text:
            return json.load(text), console
    except FileNotFoundError:
        return None, console


def check_shut_in(checks, found):
    status = found["status"]
    checks.check("systemd starts cpd by cpd.service and it answers", found["answers"], found["text"] + found["journal"])
    checks.check("it runs as cpd, without capabilities, with no new ones", status.get("CapEff", "").strip("0") == "" and status.get("CapBnd", "").strip("0") == "" and
                 status.get("NoNewPrivs") == "1" and status.get("Uid", "").split()[:1] == ["990"], status)
    checks.check("the filter of system calls is on", status.get("Seccomp") == "2", status.get("Seccomp"))
    checks.check("its keys are locked memory", int(status.get("VmLck", "0 kB").split()[0]) > 0 and "keys-not-locked" not in found["journal"], status.get("VmLck"))
    checks.check("it makes no core, by limit and as not dumpable (root's in /proc)", "Max core file size        0                    0" in found["limits"] and
                 found["user"] == "root", (found["user"], found["limits"]))


def test(checks, region, skipped):
    node = region.add(NODE, "cp", "CP Utrecht")
    region.admit()
    found, console = boot(make_root(region, node))
    if found is None and "probe.service" not in console:
        print("skipped: no container boots here: " + (console.splitlines() or ["it says nothing"])[-1], flush=True)
        skipped.append(True)
        return
    if not found or "problem" in found:
        checks.check("the probe came to its end", False, (found or {}).get("problem", console[-3000:]))
        return
    check_shut_in(checks, found["as it is"])
    both, given, unlocked, cut, none = (found[name] for name in ("credentials and open keys", "credentials", "nothing may be locked", "without eventfd2", "no keys at all"))
    checks.check("with credentials and open keys it works, and says that they lie open", both["answers"] and "keys-open" in both["journal"], both["journal"])
    checks.check("it works with encrypted credentials alone", given["answers"] and found["key files"] == [] and "CREDENTIALS_DIRECTORY=" in given["environ"],
                 (found["key files"], given["journal"]))
    checks.check("cpctl doctor says where the keys are", "handed over by systemd" in found["doctor"], found["doctor"])
    checks.check("keys that cannot be locked are told of", "keys-not-locked" in unlocked["journal"], unlocked["journal"])
    checks.check("with one needed system call taken away it does not start", not cut["answers"], cut["journal"])
    checks.check("without keys anywhere it does not start, and says what to do", not none["answers"] and "start-failed" in none["journal"], none["journal"])


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        print("skipped: this needs root and systemd-container\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    if not os.environ.get("FULL"):
        print("skipped: it boots a container, half a minute: FULL=1, or make check-all\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    skipped = []
    ended = test_region("systemd", lambda checks, region: test(checks, region, skipped))
    if skipped:
        print("0 passed, 0 failed, 1 skipped")
    sys.exit(0 if skipped else ended)
