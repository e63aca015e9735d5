#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Proves what the scripts of bench/ compute and write: with made-up numbers, and one short run.

usage: selftest.py BUILD_DIR. Output: TAP. Nothing here depends on how fast anything is.
"""

import importlib.machinery
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "interop"))

# pylint: disable=wrong-import-position
import against
import benchlib
import callgrind
import instructions
import metrics
import parts
import perf_docs
from tap import Skip, Tap

BUILD = sys.argv[1] if len(sys.argv) > 1 else benchlib.default_build()


def load_run():
    """bench/run has no .py to import it by."""
    loader = importlib.machinery.SourceFileLoader("bench_run", os.path.join(HERE, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def numbers(t):
    with t.case("spread is the median and the quartiles"):
        t.equal(parts.spread([5, 1, 3, 2, 4]), (3, 2, 4), "five values")
        t.equal(parts.spread([7]), (7, 7, 7), "one value")
    with t.case("every subject runs once per round, each first in turn"):
        turns = list(parts.rotate("abc", 4))
        for rnd in range(4):
            t.equal(sorted(s for r, s in turns if r == rnd), ["a", "b", "c"], f"round {rnd}")
        t.equal([turns[3 * rnd][1] for rnd in range(4)], ["a", "b", "c", "a"], "who is first")
    with t.case("the ratio is the median of the ratios within rounds"):
        # The medians are 20 and 20; within the rounds libnof was twice as good, twice.
        row = parts.row("tcp", "w", "m", "u", [20, 40, 10], [10, 20, 30], bar=2.0)
        t.equal(row["ratio"], 2.0, "ratio")
        t.true(row["met"] and row["judged"], "at the bar is met")
    with t.case("bars hold in both directions, and on libnof itself"):
        t.true(not parts.row("tcp", "w", "m", "u", 3, 2, bar=1.4, higher=False)["met"],
                "1.5 is not at most 1.4")
        t.true(parts.row("tcp", "w", "m", "u", 3, bar=3, higher=False)["met"], "3 is at most 3")
        row = parts.row("tcp", "w", "m", "u", 0.1, 0.05, bar=0.15, higher=False, bar_on="libnof")
        t.true(row["met"] and row["ratio"] == 2.0, "the bar is on libnof, the ratio is shown")
        t.true(parts.row("tcp", "w", "m", "u", 1)["met"] is None, "no bar, no verdict")
    with t.case("only a judged row is a missed one"):
        rows = [parts.row("tcp", "w", "m", "u", 1, 2, bar=1.0),
                parts.row("tcp", "w", "m", "u", 1, 2, bar=1.0, judged=False)]
        t.equal(parts.missed(rows), rows[:1], "missed")
        t.equal([parts.verdict(row) for row in rows], ["MISSED", "(missed)"], "verdicts")


def old_and_new(t):
    def run_of(*rows):
        return {"when": "2026-01-01T00:00:00", "commit": "c", "path": "p",
                "machine": {"cpu": "x", "kernel": "y"}, "parts": {"speed": {"rows": list(rows)}}}

    def judge(old, new):
        lines, worse, count = against.compare(run_of(old), run_of(new))
        return (lines[0][-1] if lines else ""), worse, count

    base = parts.row("tcp", "w", "m", "u", [90, 91, 92], [100, 100, 100], bar=0.85)
    with t.case("against: the same is neither better nor worse"):
        t.equal(judge(base, base), ("", 0, 1), "verdict")
    with t.case("against: a machine twice as slow is no regression, a ratio is"):
        slow = parts.row("tcp", "w", "m", "u", [45, 45.5, 46], [50, 50, 50], bar=0.85)
        t.equal(judge(base, slow), ("", 0, 1), "half of everything")
        worse = parts.row("tcp", "w", "m", "u", [80, 81, 82], [100, 100, 100])
        t.equal(judge(base, worse), ("WORSE", 1, 1), "0.81 after 0.91")
        t.equal(judge(worse, base), ("better", 0, 1), "0.91 after 0.81")
    with t.case("against: what the spread explains is no regression"):
        wide = parts.row("tcp", "w", "m", "u", [70, 82, 99], [100, 100, 100])
        t.equal(judge(base, wide)[1], 0, "the quartiles overlap")
    with t.case("against: a lost bar is named; less is better where it is"):
        lost = parts.row("tcp", "w", "m", "u", [70, 84, 99], [100, 100, 100], bar=0.85)
        t.equal(judge(base, lost)[0], "bar lost", "0.84 with a bar of 0.85")
        a, b = (parts.row("tcp", "w", "lat", "u", v, 100, higher=False) for v in (110, 125))
        t.equal(judge(a, b)[1], 1, "latency ratio 1.25 after 1.10")
        t.equal(judge(b, a)[1], 0, "and back")
    with t.case("against: counts are compared as they are, other values not at all"):
        a, b = (parts.row("tcp", "w", "n", "u", v, higher=False, stable=True) for v in (1000, 1020))
        t.equal(judge(a, b), ("WORSE", 1, 1), "20 instructions of 1000")
        a, b = (parts.row("tcp", "w", "n", "u", v) for v in (1000, 500))
        t.equal(judge(a, b), ("", 0, 0), "a rate by itself")
    with t.case("against: what is kept in the history can be compared with"):
        with tempfile.TemporaryDirectory() as folder:
            doc = run_of(base)
            doc["parts"]["speed"]["raw"] = ["much"]
            against.record(doc, folder)
            old = against.load("last", folder)
            out = io.StringIO()
            t.equal(against.report(old, doc, out), 0, "worse")
            t.true("1 rows compared, 0 worse" in out.getvalue(), out.getvalue())
            t.true("raw" not in old["parts"]["speed"], "the runs are not kept")


CALLGRIND = """\
events: Ir

ob=(1) /x/src/libnof.so.0.1.0
fl=(1) ../src/io.c
fn=(1) nof_read
10 100
fi=(2) ../src/pdu/pdu.h
11 20
fe=(1)
+2 3
cob=(2) /lib/libc.so.6
cfi=(3) memmove.S
cfn=(2) __memcpy_avx
calls=7 0
12 5000
13 1

ob=(2)
fl=(3)
fn=(2)
0 412

ob=(3) /x/examples/nvmf-perf
fl=(4) ../examples/nvmf-perf/io.c
fn=(3) fill_one
5 60
fl=(5) ../src/queue/tx.c
fn=(4) inlined_by_lto
6 40
"""


def counted(t):
    with t.case("callgrind: own cost by function and file, calls not counted twice"):
        costs = callgrind.parse(CALLGRIND.splitlines())
        t.equal(sum(costs.values()), 100 + 20 + 3 + 1 + 412 + 60 + 40, "sum")
        at = callgrind.Place("/x/src/libnof.so.0.1.0", "nof_read", "../src/io.c")
        t.equal(costs[at], 104, "nof_read in io.c")
    with t.case("instructions: copy, library, tool and the rest are told apart"):
        t.equal(instructions.by_kind(costs),
                {"copy": 412, "libnof": 164, "nvmf-perf": 60, "other": 0}, "kinds")
        twice = {place: 2 * cost + 7000 for place, cost in costs.items()}
        once = {place: cost + 7000 for place, cost in costs.items()}
        t.equal(sum(instructions.per_io(once, twice, 1).values()), sum(costs.values()),
                "what start-up costs cancels")
    with t.case("metrics: a child's usage, and a running process by /proc"):
        res = benchlib.Result([sys.executable, "-c", "sum(range(10**6)); print('x'); "
                               "import time; time.sleep(0.2)"], 60, rss_after=0.1)
        t.equal(res.out, "x\n", "output")
        t.true(res.usage.cpu_s > 0 and (res.usage.rss_kib or 1) > 0,
               "CPU and memory are told")
        sampler = metrics.Sampler(os.getpid()).start()
        total = sum(range(10 ** 6))
        used = sampler.stop()
        t.true(total and used["cpu_s"] > 0 and used["rss_kib"] > 0, f"{used}")
        t.true(abs(used["user_s"] + used["sys_s"] - used["cpu_s"]) < 1e-9 or not used["user_s"],
                f"user and system are the sum: {used}")
    with t.case("metrics: system calls of a program are counted"):
        try:
            none, _ = metrics.count_syscalls(["/bin/sh", "-c", ":"])
            ten, how = metrics.count_syscalls(["/bin/sh", "-c", "umask; " * 10])
        except benchlib.Skip as reason:
            raise Skip(str(reason)) from None
        t.note(f"{how}: {none} and {ten}")
        t.true(none > 5 and none + 1 <= ten <= none + 40, f"{none} and {ten}")


def runner(t):
    run = load_run()
    with t.case("run: what cannot run is left out with its reason, what fails is named"):
        with tempfile.TemporaryDirectory() as folder:
            for name, body in (("skips", "raise benchlib.Skip('no such thing here')"),
                               ("fails", "raise benchlib.BenchError('broken')"),
                               ("works", "return parts.finish(args, 'works', [])")):
                with open(os.path.join(folder, name + ".py"), "w", encoding="utf-8") as file:
                    file.write(f"import sys\nsys.path.insert(0, {HERE!r})\n"
                               "import argparse, benchlib, parts\n"
                               "def main():\n    ap = argparse.ArgumentParser()\n"
                               "    parts.add_options(ap, 1, 1)\n    args = parts.parse(ap)\n"
                               f"    {body}\nbenchlib.main(main)\n")
            here, known = run.HERE, run.PARTS
            run.HERE = folder
            run.PARTS = {name: run.Part(name, True) for name in ("skips", "fails", "works",
                                                                 "absent")}
            env = dict(os.environ)
            stdout, sys.stdout = sys.stdout, io.StringIO()
            stderr, sys.stderr = sys.stderr, io.StringIO()
            try:
                sys.argv = ["run", "--build=" + BUILD, "--results=" + folder]
                failed = run.run_parts(run.parse(), list(run.PARTS), folder)
                docs = {name: run.load(folder, name) for name in run.PARTS}
            finally:
                sys.stdout, sys.stderr = stdout, stderr
                run.HERE, run.PARTS = here, known
                os.environ.update(env)
            t.equal(failed, ["fails"], "failed")
            t.equal(docs["skips"]["skipped"], "no such thing here", "reason")
            t.true("there is no bench/absent.py" in docs["absent"]["skipped"], "absent")
            t.equal(docs["works"]["part"], "works", "document")
            t.true(docs["fails"] is None, "no document of what failed")


def speed_doc():
    rows = [parts.row("tcp", "4k-qd32", "I/Os per client CPU second", "k/s", [9e5, 9.1e5, 9e5],
                      [1e6, 1e6, 1e6], bar=0.85, engine="io_uring", versus="epoll", scale=1e-3),
            parts.row("tcp", "4k-qd1", "median latency", "µs", [5e4, 5e4, 5e4], [4e4, 5e4, 5e4],
                      bar=1.05, higher=False, engine="epoll", versus="epoll", judged=False)]
    return {"rows": rows, "rounds": 3, "runtime_s": 0.5, "default_engine": "io_uring",
            "notes": ["a note"], "costs": [
                {"transport": "tcp", "workload": "4k-qd32", "subject": "libnof",
                 "engine": "io_uring", "client_user_us": 0.3, "client_sys_us": 0.6,
                 "server_user_us": 0.1, "server_sys_us": 0.5, "client_switches": 0.1,
                 "server_switches": 0.1, "client_rss_kib": 9000, "server_rss_kib": 4000}]}


def instructions_doc():
    place = callgrind.Place("/x/libnof.so.0", "nof_read", "../src/io.c")
    copy = callgrind.Place("/lib/libc.so.6", "__memcpy_avx", "memmove.S")
    found = [{place: 900.0, copy: 412.0}, {place: 901.0, copy: 412.0}]
    return {"ios": 10000, "rounds": 2,
            "rows": list(instructions.rows_of("tcp", "io_uring", "4k-read-qd32", found)),
            "profiles": [{"transport": "tcp", "workload": "4k-read-qd32", "engine": "io_uring",
                          **instructions.profile(found)}]}


def documents(t):
    import compare      # pylint: disable=import-outside-toplevel
    with t.case("docs: tables are whole, bars are listed, plots are there and are XML"):
        doc = {"when": "2026-01-02T03:04:05", "commit": "abc", "machine": {
            "cpu": "a CPU", "cpus": 2, "kernel": "6.1", "note": "a note"}, "parts": {
                "speed": speed_doc(), "instructions": instructions_doc(),
                "peers": {"part": "peers", "skipped": "no tgt here"}}}
        with tempfile.TemporaryDirectory() as folder:
            perf_docs.write(doc, {"speed": compare, "instructions": instructions,
                                  "peers": compare}, folder)
            with open(os.path.join(folder, "performance.md"), encoding="utf-8") as file:
                text = file.read()
            widths = set()
            for line in text.splitlines():
                widths = widths | {line.count("|")} if line.startswith("|") else set()
                t.true(len(widths) <= 1, f"a row of another width: {line}")
            t.true("2 of 2 are met" in text, "the number of bars met")
            t.true("(met)" in text, "what is not judged is in brackets")
            t.true("- peers: no tgt here" in text, "what was left out")
            readme = os.path.join(folder, "README.md")
            for _ in range(2):          # the second time there is something to replace
                with open(readme, "a", encoding="utf-8") as file:
                    if not file.tell():
                        file.write("before\n" + perf_docs.README_BEGIN + perf_docs.README_END
                                   + "after\n")
                perf_docs.write_readme(doc, readme)
            with open(readme, encoding="utf-8") as file:
                table = file.read()
            t.true(table.startswith("before\n") and table.endswith("after\n"), table)
            t.equal(len(re.findall(r"^\| 4 KiB reads per .* 0\.90 / – +\| – / – ", table, re.M)), 1,
                    table)
            plots = re.findall(r"\]\((performance-[a-z-]+\.svg)\)", text)
            t.equal(len(plots), 2, "plots")
            for plot in plots:
                xml.etree.ElementTree.parse(os.path.join(folder, plot))


def short_run(t, name, argv, expect):
    """The real script, as short as it goes: its document must be sane, not good."""
    with t.case(f"{name}: a short run writes sane rows"):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.json")
            res = subprocess.run([sys.executable, os.path.join(HERE, name), f"--build={BUILD}",
                                  f"--out={out}", *argv], capture_output=True, text=True,
                                 timeout=100, check=False)
            if res.returncode == benchlib.SKIPPED:
                raise Skip(res.stderr.strip().split("left out: ")[-1])
            t.equal(res.returncode, 0, res.stderr)
            with open(out, encoding="utf-8") as file:
                doc = json.load(file)
        for row in doc["rows"]:
            t.true(row["libnof_low"] <= row["libnof"] <= row["libnof_high"], f"{row}")
            t.true(row["libnof"] > 0 or row["metric"].startswith("of these"), f"{row}")
        seen = {(row["transport"], row["workload"], row.get("engine")) for row in doc["rows"]}
        t.equal(seen, expect, "what was measured")


def main():
    t = Tap()
    numbers(t)
    old_and_new(t)
    counted(t)
    documents(t)
    runner(t)
    if len(os.sched_getaffinity(0)) < 2:
        with t.case("compare.py: a short run writes sane rows"):
            raise Skip("it takes two CPUs")
    else:
        short_run(t, "compare.py", ["--quick", "--runtime=0.05", "--ramp=0.02",
                                    "--workloads=4k-qd32,4k-qd1-spin"],
                  {(transport, name, engine) for transport in ("tcp", "mptcp")
                   for name in ("4k-qd32", "4k-qd1-spin") for engine in ("io_uring", "epoll")})
    short_run(t, "instructions.py", ["--quick", "--transports=tcp", "--engines=epoll",
                                     "--workloads=4k-read-qd32"],
              {("tcp", "4k-read-qd32", "epoll")})
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
