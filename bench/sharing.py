#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the cache lines that two threads share and write, at steady I/O on one controller.

Each thread has a loop and a queue of its own. libnof is compiled with ThreadSanitizer's
instrumentation and linked with functions that note which lines each thread touches
(sharing_hooks.c): an exact count, the same on every machine. None shared means that another core
adds another core's worth of I/O as far as libnof is concerned.
"""

import argparse
import json
import os
import subprocess
import sys

import benchlib
from benchlib import BenchError

LOADS = (("read", 4096, 32), ("write", 4096, 32), ("mixed", 131072, 8), ("mixed", 8192, 1))


def symbols(exe, pcs):
    """pc → function at file:line."""
    pcs = sorted({pc for pc in pcs if pc is not None and pc >= 0})
    if not pcs:
        return {}
    try:
        out = subprocess.run(["addr2line", "-f", "-s", "-e", exe] + [hex(pc - 1) for pc in pcs],
                             capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {pc: f"{out[2 * i]} ({out[2 * i + 1]})" for i, pc in enumerate(pcs)}


def variable(exe, address):
    """The variable at an address of the program, for what was not allocated."""
    try:
        out = subprocess.run(["nm", "-S", exe], capture_output=True, text=True,
                             check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "?"
    for line in out.splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "bBdDrR":
            start, size = int(words[0], 16), int(words[1], 16)
            if start < address + 64 and address < start + size:
                return f"{words[3]}+{address - start}"
    return "?"


def describe(exe, line):
    pcs = [line.get("maker_pc")] + [line[side][kind] for side in "ab"
                                    for kind in ("read_pc", "write_pc")]
    names = symbols(exe, pcs)
    if "offset" in line:
        where = (f"bytes {line['offset']}… of {line['size']} allocated by "
                 f"{names.get(line['maker_pc'], '?')}")
    else:
        where = variable(exe, line["address"])
    text = [f"line of {where}"]
    for side in "ab":
        got = line[side]
        for kind in ("write", "read"):
            if got[kind + "s"]:
                text.append(f"  thread {side}: {got[kind + 's']} {kind}s, bytes "
                            f"{got[kind + '_mask']}, first in {names.get(got[kind + '_pc'], '?')}")
    return "\n".join(text)


def run_one(build, engine, load, count, port, mptcp, how):
    rw, bs, depth = load
    uri = benchlib.uri(port, nr_io_queues=2, queue_size=128, keep_alive_tmo=0,
                       mptcp="require" if mptcp else "off")
    argv = [benchlib.program(build, "bench", "sharing"), engine, rw, str(bs), str(depth),
            str(count), uri] + ([how] if how else [])
    return benchlib.run_json(argv, 60)[0]


def markdown(doc, out):
    print("## Cache lines that two threads share\n", file=out)
    print("Two threads, each with a loop and a queue of one controller, at steady I/O: lines of 64 "
          "bytes that each touches,\nthose that both touch and at least one writes, the same by "
          "pairs of lines (as processors fetch them), and lines\nthat only the allocator's mood "
          "keeps apart. None shared means that a second core is a second core.\n", file=out)
    benchlib.table(["load", "lines of a", "lines of b", "shared and written",
                    "in a pair of lines", "exposed"],
                   [[run["name"], *run["lines"], run["shared_written"], run["pairs_written"],
                     run["exposed_written"]] for run in doc["runs"] if "lines" in run
                    and run["name"] != "provoked"], out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--ios", type=int, default=2000, help="per thread")
    ap.add_argument("--out", help="write JSON to this file")
    ap.add_argument("--tap", action="store_true", help="print TAP")
    args = ap.parse_args()
    exe = benchlib.program(args.build, "bench", "sharing")
    docs, table, failed = [], [], 0

    def tell(good, name, text=""):
        nonlocal failed
        failed += not good
        if args.tap:
            print(f"{'' if good else 'not '}ok {len(docs)} - {name}")
            for line in text.splitlines():
                print("# " + line)
        elif text:
            print(f"{name}:\n{text}")

    for mptcp in (False, True):
        with benchlib.start_target(args.build, mptcp, ["null:1G,bs=512"]) as target:
            for engine in ("io_uring", "epoll"):
                for how, load in [("", load) for load in LOADS] + [("handed", LOADS[0])]:
                    name = (f"{'MPTCP' if mptcp else 'TCP'}, {engine}, {load[0]} of {load[1]} "
                            f"bytes, depth {load[2]}{', ' * bool(how)}{how}")
                    doc = run_one(args.build, engine, load, args.ios, target.port, mptcp, how)
                    docs.append({"name": name, **doc})
                    table.append([name, *doc["lines"], doc["shared_written"],
                                  doc["pairs_written"], doc["exposed_written"]])
                    good = doc["ios"] == [args.ios] * 2 and not doc["shared_written"] and \
                        not doc["exposed_written"] and \
                        min(doc["lines"]) > 100         # it did look
                    tell(good, name + ": no line is shared and written, or may be",
                         "\n".join(describe(exe, line) for line in
                                   doc["shared"] + doc["exposed"]))
            if not mptcp:
                doc = run_one(args.build, "epoll", LOADS[0], 100, target.port, mptcp,
                              "provoke")
                docs.append({"name": "provoked", **doc})
                good = any(line["a"]["writes"] and line["b"]["writes"] for line in doc["shared"])
                tell(good, "neighbouring bytes that both write are seen")
    if args.tap:
        print(f"1..{len(docs)}")
    else:
        benchlib.table(["load", "lines of a", "lines of b", "shared and written",
                         "in a pair of lines", "exposed"], table)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"part": "sharing", "runs": docs}, file, indent=1)
    if failed:
        raise BenchError(f"{failed} of {len(docs)} cases are not as they should be")
    return 0


if __name__ == "__main__":
    benchlib.main(main)
