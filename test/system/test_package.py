#!/usr/bin/env python3
"""The Debian package in a root that is thrown away: this machine's own, with all that is written kept in memory
(overlayfs). dpkg and apt are the real ones; systemd does not run there, so a small systemctl stands in for it: it starts
what ExecStart says as the user that the package made, and writes down what it was asked.

    BUILD=build test/system/test_package.py
"""
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from harness import BUILD, Checks, UnixConnection, cpctl, wait_for

NSP, CP = 344003, 901
STATE, CONF, SOCKET = "/var/lib/cpd", "/etc/cpd/cpd.conf", "/run/cpd/api.sock"

SYSTEMCTL = r"""#!/bin/sh
# Stands in for systemctl where systemd does not run.
echo "$*" >> /systemctl.log
# What only changes links needs no running systemd.
case "$*" in *--root=/*) exec /usr/bin/systemctl.real "$@" ;; esac
while [ $# -gt 0 ]; do case $1 in --*) shift ;; *) break ;; esac; done
action=$1
pid=$(cat /run/cpd.pid 2>/dev/null)
running() { [ -n "$pid" ] && [ -e "/proc/$pid" ]; }
stop() { running && kill "$pid" && while [ -e "/proc/$pid" ]; do sleep 0.05; done; rm -f /run/cpd.pid; }
start() {
	running && return
	[ -e /etc/cpd/cpd.conf ] || return
	install -d -o cpd -g cpd -m 750 /run/cpd
	exec_start=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/cpd.service)
	cd / && setpriv --reuid cpd --regid cpd --clear-groups --no-new-privs --bounding-set=-all \
		setsid $exec_start </dev/null >>/cpd.log 2>&1 &
	echo $! > /run/cpd.pid
}
case $action in
start) start ;;
enable) case " $* " in *" --now "*) start ;; esac ;;
stop) stop ;;
restart) stop; pid=; start ;;
try-restart) if running; then stop; pid=; start; fi ;;
is-active) running ;;
is-enabled) shift; [ "$1" = -- ] && shift; exec /usr/bin/systemctl.real --root=/ is-enabled "$@" ;;
esac
"""


class Root:
    """The throw-away root. Everything that it mounts and starts ends with close()."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="cpd-package-")
        self.path = os.path.join(self.folder, "root")
        self.mounts = []
        self.mount("tmpfs", self.folder, "-t", "tmpfs")
        for name in ("root", "upper", "work"):
            os.mkdir(os.path.join(self.folder, name))
        options = f"lowerdir=/,upperdir={self.folder}/upper,workdir={self.folder}/work"
        self.mount("overlay", self.path, "-t", "overlay", "-o", options)
        self.mount("proc", self.at("/proc"), "-t", "proc")
        self.mount("/dev", self.at("/dev"), "--bind")
        os.makedirs(self.at("/run/systemd/system"), exist_ok=True)
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")
        os.rename(self.at("/usr/bin/systemctl"), self.at("/usr/bin/systemctl.real"))
        self.write("/usr/bin/systemctl", SYSTEMCTL)
        for kept in (STATE, "/etc/cpd"):
            if os.path.exists(self.at(kept)):
                raise RuntimeError(f"{kept} is on this machine: the test is of a machine without cpd")

    def mount(self, what, where, *options):
        done = subprocess.run(["mount", *options, what, where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            self.close()
            raise PermissionError(done.stdout.strip())
        self.mounts.append(where)

    def at(self, path):
        return self.path + path

    def write(self, path, text, mode=0o755):
        if os.path.lexists(self.at(path)):
            os.unlink(self.at(path))
        with open(self.at(path), "w") as out:
            out.write(text)
        os.chmod(self.at(path), mode)

    def read(self, path):
        try:
            with open(self.at(path)) as text:
                return text.read()
        except FileNotFoundError:
            return ""

    def run(self, *words, check=True, **environment):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/root", **environment}
        done = subprocess.run(["chroot", self.path, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=180, env=environment, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{self.read('/cpd.log')}")
        return done

    def bring(self, path):
        shutil.copy(path, self.at("/root/"))
        return "/root/" + os.path.basename(path)

    def pid(self):
        return int(self.read("/run/cpd.pid") or 0)

    def asked(self):
        """What systemctl was asked since the last time."""
        text = self.read("/systemctl.log")
        self.write("/systemctl.log", "")
        return text

    def get(self, path):
        connection = UnixConnection(self.at(SOCKET), 15)
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def is_ready(self):
        try:
            return self.get("/healthz").get("ok")
        except (OSError, http.client.HTTPException):
            return False

    def close(self):
        if self.mounts and os.path.exists(self.at("/run/cpd.pid")):
            self.run("systemctl", "stop", "cpd", check=False)
        for where in reversed(self.mounts):
            subprocess.run(["umount", "-l", where], check=False)
        self.mounts = []
        shutil.rmtree(self.folder, ignore_errors=True)


def package(version):
    done = subprocess.run(["make", "--no-print-directory", "deb", f"BUILD={BUILD}", f"DEB_VERSION={version}"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    assert not done.returncode, done.stdout
    return done.stdout.split()[-1]


def files_of(root):
    """Everything in the upper layer whose path has cpd in it, but what belongs to the test."""
    upper = os.path.join(root.folder, "upper")
    found = set()
    for place, folders, names in os.walk(upper):
        for name in folders + names:
            path = os.path.join(place, name)[len(upper):]
            if "cpd" in path or "cpctl" in path:
                found.add(path)
    project = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
    of_the_test = ("/root/", "/run/", "/tmp/", "/cpd.log", "/var/lib/systemd/deb-systemd", project, BUILD)
    return {path for path in found if not path.startswith(of_the_test)}


def waits(root):
    """Ids of what waits for a link."""
    return re.findall(r"\d+/\d+/\d+", root.run("cpctl", "queue").stdout)


def test(checks, root, first, second):
    authority = os.path.join(root.folder, "authority")
    cpctl("region", "init", authority, "--region", "VR09", "--name", "Utrecht", "--unsealed")
    check = checks.check
    listed = os.path.join(root.folder, "list.csv")
    with open(listed, "w") as out:
        out.write(f"number,name,municipality,role,address\n{CP},CP Utrecht,,cp,tcp://127.0.0.1:1\n{NSP},NSP Lombok,GM0344,nsp,\n")
    cpctl("region", "enrol", authority, listed, "--homes", CP)
    with open(f"{authority}/sheets/{NSP}.html") as sheet:
        root.write("/root/code", re.search(r'class="code">([0-9A-Z-]+)<', sheet.read()).group(1) + "\n", 0o600)
    stick = root.bring(f"{authority}/kits/{NSP}.sealed")

    # A fresh machine. The clock runs over the commands that a person gives there, without any network.
    begin = time.monotonic()
    told = root.run("apt-get", "install", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", root.bring(first)).stdout
    spent = time.monotonic() - begin
    state = os.stat(root.at(STATE))
    user = root.run("id", "-u", "cpd").stdout.strip()
    check("apt installs it with its dependencies there", "install ok installed" in root.run("dpkg-query", "-W", "-f", "${Status}", "cpd").stdout)
    check("the state folder is the user's only", (state.st_mode & 0o7777, str(state.st_uid)) == (0o700, user), state)
    check("it says that this is no node yet, and what to do", "cpctl node install" in told, told)
    check("it is enabled, and does not run without a configuration", root.run("systemctl", "is-enabled", "cpd").stdout.strip() == "enabled" and not root.pid())
    check("no file of it has another content than the package", not root.run("dpkg", "-V", "cpd").stdout)

    # It becomes a node: two more commands, and a message is taken.
    begin = time.monotonic()
    told = root.run("cpctl", "node", "install", stick, CPD_CODE_FILE="/root/code").stdout
    root.run("systemctl", "enable", "--now", "cpd")
    wait_for("the node", root.is_ready)
    identifier = root.run("cpctl", "send", "text", "--to", CP, "--text", "Wij zijn er").stdout.split()[0]
    spent += time.monotonic() - begin
    check(f"from the box to the first message: 3 commands off-line ({spent:.1f} s)", f"This is node {NSP}" in told and "enable --now cpd" in told, told)
    identity = os.stat(root.at(STATE + "/identity/signing.key"))
    check("the keys are the user's only, the configuration can be read", (identity.st_mode & 0o7777, str(identity.st_uid)) == (0o600, user) and
          os.stat(root.at(CONF)).st_mode & 0o7777 == 0o644, identity)
    check("it runs as its user", os.stat(f"/proc/{root.pid()}").st_uid == int(user), root.read("/cpd.log"))
    check("a message is taken", waits(root) == [identifier], waits(root))

    # An upgrade with a full queue.
    ids = [root.run("cpctl", "send", "text", "--to", CP, "--text", f"bericht {i}").stdout.split()[0] for i in range(20)] + [identifier]
    conf = root.read(CONF) + "\n# a remark of the operator\n"
    root.write(CONF, conf, 0o644)
    before = root.pid()
    root.asked()
    root.run("dpkg", "-i", root.bring(second))
    asked = root.asked()
    wait_for("the node after the upgrade", root.is_ready)
    check("an upgrade restarts it once", asked.count(" restart ") == 1 and " stop" not in asked and root.pid() != before, asked)
    check("all that waited waits after the upgrade", sorted(waits(root)) == sorted(ids), waits(root))
    check("an upgrade leaves the configuration alone", root.read(CONF) == conf)
    root.run("systemctl", "stop", "cpd")
    root.run("dpkg", "-i", root.bring(first))
    check("what a person stopped an upgrade leaves stopped", not root.pid())

    # Removed and installed again.
    root.run("systemctl", "start", "cpd")
    wait_for("the node", root.is_ready)
    root.run("dpkg", "--remove", "cpd")
    check("removing stops it", not root.pid() and not os.path.exists(root.at("/usr/sbin/cpd")))
    check("removing keeps configuration and state", root.read(CONF) == conf and os.path.exists(root.at(STATE + "/store/data.mdb")))
    root.run("dpkg", "-i", root.bring(second))
    wait_for("the node, started by the installation", root.is_ready)
    check("installed again it starts, with all that waited", sorted(waits(root)) == sorted(ids), waits(root))

    # Purged: the configuration goes; the keys and the messages are a person's to remove.
    told = root.run("dpkg", "--purge", "cpd").stdout
    left = {path for path in files_of(root) if not path.startswith(STATE)}
    check("purging leaves nothing but the state", not left, left)
    check("purging keeps keys and messages, and says so", f"{STATE} is kept" in told and os.path.exists(root.at(STATE + "/identity/signing.key")), told)
    shutil.rmtree(root.at(STATE))
    root.run("dpkg", "-i", root.bring(first))
    told = root.run("dpkg", "--purge", "cpd").stdout
    check("purging what was never a node leaves nothing", not files_of(root) and "kept" not in told, files_of(root))


def main():
    if os.geteuid() or not shutil.which("dpkg-shlibdeps"):
        print("skipped: the package is tried by root, with dpkg-dev\n0 passed, 0 failed, 1 skipped")
        return 0
    checks = Checks()
    first, second = package("0.0.1~first"), package("0.0.1~second")
    try:
        root = Root()
    except PermissionError as why:
        print(f"skipped: no overlay filesystem may be mounted here: {why}\n0 passed, 0 failed, 1 skipped")
        return 0
    try:
        checks.run(test, checks, root, first, second)
    finally:
        root.close()
        for name in (first, second):
            os.unlink(name)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
