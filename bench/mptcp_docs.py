# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/mptcp-performance.md and its plots, from the results of bench/mptcp."""

import datetime
import os
import re

import benchlib
import mptcp_cut
import svgplot

TITLES = {
    "two-1g": "Two links of 1 Gbit/s",
    "four-250m": "Four links of 250 Mbit/s",
    "unequal": "A slow and a fast link",
    "long-lossy": "Four long links that lose packets",
    "cut": "A link that is cut",
    "loss": "One packet in a hundred lost",
}
TEXTS = {
    "two-1g": "4 queues of depth 256. The ratio is that of IOPS. A link of 1 Gbit/s carries 957 "
    "Mbit/s of TCP\npayload, of which headers of NVMe/TCP take 2 % at 4 KiB.",
    "four-250m": "4 queues of depth 32.",
    "unequal": "4 queues of depth 32. One TCP connection could use the faster link alone; MPTCP "
    "adds the other,\nwhichever of them the URI names.",
    "long-lossy": "One queue of depth 64. Each link has 100 Mbit/s, takes 5 ms and loses 0.5 % of "
    "the packets, in\neach direction. `cubic` takes every loss for a full queue and slows down, so "
    "four subflows are worth\nfour connections; `bbr` does not, and then it is the links that "
    "limit. Over such links set\n`congestion=bbr` at the host and the same at the target "
    "(`nvmf-target --congestion=bbr`, or the sysctl\n`net.ipv4.tcp_congestion_control`): the "
    "target's paces reads, the host's writes.",
}
CUT = """Verified 4 KiB I/O at depth 32, two links of 200 Mbit/s; one of them is cut silently: packets do not
arrive any more, no carrier is lost and no error comes. "Stall" is the longest time without any
completion, "worst I/O" the slowest single one. Reads are 80 % of a mix (the writes are what is
verified). The target's kernel sends the reads, so the sysctls are set at both ends.

| Case | What is set |
|---|---|
| path manager and sysctls | `mptcp_paths=auto` in the URI; `{sysctls}` at both ends |
| sysctls only | the two sysctls, and the endpoints that the target announces |
| nothing configured | the endpoints that the target announces, nothing else |
| queues on both links | `mptcp=off&queue_paths=…`, two queues of half the depth, one on each link |
| ANA over two paths | `mptcp=off`, two ports of the target as two paths of the namespace |
| short timeouts | {short} |

With short timeouts plain TCP comes back soon, but by a reset: the controller is lost and made
again, commands are repeated, and a target that is merely slow is taken for dead. MPTCP repairs below
NVMe: {resets} in {runs} runs."""


LOSS = """Two links of 1 Gbit/s that lose 1 % of the packets in each direction; small reads at little depth.
MPTCP delivers in order over both links, so a packet lost on either holds up all behind it, often for
a retransmission timer of 200 ms: the worse choice here. What helps: two TCP queues on different links
(`mptcp=off&queue_paths=…`), reads that are late sent once more over the other (`hedge=auto`), and a
floor of 5 ms for the timer at both ends: `rto_min=0.005` at the host (plain TCP, Linux 6.15; or by
route), and at the target, which is the
sender of reads, `ip route change … rto_min 5ms` or, before it is started, the sysctl
`net.ipv4.tcp_rto_min_us=5000`. At depth 1 one queue is in use and the other serves the hedge."""


def ratio_text(value):
    return f"{value['median']:.2f} ({value['low']:.2f}–{value['high']:.2f})"


def spread_text(value, digits=0):
    return f"{value['median']:.{digits}f} ({value['low']:.{digits}f}–{value['high']:.{digits}f})"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def bar_of(row, case):
    found = row["checks"].get(f"{case} / {row['base']}")
    return (f"≥ {found['limit']:.2f}", "met" if found["met"] else "**missed**") if found \
        else ("", "")


def write_bandwidth(rows, name, folder, out):
    image = f"mptcp-{slug(name)}.svg"
    svgplot.bars(os.path.join(folder, image), TITLES[name], "Mbit/s",
                 [svgplot.Group(row["workload"], [
                     svgplot.Bar(case, doc["mbit_s"]["median"], doc["mbit_s"]["low"],
                                 doc["mbit_s"]["high"]) for case, doc in row["cases"].items()])
                  for row in rows])
    print(f"{TEXTS[name]}\n\n![{TITLES[name]}]({image})\n", file=out)
    lines = []
    for row in rows:
        for case, doc in row["cases"].items():
            gib = doc["gib"]["median"]
            limit, met = bar_of(row, case)
            # CPU is of the whole run, ramp included; so is what it is divided by, nearly.
            lines.append([row["workload"], case, spread_text(doc["mbit_s"]),
                          f"{doc['iops']['median']:.0f}", f"{doc['p99_ms']['median']:.1f}",
                          f"{doc['host_cpu_s']['median'] / gib:.2f}",
                          f"{doc['target_cpu_s']['median'] / gib:.2f}",
                          ratio_text(row["ratios"][case]) if case in row["ratios"] else "",
                          limit, met])
    benchlib.table(["workload", "case", "Mbit/s (spread)", "IOPS", "p99 ms", "host CPU s/GiB",
                    "target CPU s/GiB", "ratio (spread)", "bar", ""], lines, out, markdown=True)
    print(file=out)


def trouble(line):
    """When the first two intervals without a completion begin; the longest may come later."""
    ios = line["ios"]
    first = next((i for i in range(len(ios) - 1) if ios[i] == ios[i + 1] == 0), None)
    return line["stall_at"] if first is None else first * line["interval"]


def plot_cut(rows, folder):
    names = []
    for key, what, image in (("stall_ms", "Longest time without a completion, ms",
                              "mptcp-cut-stall.svg"),
                             ("worst_ms", "Slowest I/O, ms", "mptcp-cut-worst.svg")):
        svgplot.bars(os.path.join(folder, image), what, "ms, logarithmic", [
            svgplot.Group(row["workload"], [
                svgplot.Bar(case, doc[key]["median"], doc[key]["low"], doc[key]["high"])
                for case, doc in row["cases"].items()]) for row in rows], is_log=True)
        names.append((what, image))
    first = rows[0]
    strips = []
    for case in (mptcp_cut.MANAGED, mptcp_cut.SYSCTLS, mptcp_cut.DEFAULT, mptcp_cut.ANA_SHORT,
                 mptcp_cut.TCP):
        line = first["cases"].get(case, {}).get("timeline")
        if line:
            zero = trouble(line)
            strips.append(svgplot.Strip(case.replace("MPTCP, ", "").replace("TCP, ", "TCP: "), [
                ((i * line["interval"] - zero) * 1000, count)
                for i, count in enumerate(line["ios"])],
                f"stall {first['cases'][case]['stall_ms']['median']:.0f} ms"))
    image = "mptcp-cut-timeline.svg"
    svgplot.strips(os.path.join(folder, image),
                   f"Completions in each 5 ms: {first['workload']} at about 0", "ms", (-150, 1150), strips)
    return [("Completions over time", image)] + names


def write_cut(rows, folder, out):
    sysctls = " ".join(mptcp_cut.DOCUMENTED)
    short = ", ".join(f"`{key}={value}`" for key, value in mptcp_cut.SHORT.items())
    mptcp = [doc for row in rows for case, doc in row["cases"].items() if case.startswith("MPTCP")]
    resets = sum(doc["resets"] for doc in mptcp)
    print(CUT.format(sysctls=sysctls, short=short, runs=sum(len(doc["runs"]) for doc in mptcp),
                     resets=f"{resets or 'no'} reset{'' if resets == 1 else 's'}") + "\n", file=out)
    for title, image in plot_cut(rows, folder):
        print(f"![{title}]({image})\n", file=out)
    lines = []
    for row in rows:
        for case, doc in row["cases"].items():
            met = [row["checks"].get(f"{case}: {key}") for key in ("stall_ms", "worst_ms",
                                                                   "errors")]
            bars = [f"≤ {check['limit']:g}" for check in met[:2] if check]
            lines.append([row["workload"], case, len(doc["runs"]), spread_text(doc["stall_ms"]),
                          spread_text(doc["worst_ms"]), doc["errors"], doc["resets"],
                          " / ".join(bars),
                          "" if not bars else
                          "met" if all(c["met"] for c in met if c) else "**missed**"])
    benchlib.table(["cut", "case", "runs", "stall ms (spread)", "worst I/O ms (spread)", "errors",
                    "resets", "bar", ""], lines, out, markdown=True)
    print(file=out)


def write_loss(rows, folder, out):
    """Rows of bench/mptcp-loss.py: what it says of itself, and its numbers."""
    print(LOSS + "\n",
          file=out)
    image = "mptcp-loss.svg"
    svgplot.bars(os.path.join(folder, image), TITLES["loss"], "IOPS, logarithmic", [
        svgplot.Group(row["workload"], [
            svgplot.Bar(case, doc["iops"]["median"], doc["iops"]["low"], doc["iops"]["high"])
            for case, doc in row["cases"].items()]) for row in rows], is_log=True)
    print(f"![{TITLES['loss']}]({image})\n", file=out)
    lines = [[row["workload"], case, len(doc["runs"]), spread_text(doc["iops"]),
              spread_text(doc["p99_ms"], 1), doc["errors"]]
             for row in rows for case, doc in row["cases"].items()]
    benchlib.table(["workload", "case", "runs", "IOPS (spread)", "p99 ms (spread)", "errors"],
                   lines, out, markdown=True)
    print(file=out)
    lines = [[row["workload"], name, f"{check['value']:.2f}",
              ("≥ " if check["higher_is_better"] else "≤ ") + f"{check['limit']:g}",
              "met" if check["met"] else "**missed**"]
             for row in rows for name, check in row["checks"].items()]
    if lines:
        benchlib.table(["workload", "check", "is", "bar", ""], lines, out, markdown=True)
        print(file=out)


def write(args, doc, folder):
    path = os.path.join(folder, "mptcp-performance.md")
    with open(path + ".new", "w", encoding="utf-8") as out:
        print("<!-- Written by bench/mptcp --docs: do not edit. -->\n"
              "# MPTCP over several links\n", file=out)
        print(f"Measured on {datetime.date.today().isoformat()}: {os.cpu_count()} cores, Linux "
              f"{doc['kernel']}, {args.note}.\nHost (`nvmf-perf`) and target (`nvmf-target`, a "
              "null namespace unless I/O is verified) are in network\nnamespaces of their own on "
              "that machine, joined by links that are shaped with tbf (20 ms of queue).\n"
              f"{doc['rounds']} round{'s' * (doc['rounds'] != 1)} (3 of what is slow or has many cases) in which all cases take "
              f"turns, {doc['runtime_s']:g} s each\n(1 s under loss) after the connections have "
              "settled. Numbers are\nmedians with the lowest and highest "
              "in parentheses, ratios are medians of those within a round.\nCongestion control is "
              "cubic, Linux's default, on all subflows at both ends, unless said otherwise.\n"
              "CPU is that of the two processes, their system calls included. Again on your "
              "machine, as root:\n`bench/mptcp --docs`.\n", file=out)
        for name, title in TITLES.items():
            rows = [row for row in doc["rows"] if row["row"] == name]
            if not rows:
                continue
            print(f"## {title}\n", file=out)
            if name == "cut":
                write_cut(rows, folder, out)
            elif name == "loss":
                write_loss(rows, folder, out)
            else:
                write_bandwidth(rows, name, folder, out)
    with open(path + ".new", encoding="utf-8") as file:
        text = file.read().rstrip("\n") + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.remove(path + ".new")
