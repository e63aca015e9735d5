#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What header and data digests cost: CPU of the client per I/O with both, over without.

Reads and writes of 4 KiB and 128 KiB at depth 32 on a null namespace, client and target on a CPU
each, with and without in turns. Instructions are counted where valgrind is there; it knows no
AVX-512, so they are those of a CPU with SSE4.2 only.
"""

import argparse
import os
import shutil

import benchlib
import callgrind
import load
import parts

ENGINES = ("io_uring", "epoll")
# name, nvmf-perf's --rw and --bs, bar: with digests over without
WORKLOADS = (
    ("4k read", "randread", "4k", 1.10),
    ("4k write", "randwrite", "4k", 1.10),
    ("128k read", "randread", "128k", 1.20),
    ("128k write", "randwrite", "128k", 1.20),
)


def instructions(args, target, engine, rw, bs, digests):
    """Per I/O, user space, everything included: that of N more I/Os."""
    few = 500 if bs == "128k" else 4000
    switch = "on" if digests else "off"
    where = benchlib.uri(target.port, engine=engine, mptcp="off", hdr_digest=switch,
                         data_digest=switch)
    counts = [sum(callgrind.run(benchlib.perf_argv(args.build, f"--rw={rw}", f"--bs={bs}",
                                                   "--iodepth=32", "--queues=1", "--threads=1",
                                                   f"--io-limit={limit}", where), 120).values())
              for limit in (few, 2 * few)]
    return (counts[1] - counts[0]) / few


def count(args, target, progress):
    rows = []
    for name, rw, bs, _ in WORKLOADS if not args.quick else WORKLOADS[:1]:
        for engine in args.engines if not args.quick else args.engines[:1]:
            progress(f"instructions {name} {engine}")
            off, on = (instructions(args, target, engine, rw, bs, d) for d in (False, True))
            rows.append(parts.row("tcp", name, "instructions per I/O", "1", on, off,
                                  higher=False, engine=engine, stable=True,
                                  versus="without digests"))
    return rows


def measure(args, transport, progress):
    rows, raw = [], []
    client, server = args.cpus
    subjects = [(w, engine, digests) for w in WORKLOADS for engine in args.engines
                for digests in (False, True)]
    runs = {subject: [] for subject in subjects}
    with benchlib.start_target(args.build, transport == "mptcp", ["null:64G,bs=4096"],
                               server) as target:
        for rnd, subject in parts.rotate(subjects, args.rounds):
            (name, rw, bs, _), engine, digests = subject
            progress(f"{transport} {name} {engine} round {rnd + 1}/{args.rounds}")
            runs[subject].append(load.run(args.build, target, transport, args.runtime, rw, bs,
                                          engine=engine, digests=digests, cpu=client))
        if transport == "tcp" and args.instructions:
            rows += count(args, target, progress)
    for workload in WORKLOADS:
        name, _, _, bar = workload
        for engine in args.engines:
            off, on = runs[workload, engine, False], runs[workload, engine, True]
            for who, key, judged in (("client", "cpu_s", True), ("target", "target_cpu_s", False)):
                more = {} if judged else {"judged": False}
                rows.append(parts.row(
                    transport, name, f"{who} CPU per I/O", "us",
                    [r[key] / r["ios"] * 1e6 for r in on], [r[key] / r["ios"] * 1e6 for r in off],
                    bar if judged else None, higher=False, engine=engine,
                    versus="without digests", **more))
            raw.append({"transport": transport, "workload": name, "engine": engine, "off": off,
                        "on": on})
    return rows, raw


def markdown(doc, out):
    print("## Digests\n", file=out)
    print("CPU per I/O with header and data digest, over without; depth 32, client and target on "
          f"a CPU each,\na null namespace, {doc['rounds']} rounds of {doc['runtime_s']:g} s in "
          f"turns. CRC32C ran as \"{doc['crc32c']}\". Instructions are counted by\ncallgrind, "
          "which knows no AVX-512: those of a CPU with SSE4.2.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


def implementation(build):
    """Which CRC32C the library takes on this CPU: the first that bench/crc32c lists."""
    doc, _ = benchlib.run_json([benchlib.program(build, "bench", "crc32c"), "--list"], 10)
    return doc["implementations"][0]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=7, runtime=0.5)
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engines", default=",".join(ENGINES))
    ap.add_argument("--no-instructions", dest="instructions", action="store_false",
                    help="leave callgrind out")
    args = parts.parse(ap)
    args.engines = args.engines.split(",")
    args.cpus = benchlib.two_cpus()
    if not shutil.which("valgrind"):
        args.instructions = False
    rows, raw = [], []
    for transport in args.transports.split(","):
        more_rows, more_raw = measure(args, transport, parts.progress)
        rows += more_rows
        raw += more_raw
    return parts.finish(args, "digests", rows, raw, crc32c=implementation(args.build),
                        kernel=os.uname().release)


if __name__ == "__main__":
    benchlib.main(main)
