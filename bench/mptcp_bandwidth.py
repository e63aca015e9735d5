# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several links carry, next to one: two of 1 Gbit/s, four of 250 Mbit/s, a slow and a fast
one, and four that are long and lose packets."""

import benchlib
import mptcp_lib as lib

# name: (title, rates of the links, link of plain TCP, [(block size, rw, bar)], queues, depth,
#        {case: (link that the URI names, mptcp=)})
SHAPED = {
    "two-1g": (
        "two links of 1 Gbit/s", ["1gbit"] * 2,
        [("4k", "randread", 1.95), ("128k", "randread", 1.95),
         ("4k", "randwrite", 1.90), ("128k", "randwrite", 1.90)],
        4, 256, {"TCP, one link": (1, "off"), "MPTCP": (1, "require")}),
    "four-250m": (
        "four links of 250 Mbit/s", ["250mbit"] * 4,
        [("128k", "randread", 3.7), ("128k", "randwrite", 3.7)],
        4, 32, {"TCP, one link": (1, "off"), "MPTCP": (1, "require")}),
    "unequal": (
        "a link of 200 Mbit/s and one of 1 Gbit/s", ["200mbit", "1gbit"],
        [("128k", "randread", 1.10), ("128k", "randwrite", 1.10)],
        4, 32, {"TCP, the faster link": (2, "off"), "MPTCP, connected by the faster":
                (2, "require"), "MPTCP, connected by the slower": (1, "require")}),
}


def load(args, bs, rw, queues, depth, ramp=1.0):
    return [f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", f"--queues={queues}", "--threads=1",
            f"--runtime={args.runtime:g}", f"--ramp-time={args.ramp if args.quick else ramp:g}"]


def announce_all(net):
    """The target tells of every address, so that any may be the first."""
    for n in net.links:
        net.endpoint_add("target", net.addr("target", n), "signal", dev=f"l{n}")


def compare(args, name, title, net, target, workloads, queues, depth, cases, progress, keys=None,
            ramp=1.0, rounds=None):
    """One row of the results for each workload."""
    rows = []
    for bs, rw, limit in workloads:
        def one(case, bs=bs, rw=rw):
            link, mptcp = cases[case]
            uri = lib.uri(net, link, mptcp=mptcp, nr_io_queues=queues,
                          queue_size=max(2 * depth, 32), **(keys or {}))
            run = lib.perf(net, args.build, target, load(args, bs, rw, queues, depth, ramp), [uri])
            lib.require(run, "tcp" if mptcp == "off" else "mptcp",
                        None if mptcp == "off" else net.paths)
            return run

        runs = lib.in_turns(rounds or args.rounds, {case: (lambda rnd, case=case: one(case))
                                          for case in cases}, progress, f"{name} {bs} {rw}")
        base, *others = cases
        row = {"row": name, "title": title, "workload": f"{bs} {rw}", "unit": "Mbit/s",
               "key": "mbit_s", "base": base,
               "cases": {case: lib.summary(runs[case], ("iops", "mbit_s", "p99_ms", "gib"))
                         for case in cases}}
        row["ratios"] = {case: lib.ratio(runs[case], runs[base], "iops") for case in others}
        row["checks"] = {f"{case} / {base}": lib.bar(row["ratios"][case]["median"], limit)
                         for case in others}
        rows.append(row)
    return rows


def shaped(args, name, progress):
    title, rates, workloads, queues, depth, cases = SHAPED[name]
    if args.quick:
        workloads = workloads[:1]
    with lib.Rig(len(rates), rate=rates, endpoints=None) as net:
        announce_all(net)
        with lib.Target(net, args.build, "--ns=null:64G,bs=4096") as target:
            return compare(args, name, title, net, target, workloads, queues, depth, cases,
                           progress)


def long_and_lossy(args, progress):
    """Every link 5 ms long, losing 1 packet of 200 in each direction. cubic takes each loss for a
    full queue; bbr does not, which helps TCP as much as MPTCP."""
    cases = {"TCP, one link": (1, "off"), "MPTCP": (1, "require")}
    emulator = {"delay": "5ms", "loss": 0.5, "rate": "100mbit", "queue": "512k", "seed": 7}
    program = benchlib.program(args.build, "tests", "paths", "linkemu")
    rows = []
    for control in lib.controls("cubic") if args.quick else lib.controls("cubic", "bbr"):
        with lib.Rig(4, emu=emulator, endpoints=None, linkemu=program) as net:
            announce_all(net)
            with lib.Target(net, args.build, "--ns=null:64G,bs=4096",
                            congestion=control) as target:
                rows += compare(
                    args, "long-lossy", f"four links of 100 Mbit/s, 5 ms, 0.5 % loss, {control}",
                    net, target, [("128k", "randread", 3.0)] if args.quick else
                    [("128k", "randread", 3.0), ("128k", "randwrite", 3.0)], 1, 64, cases,
                    progress, keys={"congestion": control}, ramp=2.0, rounds=lib.few(args))
                for row in rows[-2:]:
                    row["workload"] += f", {control}" if control not in row["workload"] else ""
    return rows
