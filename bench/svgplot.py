# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG, written without any library: bars with their spread, and strips of a timeline.

    bars("out.svg", "Title", "Mbit/s", [Group("4k reads", [Bar("TCP", 950, 940, 956), …]), …])
    strips("out.svg", "Title", "ms", (-100, 1000), [Strip("TCP", [(x, y), …], "note"), …])
"""

import math
import xml.sax.saxutils
from collections import namedtuple

Bar = namedtuple("Bar", "name value low high")          # low and high: the spread of the rounds
Group = namedtuple("Group", "name bars")
Strip = namedtuple("Strip", "name points note")         # points: (x, y), by x, equally spaced

COLOURS = ("#8a94a6", "#1f6fb4", "#d9822b", "#3a9455", "#9b59b6", "#b5483a", "#5f6b7a",
           "#c9a227", "#2f8f8f", "#7a5230", "#d46a9f", "#4b5fbf", "#94a83a", "#333333")
WIDTH = 780
FONT = "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\""


def _text(x, y, text, anchor="start", more=""):
    return (f"<text x=\"{x:.1f}\" y=\"{y:.1f}\" text-anchor=\"{anchor}\" {more}>"
            f"{xml.sax.saxutils.escape(text)}</text>")


def _rect(x, y, width, height, fill, more=""):
    return (f"<rect x=\"{x:.1f}\" y=\"{y:.1f}\" width=\"{width:.1f}\" height=\"{height:.1f}\" "
            f"fill=\"{fill}\" {more}/>")


def _line(x1, y1, x2, y2, stroke="#222", width=1.0, more=""):
    return (f"<line x1=\"{x1:.1f}\" y1=\"{y1:.1f}\" x2=\"{x2:.1f}\" y2=\"{y2:.1f}\" "
            f"stroke=\"{stroke}\" stroke-width=\"{width}\" {more}/>")


def _write(path, height, title, parts):
    name = xml.sax.saxutils.escape(title)
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" "
                  f"height=\"{height:.0f}\" viewBox=\"0 0 {WIDTH} {height:.0f}\" role=\"img\" "
                  f"aria-label=\"{xml.sax.saxutils.escape(title, {chr(34): '&quot;'})}\" {FONT}>\n"
                  f"<title>{name}</title>\n")
        out.write(_rect(0, 0, WIDTH, height, "#fff") + "\n")
        out.write(_text(12, 22, title, more="font-weight=\"bold\" font-size=\"14\"") + "\n")
        out.write("\n".join(parts) + "\n</svg>\n")


def nice(value):
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _scale(low, high, is_log):
    """(position of a value between 0 and 1, values worth a line)."""
    if is_log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        span = max(last - first, 1)
        ticks = [10.0 ** k for k in range(first, first + span + 1)]
        return lambda v: max(math.log10(max(v, 10.0 ** first)) - first, 0) / span, ticks
    step = nice(high / 5)
    top = math.ceil(high / step - 1e-9) * step
    return lambda v: v / top, [step * k for k in range(round(top / step) + 1)]


def bars(path, title, unit, groups, is_log=False, mark=None):
    """Horizontal bars, one group below the other; mark: (value, what it is)."""
    values = [bar.value for group in groups for bar in group.bars]
    tops = [max(bar.high, bar.value) for group in groups for bar in group.bars]
    low = min([v for v in values if v > 0] or [1])
    place, ticks = _scale(low, max(tops + [mark[0] if mark else 0] + [1e-9]), is_log)
    left, right, row, gap, top = 270, WIDTH - 70, 17, 12, 50
    names = list(dict.fromkeys(bar.name for group in groups for bar in group.bars))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    height = top + sum((len(group.bars) + 1) * row + gap for group in groups) + 34
    parts = []

    def at(value):
        return left + place(value) * (right - left)

    parts.append(_text(right, 22, unit, "end"))
    for tick in ticks:
        parts.append(_line(at(tick), top - 8, at(tick), height - 30, "#ddd"))
        parts.append(_text(at(tick), height - 14, number(tick), "middle"))
    y = top
    for group in groups:
        parts.append(_text(12, y + row - 5, group.name, more="font-weight=\"bold\""))
        y += row
        for bar in group.bars:
            parts.append(_text(left - 6, y + row - 5, bar.name, "end", "font-size=\"11\""))
            parts.append(_rect(left, y + 2, max(at(bar.value) - left, 0.5), row - 4,
                               colour[bar.name]))
            middle = y + row / 2
            parts.append(_line(at(bar.low), middle, at(bar.high), middle, "#222", 1.2))
            for end in (bar.low, bar.high):
                parts.append(_line(at(end), middle - 3, at(end), middle + 3, "#222", 1.2))
            parts.append(_text(max(at(bar.high), at(bar.value)) + 5, y + row - 5,
                               number(bar.value), more="font-size=\"11\""))
            y += row
        y += gap
    if mark:
        parts.append(_line(at(mark[0]), top - 8, at(mark[0]), height - 30, "#b5483a", 1.4,
                           "stroke-dasharray=\"5 3\""))
        parts.append(_text(at(mark[0]), top - 12, mark[1], "middle",
                           "fill=\"#b5483a\" font-size=\"11\""))
    _write(path, height, title, parts)


def strips(path, title, unit, limits, rows, height_of_strip=54):
    """Areas below each other with one axis; every strip has its own height."""
    left, right, top, gap = 170, WIDTH - 20, 44, 16
    height = top + len(rows) * (height_of_strip + gap) + 26
    first, last = limits
    step = nice((last - first) / 8)
    parts = []

    def at(x):
        return left + (x - first) / (last - first) * (right - left)

    tick = math.ceil(first / step) * step
    while tick <= last + 1e-9:
        parts.append(_line(at(tick), top - 6, at(tick), height - 28, "#ddd"))
        parts.append(_text(at(tick), height - 12, f"{tick:g}", "middle"))
        tick += step
    parts.append(_text(right, 22, unit, "end"))
    y = top
    for i, strip in enumerate(rows):
        inside = [(x, v) for x, v in strip.points if first <= x <= last]
        highest = max([v for _, v in inside] + [1e-9])
        base = y + height_of_strip
        width = inside[1][0] - inside[0][0] if len(inside) > 1 else last - first
        path_of = [f"M{at(first):.1f},{base:.1f}"]
        for x, v in inside:
            level = base - v / highest * height_of_strip
            path_of.append(f"L{at(x):.1f},{level:.1f}L{at(min(x + width, last)):.1f},{level:.1f}")
        path_of.append(f"L{at(inside[-1][0] + width if inside else last):.1f},{base:.1f}Z")
        parts.append(f"<path d=\"{''.join(path_of)}\" fill=\"{COLOURS[(i + 1) % len(COLOURS)]}\" "
                     "fill-opacity=\"0.75\"/>")
        parts.append(_line(left, base, right, base, "#888"))
        parts.append(_text(12, y + height_of_strip / 2 - 2, strip.name))
        parts.append(_text(12, y + height_of_strip / 2 + 14, strip.note,
                           more="font-size=\"11\" fill=\"#666\""))
        y += height_of_strip + gap
    _write(path, height, title, parts)
