# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the function names that a public header declares and a version script exports."""

import os
import re
import subprocess


def preprocess(header, cc=None):
    """The header as the compiler sees it, only its own lines."""
    argv = (cc or os.environ.get('CC') or 'cc').split() + ['-E', '-x', 'c', header]
    out = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    own, lines = True, []
    for line in out.splitlines():
        mark = re.match(r'#\s*(?:line\s+)?\d+\s+"([^"]*)"', line)
        if mark:
            # Headers split off nof.h count, those of the system do not.
            own = os.path.dirname(os.path.abspath(mark.group(1))) == \
                os.path.dirname(os.path.abspath(header))
        elif own and not line.startswith('#'):
            lines.append(line)
    return '\n'.join(lines)


def _statements(text):
    """Declarations at file scope, what is in braces left out."""
    depth, statement = 0, ''
    for token in re.findall(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|.', text, re.S):
        if token == '{':
            # Inside extern "C" is still file scope.
            if depth == 0 and re.search(r'extern\s*"C"\s*$', statement):
                statement = ''
                continue
            depth += 1
        elif token == '}':
            depth = max(depth - 1, 0)
            # The end of a function's body ends a statement; of a struct's does not.
            if depth == 0 and statement.rstrip().endswith(')'):
                yield statement
                statement = ''
        elif depth == 0 and token == ';':
            yield statement
            statement = ''
        elif depth == 0:
            statement += token


def _without_groups(text):
    """The text without what parentheses hold; '(' stays as a mark."""
    depth, out = 0, ''
    for char in text:
        if char == '(':
            out += '(' if depth == 0 else ''
            depth += 1
        elif char == ')':
            depth -= 1
        elif depth == 0:
            out += char
    return out


def functions(header, cc=None):
    """Names of the functions that the header declares for others to define."""
    names = set()
    for statement in _statements(preprocess(header, cc)):
        flat = re.sub(r'__attribute__\s*\(|__asm__\s*\(', ' ', _without_groups(statement))
        if re.match(r'\s*(typedef|static)\b', flat):
            continue
        found = re.search(r'([A-Za-z_]\w*)\s*\(', flat)
        if found:
            names.add(found.group(1))
    return names


def map_names(path):
    """(exported names, complaints) of a linker version script."""
    with open(path, encoding='utf-8') as f:
        text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    text = re.sub(r'#.*', '', text)
    names, complaints, hides_rest = [], [], False
    for node, body in re.findall(r'(\w+)\s*\{(.*?)\}', text, re.S):
        visible = True
        for word in re.findall(r'global\s*:|local\s*:|[^\s;]+', body):
            if word.startswith('global'):
                visible = True
            elif word.startswith('local'):
                visible = False
            elif not visible:
                hides_rest |= word == '*'
            elif not re.fullmatch(r'\w+', word):
                complaints.append(f'{node} exports the pattern {word}: list the names instead')
            else:
                names.append(word)
    for name in sorted({n for n in names if names.count(n) > 1}):
        complaints.append(f'{name} is listed twice')
    if not hides_rest:
        complaints.append('no "local: *;": everything else would be exported too')
    return set(names), complaints
