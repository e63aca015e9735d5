# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shape that all parts of the benchmark have, so that bench/run can treat them alike.

A part is bench/NAME.py. As a script it takes add_options(), measures its subjects in turns
(rotate()), and hands its rows to finish(), which prints the table, writes the JSON file, and says
by the exit status whether all bars were met. As a module it may have

    markdown(doc, out)      its section of docs/performance.md, written from the JSON document
    plots(doc, folder)      SVG files named performance-NAME*.svg in folder, which markdown() shows

A part that cannot run here raises benchlib.Skip with the reason.
"""

import json
import statistics
import sys

import benchlib


def add_options(ap, rounds, runtime):
    """What bench/run passes to every part."""
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--rounds", type=int, help=f"rounds in which the subjects take turns ({rounds})")
    ap.add_argument("--runtime", type=float, help=f"seconds measured per run ({runtime:g})")
    ap.add_argument("--quick", action="store_true",
                    help="everything once and short: shows that it works, measures nothing")
    ap.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    ap.add_argument("--out", metavar="FILE", help="write rows and runs as JSON")
    ap.set_defaults(default_rounds=rounds, default_runtime=runtime)


def parse(ap, argv=None):
    args = ap.parse_args(argv)
    if args.rounds is None:
        args.rounds = 1 if args.quick else args.default_rounds
    if args.runtime is None:
        args.runtime = min(0.2, args.default_runtime) if args.quick else args.default_runtime
    if args.rounds < 1 or args.runtime <= 0:
        ap.error("--rounds must be at least 1, and --runtime more than 0")
    return args


def rotate(subjects, rounds):
    """(round, subject): every subject once per round, another first each time."""
    subjects = list(subjects)
    for rnd in range(rounds):
        turn = rnd % len(subjects)
        for subject in subjects[turn:] + subjects[:turn]:
            yield rnd, subject


def progress(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)


def spread(values):
    """(median, lower quartile, upper quartile)."""
    values = sorted(values)
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def _listed(values):
    return list(values) if isinstance(values, (list, tuple)) else [values]


def row(transport, workload, metric, unit, libnof, other=None, bar=None, higher=True,
        bar_on=None, **more):
    """One line of the result.

    libnof and other: the values of all rounds (the n-th of both belong to one round), or one
    number. With other, the ratio is the median of the ratios within a round and the bar is held
    against it; without, or with bar_on="libnof", against the median of libnof itself. More, as it
    applies: engine; versus (what other is); judged=False (the bar is shown, but is no pass mark);
    stable=True (the libnof value itself, not only a ratio, may be compared between runs: a count,
    a size); scale (a factor for showing libnof and other).
    """
    ours = _listed(libnof)
    out = {"transport": transport, "workload": workload, "metric": metric, "unit": unit}
    out["libnof"], out["libnof_low"], out["libnof_high"] = spread(ours)
    bar_on = bar_on or ("libnof" if other is None else "ratio")
    if other is not None:
        theirs = _listed(other)
        out["other"], out["other_low"], out["other_high"] = spread(theirs)
        ratios = [a / b if b else 0.0 for a, b in zip(ours, theirs)]
        out["ratio"], out["ratio_low"], out["ratio_high"] = spread(ratios)
    value = out[bar_on]
    out["bar"], out["bar_on"] = bar, bar_on
    out["higher_is_better"] = higher
    out["met"] = None if bar is None else value >= bar if higher else value <= bar
    out.update(more)
    out["judged"] = bar is not None and out.get("judged", True)
    return out


def number(value):
    """Three digits or so: no more of a measured value means anything."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    for least, digits in ((100, 0), (10, 1), (0.1, 2), (0.01, 3)):
        if abs(value) >= least:
            return f"{value:.{digits}f}"
    return f"{value:.2g}"


def with_spread(doc, key):
    if doc.get(key) is None:
        return "–"
    scale = 1 if key == "ratio" else doc.get("scale", 1)
    text, low, high = (number(doc[key + end] * scale) if key + end in doc else None
                       for end in ("", "_low", "_high"))
    return text if low is None or low == high else f"{text} ({low}–{high})"


def bar_text(doc):
    if doc.get("bar") is None:
        return "–"
    return ("≥ " if doc["higher_is_better"] else "≤ ") + number(doc["bar"])


def verdict(doc):
    if doc.get("met") is None:
        return ""
    text = "met" if doc["met"] else "MISSED"
    return text if doc.get("judged", True) else f"({text.lower()})"


HEAD = ["", "workload", "measure", "engine", "libnof", "other", "ratio", "bar", ""]


def cells(doc):
    other = with_spread(doc, "other")
    if doc.get("versus") and "other" in doc:
        other += f" {doc['versus']}"
    measure = ", ".join(filter(None, (doc["metric"], doc["unit"])))
    return [doc["transport"].upper(), doc["workload"], measure,
            doc.get("engine", ""), with_spread(doc, "libnof"), other, with_spread(doc, "ratio"),
            bar_text(doc), verdict(doc)]


def table(rows, out=sys.stdout, markdown=False):
    """Columns that say nothing in any row are left out."""
    if not rows:
        return
    lines = [cells(doc) for doc in rows]
    used = [i for i in range(len(HEAD))
            if any(line[i] not in ("", "–") for line in lines)] or [0]
    benchlib.table([HEAD[i] for i in used], [[line[i] for i in used] for line in lines], out,
                   markdown)


def missed(rows):
    return [doc for doc in rows if doc.get("met") is False and doc.get("judged", True)]


def finish(args, part, rows, raw=None, **more):
    """Prints, writes; returns the exit status."""
    progress("")
    table(rows)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"part": part, "rounds": args.rounds, "runtime_s": args.runtime,
                       "quick": args.quick, **more, "rows": rows, "raw": raw}, file, indent=1)
            file.write("\n")
    return 1 if args.check and missed(rows) else 0
