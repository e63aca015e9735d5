#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""queue_paths: queues go by the links they were given; a link that is cut costs an association,
not the controller. hedge: reads sent twice on links that lose packets, with the data checked.
Usage: see pathtest.py."""
import sys

from netrig import Net
from pathtest import Load, case, eq, run_cases

BOTH = "queue_paths=10.80.1.1-10.80.1.2,10.80.2.1-10.80.2.2"


def places(load):
    """Of each I/O queue, in the order of their numbers: where its first subflow comes from and
    goes to."""
    queues = sorted(load.end()["transport"], key=lambda t: t["qid"])
    return [(q["subflows"][0]["local"].rsplit(":", 1)[0], q["subflows"][0]["peer"])
            for q in queues if q["qid"]]


LINKS = [("10.80.1.1", "10.80.1.2:4420"), ("10.80.2.1", "10.80.2.2:4420")]


@case
def tcp_queues_use_both_links():
    with Net(rate="50mbit", endpoints=None) as net, \
            Load(net, f"mptcp=off&nr_io_queues=2&{BOTH}", queues=2) as load:
        load.carries(1, 2)
        eq(places(load), LINKS)


@case
def mptcp_queues_begin_on_both_links():
    with Net(rate="50mbit") as net, \
            Load(net, f"mptcp=require&nr_io_queues=2&{BOTH}", queues=2) as load:
        load.carries(1, 2)
        eq(places(load), LINKS)


@case(link=(1, 2))
def a_link_is_cut(link):
    """The admin queue begins on link 1. The queues of the link that is gone take the other."""
    other = 3 - link
    keys = (f"mptcp=off&nr_io_queues=2&{BOTH}&io_timeout=0.4&admin_timeout=1&connect_timeout=0.6"
            "&reconnect_delay=0.1&ctrl_loss_tmo=60&write_hold=1.5")
    with Net(rate="50mbit", endpoints=None) as net, \
            Load(net, keys, queues=2, clean=False) as load:
        load.carries(1, 2)
        net.drop(link)
        load.grows(1000)
        load.carries(other)
        eq(places(load), [LINKS[other - 1]] * 2)
        paths = load.result["jobs"][0]["paths"]
        eq([p["reconnects"] >= 1 for p in paths], [True])


@case(mptcp=("off", "require"))
def hedged_reads_are_right(mptcp):
    keys = f"mptcp={mptcp}&nr_io_queues=2&{BOTH}&hedge=0.0005"
    with Net(rate="100mbit", loss=2) as net, Load(net, keys, args=["--rwmixread=80"],
                                                  depth=4) as load:
        load.connections += 1           # the spare queue: made when the load already runs
        load.until(lambda: load.target.answers_on() == 2)
        load.grows(1000)
        path = load.end()["jobs"][0]["paths"][0]
        eq((path["hedges"] > 0, path["hedge_wins"] <= path["hedges"]), (True, True))


if __name__ == "__main__":
    sys.exit(run_cases())
