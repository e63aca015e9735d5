# SPDX-License-Identifier: LGPL-2.1-or-later
"""verify_paths: verified random I/O that goes on while a case breaks things.

    with Verify(build, uri, other_uri) as load:
        load.runs()                     # some I/O has completed
        break_something()
        load.until(lambda s: s['paths'][0]['state'] == 'live', 'path 0 is live again')
        load.runs()                     # more than before
        stats = load.finish()           # all read back; no errors, no mismatches

Each wait is for a condition in the program's counters, with a deadline.
"""

import json
import select
import subprocess
import time

from programs import die_with_parent, program
from tap import Failure

DEADLINE = 60


class Verify:
    def __init__(self, build, *uris, channels=1, depth=16, seed=1, zeroes=False, drain=DEADLINE):
        self.argv = [program(build, 'tests', 'interop', 'verify_paths'),
                     f'--channels={channels}', f'--depth={depth}', f'--seed={seed}',
                     f'--drain={drain}'] + ['--zeroes'] * zeroes + list(uris)
        self.drain = drain
        self.events = []        # everything but stats, in order
        self.pending = b''
        self.stats = None       # the last that were told
        self.told = 0           # how often

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _died(self):
        self.process.wait(DEADLINE)
        return Failure(f'{" ".join(self.argv)} ended with {self.process.returncode}: '
                       f'{self.process.stderr.read().decode(errors="replace")[-2000:]} '
                       f'{self.last_words()}')

    def last_words(self):
        return f'counters {json.dumps(self.stats)}; last events {json.dumps(self.events[-8:])}'

    def _read(self, seconds):
        """Takes what it says, waiting at most so long; False at its end."""
        got, _, _ = select.select([self.process.stdout], [], [], max(0, seconds))
        if not got:
            return True
        data = self.process.stdout.read1(65536)
        *lines, self.pending = (self.pending + data).split(b'\n')
        for line in lines:
            message = json.loads(line)
            if 'stats' in message:
                self.stats = message['stats']
                self.told += 1
            else:
                self.events.append(message)
        return bool(data)

    def say(self, command):
        try:
            self.process.stdin.write(command.encode() + b'\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._died()

    def ask(self, deadline=DEADLINE):
        """The counters now."""
        told, end = self.told, time.monotonic() + deadline
        self.say('stats')
        while self.told == told:
            left = end - time.monotonic()
            if left <= 0:
                raise Failure(f'verify_paths says nothing for {deadline} s: {self.last_words()}')
            if not self._read(left):
                raise self._died()
        return self.stats

    def until(self, condition, what, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while not condition(self.ask()):
            if time.monotonic() >= end:
                raise Failure(f'waited {deadline} s for: {what}; {self.last_words()}')
            self._read(0.02)
        return self.stats

    def runs(self, more=200, deadline=DEADLINE):
        """So many operations complete from now on, without an error."""
        began = self.ask()['completed'] if self.stats else 0
        self.until(lambda s: s['completed'] >= began + more or s['errors'],
                   f'{more} operations after {began}', deadline)
        self.good()

    def good(self):
        s = self.stats
        if s['errors'] or s['mismatches'] or s['doubled']:
            raise Failure(f'{s["errors"]} errors, {s["mismatches"]} mismatches, '
                          f'{s["doubled"]} double completions: {self.last_words()}')

    def live_again(self, path=0, losses=1, deadline=DEADLINE):
        """The path was lost so often, and is live."""
        self.until(lambda s: s['paths'][path]['losses'] >= losses
                   and s['paths'][path]['state'] == 'live',
                   f'path {path} lost {losses} times and live again', deadline)

    def end(self):
        """Stops it; its exit status. The counters are the final ones."""
        self.say('stop')
        end = time.monotonic() + 2 * self.drain + 30
        while self._read(end - time.monotonic()):
            if time.monotonic() >= end:
                raise Failure(f'verify_paths does not end: {self.last_words()}')
        status = self.process.wait(30)
        if self.stats is None or not self.stats['final']:
            raise self._died()
        return status

    def finish(self):
        """Stops it, which has to have been without an error; the counters."""
        status = self.end()
        self.good()
        s = self.stats
        if status or not s['checked'] or s['completed'] != s['submitted']:
            raise self._died()
        return s
