#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures a thousand I/O queues on one loop: their I/O, their idleness, connecting and closing.

1,000 queues with one 4 KiB read each against 10 queues with 100 each, so that as much is in
flight; next to it the same on bare sockets (bench/many_raw), which says what the kernel leaves of
the I/Os when each takes a send and a receive of its own at both ends. All kinds of idle queues
are measured at the same time: they need next to no CPU, which is what is to be shown.
"""

import argparse
import json
import subprocess
import tempfile

import benchlib
import parts
from failures import BenchError

RATIO_BAR = 0.8
IDLE_BAR = 0.1          # percent of a core
KINDS = [(t, e) for t in ("tcp", "mptcp") for e in ("io_uring", "epoll")]


def target(args, transport, cpu=None):
    return benchlib.start_target(args.build, transport == "mptcp", ["null:1G,bs=4096"], cpu,
                                 extra=["--queues=1024", "--max-conns=4096"])


def where(server, transport, engine):
    return benchlib.uri(server.port, engine=engine,
                        mptcp="require" if transport == "mptcp" else "off")


def load(args, transport, engine, queues, depth):
    with target(args, transport, args.cpus[1]) as server:
        doc, _ = benchlib.run_json(
            benchlib.perf_argv(args.build, "--rw=randread", "--bs=4k", f"--queues={queues}",
                               f"--iodepth={depth}", f"--runtime={args.runtime}",
                               "--ramp-time=0.3", where(server, transport, engine)),
            args.runtime + 60, args.cpus[0])
    read, cpu = doc["jobs"][0]["read"], doc["cpu"]
    if doc["transport"][0]["protocol"] != transport or doc["engine"] != engine:
        raise BenchError("nvmf-perf used another transport or engine than it was told to")
    return {"iops": read["iops"],
            "us_per_io": (cpu["user_s"] + cpu["sys_s"]) * 1e6 / max(read["total_ios"], 1)}


def raw(args, transport, queues, depth):
    doc, _ = benchlib.run_json(
        [benchlib.program(args.build, "bench", "many_raw"), str(queues), str(depth),
         str(args.runtime), transport, *map(str, args.cpus)], args.runtime + 60)
    return {"iops": doc["iops"], "us_per_io": doc["client_us_per_io"]}


def loads(args, transport):
    """{(subject, queues): [run of each round]}"""
    many, few = args.queues, max(args.queues // 100, 1)
    subjects = [(who, n, many // n) for n in (many, few) for who in ("raw", "io_uring", "epoll")]
    runs = {}
    for rnd, (who, n, depth) in parts.rotate(subjects, args.rounds):
        parts.progress(f"{transport}, round {rnd + 1}: {who}, {n} queues")
        run = raw(args, transport, n, depth) if who == "raw" else \
            load(args, transport, who, n, depth)
        runs.setdefault((who, "many" if n == many else "few"), []).append(run)
    return runs


def load_rows(args, transport, runs):
    def values(who, n, what="iops"):
        return [run[what] for run in runs[who, n]]

    work = f"4k-read-{args.queues}x1"
    rows = [parts.row(transport, work, "IOPS over those of bare sockets on few", "k/s",
                      [v / 1e3 for v in values("raw", "many")],
                      [v / 1e3 for v in values("raw", "few")], engine="bare sockets",
                      versus="the same in flight on a hundredth")]
    for engine in ("io_uring", "epoll"):
        rows.append(parts.row(transport, work, "IOPS", "k/s",
                              [v / 1e3 for v in values(engine, "many")],
                              [v / 1e3 for v in values(engine, "few")], bar=RATIO_BAR,
                              judged=False, engine=engine, versus="the same in flight on a hundredth"))
        rows.append(parts.row(transport, work, "client CPU", "µs/IO",
                              values(engine, "many", "us_per_io"),
                              values("raw", "many", "us_per_io"), higher=False, engine=engine,
                              versus="bare sockets"))
    return rows


def idle(args, controllers):
    """All kinds at the same time; {kind: document}."""
    servers, procs, docs = [], {}, {}
    try:
        for transport, engine in KINDS:
            server = target(args, transport)
            servers.append(server)
            out = tempfile.TemporaryFile()
            argv = [benchlib.program(args.build, "bench", "many"),
                    f"--controllers={controllers}", f"--queues={args.queues // controllers}",
                    f"--idle={args.idle}", where(server, transport, engine)]
            procs[transport, engine] = (subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                                         stdout=out), out)
        for kind, (proc, out) in procs.items():
            if proc.wait(args.idle + 90):
                raise BenchError(f"bench/many ended with status {proc.returncode}")
            out.seek(0)
            docs[kind] = json.load(out)
    except subprocess.TimeoutExpired:
        raise BenchError("bench/many did not end in time") from None
    finally:
        for proc, out in procs.values():
            if proc.poll() is None:
                proc.kill()
                proc.wait()
            out.close()
        for server in servers:
            server.stop()
    return docs


def idle_rows(docs, what, bar):
    rows = []
    for (transport, engine), doc in docs.items():
        work = f"{doc['queues']} {what}"
        percent = 100 * doc["idle_cpu_s"] / doc["idle_s"]
        rows.append(parts.row(transport, work, f"idle CPU over {doc['idle_s']:.0f} s",
                              "% of a core", percent, bar=bar, higher=False, engine=engine))
        rows.append(parts.row(transport, work, "wake-ups", "1/s",
                              doc["idle_wakes"] / doc["idle_s"], higher=False, engine=engine))
        rows.append(parts.row(transport, work, "all connected at once within", "s",
                              doc["connect_s"], higher=False, engine=engine))
        rows.append(parts.row(transport, work, "all closed within", "s", doc["close_s"],
                              higher=False, engine=engine))
    return rows


def markdown(doc, out):
    print("## A thousand queues on one loop\n", file=out)
    print("One 4 KiB read on each of 1,000 queues, against 10 queues with 100 each: as much in "
          "flight. On few\nqueues one send and one receive carry many commands; on many each "
          "command takes its own at both\nends. What that leaves of the IOPS is shown by bare "
          "sockets without any protocol (`bench/many_raw`):\nthe bar of 0.8 is out of reach of "
          "any initiator with a connection per queue. Idle: default keep alive,\none controller "
          "with all queues, and a controller for each.\n", file=out)
    parts.table(doc["rows"], out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, 3, 1.5)
    ap.add_argument("--queues", type=int, help="1000; they share one loop")
    ap.add_argument("--idle", type=float, help="seconds of idleness (60)")
    args = parts.parse(ap)
    args.queues = args.queues or (100 if args.quick else 1000)
    args.idle = args.idle or (1 if args.quick else 60)
    args.cpus = benchlib.two_cpus()
    rows, raws = [], {}
    for transport in ("tcp", "mptcp"):
        runs = loads(args, transport)
        raws[transport] = {f"{who}-{n}": mine for (who, n), mine in runs.items()}
        rows += load_rows(args, transport, runs)
    parts.progress("idle")
    docs = idle(args, 1)
    rows += idle_rows(docs, "idle queues", IDLE_BAR)
    args.idle = min(args.idle, 20)
    each = idle(args, args.queues)
    rows += idle_rows(each, "idle controllers", None)
    raws["idle"] = {" ".join(kind): [docs[kind], each[kind]] for kind in docs}
    return parts.finish(args, "many", rows, raws)


if __name__ == "__main__":
    benchlib.main(main)
