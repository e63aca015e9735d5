#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the wake-ups of idle connections: there must be none but those of keep alives.

For both engines and transports: 64 connections (32 controllers with an I/O queue each), once
without keep alive, where nothing at all may wake the process, and once with it, where each
Keep Alive may wake it twice, for the timer and for the answer. Meanwhile others make MPTCP
connections in the same network namespace, which must not matter.
"""

import argparse
import json
import math
import os
import socket
import threading

import benchlib

PROTO_MPTCP = 262


class Others:
    """Makes connections that are none of ours, ten a second."""

    def __init__(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._make)

    def _make(self):
        while not self.over.wait(0.1):
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM, PROTO_MPTCP) as listener:
                    listener.bind(("127.0.0.1", 0))
                    listener.listen()
                    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, PROTO_MPTCP) as s:
                        s.connect(listener.getsockname())
            except OSError:
                return          # a kernel without MPTCP has no such others

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()


def judge(doc):
    """Returns (wake-ups allowed, complaint or None)."""
    sent, seconds = doc["keep_alives"], doc["seconds"]
    # Each Keep Alive may wake us for its timer and for its answer. Several controllers whose
    # timers are due together share a wake-up, so fewer is no fault. Two at the edges: the answer
    # to what was sent before the count began.
    allowed = 2 * sent + (2 if sent else 0)
    low = high = 0
    if doc["keep_alive_ms"]:
        # One every half keep alive timeout: more would be noise, fewer would lose the association.
        rounds = seconds / (doc["keep_alive_ms"] / 2000)
        low = doc["controllers"] * max(math.floor(rounds) - 1, 0)
        high = doc["controllers"] * (math.floor(rounds) + 1)
    if doc["lost"]:
        return allowed, f"{doc['lost']} controllers lost"
    if not low <= sent <= high:
        return allowed, f"{sent} keep alives, not {low} to {high}"
    if doc["wakeups"] > allowed:
        return allowed, f"{doc['wakeups']} wake-ups, {allowed} allowed"
    # The scheduler's account also has the final poll() that timed out and the reading of /proc.
    if doc["switches"] > doc["wakeups"] + 8:
        return allowed, f"{doc['switches']} switches but {doc['wakeups']} wake-ups"
    return allowed, None


def markdown(doc, out):
    print("## Idle connections\n", file=out)
    print("How often `poll()` on the loop's descriptor returned while nothing was asked for. "
          "Keep alives\nare counted by the bytes on the admin connections; each may wake the "
          "process twice, for its timer\nand for its answer (timers that are due together share "
          "a wake-up).\n", file=out)
    rows = [[run["transport"].upper(), run["engine"], run["connections"],
             f"{run['seconds']:.0f}", f"{run['keep_alive_ms'] / 1000:g}", run["keep_alives"],
             run["wakeups"], run["switches"], f"{run['cpu_s'] * 1e3:.1f}"]
            for run in doc["runs"]]
    benchlib.table(["", "engine", "connections", "seconds", "keep alive (s)", "keep alives",
                    "wake-ups", "context switches", "CPU ms"], rows, out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--connections", type=int, default=64)
    ap.add_argument("--seconds", type=float, default=30.0)
    ap.add_argument("--keep-alive", default="0,10", help="keep alive timeouts, seconds (0,10)")
    ap.add_argument("--transports", default="mptcp,tcp")
    ap.add_argument("--engines", default="io_uring,epoll")
    ap.add_argument("--tap", action="store_true", help="print TAP instead of a table")
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
                    with Others():
                        doc, _ = benchlib.run_json(
                            [benchlib.program(args.build, "bench", "idle"), str(controllers),
                             str(args.seconds), where], args.seconds + 60)
                allowed, complaint = judge(doc)
                failed += complaint is not None
                docs.append({**doc, "transport": transport, "allowed": allowed,
                             "complaint": complaint})
                rows.append([transport.upper(), doc["engine"], doc["connections"],
                             f"{doc['seconds']:.0f}", kato, doc["keep_alives"], allowed,
                             doc["wakeups"], doc["switches"], f"{doc['cpu_s'] * 1e3:.1f}",
                             complaint or "ok"])
                if args.tap:
                    print(f"{'not ok' if complaint else 'ok'} {len(rows)} - "
                          f"{doc['connections']} idle connections, {transport}, {engine}, "
                          f"keep alive {kato} s: {doc['wakeups']} wake-ups for "
                          f"{doc['keep_alives']} keep alives", flush=True)
                    if complaint:
                        print(f"# {complaint}")
    if args.tap:
        print(f"1..{len(rows)}")
        return 1 if failed else 0
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
