#!/usr/bin/env python3
"""Lets libFuzzer at the targets, one after another, each for some seconds.

Each begins with its seeds, the committed corpus, and what earlier runs found ($BUILD/fuzz-corpus/NAME, kept). An input
that breaks something is left in $BUILD/fuzz-found/NAME-*, and the line that runs it again is printed.

fuzz.py [--seconds N] [--merge FOLDER] [TARGET ...]
  --merge FOLDER   afterwards writes the smallest set of inputs with the same coverage to FOLDER/NAME.hex, seeds left out
Last line: N passed, M failed.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build")
FUZZ = os.path.join(BUILD, "fuzz", "test", "fuzz", "fuzz")
REPLAY = os.path.join(BUILD, "test", "fuzz", "replay")
FOUND = os.path.join(BUILD, "fuzz-found")
# One input may take this long; above this much memory it is a fault as well.
TIMEOUT_S = 10
RSS_MB = 2048
# What one committed corpus may hold.
HEX_BYTES = 20000


def replay(*words):
    return subprocess.run([REPLAY, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def folders_of(target):
    corpus = os.path.join(BUILD, "fuzz-corpus", target)
    os.makedirs(corpus, exist_ok=True)
    seeds = fresh(os.path.join(BUILD, "fuzz-seeds", target))
    replay("--write", target, seeds)
    return corpus, seeds


def environment():
    return dict(os.environ, ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:handle_abort=1", UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")


def words_of(target):
    words = replay("--words", target)
    if not words:
        return []
    path = os.path.join(BUILD, "fuzz-seeds", target + ".dict")
    with open(path, "w") as out:
        out.write(words)
    return ["-dict=" + path]


def largest(target):
    return replay("--max", target).strip()


def run(target, seconds):
    """True when nothing broke."""
    corpus, seeds = folders_of(target)
    command = [FUZZ, "--target=" + target, f"-max_total_time={seconds}", f"-max_len={largest(target)}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={RSS_MB}",
               f"-artifact_prefix={FOUND}/{target}-", "-print_final_stats=1", "-reload=0", *words_of(target), corpus, seeds]
    before = set(os.listdir(FOUND))
    with tempfile.TemporaryDirectory(prefix="cpd-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=dict(environment(), FUZZ_FOLDER=folder))
    figures = re.findall(r"#(\d+)\t\S+ .*?cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)", done.stderr)
    runs = re.search(r"number_of_executed_units: +(\d+)", done.stderr)
    last = figures[-1] if figures else ("0", "0", "0", "0", "0")
    found = sorted(set(os.listdir(FOUND)) - before)
    print(f"{target:10} {int(runs[1]) if runs else int(last[0]):>10} runs   cov {last[1]:>5}   corpus {last[3]:>5} inputs, {last[4]:>6}"
          f"   {'found: ' + str(len(found)) if found or done.returncode else 'holds'}", flush=True)
    if done.returncode == 0 and not found:
        return True
    print(done.stderr[-6000:], flush=True)
    for name in found:
        print(f"again: {FUZZ} --target={target} {FOUND}/{name}", flush=True)
    return False


def merge(target, folder):
    """The inputs that the seeds lack, those of most coverage to a byte first, as many as the repository shall hold."""
    corpus, seeds = folders_of(target)
    least = fresh(os.path.join(BUILD, "fuzz-least", target))
    with tempfile.TemporaryDirectory(prefix="cpd-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as scratch:
        subprocess.run([FUZZ, "--target=" + target, "-merge=1", f"-max_len={largest(target)}", f"-rss_limit_mb={RSS_MB}", least, seeds, corpus],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environment(), FUZZ_FOLDER=scratch))
    path = os.path.join(folder, target + ".hex")
    kept = [line for line in open(path) if line.startswith("#")] if os.path.exists(path) else []
    # What stands behind a remark is a fault of the past: it stays.
    if os.path.exists(path):
        lines = open(path).readlines()
        kept = [line for index, line in enumerate(lines) if line.startswith("#") or (index and lines[index - 1].startswith("#"))]
    seed_bytes = {open(os.path.join(seeds, name), "rb").read() for name in os.listdir(seeds)}
    inputs = sorted((open(os.path.join(least, name), "rb").read() for name in os.listdir(least)), key=lambda one: (len(one), one))
    room = HEX_BYTES - sum(len(line) for line in kept)
    for one in inputs:
        if one and one not in seed_bytes and room >= 2 * len(one) + 1 and one.hex() + "\n" not in kept:
            kept.append(one.hex() + "\n")
            room -= 2 * len(one) + 1
    if kept:
        with open(path, "w") as out:
            out.writelines(kept)
    print(f"{target:10} {len(inputs)} inputs in the least corpus, {len(kept)} lines in {path}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--merge", metavar="FOLDER")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    targets = options.targets or replay("--list").split()
    os.makedirs(FOUND, exist_ok=True)
    results = [run(target, options.seconds) for target in targets] if options.seconds else []
    for target in targets if options.merge else []:
        merge(target, options.merge)
    print(f"fuzz: {sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
