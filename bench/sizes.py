#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""I/O of all sizes, both directions, mixed, with digests, in capsules and asked for by R2T.

Client and target on a CPU each, a null namespace, all cases in turns. Reads are held against the
raw loop (bench/ceiling) where it can do the size; for everything else what is worth watching is
whether the cost per byte and the bandwidth are in line with the sizes around it.
"""

import argparse
import os
from collections import namedtuple

import benchlib
import load
import parts

Case = namedtuple("Case", "name rw bs qd digests keys is_raw")


def case(rw, bs, qd, digests=False, is_raw=False, note="", **keys):
    name = {"randread": "read", "randwrite": "write", "randrw": "mixed"}[rw]
    what = [f"{bs} {name}", f"qd{qd}", *(["digests"] if digests else []), *([note] if note else [])]
    return Case(", ".join(what), rw, bs, qd, digests, tuple(keys.items()), is_raw)


# So much in flight that bandwidth is no matter of latency, at most 16 MiB.
READS = (("512", 32), ("4k", 32), ("16k", 32), ("64k", 32), ("128k", 32), ("256k", 16),
         ("512k", 16), ("1m", 8), ("4m", 4))
CASES = [
    *(case("randread", bs, qd, is_raw=True) for bs, qd in READS),
    *(case("randwrite", bs, qd) for bs, qd in READS),
    case("randwrite", "512", 32, note="by R2T", in_capsule="off"),
    case("randwrite", "4k", 32, note="by R2T", in_capsule="off"),
    case("randwrite", "8k", 32, note="in capsule"),
    case("randwrite", "8k", 32, note="by R2T", in_capsule="off"),
    *(case(rw, bs, qd, True) for bs, qd in (("512", 32), ("16k", 32), ("1m", 8), ("4m", 4))
      for rw in ("randread", "randwrite")),
    case("randrw", "4k", 32),
    case("randrw", "128k", 32),
    case("randrw", "512-1m", 16),
    case("randrw", "512-1m", 16, True),
]
# Fewer of the client's CPU seconds per byte than 0.92 of the raw loop's are the bar at 128 KiB.
BAR = {"128k read, qd32": 0.92}


def run_raw(args, port, transport, one):
    argv = [benchlib.program(args.build, "bench", "ceiling"), "--mode=client", f"--port={port}",
            "--mptcp=" + ("on" if transport == "mptcp" else "off"), "--engine=" + args.engine,
            f"--bs={benchlib.size(one.bs)}", f"--qd={one.qd}", f"--runtime={args.runtime}",
            f"--ramp={load.RAMP}"]
    doc, _ = benchlib.run_json(argv, args.runtime + 30, args.cpus[0])
    return {"ios": doc["ios"], "iops": doc["iops"], "bw": doc["bw_bytes"],
            "bytes": doc["ios"] * benchlib.size(one.bs), "cpu_s": doc["ios"] / doc["ios_per_cpu_s"]
            if doc["ios_per_cpu_s"] else 0.0, "target_cpu_s": None}


def rows_of(transport, one, ours, raw, engine):
    small = "-" not in one.bs and benchlib.size(one.bs) <= 4096
    common = {"engine": engine, **({"versus": "raw loop"} if raw else {})}
    unit, per, scale = ("us per I/O", "ios", 1e6) if small else ("ms per GiB", "bytes", 1e3 * 2**30)

    def cost(runs, key):
        return [r[key] / r[per] * scale for r in runs] if runs else None

    # More I/O for the same CPU is better: the ratio is turned round, as the bar is stated.
    yield parts.row(transport, one.name, "I/O per client CPU s" if small else "MiB per client CPU s",
                    "k" if small else "MiB",
                    [r[per] / r["cpu_s"] / (1e3 if small else 2**20) for r in ours],
                    [r[per] / r["cpu_s"] / (1e3 if small else 2**20) for r in raw] if raw else None,
                    BAR.get(one.name), **common)
    yield parts.row(transport, one.name, "target CPU", unit, cost(ours, "target_cpu_s"),
                    higher=False, engine=engine)
    key, scale, unit = ("iops", 1e-3, "k/s") if small else ("bw", 1e-6, "MB/s")
    yield parts.row(transport, one.name, "rate", unit, [r[key] * scale for r in ours],
                    [r[key] * scale for r in raw] if raw else None, **common)


def measure(args, transport):
    mptcp = transport == "mptcp"
    subjects = [(one, is_raw) for one in args.cases for is_raw in ([False, True] if one.is_raw
                                                                   else [False])]
    runs = {subject: [] for subject in subjects}
    argv = [benchlib.program(args.build, "bench", "ceiling"), "--mode=server", "--port=0",
            "--mptcp=" + ("on" if mptcp else "off")]
    with benchlib.Server(argv, args.cpus[1]) as raw, \
            benchlib.start_target(args.build, mptcp, ["null:64G,bs=512"], args.cpus[1]) as target:
        for rnd, (one, is_raw) in parts.rotate(subjects, args.rounds):
            parts.progress(f"{transport} {one.name}{' raw' if is_raw else ''} round "
                           f"{rnd + 1}/{args.rounds}")
            runs[one, is_raw].append(
                run_raw(args, raw.port, transport, one) if is_raw else
                load.run(args.build, target, transport, args.runtime, one.rw, one.bs, one.qd,
                         args.engine, one.digests, args.cpus[0], **dict(one.keys)))
    rows, kept = [], []
    for one in args.cases:
        rows += rows_of(transport, one, runs[one, False], runs.get((one, True)), args.engine)
        kept.append({"transport": transport, "workload": one.name, "libnof": runs[one, False],
                     "raw": runs.get((one, True))})
    return rows, kept


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=3, runtime=0.4)
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engine", default="io_uring")
    ap.add_argument("--only", metavar="TEXT", help="cases whose name contains this")
    args = parts.parse(ap)
    args.cases = [one for one in CASES if args.only is None or args.only in one.name]
    if args.quick and args.only is None:
        args.cases = args.cases[::6]
    if not args.cases:
        ap.error(f"no case contains '{args.only}'")
    args.cpus = benchlib.two_cpus()
    rows, raw = [], []
    for transport in args.transports.split(","):
        more_rows, more_raw = measure(args, transport)
        rows += more_rows
        raw += more_raw
    return parts.finish(args, "sizes", rows, raw, kernel=os.uname().release, engine=args.engine)


def markdown(doc, out):
    print("## All sizes\n", file=out)
    print(f"{doc['engine']}, client and target on a CPU each, a null namespace, "
          f"{doc['rounds']} rounds of {doc['runtime_s']:g} s in turns. The raw\nloop only reads. "
          "Transfers beyond 1 MiB are several commands (the target's MDTS). By R2T: with "
          "in-capsule data\nswitched off; larger writes always are.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


if __name__ == "__main__":
    benchlib.main(main)
