# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the measurements over several links share: the rig, a target in it, a run, its numbers.

A case is one way to do the same work (TCP, MPTCP, …). Cases take turns within a round, in an order
that rotates, so that whatever else the machine does hits all alike. A ratio is the median of the
ratios within a round.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import benchlib
from benchlib import BenchError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "paths"))
import netrig  # noqa: E402

PORT = 4420
CONGESTION = "cubic"        # Linux's default
TICK = os.sysconf("SC_CLK_TCK")


class Rig(netrig.Net):
    """The namespaces of tests/paths, without a congestion control of their own: in a namespace the
    default can only be what the machine's administrator allows there, and a subflow that joins
    takes that of its connection, not of its route. So both programs are told."""

    def __init__(self, *args, **kw):
        super().__init__(*args, congestion=None, **kw)

    def everywhere(self, *settings):
        for side in netrig.SIDES if settings else ():
            self.sysctl(side, *settings)


def controls(*wanted):
    """Those of the congestion controls that this kernel has."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        have = file.read().split()
    return [name for name in wanted if name in have]


class Target:
    """nvmf-target in the rig; the CPU it used and the commands it executed can be asked for."""

    def __init__(self, net, build, *options, listen=(f"0.0.0.0:{PORT}",),
                 congestion=CONGESTION):
        self.folder = tempfile.TemporaryDirectory(prefix="nof-bench-")
        self.path = os.path.join(self.folder.name, "control")
        ready, write = os.pipe()
        self.proc = subprocess.Popen(
            net.target([benchlib.program(build, "target", "nvmf-target"),
                        *[f"--listen={address}" for address in listen], f"--nqn={benchlib.NQN}",
                        f"--control={self.path}", f"--ready-fd={write}",
                        f"--congestion={congestion}", *options]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[write])
        os.close(write)
        with os.fdopen(ready, "rb") as file:
            if not file.read(1):
                self.stop()
                raise BenchError("nvmf-target did not start")

    def cpu(self):
        with open(f"/proc/{self.proc.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def executed(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(self.path)
            sock.sendall(b"stats\n")
            stats = json.loads(sock.makefile().readline())
        return stats["reads"] + stats["writes"]

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def uri(net, link=1, port=PORT, **keys):
    keys.setdefault("congestion", CONGESTION)
    query = "&".join(f"{key}={value}" for key, value in keys.items() if value is not None)
    return f"nvme+tcp://{net.addr('target', link)}:{port}/{benchlib.NQN}?{query}"


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {seconds} s: {what}")
        time.sleep(0.002)


def pause(seconds):
    """A time that is part of what is measured, not a wait for something."""
    time.sleep(seconds)


def perf(net, build, target, options, uris, during=None, timeout=120, may_fail=False):
    """One run of nvmf-perf in the rig. during(process) is called while it runs."""
    argv = net.host(benchlib.perf_argv(build, *options, *uris))
    before = target.cpu()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            if during:
                during(proc)
            # Not Popen.wait(): the CPU of this child alone is wanted.
            deadline = time.monotonic() + timeout
            pid, status, usage = os.wait4(proc.pid, os.WNOHANG)
            while not pid:
                if time.monotonic() > deadline:
                    raise BenchError(f"no end within {timeout} s: {' '.join(argv)}")
                time.sleep(0.01)
                pid, status, usage = os.wait4(proc.pid, os.WNOHANG)
            proc.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if proc.returncode is None:
                proc.kill()
                proc.wait()
        out.seek(0)
        err.seek(0)
        text, said = out.read(), err.read().decode(errors="replace").strip()
    if proc.returncode and not (may_fail and proc.returncode == 1):
        raise BenchError(f"{' '.join(argv)} ended with status {proc.returncode}: {said}")
    return numbers(json.loads(text), usage.ru_utime + usage.ru_stime, target.cpu() - before)


def numbers(doc, host_cpu, target_cpu):
    """Of a document of nvmf-perf, what the tables need."""
    if not doc["jobs"]:
        raise BenchError(f"nvmf-perf: {doc['errors']['first']}")
    job = doc["jobs"][0]
    both = [job["read"], job["write"]]
    queues = doc["transport"]
    run = {
        "iops": sum(d["iops"] for d in both),
        "mbit_s": sum(d["bw_bytes"] for d in both) * 8 / 1e6,
        "p50_ms": max(d["clat_ns"]["percentile"].get("50.000000", 0) for d in both) / 1e6,
        "p99_ms": max(d["clat_ns"]["percentile"].get("99.000000", 0) for d in both) / 1e6,
        "worst_ms": max(d["clat_ns"]["max"] for d in both) / 1e6,
        "stall_ms": job["stall_ns"] / 1e6,
        "stall_at": job.get("stall_at", 0),
        "host_cpu_s": host_cpu,
        "target_cpu_s": target_cpu,
        "gib": sum(d["io_bytes"] for d in both) / (1 << 30),
        "errors": doc["errors"]["io"] + doc["errors"]["verify"] + doc["errors"]["other"],
        "first_error": doc["errors"]["first"],
        "resets": sum(path["resets"] for path in job["paths"]),
        "checked": doc.get("verify", {}).get("checked_bytes", 0),
        "protocols": sorted({queue["protocol"] for queue in queues}),
        "subflows": [queue["subflow_count"] for queue in queues],
    }
    if doc["submitted"] != doc["completed"]:
        raise BenchError(f"{doc['submitted']} I/Os were submitted, {doc['completed']} completed")
    if "timeline" in job:
        run["timeline"] = job["timeline"]
    return run


def require(run, protocol, subflows=None):
    """The numbers must not be filed under the wrong name."""
    if run["protocols"] != [protocol]:
        raise BenchError(f"nvmf-perf used {run['protocols']}, not {protocol}")
    if subflows and min(run["subflows"]) < subflows:
        raise BenchError(f"queues with {run['subflows']} subflows, not {subflows} each: they were "
                         "not made in time")


def few(args):
    """Rounds of what is slow, or has many cases."""
    return min(args.rounds, 3)


def in_turns(rounds, cases, progress, what):
    """{name: [run, …]} of cases {name: function(round)}."""
    runs = {name: [] for name in cases}
    names = list(cases)
    for rnd in range(rounds):
        for name in names[rnd % max(len(names), 1):] + names[:rnd % max(len(names), 1)]:
            progress(f"{what} round {rnd + 1}/{rounds} {name}")
            runs[name].append(cases[name](rnd))
    return runs


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def spread(runs, key):
    values = [run[key] for run in runs]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summary(runs, keys):
    """What the results keep of a case: medians and spread, and every run without its timeline."""
    doc = {key: spread(runs, key) for key in (*keys, "host_cpu_s", "target_cpu_s")}
    doc["errors"] = sum(run["errors"] for run in runs)
    doc["resets"] = sum(run["resets"] for run in runs)
    doc["runs"] = [{key: value for key, value in run.items() if key != "timeline"} for run in runs]
    return doc


def ratio(ours, base, key):
    values = [a[key] / b[key] if b[key] else 0 for a, b in zip(ours, base)]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def bar(value, limit, higher=True):
    """A check: "≥ limit", or "≤ limit"."""
    return {"value": value, "limit": limit, "higher_is_better": higher,
            "met": value >= limit if higher else value <= limit}
