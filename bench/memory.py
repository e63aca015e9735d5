#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures the memory that an idle I/O queue of depth 128 takes, and one after a burst.

By difference: bench/many opens one queue and uses it, then all others at once; what the process
has grown by is theirs. RSS counts what was written to, "mapped" the address space, most of which
an idle queue never touches. What the kernel keeps for a socket is no part of it.
"""

import argparse

import benchlib
import parts
from failures import BenchError

BAR_KIB = 64
QUEUES = 500
QUICK = 20


def measure(args, transport, engine, queues):
    with benchlib.start_target(args.build, transport == "mptcp", ["null:1G,bs=4096"],
                               extra=["--queues=1024", "--max-conns=4096"]) as target:
        where = benchlib.uri(target.port, engine=engine,
                             mptcp="require" if transport == "mptcp" else "off")
        doc, _ = benchlib.run_json([benchlib.program(args.build, "bench", "many"),
                                    f"--queues={queues}", "--burst=127", where], 90)
    if doc["depth"] != 128:
        raise BenchError(f"queues of depth {doc['depth']}, not 128")
    return {**doc, "transport": transport}


def rows_of(runs):
    rows = []
    for transport, engine in sorted({(run["transport"], run["engine"]) for run in runs},
                                    reverse=True):
        mine = [run for run in runs if (run["transport"], run["engine"]) == (transport, engine)]

        def values(when, what, unit=1024, mine=mine):
            return [run[when][what] / unit for run in mine]

        work = f"{mine[0]['queues']} queues, depth 128"
        rows.append(parts.row(transport, work, "RSS of an idle queue", "KiB",
                              values("idle_memory", "rss_per_queue"), bar=BAR_KIB, higher=False,
                              engine=engine, stable=True))
        rows.append(parts.row(transport, work, "address space of one", "KiB",
                              values("idle_memory", "mapped_per_queue"), higher=False,
                              engine=engine, stable=True))
        rows.append(parts.row(transport, work, "RSS of one that was full once", "KiB",
                              values("burst_memory", "rss_per_queue"), higher=False,
                              engine=engine))
    return rows


def markdown(doc, out):
    print("## Memory of a queue\n", file=out)
    print("What the process grows by for each further I/O queue of depth 128 on one loop: "
          "connected, and after\nall slots of all queues were in use at once. The tables of a "
          "queue are address space until they are\nneeded; staging belongs to the loop, and its "
          "growth in the burst is counted here.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, 1, 1)
    args = parts.parse(ap)
    runs = [measure(args, transport, engine, QUICK if args.quick else QUEUES)
            for _, (transport, engine) in
            parts.rotate([(t, e) for t in ("tcp", "mptcp") for e in ("io_uring", "epoll")],
                         args.rounds)]
    return parts.finish(args, "memory", rows_of(runs), runs)


if __name__ == "__main__":
    benchlib.main(main)
