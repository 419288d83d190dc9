#!/usr/bin/env python3
"""What an administrator does to a node, with real processes: backup and restore, check, clock, doctor.
Last line: N passed, M failed.

    BUILD=build test/system/test_admin.py
"""
import http.client
import json
import os
import shutil
import stat
import subprocess
import sys

from harness import CPCTL, UnixConnection, cpctl, test_region, wait_for

CP, NSP = 901, 344003


def ask(node, *words, code=0, **options):
    """cpctl against this node; the finished process, with the exit code that was expected."""
    done = cpctl("--socket", node.socket, *words, check=False, **options)
    assert done.returncode == code, f"cpctl {words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done


def data_files(node):
    return sorted(os.path.relpath(os.path.join(folder, name), node.state)
                  for folder, _, names in os.walk(os.path.join(node.state, "store")) for name in names)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


# ---------------------------------------------------------------- backup
def backup_is_whole_or_absent(checks, region, nsp):
    path = os.path.join(region.folder, "one.backup")
    told = json.loads(ask(nsp, "backup", path, "--json").stdout)
    checks.check("a backup tells what it is of", told["node"] == NSP and told["bytes"] == os.path.getsize(path) and told["schema"] >= 1, told)
    checks.check("it is for its owner only", stat.S_IMODE(os.stat(path).st_mode) == 0o600)
    with open(path, "rb") as file:
        head = file.read(200)
    checks.check("its first line says what it is", head.startswith(b"cpd-backup 1\n") and b"node 344003\n" in head, head)
    with open(path, "rb") as file:
        whole = file.read()
    for name in ("signing.key", "sealing.key", "transport.key"):
        with open(os.path.join(nsp.state, "identity", name)) as key:
            secret = key.read().strip()
        checks.check(f"no {name} is in it", secret.encode() not in whole and bytes.fromhex(secret) not in whole)
    done = ask(nsp, "backup", path)
    checks.check("an older one is replaced", "read back" in done.stdout and not os.path.exists(path + ".part"), done.stdout)
    other = os.path.join(region.folder, "letter.txt")
    with open(other, "w") as file:
        file.write("dear all\n")
    done = ask(nsp, "backup", other, code=1)
    checks.check("another file is not", "is no backup" in done.stderr and open(other).read() == "dear all\n", done.stderr)
    done = ask(nsp, "backup", os.path.join(region.folder, "none", "x"), code=1)
    checks.check("a folder that is not there is told", "none/x.part" in done.stderr, done.stderr)
    nothing = cpctl("--socket", nsp.socket + ".no", "backup", path + "2", check=False)
    checks.check("without a daemon it is exit 3, and no file", nothing.returncode == 3 and not os.path.exists(path + "2") and
                 not os.path.exists(path + "2.part"), nothing.stderr)
    return path


def backup_by_curl_breaks_visibly(checks, nsp):
    connection = UnixConnection(nsp.socket, 20)
    connection.request("GET", "/v1/backup")
    answer = connection.getresponse()
    answer.read(100)
    busy = UnixConnection(nsp.socket, 20)
    busy.request("GET", "/v1/backup")
    second = busy.getresponse()
    # The first is small here and may be out already: then the second is taken.
    checks.check("a second one at the same time is refused, or the first was done", second.status in (200, 503), second.status)
    second.read()
    connection.close()
    busy.close()
    wait_for("the next backup to be taken", lambda: cpctl("--socket", nsp.socket, "backup", nsp.folder + "/after.backup", check=False).returncode == 0, 20)
    checks.check("one that was broken off leaves the way free", True)


# ---------------------------------------------------------------- restore
def restore_refuses(checks, region, nsp, cp, path):
    """Nothing changes while anything is wrong."""
    done = ask(nsp, "restore", path, nsp.state, code=1)
    checks.check("not while cpd runs", "stop it first" in done.stderr, done.stderr)
    nsp.stop()
    before = data_files(nsp)
    for what, at in (("its last byte", -1), ("a byte of its middle", os.path.getsize(path) // 2), ("its head", 40)):
        bad = path + ".bad"
        shutil.copy(path, bad)
        flip(bad, at)
        done = ask(nsp, "restore", bad, nsp.state, code=1)
        checks.check(f"not when {what} was changed", "take another one" in done.stderr, done.stderr)
    shutil.copy(path, bad)
    os.truncate(bad, os.path.getsize(bad) - 5000)
    done = ask(nsp, "restore", bad, nsp.state, code=1)
    checks.check("not when it is cut off", "half a backup" in done.stderr, done.stderr)
    done = ask(nsp, "restore", nsp.conf, nsp.state, code=1)
    checks.check("not another file", "no backup" in done.stderr, done.stderr)
    cp.stop()
    done = ask(nsp, "restore", path, cp.state, code=1)
    checks.check("not on another node", "this is node 901" in done.stderr, done.stderr)
    cp.start()
    ask(nsp, "restore", path, code=2)
    ask(nsp, "restore", path, nsp.state, "--config", nsp.conf, code=2)
    done = ask(nsp, "restore", path, "--config", path, code=1)
    checks.check("a configuration that is none is told", "cpctl: " in done.stderr, done.stderr)
    checks.check("and after all this the store is as it was", data_files(nsp) == before, data_files(nsp))
    nsp.start()


def restored_origin(checks, region, nsp, cp):
    """An NSP's old backup: what it wrote later is known elsewhere. No number comes twice, all arrives once."""
    wire = region.wires[(NSP, CP)]
    wire.cut()
    wait_for("the end of the link", lambda: not nsp.link_is_up(CP), 30)
    waiting = nsp.send("text", [CP], {"text": "waits at the time of the backup"})
    path = os.path.join(region.folder, "origin.backup")
    ask(nsp, "backup", path)
    wire.restore()
    later = [nsp.send("text", [CP], {"text": f"after the backup {i}"}) for i in range(3)]
    wait_for("what was written", lambda: all(cp.has(one) for one in [waiting, *later]), 60)
    cp.act(waiting, "read")
    for one in later:
        cp.act(one, "read")
    epoch = nsp.get("/v1/status")["node"]["epoch"]
    wire.cut()   # nobody tells it what it has said before: the restore itself must
    nsp.stop()
    done = ask(nsp, "restore", path, "--config", nsp.conf)
    checks.check("restore says what to do next", "systemctl start cpd" in done.stdout and "kept in" in done.stdout, done.stdout)
    kept = [name for name in data_files(nsp) if "before-restore" in name]
    checks.check("the old store is kept aside", len(kept) == 1, data_files(nsp))
    aside = os.path.dirname(os.path.join(nsp.state, kept[0]))
    nsp.start()
    fresh = nsp.send("text", [CP], {"text": "after the restore"})
    checks.check("it is in a new epoch", nsp.get("/v1/status")["node"]["epoch"] > epoch)
    checks.check("no number is used again", fresh not in [waiting, *later] and int(fresh.split("/")[1]) > epoch, fresh)
    wire.restore()
    wait_for("the new message", lambda: cp.has(fresh), 60)
    wait_for("the state of the one that waited", lambda: nsp.told(waiting) == {CP: "READ"}, 60)
    checks.check("what waited then is told as read, though the restored store knew nothing of it", True)
    shown = [message["id"] for message in cp.inbox()]
    checks.check("each message is shown once", all(shown.count(one) == 1 for one in [waiting, *later, fresh]), shown)
    checks.check("and only they", len(shown) == len(set(shown)), shown)
    nsp.stop()
    check = nsp.check_store()
    checks.check("the restored store is sound", check.returncode == 0, check.stdout)
    old = subprocess.run([os.path.join(os.path.dirname(CPCTL), "cpd"), "--check-store", aside], stdout=subprocess.PIPE, text=True)
    checks.check("the old one can be looked into where it is kept", old.returncode == 0, old.stdout)
    nsp.start()
    region.wait_for_links()


def restored_addressee(checks, region, nsp, cp):
    """The CP's disk is put back: what NSPs still hold comes again, once, and their states complete."""
    before = nsp.send("text", [CP], {"text": "before the backup"})
    wait_for("the first", lambda: cp.has(before), 60)
    path = os.path.join(region.folder, "addressee.backup")
    ask(cp, "backup", path)
    own = cp.send("text", [NSP], {"text": "from the CP, after its backup"})
    lost = [nsp.send("text", [CP], {"text": f"the CP forgets this {i}"}, closing_level="READ") for i in range(3)]
    wait_for("what the CP will forget", lambda: all(cp.has(one) for one in lost) and nsp.has(own), 60)
    cp.stop()
    ask(cp, "restore", path, cp.state)
    cp.start()
    region.wait_for_links()
    wait_for("what the CP had forgotten", lambda: all(cp.has(one) for one in lost), 90)
    shown = [message["id"] for message in cp.inbox()]
    checks.check("the CP is offered again what it forgot, and shows it once", all(shown.count(one) == 1 for one in [before, *lost]), shown)
    for one in lost:
        cp.act(one, "read")
    wait_for("the states", lambda: all(nsp.told(one) == {CP: "READ"} for one in lost), 60)
    checks.check("their states complete at the author", True)
    again = cp.send("text", [NSP], {"text": "from the CP, after the restore"})
    checks.check("the CP uses no number twice", again != own and int(again.split("/")[1]) > int(own.split("/")[1]), (own, again))
    wait_for("the CP's new message", lambda: nsp.has(again), 60)
    shown = [message["id"] for message in nsp.inbox()]
    checks.check("the NSP shows both of the CP's, once", shown.count(own) == 1 and shown.count(again) == 1, shown)


def empty_machine(checks, region, nsp, cp):
    """The disk was lost, the identity folder came from the safe: a backup makes the store."""
    path = os.path.join(region.folder, "machine.backup")
    one = nsp.send("text", [CP], {"text": "kept by the backup"})
    ask(nsp, "backup", path)
    nsp.stop()
    shutil.rmtree(os.path.join(nsp.state, "store"))
    done = ask(nsp, "restore", path, nsp.state)
    checks.check("a backup also makes a store where there is none", "kept in" not in done.stdout, done.stdout)
    nsp.start()
    checks.check("and the node knows its messages", any(message["id"] == one for message in nsp.outbox()))
    nsp.stop()
    os.rename(os.path.join(nsp.state, "identity"), os.path.join(nsp.state, "away"))
    done = ask(nsp, "restore", path, nsp.state, code=1)
    checks.check("without an identity it is refused with the cure", "from the safe" in done.stderr, done.stderr)
    os.rename(os.path.join(nsp.state, "away"), os.path.join(nsp.state, "identity"))
    nsp.start()
    region.wait_for_links()


# ---------------------------------------------------------------- doctor, clock, check
def findings(node, code, *words):
    told = json.loads(ask(node, "doctor", "--json", *(words or ("--config", node.conf)), code=code).stdout)
    assert told["ok"] + told["warn"] + told["fail"] == len(told["checks"]) and (told["fail"] > 0) == (code == 1), told
    assert all(one["cure"] for one in told["checks"] if one["state"] != "ok"), told
    return {one["name"]: one for one in told["checks"]}


def doctor_looks(checks, region, nsp, cp):
    told = findings(nsp, 0)
    for name in ("configuration", "page size", "file system", "disk", "writing", "keys", "daemon", "clock", "certificate", "store", "links", "FLASH"):
        checks.check(f"doctor looks at: {name}", name in told and told[name]["state"] in ("ok", "warn"), told.get(name))
    for name in ("configuration", "writing", "keys", "daemon", "clock", "certificate", "links", "FLASH"):
        checks.check(f"and finds it good: {name}", told[name]["state"] == "ok", told[name])
    done = ask(nsp, "doctor", "--config", nsp.conf)
    checks.check("in words it has no colour when it is no terminal", "\033" not in done.stdout and "good" in done.stdout, done.stdout)
    # Without --config it asks the daemon where its folders are.
    plain = cpctl("--socket", nsp.socket, "doctor", "--json", "--config", nsp.conf + ".none", check=False)
    names = {one["name"]: one["state"] for one in json.loads(plain.stdout)["checks"]}
    checks.check("a configuration that is not there is wrong, the rest is looked at", plain.returncode == 1 and names["configuration"] == "fail" and
                 names["keys"] == "ok" and names["daemon"] == "ok", names)


def doctor_finds(checks, region, nsp, cp):
    """Each thing broken on purpose, and the doctor's word for it."""
    flash = nsp.send("text", [CP], {"text": "spoed"}, precedence="FLASH")
    wait_for("the FLASH", lambda: cp.has(flash), 30)
    checks.check("a FLASH that nobody read", "not answered" in findings(cp, 0)["FLASH"]["text"])
    cp.act(flash, "read")
    checks.check("and no more when it was read", findings(cp, 0)["FLASH"]["state"] == "ok")
    key = os.path.join(nsp.state, "identity", "signing.key")
    os.chmod(key, 0o644)
    told = findings(nsp, 1)["keys"]
    checks.check("a key that others may read", told["state"] == "fail" and "signing.key" in told["text"] and "chmod 600" in told["cure"], told)
    os.chmod(key, 0o600)
    wire = region.wires[(NSP, CP)]
    wire.cut()
    wait_for("the end of the link", lambda: not nsp.link_is_up(CP), 30)
    told = findings(nsp, 1)
    checks.check("no link is up", told["links"]["state"] == "fail" and told["link down"]["text"].startswith("901"), told)
    wire.restore()
    wait_for("the link", lambda: nsp.link_is_up(CP), 30)
    with open(nsp.conf) as file:
        good = file.read()
    with open(nsp.conf, "w") as file:
        file.write(good.replace("quality = ntp", "quality = sundial"))
    told = findings(nsp, 1)["configuration"]
    checks.check("a configuration that is wrong, with its line", "cpd.conf:" in told["text"] and "quality" in told["text"], told)
    with open(nsp.conf, "w") as file:
        file.write(good)
    nsp.stop()
    told = findings(nsp, 1)
    checks.check("it works when cpd is down, and says so", told["daemon"]["state"] == "fail" and "systemctl start cpd" in told["daemon"]["cure"] and
                 told["keys"]["state"] == told["certificate"]["state"] == "ok", told)
    nsp.start()
    region.wait_for_links()


def clock_tells(checks, region, nsp, cp):
    told = json.loads(ask(nsp, "clock", "--json").stdout)
    checks.check("clock tells quality, authority and neighbours", told["quality"] == "ntp" and told["authority_time"] and
                 [one["neighbour"] for one in told["neighbours"]] == [CP] and abs(told["neighbours"][0]["offset_s"]) < 20, told)
    checks.check("and judges it", "Good." in ask(nsp, "clock").stdout)
    with open(nsp.conf) as file:
        good = file.read()
    with open(nsp.conf, "w") as file:
        file.write(good.replace("quality = ntp", "quality = unknown"))
    nsp.stop()
    nsp.start()
    region.wait_for_links()
    done = ask(nsp, "clock")
    checks.check("a clock nobody vouches for is told, with what to do", "Not sure" in done.stdout and "beside a watch" in done.stdout, done.stdout)
    checks.check("and is no reason to stop", findings(nsp, 0)["clock"]["state"] == "warn")
    with open(nsp.conf, "w") as file:
        file.write(good)
    nsp.stop()
    nsp.start()
    region.wait_for_links()


def check_proves(checks, region, nsp):
    done = ask(nsp, "check")
    checks.check("check of a running node", "0 damaged" in done.stdout and "went on meanwhile" in done.stdout, done.stdout)
    told = json.loads(ask(nsp, "check", "--json").stdout)
    checks.check("also as JSON", told["sound"] is True and told["lines"] == [], told)
    done = ask(nsp, "check", "--config", nsp.conf, code=1)
    checks.check("check wants cpd stopped", "in use by another process" in done.stdout, done.stdout)
    nsp.stop()
    done = ask(nsp, "check", "--config", nsp.conf)
    checks.check("a sound store is told as such", ", 0 damaged" in done.stdout, done.stdout)
    told = json.loads(ask(nsp, "check", nsp.state, "--json").stdout)
    checks.check("as JSON too, of a state folder", told["sound"] is True and told["lines"], told)
    os.truncate(os.path.join(nsp.state, "store", "data.mdb"), 9000)
    done = ask(nsp, "check", nsp.state, code=1)
    checks.check("half a store is told with the cure", "damaged" in done.stdout or "restore the store from a backup" in done.stdout, done.stdout)
    ask(nsp, "restore", os.path.join(region.folder, "machine.backup"), nsp.state)
    checks.check("and a backup heals it", json.loads(ask(nsp, "check", nsp.state, "--json").stdout)["sound"])
    nsp.start()
    region.wait_for_links()


# ---------------------------------------------------------------- completion
def complete(line, path):
    """What bash offers for the last word of the line."""
    script = 'source daemon/cpctl/cpctl.bash; read -ra COMP_WORDS <<< "$1"; [[ $1 == *" " ]] && COMP_WORDS+=(""); ' \
             'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cpctl; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", line], stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path + ":" + os.environ["PATH"]},
                          cwd=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    return set(done.stdout.split())


def completion_knows(checks, region, nsp, cp):
    path = os.path.dirname(CPCTL)
    mine, theirs = nsp.send("text", [CP], {"text": "a"}), cp.send("text", [NSP], {"text": "b"})
    wait_for("both", lambda: cp.has(mine) and nsp.has(theirs), 30)
    on = f"cpctl --socket {nsp.socket} "
    for line, has, hasnt in (("cpctl ", {"status", "queue", "doctor", "restore", "help", "region"}, {"hold", "what"}),
                             ("cpctl queue ", {"hold", "release", "withdraw"}, {"what", "waits,"}),
                             ("cpctl region ", {"init", "admit", "group", "revoke", "kit", "show"}, {"status"}),
                             ("cpctl do", {"doctor", "done"}, {"status"}), ("cpctl send ", {"text", "emergency-call"}, set()),
                             ("cpctl queue withdraw x --", {"--reason", "--json"}, {"--limit"}),
                             ("cpctl restore x --", {"--config", "--damaged"}, set()), ("cpctl send text --", {"--to", "--text"}, set()),
                             (on + "read ", {theirs}, {mine}), (on + "withdraw ", {mine}, {theirs}), (on + "trace ", {mine, theirs}, set()),
                             (on + "send text --to ", {str(CP), str(NSP)}, set()), ("cpctl --socket /none/x read ", set(), {theirs})):
        told = complete(line, path)
        checks.check(f"completion of: {line.replace(nsp.socket, 'SOCKET')}", has <= told and not hasnt & told, told)


def admin(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.admit()
    region.wire_up(cp, [nsp])
    region.configure()
    region.start()
    region.wait_for_links()
    doctor_looks(checks, region, nsp, cp)
    doctor_finds(checks, region, nsp, cp)
    clock_tells(checks, region, nsp, cp)
    completion_knows(checks, region, nsp, cp)
    path = backup_is_whole_or_absent(checks, region, nsp)
    backup_by_curl_breaks_visibly(checks, nsp)
    restore_refuses(checks, region, nsp, cp, path)
    region.wait_for_links()
    restored_origin(checks, region, nsp, cp)
    restored_addressee(checks, region, nsp, cp)
    empty_machine(checks, region, nsp, cp)
    check_proves(checks, region, nsp)


if __name__ == "__main__":
    sys.exit(test_region("admin", admin, extra="\n[tuning]\ntime_scale = 20\n"))
