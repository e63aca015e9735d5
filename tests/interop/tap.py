# SPDX-License-Identifier: LGPL-2.1-or-later
"""TAP for tests that drive programs: every case is a `with` block.

    t = Tap()
    with t.case('4 KiB blocks come back'):
        t.equal(a, b, 'data')

An exception fails the case and the next one goes on; what Fatal says ends all.
"""

import contextlib
import sys
import time
import traceback


class Failure(Exception):
    """What a case expected and did not see."""


class Fatal(Exception):
    """Nothing after this can work."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


class Tap:
    def __init__(self, fatal=()):
        self.fatal = (Fatal,) + tuple(fatal)
        self.count = 0
        self.failed = 0

    def note(self, text):
        for line in str(text).splitlines():
            print('# ' + line, flush=True)

    def _result(self, good, name, tail=''):
        self.count += 1
        self.failed += not good
        print(f'{"ok" if good else "not ok"} {self.count} - {name}{tail}', flush=True)

    @contextlib.contextmanager
    def case(self, name):
        began = time.monotonic()
        try:
            yield
        except Skip as e:
            self._result(True, name, f' # SKIP {e}')
        except self.fatal as e:
            self._result(False, name)
            self.note(e)
            raise Fatal(f'{name}: {e}') from e
        except Failure as e:
            self._result(False, name)
            self.note(e)
        except Exception:   # a fault of the test is a failed test
            self._result(False, name)
            self.note(traceback.format_exc())
        else:
            self._result(True, name)
            took = time.monotonic() - began
            if took > 10:
                self.note(f'took {took:.1f} s')

    def true(self, value, text):
        if not value:
            raise Failure(text)

    def equal(self, got, want, what):
        if got != want:
            raise Failure(f'{what}: got {got!r}, want {want!r}')

    def contains(self, text, part, what):
        if part not in text:
            raise Failure(f'{what}: no {part!r} in:\n{text[-3000:]}')

    def end(self):
        """Prints the plan; the exit status."""
        print(f'1..{self.count}', flush=True)
        return 1 if self.failed or not self.count else 0


def run(body, fatal=(), unable=()):
    """Runs body(tap), prints the plan, exits. Exceptions of the types in unable
    mean that this machine lacks something: all of it is then skipped."""
    t = Tap(fatal)
    try:
        body(t)
    except unable as e:
        if t.count == 0:
            print(f'1..0 # SKIP {" ".join(str(e).split())}')
            sys.exit(0)
        t.note(e)
        t.failed += 1
    except Fatal as e:
        print(f'Bail out! {" ".join(str(e).split())[:400]}', flush=True)
        sys.exit(1)
    except fatal as e:
        t.note(e)
        print(f'Bail out! {" ".join(str(e).split())[:400]}', flush=True)
        sys.exit(1)
    sys.exit(t.end())
