#!/usr/bin/env python3
"""What is owed goes by stick: real nodes without any link, and a folder between them. Last line: N passed, M failed."""
import json
import os
import shutil
import signal
import subprocess
import sys

from harness import CPCTL, cpctl, test_region, wait_for

CP, OTHER, NSP, FAR = 901, 902, 344003, 344004
TEXT = {"text": "de generator is gestopt"}
CALL = {"number": 1, "services": 4, "nature": "MEDICAL", "postcode": "3512JE", "house_number": "14", "caller_waits": True}


def courier(node, what, folder, *words, check=True, json_out=True):
    """What cpctl told, as JSON; or, unchecked, the finished process."""
    done = cpctl("courier", what, folder, *words, *(["--json"] if json_out else []), "--socket", node.socket, check=check)
    return json.loads(done.stdout) if check and json_out else done


def reads(answer):
    return [one["read"] for one in answer["files"] if "read" in one]


def waits(node, neighbour):
    return sum(row["depth"] for link in node.get("/v1/status")["links"] if link["neighbour"] == neighbour for row in link["queue"].values())


def fresh(region, name):
    folder = os.path.join(region.folder, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def times_shown(node, identifier):
    return sum(message["id"] == identifier for message in node.inbox())


def both_directions_in_three_actions(checks, region):
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "stick")
    up = nsp.send("emergency-call", [CP], CALL)
    down = cp.send("text", [NSP], TEXT)
    first = courier(nsp, "write", stick)
    checks.check("1: the NSP writes", first["written"]["messages"] == 1 and first["safe_to_remove"], first)
    checks.check("writing releases nothing", nsp.told(up)[CP] == "NONE" and nsp.trace(up)["recipients"][0]["state"] == "queued", nsp.trace(up))
    second = courier(cp, "read", stick)
    checks.check("2: the CP reads and answers", reads(second)[0]["taken"] == 1 and second["answers"][0]["written"]["messages"] == 1
                 and second["answers"][0]["written"]["acknowledged"] == 1 and second["safe_to_remove"], second)
    checks.check("it is shown at the CP", times_shown(cp, up) == 1)
    third = courier(nsp, "read", stick)
    read = reads(third)[0]
    checks.check("3: the NSP reads", read["taken"] == 1 and read["released"] == 1 and read["receipts"] >= 1, third)
    checks.check("it is shown at the NSP", times_shown(nsp, down) == 1)
    checks.check("the author hears DELIVERED", nsp.told(up)[CP] == "DELIVERED", nsp.told(up))
    checks.check("what the CP sent waits there until word comes back", cp.trace(down)["recipients"][0]["state"] == "queued", cp.trace(down))
    fourth = courier(cp, "read", stick)
    checks.check("on the way back the CP hears of its own", reads(fourth)[0]["released"] >= 1 and cp.told(down)[NSP] == "DELIVERED", fourth)
    checks.check("nothing waits at the NSP but receipts", nsp.trace(up)["recipients"][0]["state"] == "passed", nsp.trace(up))


def reading_twice_shows_nothing_twice(checks, region):
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "twice")
    up = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", stick)
    courier(cp, "read", stick)
    again = courier(cp, "read", stick)
    read = reads(again)[0]
    checks.check("read twice: known, and said so", read["read_before"] and read["taken"] == 0 and read["known"] >= 1, again)
    checks.check("read twice: acknowledged again", again["answers"][0]["written"]["acknowledged"] >= 1, again)
    checks.check("read twice: shown once", times_shown(cp, up) == 1)
    courier(nsp, "read", stick)
    back = courier(nsp, "read", stick)
    checks.check("an answer read twice does nothing the second time", reads(back)[0]["released"] == 0, back)


def an_older_file_after_a_newer(checks, region):
    nsp, cp, older, newer = region.nodes[NSP], region.nodes[CP], fresh(region, "older"), fresh(region, "newer")
    one = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", older)
    two = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", newer)
    courier(cp, "read", newer)
    late = courier(cp, "read", older)
    read = reads(late)[0]
    checks.check("the older file brings nothing new", read["taken"] == 0 and read["known"] >= 1 and not read["read_before"], late)
    checks.check("both are shown once", times_shown(cp, one) == 1 and times_shown(cp, two) == 1)
    courier(nsp, "read", older)
    courier(nsp, "read", newer)
    checks.check("both are released", all(nsp.trace(sent)["recipients"][0]["state"] in ("passed", "ended") for sent in (one, two)))


def files_that_are_refused(checks, region):
    nsp, cp, other, stick = region.nodes[NSP], region.nodes[CP], region.nodes[OTHER], fresh(region, "refused")
    sent = nsp.send("text", [CP], TEXT)
    name = os.path.join(stick, courier(nsp, "write", stick, "--to", CP)["file"])
    with open(name, "rb") as file:
        whole = file.read()
    before = len(cp.inbox())
    for what, content in (("half", whole[:len(whole) // 2]), ("one bit", whole[:-300] + bytes([whole[-300] ^ 4]) + whole[-299:]), ("empty", b""),
                          ("the first line", whole[:14]), ("noise", b"x" * 5000), ("longer", whole + b"\0"),
                          ("of a later version", b"cpd-courier 2\n" + whole[14:])):
        with open(name, "wb") as file:
            file.write(content)
        done = courier(cp, "read", stick, check=False, json_out=False)
        checks.check(f"refused in words, nothing taken: {what}", done.returncode == 1 and len(done.stderr) > 40 and len(cp.inbox()) == before
                     and "Safe to remove" in done.stdout or what == "empty", f"{done.returncode} {done.stdout} {done.stderr}")
    with open(name, "wb") as file:
        file.write(whole)
    done = courier(other, "read", stick, check=False, json_out=False)
    checks.check("a file for another node is left", done.returncode == 0 and "for other nodes" in done.stdout, f"{done.stdout}{done.stderr}")
    done = courier(nsp, "read", stick, check=False, json_out=False)
    checks.check("a node leaves its own file", done.returncode == 0 and not done.stderr, f"{done.stdout}{done.stderr}")
    courier(cp, "read", stick)
    checks.check("whole again it is taken", times_shown(cp, sent) == 1)
    done = courier(cp, "read", fresh(region, "empty"), check=False, json_out=False)
    checks.check("an empty stick is told", done.returncode == 1 and "right stick" in done.stderr, done.stderr)
    done = courier(cp, "write", "/nowhere", check=False, json_out=False)
    checks.check("a folder that is not there is told", done.returncode == 1 and "no folder" in done.stderr, done.stderr)


CALLS = ("openat", "write", "fsync", "fadvise64", "pread64", "close", "rename", "syncfs")


def number_on(stick):
    """Of the NSP's file for the CP, as its head tells."""
    with open(os.path.join(stick, f"cpd-{NSP}-{CP}.courier"), "rb") as file:
        return int.from_bytes(file.read(34)[26:], "big")


def write_killed(nsp, stick, call, when):
    """True: it came to its end."""
    name = os.path.join(stick, f"cpd-{NSP}-{CP}.courier")
    part = os.path.join(stick, f".cpd-{NSP}-{CP}.courier.part")
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-P", stick, "-P", name, "-P", part, "-e", f"trace={','.join(CALLS)}",
                           "-e", f"inject={call}:signal=KILL:when={when}", CPCTL, "courier", "write", stick, "--to", str(CP), "--socket", nsp.socket],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return "Safe to remove" in done.stdout and done.returncode == 0


def pulled_out_at_every_step(checks, region):
    """cpctl is killed at every call that touches the stick, while it writes over an older file: what is there is whole, older or newer,
    and another write mends all."""
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "pulled")
    sent = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", stick, "--to", CP)
    older = newer = 0
    bad = []
    for call in CALLS:
        for when in range(1, 30):
            before = number_on(stick)
            if write_killed(nsp, stick, call, when):
                break
            older += number_on(stick) == before
            newer += number_on(stick) > before
            answer = courier(cp, "read", stick)
            bad += [one for one in answer["files"] if "error" in one and one["error"]["code"] != "own-file"]
            bad += [] if [one for one in reads(answer) if one["number"] == number_on(stick)] else [(call, when, answer)]
            os.remove(os.path.join(stick, f"cpd-{CP}-{NSP}.courier"))
    checks.check(f"pulled out at each of {older + newer} calls: {older} times the older file stands there, {newer} times the newer, whole", older >= 5
                 and newer >= 3 and not bad, f"{older} {newer} {bad}")
    checks.check("shown once", times_shown(cp, sent) == 1)
    courier(cp, "read", stick)
    courier(nsp, "read", stick)
    checks.check("afterwards nothing waits", waits(nsp, CP) == 0, nsp.get("/v1/status")["links"])


def a_stick_that_is_full(checks, region):
    nsp, stick = region.nodes[NSP], fresh(region, "full")
    courier(nsp, "write", stick, "--to", CP)
    before = sorted((name, os.path.getsize(os.path.join(stick, name))) for name in os.listdir(stick))
    nsp.send("text", [CP], TEXT)
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-P", os.path.join(stick, f".cpd-{NSP}-{CP}.courier.part"),
                           "-e", "inject=write:error=ENOSPC", CPCTL, "courier", "write", stick, "--to", str(CP), "--socket", nsp.socket],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    after = sorted((name, os.path.getsize(os.path.join(stick, name))) for name in os.listdir(stick))
    checks.check("a full stick is told, and stays as it was", done.returncode == 1 and "full" in done.stderr and "Safe" not in done.stdout
                 and before == after, f"{done} {before} {after}")


def a_node_that_stops_while_it_reads(checks, region):
    """cpctl must not take it for a file that is none of its business."""
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "stops")
    sent = [nsp.send("text", [CP], TEXT) for _ in range(30)]
    courier(nsp, "write", stick, "--to", CP)
    os.kill(cp.process.pid, signal.SIGSTOP)
    reading = subprocess.Popen([CPCTL, "courier", "read", stick, "--socket", cp.socket], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.kill(cp.process.pid, signal.SIGKILL)
    out, err = reading.communicate(timeout=60)
    cp.process.wait(10)
    checks.check("cpctl tells that the daemon is gone, and nobody says that it is safe", reading.returncode in (1, 3) and err and "Safe" not in out, f"{out}{err}")
    cp.start()
    courier(cp, "read", stick)
    checks.check("read again, all is there once", all(times_shown(cp, one) == 1 for one in sent))


def the_most_urgent_first(checks, region):
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "limit")
    long = {"text": "x" * 1900}
    routine = [nsp.send("text", [CP], long) for _ in range(40)]
    flash = nsp.send("emergency-call", [CP], CALL)
    priority = nsp.send("text", [CP], long, precedence="PRIORITY")
    small = courier(nsp, "write", stick, "--to", CP, "--limit", 64)
    checks.check("a small file stays within its limit", os.path.getsize(os.path.join(stick, small["file"])) <= 65536 and small["written"]["left"] > 0, small)
    courier(cp, "read", stick)
    shown = [message["id"] for message in cp.inbox()]
    checks.check("FLASH and PRIORITY went first", flash in shown and priority in shown)
    there = [identifier in shown for identifier in routine]
    checks.check("of ROUTINE the first, as they waited", 0 < sum(there) < 40 and there == sorted(there, reverse=True), there)
    for _ in range(4):
        courier(nsp, "read", stick)
        courier(cp, "read", stick)
    checks.check("the rest comes with the next ones", all(times_shown(cp, identifier) == 1 for identifier in routine))


def a_region_at_once(checks, region):
    nsp, cp, other, stick = region.nodes[NSP], region.nodes[CP], region.nodes[OTHER], fresh(region, "region")
    one, two = nsp.send("text", [CP], TEXT), nsp.send("text", [OTHER], TEXT)
    all_of_it = nsp.send("text", [CP, OTHER], TEXT)
    written = courier(nsp, "write", stick)
    checks.check("one file for two nodes", written["file"].endswith("-all.courier") and written["written"]["readers"] >= 2, written)
    first, second = courier(cp, "read", stick), courier(other, "read", stick)
    checks.check("each takes its own", times_shown(cp, one) == 1 and times_shown(other, two) == 1 and times_shown(other, one) == 0
                 and times_shown(cp, all_of_it) == 1 and times_shown(other, all_of_it) == 1, f"{first} {second}")
    back = courier(nsp, "read", stick)
    checks.check("both answers are read", sum("read" in one_file for one_file in back["files"]) == 2, back)
    checks.check("each recipient is released by its own word", all(
        recipient["state"] == "passed" for sent in (one, two, all_of_it) for recipient in nsp.trace(sent)["recipients"]), nsp.trace(all_of_it))


def whom_no_link_leads_to(checks, region):
    """FAR is in nobody's configuration: what is for it waits without a route, and goes by hand all the same."""
    nsp, far, stick = region.nodes[NSP], region.nodes[FAR], fresh(region, "far")
    sent = nsp.send("text", [FAR], TEXT)
    courier(nsp, "write", stick, "--to", FAR)
    courier(far, "read", stick)
    checks.check("it is shown there", times_shown(far, sent) == 1)
    courier(nsp, "read", stick)
    checks.check("and its receipt comes back", nsp.told(sent)[FAR] == "DELIVERED" and nsp.trace(sent)["recipients"][0]["state"] in ("passed", "ended"), nsp.trace(sent))


def the_link_comes_back_in_between(checks, region):
    nsp, cp, stick = region.nodes[NSP], region.nodes[CP], fresh(region, "between")
    sent = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", stick, "--to", CP)
    wire = region.wires[(NSP, CP)]
    wire.restore()
    wait_for("the message over the link", lambda: cp.has(sent), 60)
    wait_for("its receipt", lambda: nsp.told(sent)[CP] == "DELIVERED", 60)
    checks.check("what is on a stick leaves by a link that comes up", True)
    late = courier(cp, "read", stick)
    checks.check("the stick then brings nothing new", reads(late)[0]["taken"] == 0 and times_shown(cp, sent) == 1, late)
    courier(nsp, "read", stick)
    checks.check("and its answer harms nothing", nsp.told(sent)[CP] == "DELIVERED" and times_shown(cp, sent) == 1)
    more = nsp.send("text", [CP], TEXT)
    wait_for("traffic goes on", lambda: cp.has(more), 60)
    wire.cut()


def the_word_of_who_lost_its_disk(checks, region):
    """The CP took it by stick and burnt down before its answer came back: what it says of then counts no more, once that is known."""
    nsp, cp, stick, later = region.nodes[NSP], region.nodes[CP], fresh(region, "burnt"), fresh(region, "burnt-later")
    sent = nsp.send("text", [CP], TEXT)
    courier(nsp, "write", stick, "--to", CP)
    courier(cp, "read", stick)
    cp.stop()
    shutil.rmtree(os.path.join(cp.state, "store"))
    cp.start()
    checks.check("it is gone there", times_shown(cp, sent) == 0)
    courier(cp, "write", later, "--to", NSP)
    courier(nsp, "read", later)
    answer = courier(nsp, "read", stick)
    checks.check("the old word releases nothing", reads(answer)[0]["released"] == 0, answer)
    courier(nsp, "write", stick, "--to", CP)
    courier(cp, "read", stick)
    checks.check("and it comes again, once", times_shown(cp, sent) == 1)


def a_writer_that_is_revoked(checks, region):
    nsp, other, stick = region.nodes[NSP], region.nodes[OTHER], fresh(region, "revoked")
    sent = other.send("text", [NSP], TEXT)
    courier(other, "write", stick, "--to", NSP)
    cpctl("region", "revoke", region.authority, "--node", OTHER, "--last", "9/1", "--reason", "gestolen")
    nsp.call("POST", "/v1/directory", region.newest_update())
    done = courier(nsp, "read", stick, check=False, json_out=False)
    checks.check("a revoked writer's file is refused in words", done.returncode == 1 and "revoked" in done.stderr and times_shown(nsp, sent) == 0, done.stderr)
    cp, news = region.nodes[CP], fresh(region, "news")
    courier(nsp, "write", news, "--to", CP)
    version = courier(cp, "read", news)
    checks.check("the directory's news rides along", reads(version)[0]["updates"] == 1
                 and cp.get("/v1/status")["directory"] == nsp.get("/v1/status")["directory"], version)


def test(checks, region):
    for number, role, name in ((CP, "cp", "CP Utrecht"), (OTHER, "cp", "CP Amersfoort"), (NSP, "nsp", "NSP Lombok"), (FAR, "nsp", "NSP Zuilen")):
        region.add(number, role, name)
    region.admit()
    region.wire_up(region.nodes[CP], [region.nodes[NSP]])
    region.wires[(NSP, CP)].cut()
    wire = region.wires[(NSP, CP)]
    region.nodes[CP].write_conf([(NSP, None)])
    region.nodes[OTHER].write_conf([], f"\n[link {NSP}]\nprofile = courier\n")
    region.nodes[FAR].write_conf([])
    region.nodes[NSP].write_conf([(CP, wire.port)], f"\n[link {OTHER}]\nprofile = courier\n")
    region.start()
    for one in (both_directions_in_three_actions, reading_twice_shows_nothing_twice, an_older_file_after_a_newer, files_that_are_refused,
                pulled_out_at_every_step, a_stick_that_is_full, a_node_that_stops_while_it_reads,
                the_most_urgent_first, a_region_at_once, whom_no_link_leads_to,
                the_link_comes_back_in_between, the_word_of_who_lost_its_disk, a_writer_that_is_revoked):
        one(checks, region)
    for node in region.nodes.values():
        node.stop()
        report = node.check_store()
        checks.check(f"the store of {node.number} is sound", report.returncode == 0, report.stdout)


if __name__ == "__main__":
    sys.exit(test_region("courier", test))
