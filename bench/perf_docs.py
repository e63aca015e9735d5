# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes docs/performance.md, its plots, and the table in README.md from the document of a run."""

import io
import os

import benchlib
import parts

HOW = "performance-notes.md"


def bars(doc):
    """All rows that have a bar, of all parts, in the order of the parts."""
    return [(name, row) for name, part in doc["parts"].items()
            for row in part.get("rows", []) if isinstance(row, dict) and row.get("bar") is not None]


def write_bars(doc, out):
    rows = bars(doc)
    if not rows:
        return
    judged = [row for _, row in rows if row.get("judged", True)]
    print("## All bars\n", file=out)
    print(f"{sum(row['met'] for row in judged)} of {len(judged)} are met. In brackets: shown, but "
          "not what a user gets who\nconfigures nothing.\n", file=out)
    lines = []
    for name, row in rows:
        text = parts.with_spread(row, row.get("bar_on") or ("ratio" if "ratio" in row
                                                            else "libnof"))
        measure = row["metric"]
        if "ratio" in row and row.get("bar_on") == "ratio":
            measure += f", over {row['versus']}" if row.get("versus") else ", ratio"
        lines.append([name, row["transport"].upper(), row["workload"], measure,
                      row.get("engine", ""), text, parts.bar_text(row), parts.verdict(row)])
    benchlib.table(["part", "", "workload", "measure", "engine", "is", "bar", ""], lines, out,
                   markdown=True)
    print(file=out)


def write(doc, modules, folder):
    """modules: name of the part to the module that has its markdown() and plots()."""
    path = os.path.join(folder, "performance.md")
    machine = doc["machine"]
    with open(path + ".new", "w", encoding="utf-8") as out:
        print("<!-- Written by bench/run --docs: do not edit. -->\n# Performance\n", file=out)
        print(f"Measured on {doc['when'][:10]} at commit {doc['commit']}: {machine['cpus']} cores "
              f"({machine['cpu']}),\nLinux {machine['kernel']}, {machine['note']}. Again on your "
              "machine: `bench/run --docs`. How each number is\nmeasured and how to read it: "
              "[bench/README.md](../bench/README.md). What was tried and what was\ndecided: "
              f"[{HOW}]({HOW}).\n", file=out)
        write_bars(doc, out)
        for name, module in modules.items():
            part = doc["parts"].get(name)
            if not part or "skipped" in part or not hasattr(module, "markdown"):
                continue
            if hasattr(module, "plots"):
                module.plots(part, folder)
            if name == "kill":
                module.markdown(part, out, doc["parts"].get("kill-asan"))
            else:
                module.markdown(part, out)
        left_out = [(name, part["skipped"]) for name, part in doc["parts"].items()
                    if "skipped" in part]
        if left_out:
            print("## Left out\n", file=out)
            for name, reason in left_out:
                print(f"- {name}: {reason}", file=out)
    os.replace(path + ".new", path)


# What README.md says: text, part, field, and of one or more rows: (workload, or None for the
# first; beginning of the metric; versus_key).
README_LINES = (
    ("4 KiB reads per client CPU second over a raw request/answer loop's, depth 32 / 128", "speed",
     "ratio", (("4k-qd32", "I/Os per client CPU", None), ("4k-qd128", "I/Os per client CPU", None))),
    ("128 KiB bandwidth per client CPU second over that loop's, depth 32", "speed", "ratio",
     (("128k-qd32", "bandwidth per client CPU", None),)),
    ("median latency over that loop's, depth 1, both sleep / both spin", "speed", "ratio",
     (("4k-qd1", "median", None), ("4k-qd1-spin", "median", None))),
    ("4 KiB IOPS over `iscsi-perf` and tgt, depth 1 / 32 / 128", "peers", "ratio",
     tuple((f"4k-qd{depth}", "IOPS", "iscsi") for depth in (1, 32, 128))),
    ("4 KiB IOPS over libnbd and nbdkit, depth 1 / 32 / 128", "peers", "ratio",
     tuple((f"4k-qd{depth}", "IOPS", "libnbd") for depth in (1, 32, 128))),
    ("user-space instructions per 4 KiB read, the copy excluded, depth 32", "instructions",
     "libnof", (("4k-read-qd32", "instructions", None),)),
    ("IOPS of 1,000 queues on a loop over the same number in flight on 10", "many", "ratio",
     ((None, "IOPS", None),)),
    ("CPU of 1,000 idle queues, percent of a core", "many", "libnof", ((None, "idle CPU", None),)),
    ("memory of an idle I/O queue of depth 128, KiB", "memory", "libnof",
     ((None, "RSS of an idle", None),)),
    ("system calls per I/O, depth 32", "speed", "libnof", (("4k-qd32", "system calls", None),)),
)
README_BEGIN = "<!-- Written by bench/run --docs, down to the end of the table: do not edit. -->\n"
README_END = "<!-- The end of the table. -->\n"


def find(doc, part, transport, workload, metric, versus_key):
    """The row of the engine that users get, or None."""
    rows = [row for row in doc["parts"].get(part, {}).get("rows", [])
            if row["transport"] == transport and workload in (None, row["workload"])
            and row["metric"].startswith(metric)
            and row.get("versus_key") == versus_key]
    default = doc["parts"].get("speed", {}).get("default_engine", "io_uring")
    rows = [row for row in rows if row.get("engine", default) == default]
    return rows[0] if rows else None


def readme_table(doc, out):
    lines = []
    for text, part, field, wanted in README_LINES:
        cells = []
        for transport in ("tcp", "mptcp"):
            rows = [find(doc, part, transport, *want) for want in wanted]
            cells.append(" / ".join(parts.number(row[field]) if row and field in row else "–"
                                    for row in rows))
        if any(set(cell) - set("– /") for cell in cells):
            lines.append([text, *cells])
    machine = doc["machine"]
    print(f"\nMedians of {doc['when'][:10]}, {machine['cpus']} cores, Linux "
          f"{machine['kernel'].split('-')[0]}, loopback:\n", file=out)
    benchlib.table(["", "TCP", "MPTCP"], lines, out, markdown=True)
    print(file=out)


def write_readme(doc, path):
    """Replaces the table between the two marks; a README without them stays as it is."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    head, begin, rest = text.partition(README_BEGIN)
    _, end, tail = rest.partition(README_END)
    if not begin or not end:
        return
    table = io.StringIO()
    readme_table(doc, table)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(head + begin + table.getvalue() + end + tail)
    os.replace(path + ".new", path)
