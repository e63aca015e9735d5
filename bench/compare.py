#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares libnof (nvmf-perf) with the raw request/answer loop (bench/ceiling).

Client on one CPU, server on another. Each round runs every subject once, in an order that
rotates, so that whatever else the machine does hits all of them alike; what is compared are the
medians over the rounds of the ratios within a round. Both engines of libnof are held against the
better one of the raw loop; the bar is a pass mark for the engine that a user gets who asks for
none.
"""

import argparse
import os
import sys
from collections import namedtuple

import benchlib
import metrics
import parts
import svgplot
from benchlib import BenchError, Skip

ENGINES = ("io_uring", "epoll")

Metric = namedtuple("Metric", "key name unit scale bar higher judged", defaults=(True,))
Workload = namedtuple("Workload", "bs qd spin longer metrics")

PER_CPU = Metric("ios_per_cpu_s", "I/Os per client CPU second", "k/s", 1e-3, 0.85, True)
RATE = Metric("iops", "I/Os per second", "k/s", 1e-3, None, True)

# longer: a factor for the time measured, where rare events count.
WORKLOADS = {
    "4k-qd128": Workload(4096, 128, False, 1, [PER_CPU, RATE]),
    "4k-qd32": Workload(4096, 32, False, 1, [PER_CPU, RATE]),
    "128k-qd32": Workload(131072, 32, False, 1, [
        Metric("bw_per_cpu_s", "bandwidth per client CPU second", "GB/s", 1e-9, 0.92, True),
        Metric("bw", "bandwidth", "GB/s", 1e-9, None, True)]),
    "4k-qd1": Workload(4096, 1, False, 1.6, [
        Metric("p50_ns", "median latency, both sleep", "µs", 1e-3, 1.05, False),
        Metric("p99.9_ns", "p99.9 latency, both sleep", "µs", 1e-3, 1.25, False)]),
    "4k-qd1-spin": Workload(4096, 1, True, 1.6, [
        Metric("p50_ns", "median latency, both spin", "µs", 1e-3, 1.10, False),
        # On a machine with two CPUs both are taken: whatever else runs interrupts for milliseconds.
        Metric("p99.9_ns", "p99.9 latency, both spin", "µs", 1e-3, 1.25, False, False)]),
}
SYSCALLS_AT = "4k-qd32"
SYSCALLS_BAR = 0.15


def raw_argv(args, port, transport, engine, work, *more, at_target=False):
    return [benchlib.program(args.build, "bench", "ceiling"), "--mode=client", f"--port={port}",
            "--mptcp=" + ("on" if transport == "mptcp" else "off"), "--engine=" + engine,
            f"--bs={work.bs}", f"--qd={work.qd}", *(["--spin"] if work.spin else []),
            *(["--nqn=" + benchlib.NQN] if at_target else []), *args.ceiling_arg, *more]


def libnof_argv(args, port, transport, engine, work, *more):
    where = benchlib.uri(port, engine=engine, nr_io_queues=1, queue_size=max(2 * work.qd, 32),
                         mptcp="require" if transport == "mptcp" else "off")
    return benchlib.perf_argv(args.build, "--rw=randread", f"--bs={work.bs}",
                              f"--iodepth={work.qd}", "--queues=1", "--threads=1",
                              "--poll=" + ("spin" if work.spin else args.poll), *more, where)


def costs(ios, cpu, all_ios, usage, server):
    """What is told of every run: per I/O, of the client and of its server."""
    return {
        "client_user_us": cpu["user_s"] / ios * 1e6,
        "client_sys_us": cpu["sys_s"] / ios * 1e6,
        "server_user_us": server["user_s"] / all_ios * 1e6,
        "server_sys_us": server["sys_s"] / all_ios * 1e6,
        "client_switches": (usage.voluntary + usage.involuntary) / all_ios,
        "server_switches": (server["voluntary"] + server["involuntary"]) / all_ios,
        "client_rss_kib": usage.rss_kib,
        "server_rss_kib": server["rss_kib"],
    }


def run_raw(args, server, transport, engine, work, runtime, at_target=False):
    argv = raw_argv(args, server.port, transport, engine, work, f"--runtime={runtime}",
                    f"--ramp={args.ramp}", at_target=at_target)
    sampler = metrics.Sampler(server.proc.pid).start()
    doc, res = benchlib.run_json(argv, runtime + args.ramp + 30, args.cpus[0],
                                rss_after=args.ramp + 0.8 * runtime)
    used = doc["cpu"]
    cpu_s = used["user_s"] + used["sys_s"]
    return {
        "iops": doc["iops"],
        "ios_per_cpu_s": doc["ios_per_cpu_s"],
        "p50_ns": doc["lat_ns"]["50.000000"],
        "p99.9_ns": doc["lat_ns"]["99.900000"],
        "bw": doc["bw_bytes"],
        "bw_per_cpu_s": doc["ios"] * work.bs / cpu_s if cpu_s else 0,
        **costs(max(doc["ios"], 1), used, max(doc["all_ios"], 1), res.usage, sampler.stop()),
    }


def run_libnof(args, server, transport, engine, work, runtime):
    argv = libnof_argv(args, server.port, transport, engine, work, f"--runtime={runtime}",
                       f"--ramp-time={args.ramp}")
    sampler = metrics.Sampler(server.proc.pid).start()
    doc, res = benchlib.run_json(argv, runtime + args.ramp + 30, args.cpus[0],
                                rss_after=args.ramp + 0.8 * runtime)
    job = doc["jobs"][0]
    read = job["read"]
    used = doc["cpu"]	# from the end of the ramp to the last answer, as total_ios
    # The numbers must not be filed under the wrong name.
    if doc["engine"] != engine or doc["transport"][0]["protocol"] != transport or \
            job["iodepth"] != work.qd:
        raise BenchError(f"nvmf-perf used {doc['engine']}, {doc['transport'][0]['protocol']} and "
                         f"depth {job['iodepth']}, not {engine}, {transport}, {work.qd}")
    cpu_s = used["user_s"] + used["sys_s"]
    # A tool that reported less than it burnt would flatter itself: never believe fewer than 80 %.
    if cpu_s < 0.8 * res.cpu_s * runtime / (runtime + args.ramp) - 0.05:
        raise BenchError(f"nvmf-perf says it used {cpu_s:.2f} s of CPU, the kernel says "
                         f"{res.cpu_s:.2f} s")
    ios = max(read["total_ios"], 1)
    return {
        "iops": read["iops"],
        "ios_per_cpu_s": ios / cpu_s if cpu_s else 0,
        "p50_ns": read["clat_ns"]["percentile"]["50.000000"],
        "p99.9_ns": read["clat_ns"]["percentile"]["99.900000"],
        "bw": read["bw_bytes"],
        "bw_per_cpu_s": ios * work.bs / cpu_s if cpu_s else 0,
        **costs(ios, used, max(job["completed"], 1), res.usage, sampler.stop()),
    }


def run_raw_at_target(*args):
    return run_raw(*args, at_target=True)


# Subject: how it is run, and which server it asks.
SUBJECTS = {"ceiling": (run_raw, "ceiling"), "libnof": (run_libnof, "target"),
            "raw-at-target": (run_raw_at_target, "target")}


class Servers:
    """The raw server and the target; while one is used the other sleeps (or, spinning, is not)."""

    def __init__(self, args, transport, spin):
        self.args, self.transport, self.spin = args, transport, spin
        self.running = {}

    def _start(self, who):
        mptcp = self.transport == "mptcp"
        more = ["--spin"] if self.spin else []
        if who == "ceiling":
            return benchlib.Server([benchlib.program(self.args.build, "bench", "ceiling"),
                                    "--mode=server", "--port=0",
                                    "--mptcp=" + ("on" if mptcp else "off"), *more],
                                   self.args.cpus[1])
        return benchlib.start_target(self.args.build, mptcp, ["null:64G,bs=4096"],
                                     self.args.cpus[1], extra=more)

    def __getitem__(self, who):
        if self.spin:
            # The one that is not used would take half of the CPU: only one at a time.
            for other in [name for name in self.running if name != who]:
                self.running.pop(other).stop()
        if who not in self.running:
            self.running[who] = self._start(who)
        return self.running[who]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for server in self.running.values():
            server.stop()


def subjects_of(args):
    found = [(who, engine) for engine in args.engines for who in ("ceiling", "libnof")
             if who == "ceiling" or not args.no_libnof]
    if not args.no_libnof and args.default_engine in args.engines:
        found.append(("raw-at-target", args.default_engine))
    return found


def run_rounds(args, transport, name):
    work = WORKLOADS[name]
    subjects = subjects_of(args)
    runs = {subject: [] for subject in subjects}
    with Servers(args, transport, work.spin) as servers:
        for rnd, (who, engine) in parts.rotate(subjects, args.rounds):
            parts.progress(f"{transport} {name} round {rnd + 1}/{args.rounds} {who} {engine}")
            run, server = SUBJECTS[who]
            runs[who, engine].append(run(args, servers[server], transport, engine, work,
                                         args.runtime * work.longer))
    return runs


def judge(transport, name, runs, args):
    """One row per metric and libnof engine."""
    rows = []
    for metric in WORKLOADS[name].metrics:
        raw = {engine: [run[metric.key] for run in runs["ceiling", engine]]
               for engine in args.engines}
        # The better engine by its median, not by each round's luck.
        best = (max if metric.higher else min)(raw, key=lambda engine: parts.spread(raw[engine])[0])
        for engine in args.engines:
            ours = [run[metric.key] for run in runs.get(("libnof", engine), [])]
            if not ours:
                continue
            rows.append(parts.row(
                transport, name, metric.name, metric.unit, ours, raw[best], metric.bar,
                metric.higher, engine=engine, versus=best, scale=metric.scale,
                judged=metric.judged and engine == args.default_engine,
                ratio_same_engine=parts.spread([a / b for a, b in zip(ours, raw[engine])
                                                if b] or [0])[0]))
        same = runs.get(("raw-at-target", args.default_engine))
        if same and metric.bar is not None:
            rows.append(parts.row(
                transport, name, metric.name, metric.unit,
                [run[metric.key] for run in runs["libnof", args.default_engine]],
                [run[metric.key] for run in same], None, metric.higher,
                engine=args.default_engine, versus="raw, same target", versus_key="same-target",
                scale=metric.scale))
    return rows


def default_engine(args):
    """What nvmf-perf takes when it is not told."""
    with benchlib.start_target(args.build, False, ["null:1G"]) as target:
        doc, _ = benchlib.run_json(benchlib.perf_argv(args.build, "--io-limit=1", "--rw=randread",
                                                      benchlib.uri(target.port, mptcp="off")), 30)
    return doc["engine"]


def count_syscalls(args, transport):
    """Rows of system calls per I/O: the difference of 2N and N I/Os, so that set-up cancels."""
    work = WORKLOADS[SYSCALLS_AT]
    ios = 2000 if args.quick else 100000
    counts = {subject: [] for subject in subjects_of(args) if subject[0] != "raw-at-target"}
    how = set()
    with Servers(args, transport, False) as servers:
        for rnd, (who, engine) in parts.rotate(list(counts), min(args.rounds, 3)):
            parts.progress(f"{transport} system calls, round {rnd + 1} {who} {engine}")
            argv_of = raw_argv if who == "ceiling" else libnof_argv
            option = "--ios=" if who == "ceiling" else "--io-limit="
            more = ["--runtime=60", "--ramp=0"] if who == "ceiling" else []
            seen = []
            for limit in (ios, 2 * ios):
                count, way = metrics.count_syscalls(
                    argv_of(args, servers[SUBJECTS[who][1]].port, transport, engine, work, *more,
                            f"{option}{limit}"), 60, args.cpus[0])
                seen.append(count)
                how.add(way)
            counts[who, engine].append((seen[1] - seen[0]) / ios)
    certain = how == {"perf"}
    return [parts.row(transport, SYSCALLS_AT, "system calls per I/O", "", counts["libnof", engine],
                      counts["ceiling", engine], SYSCALLS_BAR, False, bar_on="libnof",
                      engine=engine, versus=engine, counted_with=", ".join(sorted(how)),
                      judged=certain and engine == args.default_engine)
            for engine in args.engines if ("libnof", engine) in counts]


COSTS = ("client_user_us", "client_sys_us", "server_user_us", "server_sys_us", "client_switches",
         "server_switches", "client_rss_kib", "server_rss_kib")


def summary(raw):
    """Medians of what all runs cost."""
    return [{"transport": one["transport"], "workload": one["workload"],
             "subject": one["subject"], "engine": one["engine"],
             **{key: parts.spread([run[key] for run in one["runs"]])[0]
                for key in COSTS if all(run[key] is not None for run in one["runs"])}}
            for one in raw]


def parse():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=7, runtime=0.6)
    ap.add_argument("--ramp", type=float, default=0.15, help="seconds before, not measured")
    ap.add_argument("--transports", default="tcp,mptcp")
    ap.add_argument("--engines", default=",".join(ENGINES))
    ap.add_argument("--workloads", default=",".join(WORKLOADS))
    ap.add_argument("--poll", default="sleep", help="nvmf-perf --poll where both sleep (sleep)")
    ap.add_argument("--ceiling-arg", action="append", default=[], metavar="OPTION",
                    help="another option for the raw client, e.g. --ceiling-arg=--stage=1m")
    ap.add_argument("--no-libnof", action="store_true", help="measure the raw loop only")
    ap.add_argument("--no-syscalls", action="store_true", help="do not count system calls")
    args = parts.parse(ap)
    args.transports = args.transports.split(",")
    args.engines = args.engines.split(",")
    args.workloads = [name for name in args.workloads.split(",") if name]
    for name in args.workloads:
        if name not in WORKLOADS:
            ap.error(f"unknown workload '{name}': one of {', '.join(WORKLOADS)}")
    args.cpus = benchlib.two_cpus()
    return args


def show_raw(raw):
    """For --no-libnof: what the raw loop itself does."""
    lines = []
    for one in raw:
        for metric in WORKLOADS[one["workload"]].metrics:
            values = [run[metric.key] * metric.scale for run in one["runs"]]
            middle, low, high = (parts.number(value) for value in parts.spread(values))
            lines.append([one["transport"].upper(), one["workload"], one["engine"], metric.name,
                          f"{middle} ({low}–{high})", metric.unit])
    benchlib.table(["", "workload", "engine", "measure", "raw", ""], lines)


def main():
    args = parse()
    args.default_engine = default_engine(args)
    rows, raw, notes = [], [], []
    for transport in args.transports:
        for name in args.workloads:
            runs = run_rounds(args, transport, name)
            rows += judge(transport, name, runs, args)
            raw += [{"transport": transport, "workload": name, "subject": who, "engine": engine,
                     "runs": docs} for (who, engine), docs in runs.items()]
            if name == SYSCALLS_AT and not args.no_syscalls and not args.no_libnof:
                try:
                    rows += count_syscalls(args, transport)
                except Skip as reason:
                    notes.append(f"{transport}: system calls were not counted: {reason}")
    parts.progress("")
    if args.no_libnof:
        show_raw(raw)
    for note in notes:
        print(note, file=sys.stderr)
    return parts.finish(args, "speed", rows, raw, notes=notes, costs=summary(raw),
                        default_engine=args.default_engine)


SHOWN = {"ceiling": "raw", "libnof": "libnof", "raw-at-target": "raw, same target"}


def write_costs(doc, out):
    lines = []
    for one in doc["costs"]:
        if one["transport"] == "tcp" or one["engine"] == doc["default_engine"]:
            switches = [one.get(who + "_switches", 0) * 1000 for who in ("client", "server")]
            rss = [one.get(who + "_rss_kib", 0) / 1024 for who in ("client", "server")]
            lines.append([one["transport"].upper(), one["workload"],
                          SHOWN[one["subject"]], one["engine"],
                          *[f"{one[key]:.2f}" for key in COSTS[:4]],
                          *[parts.number(value) for value in (*switches, *rss)]])
    print("`raw, same target` is the raw client in front of `nvmf-target`, after a set-up of its "
          "own: what differs\nthere is the initiator alone.\n", file=out)
    print("What one I/O costs (medians): microseconds of CPU, context switches per 1,000 I/Os, "
          "and the peak of\nresident memory, buffers included. `server` is the raw server or "
          "`nvmf-target`.\n", file=out)
    benchlib.table(["", "workload", "", "engine", "client user µs", "system µs", "server user µs",
                    "system µs", "client switches", "server switches", "client MiB",
                    "server MiB"], lines, out, markdown=True)
    print(file=out)


def markdown(doc, out):
    print("## Next to a raw loop\n", file=out)
    print("`bench/ceiling` moves the same bytes, with the same system calls, and does nothing "
          "else of the\nprotocol. Client on one CPU, server on the other, loopback, a null "
          f"namespace; {doc['rounds']} rounds in which all\nsubjects take turns, "
          f"{doc['runtime_s']:g} s each. `other` is the better engine of the raw loop, by its "
          "median; a ratio\nis the median of the ratios within a round, in brackets the quartiles. "
          f"The bar is a pass mark for {doc['default_engine']},\nwhich libnof takes when it is "
          "not told; the other engine is held to it in brackets.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print("\n![Ratios to the raw loop](performance-speed.svg)\n", file=out)
    for note in doc.get("notes", []):
        print(note + "\n", file=out)
    if doc.get("costs"):
        write_costs(doc, out)


def plots(doc, folder):
    """Ratios turned so that more is better: 1 is the raw loop."""
    groups = {}
    for row in doc["rows"]:
        if row.get("ratio") and row.get("bar_on") == "ratio":
            name = f"{row['transport'].upper()} {row['workload']}: {row['metric']}"
            low, high = row["ratio_low"], row["ratio_high"]
            values = (row["ratio"], low, high) if row["higher_is_better"] else \
                (1 / row["ratio"], 1 / high if high else 0, 1 / low if low else 0)
            groups.setdefault(name, []).append(svgplot.Bar(
                row["engine"] + (", raw at same target" if row.get("versus_key") else ""),
                *values))
    svgplot.bars(os.path.join(folder, "performance-speed.svg"),
                 "libnof next to the raw loop (latencies inverted: more is better)", "ratio",
                 [svgplot.Group(name, found) for name, found in groups.items()],
                 mark=(1.0, "raw loop"))


if __name__ == "__main__":
    benchlib.main(main)
