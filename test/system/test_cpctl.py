#!/usr/bin/env python3
"""cpctl: the words it takes, regions and nodes on files, and the HTTP part against a small server of this
test on a Unix socket. No daemon runs. Last line: N passed, M failed.

    BUILD=build test/system/test_cpctl.py [NAME...]
"""
import json
import os
import pty
import re
import select
import shutil
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
CPCTL = os.path.join(BUILD, "cpctl")
CPD = os.path.join(BUILD, "cpd")
ZERO = 1767225600
tests = []


def test(function):
    tests.append(function)
    return function


def run(*words, socket=None, stdin=None, environment=None):
    env = {"PATH": os.environ["PATH"], "CPD_SOCKET": socket or "/nonexistent/api.sock", **(environment or {})}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
        if name in os.environ:
            env[name] = os.environ[name]
    return subprocess.run([CPCTL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env=env,
                          input=stdin, start_new_session=True)   # no terminal of whoever runs this


def expect(done, code, *texts):
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    for text in texts:
        assert text in done.stdout + done.stderr, f"no {text!r} in\n{done.stdout}{done.stderr}"
    return done


def tree(folder):
    """Every path below the folder with its bytes."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.join(place, name)] = None
        for name in files:
            with open(os.path.join(place, name), "rb") as file:
                found[os.path.join(place, name)] = file.read()
    return found


# ---------------------------------------------------------------- words
VERBS = ["status", "send", "inbox", "outbox", "show", "read", "accept", "refuse", "done", "withdraw", "trace", "queue", "queue hold",
         "queue release", "queue withdraw", "watch", "backup", "restore", "doctor", "clock", "check", "directory", "directory import", "region init", "region passphrase", "region admit", "region group", "region revoke", "region function",
         "sign", "function init", "region kit", "region show", "node init", "node install", "node claim", "node show"]
KINDS = ["nsp-status", "situation-report", "emergency-call", "emergency-progress", "instruction", "text"]


@test
def every_verb_has_help_with_an_example_that_fits_80_columns(_):
    helps = [["--help"], ["help"], ["send", "--help"]] + [["--help", *verb.split()] for verb in VERBS] + [["send", "--help", kind] for kind in KINDS]
    for words in helps:
        done = expect(run(*words), 0)
        assert "usage: cpctl" in done.stdout
        for line in done.stdout.splitlines():
            assert len(line) <= 80, f"{words}: {len(line)} columns: {line}"
    for verb in VERBS:
        assert "Example" in run(*verb.split(), "--help").stdout, verb
        assert verb in run("--help").stdout, verb


@test
def usage_errors_are_exit_2_and_name_what_is_nearest(_):
    expect(run(), 2, "--help")
    expect(run("statsu"), 2, "did you mean cpctl status?")
    expect(run("regoin", "init", "x"), 2, "region")
    expect(run("region", "inot", "x"), 2, "did you mean cpctl region init?")
    expect(run("region"), 2, "one word more")
    expect(run("inbox", "--unraed"), 2, "did you mean --unread?")
    expect(run("--sokcet", "x", "status"), 2, "did you mean --socket?")
    expect(run("show"), 2, "cpctl show ID")
    expect(run("show", "1/2/3", "4/5/6"), 2, "too many words")
    expect(run("show", "1-2-3"), 2, "344003/2/118")
    expect(run("refuse", "1/2/3"), 2, "--reason TEXT is required")
    expect(run("inbox", "--limit"), 2, "needs a value")
    expect(run("inbox", "--limit", "many"), 2, "--limit", "whole number")
    expect(run("inbox", "--unread=1"), 2, "takes no value")
    expect(run("inbox", "--limit", "1", "--limit", "2"), 2, "given twice")
    expect(run("send", "txet", "--to", "1"), 2, "did you mean text?")
    expect(run("send", "question", "--to", "1"), 2, "cannot write a question")
    expect(run("send", "text", "--text", "x"), 2, "--to")
    expect(run("send", "text", "--to", "1", "--txet", "x"), 2, "did you mean --text?")
    expect(run("send", "nsp-status", "--to", "1", "--phase", "OPNE"), 2, "--phase", "SETTING_UP")
    expect(run("send", "nsp-status", "--to", "1", "--persons", "twaalf"), 2, "--persons", "whole number")
    expect(run("send", "nsp-status", "--to", "1", "--relief_ms", "straks"), 2, "--relief_ms", "+2h")
    expect(run("send", "text", "--to", "1", "--text", "x", "--text", "y"), 2, "given twice")
    expect(run("--version"), 0, "cpctl ")


@test
def a_family_of_verbs_has_help_of_its_own(_):
    for family, words in (("region", ("init", "admit", "group", "revoke", "kit", "show")), ("node", ("init", "install", "show"))):
        for call in ([family, "--help"], ["--help", family], ["help", family]):
            shown = expect(run(*call), 0, f"cpctl {family} WORD").stdout
            assert all(f"  {family} {word} " in shown for word in words), shown
            assert "  status" not in shown and "  inbox" not in shown, shown
        # Half a verb tells which other half there is.
        done = expect(run(family), 2, f"cpctl {family} --help")
        assert all(f" {word}" in done.stderr for word in words), done.stderr
    shown = expect(run("queue", "--help"), 0).stdout
    assert all(f"  queue {word} " in shown for word in ("hold", "release", "withdraw")), shown
    # What must be given stands in the first line.
    assert "region kit DIR --node NUMBER" in run("region", "kit", "--help").stdout.splitlines()[0]


@test
def no_daemon_is_exit_3_and_says_what_to_look_at(folder):
    expect(run("status"), 3, "/nonexistent/api.sock", "systemctl status cpd")
    expect(run("--socket", os.path.join(folder, "no.sock"), "status"), 3, "no.sock")
    expect(run("status", "--socket=" + os.path.join(folder, "no.sock")), 3, "no.sock")
    begin = time.monotonic()
    expect(run("send", "text", "--to", "1", "--text", "x"), 3)
    assert time.monotonic() - begin < 3, "a daemon that was never there is waited for"
    expect(run("watch"), 3)


# ---------------------------------------------------------------- regions and nodes
def make_region(folder):
    authority = os.path.join(folder, "authority")
    expect(run("region", "init", authority, "--region", "VR09", "--name", "Utrecht", "--unsealed"), 0, "Fingerprint", "lies open")
    return authority


def make_node(folder, name):
    state = os.path.join(folder, name)
    expect(run("node", "init", state, "--name", name), 0, "Fingerprint")
    return state, os.path.join(state, "request.cpd")


def shown(authority):
    return json.loads(expect(run("region", "show", authority, "--json"), 0).stdout)


def phrase(folder, name, words):
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        out.write(words + "\n")
    os.chmod(path, 0o600)
    return path


@test
def the_regions_key_is_sealed_with_a_passphrase(folder):
    authority, first, second = os.path.join(folder, "sealed"), phrase(folder, "first", "vijf woorden op een rij"), phrase(folder, "second", "heel iets anders, veel langer")
    init = ("region", "init", authority, "--region", "VR09", "--name", "Utrecht")
    expect(run(*init), 1, "no terminal", "CPD_NEW_PASSPHRASE_FILE")
    expect(run(*init, environment={"CPD_NEW_PASSPHRASE_FILE": phrase(folder, "short", "te kort")}), 1, "shorter than 12")
    assert not os.path.exists(os.path.join(authority, "authority.key"))
    expect(run(*init, environment={"CPD_NEW_PASSPHRASE_FILE": first}), 0, "Fingerprint", "passphrase elsewhere")
    with open(os.path.join(authority, "authority.key")) as key:
        assert key.read().startswith("cpd-sealed-key 1 argon2id 3 268435456\n")
    _, request = make_node(folder, "NSP Zegel")
    admit = ("region", "admit", authority, request, "--node", 344003, "--role", "nsp")
    expect(run(*admit), 1, "no terminal", "CPD_PASSPHRASE_FILE")
    expect(run(*admit, environment={"CPD_PASSPHRASE_FILE": second}), 1, "does not open")
    os.chmod(first, 0o640)
    expect(run(*admit, environment={"CPD_PASSPHRASE_FILE": first}), 1, "read by others")
    os.chmod(first, 0o600)
    assert not shown(authority)["nodes"]         # looking needs no passphrase
    expect(run(*admit, environment={"CPD_PASSPHRASE_FILE": first}), 0, "directory 1")
    expect(run("region", "passphrase", authority, environment={"CPD_PASSPHRASE_FILE": first, "CPD_NEW_PASSPHRASE_FILE": second}), 0, "replace them")
    group = ("region", "group", authority, "--number", 1, "--name", "alle", "--members", "344003")
    expect(run(*group, environment={"CPD_PASSPHRASE_FILE": first}), 1, "does not open")
    expect(run(*group, environment={"CPD_PASSPHRASE_FILE": second}), 0, "version 1")


def typed(words, lines):
    """cpctl on a terminal of its own: what it showed, and its exit code. Each line is typed when a prompt stands there."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(CPCTL, [CPCTL, *map(str, words)], {"PATH": os.environ["PATH"]})
    shown_text, end = "", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 4096).decode(errors="replace")
            except OSError:
                break
            if not piece:
                break
            shown_text += piece
        if lines and shown_text.endswith(": "):
            time.sleep(0.1)                      # the echo goes off behind the prompt
            os.write(terminal, lines.pop(0).encode() + b"\n")
            shown_text += "\n"
    os.close(terminal)
    return shown_text, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@test
def a_passphrase_is_typed_unseen_and_twice(folder):
    authority = os.path.join(folder, "typed")
    init = ("region", "init", authority, "--region", "VR09", "--name", "Utrecht")
    text, code = typed(init, ["vijf woorden op een rij", "vijf woorden op een rijtje"])
    assert code == 1 and "not the same" in text and "woorden" not in text, text
    text, code = typed(init, ["vijf woorden op een rij", "\x03"])
    assert code == 1 and "no passphrase" in text, text
    text, code = typed(init, ["vijf woorden op een rij"] * 2)
    assert code == 0 and "Fingerprint" in text and "woorden op" not in text, text
    state, request = make_node(folder, "NSP Typ")
    text, code = typed(("region", "admit", authority, request, "--node", 7, "--role", "nsp"), ["een heel andere zin", "vijf woorden op een rij"])
    assert code == 0 and "does not open" in text and "directory 1" in text, text
    assert len(state) > 0


@test
def a_node_comes_into_a_region(folder):
    authority = make_region(folder)
    hub, hub_request = make_node(folder, "CP Utrecht")
    nsp, request = make_node(folder, "NSP De Meern")
    assert stat.S_IMODE(os.stat(nsp).st_mode) == 0o700
    expect(run("region", "admit", authority, hub_request, "--node", 901, "--role", "cp", "--address", "tcp://192.0.2.1:5600"), 0, "directory 1")
    told = expect(run("region", "admit", authority, request, "--node", 344003, "--role", "nsp", "--name", "NSP Meern", "--municipality", "GM0344",
                      "--lat", "52.09083", "--lon", "-5.12222"), 0, "directory 2").stdout
    expect(run("region", "group", authority, "--number", 1, "--name", "alle-nsp", "--members", "344003"), 0, "version 1")
    expect(run("region", "kit", authority, "--node", 344003), 0, "directory 3")
    conf = os.path.join(folder, "cpd.conf")
    expect(run("node", "install", nsp, os.path.join(authority, "kits", "344003.kit"), "--conf", conf), 0, "node 344003", "directory 3")
    assert sorted(os.listdir(os.path.join(nsp, "updates"))) == ["000001.update", "000002.update", "000003.update"]
    for name in os.listdir(os.path.join(nsp, "updates")):
        with open(os.path.join(nsp, "updates", name), "rb") as a, open(os.path.join(authority, "updates", name), "rb") as b:
            assert a.read() == b.read()
    node = json.loads(run("node", "show", nsp, "--json").stdout)
    assert (node["installed"], node["number"], node["key_number"], node["region"]) == (True, 344003, 1, "VR09"), node
    region = shown(authority)
    assert node["region_fingerprint"] == region["fingerprint"] and node["fingerprint"] in told
    assert [n["number"] for n in region["nodes"]] == [901, 344003] and region["groups"][0]["members"] == [344003]
    with open(conf) as text:
        text = text.read()
    assert "number = 344003" in text and "[link 901]" in text and "address = tcp://192.0.2.1:5600" in text and "default = 901" in text
    if os.path.exists(CPD):
        done = subprocess.run([CPD, "--check-config", "--config", conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    expect(run("region", "init", authority, "--region", "VR09", "--name", "Utrecht"), 1, "already")
    expect(run("node", "init", nsp, "--name", "anders"), 1, "344003 already")
    expect(run("node", "install", nsp, os.path.join(authority, "kits", "344003.kit"), "--conf", conf), 1, "there already")
    expect(run("node", "install", nsp, os.path.join(authority, "kits", "344003.kit")), 0)


@test
def another_machine_takes_a_node_over(folder):
    """With new keys it stands where the first stood; with a copy of the keys it is the same node, in a later epoch."""
    authority = make_region(folder)
    first, request = make_node(folder, "CP Utrecht")
    admit = ["region", "admit", authority, request, "--node", 901, "--role", "cp"]
    expect(run(*admit, "--address", "tcp://192.0.2.1:5600", "--municipality", "GM0344", "--lat", "52.1", "--lon", "5.1"), 0, "directory 1")
    kit = os.path.join(authority, "kits", "901.kit")
    expect(run("node", "install", first, kit), 0)
    second = os.path.join(folder, "second")
    conf = os.path.join(folder, "second.conf")
    expect(run("node", "install", second, kit, "--keys", authority), 1, "holds no keys")
    assert not os.path.exists(second)
    expect(run("node", "install", second, kit, "--keys", os.path.join(first, "identity"), "--conf", conf), 0, "node 901", "key 1")
    expect(run("node", "install", second, kit, "--keys", os.path.join(first, "identity")), 0)
    a, b = (json.loads(run("node", "show", one, "--json").stdout) for one in (first, second))
    assert a["fingerprint"] == b["fingerprint"] and (a["epoch"], b["epoch"]) == (0, 100), (a, b)
    assert stat.S_IMODE(os.stat(os.path.join(second, "identity", "signing.key")).st_mode) == 0o600
    third, request = make_node(folder, "CP Utrecht, nieuw")
    before = tree(third)
    expect(run("node", "install", third, kit, "--keys", os.path.join(first, "identity")), 1, "other keys", "nothing was changed")
    assert tree(third) == before
    admit[3] = request
    expect(run(*admit), 1, "--replace")
    expect(run(*admit, "--replace"), 0, "key 2, directory 2")
    expect(run("node", "install", third, kit), 0, "key 2")
    node = [n for n in shown(authority)["nodes"] if n["number"] == 901][0]
    assert (node["address"], node["municipality"]) == ("tcp://192.0.2.1:5600", "GM0344"), node
    assert json.loads(run("node", "show", third, "--json").stdout)["epoch"] == 100
    # Of two CPs the one with the higher number calls.
    fourth, request = make_node(folder, "CP Amersfoort")
    expect(run("region", "admit", authority, request, "--node", 902, "--role", "cp", "--address", "tcp://192.0.2.2:5600"), 0)
    expect(run("node", "install", fourth, os.path.join(authority, "kits", "902.kit"), "--conf", conf + "2"), 0)
    with open(conf) as low, open(conf + "2") as high:
        assert "\n[link" not in low.read() and "[link 901]\n# CP Utrecht, nieuw\naddress = tcp://192.0.2.1:5600" in high.read()


@test
def a_damaged_or_foreign_kit_changes_nothing(folder):
    authority = make_region(folder)
    nsp, request = make_node(folder, "a")
    other, other_request = make_node(folder, "b")
    expect(run("region", "admit", authority, request, "--node", 1, "--role", "nsp"), 0)
    expect(run("region", "admit", authority, other_request, "--node", 2, "--role", "nsp"), 0)
    kit = os.path.join(authority, "kits", "1.kit")
    with open(kit, "rb") as file:
        whole = file.read()
    before = tree(nsp)
    conf = os.path.join(folder, "cpd.conf")
    broken = os.path.join(folder, "broken.kit")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:len(whole) // 2], whole[:-1], b"", bytes(flipped), whole + b"x"):
        with open(broken, "wb") as file:
            file.write(content)
        expect(run("node", "install", nsp, broken, "--conf", conf), 1, "copy it again")
        assert tree(nsp) == before and not os.path.exists(conf)
    expect(run("node", "install", nsp, os.path.join(authority, "kits", "2.kit"), "--conf", conf), 1, "other keys")
    expect(run("node", "install", nsp, os.path.join(folder, "absent.kit")), 1)
    assert tree(nsp) == before and not os.path.exists(conf)
    # another region's kit for the same machine, after it was installed
    second = os.path.join(folder, "second")
    expect(run("region", "init", second, "--region", "VR10", "--name", "Elders", "--unsealed"), 0)
    expect(run("region", "admit", second, request, "--node", 1, "--role", "nsp"), 0)
    expect(run("node", "install", nsp, kit), 0)
    before = tree(nsp)
    expect(run("node", "install", nsp, os.path.join(second, "kits", "1.kit")), 1, "belongs to region VR09")
    assert tree(nsp) == before
    # an update of the same number with other bytes stands there
    with open(os.path.join(nsp, "updates", "000001.update"), "ab") as file:
        file.write(b"x")
    expect(run("node", "install", nsp, kit), 1, "000001.update", "signs in two places")


@test
def the_region_refuses_what_it_should_and_signs_nothing(folder):
    authority = make_region(folder)
    _, request = make_node(folder, "a")
    _, other_request = make_node(folder, "b")
    expect(run("region", "admit", authority, request, "--node", 1, "--role", "nsp"), 0)
    before = tree(authority)
    admit = ["region", "admit", authority, other_request, "--node", 2, "--role", "nsp"]
    expect(run(*admit[:-1], "burgemeester"), 2, "nsp, cp, desk or partner")
    expect(run(*admit, "--municipality", "Utrecht"), 2, "GM0344")
    expect(run(*admit, "--address", "tcp://nsp1:5600"), 2, "not numeric")
    expect(run(*admit, "--lat", "52,1", "--lon", "5.1"), 2, "--lat")
    expect(run(*admit, "--lat", "52.1"), 2, "--lat and --lon")
    expect(run("region", "admit", authority, request, "--node", 3, "--role", "nsp"), 1, "those of node 1")
    expect(run("region", "admit", authority, os.path.join(authority, "region.pub"), "--node", 3, "--role", "nsp"), 1, "not a whole request")
    expect(run("region", "group", authority, "--number", 1, "--name", "g", "--members", "1,7"), 1, "node 7", "not admitted")
    expect(run("region", "group", authority, "--number", 1, "--name", "g", "--members", "1;7"), 2, "--members")
    expect(run("region", "revoke", authority, "--node", 7), 1, "not admitted")
    expect(run("region", "revoke", authority, "--node", 1, "--last", "118"), 2, "EPOCH/SEQUENCE")
    expect(run("region", "kit", authority, "--node", 9), 1, "not admitted")
    expect(run("region", "show", os.path.join(folder, "absent")), 1)
    expect(run("region", "init", os.path.join(folder, "x"), "--region", "Utrecht", "--name", "x"), 2, "VR09")
    assert tree(authority) == before


@test
def updates_are_numbered_versioned_and_may_be_asked_for_again(folder):
    authority = make_region(folder)
    nsp, request = make_node(folder, "a")
    admit = ["region", "admit", authority, request, "--node", 1, "--role", "nsp"]
    expect(run(*admit), 0, "directory 1")
    expect(run(*admit), 0, "already", "directory 1")
    expect(run(*admit, "--municipality", "GM0344"), 0, "key 1, directory 2")
    group = ["region", "group", authority, "--number", 5, "--name", "g", "--members"]
    _, second = make_node(folder, "b")
    expect(run("region", "admit", authority, second, "--node", 2, "--role", "nsp"), 0, "directory 3")
    expect(run(*group, "1"), 0, "version 1", "directory 4")
    expect(run(*group, "2,1,2"), 0, "2 members", "version 2", "directory 5")
    expect(run(*group, "1,2"), 0, "already", "version 2")
    expect(run("region", "group", authority, "--number", 6, "--name", "G", "--members", "1"), 1, "group 5 bears the name")
    # a lost key: revoked; a new request gets the next key number; the old one never comes back
    expect(run("region", "revoke", authority, "--node", 1, "--last", "1/118", "--reason", "gestolen"), 0, "1/1/118", "directory 6")
    expect(run("region", "revoke", authority, "--node", 1, "--last", "1/118"), 0, "already")
    expect(run(*admit), 1, "revoked or replaced")
    expect(run(*group, "1"), 1, "revoked")
    assert shown(authority)["nodes"][0]["revoked"] is True
    _, third = make_node(folder, "c")
    expect(run("region", "admit", authority, third, "--node", 1, "--role", "nsp"), 0, "key 2, directory 7")
    assert shown(authority)["nodes"][0]["revoked"] is False
    # a gap is not signed over
    os.rename(os.path.join(authority, "updates", "000003.update"), os.path.join(folder, "kept"))
    expect(run(*group, "2"), 1, "000003.update is missing")
    shutil.copy(os.path.join(authority, "updates", "000002.update"), os.path.join(authority, "updates", "000003.update"))
    expect(run(*group, "2"), 1, "000003.update is damaged or not")
    os.rename(os.path.join(folder, "kept"), os.path.join(authority, "updates", "000003.update"))
    expect(run(*group, "2"), 0, "version 3, directory 8")


@test
def a_request_can_be_made_again_before_the_node_is_installed(folder):
    state, request = make_node(folder, "a")
    keys = {path: content for path, content in tree(state).items() if path.endswith(".key")}
    os.unlink(request)
    expect(run("node", "init", state, "--name", "b"), 0, "there already")
    assert os.path.exists(request) and all(tree(state)[path] == content for path, content in keys.items())
    expect(run("node", "show", state), 0, "Not installed")
    expect(run("node", "install", os.path.join(folder, "empty"), request), 1, "cpctl node init")


# ---------------------------------------------------------------- HTTP
class Server:
    """Answers by a list of (status, value) or functions of the request; remembers what was asked. A reply of
    None closes the connection without an answer."""

    def __init__(self, folder, *replies):
        self.path = os.path.join(folder, "api.sock")
        self.replies = list(replies)
        self.asked = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer.handle(self)

        class Threaded(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = Threaded(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle(self, handler):
        line = handler.rfile.readline().decode().split()
        headers = {}
        while True:
            header = handler.rfile.readline().decode().strip()
            if not header:
                break
            name, value = header.split(":", 1)
            headers[name.lower()] = value.strip()
        body = handler.rfile.read(int(headers.get("content-length", 0)))
        self.asked.append((line[0], line[1], headers, body))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply is None:
            return
        if callable(reply):
            reply(handler, headers)
            return
        status, value = reply
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.wfile.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path)


def serve(folder, replies, *words, code=0, **options):
    server = Server(folder, *replies)
    try:
        done = run(*words, socket=server.path, **options)
    finally:
        server.close()
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done, server.asked


CREATED = (201, {"id": "344003/1/5", "existing": False})


def body_of(asked):
    return json.loads(asked[0][3])


@test
def send_tells_the_id_alone_and_types_its_fields(folder):
    done, asked = serve(folder, [CREATED], "send", "nsp-status", "--to", "901", "--to", "alle-nsp", "--phase", "open", "--persons=12",
                        "--staff-present", "3", "--staff_needed", "4", "--power", "BATTERY", "--autonomy_min", "300", "--safety", "green",
                        "--relief_ms", "2026-01-01T01:00:00+00:30", "--services.code", "water", "--services.colour", "RED",
                        "--services.code", "eten", "--services.colour", "GREEN", "--precedence", "PRIORITY", "--lifetime", "2h",
                        "--reply-to", "901/1/7", "--closing", "READ", "--author", "coordinator", "--mode", "EXERCISE")
    assert done.stdout == "344003/1/5\n", done.stdout
    method, path, headers, _ = asked[0]
    assert (method, path, headers["content-type"]) == ("POST", "/v1/messages", "application/json")
    assert re.fullmatch(r"[0-9a-f]{32}", headers["idempotency-key"])
    assert body_of(asked) == {
        "kind": "nsp-status", "to": [901, "alle-nsp"], "precedence": "PRIORITY", "lifetime_s": 7200, "in_reply_to": "901/1/7",
        "closing_level": "READ", "author": "coordinator", "mode": "EXERCISE",
        "body": {"phase": "OPEN", "persons": 12, "staff_present": 3, "staff_needed": 4, "power": "BATTERY", "autonomy_min": 300, "safety": "GREEN",
                 "relief_ms": 1800000, "services": [{"code": "water", "colour": "RED"}, {"code": "eten", "colour": "GREEN"}]}}, body_of(asked)


@test
def moments_are_milliseconds_since_2026(folder):
    for text, offset in (("now", 0), ("+2h", 7200), ("-30m", -1800), ("+90", 90)):
        _, asked = serve(folder, [CREATED], "send", "emergency-progress", "--to", "1", "--step", "DISPATCHED", "--expected_ms", text)
        wanted = (time.time() - ZERO + offset) * 1000
        assert abs(body_of(asked)["body"]["expected_ms"] - wanted) < 5000, (text, asked)
    for text, ms in (("2026-01-01T00:00:01Z", 1000), ("2026-03-01T12:00:00+01:00", 59 * 86400000 + 11 * 3600000), ("123456", 123456)):
        _, asked = serve(folder, [CREATED], "send", "emergency-progress", "--to", "1", "--step", "DISPATCHED", f"--expected_ms={text}")
        assert body_of(asked)["body"]["expected_ms"] == ms, (text, asked)
    for text in ("2025-12-31T00:00:00Z", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", "morgen"):
        expect(run("send", "emergency-progress", "--to", "1", "--step", "DISPATCHED", f"--expected_ms={text}"), 2, "--expected_ms")


@test
def a_body_comes_from_a_file_or_stdin_and_flags_override(folder):
    path = os.path.join(folder, "body.json")
    report = {"number": 1, "version": 1, "people": {"colour": "GREEN", "text": "rustig"}, "needs": ["water"], "core": "a"}
    with open(path, "w") as file:
        json.dump(report, file)
    wanted = dict(report, version=2, people={"colour": "RED", "text": "rustig"}, needs=["brood", "dekens"])
    flags = ["--version", "2", "--people.colour", "RED", "--needs", "brood", "--needs", "dekens"]
    for options, stdin in ((["--body", path], None), (["--body", "-"], json.dumps(report))):
        _, asked = serve(folder, [CREATED], "send", "situation-report", "--to", "1", *options, *flags, stdin=stdin)
        assert body_of(asked)["body"] == wanted, body_of(asked)
    expect(run("send", "text", "--to", "1", "--body", "-", stdin='{"text": '), 2, "line 1")
    expect(run("send", "text", "--to", "1", "--body", "-", stdin="[1]"), 2, "not a JSON object")
    expect(run("send", "text", "--to", "1", "--body", os.path.join(folder, "absent")), 1, "absent")


@test
def a_broken_connection_is_asked_again_with_the_same_key(folder):
    done, asked = serve(folder, [None, None, CREATED], "send", "text", "--to", "1", "--text", "x")
    assert done.stdout == "344003/1/5\n" and len(asked) == 3
    assert len({headers["idempotency-key"] for _, _, headers, _ in asked}) == 1 and len({body for _, _, _, body in asked}) == 1
    # half an answer is none
    half = lambda handler, headers: handler.wfile.write(b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{\"id\":")
    done, asked = serve(folder, [half, CREATED], "send", "text", "--to", "1", "--text", "x", "--key", "mine")
    assert len(asked) == 2 and {headers["idempotency-key"] for _, _, headers, _ in asked} == {"mine"}


@test
def after_three_more_tries_it_says_with_which_key_to_go_on(folder):
    done, asked = serve(folder, [None], "send", "text", "--to", "1", "--text", "x", code=3)
    keys = {headers["idempotency-key"] for _, _, headers, _ in asked}
    assert len(asked) == 4 and len(keys) == 1 and f"--key {keys.pop()}" in done.stderr and done.stdout == "", (len(asked), done.stderr)
    _, other = serve(folder, [CREATED], "send", "text", "--to", "1", "--text", "x")
    assert other[0][2]["idempotency-key"] != asked[0][2]["idempotency-key"]
    expect(run("send", "text", "--to", "1", "--text", "x", "--key", "a b"), 2, "--key")


@test
def a_refusal_is_exit_1_and_names_field_and_remedy(folder):
    error = (400, {"error": {"code": "bad-field", "field": "body.location", "message": "is required", "remedy": "correct this field"}})
    done, asked = serve(folder, [error], "send", "text", "--to", "1", "--text", "x", code=1)
    assert "body.location: is required" in done.stderr and "correct this field" in done.stderr and done.stdout == "" and len(asked) == 1
    done, _ = serve(folder, [(503, {"error": {"code": "store-full", "message": "full", "remedy": "free space"}})], "read", "1/2/3", code=1)
    assert "free space" in done.stderr
    done, _ = serve(folder, [(500, b"<html>")], "status", code=1)
    assert "500" in done.stderr
    done, _ = serve(folder, [(200, b"hello")], "status", code=1)
    assert "not cpd" in done.stderr


@test
def acts_go_to_their_paths(folder):
    ok = (200, {"id": "1/2/3", "level": "READ"})
    for words, path, body in ((["read", "1/2/3"], "read", {}), (["accept", "1/2/3"], "accept", {}), (["done", "1/2/3"], "done", {}),
                              (["refuse", "1/2/3", "--reason", "geen auto"], "refuse", {"remark": "geen auto"}),
                              (["withdraw", "1/2/3"], "withdraw", {}), (["queue", "hold", "1/2/3"], "hold", {}),
                              (["queue", "release", "1/2/3"], "release", {}),
                              (["queue", "withdraw", "1/2/3", "--reason", "x"], "withdraw", {"remark": "x"})):
        _, asked = serve(folder, [ok], *words)
        assert asked[0][:2] == ("POST", f"/v1/messages/1/2/3/{path}") and body_of(asked) == body, asked
    update = os.path.join(folder, "000002.update")
    with open(update, "wb") as file:
        file.write(b"\0\1\2")
    done, asked = serve(folder, [(200, {"version": 9})], "directory", "import", update)
    assert asked[0][1] == "/v1/directory" and asked[0][3] == b"\0\1\2" and asked[0][2]["content-type"] == "application/octet-stream" and "9" in done.stdout


STATUS = {
    "node": {"number": 901, "name": "CP\u001b[31m Utrecht", "role": "cp", "region": "VR09", "epoch": 1, "version": "0.1.0"},
    "clock": {"time": "2026-11-24T12:00:00Z", "quality": "manual"}, "store": {"used_bytes": 1 << 20, "limit_bytes": 1 << 30, "messages": 3},
    "directory": {"version": 8},
    "links": [{"neighbour": 344003, "name": "NSP met een heel erg lange naam in De Meern", "role": "nsp", "bearer": "ip", "up": False,
               "since_s": 7500, "heard_s": 7500, "problem": "handshake failed",
               "queue": {"FLASH": {"depth": 1, "oldest_s": 20}, "ROUTINE": {"depth": 12, "oldest_s": 200}}}],
    "unrouted": {"FLASH": {"depth": 0, "oldest_s": None}},
    "nsps": [{"number": 344003, "name": "NSP De Meern", "phase": "LIMITED", "status_age_s": 200, "heard_s": 20, "persons": 12, "autonomy_min": 300},
             {"number": 344004, "name": "NSP Zwijgt", "phase": None, "status_age_s": None, "heard_s": None},
             {"number": 344005, "name": "NSP Stil", "phase": "OPEN", "status_age_s": 90000, "heard_s": 181}],
    "inbox": {"total": 4, "unread": 1}}


@test
def status_is_readable_and_marks_who_is_silent(folder):
    done, _ = serve(folder, [(200, STATUS)], "status")
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    text = done.stdout
    for wanted in ("DOWN for 2 h 05 min", "FLASH 1 (oldest 20 s), ROUTINE 12 (oldest 3 min)", "Beperkt open", "1 d 1 h", "handshake failed", "not sure", "NEVER"):
        assert wanted in text, (wanted, text)
    assert "\x1b" not in text, "control characters of others, or colour that no terminal asked for"
    row = {number: next(line for line in lines if str(number) in line and "NSP" in line and "DOWN" not in line) for number in (344003, 344004, 344005)}
    assert not row[344003].startswith("!") and row[344004].startswith("!") and row[344005].startswith("!"), row
    done, _ = serve(folder, [(200, STATUS)], "--json", "status")
    assert json.loads(done.stdout) == STATUS


@test
def lists_follow_their_pages(folder):
    def page(ids, following):
        return 200, {"messages": [{"id": i, "counter": 1, "kind": "text", "dutch": "Bericht", "precedence": "FLASH", "mode": "REAL", "origin": 901,
                                   "origin_name": "CP", "author": "", "received_s": 40, "level": "DELIVERED", "late": True, "line": "hallo\tdaar"}
                                  for i in ids], "next": following}
    done, asked = serve(folder, [page(["1/1/1", "1/1/2"], 7), page(["1/1/3"], None)], "inbox", "--unread")
    assert [path for _, path, _, _ in asked] == ["/v1/inbox?unread=1&limit=100", "/v1/inbox?unread=1&limit=98&after=7"], asked
    assert all(i in done.stdout for i in ("1/1/1", "1/1/2", "1/1/3")) and "te laat binnengekomen" in done.stdout
    done, asked = serve(folder, [page(["1/1/1"], "1/1/1"), page(["1/1/2"], None)], "outbox", "--json", "--limit", "2")
    assert asked[1][1] == "/v1/outbox?limit=1&after=1/1/1" and [m["id"] for m in json.loads(done.stdout)] == ["1/1/1", "1/1/2"]


@test
def show_and_trace_tell_it_in_words(folder):
    message = {"id": "1/1/1", "kind": "text", "dutch": "Bericht", "precedence": "FLASH", "mode": "EXERCISE", "origin": 901, "origin_name": "CP", "author": "",
               "created": "2026-03-01T12:00:00Z", "received_s": 40, "level": "READ", "closing_level": "DELIVERED", "lifetime_s": 3600,
               "destinations": {"nodes": [1, 2], "groups": [{"number": 1, "version": 2, "name": "alle-nsp"}]},
               "body": {"text": "woord " * 40 + "\nregel", "relief_ms": 3600000}}
    done, _ = serve(folder, [(200, message)], "show", "1/1/1")
    assert "1, 2, group alle-nsp (version 2)" in done.stdout and "2026-01-01 01:00:00 UTC" in done.stdout and "EXERCISE" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    done, _ = serve(folder, [(200, dict(message, body=None, dutch=None))], "show", "1/1/1")
    assert "onbekend bericht" in done.stdout
    trace = {"id": "1/1/1", "kind": "text", "precedence": "FLASH", "held_here": True, "origin_here": True, "closed": False, "age_s": 50, "from": None,
             "flags": ["held"], "hops": [{"node": 3, "name": "NSP", "received": "2026-03-01T12:00:00Z", "sent": None}],
             "recipients": [{"node": 901, "name": "CP", "state": "passed", "via": 902, "retry": 2, "level": "READ", "level_time": "2026-03-01T12:00:00Z", "reason": None},
                            {"node": 4, "name": None, "state": "no-route", "via": None, "retry": 0, "level": "NONE", "level_time": None, "reason": None}]}
    done, asked = serve(folder, [(200, trace)], "trace", "1/1/1")
    for wanted in ("handed to 902, sent again 2 times", "READ at 1 mrt 12:00", "no way known", "nothing heard yet", "held", "50 s old"):
        assert wanted in done.stdout, (wanted, done.stdout)
    queue = {"rows": [{"link": 901, "precedence": "FLASH", "type": "message", "id": "1/1/1", "kind": "text", "age_s": 3}, {"link": None, "precedence": "ROUTINE", "type": "receipts", "id": None}]}
    done, _ = serve(folder, [(200, queue)], "queue")
    assert "Link to 901" in done.stdout and "No way known" in done.stdout and "3 s" in done.stdout


@test
def watch_goes_on_after_the_last_line_it_showed(folder):
    def stream(*numbers):
        def reply(handler, _headers):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in numbers:
                data = json.dumps({"number": number, "time": "2026-03-01T12:00:00Z", "what": "receipt", "id": "1/1/1", "node": 9, "link": 0, "level": "READ", "reason": None})
                text = f": \n\nid: {number}\nevent: receipt\ndata: {data}\n\n".encode()
                for part in (text[:20], text[20:]):
                    handler.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
                    handler.wfile.flush()
        return reply
    done, asked = serve(folder, [stream(1201, 1202), None, stream(1203, 1204)], "watch", "--count", "3", "--json")
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == [1201, 1202, 1203], done.stdout
    assert [headers.get("last-event-id") for _, _, headers, _ in asked] == [None, "1202", "1202"], asked
    done, _ = serve(folder, [stream(5)], "watch", "--count=1")
    assert "receipt" in done.stdout and "1/1/1" in done.stdout and "READ" in done.stdout
    done, _ = serve(folder, [(503, {"error": {"code": "busy", "message": "too many follow already", "remedy": "close one"}})], "watch", code=1)
    assert "close one" in done.stderr


def main():
    wanted = sys.argv[1:]
    passed = failed = 0
    for function in tests:
        if wanted and function.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="cpctl-") as folder:
            try:
                function(folder)
                passed += 1
            except Exception as error:  # a test that breaks is a failed test, and the others go on
                failed += 1
                print(f"FAILED {function.__name__}: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
