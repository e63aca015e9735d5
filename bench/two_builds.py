#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares two builds of libnof with each other, by turns, on one target.

For changes that are too small for two runs of the benchmark to show: prefetching, a layout, a
compiler's option. Prints CPU per I/O of each and the quartiles of the ratio B/A over the rounds.
Not a part of bench/run: there is nothing to hold against a bar.

    bench/two_builds.py build-a build-b -- --rw=randread --iodepth=128
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys

NQN = "nqn.2024-01.org.example:two-builds"


def start_target(build):
    p = subprocess.Popen([f"{build}/target/nvmf-target", "--listen=127.0.0.1:0", f"--nqn={NQN}",
                          "--ns=null:1G,bs=4096"], stdout=subprocess.PIPE, text=True)
    return p, re.findall(r"\d+", p.stdout.readline())[-1]


def measure(build, port, opts):
    """CPU µs per I/O as nvmf-perf counts it, and how much of it outside of the kernel."""
    out = subprocess.run([f"{build}/examples/nvmf-perf", "--bs=4k", "--json",
                          f"--runtime={opts.runtime}", "--ramp-time=0.1", *opts.perf,
                          f"nvme+tcp://127.0.0.1:{port}/{NQN}?{opts.query}"],
                         check=True, capture_output=True, text=True).stdout
    cpu = json.loads(out)["cpu"]
    all_s = cpu["user_s"] + cpu["sys_s"]
    return cpu["us_per_io"], cpu["us_per_io"] * cpu["user_s"] / all_s if all_s else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("a", help="build directory; its target serves both")
    ap.add_argument("b", help="build directory")
    ap.add_argument("perf", nargs="*", help="options of nvmf-perf, behind --")
    ap.add_argument("--rounds", type=int, default=16)
    ap.add_argument("--runtime", type=float, default=0.8, help="seconds measured per run (0.8)")
    ap.add_argument("--query", default="mptcp=prefer", help="of the URI")
    opts = ap.parse_args()
    opts.perf = opts.perf or ["--rw=randread", "--iodepth=128"]
    target, port = start_target(opts.a)
    # The target on one CPU, the client on another one, as everywhere in this benchmark.
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(target.pid, {cpus[-1]})
    os.sched_setaffinity(0, {cpus[0]})
    us = {"a": [], "b": []}
    try:
        for i in range(opts.rounds):
            for which in "ab" if i % 2 else "ba":
                us[which].append(measure(getattr(opts, which), port, opts))
    finally:
        target.terminate()
        target.wait()
    ratios = [b[0] / a[0] for a, b in zip(us["a"], us["b"])]
    for which in "ab":
        total, user = (statistics.median(v) for v in zip(*us[which]))
        print(f"{which}  {total:.3f} µs of CPU per I/O, {user:.3f} of it outside of the kernel"
              f"  {getattr(opts, which)}")
    q = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    print(f"b/a  {q[1]:.3f} ({q[0]:.3f} to {q[2]:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
