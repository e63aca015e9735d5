#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""usage: test-report.py BUILD_DIR LOG_BASE EXPECTED COUNTS_FILE

Counts the cases of one `meson test` run from BUILD_DIR/meson-logs/LOG_BASE.json,
shows the output of the tests that failed and the reason of each skip, and writes
"PASSED FAILED SKIPPED" to COUNTS_FILE. EXPECTED is how many tests should be there.

Whatever is not plainly a pass or an explained skip is a failure: meson itself
calls a TAP test that printed nothing "skipped"."""

import glob
import json
import os
import re
import sys

CASE = re.compile(r'(not )?ok\b(?:\s+\d+)?(?:\s+-)?\s*(.*?)\s*(?:#\s*(SKIP|TODO)\b\S*\s*(.*))?$',
                  re.I)
PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*SKIP\b\S*\s*(.*))?$', re.I)
SHOWN_LINES = 200


class Outcome:
    """What one test program proved."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skips = []         # (case or None, reason)
        self.complaints = []    # why something counts as failed that no line says

    def fail(self, why):
        self.failed += 1
        self.complaints.append(why)

    def skip(self, case, reason):
        if reason and reason.strip():
            self.skips.append((case, reason.strip()))
        else:
            self.fail(f'{case or "the test"} was skipped without a reason')


def read_tap(stdout, outcome):
    """Counts cases; returns how many of them the plan promised, or None."""
    planned = None
    for line in stdout.splitlines():
        plan = PLAN.match(line)
        if plan:
            planned = (planned or 0) + int(plan.group(1))
            if plan.group(1) == '0':
                outcome.skip(None, plan.group(2))
            continue
        case = CASE.match(line)
        if not case:
            continue
        not_ok, name, directive, reason = case.groups()
        if directive and directive.upper() == 'SKIP' and not not_ok:
            outcome.skip(name or 'a case', reason)
        elif not_ok or directive:
            outcome.failed += 1
        else:
            outcome.passed += 1
    return planned


def judge(test, is_tap):
    outcome = Outcome()
    result = test.get('result', 'ERROR')
    stdout = test.get('stdout') or ''
    if is_tap:
        planned = read_tap(stdout, outcome)
        cases = outcome.passed + outcome.failed + len(outcome.skips)
        if planned is None:
            outcome.fail('it printed no plan')
        elif cases < planned:
            outcome.fail(f'it ended after {cases} of {planned} cases')
    elif result in ('OK', 'EXPECTEDFAIL'):
        outcome.passed = 1
    elif result == 'SKIP':
        said = (stdout + (test.get('stderr') or '')).strip().splitlines()
        said = [line for line in said if not line.startswith('(test program exited')]
        outcome.skip(None, said[-1] if said else None)
    if result not in ('OK', 'EXPECTEDFAIL', 'SKIP') and not outcome.failed:
        outcome.fail(f'meson test says {result} (exit status {test.get("returncode")})')
    return outcome


def show(test, outcome):
    print(f'--- FAILED: {test["name"]}: {test.get("result")}, '
          f'exit status {test.get("returncode")}, {test.get("duration", 0):.1f} s')
    for complaint in outcome.complaints:
        print(f'    {complaint}')
    for stream in ('stdout', 'stderr'):
        lines = (test.get(stream) or '').rstrip().splitlines()
        if not lines:
            continue
        print(f'    --- its {stream}:')
        if len(lines) > SHOWN_LINES:
            print(f'    ... {len(lines) - SHOWN_LINES} lines before ...')
        # Indented, so that no line of a test can pass for one of ours.
        for line in lines[-SHOWN_LINES:]:
            print('    ' + line)
    print('--- command: ' + ' '.join(test.get('command', [])))


def main(argv):
    if argv[1:] == ['--help']:
        print(__doc__)
        return 0
    if len(argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    build, base, expected, counts = argv[1], argv[2], int(argv[3]), argv[4]
    sys.stdout.reconfigure(errors='backslashreplace')
    with open(os.path.join(build, 'meson-info', 'intro-tests.json'), encoding='utf-8') as f:
        protocols = {t['name']: t.get('protocol') for t in json.load(f)}
    tests = []
    # With --wrapper meson puts the wrapper's name behind the base.
    for log in glob.glob(os.path.join(glob.escape(build), 'meson-logs', base + '*.json')):
        with open(log, encoding='utf-8', errors='surrogateescape') as f:
            tests += [json.loads(line) for line in f if line.strip()]

    passed = failed = skipped = 0
    for test in tests:
        outcome = judge(test, protocols.get(test['name'].split(' / ')[-1]) == 'tap')
        passed += outcome.passed
        failed += outcome.failed
        skipped += len(outcome.skips)
        if outcome.failed:
            show(test, outcome)
        for case, reason in outcome.skips:
            print(f'--- skipped: {test["name"]}{": " + case if case else ""}: {reason}')
    if len(tests) < expected:
        failed += expected - len(tests)
        print(f'--- FAILED: {expected - len(tests)} of {expected} tests did not run to an end')
    if not expected:
        failed += 1
        print('--- FAILED: there is no test to run here')
    with open(counts, 'w', encoding='ascii') as f:
        f.write(f'{passed} {failed} {skipped}\n')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
