#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the wake-ups of idle connections: there must be none but those of keep alives.

For both engines and transports: 64 connections (32 controllers with an I/O queue each), once
without keep alive, where nothing at all may wake the process, and once with it, where each
Keep Alive may wake it twice, for the timer and for the answer.
"""

import argparse
import json
import math
import os

import benchlib


def judge(doc):
    """Returns (keep alives expected, wake-ups allowed)."""
    if not doc["keep_alive_ms"]:
        return 0, 0
    # One every half keep alive timeout and controller; one more each for the phase.
    each = math.floor(doc["seconds"] / (doc["keep_alive_ms"] / 2000)) + 1
    return each * doc["controllers"], 2 * each * doc["controllers"]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--connections", type=int, default=64)
    ap.add_argument("--seconds", type=float, default=30.0)
    ap.add_argument("--keep-alive", default="0,10", help="keep alive timeouts, seconds (0,10)")
    ap.add_argument("--transports", default="mptcp,tcp")
    ap.add_argument("--engines", default="io_uring,epoll")
    ap.add_argument("--out", metavar="FILE", help="write the counts as JSON")
    ap.add_argument("--markdown", metavar="FILE", help="write the table as markdown")
    args = ap.parse_args()
    controllers = max(args.connections // 2, 1)
    docs, rows, failed = [], [], 0
    for transport in args.transports.split(","):
        for engine in args.engines.split(","):
            for kato in args.keep_alive.split(","):
                with benchlib.start_target(args.build, transport == "mptcp",
                                           ["null:1G"]) as target:
                    where = benchlib.uri(target.port, engine=engine, nr_io_queues=1,
                                         keep_alive_tmo=kato,
                                         mptcp="require" if transport == "mptcp" else "off")
                    doc, _ = benchlib.run_json(
                        [benchlib.program(args.build, "bench", "idle"), str(controllers),
                         str(args.seconds), where], args.seconds + 60)
                keep_alives, allowed = judge(doc)
                # A few switches are the counting itself: the final poll() that times out, and
                # reading /proc.
                good = (doc["wakeups"] <= allowed and doc["switches"] <= allowed + 8 and
                        not doc["lost"])
                failed += not good
                docs.append({**doc, "transport": transport, "keep_alives": keep_alives,
                             "allowed": allowed, "ok": good})
                rows.append([transport.upper(), doc["engine"], doc["connections"],
                             f"{doc['seconds']:.0f}", kato, keep_alives, allowed,
                             doc["wakeups"], doc["switches"], f"{doc['cpu_s'] * 1e3:.1f}",
                             "ok" if good else "TOO MANY"])
    head = ["", "engine", "connections", "seconds", "KATO s", "keep alives", "allowed",
            "wake-ups", "switches", "CPU ms", ""]
    benchlib.table(head, rows)
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as file:
            benchlib.table(head, rows, file, markdown=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"kernel": os.uname().release, "runs": docs}, file, indent=1)
            file.write("\n")
    return 1 if failed else 0


if __name__ == "__main__":
    benchlib.main(main)
