#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the library shows of its connections is what ss, ip mptcp and the kernel's counters show of
them; options set once hold on every subflow; a subflow that comes, goes or dies is an event.
Arguments: as the other path tests."""
import json
import os
import re
import subprocess
import sys

from netrig import Net
from pathtest import DEADLINE, ENGINES, NQN, Target, case, eq, run_cases, tool, until


class Shown:
    """tests/paths/shown.c in the host's namespace. A keep alive is all that an idle one sends."""

    def __init__(self, net, keys, v6=False, prefix=()):
        host = f"[{net.addr('target', 1, True)}]" if v6 else net.addr("target", 1)
        self.events = []
        self.proc = subprocess.Popen(
            net.host([*prefix, os.environ["NOF_SHOWN"], f"nvme+tcp://{host}:4420/{NQN}?{keys}"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self):
        self.answer("ready")
        return self

    def __exit__(self, *exc):
        self.proc.stdin.close()
        if exc[0]:
            self.proc.kill()
        eq(self.proc.wait(DEADLINE) if not exc[0] else self.proc.wait() and 0, 0, "how it ended")
        self.proc.stdout.close()

    def answer(self, last):
        lines = []
        for line in self.proc.stdout:
            line = line.rstrip("\n")
            if line.startswith("event "):
                self.events.append(line[6:])
            elif line == last:
                return lines
            else:
                lines.append(line)
        raise AssertionError(f"it has ended: {lines}")

    def say(self, line, last="done"):
        self.proc.stdin.write(line + "\n")
        return self.answer(last)

    def show(self):
        """[queue, …, sum], each with its "subflows"."""
        out = []
        for line in self.say("show", "end"):
            kind, _, rest = line.partition(" ")
            values = dict(word.split("=", 1) for word in re.split(r" (?=\w+=)", rest))
            if kind == "subflow":
                out[-1]["subflows"].append(values)
            else:
                out.append({**values, "subflows": []})
        return out

    def wait_for(self, count):
        """Reads until every queue has so many subflows."""
        def there():
            self.say("read 20")
            return all(len(q["subflows"]) == count for q in self.show()[:-1])
        until(there)

    def heard(self, *words):
        def there():
            self.show()         # what waits in the pipe
            return any(all(w in e for w in words) for e in self.events)
        until(there)


def ss(net, *options):
    """{(local, peer): line} of the host's connections to the target."""
    out = subprocess.run(net.host(["ss", "-HOn", *options, "dport", "=", ":4420"]),
                         capture_output=True, check=True, text=True).stdout
    found = {}
    for line in out.splitlines():
        words = line.split()
        if words[0] == "ESTAB":
            local = re.sub(r"%\w+", "", words[3])
            found[local, words[4]] = line
    return found


def number(line, name):
    m = re.search(rf"(?<![a-z_]){name}:(?:\d+/)?(\d+)", line)
    return int(m.group(1)) if m else 0


@case(engine=ENGINES)
def shown_as_ss_shows_it(engine):
    with Net(endpoints="subflow", limits=(4, 3)) as net:
        target = Target(net)
        try:
            with Shown(net, f"mptcp=require&keep_alive_tmo=0&engine={engine}") as s:
                s.wait_for(2)
                s.say("read 50")
                before = None
                while before != (before := s.show()):       # delayed acknowledgements
                    pass
                tcp, mptcp, now = ss(net, "-ti"), ss(net, "-Mi"), s.show()
                eq(now, before, "it is idle")
                queues, total = now[:-1], now[-1]
                eq([q["qid"] for q in queues], ["0", "1"])
                shown = {(f["local"], f["peer"]): f for q in queues for f in q["subflows"]}
                eq(sorted(shown), sorted(tcp), "subflows and their addresses")
                for key, line in tcp.items():
                    eq([int(shown[key][k]) for k in ("sent", "received", "retransmits")],
                       [number(line, k) for k in ("bytes_sent", "bytes_received", "retrans")],
                       f"counters of {key}: {line}")
                    eq(number(line, "cwnd"), int(shown[key]["cwnd"]), "cwnd")
                    eq(number(line, "rto"), int(shown[key]["rto"]) // 1000, "RTO")
                # By their first subflow, which has the addresses of the connection.
                for q in queues:
                    first = q["subflows"][0]
                    line = mptcp[first["local"], first["peer"]]
                    eq(int(re.search(r"token:(\w+)", line).group(1), 16), int(q["token"], 16),
                       "token")
                    eq(number(line, "subflows"), 1, "those beside the first")
                    eq(sum(int(f["received"]) for f in q["subflows"]), int(q["received"]))
                # What the library cannot see: the kernel's own count, and its settings.
                count = net.counters("host")
                eq((count["MPCapableSYNACKRX"], count["MPJoinSynAckRx"]), (2, 2), "handshakes")
                limits = net.ip("host", "mptcp", "limits", "show").split()
                eq({q["max"] for q in queues}, {limits[limits.index("subflows") + 1]}, "limit")
                endpoints = net.ip("host", "mptcp", "endpoint", "show").split("\n")
                eq({f["local"].split(":")[0] for q in queues for f in q["subflows"][1:]},
                   {e.split()[0] for e in endpoints if e.strip()}, "endpoints in use")
                eq((total["connections"], len(total["subflows"])), ("2", 2), "the sum")
                eq(sum(int(f["received"]) for f in total["subflows"]),
                   sum(int(f["received"]) for f in shown.values()))
                eq(abs(sum(int(f["share"]) for f in total["subflows"]) - 1000) <= 1, True, "share")
        finally:
            target.end()


@case
def options_hold_on_every_subflow():
    keys = ("mptcp=require&congestion=reno&mark=5&priority=4&sndbuf=64k&rcvbuf=128k&"
            "tcp_keepalive=70&tos=40")
    with Net(paths=3, endpoints="subflow") as net:
        target = Target(net)
        try:
            net.endpoint_del("host", net.addr("host", 3))
            with Shown(net, keys) as s:
                s.wait_for(2)
                # This one comes later.
                net.endpoint_add("host", net.addr("host", 3), "subflow", dev="l3")
                s.wait_for(3)
                eq({q["note"] for q in s.show()}, {""})
                lines = ss(net, "-tiemo", "--tos")
                eq(len(lines), 6, "subflows")
                for line in lines.values():
                    eq([w for w in ("reno", "fwmark:0x5", "tos:0x28", "keepalive")
                        if w not in line], [], f"missing in: {line}")
                    # Twice what was asked for, as the kernel does it.
                    eq(re.search(r"rb(\d+),.*tb(\d+),", line).groups(), ("262144", "131072"), line)
        finally:
            target.end()


@case
def a_traffic_class_that_mptcp_lacks_is_noted():
    with Net(endpoints="subflow", v6=True) as net:
        target = Target(net)
        try:
            with Shown(net, "mptcp=require&tos=40", v6=True) as s:
                s.say("read 1")
                lines = ss(net, "-t", "--tos")
                is_set = all("tclass:0x28" in line for line in lines.values())
                for q in s.show():
                    eq(q["mptcp"], "1")
                    eq("tos is without effect" in q["note"], not is_set, q["note"])
        finally:
            target.end()


@case(how=[f"{engine} {by}" for engine in ENGINES for by in ("kernel", "keep alive")])
def events_of_subflows(how):
    """By the kernel's own events, and where they may not be heard, with keep alives."""
    with Net(endpoints="subflow") as net:
        target = Target(net)
        second = net.addr("host", 2)
        try:
            engine, by = how.split(" ", 1)
            kato, prefix = (0, ()) if by == "kernel" else \
                           (0.3, ("setpriv", "--bounding-set=-net_admin"))
            with Shown(net, f"mptcp=require&keep_alive_tmo={kato}&engine={engine}",
                       prefix=prefix) as s:
                s.wait_for(2)
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "came", "active")
                net.endpoint_del("host", second)
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "went")
                s.events.clear()
                net.endpoint_add("host", second, "subflow", "backup", dev="l2")
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "came", "backup")
                eq([f["state"] for q in s.show()[:-1] for f in q["subflows"]],
                   ["active", "backup"] * 2)
        finally:
            target.end()


@case
def events_by_the_path_manager():
    """Without keep alive nothing but that looks."""
    with Net(endpoints=None) as net:
        target = Target(net)
        second = net.addr("host", 2)
        try:
            with Shown(net, f"mptcp=require&keep_alive_tmo=0&mptcp_paths=auto") as s:
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "came")
                eq({q["note"] for q in s.show()}, {""})
                net.down(2)         # no traffic tells of it, rtnetlink does
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "went")
                s.events.clear()
                net.up(2)
                for qid in "0", "1":
                    s.heard(f"subflow {qid} ", second, "came")
        finally:
            target.end()


@case
def paths_that_may_not_be_made_are_noted():
    with Net(endpoints=None) as net:
        target = Target(net)
        try:
            with Shown(net, f"mptcp=require&mptcp_paths={net.addr('host', 2)}",
                       prefix=("setpriv", "--bounding-set=-net_admin")) as s:
                for q in s.show():
                    eq("CAP_NET_ADMIN" in q["note"], True, q["note"])
        finally:
            target.end()


@case
def a_dead_path_is_stale():
    with Net(endpoints="subflow", limits=(4, 4)) as net:
        target = Target(net)
        try:
            with Shown(net, "mptcp=require&keep_alive_tmo=0.6") as s:
                s.wait_for(2)
                net.drop(1)
                s.say("read 5")
                s.heard("subflow 1 ", net.addr("host", 1), "is stale now")
                states = {f["local"].split(":")[0]: f["state"] for f in s.show()[1]["subflows"]}
                eq(states, {net.addr("host", 1): "stale", net.addr("host", 2): "active"})
                net.undrop(1)
                s.heard("subflow 1 ", net.addr("host", 1), "is active now")
        finally:
            target.end()


@case
def perf_shows_each_path_and_the_ratio():
    with Net(rate="100mbit") as net:
        target = Target(net)
        try:
            p = subprocess.run(
                net.host([tool("nvmf-perf"), "--json", "--compare-tcp", "--runtime=1", "--bs=64k",
                          "--queues=2", "--threads=2", "--iodepth=8", "--status-interval=0.2",
                          f"nvme+tcp://{net.addr('target', 1)}:4420/{NQN}?keep_alive_tmo=0.2"]),
                stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=True)
        finally:
            target.end()
    doc, live = json.loads(p.stdout), p.stderr.decode()
    tcp, mptcp = doc["compare"]["tcp"]["transport_total"], doc["transport_total"]
    eq((tcp["is_mptcp"], tcp["connections"], tcp["mptcp_connections"]), (False, 2, 0))
    eq(tcp["reason"] != "", True, "why TCP")
    eq((mptcp["is_mptcp"], mptcp["mptcp_connections"], mptcp["reason"]), (True, 2, ""))
    pairs = [(f"10.80.{n}.1", f"10.80.{n}.2") for n in (1, 2)]
    eq([(f["local"], f["peer"]) for f in tcp["subflows"]], pairs[:1])
    eq(sorted((f["local"], f["peer"]) for f in mptcp["subflows"]), pairs)
    eq([f["state"] for f in mptcp["subflows"]], ["active"] * 2)
    for t in doc["transport"]:
        eq((t["is_mptcp"], t["subflow_count"], t["token"] > 0), (True, 2, True))
    eq(doc["compare"]["iops_mptcp_over_tcp"] > 0, True, "a ratio")
    for local, peer in pairs:
        eq(bool(re.search(rf"{local} -> {peer}  active out .* MB/s, in .* MB/s, rtt \d+ us, "
                          r"\d+ retransmits", live)), True, f"a line for {local} in: {live}")
    eq(bool(re.search(rf"queue \d: subflow {pairs[1][0]}:\d+ -> .* came", live)), True, live)


if __name__ == "__main__":
    sys.exit(run_cases())
