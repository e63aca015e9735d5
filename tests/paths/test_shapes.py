#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified I/O over every shape of network: one to four links, equal and unequal, IPv4, IPv6 and
both, behind a NAT, as a mesh, and behind a balancer that takes only the first connection.
Usage: test_shapes.py PATH/nvmf-target TOOLS_FOLDER [WORD…]. Output is TAP."""
import sys

from netrig import Net
from pathtest import Load, case, eq, run_cases

# Enough in flight to fill several links of this rate.
BUSY = {"depth": 16, "bs": "16k"}


@case(paths=(1, 2, 3, 4))
def equal_links_all_carry(paths):
    engine = "epoll" if paths % 2 else "io_uring"
    with Net(paths=paths, rate="50mbit") as net, \
         Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
        load.has_subflows(paths)
        load.carries(*net.links)


@case(engine=("io_uring", "epoll"))
def unequal_links_carry_by_their_rates(engine):
    with Net(rate=["20mbit", "100mbit"]) as net, \
         Load(net, f"mptcp=require&engine={engine}", depth=32, bs="16k") as load:
        load.has_subflows(2)
        slow, fast = load.received(1), load.received(2)
        load.carries(1, 2)
        # What both queues held at the beginning evens out.
        load.until(lambda: load.received(2) - fast > 2 * (load.received(1) - slow))


@case(engine=("io_uring", "epoll"))
def ipv6(engine):
    with Net(rate="50mbit", v6=True) as net, \
         Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)
        eq("fd00:80:2::1" in str(load.end()["transport"]), True, "the address that tools show")


@case
def ipv6_first_and_ipv4_joins():
    with Net(rate="50mbit", v6="mixed", paths=3) as net, Load(net, **BUSY) as load:
        load.has_subflows(3)
        load.carries(1, 2, 3)


@case(endpoints=("signal", "subflow"))
def either_end_may_bring_the_second_path(endpoints):
    with Net(rate="50mbit", endpoints=endpoints) as net, Load(net, **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)


@case
def several_queues():
    with Net(rate="50mbit") as net, Load(net, depth=8, bs="16k", queues=4) as load:
        load.has_subflows(2)
        load.carries(1, 2)


@case
def a_full_mesh():
    with Net(rate="50mbit", endpoints="fullmesh") as net:
        net.endpoint_add("host", net.addr("host", 1), "subflow", "fullmesh", dev="l1")
        net.endpoint_add("target", net.addr("target", 2), "signal", dev="l2")
        with Load(net, **BUSY) as load:
            load.has_subflows(4)
            load.carries(1, 2)


@case(v6=(False, True))
def a_nat_in_between(v6):
    with Net(rate="50mbit", nat=(1, 2), v6=v6) as net, Load(net, **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)


@case
def a_nat_on_one_link_only():
    with Net(rate="50mbit", nat=(2,), endpoints="signal") as net, Load(net, **BUSY) as load:
        load.has_subflows(2)
        load.carries(1, 2)


@case(engine=("io_uring", "epoll"))
def a_balancer_that_takes_only_the_first_connection(engine):
    with Net(rate="50mbit", endpoints="subflow") as net:
        # The host would join the first address from its second one; it is told not to, and is
        # told another address and port, where the target's kernel listens for joins.
        net.sysctl("target", "net.mptcp.allow_join_initial_addr_port=0")
        net.endpoint_add("target", net.addr("target", 2), "signal", "port", "4500", dev="l2")
        with Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
            load.has_subflows(1, port=4500)
            load.has_subflows(1, port=4420)
            load.carries(1, 2)


@case(engine=("io_uring", "epoll"))
def tcp_uses_its_link_and_no_other(engine):
    with Net(rate="50mbit") as net, \
         Load(net, f"mptcp=off&engine={engine}", addr=net.addr("target", 2), **BUSY) as load:
        before = load.received(1)
        load.carries(2, by=1000000)
        eq(load.received(1) - before < 1000, True, "link 1 is idle")


@case(v6=(False, True))
def tcp_through_a_nat(v6):
    with Net(paths=1, rate="50mbit", nat=(1,), v6=v6) as net, Load(net, "mptcp=off") as load:
        load.grows()


if __name__ == "__main__":
    sys.exit(run_cases())
