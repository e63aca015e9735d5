#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified I/O while links break and come back: nothing reconnects and nothing fails while one path
lives; without any, recovery or a clean failure, as the options say.
Usage: test_cuts.py PATH/nvmf-target TOOLS_FOLDER [WORD…]. Output is TAP."""
import sys

from netrig import Net
from pathtest import CUTS, DEADLINE, ENGINES, Load, case, eq, run_cases

BUSY = {"depth": 16, "bs": "16k"}

SETTINGS = [f"{keys} {engine}" for keys in ("mptcp=require", "mptcp=off") for engine in ENGINES]


@case(cut=[(how, n, engine) for how in CUTS for n in (1, 2) for engine in ENGINES])
def one_of_two_links(cut):
    how, n, engine = cut
    with Net(rate="50mbit") as net, \
         Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)
        with load.unbroken():
            CUTS[how][0](net, n)
            load.grows(100)
            load.carries(3 - n)
            CUTS[how][1](net, n)
            load.carries(n)


@case
def three_of_four_links_one_after_the_other():
    with Net(paths=4, rate="50mbit") as net, Load(net, **BUSY) as load:
        load.has_subflows(4)
        with load.unbroken():
            for n in (1, 3, 2):
                net.drop(n)
                load.grows(50)
            load.carries(4)


@case(setting=SETTINGS)
def both_links_for_less_than_the_timeouts(setting):
    keys, engine = setting.split()
    with Net(rate="50mbit") as net, Load(net, f"{keys}&engine={engine}", **BUSY) as load:
        load.grows(50)
        with load.unbroken():
            for n in (1, 2):
                net.drop(n)
            # What arrives meets the filters: they have bitten.
            load.until(lambda: sum(net.dropped(1).values()) > 3)
            for n in (1, 2):
                net.undrop(n)
            load.grows()


def recovers(how, keys):
    with Net(rate="50mbit") as net, \
         Load(net, f"{keys}&ctrl_loss_tmo=60&reconnect_delay=0.1&keep_alive_tmo=1"
              "&connect_timeout=0.5", clean=False, **BUSY) as load:
        load.grows(50)
        for n in (1, 2):
            CUTS[how][0](net, n)
        # The target too gives the silent host up; then it is for certain a new association.
        load.until(lambda: load.target.stats()["conns"] == 0)
        for n in (1, 2):
            CUTS[how][1](net, n)
        load.grows()
        eq(load.end()["jobs"][0]["paths"][0]["reconnects"], 1, "reconnects")


@case(how=CUTS)
def both_links_until_a_new_association(how):
    recovers(how, "mptcp=require&engine=" + ("epoll" if how == "drop" else "io_uring"))


@case(how=("down", "drop"))
def both_links_with_tcp(how):
    recovers(how, "mptcp=off&engine=" + ("io_uring" if how == "drop" else "epoll"))


@case(setting=SETTINGS)
def both_links_for_good_end_in_one_sentence(setting):
    keys, engine = setting.split()
    with Net(rate="50mbit") as net, \
         Load(net, f"{keys}&engine={engine}&ctrl_loss_tmo=1&reconnect_delay=0.1&keep_alive_tmo=1"
              "&connect_timeout=0.5", clean=False, **BUSY) as load:
        load.grows(50)
        for n in (1, 2):
            net.drop(n)
        out, err = load.perf.communicate(timeout=DEADLINE)
        load.result = out
        eq((load.perf.returncode, err.count(b"\n")), (1, 1), err.decode())


@case(engine=ENGINES)
def an_endpoint_of_the_target_comes_and_goes(engine):
    with Net(rate="50mbit", endpoints=None) as net, \
         Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
        load.has_subflows(1)
        with load.unbroken():
            for _ in range(2):
                net.endpoint_add("target", net.addr("target", 2), "signal", dev="l2")
                load.has_subflows(2)
                load.carries(1, 2)
                net.endpoint_del("target", net.addr("target", 2))
                load.has_subflows(1)
                load.carries(1)
            # One for each connection and round.
            eq(net.counters("host")["RmAddr"], 4, "REMOVE_ADDR that the host has received")


@case(engine=ENGINES)
def an_endpoint_of_the_host_comes_and_goes(engine):
    with Net(rate="50mbit", endpoints=None) as net, \
         Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
        load.has_subflows(1)
        with load.unbroken():
            for _ in range(2):
                net.endpoint_add("host", net.addr("host", 2), "subflow", dev="l2")
                load.has_subflows(2)
                load.carries(1, 2)
                net.endpoint_del("host", net.addr("host", 2))
                load.has_subflows(1)
                load.carries(1)


@case(side=("host", "target"))
def the_first_address_is_withdrawn(side):
    with Net(rate="50mbit") as net, Load(net, **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)
        with load.unbroken():
            # Number 0 stands for the address of the first subflow.
            net.ip(side, "mptcp", "endpoint", "del", "id", "0", net.addr(side, 1))
            load.has_subflows(1)
            before = load.received(1)
            load.carries(2, by=500000)
            eq(load.received(1) - before < 20000, True, "link 1 has nothing to do")


@case(engine=ENGINES)
def a_backup_is_used_only_when_needed(engine):
    with Net(rate="50mbit", endpoints=None) as net:
        net.endpoint_add("host", net.addr("host", 2), "subflow", "backup", dev="l2")
        with Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
            load.has_subflows(2)
            load.carries(1, by=1000000)
            # Handshakes and acknowledgements, no data.
            eq(load.received(2) < 20000, True, f"{load.received(2)} bytes by the backup link")
            with load.unbroken():
                net.drop(1)
                load.carries(2, by=500000)
                net.undrop(1)
                load.carries(1, by=500000)
                # And the load returns: what the backup had under way ends.
                load.until(lambda: load.is_quiet(2))


@case
def a_subflow_becomes_a_backup_in_flight():
    with Net(rate="50mbit", endpoints=None) as net:
        net.endpoint_add("host", net.addr("host", 2), "id", "2", "subflow", dev="l2")
        with Load(net, **BUSY) as load:
            load.has_subflows(2)
            load.carries(1, 2)
            with load.unbroken():
                net.ip("host", "mptcp", "endpoint", "change", "id", "2", "backup")  # MP_PRIO
                load.until(lambda: load.is_quiet(2))
                net.ip("host", "mptcp", "endpoint", "change", "id", "2", "nobackup")
                load.carries(2)
            eq(net.counters("target")["MPPrioRx"], 2 * load.connections, "MP_PRIO received")


if __name__ == "__main__":
    sys.exit(run_cases(6))
