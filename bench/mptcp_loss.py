# SPDX-License-Identifier: LGPL-2.1-or-later
"""1 % of the packets lost, on both links, in both directions: small reads at little depth.

Of reads the target is the sender: what is set at the host alone reaches the requests, and what is
set at both ends the answers, too. Each idea is a case, so that what does not help is on record.
"""

import contextlib

import mptcp_lib as lib

BOTH = "10.80.1.1-10.80.1.2,10.80.2.1-10.80.2.2"
TCP, MPTCP = "TCP, one link", "MPTCP"
DOCUMENTED = "TCP, 2 queues, hedged, RTO floor 5 ms"
BACKUP = "MPTCP, second link as backup"

# name: (queues, URI keys, {side: (floor of the retransmission timer in ms, congestion control)})
# By route: the sysctl is copied to a connection by its listening socket, when that was made.
HOST_5 = {"host": (5, "cubic")}
ENDS_5 = {"host": (5, "cubic"), "target": (5, "cubic")}
BBR = {"host": (None, "bbr"), "target": (None, "bbr")}
CASES = {
    TCP: (1, {"mptcp": "off"}, {}),
    MPTCP: (1, {"mptcp": "require"}, {}),
    DOCUMENTED: (2, {"mptcp": "off", "hedge": "auto", "queue_paths": BOTH, "nr_io_queues": 2},
                 ENDS_5),
    "TCP, 2 queues, hedged": (2, {"mptcp": "off", "hedge": "auto", "queue_paths": BOTH,
                                  "nr_io_queues": 2}, {}),
    "TCP, 1 queue, hedged by the other link": (
        1, {"mptcp": "off", "hedge": "auto", "queue_paths": BOTH, "nr_io_queues": 2}, {}),
    "TCP, hedged, RTO floor 5 ms at both ends": (1, {"mptcp": "off", "hedge": "auto",
                                                     "queue_paths": BOTH, "nr_io_queues": 2},
                                                 ENDS_5),
    "MPTCP, hedged": (1, {"mptcp": "require", "hedge": "auto", "queue_paths": BOTH,
                          "nr_io_queues": 2}, {}),
    "TCP, 4 queues on both links": (4, {"mptcp": "off", "queue_paths": BOTH}, {}),
    "MPTCP, 4 queues": (4, {"mptcp": "require"}, {}),
    "MPTCP, RTO floor 5 ms at the host": (1, {"mptcp": "require"}, HOST_5),
    "MPTCP, RTO floor 5 ms at both ends": (1, {"mptcp": "require"}, ENDS_5),
    BACKUP: (1, {"mptcp": "require"}, {"backup": True}),
    "TCP, RTO floor 5 ms at both ends": (1, {"mptcp": "off"}, ENDS_5),
    "MPTCP, bbr at both ends": (1, {"mptcp": "require"}, BBR),
    "TCP, bbr at both ends": (1, {"mptcp": "off"}, BBR),
}
QUICK = (TCP, MPTCP, DOCUMENTED)
DEEP = (TCP, MPTCP, DOCUMENTED, BACKUP)


def set_routes(net, settings):
    """The floor; the congestion control is a matter of the two programs (see mptcp_lib.Rig)."""
    for side in lib.netrig.SIDES:
        floor = settings.get(side, (None, ""))[0]
        more = f"rto_min {floor}ms" if floor else ""
        for n in net.links:
            net._batch(side, [f"route replace 10.80.{n}.0/24 dev l{n} src "
                              f"{net.addr(side, n, False)} {more}"])
            if side == "host":
                net._batch(side, [f"route replace default {net._hop(side, n, False)}dev l{n} "
                                  f"table {100 + n} {more}"])


def set_backup(net, is_backup):
    """One of two lossy subflows is left for emergencies: what demoting it brings."""
    net.ip("target", "mptcp", "endpoint", "change", net.addr("target", 2),
           "backup" if is_backup else "nobackup")


def depth_row(args, net, targets, depth, progress, names=None):
    def one(case):
        queues, keys, settings = CASES[case]
        queues = min(queues, depth)
        set_routes(net, settings)
        control = settings.get("target", (None, lib.CONGESTION))[1]
        port, target = targets[control]
        keys = {"nr_io_queues": queues, "congestion": control, **keys}
        load = ["--rw=randread", "--bs=4k", f"--iodepth={depth // queues}", f"--queues={queues}",
                f"--runtime={args.runtime / 2:g}", f"--ramp-time={0.2 if args.quick else 0.3}"]
        if settings.get("backup"):
            set_backup(net, True)
        run = lib.perf(net, args.build, target, load, [lib.uri(net, 1, port, **keys)])
        if settings.get("backup"):
            set_backup(net, False)
        lib.require(run, "tcp" if keys["mptcp"] == "off" else "mptcp")
        return run

    names = names or (QUICK if args.quick else [
        case for case, (_, _, settings) in CASES.items()
        if settings.get("target", (None, lib.CONGESTION))[1] in targets])
    runs = lib.in_turns(lib.few(args), {case: (lambda rnd, case=case: one(case)) for case in names},
                        progress, f"loss depth {depth}")
    row = {"row": "loss", "title": "two links of 1 Gbit/s that lose 1 % of the packets",
           "workload": f"4k randread, depth {depth}", "unit": "IOPS", "key": "iops", "base": TCP,
           "cases": {case: lib.summary(runs[case], ("iops", "mbit_s", "p99_ms", "gib"))
                     for case in names}}
    row["ratios"] = {case: lib.ratio(runs[case], runs[TCP], "iops") for case in names
                     if case != TCP}
    iops = {case: lib.median(runs[case], "iops") for case in names}
    p99 = {case: lib.median(runs[case], "p99_ms") for case in names}
    row["gain"] = {"iops": iops[DOCUMENTED] / max(iops[TCP], iops[MPTCP]),
                   "p99": min(p99[TCP], p99[MPTCP]) / p99[DOCUMENTED]}
    row["checks"] = {f"IOPS, {DOCUMENTED} / the better of TCP and MPTCP":
                     lib.bar(row["gain"]["iops"], 1.0),
                     f"p99, the better of TCP and MPTCP / {DOCUMENTED}":
                     lib.bar(row["gain"]["p99"], 1.0)}
    return row


def loss(args, progress):
    depths = (8,) if args.quick else (1, 8, 32)
    controls = lib.controls("cubic", "bbr")
    with lib.Rig(2, rate="1gbit", loss=1) as net, contextlib.ExitStack() as stack:
        targets = {}
        for port, control in enumerate(controls, lib.PORT):
            targets[control] = port, stack.enter_context(lib.Target(
                net, args.build, "--ns=mem:256M", "--queues=8", listen=(f"0.0.0.0:{port}",),
                congestion=control))
        rows = [depth_row(args, net, targets, depth, progress) for depth in depths]
        if not args.quick:      # more in flight: for the record, the bars are for little of it
            deep = depth_row(args, net, targets, 128, progress, DEEP)
            del deep["checks"]
    best = max(max(row["gain"].values()) for row in rows)
    if not args.quick:
        rows.append(deep)
    rows[len(depths) - 1]["checks"]["the greatest gain of all, in IOPS or p99"] = lib.bar(best, 1.25)
    return rows
