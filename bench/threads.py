#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a second loop, on a second core, brings: one controller with a queue on each of two loops.

On two CPUs the target needs what the second loop would use, so I/Os per second say nothing about
libnof. What stands in for them is the client's CPU per I/O: two loops that need as much of it for
an I/O as one does twice as much with two CPUs. The figure is 2 × (CPU per I/O with one loop) /
(CPU per I/O with two), client and target on the same two CPUs each time. Three busy threads on two
CPUs interrupt each other, whatever they share: how much of a loss that is shows the same ratio
over two processes that have one loop each and run together, the same crowd with nothing in common.
From four CPUs on, client and target have CPUs of their own, and I/Os per second over those of one
loop carry the bar, where the target had time left.

Beyond two cores: cache lines that two loops share and one of them writes (sharing.py), which have
to be none, and the cache misses of one I/O in a simulated cache (cachegrind).
"""

import argparse
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import benchlib
import metrics
import parts
import sharing
from failures import BenchError, Skip

BAR = 1.9
DEPTH = 128
RAMP = 0.15
ENGINES = ("io_uring", "epoll")
# name: (processes, loops and controllers of each)
SUBJECTS = {"one loop": (1, 1, 1), "two processes": (2, 1, 1), "two loops": (1, 2, 1),
            "two controllers": (1, 2, 2)}
MISSES = ("D1", "LLd", "I1")


def places():
    """CPUs of client and target: apart when there are enough, else the same two."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("two CPUs are needed, one for each loop")
    return (set(cpus[:2]), set(cpus[2:])) if len(cpus) >= 4 else (set(cpus[:2]), set(cpus[:2]))


def uri(port, transport, engine, queues, nsid=1):
    """A namespace of its own for each controller: of the same one it would be another path."""
    return benchlib.uri(port, engine=engine, nr_io_queues=queues, queue_size=2 * DEPTH,
                        mptcp="require" if transport == "mptcp" else "off").replace(
                            benchlib.NQN, f"{benchlib.NQN}/{nsid}")


def argv_of(args, port, transport, engine, subject):
    _, loops, controllers = SUBJECTS[subject]
    queues = loops // controllers
    return benchlib.perf_argv(args.build, "--rw=randread", "--bs=4k", f"--iodepth={DEPTH}",
                              f"--queues={queues}", f"--threads={loops}",
                              f"--runtime={args.runtime}", f"--ramp-time={RAMP}",
                              *[uri(port, transport, engine, queues, n + 1)
                                for n in range(controllers)])


def run_once(args, target, transport, engine, subject):
    argv = argv_of(args, target.port, transport, engine, subject)
    sampler = metrics.Sampler(target.proc.pid).start()
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        docs = [run.result()[0] for run in
                [pool.submit(benchlib.run_json, argv, args.runtime + 30)
                 for _ in range(SUBJECTS[subject][0])]]
    busy = sampler.stop()["cpu_s"] / (time.monotonic() - began)
    for doc in docs:
        if doc["engine"] != engine or \
                any(doc["errors"][key] for key in ("io", "verify", "other")):
            raise BenchError(f"{' '.join(argv)}: {doc['engine']}, {doc['errors']}")
    ios = sum(job["read"]["total_ios"] for doc in docs for job in doc["jobs"])
    cpu_s = sum(doc["cpu"]["user_s"] + doc["cpu"]["sys_s"] for doc in docs)
    return {"ios": ios,
            "iops": sum(job["read"]["iops"] for doc in docs for job in doc["jobs"]),
            "cpu_us": cpu_s / ios * 1e6, "target_busy": busy}


def scaling(args, transport, engine, is_apart):
    client, server = places()
    runs = {subject: [] for subject in SUBJECTS}
    mine = os.sched_getaffinity(0)
    spaces = ["null:64G,bs=4096"] * 2
    with benchlib.start_target(args.build, transport == "mptcp", spaces) as target:
        os.sched_setaffinity(target.proc.pid, server)
        os.sched_setaffinity(0, client)         # children have it from here
        try:
            for rnd, subject in parts.rotate(SUBJECTS, args.rounds):
                runs[subject].append(run_once(args, target, transport, engine, subject))
                parts.progress(f"{transport} {engine} round {rnd + 1}/{args.rounds} {subject}")
        finally:
            os.sched_setaffinity(0, mine)
    rows = []
    for subject in ("two loops", "two controllers"):
        # As in the other parts, the bar is that of the engine which users get.
        two = runs[subject]
        is_bar = subject == "two loops" and engine == ENGINES[0]
        by_iops = is_apart and max(r["target_busy"] for r in two) < 0.9
        if is_apart:
            rows.append(parts.row(transport, subject, "rate", "k I/Os per s",
                                  [r["iops"] / 1e3 for r in two],
                                  [r["iops"] / 1e3 for r in runs["one loop"]], BAR,
                                  judged=is_bar and by_iops, engine=engine, versus="one loop"))
        for versus in ("one loop", "two processes")[:2 if subject == "two loops" else 1]:
            # Twice, because two CPUs have twice the time.
            rows.append(parts.row(transport, subject, "I/Os of two CPUs by CPU per I/O",
                                  "k I/Os per s", [2e3 / r["cpu_us"] for r in two],
                                  [1e3 / r["cpu_us"] for r in runs[versus]], BAR,
                                  judged=is_bar and not by_iops and versus == "one loop",
                                  engine=engine, versus=versus))
    return rows, {"transport": transport, "engine": engine, "runs": runs}


def shared(args):
    rows = []
    for transport in ("tcp", "mptcp"):
        with benchlib.start_target(args.build, transport == "mptcp", ["null:1G,bs=512"]) as target:
            for engine in ENGINES:
                docs = [sharing.run_one(args.build, engine, one, 500, target.port,
                                        transport == "mptcp", "") for one in sharing.LOADS]
                rows.append(parts.row(
                    transport, "two loops", "cache lines shared and written", "lines",
                    sum(doc["shared_written"] + doc["exposed_written"] for doc in docs),
                    bar=0, higher=False, engine=engine, stable=True))
    return rows


def simulate(argv):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=yes",
               "--cachegrind-out-file=/dev/null", *argv]
    try:
        proc = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False)
    except FileNotFoundError:
        raise Skip("valgrind is not installed") from None
    if proc.returncode:
        raise BenchError(f"{' '.join(command)}: {proc.stderr[-300:]}")
    return {name: int(re.search(rf"{name}\s+misses:\s+([\d,]+)", proc.stderr).group(1)
                      .replace(",", "")) for name in MISSES}


def misses(args):
    """Of one 4 KiB read at QD32; the difference of two runs, so without start and set-up."""
    count = 1000 if args.quick else 6000
    rows = []
    with benchlib.start_target(args.build, False, ["null:1G,bs=4096"]) as target:
        for engine in ENGINES:
            parts.progress(f"cachegrind {engine}")
            once, twice = (simulate(benchlib.perf_argv(
                args.build, "--rw=randread", "--bs=4k", "--iodepth=32", f"--io-limit={n}",
                uri(target.port, "tcp", engine, 1))) for n in (count, 2 * count))
            rows += [parts.row("tcp", "4k-read-qd32", f"{name} misses, simulated", "per I/O",
                               (twice[name] - once[name]) / count, higher=False, engine=engine)
                     for name in MISSES]
    return rows


def markdown(doc, out):
    out.write("## Threads\n\n")
    out.write("One loop per thread, the queues of one controller (or two controllers) on two "
              f"loops, 4 KiB reads, depth {DEPTH} on each queue. ")
    if doc.get("is_apart"):
        out.write("Client and target had CPUs of their own.")
    else:
        out.write("Two CPUs were there, and the target needs its share of them: what is compared "
                  "is the client's CPU per I/O, so the ratio is 2 × (CPU per I/O with one loop) / "
                  "(CPU per I/O with two). Three busy threads on two CPUs interrupt each other "
                  "whatever they share: beside it is the ratio over two processes with one loop "
                  "each, running together, which have nothing in common.")
    out.write(" Beyond two cores it is what cores have to tell each other that counts: no cache "
              "line is written by one loop and touched by the other (`bench/sharing.py`). The "
              "misses are those of cachegrind's model of this machine's caches, the copy of the "
              "data included (64 lines to read and 64 to write).\n\n")
    parts.table(doc["rows"], out, markdown=True)
    for reason in doc.get("left_out", []):
        out.write(f"\nLeft out: {reason}.\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=7, runtime=0.5)
    ap.add_argument("--only", choices=("scaling", "sharing", "misses"), help="one of the three")
    args = parts.parse(ap)
    client, server = places()
    is_apart = client != server
    rows, raw, left_out = [], [], []
    if args.only in (None, "scaling"):
        for transport in ("tcp", "mptcp"):
            for engine in ENGINES:
                more, runs = scaling(args, transport, engine, is_apart)
                rows += more
                raw.append(runs)
    for name, part in (("sharing", shared), ("misses", misses)):
        if args.only not in (None, name):
            continue
        if name == "sharing" and not os.path.exists(os.path.join(args.build, "bench", "sharing")):
            left_out.append("the build has no bench/sharing (tests are off, or a sanitizer is on)")
            continue
        try:
            rows += part(args)
        except Skip as reason:
            left_out.append(str(reason))
    for reason in left_out:
        print(f"left out: {reason}")
    return parts.finish(args, "threads", rows, raw, is_apart=is_apart, left_out=left_out)


if __name__ == "__main__":
    benchlib.main(main)
