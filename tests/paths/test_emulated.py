#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified I/O over links with delay, jitter, reordering, loss and bursts of it, on two and four
paths, in MPTCP and TCP. Usage: test_emulated.py PATH/nvmf-target TOOLS_FOLDER [WORD…]. TAP."""
import sys

from netrig import Net
from pathtest import ENGINES, Load, case, eq, run_cases

# The handshakes have good luck: a join whose last acknowledgement comes after the first data is
# reset by Linux, as RFC 8684 (3.2) allows no data before it, and is not tried again.
LINKS = {
    "delay": {"delay": "5ms"},
    "jitter": {"delay": "5ms", "jitter": "3ms", "calm": 60},
    "reorder": {"delay": "3ms", "jitter": "2ms", "reorder": True, "calm": 60},
    "loss": {"delay": "2ms", "loss": 0.5, "calm": 60},
    "bursts": {"delay": "2ms", "burst": "0.1:20", "calm": 60},
    "all": {"delay": "5ms", "jitter": "2ms", "loss": 0.5, "rate": "50mbit", "queue": "128k",
            "calm": 60},
}


def judge(net, kinds):
    """Every emulator has carried data, and has done what it was asked for."""
    for n, stats in net.emu_stats().items():
        kind, data = kinds[n - 1], stats["down.packets"]
        eq(data > 100, True, f"link {n} carried: {stats}")
        eq(stats["up.lost_pool"] + stats["down.lost_pool"], 0, f"link {n}: {stats}")
        eq(stats["down.overtaken"] > 0, kind == "reorder", f"link {n} reordered: {stats}")


@case(what=[(paths, kind, ENGINES[(i + paths // 2) % 2]) for paths in (2, 4)
            for i, kind in enumerate(LINKS)])
def mptcp_over(what):
    paths, kind, engine = what
    with Net(paths=paths, emu=LINKS[kind]) as net, \
         Load(net, f"mptcp=require&engine={engine}", depth=32, bs="16k") as load:
        load.has_subflows(paths)
        load.carries(*net.links, by=500000)
        load.end()
        judge(net, [kind] * paths)


@case(engine=ENGINES)
def links_that_have_nothing_in_common(engine):
    kinds = list(LINKS)[:4]
    with Net(paths=4, emu=[{**LINKS[kind], "seed": i} for i, kind in enumerate(kinds)],
             v6="mixed") as net, \
         Load(net, f"mptcp=require&engine={engine}", depth=32, bs="16k") as load:
        load.has_subflows(4)
        load.carries(*net.links)
        with load.unbroken():
            net.drop(1)
            load.carries(2, 3, 4)
            net.undrop(1)
            load.carries(1)
        load.end()
        judge(net, kinds)


@case(kind=LINKS)
def tcp_over(kind):
    engine = ENGINES[list(LINKS).index(kind) % 2]
    with Net(paths=1, emu=LINKS[kind]) as net, \
         Load(net, f"mptcp=off&engine={engine}", depth=32, bs="16k") as load:
        load.carries(1, by=500000)
        load.end()
        judge(net, [kind])


if __name__ == "__main__":
    sys.exit(run_cases(6, emu=True))
