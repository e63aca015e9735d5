# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the rows of a run with those of an older one.

Absolute times and rates differ between machines and hours; the ratio of libnof to what ran beside
it hardly does. So what is compared are ratios: the new one over the old one, turned so that more
is better. Rows marked stable (counts of instructions, sizes of memory) are compared as they are.
"""

import glob
import json
import os
import sys

import benchlib
import parts
from benchlib import BenchError

# A change below this is nothing, whatever the spread says: share of the value.
ALLOWED = 0.05
ALLOWED_STABLE = 0.01
# Likewise one below this many of the wider interquartile range: some hundred rows are compared,
# and none of them may be worse by chance.
SPREADS = 1.5


def load(name, history):
    path = name
    if name == "last":
        found = sorted(glob.glob(os.path.join(history, "*.json")))
        if not found:
            raise BenchError("bench/history is empty: there is no run to compare with")
        path = found[-1]
    try:
        with open(path, encoding="utf-8") as file:
            doc = json.load(file)
        return {"path": path, "parts": doc["parts"], "when": doc["when"],
                "commit": doc["commit"], "machine": doc["machine"]}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise BenchError(f"{path} is no result of bench/run: {err}") from None


def record(doc, history):
    """Keeps rows, not the runs behind them: a few KiB that may be committed."""
    os.makedirs(history, exist_ok=True)
    small = {**doc, "parts": {}}
    for name, part in doc["parts"].items():
        rows = [row for row in part.get("rows", []) if isinstance(row, dict)]
        if rows:
            small["parts"][name] = {"rows": rows}
    path = os.path.join(history, doc["when"][:10] + "-" + doc["commit"].split()[0] + ".json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(small, file, indent=1)
        file.write("\n")
    return path


def key(name, row):
    return (name, row["transport"], row["workload"], row["metric"], row.get("engine", ""),
            row.get("versus_key", ""))


def index(doc):
    return {key(name, row): row for name, part in doc["parts"].items()
            for row in part.get("rows", []) if isinstance(row, dict)}


def compared(row):
    """(what is compared, allowed change), or None."""
    if row.get("ratio") is not None:
        return "ratio", ALLOWED
    if row.get("stable"):
        return "libnof", ALLOWED_STABLE
    return None


def change(old, new):
    """(which value, gain: below 1 is worse, whether it is worse for certain), or None.

    For certain: by more than is allowed, and by more than the spread of either explains.
    """
    what = compared(new)
    if not what or what != compared(old) or not old[what[0]] or not new[what[0]]:
        return None
    field, allowed = what
    up = new["higher_is_better"]
    gain = new[field] / old[field] if up else old[field] / new[field]
    wider = max(row.get(field + "_high", row[field]) - row.get(field + "_low", row[field])
                for row in (old, new))
    apart = abs(new[field] - old[field]) > SPREADS * wider
    return field, gain, gain < 1 - allowed and apart


def compare(old, new):
    """(lines of the table of what changed, number of those that are worse, rows compared)."""
    before, lines, worse, count = index(old), [], 0, 0
    for name, row in index(new).items():
        if name not in before:
            continue
        result = change(before[name], row)
        if not result:
            continue
        count += 1
        field, gain, bad = result
        lost_bar = bool(before[name].get("met")) and row.get("met") is False and \
            row.get("judged", True)
        good = gain > 1 + compared(row)[1]
        worse += bad
        if bad or good or lost_bar:
            lines.append((gain, [*name[:5], parts.number(before[name][field]),
                                 parts.number(row[field]), f"{(gain - 1) * 100:+.1f} %",
                                 "WORSE" if bad else "bar lost" if lost_bar else
                                 "better" if good else ""]))
    lines.sort(key=lambda line: line[0])
    return [line for _, line in lines], worse, count


def report(old, new, out=sys.stdout):
    """Prints; returns how many rows are worse."""
    lines, worse, count = compare(old, new)
    print(f"== against {old['when'][:10]}, commit {old['commit']}: {count} rows compared, "
          f"{worse} worse", file=out)
    if old["machine"].get("cpu") != new["machine"].get("cpu") or \
            old["machine"].get("kernel") != new["machine"].get("kernel"):
        print("   measured on another machine or kernel: "
              f"{old['machine'].get('cpu')}, {old['machine'].get('kernel')}", file=out)
    if lines:
        benchlib.table(["part", "", "workload", "measure", "engine", "then", "now", "change", ""],
                       lines, out)
    return worse
