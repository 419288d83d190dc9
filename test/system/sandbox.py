#!/usr/bin/env python3
"""Runs a command shut in as cpd.service says, as far as that goes without systemd as the first process:

    sandbox.py UNIT USER DIR,DIR... COMMAND...      the folders are what the command may write

From the unit are taken the system call filter (sets read with systemd-analyze), address families, namespaces,
W^X, real time, set-user-ID bits, personality, the limits, UMask, ProtectSystem=strict (every mount read-only but the
folders) and PrivateUsers. Where systemd answers EPERM this ends the process (SIGSYS): a call that the filter
refuses shows. Needs root. The command keeps this process id and its open files."""
import ctypes
import os
import pwd
import re
import resource
import signal
import subprocess
import sys

import seccomp

NEWNS, NEWUSER = 0x00020000, 0x10000000
NAMESPACES = 0x7E020080
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
LIMITS = {"LimitNOFILE": resource.RLIMIT_NOFILE, "LimitMEMLOCK": resource.RLIMIT_MEMLOCK, "LimitCORE": resource.RLIMIT_CORE}
libc = ctypes.CDLL(None, use_errno=True)


def settings(path):
    """{key: [values in order]} of all sections."""
    found = {}
    with open(path) as unit:
        for line in unit:
            setting = re.match(r"(\w+)=(.*)", line.strip())
            if setting:
                found.setdefault(setting[1], []).append(setting[2])
    return found


def is_on(unit, key):
    return unit.get(key, ["no"])[-1] == "yes"


def filter_sets():
    """{"@set": [names of calls and of sets]}, as this systemd has them."""
    sets, now = {}, None
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
    for line in text.splitlines():
        if line.startswith("@"):
            now = sets.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.strip().startswith("#"):
            now.append(line.strip())
    return sets


def expand(words, sets):
    """Names of system calls, with the sets taken apart."""
    names = set()
    for word in words:
        names |= expand(sets[word], sets) if word.startswith("@") else {word}
    return names


def allowed_calls(unit):
    allowed, sets = set(), filter_sets()
    for value in unit["SystemCallFilter"]:
        if value.startswith("~"):
            allowed -= expand(value[1:].split(), sets)
        else:
            allowed |= expand(value.split(), sets)
    return allowed


def conditions(unit):
    """{system call: [alternatives]}; an alternative is the arguments it is let through with."""
    rules = {}
    arg, equal, masked = seccomp.Arg, seccomp.EQ, seccomp.MASKED_EQ
    if "RestrictAddressFamilies" in unit:
        families = unit["RestrictAddressFamilies"][-1].split()
        rules["socket"] = [[arg(0, equal, FAMILIES[family])] for family in families]
    if is_on(unit, "MemoryDenyWriteExecute"):
        rules["mmap"] = [[arg(2, masked, 6, prot)] for prot in (0, 2, 4)]
        rules["mprotect"] = rules["pkey_mprotect"] = [[arg(2, masked, 4, 0)]]
    if is_on(unit, "RestrictNamespaces"):
        rules["clone"] = [[arg(0, masked, NAMESPACES, 0)]]
        rules["unshare"] = [[arg(0, masked, NAMESPACES, 0)]]
        rules["setns"] = []
    if is_on(unit, "RestrictRealtime"):
        rules["sched_setscheduler"] = [[arg(1, equal, policy)] for policy in (0, 3, 5)]
    if is_on(unit, "RestrictSUIDSGID"):
        rules["chmod"] = rules["fchmod"] = rules["mkdir"] = [[arg(1, masked, 0o6000, 0)]]
        rules["fchmodat"] = rules["mkdirat"] = [[arg(2, masked, 0o6000, 0)]]
    if is_on(unit, "LockPersonality"):
        rules["personality"] = [[arg(0, equal, 0)]]
    return rules


def make_filter(unit):
    special = conditions(unit)
    made = seccomp.SyscallFilter(defaction=seccomp.KILL_PROCESS)
    for name in sorted(allowed_calls(unit)):
        # With the flags in memory nothing can be told of them: systemd sends the library back to clone().
        if name == "clone3" and "clone" in special:
            made.add_rule(seccomp.ERRNO(38), name)
            continue
        for alternative in special.get(name, [[]]):
            try:
                made.add_rule(seccomp.ALLOW, name, *alternative)
            except (RuntimeError, ValueError):
                break       # a call of another architecture
    return made


def must(result, what):
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, flags):
    must(libc.mount(source.encode(), target.encode(), None, flags, None), f"mount {target}")


def protect_system(folders):
    must(libc.unshare(NEWNS), "a mount namespace")
    mount("none", "/", MS_REC | MS_PRIVATE)
    for folder in folders:
        mount(folder, folder, MS_BIND)
    with open("/proc/self/mountinfo") as table:
        points = [line.split()[4] for line in table]
    for point in points:
        if point in folders or re.match(r"/(dev|proc|sys)(/|$)", point):
            continue
        mount("none", point, MS_REMOUNT | MS_BIND | MS_RDONLY)


def private_users(user):
    """Root and the user are themselves; all others are nobody."""
    ready, done = os.pipe(), os.pipe()
    me = os.getpid()
    helper = os.fork()
    if not helper:
        os.read(ready[0], 1)
        for kind, number in (("uid", user.pw_uid), ("gid", user.pw_gid)):
            with open(f"/proc/{me}/{kind}_map", "w") as out:
                out.write(f"0 0 1\n{number} {number} 1\n")
        os.write(done[1], b"x")
        os._exit(0)
    must(libc.unshare(NEWUSER), "a user namespace")
    os.write(ready[1], b"x")
    os.read(done[0], 1)
    os.waitpid(helper, 0)
    for end in (*ready, *done):
        os.close(end)


def size(text):
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]] if text[-1] in "KMG" else int(text)


def main():
    unit, user = settings(sys.argv[1]), pwd.getpwnam(sys.argv[2])
    folders, command = [os.path.realpath(folder) for folder in sys.argv[3].split(",")], sys.argv[4:]
    program = os.open(command[0], os.O_RDONLY | os.O_CLOEXEC)   # the user may have no way to it
    made = make_filter(unit)
    if unit.get("ProtectSystem") == ["strict"]:
        protect_system(folders)
    for key, what in LIMITS.items():
        if key in unit:
            most = resource.getrlimit(what)[1]   # a container may have less, and no right to raise it
            wanted = size(unit[key][-1])
            resource.setrlimit(what, (wanted if most < 0 else min(wanted, most),) * 2)
    os.setgroups([])
    if is_on(unit, "PrivateUsers"):
        private_users(user)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    os.umask(int(unit.get("UMask", ["0022"])[-1], 8))
    # Python ignores these; systemd starts with the defaults.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    made.set_attr(seccomp.Attr.CTL_NNP, 1)
    made.load()
    os.execve(program, command, os.environ)


if __name__ == "__main__":
    main()
