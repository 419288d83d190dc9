"""Section 8: kinds, what their bodies must hold, check words."""
import re
from collections import namedtuple

from google.protobuf import json_format

from .crypto import H
from .rules import need
from .schema import CLASSES
from .strict import Malformed, decode

Kind = namedtuple("Kind", "number name precedence life_s closes state senders receivers body")
FLASH, IMMEDIATE, PRIORITY, ROUTINE = 3, 2, 1, 0
BULLETIN = 7  # two people release it: section 4.7
PRECEDENCES = ("ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH")
DELIVERED, READ, ACCEPTED, DONE = 1, 2, 3, 4  # closing levels, as in the flags
HOUR, DAY = 3600, 86400
ANY = ("nsp", "cp", "desk", "partner")
LEADERS, THREE = ("cp", "desk"), ("nsp", "cp", "desk")
HELPERS = ("nsp", "desk", "partner")

KINDS = {row[0]: Kind(*row) for row in (
    (1, "nsp-status", ROUTINE, HOUR, DELIVERED, True, ("nsp",), LEADERS, "NspStatus"),
    (2, "situation-report", PRIORITY, DAY, DELIVERED, False, ("nsp", "cp"), LEADERS, "SituationReport"),
    (3, "emergency-call", FLASH, 3 * DAY, DONE, False, ("nsp",), LEADERS, "EmergencyCall"),
    (4, "emergency-progress", IMMEDIATE, 3 * DAY, DELIVERED, False, LEADERS, ("nsp", "cp"), "EmergencyProgress"),
    (5, "instruction", PRIORITY, 3 * DAY, ACCEPTED, False, LEADERS, ("nsp", "cp", "partner"), "Instruction"),
    (6, "text", ROUTINE, 3 * DAY, DELIVERED, False, ANY, ANY, "Text"),
    (7, "bulletin", PRIORITY, 3 * DAY, DELIVERED, False, ("desk",), ANY, "Bulletin"),
    (8, "question", PRIORITY, DAY, DELIVERED, False, LEADERS, ANY, None),
    (9, "answer", PRIORITY, DAY, DELIVERED, False, ANY, LEADERS, None),
    (10, "question-tally", ROUTINE, DAY, DELIVERED, False, ("nsp",), LEADERS, None),
    (11, "resource-request", PRIORITY, 3 * DAY, DELIVERED, False, ANY, ANY, None),
    (12, "promise", PRIORITY, 3 * DAY, DELIVERED, False, ANY, ANY, None),
    (13, "delivery", PRIORITY, 3 * DAY, DELIVERED, False, ANY, ANY, None),
    (14, "offer", ROUTINE, 7 * DAY, DELIVERED, False, HELPERS, ANY, None),
    (15, "need", ROUTINE, 7 * DAY, DELIVERED, False, HELPERS, ANY, None),
    (16, "match", ROUTINE, 7 * DAY, DELIVERED, False, HELPERS, ANY, None),
    (17, "signal", PRIORITY, DAY, DELIVERED, False, THREE, THREE, None),
    (18, "activation", FLASH, 3 * DAY, DELIVERED, False, ("cp",), ("nsp",), None),
    (19, "handover", ROUTINE, 3 * DAY, DELIVERED, False, ANY, ANY, None),
    (20, "document", ROUTINE, 30 * DAY, DELIVERED, False, ("desk",), ANY, None),
    (21, "log-entry", ROUTINE, 30 * DAY, DELIVERED, False, ANY, ANY, None),
    (22, "decision", ROUTINE, 30 * DAY, DELIVERED, False, ANY, ANY, None),
    (23, "lesson", ROUTINE, 30 * DAY, DELIVERED, False, ANY, ANY, None),
    (24, "cost-line", ROUTINE, 30 * DAY, DELIVERED, False, ANY, ANY, None),
    (25, "nsp-profile", ROUTINE, 30 * DAY, DELIVERED, False, THREE, LEADERS, None),
    (26, "minimize", FLASH, DAY, DELIVERED, False, ("cp",), ANY, None),
    (27, "link-test", ROUTINE, HOUR, DELIVERED, False, ANY, ANY, None),
)}
BY_NAME = {kind.name: kind for kind in KINDS.values()}


def kind_of(number):
    return KINDS.get(number, Kind(number, f"kind-{number}", ROUTINE, 3 * DAY, DELIVERED, False, ANY, ANY, None))


# ---------------------------------------------------------------- bounds: one word a field
PEOPLE, TIME, REPORT, LINE, LINES, TEXT = (0, 100000), (1, 100 * 366 * DAY * 1000), (1, 9999), "280", "280¶", "2000†¶"
BOUNDS = {
    "NspStatus": {"persons": PEOPLE, "visitors_last_hour": PEOPLE, "capacity": PEOPLE, "staff_present": PEOPLE, "staff_needed": PEOPLE,
                  "autonomy_min": (0, 527040), "fuel_l": (0, 1000000), "alerted_ms": TIME, "opened_ms": TIME, "closed_ms": TIME,
                  "relief_ms": TIME, "bulletin_on_wall": "32", "base_sequence": (1, 1 << 64)},
    "ServiceState": {"code": "32†", "remark": LINE},
    "Skill": {"code": "32†", "count": PEOPLE},
    "Supply": {"code": "32†", "amount": (0, 100000000), "unit": "32", "hours_left": (0, 8784)},
    "BearerState": {"name": "32†", "state": "32"},
    "SituationReport": {"number": REPORT, "version": REPORT, "core": "280†¶", "bottlenecks": "280†", "needs": "280†", "outlook": LINES,
                        "drawn_up_by": "64†", "confirmed_by": "64"},
    "Point": {"text": "280†¶", "waits_for": LINE},
    "EmergencyCall": {"number": REPORT, "check_words": (0, 1048575), "services": (1, 7), "house_number": "16",
                      "latitude_e5": (-9000000, 9000000), "longitude_e5": (-18000000, 18000000), "accuracy_m": (0, 100000),
                      "location": "140", "persons": PEOPLE, "battery_min": (0, 527040), "hazards": LINES, "access": "80"},
    "EmergencyProgress": {"text": LINES, "expected_ms": TIME},
    "Instruction": {"number": REPORT, "on_behalf_of": "64†", "what": TEXT, "why": TEXT, "by_when_ms": TIME, "report_back_ms": TIME,
                    "basis": LINES},
    "Bulletin": {"bulletin": REPORT, "version": REPORT, "title": "80†", "core": "280†¶", "do_this": "280†¶", "detail": "2000¶",
                 "radio_text": "2000¶", "valid_from_ms": TIME, "valid_to_ms": TIME, "next_update_ms": TIME, "categories": "32†", "area": "8†",
                 "authority": "64†", "audience": "80", "language": "32"},
    "Text": {"text": TEXT, "subject": "80"},
    "Local": {"key": "32†", "value": LINES},
}
LISTS = {"services": 32, "skills": 32, "supplies": 32, "bearers": 32, "local": 16, "bottlenecks": 3, "needs": 3, "equipment": 8, "categories": 8, "area": 32}


def _bound(where, bound, value):
    if isinstance(bound, tuple):
        need(bound[0] <= value <= bound[1], f"{where}: out of bounds")
        return
    need(len(value) <= int(re.match(r"\d+", bound)[0]), f"{where}: too long")
    need("¶" in bound or not set(value) & set("\n\t"), f"{where}: more than a line")
    need("†" not in bound or value.strip(), f"{where}: nothing but blanks")


def _check(body):
    name = body._type.name
    for field, bound in BOUNDS[name].items():
        if body.has(field):
            value = getattr(body, field)
            for one in value if isinstance(value, list) else [value]:
                _bound(f"{name}.{field}", bound, one)
    for field, value in body._values.items():
        if isinstance(value, list):
            need(len(value) <= LISTS[field], f"{name}.{field}: too many")
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "_values"):
                _check(one)
    if name == "NspStatus":
        need(not body.has("opened_ms") or not body.has("alerted_ms") or body.opened_ms >= body.alerted_ms, "opened before alerted")
        need(not body.has("closed_ms") or not body.has("opened_ms") or body.closed_ms >= body.opened_ms, "closed before opened")
    elif name == "SituationReport":
        need(body.from_ms < body.to_ms, "from_ms, to_ms")
        _bound("from_ms", TIME, body.from_ms)
        _bound("to_ms", TIME, body.to_ms)
    elif name == "Bulletin":
        need(body.valid_from_ms < body.valid_to_ms, "valid_from_ms, valid_to_ms")
        need(len(body.area) >= 1, "no area")
        need(len((body.radio_text or "").split()) <= 150, "radio_text")
    elif name == "EmergencyCall":
        need(not body.has("postcode") or re.fullmatch(r"\d{4}[A-Z]{2}", body.postcode, re.ASCII), "postcode")
        need(body.has("latitude_e5") == body.has("longitude_e5"), "half a place")
        need(body.has("latitude_e5") or body.location or (body.postcode and body.house_number), "no place")


def is_understood(kind, body):
    """Whether an addressee can read this body of this kind."""
    name = kind_of(kind).body
    if not name:
        return False
    try:
        _check(decode(name, body))
        return True
    except Malformed:
        return False


def encode_body(kind_name, fields):
    """The bytes of a body from its fields as in JSON: enumerations by name. Check words are filled in."""
    kind = BY_NAME[kind_name]
    body = CLASSES[kind.body]()
    if kind.body == "EmergencyCall":
        fields = {"check_words": 0, **fields}
    json_format.ParseDict(fields, body)
    if kind.body == "EmergencyCall" and not body.check_words:
        body.check_words = check_words(body.number, body.services, body.nature, body.postcode, body.house_number, body.location)
    data = body.SerializeToString()
    _check(decode(kind.body, data))
    return data


def check_words(number, services, nature, postcode, house_number, location):
    def plain(text):
        text = (text or "").encode().replace(b" ", b"")
        return bytes(byte - 32 if 0x61 <= byte <= 0x7a else byte for byte in text)
    digest = H(b"%d|%d|%d|" % (number, services, nature), plain(postcode), b"|", plain(house_number), b"|", plain(location))
    return int.from_bytes(digest[:3], "big") >> 4


# ---------------------------------------------------------------- flags (4.2) and levels (6.2)
def flags(precedence, clock_quality=0, closing=0, mode=0, confidentiality=0, entry=0):
    return precedence | closing << 2 | clock_quality << 5 | mode << 7 | confidentiality << 9 | entry << 11


def precedence_of(value):
    return value & 3


def closing_of(value, kind):
    own = value >> 2 & 7
    return own if 1 <= own <= 4 else kind_of(kind).closes


RANKS = {0: 0, 1: 2, 2: 1, 3: 5, 4: 7, 5: 6, 6: 8, 7: 9, 8: 10, 9: 3, 10: 4}
CLOSING_RANK = {DELIVERED: 5, READ: 6, ACCEPTED: 9, DONE: 10}


def rank(level):
    return RANKS.get(level, 0)


def closes(level, closing):
    """REFUSED and NOT-UNDERSTOOD close everything; else an addressee's level of at least the closing rank."""
    return level in (4, 6) or rank(level) >= max(5, CLOSING_RANK[closing])
