#!/usr/bin/env python3
"""cpd as systemd runs it, on a machine where systemd need not run: the units themselves, `make install`, a region whose
nodes run shut in as cpd.service says, the notify socket with READY and WATCHDOG, and a listening socket handed over.

    BUILD=build test/system/test_service.py [NAME...]
"""
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

from harness import BUILD, CPD, test_region, wait_for

NSP, CP = 344003, 901
UNIT = "systemd/cpd.service"
USER = "daemon"                  # stands for cpd, which this machine need not have
EXPOSURE_MAX = 1.5
EXTRA = """
[store]
limit_mib = 64

[tuning]
retry_priority_s = 4
reroute_s = 2
"""
EXTRA_API_GROUP = f"group = {USER}"
tests = []


def test(function):
    tests.append(function)
    return function


def run(*words, **options):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options)


# ---------------------------------------------------------------- units and files
@test
def exposure_is_low(region, nsp, cp):
    told = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    exposure = float(re.search(r"Overall exposure level for cpd.service: ([\d.]+)", told.stdout)[1])
    print(f"figure: systemd-analyze security: {exposure}", flush=True)
    assert exposure <= EXPOSURE_MAX, told.stdout


def installed(folder, *words):
    done = run("make", "--no-print-directory", "install", f"BUILD={BUILD}", *words)
    assert not done.returncode, done.stdout
    return [os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names]


@test
def installed_units_are_right(region, nsp, cp):
    folder = os.path.join(region.folder, "prefix")
    units = os.path.join(folder, "units")
    installed(folder, f"PREFIX={folder}", f"SYSCONFDIR={folder}/etc", f"UNITDIR={units}")
    with open(os.path.join(units, "cpd.service")) as unit:
        assert f"ExecStart={folder}/sbin/cpd --config {folder}/etc/cpd/cpd.conf" in unit.read()
    for unit in ("cpd.service", "cpd.socket"):
        told = run("systemd-analyze", "verify", "--man=no", os.path.join(units, unit))
        assert not told.returncode and "cpd" not in told.stdout, told.stdout


@test
def install_goes_under_destdir_and_uninstall_takes_it_back(region, nsp, cp):
    folder = os.path.join(region.folder, "destination")
    own = os.path.join(folder, "etc/cpd/cpd.conf")
    os.makedirs(os.path.dirname(own))
    with open(own, "w") as out:
        out.write("# mine\n")
    os.chmod(folder, 0o755)
    where = ("PREFIX=/usr", f"DESTDIR={folder}")
    files = installed(folder, *where)
    for wanted in ("usr/sbin/cpd", "usr/bin/cpctl", "lib/systemd/system/cpd.service", "lib/systemd/system/cpd.socket",
                   "usr/lib/sysusers.d/cpd.conf", "usr/lib/tmpfiles.d/cpd.conf", "usr/share/bash-completion/completions/cpctl",
                   "usr/share/doc/cpd/docs/OPERATIONS.md", "usr/share/doc/cpd/examples/cpd.conf",
                   *(f"usr/share/man/man{page[-1]}/{os.path.basename(page)}" for page in glob.glob("docs/man/*.[1-8]"))):
        assert wanted in files, wanted
    for name in files:
        mode = stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
        assert mode == (0o755 if re.search("s?bin/", name) else 0o644), (name, oct(mode))
    assert sorted(installed(folder, *where)) == sorted(files)
    told = run("make", "--no-print-directory", "uninstall", *where)
    assert not told.returncode, told.stdout
    left = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    assert left == [own], left
    with open(own) as text:
        assert text.read() == "# mine\n"


@test
def the_example_configuration_can_be_used(region, nsp, cp):
    told = run(CPD, "--check-config", "--config", "systemd/cpd.conf")
    assert not told.returncode, told.stdout


# ---------------------------------------------------------------- shut in
def sandbox(*folders):
    return [sys.executable, os.path.abspath("test/system/sandbox.py"), os.path.abspath(UNIT), USER, ",".join(folders)]


def shut_in(node):
    """The node's folders get the owners and modes that systemd gives; its process the sandbox."""
    user = pwd.getpwnam(USER)
    runtime = os.path.join(node.folder, "run")
    os.makedirs(runtime, exist_ok=True)
    for place, folders, files in os.walk(node.state):
        for name in (".", *folders, *files):
            os.chown(os.path.join(place, name), user.pw_uid, user.pw_gid)
    os.chown(runtime, user.pw_uid, user.pw_gid)
    os.chmod(runtime, 0o750)
    os.chmod(node.state, 0o700)
    os.chmod(node.folder, 0o755)
    node.socket = os.path.join(runtime, "api.sock")
    node.wrapper = sandbox(node.state, runtime)


def edit(node, old, new):
    with open(node.conf) as text:
        conf = text.read()
    assert old in conf, conf
    with open(node.conf, "w") as out:
        out.write(conf.replace(old, new))


@test
def the_sandbox_bites(region, nsp, cp):
    folder = os.path.join(region.folder, "bite")
    os.makedirs(folder)
    os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
    inside = sandbox(folder)
    python = [*inside, sys.executable, "-c"]
    assert not run(*inside, "/usr/bin/touch", f"{folder}/may").returncode
    assert "Read-only" in run(*inside, "/usr/bin/touch", f"{region.folder}/may-not").stdout
    for what in ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "import os; os.chown('/', 1, 1)",
                 "import mmap; mmap.mmap(-1, 4096, prot=7)", "import os; os.chmod('/', 0o4755)", "import os; os.setpriority(0, 0, 1)"):
        assert run(*python, what).returncode == -signal.SIGSYS, what
    assert not run(*python, "import socket; socket.socket()").returncode


@test
def a_region_works_shut_in(region, nsp, cp):
    for node in (nsp, cp):
        shut_in(node)
    region.configure()
    for node in (nsp, cp):
        edit(node, "[api]", f"[api]\n{EXTRA_API_GROUP}")
        edit(node, "quality = ntp", "quality = auto")       # asks the kernel: adjtimex
        node.start()
    region.wait_for_links()
    first = nsp.send("text", [CP], {"text": "achter slot en grendel"})
    wait_for("receipt", lambda: nsp.told(first)[CP] == "DELIVERED", 30)
    cp.act(first, "read")
    wait_for("word that it was read", lambda: nsp.told(first)[CP] == "READ", 30)
    long = cp.send("text", [NSP], {"text": "Lang. " * 150})
    wait_for("receipt of the answer", lambda: cp.told(long)[NSP] == "DELIVERED", 60)
    for node in (nsp, cp):
        os.kill(node.process.pid, signal.SIGHUP)
        wait_for("the level read again", lambda: "event=log-level" in node.log_tail(40))
    cp.kill()
    second = nsp.send("text", [CP], {"text": "de ander is weg"})
    cp.start()
    wait_for("receipt after a kill", lambda: nsp.told(second)[CP] == "DELIVERED", 60)
    assert nsp.stop() == 0 and cp.stop() == 0, (nsp.log_tail(), cp.log_tail())


@test
def the_group_may_use_the_api_and_others_not(region, nsp, cp):
    shut_in(nsp)
    region.configure()
    edit(nsp, "[api]", f"[api]\n{EXTRA_API_GROUP}")
    nsp.start()
    status = os.stat(nsp.socket)
    assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == pwd.getpwnam(USER).pw_gid, status
    ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{nsp.socket}'); " \
          "s.send(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99))"
    nobody = pwd.getpwnam("nobody")
    for groups, good in (([pwd.getpwnam(USER).pw_gid], True), ([], False)):
        told = run(sys.executable, "-c", ask, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=groups)
        assert ("200" in told.stdout) == good, (groups, told.stdout)
    nsp.stop()


@test
def root_checks_the_store_shut_in_and_leaves_nothing_of_its_own(region, nsp, cp):
    shut_in(nsp)
    region.configure()
    nsp.start()
    nsp.send("text", [CP], {"text": "van wie ben ik"})
    assert nsp.stop() == 0
    store = os.path.join(nsp.state, "store")
    for name in os.listdir(store):
        if "lock" in name:
            os.unlink(os.path.join(store, name))
    for words in (["--check-store"], ["--check-store", "--repair"], ["--upgrade-store"]):
        told = run(CPD, *words, store)
        assert not told.returncode, told.stdout
    user = pwd.getpwnam(USER).pw_uid
    for place, folders, files in os.walk(nsp.state):
        for name in folders + files:
            assert os.lstat(os.path.join(place, name)).st_uid == user, (place, name)
    nsp.start()
    assert nsp.stop() == 0


# ---------------------------------------------------------------- notify and watchdog
class Notify:
    """Systemd's end of the notify socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.environment = {"NOTIFY_SOCKET": path}

    def next(self, seconds=30):
        self.socket.settimeout(seconds)
        return self.socket.recv(4096).decode()

    def drain(self):
        """All that waits."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return found


def start_with(node, environment):
    node.wrapper = ["/usr/bin/env", *(f"{key}={value}" for key, value in environment.items()), *node.wrapper]
    node.start()


def held(node):
    with open(node.log) as text:
        return text.read().count("event=watchdog-held")


@test
def ready_comes_after_the_api_answers_and_stopping_at_the_end(region, nsp, cp):
    shut_in(nsp)
    region.configure()
    notify = Notify(os.path.join(nsp.folder, "run", "notify"))
    start_with(nsp, notify.environment)
    first = notify.next()
    assert "READY=1" in first.splitlines() and f"STATUS=node {NSP}" in first, first
    nsp.stop()
    assert any("STOPPING=1" in word for word in notify.drain())


@test
def a_store_that_cannot_be_opened_is_never_ready(region, nsp, cp):
    shut_in(nsp)
    region.configure()
    store = os.path.join(nsp.state, "store")
    with open(store, "w") as out:
        out.write("no folder")
    notify = Notify(os.path.join(nsp.folder, "run", "notify"))
    nsp.wrapper = ["/usr/bin/env", f"NOTIFY_SOCKET={notify.environment['NOTIFY_SOCKET']}", *nsp.wrapper]
    nsp.start(wait=False)
    assert nsp.process.wait(30) == 1
    assert not any("READY=1" in word for word in notify.drain())
    assert "event=start-failed" in nsp.log_tail()


@test
def the_watchdog_is_petted_while_idle_and_not_while_the_disk_hangs(region, nsp, cp):
    region.configure()
    notify = Notify(os.path.join(nsp.folder, "notify"))
    start_with(nsp, {**notify.environment, "WATCHDOG_USEC": 1000000})
    assert "READY=1" in notify.next()
    for _ in range(3):
        assert notify.next() == "WATCHDOG=1"
    strace = subprocess.Popen(["strace", "-f", "-qq", "-o", os.path.join(nsp.folder, "strace"), "-p", str(nsp.process.pid), "-e", "trace=fdatasync,fsync,msync",
                               "-e", "inject=fdatasync,fsync,msync:delay_enter=600s"], stdin=subprocess.DEVNULL)
    try:
        wait_for("strace at every thread", lambda: all("TracerPid:\t0" not in status for status in statuses(nsp.process.pid)))
        sender = subprocess.Popen([sys.executable, "-c", SEND, nsp.socket, str(CP)])
        wait_for("the watchdog held", lambda: held(nsp) >= 1)
        notify.drain()
        before = held(nsp)
        wait_for("the watchdog held on", lambda: held(nsp) >= before + 3)
        assert notify.drain() == [], "petted while the disk hangs"
        assert nsp.is_running() and sender.poll() is None, "answered before its commit"
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(30)
    assert notify.next() == "WATCHDOG=1"
    assert sender.wait(30) == 0, "the message was not taken after the disk came back"
    assert nsp.stop() == 0


SEND = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("cpd", timeout=60)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.settimeout(60)
connection.sock.connect(sys.argv[1])
body = {"kind": "text", "to": [int(sys.argv[2])], "body": {"text": "de schijf hangt"}}
connection.request("POST", "/v1/messages", json.dumps(body), {"Content-Type": "application/json"})
sys.exit(0 if connection.getresponse().status < 300 else 1)
"""


def statuses(pid):
    texts = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as text:
            texts.append(text.read())
    return texts


# ---------------------------------------------------------------- a socket handed over
# As systemd: the descriptor is 3, LISTEN_PID the process itself.
HAND_OVER = ["/bin/sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh"]


def start_handed(node, descriptor):
    """start(), with the descriptor as the third."""
    with open(node.log, "a") as log:
        node.process = subprocess.Popen([*HAND_OVER, *node.wrapper, CPD, "--config", node.conf], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        start_new_session=True, pass_fds=(3,), preexec_fn=lambda: os.dup2(descriptor, 3))
    wait_for(f"answer from node {node.number}; see {node.log}", node.is_ready, 30)


@test
def a_listening_socket_is_handed_over_and_outlives_the_process(region, nsp, cp):
    listener = socket.create_server(("::", cp.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    os.set_inheritable(listener.fileno(), True)
    region.configure()
    shut_in(cp)
    cp.write_conf([], "\n" + EXTRA)
    edit(cp, f"address = tcp://127.0.0.1:{cp.port}\n", "")
    start_handed(cp, listener.fileno())
    nsp.start()
    region.wait_for_links()
    cp.kill()
    # Nobody accepts, and yet a call is taken: it waits in the kernel.
    socket.create_connection(("127.0.0.1", cp.port)).close()
    identifier = nsp.send("text", [CP], {"text": "wacht even"})
    start_handed(cp, listener.fileno())
    wait_for("receipt", lambda: nsp.told(identifier)[CP] == "DELIVERED", 90)
    assert nsp.stop() == 0 and cp.stop() == 0
    listener.close()


# ---------------------------------------------------------------- one region a test
def needs(name):
    """What this machine lacks for a test; None: nothing."""
    if shutil.which("systemd-analyze") is None and any(word in name for word in ("exposure", "units", "shut_in", "sandbox", "ready", "group", "handed", "opened")):
        return "there is no systemd-analyze here"
    if os.geteuid() != 0 and any(word in name for word in ("shut_in", "sandbox", "ready", "group", "handed", "opened")):
        return "only root can change the user"
    return None


def one(function, checks, region):
    os.chmod(region.folder, 0o755)
    nsp, cp = region.add(NSP, "nsp", "NSP Lombok"), region.add(CP, "cp", "CP Utrecht")
    region.admit()
    region.wire_up(cp, [nsp])
    checks.run(function, region, nsp, cp)


def main():
    passed = failed = skipped = 0
    wanted = sys.argv[1:]
    for function in tests:
        if wanted and function.__name__ not in wanted:
            continue
        why = needs(function.__name__)
        if why:
            print(f"skipped: {function.__name__}: {why}", flush=True)
            skipped += 1
            continue
        bad = test_region("service", lambda checks, region: one(function, checks, region), extra=EXTRA)
        passed, failed = passed + (not bad), failed + bool(bad)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
