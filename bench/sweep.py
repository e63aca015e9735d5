#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the sizes of the receive path: from how much payload on a read is received in place, how
much staging lies behind it, and how large staging is (src/queue/sizes.h).

Builds the library once more, in BUILD/sweep, so that these sizes can be varied from run to run.
For each size of read the settings take turns; what is compared is the client's CPU per KiB, as a
ratio to the median of all settings within a round.
"""

import argparse
import os
import re
import statistics
import subprocess

import benchlib
import load
import parts
from benchlib import BenchError

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = ("4k", "8k", "16k", "32k", "64k", "128k", "1m")
DIRECT = ("8k", "16k", "32k", "64k", "128k", "2m")
TAIL = ("256", "1k", "4k", "16k", "64k")
STAGING = ("64k", "128k", "512k", "1m")
DEPTH = {"1m": 8}
NAMES = ("staging", "direct", "tail")


def compiled_in():
    """The sizes of every other build."""
    with open(os.path.join(HERE, "..", "src", "queue", "sizes.h"), encoding="utf-8") as file:
        text = file.read()
    found = []
    for name in ("NOFI_STAGING_LEN", "NOFI_DIRECT_MIN", "NOFI_TAIL_LEN"):
        value = re.search(rf"\b{name} = ([0-9* ]+),", text)
        if not value:
            raise BenchError(f"src/queue/sizes.h has no number for {name}")
        number = 1
        for factor in value.group(1).split("*"):
            number *= int(factor)
        found.append(number)
    return tuple(found)


def build(args):
    folder = os.path.join(args.build, "sweep")
    setup = ["meson", "setup", folder, os.path.join(HERE, ".."), "-Dtests=false",
             "-Dc_args=-DNOFI_SWEEP"]
    for argv in ([] if os.path.exists(os.path.join(folder, "build.ninja")) else [setup]) + \
            [["ninja", "-C", folder, "examples/nvmf-perf", "target/nvmf-target"]]:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(argv)} failed: {done.stdout.decode()[-500:]}")
    return folder


def settings(args, size):
    """(staging, direct, tail) to try for reads of this size, what is compiled in first."""
    base = compiled_in()
    tried = [base]
    bytes_ = benchlib.size(size)
    for i, values in ((1, args.direct), (2, args.tail), (0, args.staging)):
        for value in values:
            one = list(base)
            one[i] = benchlib.size(value)
            # A tail matters only behind payload that goes in place, at any threshold beyond
            # the size it is the same.
            if i == 2 and bytes_ < base[1]:
                continue
            if i == 1 and one[1] > bytes_ and any(t[1] > bytes_ for t in tried):
                continue
            if tuple(one) not in tried:
                tried.append(tuple(one))
    return tried


def name_of(setting, base):
    changed = [f"{name} {f'{value >> 10}k' if value >= 1024 else value}"
               for name, value, other in zip(NAMES, setting, base) if value != other]
    return ", ".join(changed) or "as compiled in"


def measure(args, folder, transport, digests):
    rows, raw = [], []
    base = compiled_in()
    with benchlib.start_target(folder, transport == "mptcp", ["null:64G,bs=4096"],
                               args.cpus[1]) as target:
        for size in args.sizes:
            tried = settings(args, size)
            runs = {setting: [] for setting in tried}
            for rnd, setting in parts.rotate(tried, args.rounds):
                parts.progress(f"{transport} {size} digests {'on' if digests else 'off'} round "
                               f"{rnd + 1}/{args.rounds}")
                runs[setting].append(load.run(
                    folder, target, transport, args.runtime, "randread", size,
                    DEPTH.get(size, 32), args.engine, digests, args.cpus[0],
                    env={**os.environ, "NOF_SWEEP": ",".join(map(str, setting))}))
            usual = [statistics.median(runs[s][i]["cpu_s"] / runs[s][i]["bytes"] for s in tried)
                     for i in range(args.rounds)]
            for setting in tried:
                cost = [r["cpu_s"] / r["bytes"] for r in runs[setting]]
                rows.append(parts.row(
                    transport, f"{size} read{', digests' if digests else ''}: "
                    f"{name_of(setting, base)}", "client CPU per KiB", "ns",
                    [c * 1e9 * 1024 for c in cost], [c * 1e9 * 1024 for c in usual],
                    higher=False, engine=args.engine, versus="median of all",
                    setting=name_of(setting, base), sizes=setting))
                raw.append({"transport": transport, "size": size, "digests": digests,
                            "sizes": setting, "runs": runs[setting]})
    return rows, raw


def markdown(doc, out):
    print("## Sizes of the receive path\n", file=out)
    print(f"{doc['engine']}, {doc['rounds']} rounds of {doc['runtime_s']:g} s in turns; the "
          "client's CPU per KiB, for each size of read and setting\nthat differs in one number from what "
          "is compiled in, over the median of all settings. Best is what is below 1.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


def overall(rows):
    """Geometric mean of the ratios of each setting over all that it was tried with."""
    found = {}
    for row in rows:
        found.setdefault(row["setting"], []).append(row["ratio"])
    return {name: statistics.geometric_mean(ratios) for name, ratios in found.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=3, runtime=0.25)
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engine", default="io_uring")
    ap.add_argument("--digests", default="off", help="off, on, or both (off)")
    ap.add_argument("--sizes", default=",".join(SIZES), help="of reads")
    ap.add_argument("--direct", default=",".join(DIRECT), help="thresholds to try")
    ap.add_argument("--tail", default=",".join(TAIL))
    ap.add_argument("--staging", default=",".join(STAGING))
    args = parts.parse(ap)
    for key in ("sizes", "direct", "tail", "staging"):
        setattr(args, key, [v for v in getattr(args, key).split(",") if v])
    if args.quick:
        args.sizes, args.direct, args.tail, args.staging = ["128k"], ["2m"], ["256"], []
    args.cpus = benchlib.two_cpus()
    folder = build(args)
    rows, raw = [], []
    for transport in args.transports.split(","):
        for digests in {"off": (False,), "on": (True,), "both": (False, True)}[args.digests]:
            more_rows, more_raw = measure(args, folder, transport, digests)
            rows += more_rows
            raw += more_raw
    status = parts.finish(args, "sweep", rows, raw, engine=args.engine)
    print()
    benchlib.table(("setting", "mean of the ratios"),
                   [(name, f"{mean:.3f}") for name, mean in overall(rows).items()])
    return status


if __name__ == "__main__":
    benchlib.main(main)
