#!/usr/bin/env python3
"""Enrolment in bulk: a list of nodes becomes sealed kits and sheets, a kit makes a machine a node in one step, and nothing is
lost when it is broken off. Last line: N passed, M failed.

    BUILD=build [CPD_TEST_DATA=DIR] [FULL=1] test/system/test_enrol.py [NAME...]
"""
import csv
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import shutil

from harness import CPCTL, CPD, Checks, Node, Region, free_port, wait_for

LIST = """number,name,municipality,place,lat,lon,role,homes,address
901,CP Utrecht,,Meldkamer,52.1,5.1,cp,,tcp://127.0.0.1:5600
,"Gemeentehuis De Brug, <Utrecht>",GM0344,Stadsplateau 1,52.09083,5.12222,nsp,901,
,Buurthuis Lombok,GM0344,,,,,901,
"""
tests = []


def test(function):
    tests.append(function)
    return function


def run(*words, code=None, stdin=None):
    env = {"PATH": os.environ["PATH"], **({"CPD_CODE_FILE": code} if code else {})}
    env.update({name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if name in os.environ})
    return subprocess.run([CPCTL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600, env=env,
                          input=stdin, start_new_session=True)


def expect(done, code, *texts):
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    for text in texts:
        assert text in done.stdout + done.stderr, f"no {text!r} in\n{done.stdout}{done.stderr}"
    return done


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(text)
    os.chmod(path, 0o600)
    return path


def region(folder):
    authority = os.path.join(folder, "authority")
    expect(run("region", "init", authority, "--region", "VR09", "--name", "Utrecht", "--unsealed"), 0)
    return authority


def enrol(folder, authority, text, *options):
    return run("region", "enrol", authority, write(os.path.join(folder, "list.csv"), text), *options)


def sheet(authority, node):
    with open(os.path.join(authority, "sheets", f"{node}.html"), encoding="utf-8") as file:
        return file.read()


def codes(authority, node):
    return re.findall(r'class="code">([0-9A-Z-]{23})<', sheet(authority, node))


def kit(authority, node):
    return os.path.join(authority, "kits", f"{node}.sealed")


def install(folder, authority, node, code=None, name="node", *options):
    """Into folder/name; what cpctl said."""
    code = write(os.path.join(folder, "code"), (code or codes(authority, node)[0]) + "\n")
    return run("node", "install", os.path.join(folder, name), kit(authority, node), *options, code=code)


def nodes(authority):
    return {node["number"]: node for node in json.loads(run("region", "show", authority, "--json").stdout)["nodes"]}


def snapshot(folder):
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(place, name), "rb") as file:
                found[os.path.join(place, name)] = file.read()
    return found


@test
def a_list_becomes_kits_and_a_kit_a_node_in_one_step(folder):
    authority = region(folder)
    told = expect(enrol(folder, authority, LIST), 0, "3 kits are made", "directory 1", "never send a stick and its sheet in one envelope")
    assert {n: (v["role"], v["name"]) for n, v in nodes(authority).items()} == {
        901: ("cp", "CP Utrecht"), 344001: ("nsp", "Gemeentehuis De Brug, <Utrecht>"), 344002: ("nsp", "Buurthuis Lombok")}
    assert stat.S_IMODE(os.stat(os.path.join(authority, "sheets")).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(authority, "sheets", "344001.html")).st_mode) == 0o600
    text = sheet(authority, 344001)
    assert "Gemeentehuis De Brug, &lt;Utrecht&gt;" in text and "Stadsplateau 1" in text and "344001.sealed" in text
    code = codes(authority, 344001)[0]
    assert code not in told.stdout + told.stderr
    with open(kit(authority, 344001), "rb") as file:
        assert b"Brug" not in file.read()
    conf = os.path.join(folder, "cpd.conf")
    done = expect(install(folder, authority, 344001, code.lower().replace("-", " "), "node", "--conf", conf), 0, "node 344001", "key 1", "directory 1")
    mark = re.search(r"mark ([0-9a-f ]{9})", done.stderr).group(1)
    assert f"<b>{mark}</b>" in text, (mark, text)
    state = os.path.join(folder, "node")
    for name in ("signing.key", "sealing.key", "transport.key"):
        assert stat.S_IMODE(os.stat(os.path.join(state, "identity", name)).st_mode) == 0o600
    shown = json.loads(run("node", "show", state, "--json").stdout)
    assert (shown["number"], shown["key_number"], shown["epoch"]) == (344001, 1, 0) and shown["fingerprint"] == nodes(authority)[344001]["fingerprint"]
    with open(conf) as file:
        text = file.read()
    assert "number = 344001" in text and "[link 901]" in text and "default = 901" in text
    done = subprocess.run([CPD, "--check-config", "--config", conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    # Broken off after the keys, or given twice: the same again.
    os.remove(os.path.join(state, "updates", "000001.update"))
    expect(install(folder, authority, 344001), 0)
    assert os.path.exists(os.path.join(state, "updates", "000001.update"))


@test
def only_its_code_opens_a_kit_and_a_slip_is_told(folder):
    authority = region(folder)
    expect(enrol(folder, authority, LIST), 0)
    right, other = codes(authority, 344001)[0], codes(authority, 344002)[0]
    slip = right[:7] + ("A" if right[7] != "A" else "B") + right[8:]
    expect(install(folder, authority, 344001, slip), 1, "group 2 of the code")
    expect(install(folder, authority, 344001, right[:-2]), 1, "4 groups of 5")
    expect(install(folder, authority, 344001, other), 1, "not that of this kit", "344001")
    with open(kit(authority, 344001), "r+b") as file:
        file.seek(300)
        file.write(b"xxxx")
    expect(install(folder, authority, 344001, right), 1, "not a whole kit")
    assert not os.path.exists(os.path.join(folder, "node"))
    # A machine that is a node already stays the one it is.
    expect(install(folder, authority, 344002, other), 0)
    before = snapshot(os.path.join(folder, "node"))
    expect(install(folder, authority, 901), 1, "other keys", "nothing was changed")
    assert snapshot(os.path.join(folder, "node")) == before


@test
def faults_are_told_with_line_and_column_and_nothing_is_made(folder):
    authority = region(folder)
    before = snapshot(authority)
    head = "name,municipality,lat,lon,role,homes,address,number\n"
    for rows, *told in (
            ("A,GM034,,,,,,\n", "list.csv:2: column municipality", "GM0344"),
            ("A,GM0344,,,nsp,,,\nB,,,,,,,\n", "list.csv:3: column municipality", "empty"),
            (",GM0344,,,,,,\n", "list.csv:2: column name", "empty"),
            ("A,GM0344,91,5,,,,\n", "column lat", "-90"),
            ("A,GM0344,51,,,,,\n", "column lat", "go together"),
            ("A,GM0344,,,boss,,,\n", "column role", "nsp, cp"),
            ("A,GM0344,,,,902,,\n", "column homes", "902 is not known"),
            ("A,GM0344,,,,x,,\n", "column homes", "901 902"),
            ("C,,,,cp,,tcp://cp.example:5600,901\n", "column address", "not numeric"),
            ("C,,,,cp,,,901\nA,GM0344,,,,901,,\n", ":3: column homes", "no address"),
            ("A,GM0344,,,,,,7\nB,GM0344,,,,,,7\n", ":3: column number", "line 2"),
            ("A,GM0344,,,,,,\nA,GM0344,,,,,,\n", ":3: column name", "line 2"),
            ("A,GM0344,,,,,,,x\n", ":2: more fields"),
            ('"A"x,GM0344\n', ":2: its quotation marks"),
            ('"A,GM0344\n', "quotation mark is not closed"),
            ("", "no node in it")):
        done = expect(enrol(folder, authority, head + rows), 1, "nothing was changed", *told)
        assert "list.csv" in done.stderr
    expect(enrol(folder, authority, "naam2,gm\nA,B\n"), 1, "no column name", 'column "naam2" is not used')
    expect(enrol(folder, authority, "name,name\nA,B\n"), 1, "stands there twice")
    with open(os.path.join(folder, "latin.csv"), "wb") as out:
        out.write("name,municipality\nCaf\xe9,GM0344\n".encode("latin-1"))
    expect(run("region", "enrol", authority, os.path.join(folder, "latin.csv")), 1, "latin.csv:2: column name", "UTF-8")
    expect(run("region", "enrol", authority, os.path.join(folder, "list.csv"), "--homes", "x"), 2, "--homes")
    assert snapshot(authority) == before


@test
def a_list_of_a_dutch_spreadsheet_is_read(folder):
    authority = region(folder)
    text = "\ufeffNaam;Gemeente;Plaats;Lat;Lon;Rol;CPs;Adres;Nummer\r\nCP Utrecht;;;;;cp;;tcp://192.0.2.1:5600;901\r\nCaf\u00e9 Ren\u00e9;GM0344;Kade 1;52,09083;-5,12222;;901;;\r\n;;;;;;;;\r\n"
    expect(enrol(folder, authority, text), 0, "2 kits")
    assert nodes(authority)[344001]["name"] == "Caf\u00e9 Ren\u00e9"


@test
def a_run_given_again_makes_only_what_is_new(folder):
    authority = region(folder)
    expect(enrol(folder, authority, LIST), 0)
    before = snapshot(authority)
    expect(enrol(folder, authority, LIST), 0, "already", "nothing was changed")
    assert snapshot(authority) == before
    # The kits are on their sticks and the sheets in their envelopes: that is no reason to make others.
    os.remove(kit(authority, 344001))
    os.remove(os.path.join(authority, "sheets", "344001.html"))
    expect(enrol(folder, authority, LIST + "Nieuw,,,\n".replace("Nieuw", ",Buurthuis Nieuw,GM0344")), 0, "1 kit is made, 3 were")
    assert 344003 in nodes(authority) and not os.path.exists(kit(authority, 344001))
    assert nodes(authority)[344001]["key_number"] == 1
    expect(enrol(folder, authority, LIST.replace("Buurthuis Lombok", "Buurthuis Anders").replace("\n,Buur", "\n344002,Buur")), 1, ":4: column number", "is Buurthuis Lombok")
    expect(enrol(folder, authority, LIST.replace("52.09083", "52.1")), 0, "another address or place", "left as it is")
    expect(run("region", "revoke", authority, "--node", 344002), 0)
    expect(enrol(folder, authority, LIST), 1, ":4:", "revoked")


@test
def a_run_that_broke_off_goes_on_where_it_stopped(folder):
    authority = region(folder)
    total = 48 if os.environ.get("FULL") else 12         # 48: more than one update holds
    text = LIST + "".join(f",Buurthuis {n},GM0344,,,,,901,\n" for n in range(total - 3))
    path = write(os.path.join(folder, "list.csv"), text)
    process = subprocess.Popen([CPCTL, "region", "enrol", authority, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder_of_kits = os.path.join(authority, "kits")
    wait_for("first kits", lambda: len([n for n in os.listdir(folder_of_kits) if n.endswith(".sealed")]) >= 2 or process.poll() is not None, step=0.01)
    process.kill()
    process.wait()
    first = {n: b for n, b in snapshot(folder_of_kits).items() if n.endswith(".sealed")}
    assert 2 <= len(first) < total and len(nodes(authority)) == total, len(first)
    expect(enrol(folder, authority, text), 0, f"{total - len(first)} kit", f"{len(first)} were enrolled already")
    now = snapshot(folder_of_kits)
    assert all(now[name] == data for name, data in first.items()), "a kit that may be on its way was made again"
    for number, node in nodes(authority).items():
        assert node["key_number"] == (1 if kit(authority, number) in first else 2), node
    assert not os.path.exists(os.path.join(authority, "enrolling"))
    numbers = sorted(nodes(authority))
    expect(install(folder, authority, numbers[0], None, "first"), 0, "key 1")
    expect(install(folder, authority, numbers[-1], None, "last"), 0, "key 2")
    expect(enrol(folder, authority, text), 0, "nothing was changed")


def come_alive(nodes_there, authority, folder, number, port=None, which=0, *options):
    """A node of what its kit brought and nothing else, but where its socket is."""
    node = Node(nodes_there, number, "cp" if port else "nsp", str(number))
    os.makedirs(node.folder)
    nodes_there.nodes[number] = node
    code = write(os.path.join(folder, "code"), codes(authority, number)[which] + "\n")
    done = run("node", "install", node.state, kit(authority, number), "--conf", node.conf, *options, code=code)
    expect(done, 0, f"This is node {number}")
    with open(node.conf) as file:
        conf = file.read().replace("/run/cpd/api.sock", node.socket).replace("quality = auto", "quality = ntp").replace("0.0.0.0", "127.0.0.1")
    write(node.conf, conf)
    node.start()
    return node, done


@test
def kits_make_a_region_and_the_emergency_code_is_told_to_its_cp(folder):
    there = Region(os.path.join(folder, "region"))
    try:
        authority, port = there.authority, free_port()
        expect(enrol(folder, authority, LIST.replace(":5600", f":{port}")), 0, "3 kits")
        hub, _ = come_alive(there, authority, folder, 901, port)
        node, _ = come_alive(there, authority, folder, 344001)
        wait_for("a link", lambda: node.link_is_up(901), 60)
        told = node.send("text", 901, {"text": "Wij zijn er"})
        wait_for("the message", lambda: hub.has(told), 60)
        assert not [m for m in hub.inbox() if m["precedence"] == "FLASH"], hub.inbox()
        # The volunteer is not there.
        code = write(os.path.join(folder, "code"), codes(authority, 344002)[1] + "\n")
        expect(run("node", "install", os.path.join(folder, "no"), kit(authority, 344002), code=code), 1, "--who", "Nothing was changed")
        assert not os.path.exists(os.path.join(folder, "no"))
        node, done = come_alive(there, authority, folder, 344002, None, 1, "--who", "Jan de Vries, wijkteam")
        assert "tells every CP" in done.stdout, done.stdout
        flash = wait_for("the alarm", lambda: [m for m in hub.inbox() if m["precedence"] == "FLASH"], 60)
        shown = hub.show(flash[0]["id"])
        assert "Jan de Vries, wijkteam" in json.dumps(shown, ensure_ascii=False) and "344002" in shown["body"]["text"] and shown["body"]["subject"] == "NOODCODE GEBRUIKT", shown
        assert os.listdir(node.state).count("emergency-install.told") == 1 and not os.path.exists(os.path.join(node.state, "emergency-install"))
        with open(node.log) as log:
            assert "event=emergency-install " in log.read()
        # A crash between the message and the note's end: told again it is the same message.
        node.stop()
        os.rename(os.path.join(node.state, "emergency-install.told"), os.path.join(node.state, "emergency-install"))
        node.start()
        wait_for("the note to be put aside", lambda: os.path.exists(os.path.join(node.state, "emergency-install.told")), 30)
        assert len([m for m in node.outbox() if m["precedence"] == "FLASH"]) == 1
    finally:
        there.close()


@test
def a_sheet_is_one_page_of_a4(folder):
    authority = region(folder)
    expect(enrol(folder, authority, LIST + f",{'M' * 80},GM0344,{'W' * 80},,,,901,\n"), 0)
    text = sheet(authority, 344003)
    assert "http" not in text and "<script" not in text and text.count("<svg") == 2 and len(codes(authority, 344003)) == 2
    assert codes(authority, 344003)[0] != codes(authority, 344003)[1]
    try:
        from weasyprint import HTML
    except ImportError:
        assert not os.environ.get("FULL"), "python3-weasyprint is not there"
        print("     (pages are not counted: no python3-weasyprint)")
        return
    for number in (344001, 344003):
        pages = HTML(string=sheet(authority, number)).render().pages
        assert len(pages) == 1, (number, len(pages))


@test
def a_municipality_of_the_test_data_is_enrolled(folder):
    data = os.path.join(os.environ.get("CPD_TEST_DATA", ""), "plaatsen", "nsp-fictief.csv")
    if not os.path.exists(data):
        print("     (no CPD_TEST_DATA: skipped)")
        return
    with open(data, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter=";")]
    full = bool(os.environ.get("FULL"))
    wanted = [row for row in rows if (row["vr_code"] == "VR09" if full else row["gm_code"] == "GM0310")]
    assert len(wanted) > 5, len(wanted)
    authority = region(folder)
    expect(enrol(folder, authority, LIST.split("\n,")[0] + "\n"), 0)
    text = "id;naam;gm_code;lat;lon\n" + "".join(f'{r["id"]};"{r["naam"]}";{r["gm_code"]};{r["lat"]};{r["lon"]}\n' for r in wanted)
    begin = os.times()
    expect(enrol(folder, authority, text, "--homes", "901"), 0, f"{len(wanted)} kits are made")
    end = os.times()
    print(f"     ({len(wanted)} noodsteunpunten, {end.children_user - begin.children_user:.1f} s of CPU)")
    made = nodes(authority)
    assert {node["name"] for node in made.values() if node["role"] == "nsp"} == {row["naam"] for row in wanted}
    assert all(str(number).startswith(node["municipality"][2:].lstrip("0")) for number, node in made.items() if node["role"] == "nsp")
    number = max(made)
    expect(install(folder, authority, number), 0, made[number]["name"], "directory ")


def main():
    names = sys.argv[1:]
    checks = Checks()
    for function in tests:
        if names and function.__name__ not in names:
            continue
        folder = tempfile.mkdtemp(prefix="cpd-enrol-")
        checks.run(function, folder)
        shutil.rmtree(folder, ignore_errors=True)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
