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
import time

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


# What makes a write go by R2T, in turn: the host refuses in-capsule data, or the target takes none
# (or too little for most writes), asks in odd pieces, several at a time, and wants short PDUs.
R2T_SETUPS = (
    ("off", ()),
    ("on", ("--in-capsule=0", "--r2t=4", "--r2t-size=12288", "--maxh2cdata=8192")),
    ("on", ("--in-capsule=1024", "--r2t=2", "--cpda=7")),
)
# All but the largest writes of the mix fit into a capsule of the second target.
IN_CAPSULE_SETUPS = (
    ("on", ()),
    ("on", ("--in-capsule=65536", "--cpda=15")),
)


def run_one(args, port, keys, mix, limit, seed):
    """Returns (bytes moved, bytes checked, mismatches, seconds)."""
    bs, qd, _ = mix
    argv = benchlib.perf_argv(args.build, "--rw=randrw", "--rwmixread=50", bs,
                              f"--iodepth={qd}", "--verify", f"--size={args.size}",
                              f"--io-size={limit}", f"--seed={seed}", benchlib.uri(port, **keys))
    res = benchlib.Result(argv, args.timeout)
    try:
        doc = json.loads(res.out)
    except ValueError:
        raise BenchError(f"status {res.status} and no JSON from {' '.join(argv)}: "
                         f"{res.err.strip()}") from None
    errors, seen = doc["errors"], doc["verify"]
    if res.status and not errors["verify"]:
        raise BenchError(f"status {res.status} from {' '.join(argv)}: {res.err.strip()}")
    if errors["verify"]:
        return 0, seen["checked_bytes"], errors["verify"], res.seconds
    # No mismatch means little unless it was looked for: in all that was written, by the pass at
    # the end, and on the way.
    done = sum(doc["jobs"][0][way]["io_bytes"] for way in ("read", "write"))
    if done < limit:
        raise BenchError(f"only {done} of {limit} bytes moved by {' '.join(argv)}")
    if not seen["readback"] or not seen["readback_bytes"]:
        raise BenchError(f"nothing was read back by {' '.join(argv)}")
    if seen["checked_bytes"] < done // 4:
        raise BenchError(f"only {seen['checked_bytes']} of {done} bytes were checked by "
                         f"{' '.join(argv)}")
    queue = doc["transport"][0]
    if doc["engine"] != keys["engine"] or \
            queue["is_mptcp"] != (keys["mptcp"] == "require") or \
            doc["jobs"][0]["data_digest"] != (keys["data_digest"] == "on"):
        raise BenchError(f"not what was asked for: {doc['engine']}, {queue['protocol']}, "
                         f"data digest {doc['jobs'][0]['data_digest']} in {' '.join(argv)}")
    return done, seen["checked_bytes"], 0, res.seconds


def run_combination(args, transport, digest, capsule, engine):
    """Each part of the mix in turn against one of the setups; each setup is its own target."""
    keys = {"engine": engine, "mptcp": "require" if transport == "mptcp" else "off",
            "hdr_digest": digest, "data_digest": digest, "nr_io_queues": 1, "queue_size": 128}
    setups = IN_CAPSULE_SETUPS if capsule == "on" else R2T_SETUPS
    total = [0, 0, 0, 0.0]
    for which, (host, options) in enumerate(setups):
        with benchlib.start_target(args.build, transport == "mptcp", [f"mem:{args.size},bs=512"],
                                   extra=options) as target:
            for number, mix in enumerate(MIX):
                limit = max(int(args.bytes * mix[2] / len(setups)), 512 << 10)
                part = run_one(args, target.port, {**keys, "in_capsule": host}, mix, limit,
                               args.seed + which * len(MIX) + number)
                total = [a + b for a, b in zip(total, part)]
    return total


def markdown(doc, out):
    rows = [row[:-1] for row in doc["rows"]]
    print("## Verified I/O\n", file=out)
    print(f"Random reads and writes of 512 bytes to 2 MiB, {doc['bytes'] / (1 << 30):g} GiB in "
          "each combination. Every block carries\nwhere and when it was written and a CRC32C; "
          "\"checked\" is what reads compared with it. MB/s\nincludes start, verification and "
          "reading all back: it is no measure of speed.\n", file=out)
    benchlib.table(doc["head"][:-1], rows, out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--bytes", type=benchlib.size, default=2 << 30,
                    help="bytes moved per combination (2G)")
    ap.add_argument("--size", type=benchlib.size, default=32 << 20,
                    help="size of the memory namespace (32M)")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--timeout", type=float, default=600, help="seconds for one nvmf-perf")
    ap.add_argument("--only", default="", metavar="WORDS",
                    help="only combinations with all of these words, e.g. mptcp,epoll")
    ap.add_argument("--tap", action="store_true", help="print TAP instead of a table")
    ap.add_argument("--out", metavar="FILE", help="write the table as JSON")
    ap.add_argument("--markdown", metavar="FILE", help="write the table as markdown")
    args = ap.parse_args()
    words = set(filter(None, args.only.split(",")))
    rows, began = [], time.monotonic()
    for transport, digest, capsule, engine in combinations():
        names = {transport, "digests" if digest == "on" else "nodigests",
                 "in-capsule" if capsule == "on" else "r2t", engine}
        if not words <= names:
            continue
        row = [transport.upper(), digest, "in-capsule" if capsule == "on" else "R2T", engine]
        try:
            moved, checked, bad, secs = run_combination(args, transport, digest, capsule, engine)
            row += [f"{moved / (1 << 30):.2f}", f"{checked / (1 << 30):.2f}",
                    f"{moved / secs / 1e6:.0f}", bad, ""]
        except BenchError as err:
            row += ["-", "-", "-", "-", str(err)]
        rows.append(row)
        if not args.tap:
            print(" ".join(str(cell) for cell in row), flush=True)
            continue
        good = row[7] == 0
        print(f"{'ok' if good else 'not ok'} {len(rows)} - {' '.join(row[:4])} moved "
              f"{row[4]} GiB, checked {row[5]} GiB without a mismatch", flush=True)
        if not good:
            print(f"# {row[7]} mismatches {row[8]}")
    if not rows:
        ap.error(f"no combination has all of: {args.only}")
    if args.tap:
        print(f"1..{len(rows)}")
        return int(any(row[7] != 0 for row in rows))
    head = ["", "digests", "writes", "engine", "GiB moved", "GiB checked", "MB/s",
            "mismatches", "failure"]
    print()
    benchlib.table(head, rows)
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as file:
            benchlib.table(head, rows, file, markdown=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"bytes": args.bytes, "seconds": round(time.monotonic() - began, 1), "kernel": os.uname().release, "head": head,
                       "rows": rows}, file, indent=1)
            file.write("\n")
    failed = sum(row[7] != 0 for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} combinations without mismatch or failure, "
          f"{time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    benchlib.main(main)
