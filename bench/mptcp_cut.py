# SPDX-License-Identifier: LGPL-2.1-or-later
"""One link of two is cut silently under verified I/O: how long nothing is done, and how long the
slowest I/O takes.

Silently: no carrier is lost, no error comes, packets just do not arrive any more. That is what a
switch or a route that fails looks like, and the hardest to notice.
"""

import random

import mptcp_lib as lib

DOCUMENTED = ("net.mptcp.stale_loss_cnt=1", "net.ipv4.tcp_rto_min_us=20000")
LOADS = {"reads": ["--rw=randrw", "--rwmixread=80"], "writes": ["--rw=randwrite"]}
OUTAGE = 2.0        # s, where there is no other way and the link has to come back

MANAGED = "MPTCP, path manager and sysctls"
SYSCTLS = "MPTCP, sysctls only"
DEFAULT = "MPTCP, nothing configured"
TCP = "TCP, link back after 2 s"
QUEUES = "TCP, queues on both links"
QUEUES_SHORT = "TCP, queues, short timeouts"
ANA = "TCP, ANA over two paths"
ANA_SHORT = "TCP, ANA, short timeouts"
SHORT = {"keep_alive_tmo": 0.1, "io_timeout": 0.2, "reconnect_delay": 0.1, "connect_timeout": 0.2}
BOTH = "10.80.1.1-10.80.1.2,10.80.2.1-10.80.2.2"

# keys and sysctls; is_back: there is no other way, the link has to come back; is_slow: the stall is
# a timeout of many seconds, which one round shows as well.
CASES = {
    MANAGED: {"sysctls": DOCUMENTED, "keys": {"mptcp": "require", "mptcp_paths": "auto"}},
    SYSCTLS: {"sysctls": DOCUMENTED, "keys": {"mptcp": "require"}},
    DEFAULT: {"keys": {"mptcp": "require"}},
    TCP: {"keys": {"mptcp": "off"}, "is_back": True, "is_slow": True},
    QUEUES: {"keys": {"mptcp": "off", "queue_paths": BOTH}, "queues": 2, "is_slow": True},
    QUEUES_SHORT: {"keys": {"mptcp": "off", "queue_paths": BOTH, **SHORT}, "queues": 2},
    ANA: {"keys": {"mptcp": "off"}, "ana": True, "is_slow": True},
    ANA_SHORT: {"keys": {"mptcp": "off", **SHORT}, "ana": True},
}
BARS = {MANAGED: {"stall_ms": 50, "worst_ms": 100}, DEFAULT: {"stall_ms": 1000}}


def one(args, case, link, load, rnd):
    setup = CASES[case]
    listen = ("0.0.0.0:4420",)
    with lib.Rig(2, rate="200mbit") as net:
        net.everywhere(*setup.get("sysctls", ()))
        if setup.get("ana"):
            listen = (f"{net.addr('target', 1)}:4420", f"{net.addr('target', 2)}:4421")
        keys = {"ctrl_loss_tmo": 30, **setup["keys"]}
        queues = setup.get("queues", 1)
        uris = [lib.uri(net, 1, nr_io_queues=queues, **keys)]
        if setup.get("ana"):
            uris.append(lib.uri(net, 2, port=4421, nr_io_queues=queues, **keys))
        with lib.Target(net, args.build, "--ns=mem:64M", listen=listen) as target:
            def cut(proc):
                lib.wait_for(lambda: proc.poll() is not None or target.executed() > 500,
                             "500 I/Os")
                before = 0.2 if args.quick else 0.5 + 0.3 * random.Random(rnd).random()
                lib.pause(before)
                net.drop(link)
                if setup.get("is_back"):
                    lib.pause(0.2 if args.quick else OUTAGE)
                    net.undrop(link)

            run = lib.perf(net, args.build, target, [
                *LOADS[load], "--verify", "--bs=4k", f"--iodepth={32 // queues}",
                f"--queues={queues}", "--size=8m", "--seed=" + str(rnd + 1),
                f"--runtime={0.6 if args.quick else 2:g}", "--timeline=0.005"],
                uris, during=cut, timeout=60 if args.quick else 120, may_fail=True)
        run["cut_link"] = link
        return run


def cut(args, progress):
    rows = []
    loads = ("reads",) if args.quick else tuple(LOADS)
    links = (1,) if args.quick else (1, 2)
    for load in loads:
        for link in links:
            name = f"{load}, {'first' if link == 1 else 'second'} link cut"
            # The second link means nothing to those that use one link, or each for itself.
            cases = [case for case in CASES if link == 1 or case in (MANAGED, SYSCTLS, DEFAULT)]
            if args.quick:
                cases = [MANAGED, DEFAULT]
            turns = {case: (lambda rnd, case=case: one(args, case, link, load, rnd))
                     for case in cases}
            slow = {case: turns.pop(case) for case in cases if CASES[case].get("is_slow")}
            judged = {case: turns.pop(case) for case in cases if case in BARS}
            runs = {**lib.in_turns(args.rounds, judged, progress, f"cut {name}"),
                    **lib.in_turns(lib.few(args), turns, progress, f"cut {name}"),
                    **lib.in_turns(1, slow, progress, f"cut {name}")}
            row = {"row": "cut", "title": "one link of two is cut silently", "workload": name,
                   "unit": "ms without a completion", "key": "stall_ms", "base": None,
                   "cases": {case: lib.summary(runs[case], ("iops", "stall_ms", "worst_ms", "gib"))
                             for case in cases}, "ratios": {}, "checks": {}}
            for case in cases:
                # One to be shown: that with the median stall.
                shown = sorted(runs[case], key=lambda run: run["stall_ms"])[len(runs[case]) // 2]
                row["cases"][case]["timeline"] = {**shown["timeline"],
                                                  "stall_at": shown["stall_at"]}
                for key, limit in BARS.get(case, {}).items():
                    row["checks"][f"{case}: {key}"] = lib.bar(row["cases"][case][key]["median"],
                                                              limit, False)
                if case in BARS:
                    row["checks"][f"{case}: errors"] = lib.bar(row["cases"][case]["errors"], 0,
                                                               False)
            rows.append(row)
    return rows
