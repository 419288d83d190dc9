#!/usr/bin/env python3
"""Proves that the unit tests have failed every allocation of proto/, crypto/ and daemon/relay/ once: also on every way to it.

The compiler's own call graph (-fcallgraph-info) tells which calls allocate, and which calls go to a function of ours that
does, and so on up; a call is a line of source. test/unit/alloc_fault.h notes the stack at each allocation that it fails. A
call that stands in no such stack has never run out of memory: it is named, and fails, unless alloc_unmet.txt says why; one that
stands there and has been met fails too, so that the list only shrinks. BUILD has to be a build by `make
allocations`: without inlining or sibling calls, so that every call is a frame."""
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build/allocations")
FOLDERS = ("proto", "crypto", "daemon/relay")
# What takes memory and may have none; protobuf-c's unpack takes it from the arena that it is given.
ALLOCATORS = {"malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "posix_memalign", "strdup", "strndup", "asprintf",
              "vasprintf", "open_memstream", "fopen", "fdopen", "opendir", "sodium_malloc", "sodium_allocarray",
              "protobuf_c_message_unpack"}


def calls():
    """{(file, line): {callee}} and {callee: {caller}} of all that the folders and the generated code call."""
    sites, callers = collections.defaultdict(set), collections.defaultdict(set)
    graphs = [one for folder in FOLDERS for one in glob.glob(f"{BUILD}/obj/{folder}/*.ci")]
    own = {os.path.basename(one)[:-2] for folder in FOLDERS for one in glob.glob(f"{folder}/*.c")}
    lacking = own - {os.path.basename(one)[:-3] for one in graphs}
    if lacking:
        raise SystemExit(f"no call graph of {', '.join(sorted(lacking))} in {BUILD}: make allocations\n0 passed, 1 failed")
    for path in graphs + glob.glob(f"{BUILD}/obj/gen/proto/*.ci"):
        with open(path) as graph:
            for caller, callee, where in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?', graph.read()):
                callers[callee].add(caller)
                place = re.match(r"(.+):(\d+):\d+$", where)
                if place and not path.startswith(f"{BUILD}/obj/gen/"):
                    sites[(os.path.normpath(place[1]), int(place[2]))].add((caller, callee))
    return sites, callers


def allocating(callers):
    """Every function that may take memory, itself or through what it calls."""
    found, todo = set(ALLOCATORS), list(ALLOCATORS)
    while todo:
        for caller in callers[todo.pop()] - found:
            found.add(caller)
            todo.append(caller)
    return found


def failed_lines(log):
    """{(file, line)} of all frames in the stacks that alloc_fault.h noted: lines of `program offset...`."""
    offsets = collections.defaultdict(set)
    with open(log) as text:
        for line in text:
            program, *frames = line.split()
            offsets[program].update(frames)
    lines = set()
    top = os.getcwd() + "/"
    for program, frames in offsets.items():
        # A return address is after the call.
        asked = "\n".join(f"{int(frame, 16) - 1:#x}" for frame in frames)
        told = subprocess.run(["addr2line", "-e", program], input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout
        for answer in told.splitlines():
            place = re.match(r"(.+):(\d+)", answer)
            if place:
                lines.add((os.path.normpath(place[1].removeprefix(top)), int(place[2])))
    return lines


def known():
    """Counter of `FILE CALLER -> CALLEE`: how many such calls alloc_unmet.txt excuses."""
    excused = collections.Counter()
    with open("test/sanitize/alloc_unmet.txt") as text:
        for line in text:
            place = re.match(r"(\S+ \w+ -> \w+)(?: x(\d+))?: \S", line)
            if place:
                excused[place[1]] += int(place[2] or 1)
            elif line.strip() and not line.startswith("#"):
                raise SystemExit(f"test/sanitize/alloc_unmet.txt: not `FILE CALLER -> CALLEE: why`: {line}0 passed, 1 failed")
    return excused


def main():
    tests = sorted(one[:-2] for one in glob.glob("test/unit/test_*.c") if re.search(r"alloc_fault\.h|RUN_FED_AND_HUNGRY", open(one).read()))
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "stacks")
        open(log, "w").close()
        for test in tests:
            done = subprocess.run([os.path.join(BUILD, test)], env=dict(os.environ, ALLOC_FAULT_LOG=log), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                failures += 1
                print(f"{test} fails:\n{done.stdout[-4000:]}")
        hit = failed_lines(log)
    sites, callers = calls()
    may = allocating(callers)
    wanted = {where: pairs for where, pairs in sites.items() if any(callee in may for _, callee in pairs)}
    missed, excused, excuses = 0, 0, known()
    for where in sorted(wanted):
        if where in hit:
            continue
        ways = sorted({f"{where[0]} {caller.split(':')[-1]} -> {callee.split(':')[-1]}" for caller, callee in wanted[where] if callee in may})
        if all(excuses[way] > 0 for way in ways):
            excuses.subtract(ways)
            excused += 1
            continue
        missed += 1
        print(f"{where[0]}:{where[1]}: never without memory: {', '.join(way.split(' ', 1)[1] for way in ways)}")
    stale = sorted(way for way, left in excuses.items() if left > 0)
    failures += len(stale)
    for way in stale:
        print(f"test/sanitize/alloc_unmet.txt: has been met, or is gone: {way}")
    direct = sum(any(callee in ALLOCATORS for _, callee in pairs) for pairs in wanted.values())
    print(f"figure: {len(wanted)} calls may find no memory ({direct} ask for it themselves); {len(wanted) - missed - excused} have been refused it, by "
          f"{len(tests)} tests; {excused} never, with a reason")
    print(f"{len(wanted) - missed - excused} passed, {missed + failures} failed")
    return 1 if missed or failures or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
