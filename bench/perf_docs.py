# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes docs/performance.md and its plots from the document of a run."""

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
