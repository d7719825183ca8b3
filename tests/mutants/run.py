#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation test of the specification tests: each entry of mutants.txt breaks one clause in the code, and its named test must notice.

Works on a copy of the tree, build/mutants/<job>/, where only what an entry touches is built again. First the code as it is: the named
tests must pass. Then each mutant: its named test must fail.

    tests/mutants/run.py [--jobs 2] [--only WORD]     # WORD: in the entry's head
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import queue
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "mutants" / "mutants.txt"
BUILD = ROOT / "build" / "mutants"

Mutant = collections.namedtuple("Mutant", "clause test file edits")       # edits: [(old text, new text)]


def mutants():
    """The table's entries; blank lines stand between them."""
    text = "\n".join(line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")).strip("\n")
    for block in re.split(r"\n{2,}", text):
        head, *lines = block.split("\n")
        clause, test, file = head.split()
        edits = []
        for sign, group in _groups(lines):
            if sign == "-":
                edits.append([group, ""])
            else:
                edits[-1][1] = group
        yield Mutant(clause, test, file, [tuple(e) for e in edits])


def _groups(lines):
    """("-" or "+", text) for each run of lines with that sign."""
    sign, run = None, []
    for line in lines:
        if line[:2] not in ("- ", "+ ", "+"):
            raise ValueError(f"{TABLE.name}: expected '- old' or '+ new', got {line!r}")
        if line[0] != sign and run:
            yield sign, "\n".join(run)
            run = []
        sign = line[0]
        run.append(line[2:])
    yield sign, "\n".join(run)


def mutated(mutant):
    """The file's text with the mutant's edits; each old text stands in it exactly once."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise ValueError(f"{mutant.clause}: {mutant.file} has this {text.count(old)} times, expected once:\n{old}")
        text = text.replace(old, new)
    return text


class Tree:
    """A copy of the sources with its own build."""

    def __init__(self, number):
        self.path = BUILD / str(number)
        self.path.mkdir(parents=True, exist_ok=True)
        files = subprocess.run(["git", "ls-files", "*.c", "*.h", "Makefile"], cwd=ROOT, check=True, capture_output=True, text=True)
        names = files.stdout.split()
        for name in names:
            self.write(name, (ROOT / name).read_text(encoding="utf-8"))
        for left in self.path.glob("*/*.[ch]"):                          # of an earlier run; what was built lies deeper
            if str(left.relative_to(self.path)) not in names:
                left.unlink()

    def write(self, name, text):
        """Leaves a file that is the same already alone, for make."""
        file = self.path / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def build(self):
        made = subprocess.run(["make", "MODE=release", f"WOLFSSL_PREFIX={ROOT}/build/wolfssl", "CFLAGS=-O1 -g0", "build/release/sealmqd"],
                              cwd=self.path, capture_output=True, text=True)
        if made.returncode != 0:
            raise ValueError(f"does not build:\n{made.stderr[-3000:]}")

    def test(self, *names):
        """pytest's exit status: 0 passed, 1 failed. Timeouts are short: what a mutant does not do, it does not do for long."""
        environment = {**os.environ, "SEALMQD": str(self.path / "build/release/sealmqd"), "BUILD_DIR": str(self.path / "build/release"),
                       "SEALMQ_SLOW": "0.5", "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "60",
                              *(f"tests/{name.replace(':', '::')}" for name in names)],
                             cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.output = run.stdout
        return run.returncode


def judge(tree, mutant):
    """What is wrong with the mutant's test, or None when it notices."""
    try:
        tree.write(mutant.file, mutated(mutant))
        tree.build()
        status = tree.test(mutant.test)
    except ValueError as e:
        return str(e)
    finally:
        tree.write(mutant.file, (ROOT / mutant.file).read_text(encoding="utf-8"))
    return {1: None, 0: "its test stays green"}.get(status, f"pytest ended with {status}:\n{tree.output[-2000:]}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--only", default="", help="entries that have this in their clause, test or file")
    arguments = arguments.parse_args()
    wanted = [m for m in mutants() if arguments.only in f"{m.clause} {m.test} {m.file}"]
    trees = queue.Queue()
    for i in range(arguments.jobs):
        trees.put(Tree(i))
    for tree in list(trees.queue):
        tree.build()
    if tree.test(*sorted({m.test for m in wanted})) != 0:
        print(tree.output[-4000:], "without a mutation these tests must pass", sep="\n")
        return 1

    def one(mutant):
        tree = trees.get()
        try:
            wrong = judge(tree, mutant)
        finally:
            trees.put(tree)
        print(f"{'ok  ' if wrong is None else 'FAIL'}  {mutant.clause} {mutant.file}: {mutant.test}{'' if wrong is None else f': {wrong}'}", flush=True)
        return wrong is None
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        caught = list(pool.map(one, wanted))
    print(f"mutants: {sum(caught)} of {len(caught)} noticed by their named test")
    if results := os.environ.get("RESULTS"):
        with open(results, "a", encoding="ascii") as f:
            print(sum(caught), len(caught) - sum(caught), file=f)
    return 0 if caught and all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
