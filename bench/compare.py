#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares libnof (nvmf-perf) with the raw request/answer loop (bench/ceiling).

Client on one CPU, server on another. Each round runs every subject once, in an order that
rotates, so that whatever else the machine does hits all of them alike; what is compared are the
medians over the rounds of the ratios within a round.
"""

import argparse
import json
import os
import statistics
import sys

import benchlib
import parts
from benchlib import BenchError

ENGINES = ("io_uring", "epoll")

# name, block size, depth, [(metric, unit, scale, bar: libnof/raw, higher is better)]
WORKLOADS = {
    "4k-qd128": (4096, 128, [("ios_per_cpu_s", "k I/Os per CPU s", 1e-3, 0.7, True)]),
    "4k-qd1": (4096, 1, [("p50_ns", "p50 us", 1e-3, 1.15, False)]),
    "128k-qd32": (131072, 32, [("ios_per_cpu_s", "k I/Os per CPU s", 1e-3, 0.8, True),
                               ("bw", "GB/s", 1e-9, 0.8, True)]),
}


def run_ceiling(args, port, transport, engine, bs, qd, cpu):
    argv = [benchlib.program(args.build, "bench", "ceiling"), "--mode=client", f"--port={port}",
            "--mptcp=" + ("on" if transport == "mptcp" else "off"), "--engine=" + engine,
            f"--bs={bs}", f"--qd={qd}", f"--runtime={args.runtime}", f"--ramp={args.ramp}",
            *args.ceiling_arg]
    doc, res = benchlib.run_json(argv, args.runtime + args.ramp + 30, cpu)
    return {
        "ios": doc["ios"],
        "iops": doc["iops"],
        "ios_per_cpu_s": doc["ios_per_cpu_s"],
        "p50_ns": doc["lat_ns"]["50.000000"],
        "p99_ns": doc["lat_ns"]["99.000000"],
        "bw": doc["bw_bytes"],
        "transport": doc["transport"],
        "process_cpu_s": res.cpu_s,
    }


def run_libnof(args, port, transport, engine, bs, qd, cpu):
    target = benchlib.uri(port, engine=engine, nr_io_queues=1, queue_size=max(2 * qd, 32),
                          mptcp="require" if transport == "mptcp" else "off")
    argv = benchlib.perf_argv(args.build, "--rw=randread", f"--bs={bs}", f"--iodepth={qd}",
                              "--queues=1", "--threads=1", f"--runtime={args.runtime}",
                              f"--ramp-time={args.ramp}", "--poll=" + args.poll, target)
    doc, res = benchlib.run_json(argv, args.runtime + args.ramp + 30, cpu)
    read = doc["jobs"][0]["read"]
    used = doc["cpu"]	# from the end of the ramp to the last answer, as total_ios
    ios = read["total_ios"]
    # The numbers must not be filed under the wrong name.
    if doc["engine"] != engine or doc["transport"][0]["protocol"] != transport or \
            doc["jobs"][0]["iodepth"] != qd:
        raise BenchError(f"nvmf-perf used {doc['engine']}, {doc['transport'][0]['protocol']} and "
                         f"depth {doc['jobs'][0]['iodepth']}, not {engine}, {transport}, {qd}")
    cpu_s = used["user_s"] + used["sys_s"]
    # A tool that reported less than it burnt would flatter itself: never believe fewer than 80 %.
    if cpu_s < 0.8 * res.cpu_s * args.runtime / (args.runtime + args.ramp) - 0.05:
        raise BenchError(f"nvmf-perf says it used {cpu_s:.2f} s of CPU, the kernel says "
                         f"{res.cpu_s:.2f} s")
    return {
        "ios": ios,
        "iops": read["iops"],
        "ios_per_cpu_s": ios / cpu_s if cpu_s else 0,
        "p50_ns": read["clat_ns"]["percentile"]["50.000000"],
        "p99_ns": read["clat_ns"]["percentile"]["99.000000"],
        "bw": read["bw_bytes"],
        "transport": transport,
        "process_cpu_s": res.cpu_s,
    }


def run_rounds(args, transport, name, progress):
    bs, qd, _ = WORKLOADS[name]
    client_cpu, server_cpu = args.cpus
    subjects = [(who, engine) for engine in args.engines for who in ("ceiling", "libnof")]
    if args.no_libnof:
        subjects = [s for s in subjects if s[0] == "ceiling"]
    runs = {subject: [] for subject in subjects}
    mptcp = transport == "mptcp"
    raw = benchlib.Server([benchlib.program(args.build, "bench", "ceiling"), "--mode=server",
                           "--port=0", "--mptcp=" + ("on" if mptcp else "off")], server_cpu)
    with raw:
        # The servers sleep while the other is used.
        target = None
        if not args.no_libnof:
            target = benchlib.start_target(args.build, mptcp, ["null:64G,bs=4096"], server_cpu)
        try:
            for rnd in range(args.rounds):
                turn = rnd % len(subjects)
                for subject in subjects[turn:] + subjects[:turn]:
                    who, engine = subject
                    run = run_ceiling if who == "ceiling" else run_libnof
                    port = raw.port if who == "ceiling" else target.port
                    runs[subject].append(run(args, port, transport, engine, bs, qd, client_cpu))
                    progress(f"{transport} {name} round {rnd + 1}/{args.rounds} {who} {engine}")
        finally:
            if target:
                target.stop()
    return runs


def median_of(runs, metric):
    return statistics.median(run[metric] for run in runs)


def median_ratio(ours, raw, metric):
    return statistics.median(a[metric] / b[metric] for a, b in zip(ours, raw))


def judge(transport, name, runs, args):
    """One row per metric and libnof engine."""
    rows = []
    for metric, unit, scale, bar, higher in WORKLOADS[name][2]:
        raw = {e: median_of(runs["ceiling", e], metric) for e in args.engines}
        # The better engine by its median, not by each round's luck.
        best = (max if higher else min)(raw, key=raw.get)
        for engine in args.engines:
            row = {"transport": transport, "workload": name, "metric": metric, "unit": unit,
                   "scale": scale, "engine": engine, "ceiling": raw[engine],
                   "best_engine": best, "best_ceiling": raw[best], "bar": bar,
                   "higher_is_better": higher}
            ours = runs.get(("libnof", engine))
            if ours:
                row["libnof"] = median_of(ours, metric)
                row["ratio_same"] = median_ratio(ours, runs["ceiling", engine], metric)
                row["ratio_best"] = median_ratio(ours, runs["ceiling", best], metric)
                ratio = row["ratio_best"]
                row["met"] = ratio >= bar if higher else ratio <= bar
            rows.append(row)
    return rows


def cells(row):
    def value(key):
        return f"{row[key] * row['scale']:.1f}" if key in row else "-"

    def ratio(key):
        return f"{row[key]:.2f}" if key in row else "-"

    bar = ("≥ " if row["higher_is_better"] else "≤ ") + f"{row['bar']:.2f}"
    met = {True: "met", False: "MISSED", None: "-"}[row.get("met")]
    return [row["transport"].upper(), row["workload"], row["unit"], row["engine"],
            value("libnof"), value("ceiling"), ratio("ratio_same"),
            f"{value('best_ceiling')} ({row['best_engine']})", ratio("ratio_best"), bar, met]


HEAD = ["", "workload", "measure", "engine", "libnof", "raw, same engine", "ratio", "raw, best",
        "ratio", "bar", ""]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts.add_options(ap, rounds=9, runtime=0.6)
    ap.add_argument("--ramp", type=float, default=0.3, help="seconds before, not measured")
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engines", default=",".join(ENGINES))
    ap.add_argument("--workloads", default=",".join(WORKLOADS))
    ap.add_argument("--poll", default="sleep", help="nvmf-perf --poll (sleep)")
    ap.add_argument("--ceiling-arg", action="append", default=[], metavar="OPTION",
                    help="another option for the raw client, e.g. --ceiling-arg=--spin")
    ap.add_argument("--no-libnof", action="store_true", help="measure the raw loop only")
    ap.add_argument("--markdown", metavar="FILE", help="write the table as markdown")
    args = parts.parse(ap)
    args.transports = args.transports.split(",")
    args.engines = args.engines.split(",")
    args.workloads = args.workloads.split(",")
    for name in args.workloads:
        if name not in WORKLOADS:
            ap.error(f"unknown workload '{name}': one of {', '.join(WORKLOADS)}")
    args.cpus = benchlib.two_cpus()

    tty = sys.stderr.isatty()

    def progress(text):
        if tty:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)

    rows, raw = [], []
    for transport in args.transports:
        for name in args.workloads:
            runs = run_rounds(args, transport, name, progress)
            rows += judge(transport, name, runs, args)
            raw += [{"transport": transport, "workload": name, "subject": who, "engine": engine,
                     "runs": docs} for (who, engine), docs in runs.items()]
    progress("")
    benchlib.table(HEAD, [cells(row) for row in rows])
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"rounds": args.rounds, "runtime_s": args.runtime,
                       "kernel": os.uname().release, "rows": rows, "raw": raw}, file, indent=1)
            file.write("\n")
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as file:
            benchlib.table(HEAD, [cells(row) for row in rows], file, markdown=True)
    missed = [row for row in rows if row.get("met") is False]
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    benchlib.main(main)
