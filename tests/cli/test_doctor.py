#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-info --doctor and --paths in networks of their own: something is broken, the doctor finds
it, and the commands that it prints repair it. Usage: test_doctor.py PATH/nvmf-target TOOLS_FOLDER.
Output is TAP; SKIP without privilege."""
import json
import os
import subprocess
import sys
import time

from clitest import DEADLINE, NQN, eq, main, test, tool, until, wants

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "paths"))
from netrig import Net, unable  # noqa: E402

TARGET = sys.argv[1]
INFO = "nvmf-info"
# With these there is nothing left that the doctor would improve.
GOOD = ("net.mptcp.stale_loss_cnt=1", "net.ipv4.tcp_rto_min_us=20000")


class Target:
    """nvmf-target on all addresses of the target's namespace."""

    def __init__(self, net, *args):
        self.net, self.args = net, args

    def __enter__(self):
        ready, write = os.pipe()
        self.proc = subprocess.Popen(
            self.net.target([TARGET, "--listen=0.0.0.0:4420", "--listen=[::]:4421",
                             "--ns=mem:4M", "--ana=off", f"--ready-fd={write}", *self.args]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[write])
        os.close(write)
        eq(bool(os.read(ready, 16)), True, "the target started")
        os.close(ready)
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait(DEADLINE)


def uri(net, keys=""):
    addr = net.addr("target", 1)
    where = f"[{addr}]:4421" if ":" in addr else f"{addr}:4420"
    return f"nvme+tcp://{where}/{NQN}" + (f"?{keys}" if keys else "")


def run(net, *args, rc=0):
    p = subprocess.run(net.host([tool(INFO), *args]), stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=DEADLINE, check=False)
    eq(p.returncode, rc, f"{args}: {p.stdout}{p.stderr}")
    eq(p.stderr.count("\n"), 1 if rc else 0, f"{args}: {p.stderr}")
    return p


def doctor(net, where=None, rc=0):
    return json.loads(run(net, "--json", "--doctor", where or uri(net), rc=rc).stdout)


def ids(report):
    return [f["id"] for f in report["findings"]]


def obey(net, finding, **words):
    """Runs the printed commands where they are to be run; those with capitals, if words has them."""
    path = os.path.dirname(tool(INFO)) + ":" + os.environ["PATH"]
    outputs = []
    for c in finding["commands"]:
        command = c["command"]
        for word, value in words.items():
            command = command.replace(word, value)
        if c["is_pattern"] and command == c["command"]:
            continue
        p = subprocess.run(net.inside(c["where"], ["sh", "-c", command]), capture_output=True,
                           text=True, stdin=subprocess.DEVNULL, timeout=DEADLINE, check=False,
                           env={**os.environ, "PATH": path})
        eq(p.returncode, 0, f"{command}: {p.stderr}")
        outputs.append(p.stdout)
    return outputs


def finds(net, what, where=None, rc=0, level="problem"):
    report = doctor(net, where, rc)
    found = [f for f in report["findings"] if f["id"] == what]
    eq(len(found), 1, f"findings {what} in {json.dumps(report, indent=1)}")
    eq(found[0]["level"], level)
    return found[0]


def is_healed(net, where=None):
    """Soon: a link that was just switched on has its carrier a moment later."""
    deadline = time.monotonic() + 5
    while (report := doctor(net, where))["findings"] and time.monotonic() < deadline:
        pass
    eq(report["findings"], [], f"after the commands: {json.dumps(report, indent=1)}")
    eq((report["error"], report["transport"]["is_mptcp"]), (None, True))
    return report


def heals(net, what, level="problem", **words):
    obey(net, finds(net, what, level=level), **words)
    return is_healed(net)


class Healthy(Net):
    """Two paths, and nothing to complain about."""

    def __init__(self, **kw):
        super().__init__(**{"paths": 2, "endpoints": "subflow", **kw})

    def __enter__(self):
        super().__enter__()
        try:
            self.sysctl("host", *GOOD, "net.ipv4.tcp_rmem=4096 131072 67108864",
                        "net.ipv4.tcp_wmem=4096 16384 67108864")
        except BaseException:
            self.__exit__()
            raise
        return self


@test
def nothing_alarming_when_all_is_well():
    for kw in ({}, {"endpoints": "signal"}, {"v6": True}, {"endpoints": "fullmesh"}):
        with Healthy(**kw) as net, Target(net):
            report = is_healed(net)
            eq(len(report["transport"]["subflows"]) > 1, True, f"{kw}: {report['transport']}")
            eq(report["host"]["links"], 2)
            text = run(net, "--doctor", uri(net)).stdout
            wants(text, "MPTCP is enabled; 2 links", "MPTCP is in use, over ", "Nothing to change.")


@test
def what_keeps_a_second_path_away():
    with Healthy() as net, Target(net):
        is_healed(net)
        net.limits("host", 0, 0)
        heals(net, "limits")
        net.limits("target", 0, 0)
        heals(net, "join-failed")
        net.sysctl("target", "net.mptcp.allow_join_initial_addr_port=0")
        heals(net, "join-failed")
        net.sysctl("host", "net.mptcp.pm_type=1")
        heals(net, "userspace-pm")
        net.endpoint_del("host", net.addr("host", 2))
        heals(net, "no-endpoint")
        # Only announced: nothing starts there.
        net.endpoint_del("host", net.addr("host", 2))
        net.endpoint_add("host", net.addr("host", 2), "signal", dev="l2")
        heals(net, "no-endpoint")
        net.down(2)
        heals(net, "link-down")


@test
def a_second_path_of_ipv6():
    with Healthy(v6=True, endpoints=None) as net, Target(net):
        eq(len(heals(net, "no-endpoint")["transport"]["subflows"]), 2)


@test
def more_links_than_are_allowed():
    with Healthy(paths=4, limits=(2, 0)) as net, Target(net):
        net.limits("target", 8, 0)
        heals(net, "limits", level="advice")


@test
def a_cable_that_is_out():
    with Healthy() as net, Target(net):
        net.down(2, side="target")
        until(lambda: "link-down" in ids(doctor(net)))
        finding = finds(net, "link-down")
        eq(finding["commands"], [], "no command plugs it in")
        wants(finding["what"], "no carrier", "l2")
        net.up(2, side="target")
        is_healed(net)


@test
def networks_that_are_really_apart():
    """Each link is one: the target's first address is not to be had by the second."""
    with Healthy(limits=None) as net, Target(net):
        for n in (1, 2):
            net.ip("host", "rule", "del", "from", net.addr("host", n))
        net.sysctl("target", "net.ipv4.conf.all.arp_ignore=1")
        report = heals(net, "join-failed", ADDRESS="10.80.2.2", DEVICE="l2")
        eq([s["peer"] for s in report["transport"]["subflows"] if s["is_established"]],
           ["10.80.1.2:4420", "10.80.2.2:4420"])


@test
def routes_that_do_not_fit():
    with Healthy() as net, Target(net):
        # What most machines have: no policy routing.
        net.ip("host", "rule", "del", "from", net.addr("host", 1))
        net.ip("host", "rule", "del", "from", net.addr("host", 2))
        is_healed(net)
        net.endpoint_del("host", net.addr("host", 2))
        net.endpoint_add("host", net.addr("host", 2), "subflow")
        heals(net, "wrong-device")
        net.sysctl("host", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.l2.rp_filter=1")
        heals(net, "rp-filter")
        net.ip("host", "route", "replace", "10.80.1.0/24", "dev", "l1", "src", "10.80.1.1",
               "rto_min", "300ms")
        heals(net, "rto-floor", level="advice")


@test
def a_host_with_one_link():
    with Healthy(paths=1, limits=None) as net, Target(net):
        net.ip("target", "addr", "add", "10.80.1.3/24", "dev", "l1")
        report = heals(net, "one-link", level="note", ADDRESS="10.80.1.3", DEVICE="l1")
        eq(len(report["transport"]["subflows"]), 2)


@test
def what_slows_a_hand_over_or_costs_bandwidth():
    with Healthy() as net, Target(net):
        for what, level, settings in (
                ("stale-loss", "advice", ["net.mptcp.stale_loss_cnt=4"]),
                ("rto-floor", "advice", ["net.ipv4.tcp_rto_min_us=200000"]),
                ("receive-buffer", "advice", ["net.ipv4.tcp_rmem=4096 65536 65536"]),
                ("send-buffer", "advice", ["net.ipv4.tcp_wmem=4096 16384 65536"]),
                ("checksum", "advice", ["net.mptcp.checksum_enabled=1"]),
                ("close-timeout", "note", ["net.mptcp.close_timeout=300"]),
                ("add-addr-timeout", "note", ["net.mptcp.add_addr_timeout=600"]),
                ("blackhole-timeout", "note", ["net.mptcp.blackhole_timeout=7200"])):
            net.sysctl("host", *settings)
            heals(net, what, level=level)


@test
def several_at_once_the_most_important_first():
    with Net(paths=2, endpoints=None, limits=None) as net, Target(net):
        net.limits("host", 0, 0)
        net.sysctl("host", "net.mptcp.close_timeout=300", "net.mptcp.checksum_enabled=1")
        report = doctor(net)
        eq(ids(report), ["no-endpoint", "limits", "stale-loss", "rto-floor", "checksum",
                         "close-timeout"])
        eq(all(f["cost"] for f in report["findings"] if f["level"] == "advice"), True)
        # People get the same: every command in a line of its own.
        lines = [line.strip() for line in run(net, "--doctor", uri(net)).stdout.splitlines()]
        for finding in report["findings"]:
            for c in finding["commands"]:
                eq(c["command"] in lines, True, f"{c} in {lines}")
        for finding in report["findings"]:
            obey(net, finding)
        is_healed(net)


@test
def why_it_is_tcp():
    with Healthy() as net, Target(net):
        net.sysctl("host", "net.mptcp.enabled=0")
        heals(net, "mptcp-disabled")
        off = uri(net, "mptcp=off&keep_alive_tmo=5")
        out, = obey(net, finds(net, "uri-off", off))
        wants(out, "MPTCP is in use, over 2 paths.")
        small = uri(net, "rcvbuf=64k&keep_alive_tmo=5&sndbuf=64k")
        out, = obey(net, finds(net, "fixed-buffers", small, level="advice"))
        wants(out, "Nothing to change.")
        net.sysctl("host", "net.mptcp.enabled=0")
        report = doctor(net, uri(net, "mptcp=require"), rc=1)
        eq(ids(report), ["mptcp-disabled"])
    with Healthy() as net:
        net.sysctl("target", "net.mptcp.enabled=0")
        with Target(net):
            finding = finds(net, "target-tcp")
            eq(ids(doctor(net, uri(net, "mptcp=require"), rc=1)), ["target-tcp"])
            obey(net, finding)
        with Target(net):
            is_healed(net)
        with Target(net, "--mptcp=off"):
            wants(finds(net, "target-tcp")["what"], "look at the target")


@test
def mptcp_that_is_swallowed_on_the_way():
    swallow = ("table inet m {\n chain c {\n  type filter hook input priority 0\n"
               "  tcp flags & (syn|ack) == syn tcp option mptcp exists counter drop\n }\n}\n")
    with Healthy() as net, Target(net):
        net.nft("target", swallow)
        wants(finds(net, "target-tcp")["what"], "SYNs with MPTCP got no answer")
        if "net.mptcp.syn_retrans_before_tcp_fallback" in os.popen("sysctl -aN 2>/dev/null").read():
            # Another program, which waits for the kernel to notice: that is the end of MPTCP for
            # all, for an hour, though the way is free now.
            net.sysctl("host", "net.mptcp.syn_retrans_before_tcp_fallback=1")
            subprocess.run(net.host([sys.executable, "-c",
                                     "import socket; s = socket.socket(proto=262);"
                                     "s.connect(('10.80.1.2', 4420))"]), check=True)
            net.nft("target", "delete table inet m\n")
            heals(net, "blackhole")


@test
def paths_without_the_permission():
    with Healthy(endpoints=None) as net, Target(net):
        p = subprocess.run(net.host(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin",
                                     tool(INFO), "--json", "--doctor",
                                     uri(net, "mptcp_paths=auto")]),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        eq(ids(json.loads(p.stdout)), ["no-permission", "no-endpoint"])
        is_healed(net, uri(net, "mptcp_paths=auto"))


@test
def no_target():
    with Healthy() as net:
        report = doctor(net, rc=1)
        wants(report["error"], "refused")
        eq((report["findings"], "transport" in report), ([], False))
        wants(run(net, "--doctor", uri(net), rc=1).stdout, "There is no connection", "route ")
        far = f"nvme+tcp://10.99.0.1/{NQN}"
        eq(ids(doctor(net, far, rc=1)), ["no-route"])
        with Target(net):
            net.down(1)
            net.down(2)
            where = uri(net, "connect_timeout=1")
            finding = [f for f in doctor(net, where, rc=1)["findings"] if f["id"] == "link-down"]
            eq(len(finding), 2)
            for f in finding:
                obey(net, f)
            is_healed(net)
        for args in ([], ["nonsense"], [uri(net), uri(net)], ["nvme+tcp://"],
                     [uri(net, "nonsense=1")], ["--paths", uri(net)]):
            p = run(net, "--doctor", *args, rc=2)
            eq(p.stdout, "")


@test
def the_paths_of_each_queue():
    with Healthy() as net, Target(net):
        r = json.loads(run(net, "--json", "--paths", uri(net)).stdout)
        eq([(q["qid"], q["is_mptcp"], q["subflow_count"]) for q in r["queues"]],
           [(0, True, 2), (1, True, 2)])
        for q in r["queues"]:
            eq([s["state"] for s in q["subflows"]], ["active", "active"])
            eq(sorted(s["local"].split(":")[0] for s in q["subflows"]), ["10.80.1.1", "10.80.2.1"])
            eq(0.99 < sum(s["share"] for s in q["subflows"]) <= 1, True, str(q))
            eq(all(s["cwnd"] and s["rto_us"] and s["rtt_us"] for s in q["subflows"]), True, str(q))
            eq(q["bytes_sent"] > 0 and q["bytes_received"] > 0, True)
        eq((r["total"]["connections"], r["total"]["mptcp_connections"]), (2, 2))
        eq(sorted((s["local"], s["peer"]) for s in r["total"]["subflows"]),
           [("10.80.1.1", "10.80.1.2"), ("10.80.2.1", "10.80.1.2")])
        pm = r["path_manager"]
        eq([(e["address"], e["dev"], e["is_subflow"]) for e in pm["endpoints"]],
           [("10.80.2.1", "l2", True)])
        eq(pm["limits"], {"subflows": 8, "add_addr_accepted": 8})
        text = run(net, "--paths", uri(net)).stdout
        wants(text, "admin queue  MPTCP, 2 paths", "I/O queue 1  MPTCP, 2 paths",
              "all queues   2 of 2 connections are MPTCP", "10.80.2.1 on l2, starts subflows",
              "limits       8 subflows")
        text = run(net, "--paths", uri(net, "mptcp=off")).stdout
        wants(text, "admin queue  TCP, 1 path: ", "all queues   0 of 2")
        net.endpoint_del("host", "10.80.2.1")
        net.endpoint_add("host", "10.80.2.1", "subflow", "backup", dev="l2")
        r = json.loads(run(net, "--json", "--paths", uri(net)).stdout)
        eq(sorted(s["state"] for s in r["queues"][1]["subflows"]), ["active", "backup"])


if __name__ == "__main__":
    why = unable()
    if why:
        print(f"1..0 # SKIP {why}")
        sys.exit(0)
    sys.exit(main())
