#!/usr/bin/env python3
"""/metrics read strictly, and held against what is known to have happened; /healthz when the disk hangs; and
what docs/monitoring asks of Prometheus against what a node tells."""
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness import Refused, cpctl, test_region, wait_for

CP, NSP, SILENT = 901, 344003, 307001
DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")
PRECEDENCES = ["FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE"]
SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$')


class Metrics:
    """One answer of /metrics, as strict as Prometheus' own promtool: each family with HELP and TYPE before its
    samples, all of them together, none twice, and counters and histograms named and shaped as they must be."""

    def __init__(self, node):
        kind, self.text = node.text("/metrics")
        assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
        assert self.text.endswith("\n")
        self.types, self.values, family = {}, {}, None
        for line in self.text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert family not in self.types and len(line.split(" ", 3)) == 4 and line.endswith("."), line
                self.types[family] = None
            elif line.startswith("# TYPE "):
                _, _, name, what = line.split(" ")
                assert name == family and what in ("gauge", "counter", "histogram"), line
                self.types[family] = what
                assert (what == "counter") == name.endswith("_total"), line
            else:
                match = SAMPLE.match(line)
                assert match, line
                base = re.sub(r"_(bucket|sum|count)$", "", match[1]) if self.types[family] == "histogram" else match[1]
                assert base == family, f"{line} stands in the family {family}"
                key = (match[1], tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))))
                assert key not in self.values, f"twice: {line}"
                self.values[key] = float(match[3])
                assert not math.isnan(self.values[key]), line
        for name, what in self.types.items():
            if what == "histogram":
                self.check_histogram(name)
        # Another reading of the same text.
        families = {one.name: one for one in text_string_to_metric_families(self.text)}
        assert sum(len(one.samples) for one in families.values()) == len(self.values)

    def check_histogram(self, name):
        buckets = sorted((float(dict(labels)["le"]), value) for (sample, labels), value in self.values.items() if sample == name + "_bucket")
        assert buckets[-1][0] == math.inf and [value for _, value in buckets] == sorted(value for _, value in buckets), buckets
        assert buckets[-1][1] == self.get(name + "_count") and self.get(name + "_sum") >= 0

    def get(self, sample, **labels):
        """The one sample with at least these labels; None: there is none."""
        found = [value for (name, has), value in self.values.items() if name == sample and set(labels.items()) <= set(has)]
        assert len(found) <= 1, f"{sample} {labels}: {len(found)} samples"
        return found[0] if found else None

    def labels(self):
        """name -> the names of its labels."""
        out = {}
        for name, labels in self.values:
            out.setdefault(name, set()).update(label for label, _ in labels)
        return out


def waits(node, link, precedence):
    return Metrics(node).get("cpd_queue_depth", link=str(link), precedence=precedence)


def a_node_at_rest(checks, region):
    cp, nsp = region.nodes[CP], region.nodes[NSP]
    metrics = wait_for("presence", lambda: (m := Metrics(cp)).get("cpd_node_heard_age_seconds", node=str(NSP)) is not None and m, 30)
    status = cp.get("/v1/status")
    checks.check("who it is", metrics.get("cpd_build_info", node=str(CP), role="cp", version=status["node"]["version"], region="VR09") == 1)
    checks.check("a name with a quote and a backslash survives", metrics.get("cpd_node_info", node=str(SILENT), name='NSP \\"De \\\\ Til\\"') == 1,
                 [key for key in metrics.values if key[0] == "cpd_node_info"])
    checks.check("the link is up", metrics.get("cpd_link_up", link=str(NSP)) == 1)
    checks.check("and was heard", 0 <= metrics.get("cpd_link_heard_age_seconds", link=str(NSP)) < 600)
    checks.check("who was never heard has no age", metrics.get("cpd_node_heard_age_seconds", node=str(SILENT)) is None)
    checks.check("one clock quality holds", metrics.get("cpd_clock_quality", quality="ntp") == 1
                 and sum(metrics.get("cpd_clock_quality", quality=one) for one in ("unknown", "manual", "ntp", "gnss")) == 1)
    checks.check("nothing waits", all(metrics.get("cpd_queue_depth", link=link, precedence=one) == 0 for one in PRECEDENCES for link in ("none", str(NSP))))
    checks.check("every class of the store's room", [metrics.get("cpd_store_admission_bytes", precedence=one) for one in PRECEDENCES]
                 == [status["store"]["limit_bytes"] // 100 * share for share in (96, 88, 75, 60)])
    checks.check("and what is kept back", metrics.get("cpd_store_reserved_bytes") + metrics.get("cpd_store_admission_bytes", precedence="FLASH")
                 == metrics.get("cpd_store_limit_bytes"))
    checks.check("every commit is in the histogram", metrics.get("cpd_commit_seconds_count") == metrics.get("cpd_commits_total") > 0)
    checks.check("it is well", metrics.get("cpd_healthy") == 1 and nsp.get("/healthz") == {"ok": True})


def a_cut_link(checks, region):
    cp, nsp = region.nodes[CP], region.nodes[NSP]
    wire = region.wires[(NSP, CP)]
    wire.cut()
    wait_for("the end of the link", lambda: Metrics(nsp).get("cpd_link_up", link=str(CP)) == 0)
    before = Metrics(nsp)
    for count, precedence in enumerate(PRECEDENCES, 1):
        for i in range(count):
            nsp.send("text", [CP], {"text": f"{precedence} {i}"}, precedence=precedence)
    after = Metrics(nsp)
    checks.check("the queue by precedence", [after.get("cpd_queue_depth", link=str(CP), precedence=one) for one in PRECEDENCES] == [1, 2, 3, 4])
    checks.check("the same in the status", [nsp.get("/v1/status")["links"][0]["queue"][one]["depth"] for one in PRECEDENCES] == [1, 2, 3, 4])
    checks.check("the rows of the store", after.get("cpd_store_rows", table="queue") == 10)
    checks.check("ten were authored", after.get("cpd_events_total", event="authored") - before.get("cpd_events_total", event="authored") == 10)
    checks.check("their commits are counted", after.get("cpd_commits_total") >= before.get("cpd_commits_total") + 10)
    wait_for("the age of the first in line", lambda: Metrics(nsp).get("cpd_queue_oldest_age_seconds", link=str(CP), precedence="FLASH") >= 2)
    nsp.kill()
    nsp.start()
    checks.check("the counts outlive a kill", [waits(nsp, CP, one) for one in PRECEDENCES] == [1, 2, 3, 4])
    wire.restore()
    wait_for("an empty queue", lambda: sum(waits(nsp, CP, one) for one in PRECEDENCES) == 0)
    wait_for("all acknowledged", lambda: Metrics(nsp).get("cpd_link_unacknowledged", link=str(CP)) == 0)
    there = Metrics(cp)
    checks.check("the CP took ten, unread", there.get("cpd_messages_taken_total") == 10 == there.get("cpd_inbox_messages") == there.get("cpd_inbox_unread"))
    checks.check("and counts their bytes", there.get("cpd_link_received_bytes_total", link=str(NSP)) > 1000)


def reading(checks, region):
    cp = region.nodes[CP]
    inbox = [message["id"] for message in cp.inbox()]
    cp.act(inbox[0], "read")
    cp.act(inbox[0], "done")
    cp.act(inbox[1], "refuse", remark="dat kan niet")
    cp.act(inbox[2], "done")
    checks.check("three read are three fewer, once each", Metrics(cp).get("cpd_inbox_unread") == 7, Metrics(cp).get("cpd_inbox_unread"))
    cp.kill()
    cp.start()
    checks.check("also after a kill", Metrics(cp).get("cpd_inbox_unread") == 7 == cp.get("/v1/status")["inbox"]["unread"])
    checks.check("as the list of the unread has it", len(cp.get("/v1/inbox?unread=1&limit=500")["messages"]) == 7)


def without_a_route(checks, region):
    cp = region.nodes[CP]
    cp.send("text", [SILENT], {"text": "Bent u er al?"}, precedence="FLASH")
    checks.check("what no neighbour leads to waits under none", waits(cp, "none", "FLASH") == 1)


def silence(checks, region):
    cp, nsp = region.nodes[CP], region.nodes[NSP]
    region.wait_for_links()
    os.killpg(nsp.process.pid, signal.SIGSTOP)
    try:
        first = Metrics(cp).get("cpd_node_heard_age_seconds", node=str(NSP))
        wait_for("a growing silence", lambda: Metrics(cp).get("cpd_node_heard_age_seconds", node=str(NSP)) >= first + 2)
        cp.send("text", [NSP], {"text": "Hoort u mij?"}, precedence="FLASH")
        wait_for("an age of what is not acknowledged", lambda: Metrics(cp).get("cpd_link_oldest_unacknowledged_age_seconds", link=str(NSP)) >= 2)
        checks.check("a stopped neighbour is seen in the ages", True)
    finally:
        os.killpg(nsp.process.pid, signal.SIGCONT)
    wait_for("its answer", lambda: Metrics(cp).get("cpd_link_oldest_unacknowledged_age_seconds", link=str(NSP)) == 0)


def a_queue_that_stands_still(checks, region):
    """A neighbour whose disk hangs keeps its session alive, for its loop runs on, and acknowledges nothing."""
    cp, nsp = region.nodes[CP], region.nodes[NSP]
    wrapper = nsp.wrapper
    checks.check("nothing stood still in all that", Metrics(cp).get("cpd_link_stalled_seconds", link=str(NSP)) == 0 and "queue-stalled" not in cp.log_tail(100000))
    nsp.stop()
    nsp.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=600000000:when=40+"]
    nsp.start()
    region.wait_for_links()
    sent, stalled = [], lambda: Metrics(cp).get("cpd_link_stalled_seconds", link=str(NSP)) > 0
    try:
        for i in range(60):
            sent.append(cp.send("text", [NSP], {"text": f"hoort u mij {i}?"}, precedence="FLASH"))
            if i > 20 and Metrics(cp).get("cpd_link_unacknowledged", link=str(NSP)) > 5:
                break
            time.sleep(0.1)
        wait_for("an alarm", stalled, 60)
        line = next(line for line in cp.log_tail(100000).splitlines() if "queue-stalled" in line)
        checks.check("the log names link, precedence, how long and the cure", all(word in line for word in (f"link={NSP}", "precedence=FLASH", "for_s=", "cure=")), line)
        link = next(link for link in cp.get("/v1/status")["links"] if link["neighbour"] == NSP)
        checks.check("so does the status", link["stalled"]["precedence"] == "FLASH" and link["stalled"]["resets"] >= 1, link)
        checks.check("for people too", "STANDS STILL" in cpctl("--socket", cp.socket, "status").stdout)
        found = [one for one in json.loads(cpctl("--socket", cp.socket, "--json", "doctor", "--config", cp.conf, check=False).stdout)["checks"] if one["name"] == "stands still"]
        checks.check("the doctor calls it wrong", len(found) == 1 and found[0]["state"] == "fail" and found[0]["cure"], found)
    finally:
        nsp.kill()
        nsp.wrapper = wrapper
    nsp.start()
    for one in sent:
        wait_for(f"{one} at the NSP", lambda: nsp.has(one), 60)
    wait_for("no alarm any more", lambda: not stalled(), 60)
    checks.check("and the log tells so", "queue-moves" in cp.log_tail(100000))
    checks.check("each came once", len({one["id"] for one in nsp.inbox()} & set(sent)) == len(sent) and len([one for one in nsp.inbox() if one["id"] in sent]) == len(sent))


def a_disk_that_hangs(checks, region):
    """strace holds the sync of the store's writer up, as a dying disk does."""
    cp = region.nodes[CP]
    cp.stop()
    cp.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=60000000:when=40+"]
    cp.start()
    try:
        for i in range(60):
            try:
                cp.call("POST", "/v1/messages", {"kind": "text", "to": [NSP], "body": {"text": f"{i}"}}, timeout=1)
            except OSError:
                break
        trouble = wait_for("503", lambda: health(cp), 30)
        checks.check("a disk that hangs is told, with what to do", trouble[0] == 503 and trouble[1]["code"] == "writer-stands-still" and "disk" in trouble[1]["remedy"], trouble)
        try:
            cp.call("POST", "/v1/messages", {"kind": "text", "to": [NSP], "body": {"text": "en nu?"}}, {"Idempotency-Key": "nu"}, timeout=40)
            late = None
        except Refused as why:
            late = why
        checks.check("an order that waits for it is answered in time", late and late.status == 503 and late.error["code"] == "busy", late)
        checks.check("in the metrics too", Metrics(cp).get("cpd_healthy") == 0 and Metrics(cp).get("cpd_turns_in_flight") > 0)
    finally:
        cp.kill()
        cp.wrapper = []


def health(node):
    try:
        node.get("/healthz")
        return None
    except Refused as why:
        return why.status, why.error


def what_the_monitoring_asks(checks, region):
    """Every figure and label that the alert rules and the dashboard name is told, and API.md lists exactly what is told."""
    metrics = Metrics(region.nodes[CP])
    with open(os.path.join(DOCS, "monitoring", "cpd-alerts.yml")) as text:
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    with open(os.path.join(DOCS, "monitoring", "cpd-dashboard.json")) as text:
        dashboard = json.load(text)
    checks.check("each rule says what is wrong and what to do", all(rule["annotations"]["summary"] and rule["annotations"]["action"]
                 and rule["labels"]["severity"] in ("critical", "warning", "info") for rule in rules) and len(rules) >= 10)
    asked = [(rule["alert"], rule["expr"]) for rule in rules]
    asked += [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [(one["name"], one["definition"]) for one in dashboard["templating"]["list"] if "definition" in one]
    labels = metrics.labels()
    # Of a link that was measured under load, and of a neighbour that was heard: not told at any moment.
    sometimes = {"cpd_link_rate_bits_per_second", "cpd_link_heard_age_seconds", "cpd_node_heard_age_seconds"}
    for where, expression in asked:
        names = re.findall(r"\bcpd_[a-z_]+", expression)
        checks.check(f"{where}: what it asks is told", names and not set(names) - set(labels), set(names) - set(labels))
        for name, selector in re.findall(r"\b(cpd_[a-z_]+)\{([^}]*)\}", expression):
            unknown = {label for label in re.findall(r"([a-z_]+) *[=!]", selector)} - labels.get(name, set()) - {"instance", "job"}
            checks.check(f"{where}: the labels of {name}", not unknown, unknown)
    with open(os.path.join(DOCS, "API.md")) as text:
        listed = set(re.findall(r"^\| `(cpd_[a-z_]+)", text.read(), re.MULTILINE))
    told = set(metrics.types)
    checks.check("API.md lists what is told", listed == told, f"only listed: {listed - told}; only told: {told - listed}")
    checks.check("and nothing that is never told", not told - {re.sub("_(bucket|sum|count)$", "", name) for name in labels} - sometimes)


def metrics_test(checks, region):
    cp, nsp = region.add(CP, "cp", "Coördinatiepunt"), region.add(NSP, "nsp", "NSP Lombok", "GM0344")
    region.add(SILENT, "nsp", 'NSP "De \\ Til"', "GM0307")
    region.admit()
    del region.nodes[SILENT]
    region.wire_up(cp, [nsp])
    region.configure()
    region.start()
    region.wait_for_links()
    for part in (a_node_at_rest, a_cut_link, reading, without_a_route, silence, what_the_monitoring_asks, a_queue_that_stands_still, a_disk_that_hangs):
        checks.run(part, checks, region)


if __name__ == "__main__":
    sys.exit(test_region("metrics", metrics_test, extra="\n[tuning]\ntime_scale = 30\nstall_s = 8\n"))
