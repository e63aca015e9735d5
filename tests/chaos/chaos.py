#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified random I/O over several paths while they are killed, silenced, delayed and restarted.

Each run is made by its seed: repeat one with --seed. Everything that happens is in --log.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from node import NQN, Node, own_address, wait_until
from plan import STATES, Maker

SPAN = 64           # MiB
ANAGRP = 1
KEYS = ("keep_alive_tmo=1&ctrl_loss_tmo=300&reconnect_delay=1&io_timeout=5&connect_timeout=2&"
        "admin_timeout=2&max_retries=200")
MAX_AGE = 120       # seconds until a request counts as lost
RSS_GROWTH = 4096   # KiB between the second and the last quarter of a run

# What a topology is: for each node the ANA states of its ports.
TOPOLOGIES = {
    "array": (("optimized",), ("non-optimized",)),
    "ports": (("optimized", "non-optimized"),),
    "active": (("optimized",), ("optimized",)),
    "mixed": (("optimized", "non-optimized"), ("non-optimized",)),
}


class Runner:
    def __init__(self, args, folder, log):
        self.args, self.log, self.folder = args, log, folder
        self.begun = time.monotonic()
        self.lines = []
        self.phase = threading.Condition()
        self.phases = set()
        self.env = dict(os.environ)
        self.env["ASAN_OPTIONS"] = "exitcode=99:detect_leaks=1:" + self.env.get("ASAN_OPTIONS", "")
        self.env["UBSAN_OPTIONS"] = ("halt_on_error=1:exitcode=99:print_stacktrace=1:" +
                                     self.env.get("UBSAN_OPTIONS", ""))
        self.states = TOPOLOGIES[args.topology]
        self.disk = os.path.join(folder, "disk")
        with open(self.disk, "wb") as f:
            f.truncate(SPAN << 20)
        self.nodes = [self.make_node(number) for number in range(len(self.states))]
        self.count = {}

    def tell(self, text):
        self.log.write(f"{time.monotonic() - self.begun:.3f} {text}\n")
        self.log.flush()

    def make_node(self, number):
        address, port = own_address(), 4420 + 10 * number
        ports = [f"{address}:{port + i},ana={ANAGRP}:{state},portid={10 * number + i + 1}"
                 for i, state in enumerate(self.states[number])]
        args = [f"--nqn={NQN}", f"--ns=file:{self.disk},anagrp={ANAGRP}", "--anatt=5",
                f"--cntlid-min={1 + 1000 * number}", f"--mptcp={self.args.mptcp}"]
        if self.args.no_fence:
            args.append("--kato-check=off")
        return Node(os.path.join(self.args.build, "target", "nvmf-target"), self.folder, number,
                    ports, args, self.env)

    def uris(self):
        keys = f"{KEYS}&engine={self.args.engine}&iopolicy={self.args.iopolicy}"
        keys += "&mptcp=" + ("off" if self.args.mptcp == "off" else "prefer")
        if self.args.hold:
            keys += f"&write_hold={self.args.hold}"
        if self.args.digests:
            keys += "&hdr_digest=on&data_digest=on"
        return [f"nvme+tcp://{port.split(',')[0]}/{NQN}?{keys}"
                for node in self.nodes for port in node.ports]

    # ---- steps of the plan ----
    def kill(self, node):
        node.kill()

    def restart(self, node):
        node.start()

    def stop(self, node):
        node.stop()

    def go_on(self, node):
        node.go_on()

    def pause(self, node, port):
        node.control(f"pause {port + 1}")

    def resume(self, node, port):
        node.control(f"resume {port + 1}")

    def unlisten(self, node, port):
        node.control(f"unlisten {port + 1}")

    def listen(self, node, port):
        node.control(f"listen {node.ports[port]}")

    def ana(self, node, port, state):
        node.control(f"ana {port + 1} {ANAGRP} {state}")

    def ana_again(self, node, port, state):
        node.control(f"ana {port + 1} {ANAGRP} {self.states[node.number][port]}")

    def fault(self, node, script):
        node.control(f"fault {script}")

    def clear(self, node, script):
        node.control("clear")

    def drop(self, node, which):
        node.control(f"drop {which}".strip())

    def queues(self, node, count):
        node.control(f"queues {count}")

    def queues_again(self, node, count):
        node.control("queues 64")

    def do(self, step):
        node = self.nodes[step.node]
        self.tell(f"{step.what} node {step.node} {' '.join(map(str, step.args))}".rstrip())
        self.count[step.what] = self.count.get(step.what, 0) + 1
        getattr(self, step.what)(node, *step.args)

    # ---- the program ----
    def read_lines(self, stream):
        for line in stream:
            line = line.decode(errors="replace").rstrip()
            self.tell(f"chaos: {line}")
            try:
                doc = json.loads(line)
            except ValueError:
                doc = {"failure": f"no JSON: {line}"}
            with self.phase:
                self.lines.append(doc)
                self.phases.add(doc.get("phase"))
                self.phase.notify_all()
        with self.phase:
            self.phases.add("end")
            self.phase.notify_all()

    def wait_phase(self, name, seconds):
        with self.phase:
            self.phase.wait_for(lambda: {name, "end"} & self.phases, seconds)
            return name in self.phases

    def start_program(self, seconds):
        argv = [os.path.join(self.args.build, "tests", "chaos", "chaos"),
                f"--seed={self.args.seed}", f"--seconds={seconds}", f"--span={SPAN}",
                f"--workers={self.args.workers}", f"--depth={self.args.depth}",
                f"--max-age={MAX_AGE}", *(["--shake"] if self.args.shake else []), *self.uris()]
        self.tell("started: " + " ".join(argv))
        self.err = open(os.path.join(self.folder, "chaos.err"), "w+b")
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=self.err, env=self.env)
        self.reader = threading.Thread(target=self.read_lines, args=(proc.stdout,), daemon=True)
        self.reader.start()
        return proc

    def play(self, steps, proc):
        """Steps at their times, until the program ends."""
        start = time.monotonic()
        for step in steps:
            while (left := start + step.at - time.monotonic()) > 0:
                if proc.poll() is not None:
                    return
                time.sleep(min(left, 0.2))
            self.do(step)

    def run(self):
        # A path that is taken out cannot be waited for: the other must be one that may return.
        states = [s for s in STATES if s != "persistent-loss" or not self.args.shake]
        steps = Maker(self.args.seed, self.args.seconds, [len(s) for s in self.states],
                      self.args.skip, self.args.only, states).make()
        for node in self.nodes:
            node.start()
        proc = self.start_program(self.args.seconds)
        complaints = []
        try:
            if self.wait_phase("load", 60):
                self.play(steps, proc)
            try:
                status = proc.wait(self.args.seconds + 2 * MAX_AGE)
            except subprocess.TimeoutExpired:
                status = None
        finally:
            if proc.poll() is None:
                proc.send_signal(signal.SIGABRT)
                proc.wait()
            self.reader.join(10)
            for node in self.nodes:
                complaints.append(node.end())
        return self.judge(status, [c for c in complaints if c])

    # ---- the verdict ----
    def judge(self, status, complaints):
        self.err.seek(0)
        err = self.err.read().decode(errors="replace").strip()
        self.err.close()
        if err:
            self.tell("stderr: " + err)
            complaints.append("stderr: " + err[:2000])
        final = self.lines[-1] if self.lines and self.lines[-1].get("final") else None
        if status is None:
            complaints.append("the program did not end")
        elif status:
            complaints.append(f"exit status {status}")
        if not final:
            complaints.append("no final document")
        elif not final["ok"]:
            complaints.append("; ".join(
                [f"{name} {final[name]}" for name in ("lost", "doubled", "misplaced", "mismatches",
                                                      "errors") if final[name]] +
                [f"{final['submitted']} submitted, {final['completed']} completed",
                 final["first_failure"]]))
        memory = self.memory()
        if memory["growth_kib"] > RSS_GROWTH and not self.args.ignore_rss:
            complaints.append(f"memory grew by {memory['growth_kib']} KiB: {memory}")
        if memory["fds_last"] > memory["fds_first"] + 2:
            complaints.append(f"descriptors grew: {memory}")
        report = {"seed": self.args.seed, "topology": self.args.topology,
                  "engine": self.args.engine, "iopolicy": self.args.iopolicy,
                  "mptcp": self.args.mptcp, "steps": sum(self.count.values()),
                  "disruptions": self.count, "memory": memory, "final": final,
                  "complaints": complaints}
        self.tell("report: " + json.dumps(report))
        return report

    def memory(self):
        """Of the load's second and last quarter: caches fill in the first."""
        rows = [line for line in self.lines if "rss_kib" in line and "t" in line]
        n = len(rows)
        if n < 8:
            return {"samples": n, "growth_kib": 0, "slope_kib_per_min": 0.0, "fds_first": 0,
                    "fds_last": 0}
        early, late = rows[n // 4:n // 2], rows[-n // 4:]
        growth = int(statistics.median(r["rss_kib"] for r in late) -
                     statistics.median(r["rss_kib"] for r in early))
        part = rows[n // 4:]
        slope = statistics.linear_regression([r["t"] / 60 for r in part],
                                             [r["rss_kib"] for r in part]).slope
        return {"samples": n, "growth_kib": growth, "slope_kib_per_min": round(slope, 1),
                "rss_kib_last": rows[-1]["rss_kib"],
                "fds_first": max(r["fds"] for r in rows[:n // 2]),
                "fds_last": max(r["fds"] for r in late)}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--build", default=os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                    "..", "..", "build"))
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--runs", type=int, default=1, help="so many seeds, one after the other")
    ap.add_argument("--topology", choices=sorted(TOPOLOGIES), default="array")
    ap.add_argument("--engine", choices=("auto", "io_uring", "epoll"), default="auto")
    ap.add_argument("--mptcp", choices=("prefer", "off"), default="prefer")
    ap.add_argument("--iopolicy", default="numa")
    ap.add_argument("--digests", action="store_true")
    ap.add_argument("--hold", help="write_hold of the paths (default: auto)")
    ap.add_argument("--no-fence", action="store_true",
                    help="targets execute what they find after the keep alive time, too")
    ap.add_argument("--shake", action="store_true",
                    help="the program resets controllers and takes paths out, too")
    ap.add_argument("--only", action="append", default=[], help="only this kind of disruption")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--depth", type=int, default=16)
    ap.add_argument("--skip", action="append", default=[], help="a kind of disruption, or all")
    ap.add_argument("--ignore-rss", action="store_true", help="for sanitizers, which keep memory")
    ap.add_argument("--log", help="everything that happens (default: only after a failure)")
    ap.add_argument("--tap", action="store_true")
    args = ap.parse_args()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = 0
    if args.tap:
        print(f"1..{args.runs}")
    for number in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="nof-chaos-") as folder:
            path = args.log or os.path.join(folder, "log")
            with open(path, "a" if number else "w", encoding="utf-8") as log:
                report = Runner(args, folder, log).run()
            bad = report["complaints"]
            failed += bool(bad)
            if args.tap:
                print(f"{'not ok' if bad else 'ok'} {number + 1} - seed {args.seed}, "
                      f"{args.topology}, {args.seconds:g} s: "
                      f"{(report['final'] or {}).get('completed')} requests", flush=True)
                for text in bad:
                    print("# " + text.replace("\n", "\n# "))
                if bad and not args.log:
                    with open(path, encoding="utf-8") as log:
                        print("".join("# " + line[:300].rstrip() + "\n"
                                      for line in log.readlines()[-60:]), flush=True)
            else:
                print(json.dumps(report, indent=1), flush=True)
        args.seed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
