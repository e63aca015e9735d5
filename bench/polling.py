#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each way of waiting costs and brings: sleep, adaptive, spin (nof_loop_set_poll()).

Client and target on a CPU each, a null namespace, 4 KiB random reads. Beside sleep the raw loop
(bench/ceiling) and both targets sleep, beside adaptive and spin they spin: what the wait of the
client's thread costs is to be seen, not that of the target's.
"""

import argparse
import os

import benchlib
import parts

MODES = ("sleep", "adaptive", "spin")
DEPTHS = (1, 32)
RAMP = 0.1


def is_spinning(mode):
    return mode != "sleep"


def run_libnof(args, transport, mode, depth):
    mptcp = transport == "mptcp"
    with benchlib.start_target(args.build, mptcp, ["null:1G,bs=4096"], args.cpus[1],
                               ["--spin"] if is_spinning(mode) else []) as target:
        where = benchlib.uri(target.port, engine=args.engine,
                             mptcp="require" if mptcp else "off")
        doc, res = benchlib.run_json(
            benchlib.perf_argv(args.build, "--rw=randread", "--bs=4k", f"--iodepth={depth}",
                               f"--poll={mode}", f"--runtime={args.runtime}",
                               f"--ramp-time={RAMP}", where), args.runtime + 30, args.cpus[0])
    read, loop = doc["jobs"][0]["read"], doc["loops"][0]
    if doc["global options"]["poll"] != mode or doc["errors"]["first"] or not read["total_ios"]:
        raise benchlib.BenchError(f"nvmf-perf --poll={mode}: {doc['errors']}")
    lat = read["clat_ns"]["percentile"]
    return {"p50": lat["50.000000"], "p999": lat["99.900000"], "iops": read["iops"],
            "cpu_us": doc["cpu"]["us_per_io"],
            # Of the whole process: connecting and the ramp are in it, too.
            "switches": res.usage.voluntary / doc["completed"],
            "sleeps": loop["sleeps"] / read["total_ios"],
            "spun": loop["spin_s"] / args.runtime}


def run_raw(args, transport, mode, depth):
    common = ["--mptcp=" + ("on" if transport == "mptcp" else "off")]
    common += ["--spin"] if is_spinning(mode) else []
    ceiling = benchlib.program(args.build, "bench", "ceiling")
    with benchlib.Server([ceiling, "--mode=server", "--port=0", *common], args.cpus[1]) as server:
        doc, res = benchlib.run_json(
            [ceiling, "--mode=client", f"--port={server.port}", "--engine=" + args.engine,
             "--bs=4096", f"--qd={depth}", f"--runtime={args.runtime}", f"--ramp={RAMP}", *common],
            args.runtime + 30, args.cpus[0])
    if not doc["ios"] or not doc["ios_per_cpu_s"]:
        raise benchlib.BenchError("the raw loop did nothing")
    return {"p50": doc["lat_ns"]["50.000000"], "p999": doc["lat_ns"]["99.900000"],
            "iops": doc["iops"], "cpu_us": 1e6 / doc["ios_per_cpu_s"],
            "switches": res.usage.voluntary / doc["all_ios"]}


def rows_of(transport, mode, depth, ours, raw, engine):
    name = f"4k read, qd{depth}, {mode}"

    def line(metric, unit, key, scale, higher):
        return parts.row(transport, name, metric, unit, [r[key] * scale for r in ours],
                         [r[key] * scale for r in raw], higher=higher, engine=engine,
                         versus="raw loop, " + ("spinning" if is_spinning(mode) else "sleeping"))

    yield line("latency p50", "us", "p50", 1e-3, False)
    yield line("latency p99.9", "us", "p999", 1e-3, False)
    yield line("IOPS", "k/s", "iops", 1e-3, True)
    yield line("client CPU", "us per I/O", "cpu_us", 1, False)
    yield line("context switches", "per I/O", "switches", 1, False)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=3, runtime=0.5)
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engine", default="io_uring")
    args = parts.parse(ap)
    args.cpus = benchlib.two_cpus()
    rows, kept = [], []
    for transport in args.transports.split(","):
        subjects = [(is_raw, mode, depth) for depth in DEPTHS for mode in MODES
                    for is_raw in (False, True)]
        runs = {subject: [] for subject in subjects}
        for rnd, subject in parts.rotate(subjects, args.rounds):
            is_raw, mode, depth = subject
            parts.progress(f"{transport} {mode} qd{depth}{' raw' if is_raw else ''} round "
                           f"{rnd + 1}/{args.rounds}")
            runs[subject].append((run_raw if is_raw else run_libnof)(args, transport, mode, depth))
        for depth in DEPTHS:
            for mode in MODES:
                ours, raw = runs[False, mode, depth], runs[True, mode, depth]
                rows += rows_of(transport, mode, depth, ours, raw, args.engine)
                kept.append({"transport": transport, "mode": mode, "depth": depth,
                             "libnof": ours, "raw": raw})
    return parts.finish(args, "polling", rows, kept, kernel=os.uname().release, engine=args.engine)


def markdown(doc, out):
    print("## Ways of waiting\n", file=out)
    print(f"`nof_loop_set_poll()`: {doc['engine']}, client and target on a CPU each, a null "
          f"namespace, {doc['rounds']} rounds of\n{doc['runtime_s']:g} s in turns. Beside sleep the "
          "raw loop and both targets sleep, beside adaptive and spin they spin.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


if __name__ == "__main__":
    benchlib.main(main)
