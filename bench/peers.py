#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares libnof with iSCSI and NBD as Debian packages them.

Random reads of 4 KiB on one connection, client on one CPU and server on another, over loopback,
all subjects in turns:

    libnof   nvmf-perf against nvmf-target, a null namespace; also with --poll=adaptive, for
             which no bar is judged: the bars are for what one gets who asks for nothing
    iscsi    iscsi-perf (libiscsi) against tgtd, a LUN of tgt's backing store type null
    libnbd   bench/nbd_client (libnbd's asynchronous calls) against nbdkit's null plugin
    fio-nbd  fio's nbd engine (libnbd below it) against the same

Every server answers from memory that it does not even look up, so that what is compared are the
protocols and their implementations. tgt's null store completes a command where it is received,
without the threads that its other stores hand it to: the fastest it has. nbdkit gets as many
threads as serve one client best: it is measured with each of --nbdkit-threads before, and the
best at depth 32 is used. On MPTCP the peers run under mptcpize, where it is installed.
"""

import argparse
import ctypes
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import benchlib
import parts
import svgplot
from benchlib import BenchError, Skip

DEPTHS = (1, 32, 128)
BS = 4096
NBD_SIZE = "64G"
IQN = "iqn.2024-01.org.example:bench"
BARS = {1: 1.0, 32: 4.0, 128: 4.0}
TITLES = {"libnof": "libnof", "adaptive": "libnof, adaptive polling",
          "iscsi": "iscsi-perf, tgt", "libnbd": "libnbd, nbdkit",
          "fio-nbd": "fio nbd, nbdkit"}
OURS = ("libnof", "adaptive")
TICK = os.sysconf("SC_CLK_TCK")


def which(name):
    """Daemons live in /usr/sbin, which is not on everybody's path."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def child(cpu):
    """For preexec_fn: one CPU, and no longer alive than this script, however that ends."""
    libc = ctypes.CDLL(None)

    def prepare():
        libc.prctl(1, signal.SIGKILL)   # PR_SET_PDEATHSIG
        os.sched_setaffinity(0, {cpu})
    return prepare


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def cpu_of(pid):
    """User and system seconds of a process, with threads that have ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICK


def mptcp_accepts():
    """How many connections this network namespace has accepted as MPTCP."""
    with open("/proc/net/netstat", encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("MPTcpExt:")]
    if len(lines) != 2:
        return 0
    found = dict(zip(*lines))
    return int(found.get("MPCapableACKRX", 0))


def version(argv, pattern):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


class Daemon:
    """A server on a port of its own, which ends with stop() or with this script."""

    def __init__(self, transport, cpu, argv, env=None, ready=None):
        if transport == "mptcp":
            argv = [which("mptcpize"), "run", *argv]
        self.argv = argv
        self.err = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=self.err, preexec_fn=child(cpu), env=env)
        try:
            self._wait(ready or self._listens)
        except BaseException:
            self.stop()
            raise

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def _wait(self, ready):
        deadline = time.monotonic() + 15
        while not ready():
            if self.proc.poll() is not None or time.monotonic() > deadline:
                self.err.seek(0)
                said = self.err.read().decode(errors="replace").strip()
                raise BenchError(f"{' '.join(self.argv)} does not serve: {said[-300:]}")
            time.sleep(0.02)

    @property
    def pid(self):
        return self.proc.pid

    def stop(self):
        # tgtd takes SIGTERM as a wish, and lives on while it has targets.
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.err.close()


class Nbdkit(Daemon):
    def __init__(self, transport, cpu, threads):
        self.port = free_port()
        super().__init__(transport, cpu,
                         [which("nbdkit"), "--foreground", "--ipaddr=127.0.0.1",
                          f"--port={self.port}", f"--threads={threads}", "null", NBD_SIZE])
        self.uri = f"nbd://127.0.0.1:{self.port}"


class Tgt(Daemon):
    """Its control socket lies in a folder of its own: another tgtd is not disturbed."""

    def __init__(self, transport, cpu):
        self.folder = tempfile.mkdtemp(prefix="bench-tgt-")
        self.control = 1 + os.getpid() % 30000
        self.env = {**os.environ, "TGT_IPC_SOCKET": os.path.join(self.folder, "socket")}
        self.port = free_port()
        try:
            super().__init__(transport, cpu,
                             [which("tgtd"), "-f", "-C", str(self.control),
                              "--iscsi", f"portal=127.0.0.1:{self.port}"], self.env, self._answers)
            for words in (["target", "--op=new", "--targetname=" + IQN],
                          ["logicalunit", "--op=new", "--lun=1", "--bstype=null",
                           "--backing-store=/dev/null"],
                          ["target", "--op=bind", "--initiator-address=127.0.0.1"]):
                done = self._admin("--mode=" + words[0], "--tid=1", *words[1:])
                if done.returncode:
                    raise BenchError(f"tgtadm {' '.join(words)}: {done.stderr.strip()}")
        except BaseException:
            self.stop()
            raise
        self.uri = f"iscsi://127.0.0.1:{self.port}/{IQN}/1"

    def _admin(self, *options):
        return subprocess.run([which("tgtadm"), f"-C{self.control}", "--lld=iscsi", *options],
                              env=self.env, capture_output=True, text=True, timeout=15,
                              check=False)

    def _answers(self):
        return not self._admin("--op=show", "--mode=sys").returncode

    def stop(self):
        if hasattr(self, "proc") and not self.err.closed:
            super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Ours(benchlib.Server):
    def __init__(self, args, transport, cpu):
        argv = [benchlib.program(args.build, "target", "nvmf-target"), "--listen=127.0.0.1:0",
                "--mptcp=" + ("prefer" if transport == "mptcp" else "off"),
                "--nqn=" + benchlib.NQN, f"--ns=null:{NBD_SIZE},bs={BS}"]
        if which("setpriv"):    # as child() for the others; it execs, so the PID stays
            argv = [which("setpriv"), "--pdeathsig=KILL", *argv]
        super().__init__(argv, cpu)
        self.pid = self.proc.pid


def run_libnof(args, transport, server, qd, poll="sleep"):
    uri = benchlib.uri(server.port, nr_io_queues=1, queue_size=max(2 * qd, 32),
                       mptcp="require" if transport == "mptcp" else "off")
    argv = benchlib.perf_argv(args.build, "--rw=randread", f"--bs={BS}", f"--iodepth={qd}",
                              "--queues=1", "--threads=1", f"--runtime={args.runtime}",
                              f"--poll={poll}", uri)
    doc, _ = benchlib.run_json(argv, args.runtime + 30, args.client_cpu)
    read = doc["jobs"][0]["read"]
    if doc["transport"][0]["protocol"] != transport or doc["jobs"][0]["iodepth"] != qd:
        raise BenchError("nvmf-perf used another transport or depth than it was told")
    return argv, {"ios": read["total_ios"], "iops": read["iops"],
                  "cpu_s": doc["cpu"]["user_s"] + doc["cpu"]["sys_s"],
                  "p50_us": read["clat_ns"]["percentile"]["50.000000"] / 1e3,
                  "p99_us": read["clat_ns"]["percentile"]["99.000000"] / 1e3}


def run_adaptive(args, transport, server, qd):
    return run_libnof(args, transport, server, qd, "adaptive")


def under(transport, argv):
    return [which("mptcpize"), "run", *argv] if transport == "mptcp" else argv


def run_iscsi(args, transport, server, qd):
    """It counts whole seconds, and knows no latencies."""
    seconds = max(1, math.ceil(args.runtime))
    argv = under(transport, [which("iscsi-perf"), "-m", str(qd), "-b", str(BS // 512), "-r",
                             "-t", str(seconds), server.uri])
    res = benchlib.Result(argv, seconds + 30, args.client_cpu)
    found = re.findall(r"iops average (\d+)", res.out + res.err)
    if res.status or not found:
        raise BenchError(f"{' '.join(argv)} failed: {(res.err or res.out).strip()[-300:]}")
    iops = float(found[-1])
    return argv, {"ios": iops * seconds, "iops": iops, "cpu_s": res.cpu_s}


def run_libnbd(args, transport, server, qd):
    argv = under(transport, [benchlib.program(args.build, "bench", "nbd_client"), f"--bs={BS}",
                             f"--qd={qd}", f"--runtime={args.runtime}", server.uri])
    doc, _ = benchlib.run_json(argv, args.runtime + 30, args.client_cpu)
    return argv, {"ios": doc["ios"], "iops": doc["iops"], "cpu_s": doc["user_s"] + doc["sys_s"],
                  "p50_us": doc["lat_ns"]["50.000000"] / 1e3,
                  "p99_us": doc["lat_ns"]["99.000000"] / 1e3}


def run_fio(args, transport, server, qd):
    argv = under(transport, [
        which("fio"), "--output-format=json", "--name=peers", "--ioengine=nbd",
        "--uri=" + server.uri, "--rw=randread", f"--bs={BS}", f"--iodepth={qd}", "--thread",
        "--norandommap", "--time_based", f"--runtime={max(1, round(args.runtime * 1000))}ms",
        "--lat_percentiles=0", "--disable_lat=1", "--disable_slat=1"])
    res = benchlib.Result(argv, args.runtime + 30, args.client_cpu)
    try:
        doc = json.loads(res.out[res.out.index("{"):])  # it says hello before it
        job = doc["jobs"][0]
        read = job["read"]
        if res.status or job["error"] or not read["total_ios"]:
            raise ValueError
    except (ValueError, KeyError, IndexError):
        raise BenchError(f"{' '.join(argv)} failed: {(res.err or res.out).strip()[-300:]}") \
            from None
    return argv, {"ios": read["total_ios"], "iops": read["iops"],
                  "cpu_s": (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1e3,
                  "p50_us": read["clat_ns"]["percentile"]["50.000000"] / 1e3,
                  "p99_us": read["clat_ns"]["percentile"]["99.000000"] / 1e3}


RUNNERS = {"libnof": run_libnof, "adaptive": run_adaptive, "iscsi": run_iscsi, "libnbd": run_libnbd,
           "fio-nbd": run_fio}


def find_peers(args):
    """(peers that can be measured, {peer: why not})."""
    needs = {"iscsi": (["tgtd", "tgtadm", "iscsi-perf"], "tgt libiscsi-bin"),
             "libnbd": (["nbdkit"], "nbdkit libnbd-dev"),
             "fio-nbd": (["nbdkit", "fio"], "nbdkit fio")}
    found, missing = [], {}
    for peer in args.peers:
        programs, packages = needs[peer]
        lacks = [name for name in programs if not which(name)]
        if peer == "libnbd" and not os.path.exists(os.path.join(args.build, "bench",
                                                                "nbd_client")):
            lacks.append("bench/nbd_client")
        if lacks:
            missing[peer] = f"{', '.join(lacks)} missing (Debian: {packages}; then build again)"
        else:
            found.append(peer)
    return found, missing


def versions(peers):
    out = {}
    if "iscsi" in peers:
        out["tgt"] = version([which("tgtd"), "-V"], r"(\d[\w.:+~-]*)")
        out["libiscsi"] = version(["dpkg-query", "-W", "-f=${Version}", "libiscsi7"],
                                  r"(\d[\w.:+~-]*)")
    if "libnbd" in peers or "fio-nbd" in peers:
        out["nbdkit"] = version([which("nbdkit"), "--version"], r"nbdkit (\S+)")
        out["libnbd"] = version(["dpkg-query", "-W", "-f=${Version}", "libnbd0"],
                                r"(\d[\w.:+~-]*)")
    if "fio-nbd" in peers:
        out["fio"] = version([which("fio"), "--version"], r"fio-(\S+)")
    return out


def best_threads(args, peers):
    """Which number of nbdkit's threads serves one connection best, by the faster client."""
    if args.quick or len(args.nbdkit_threads) == 1:
        return args.nbdkit_threads[0], {}
    run = run_libnbd if "libnbd" in peers else run_fio
    iops = {}
    for threads in args.nbdkit_threads:
        server = Nbdkit("tcp", args.server_cpu, threads)
        try:
            iops[threads] = max(run(args, "tcp", server, 32)[1]["iops"] for _ in range(2))
        finally:
            server.stop()
    return max(iops, key=iops.get), iops


def start(args, subject, transport, servers):
    """Both NBD clients share a server; all servers sleep while they are not asked."""
    kind = {"libnof": "nof", "adaptive": "nof", "iscsi": "tgt"}.get(subject, "nbdkit")
    if (kind, transport) not in servers:
        servers[kind, transport] = (
            Ours(args, transport, args.server_cpu) if kind == "nof" else
            Tgt(transport, args.server_cpu) if kind == "tgt" else
            Nbdkit(transport, args.server_cpu, args.threads))
    return servers[kind, transport]


def run_one(args, subject, transport, server, qd):
    before, accepted = cpu_of(server.pid), mptcp_accepts()
    argv, run = RUNNERS[subject](args, transport, server, qd)
    # The connection is closed and done with, so that nothing of it is charged to the next.
    run["server_us"] = (cpu_of(server.pid) - before) / run["ios"] * 1e6
    run["client_us"] = run["cpu_s"] / run["ios"] * 1e6
    run["mean_us"] = qd / run["iops"] * 1e6
    if transport == "mptcp" and mptcp_accepts() == accepted:
        raise BenchError(f"{' '.join(argv)} fell back to TCP")
    return argv, run


def measure(args, subjects):
    runs, commands, servers = {}, {}, {}
    try:
        for qd in args.depths:
            for rnd, (subject, transport) in parts.rotate(subjects, args.rounds):
                parts.progress(f"QD{qd} round {rnd + 1}/{args.rounds} {subject} {transport}")
                server = start(args, subject, transport, servers)
                try:
                    argv, run = run_one(args, subject, transport, server, qd)
                except (BenchError, OSError) as err:
                    status = server.proc.poll()
                    raise BenchError(str(err) + ("" if status is None else
                                                 f"; its server ended with status {status}")
                                     ) from None
                runs.setdefault((subject, transport, qd), []).append(run)
                commands[f"{subject} {transport} QD{qd}"] = " ".join(argv)
                commands[f"server of {subject} {transport}"] = " ".join(server.argv)
    finally:
        for server in servers.values():
            server.stop()
    return runs, commands


METRICS = [("iops", "IOPS", "k/s", 1e-3, True),
           ("p50_us", "p50", "us", 1, False), ("p99_us", "p99", "us", 1, False),
           ("client_us", "client CPU per I/O", "us", 1, False),
           ("server_us", "server CPU per I/O", "us", 1, False)]


def rows_of(runs, args, peers):
    """libnof on TCP and MPTCP against each peer on TCP: what its users have."""
    rows = []
    for transport, qd, (key, metric, unit, scale, higher), us, peer in itertools.product(
            args.transports, args.depths, METRICS, OURS, peers):
        ours, theirs = runs[us, transport, qd], runs[peer, "tcp", qd]
        if key not in theirs[0] or (us == "adaptive" and key != "iops"):
            continue
        row = parts.row(transport, f"4k-qd{qd}", metric, unit,
                        [run[key] * scale for run in ours], [run[key] * scale for run in theirs],
                        bar=BARS.get(qd) if key == "iops" else None, higher=higher,
                        versus=TITLES[peer], versus_key=peer, engine=us)
        row["judged"] = row["judged"] and us == "libnof"
        rows.append(row)
    return rows


def markdown(doc, out):
    print("## Next to iSCSI and NBD\n", file=out)
    said = ", ".join(f"{name} {number}" for name, number in doc["versions"].items())
    print("Random reads of 4 KiB over one connection on loopback, client on one CPU, server on "
          f"the other;\n{doc['rounds']} rounds in which all subjects take turns, "
          f"{doc['runtime_s']:g} s each ({said}).\nEvery server answers from nothing: a null "
          "namespace, tgt's null backing store, nbdkit's null plugin.\n`ratio` is libnof's IOPS "
          "over the peer's on TCP (median within rounds; the bar is 4.0, at depth 1\n1.0); "
          "iscsi-perf tells no percentiles. The peers on MPTCP run under `mptcpize`. "
          "`bench/peers.py`.\n", file=out)
    ratios = {(row["transport"], row["workload"], row["versus_key"]): row for row in doc["rows"]
              if row["metric"] == "IOPS" and row["engine"] == "libnof"}
    lines = []
    for entry in doc["summary"]:
        cells = [f"QD{entry['qd']}", TITLES[entry["subject"]], entry["transport"].upper()]
        cells.append(f"{entry['iops'] / 1e3:.1f}")
        if entry["subject"] not in OURS and entry["transport"] == "tcp":
            for transport in ("tcp", "mptcp"):
                row = ratios.get((transport, f"4k-qd{entry['qd']}", entry["subject"]))
                cells.append(f"{row['ratio']:.2f}" if row else "–")
        else:
            cells += ["–", "–"]
        cells += ["–" if entry.get(key) is None else f"{entry[key]:.1f}"
                  for key in ("p50_us", "p99_us")]
        cells += [f"{entry[key]:.2f}" for key in ("client_us", "server_us")]
        lines.append(cells)
    benchlib.table(["depth", "client, server", "", "k IOPS", "libnof TCP over it",
                    "libnof MPTCP over it", "p50 µs", "p99 µs", "client µs CPU per I/O",
                    "server µs CPU per I/O"], lines, out, markdown=True)
    print("\n![IOPS](performance-peers.svg)", file=out)
    for peer, reason in doc["left_out"].items():
        print(f"\nLeft out: {TITLES.get(peer, peer)}: {reason}.", file=out)
    print(file=out)


def plots(doc, folder):
    groups = {}
    for entry in doc["summary"]:
        value = entry["iops"] / 1e3
        groups.setdefault(f"depth {entry['qd']}", []).append(svgplot.Bar(
            f"{TITLES[entry['subject']]}, {entry['transport'].upper()}", value, value, value))
    svgplot.bars(os.path.join(folder, "performance-peers.svg"),
                 "Random reads of 4 KiB over one connection", "k IOPS (medians)",
                 [svgplot.Group(name, found) for name, found in groups.items()])


def summary(runs):
    """Medians of every subject, for the document."""
    out = []
    for (subject, transport, qd), values in sorted(
            runs.items(), key=lambda item: (item[0][2], list(RUNNERS).index(item[0][0]),
                                            item[0][1] != "tcp")):
        entry = {"qd": qd, "subject": subject, "transport": transport}
        for key in ("iops", "p50_us", "p99_us", "mean_us", "client_us", "server_us"):
            entry[key] = parts.spread([v[key] for v in values])[0] if key in values[0] else None
        out.append(entry)
    return out


def parse():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parts.add_options(ap, rounds=5, runtime=1.0)
    ap.add_argument("--transports", default="tcp,mptcp", help="of libnof")
    ap.add_argument("--depths", default=",".join(map(str, DEPTHS)))
    ap.add_argument("--peers", default="iscsi,libnbd,fio-nbd")
    ap.add_argument("--nbdkit-threads", default="1,2,16",
                    help="nbdkit's threads to choose from (1,2,16; 16 is its default)")
    ap.add_argument("--no-mptcp-peers", action="store_true", help="the peers on TCP only")
    args = parts.parse(ap)
    args.transports = args.transports.split(",")
    args.depths = [int(depth) for depth in args.depths.split(",")]
    args.peers = args.peers.split(",")
    args.nbdkit_threads = [int(n) for n in args.nbdkit_threads.split(",")]
    for peer in args.peers:
        if peer not in RUNNERS or peer in OURS:
            ap.error(f"there is no peer '{peer}': iscsi, libnbd, fio-nbd")
    return args


def main():
    args = parse()
    args.client_cpu, args.server_cpu = benchlib.two_cpus()
    peers, left_out = find_peers(args)
    if not peers:
        raise Skip("; ".join(left_out.values()))
    if not which("mptcpize") and not args.no_mptcp_peers:
        left_out["peers on MPTCP"] = "mptcpize missing (Debian: mptcpize)"
        args.no_mptcp_peers = True
    args.threads, tried = best_threads(args, peers) if set(peers) - {"iscsi"} else (None, {})
    subjects = [(us, transport) for transport in args.transports for us in OURS]
    subjects += [(peer, "tcp") for peer in peers]
    if "mptcp" in args.transports and not args.no_mptcp_peers:
        subjects += [(peer, "mptcp") for peer in peers]
    runs, commands = measure(args, subjects)
    for peer, reason in left_out.items():
        print(f"peers.py: without {TITLES.get(peer, peer)}: {reason}", file=sys.stderr)
    raw = [{"subject": subject, "transport": transport, "qd": qd, "runs": values}
           for (subject, transport, qd), values in runs.items()]
    return parts.finish(args, "peers", rows_of(runs, args, peers), raw, summary=summary(runs),
                        versions=versions(peers), commands=commands, left_out=left_out,
                        nbdkit_threads=args.threads, nbdkit_threads_tried=tried)


if __name__ == "__main__":
    benchlib.main(main)
