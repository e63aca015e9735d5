# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program under callgrind and reads what it wrote: instructions by function and file."""

import os
import re
import subprocess
import tempfile
from collections import Counter, namedtuple

from failures import BenchError, Skip

# object: the program or library; file: the source line's, also of what was inlined
Place = namedtuple("Place", "object function file")

_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")
_SPEC = re.compile(r"^(ob|fl|fi|fe|fn|cob|cfi|cfl|cfn)=(.*)$")
# Which table of abbreviated names a line uses.
_TABLE = {"ob": "ob", "cob": "ob", "fn": "fn", "cfn": "fn"}


def _name(tables, spec, text):
    found = _NAME.match(text)
    if not found:
        return text
    table = tables.setdefault(_TABLE.get(spec, "fl"), {})
    if found.group(2) is not None:
        table[found.group(1)] = found.group(2)
    return table.get(found.group(1), "?")


def parse(lines):
    """Instructions of each Place itself, without those that it calls."""
    tables, costs = {}, Counter()
    obj = function = file = "?"
    is_call = False
    for line in lines:
        line = line.rstrip("\n")
        found = _SPEC.match(line)
        if found:
            spec, name = found.group(1), _name(tables, found.group(1), found.group(2))
            if spec == "ob":
                obj = name
            elif spec == "fn":
                function = name
            elif spec in ("fl", "fi", "fe"):
                file = name
        elif line.startswith("calls="):
            is_call = True          # the next line is the cost of the call: not the caller's own
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            fields = line.split()
            if not is_call and len(fields) > 1:
                costs[Place(obj, function, file)] += int(fields[1])
            is_call = False
    return costs


def run(argv, timeout):
    """The costs of one run of a program."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                   "--compress-pos=no", *argv]
        try:
            proc = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=timeout, check=False)
        except FileNotFoundError:
            raise Skip("valgrind is not installed") from None
        except subprocess.TimeoutExpired:
            raise BenchError(f"no end within {timeout} s: {' '.join(command)}") from None
        if proc.returncode:
            raise BenchError(f"{' '.join(command)} ended with status {proc.returncode}: "
                             + proc.stderr.decode(errors="replace").strip()[-300:])
        with open(out, encoding="utf-8", errors="replace") as file:
            return parse(file)
