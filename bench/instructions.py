#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the user-space instructions of one I/O with callgrind.

nvmf-perf does N I/Os and, in another run, 2N: the difference over N is one I/O, without start and
set-up. The copy of the payload is told apart by the symbol of memcpy; the rest is that of
nvmf-perf, of libnof and of the libraries below. Counts do not depend on what else the machine
does; a little they depend on how many answers arrive together.
"""

import argparse
import os
import re

import benchlib
import callgrind
import parts
import svgplot
from failures import BenchError

BAR = 1200
ENGINES = ("io_uring", "epoll")
# name: (rw, block size, depth, has the bar)
WORKLOADS = {
    "4k-read-qd32": ("randread", 4096, 32, True),
    "4k-read-qd1": ("randread", 4096, 1, False),
    "4k-write-qd32": ("randwrite", 4096, 32, False),
}
COPY = re.compile(r"mem(cpy|move)")
KINDS = ("copy", "libnof", "nvmf-perf", "other")


def kind(place):
    """Whose instructions these are."""
    name = os.path.basename(place.object)
    if COPY.search(place.function) and not name.startswith("libnof"):
        return "copy"
    if name.startswith("libnof"):
        return "libnof"
    if name.startswith("nvmf-perf"):
        # Linked with libnof.a, the library's functions are in the program.
        return "libnof" if re.search(r"(^|/)src/", place.file) else "nvmf-perf"
    return "other"


def per_io(once, twice, ios):
    """Place to instructions per I/O; what start-up costs in both runs is gone."""
    return {place: (twice[place] - once[place]) / ios for place in twice | once
            if twice[place] != once[place]}


def by_kind(costs):
    sums = dict.fromkeys(KINDS, 0.0)
    for place, cost in costs.items():
        sums[kind(place)] += cost
    return sums


def short(path):
    """A source file as it is called in the repository."""
    found = re.search(r"(?:^|/)((?:src|examples|include)/.*)$", path)
    return found.group(1) if found else os.path.basename(path)


def totals(costs, key):
    """[(key, cost)], the largest first."""
    sums = {}
    for place, cost in costs.items():
        sums[key(place)] = sums.get(key(place), 0.0) + cost
    return sorted(sums.items(), key=lambda item: -item[1])


def measure(args, port, transport, engine, name, ios):
    rw, bs, depth, _ = WORKLOADS[name]
    where = benchlib.uri(port, engine=engine, nr_io_queues=1,
                         mptcp="require" if transport == "mptcp" else "off")
    runs = [callgrind.run(benchlib.perf_argv(args.build, f"--rw={rw}", f"--bs={bs}",
                                             f"--iodepth={depth}", "--queues=1", "--threads=1",
                                             f"--io-limit={limit}", where), 120)
            for limit in (ios, 2 * ios)]
    costs = per_io(*runs, ios)
    if bs == 4096 and rw == "randread" and by_kind(costs)["copy"] < 64:
        raise BenchError("no symbol of memcpy was found, so the copy cannot be told apart: install "
                         "the symbols of the C library (libc6-dbg)")
    return costs


def rows_of(transport, engine, name, found):
    """found: the costs of all rounds."""
    sums = [by_kind(costs) for costs in found]
    common = {"engine": engine, "higher": False, "stable": True}
    has_bar = WORKLOADS[name][3]
    yield parts.row(transport, name, "instructions, copy excluded", "per I/O",
                    [sum(one.values()) - one["copy"] for one in sums],
                    bar=BAR if has_bar else None, **common)
    for what in ("libnof", "nvmf-perf", "other", "copy"):
        yield parts.row(transport, name, "of these " + what if what != "copy" else "copy",
                        "per I/O", [one[what] for one in sums], **common)


def profile(found):
    """Functions and files of the median round."""
    found = sorted(found, key=lambda costs: sum(costs.values()))
    costs = found[len(found) // 2]
    return {
        "functions": [[kind(where), where.function, short(where.file), round(cost, 1)]
                      for where, cost in totals(costs, lambda place: place)
                      if cost >= 1],
        "files": [[short(name), round(cost, 1)] for name, cost in totals(
            {place: cost for place, cost in costs.items() if kind(place) == "libnof"},
            lambda place: place.file) if cost >= 1],
    }


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=3, runtime=1)
    ap.add_argument("--ios", type=int, help="N (10000): runs of N and of 2N are compared")
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engines", default=",".join(ENGINES))
    ap.add_argument("--workloads", default=",".join(WORKLOADS))
    args = parts.parse(ap)
    ios = args.ios or (500 if args.quick else 10000)
    rows, profiles = [], []
    for transport in args.transports.split(","):
        with benchlib.start_target(args.build, transport == "mptcp",
                                   ["null:1G,bs=4096"]) as target:
            for name in args.workloads.split(","):
                if name not in WORKLOADS:
                    ap.error(f"unknown workload '{name}': one of {', '.join(WORKLOADS)}")
                if not WORKLOADS[name][3] and transport != "tcp":
                    continue
                rounds = args.rounds if WORKLOADS[name][3] else 1
                subjects = args.engines.split(",")
                found = {engine: [] for engine in subjects}
                for rnd, engine in parts.rotate(subjects, rounds):
                    parts.progress(f"{transport} {name} round {rnd + 1}/{rounds} {engine}")
                    found[engine].append(measure(args, target.port, transport, engine, name, ios))
                for engine, costs in found.items():
                    rows += rows_of(transport, engine, name, costs)
                    if WORKLOADS[name][3]:
                        profiles.append({"transport": transport, "workload": name,
                                         "engine": engine, **profile(costs)})
    return parts.finish(args, "instructions", rows, ios=ios, profiles=profiles)


def markdown(doc, out):
    print("## Instructions\n", file=out)
    print(f"User-space instructions of one I/O, counted by callgrind: the difference of runs of "
          f"{doc['ios']} and {2 * doc['ios']} I/Os, so\nthat start and set-up cancel; median and "
          f"quartiles of {doc['rounds']} rounds (of one where there is no bar). `copy` is what\n"
          "the symbols of memcpy and memmove cost, the payload's copy above all; the bar is on "
          "everything else, the share of\nnvmf-perf included.\n", file=out)
    lines = {}
    for row in doc["rows"]:
        where = (row["transport"], row["workload"], row["engine"])
        lines.setdefault(where, []).append(row)
    benchlib.table(["", "workload", "engine", "copy excluded", "libnof", "nvmf-perf", "other",
                    "copy", "bar", ""],
                   [[where[0].upper(), *where[1:], *(parts.with_spread(row, "libnof")
                                                     for row in rows),
                     parts.bar_text(rows[0]), parts.verdict(rows[0])]
                    for where, rows in lines.items()], out, markdown=True)
    print("\n![Instructions](performance-instructions.svg)\n", file=out)
    for one in doc["profiles"]:
        if one["transport"] != "tcp" or one["engine"] != ENGINES[0]:
            continue
        print(f"By file of libnof ({one['engine']}, TCP, {one['workload']}), inlined functions in "
              "the file they are from:\n", file=out)
        benchlib.table(["file", "instructions per I/O"], one["files"][:16], out, markdown=True)
        print("\nThe dearest functions:\n", file=out)
        benchlib.table(["", "function", "file", "instructions per I/O"], one["functions"][:20],
                       out, markdown=True)
        print(file=out)


def plots(doc, folder):
    groups = {}
    for row in doc["rows"]:
        if row["metric"].startswith("instructions"):
            continue
        name = f"{row['transport'].upper()} {row['workload']}, {row['engine']}"
        groups.setdefault(name, []).append(svgplot.Bar(
            row["metric"].replace("of these ", ""), row["libnof"], row["libnof_low"],
            row["libnof_high"]))
    svgplot.bars(os.path.join(folder, "performance-instructions.svg"),
                 "User-space instructions of one I/O", "instructions",
                 [svgplot.Group(name, found) for name, found in groups.items()])


if __name__ == "__main__":
    benchlib.main(main)
