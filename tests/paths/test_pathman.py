#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mptcp_paths: the library brings the paths, takes those away that fail, puts them back, and leaves
the system as it was. Verified I/O meanwhile.
Usage: test_pathman.py PATH/nvmf-target TOOLS_FOLDER [WORD…]. Output is TAP."""
import contextlib
import json
import os
import subprocess
import sys

from netrig import Net
from pathtest import CUTS, DEADLINE, ENGINES, NQN, Load, Skip, case, eq, run_cases, tool

BUSY = {"depth": 16, "bs": "16k", "probes": True}


@contextlib.contextmanager
def bare(paths=2):
    """Links whose host has no MPTCP configuration; its kernel's limit is two subflows more."""
    with Net(paths=paths, rate="50mbit", endpoints=None, limits=None) as net:
        net.limits("target", 8, 0)
        yield net


def state(net):
    return net.ip("host", "mptcp", "endpoint", "show"), net.ip("host", "mptcp", "limits", "show")


def keys(net, *links, engine="io_uring", flags=""):
    """By name: with "auto" the IPv6 addresses are endpoints too."""
    return "mptcp=require&engine=" + engine + "&mptcp_paths=" + \
        ",".join(net.addr("host", n) + flags for n in links)


@case(engine=ENGINES)
def auto_brings_every_path_and_leaves_nothing(engine):
    with bare(paths=4) as net:
        before = state(net)
        with Load(net, f"mptcp=require&engine={engine}&mptcp_paths=auto", **BUSY) as load:
            load.has_subflows(4)
            load.carries(*net.links)
        eq(state(net), before, "endpoints and limits")


@case
def only_the_addresses_that_are_named():
    with bare(paths=3) as net:
        before = state(net)
        with Load(net, keys(net, 1, 3), **BUSY) as load:
            load.has_subflows(2)
            load.carries(1, 3)
            eq(load.received(2) < 2000, True, "link 2 is idle")
        eq(state(net), before, "endpoints and limits")


@case
def a_backup_that_is_named():
    with bare() as net, \
         Load(net, keys(net, 1) + f",{net.addr('host', 2)},backup", **BUSY) as load:
        load.has_subflows(2)
        load.until(lambda: load.is_quiet(2))
        with load.unbroken():
            net.drop(1)
            load.carries(2, by=500000)


@case
def endpoints_of_others_stay():
    with bare(paths=3) as net:
        net.endpoint_add("host", net.addr("host", 2), "subflow", dev="l2")
        net.endpoint_add("host", "10.99.0.1", "subflow")
        net.limits("host", 5, 3)
        before = state(net)
        with Load(net, keys(net, 1, 2, 3), **BUSY) as load:
            load.has_subflows(3)
            load.carries(1, 2, 3)
        eq(state(net), before, "endpoints and limits")


@case(cut=[(how, n, ENGINES[(i + n) % 2]) for i, how in enumerate(CUTS) for n in (1, 2)])
def one_of_two_links(cut):
    how, n, engine = cut
    with bare() as net:
        before = state(net)
        with Load(net, keys(net, 1, 2, engine=engine), **BUSY) as load:
            load.has_subflows(2)
            load.carries(1, 2)
            with load.unbroken():
                for _ in range(2):
                    CUTS[how][0](net, n)
                    load.grows()
                    CUTS[how][1](net, n)
                    load.carries(n)
        eq(state(net), before, "endpoints and limits")


@case
def three_of_four_links():
    with bare(paths=4) as net:
        before = state(net)
        with Load(net, keys(net, 1, 2, 3, 4), **BUSY) as load:
            load.has_subflows(4)
            load.carries(*net.links)
            with load.unbroken():
                for n in (2, 1, 4):
                    net.drop(n)
                    load.grows(100)
                for n in (2, 1, 4):
                    net.undrop(n)
                load.carries(*net.links)
        eq(state(net), before, "endpoints and limits")


@case
def a_join_that_was_refused_is_tried_again():
    with bare() as net:
        net.nft("target", "table inet refuse {\n chain c {\n  type filter hook input priority 0;\n"
                "  iifname \"l2\" tcp flags syn counter reject with tcp reset\n }\n}\n")
        with Load(net, keys(net, 1, 2), **BUSY) as load:
            load.has_subflows(1)
            # A join has been tried, and refused.
            load.until(lambda: "packets 0" not in subprocess.run(
                net.target(["nft", "list", "table", "inet", "refuse"]), check=True, text=True,
                capture_output=True).stdout)
            with load.unbroken():
                net.nft("target", "delete table inet refuse\n")
                load.has_subflows(2)
                load.carries(1, 2)


@case
def each_path_is_asked_by_its_own_interface():
    """Two ways to one address, as with two default routes: the better one is not that of link 2."""
    with bare() as net:
        for n in net.links:
            net.ip("host", "rule", "del", "from", net.addr("host", n), "table", str(100 + n))
        peer = net.addr("target", 1)
        net.ip("host", "route", "add", peer, "dev", "l1", "metric", "10")
        net.ip("host", "route", "add", peer, "via", net.addr("target", 2), "dev", "l2", "metric",
               "1000")
        with Load(net, keys(net, 1, 2), **BUSY) as load:
            load.has_subflows(2)
            load.carries(1, 2)
            with load.unbroken():
                net.drop(1)
                load.until(lambda: net.addr("host", 1) not in state(net)[0])
                load.grows()
                net.undrop(1)
                load.carries(1)


@case
def an_endpoint_of_somebody_else_goes():
    with bare() as net:
        before = state(net)
        net.endpoint_add("host", net.addr("host", 2), "subflow", dev="l2")
        with Load(net, keys(net, 1, 2) + "&keep_alive_tmo=1", **BUSY) as load:
            load.has_subflows(2)
            with load.unbroken():
                net.endpoint_del("host", net.addr("host", 2))
                load.until(lambda: net.addr("host", 2) in state(net)[0])
                load.has_subflows(2)
                load.carries(2)
        eq(state(net), before, "endpoints and limits")


@case
def more_addresses_than_there_is_room_for_come_and_go():
    with bare() as net:
        before = state(net)
        with Load(net, "mptcp=require&mptcp_paths=auto", **BUSY) as load:
            load.has_subflows(2)
            for k in range(1, 8):
                net.ip("host", "addr", "add", f"10.90.{k}.1/32", "dev", "l2")
                load.until(lambda k=k: f"10.90.{k}.1" in state(net)[0])
                net.ip("host", "addr", "del", f"10.90.{k}.1/32", "dev", "l2")
                load.until(lambda k=k: f"10.90.{k}.1" not in state(net)[0])
            load.carries(1, 2)
        eq(state(net), before, "endpoints and limits")


@case
def both_links_until_a_new_association():
    with bare() as net:
        before = state(net)
        with Load(net, keys(net, 1, 2) + "&ctrl_loss_tmo=60&reconnect_delay=0.1&keep_alive_tmo=1"
                  "&connect_timeout=0.5", clean=False, **BUSY) as load:
            load.has_subflows(2)
            for n in (1, 2):
                net.drop(n)
            load.until(lambda: load.target.stats()["conns"] == 0)
            for n in (1, 2):
                net.undrop(n)
            load.grows()
            load.has_subflows(2)
        eq(state(net), before, "endpoints and limits")


@case(how=list(CUTS))
def new_connections_while_the_first_link_is_cut(how):
    with bare() as net:
        before = state(net)
        with Load(net, keys(net, 1, 2) + "&ctrl_loss_tmo=60&reconnect_delay=0.1&connect_timeout=2",
                  clean=False, **BUSY) as load:
            load.has_subflows(2)
            CUTS[how][0](net, 1)
            # Known to be cut: its endpoint is away.
            load.until(lambda: net.addr("host", 1) not in state(net)[0])
            accepted = load.target.stats()["accepted"]
            load.target.control("drop")
            load.until(lambda: load.target.stats()["accepted"] > accepted)
            load.grows()
            CUTS[how][1](net, 1)
            load.carries(1, 2)
        eq(state(net), before, "endpoints and limits")


@case
def unprivileged_in_namespaces_of_its_own():
    """As somebody who may nothing, inside `unshare -Urn`."""
    script = r"""
ip link set lo up && ip addr add 10.9.0.1/32 dev lo && ip addr add 10.9.0.2/32 dev lo || exit 1
coproc target { exec "$1" --listen=10.9.0.1:4420 --ns=mem:16m --ready-fd=3 3>&1 >/dev/null; }
read -r -N 1 <&"${target[0]}"
"$2" --json --rw=randread --iodepth=4 --runtime=2 "$3"
rc=$?
kill "$target_PID"
ip mptcp endpoint show >&2
exit "$rc"
"""
    enter = ["unshare", "-Urn"]
    if not os.geteuid():
        enter = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *enter]
    if subprocess.run([*enter, "ip", "link", "set", "lo", "up"], capture_output=True,
                      check=False).returncode:
        raise Skip("user namespaces are not permitted here")
    p = subprocess.run(
        [*enter, "bash", "-c", script, "bash", sys.argv[1], tool("nvmf-perf"),
         f"nvme+tcp://10.9.0.1:4420/{NQN}?mptcp=require&mptcp_paths=10.9.0.2"],
        capture_output=True, text=True, check=False, timeout=DEADLINE)
    eq((p.returncode, p.stderr), (0, ""), "nothing went wrong, and no endpoint is left")
    transport = json.loads(p.stdout)["transport"]
    locals_ = {s["local"].rpartition(":")[0] for t in transport for s in t["subflows"]}
    eq("10.9.0.2" in locals_, True, f"a subflow from the second address: {transport}")


@case
def without_the_privilege_it_connects_all_the_same():
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    with bare() as net:
        if subprocess.run(net.host([*drop, "true"]), capture_output=True, check=False).returncode:
            raise Skip("setpriv cannot take a capability away here")
        before = state(net)
        load = Load(net, keys(net, 1, 2), **BUSY)
        load.argv = [*drop, *load.argv]
        with load:
            load.has_subflows(1)
            load.carries(1)
            eq(state(net), before, "endpoints and limits")


if __name__ == "__main__":
    sys.exit(run_cases())
