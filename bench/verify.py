#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified random I/O of mixed sizes in every combination of what changes the way of the data.

{TCP, MPTCP} x {digests on, off} x {in-capsule writes, R2T} x {io_uring, epoll}: each moves
--bytes through nvmf-perf --verify against a memory namespace; a single mismatch is a failure.
"""

import argparse
import itertools
import json
import os

import benchlib
from benchlib import BenchError

# Request sizes, depth, share of the bytes. 512-byte blocks, so that sizes are odd in pages; below
# and above every threshold of the data path: in-capsule limit, staging, splitting.
MIX = (
    ("--bsrange=512-128k", 32, 0.40),
    ("--bsrange=512-2m", 12, 0.30),
    ("--bs=4096", 127, 0.15),
    ("--bs=3584", 64, 0.05),
    ("--bs=16896", 48, 0.10),
)


def combinations():
    return itertools.product(("tcp", "mptcp"), ("off", "on"), ("on", "off"),
                             ("io_uring", "epoll"))


def run_mix(args, port, keys, seed):
    """Returns (bytes moved, mismatches, seconds)."""
    moved = mismatches = 0
    seconds = 0.0
    for i, (bs, qd, share) in enumerate(MIX):
        limit = max(int(args.bytes * share), 4 << 20)
        argv = benchlib.perf_argv(args.build, "--rw=randrw", "--rwmixread=50", bs,
                                  f"--iodepth={qd}", "--verify",
                                  f"--size={args.size}", f"--io-size={limit}",
                                  f"--seed={seed + i}", benchlib.uri(port, **keys))
        res = benchlib.Result(argv, args.timeout)
        try:
            doc = json.loads(res.out)
        except ValueError:
            raise BenchError(f"status {res.status} and no JSON from {' '.join(argv)}: "
                             f"{res.err.strip()}") from None
        bad = benchlib.need_key(doc, "verify_errors", "mismatches")
        if res.status and not bad:
            raise BenchError(f"status {res.status} from {' '.join(argv)}: {res.err.strip()}")
        done = sum(doc["jobs"][0][way]["io_bytes"] for way in ("read", "write"))
        if not bad and done < limit - (4 << 20):
            raise BenchError(f"only {done} of {limit} bytes moved by {' '.join(argv)}")
        moved += done
        mismatches += bad
        seconds += res.seconds
    return moved, mismatches, seconds


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--bytes", type=benchlib.size, default=2 << 30,
                    help="bytes moved per combination (2G)")
    ap.add_argument("--size", type=benchlib.size, default=256 << 20,
                    help="size of the memory namespace (256M)")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--timeout", type=float, default=600, help="seconds for one nvmf-perf")
    ap.add_argument("--only", default="", metavar="WORDS",
                    help="only combinations with all of these words, e.g. mptcp,epoll")
    ap.add_argument("--out", metavar="FILE", help="write the table as JSON")
    ap.add_argument("--markdown", metavar="FILE", help="write the table as markdown")
    args = ap.parse_args()
    words = set(filter(None, args.only.split(",")))
    rows = []
    for transport, digest, capsule, engine in combinations():
        names = {transport, "digests" if digest == "on" else "nodigests",
                 "in-capsule" if capsule == "on" else "r2t", engine}
        if not words <= names:
            continue
        keys = {"engine": engine, "mptcp": "require" if transport == "mptcp" else "off",
                "hdr_digest": digest, "data_digest": digest, "in_capsule": capsule,
                "nr_io_queues": 1, "queue_size": 128}
        row = [transport.upper(), digest, "in-capsule" if capsule == "on" else "R2T", engine]
        with benchlib.start_target(args.build, transport == "mptcp",
                                   [f"mem:{args.size},bs=512"],
                                   extra=["--hdgst", "--ddgst"] if digest == "on" else []) as tgt:
            try:
                moved, bad, secs = run_mix(args, tgt.port, keys, args.seed)
                row += [f"{moved / (1 << 30):.2f}", f"{moved / secs / 1e6:.0f}", bad, ""]
            except BenchError as err:
                row += ["-", "-", "-", str(err)]
        rows.append(row)
        print(" ".join(str(cell) for cell in row), flush=True)
    if not rows:
        ap.error(f"no combination has all of: {args.only}")
    head = ["", "digests", "writes", "engine", "GiB", "MB/s", "mismatches", "failure"]
    print()
    benchlib.table(head, rows)
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as file:
            benchlib.table(head, rows, file, markdown=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"bytes": args.bytes, "kernel": os.uname().release, "head": head,
                       "rows": rows}, file, indent=1)
            file.write("\n")
    failed = sum(row[6] != 0 for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} combinations without mismatch or failure")
    return 1 if failed else 0


if __name__ == "__main__":
    benchlib.main(main)
