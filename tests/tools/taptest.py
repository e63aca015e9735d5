# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of nvmf-target share: TAP, expectations, a running target."""
import random
import sys
import time
import traceback

from minihost import Host, ProtocolError, StatusError, Target, Terminated

PROGRAM = sys.argv[1]
DNR = 0x4000
tests = []


def test(fn):
    tests.append(fn)
    return fn


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r:.500}, want {want!r:.500}")


def status_of(fn, *args, **kw):
    """Status and DW0 of a command that must fail."""
    try:
        fn(*args, **kw)
    except StatusError as e:
        return e.status, e.dw0
    raise AssertionError("the command succeeded")


def term_of(fn):
    """(fes, fei) of the C2HTermReq that fn must provoke."""
    try:
        fn()
    except Terminated as e:
        return e.fes, e.fei
    raise AssertionError("no C2HTermReq")


def broken(fn, *kinds):
    kinds = kinds or (ProtocolError, ConnectionError, TimeoutError, OSError)
    try:
        fn()
    except kinds:
        return
    raise AssertionError("the fault had no effect")


class Running:
    """A target for one with-block; it must end cleanly, sanitizers included."""

    def __init__(self, *args, **kw):
        self.args, self.kw = args, kw

    def __enter__(self):
        self.t = Target(PROGRAM, *self.args, **self.kw)
        return self.t

    def __exit__(self, kind, value, tb):
        rc = self.t.stop()
        errors = self.t.errors()
        self.t.stderr.close()
        self.t.dir.cleanup()
        if kind is None:
            eq((rc, errors), (0, ""), "exit status and stderr")
        elif errors:
            print("# stderr:", errors.replace("\n", "\n# "))


def exercise(addr, rng, nsid=1, bs=4096, **kw):
    """Writes and reads of several sizes, in the capsule and by R2T; returns the queue."""
    h = Host(addr, **kw)
    q = h.io()
    for n in (1, 2, 3, 16, 33, 64):
        data = rng.randbytes(n * bs)
        at = rng.randrange(1000)
        q.write(nsid, at, data, bs)
        eq(q.read(nsid, at, n, bs) == data, True, f"{n} blocks")
        q.write(nsid, at, data[::-1], bs, incapsule=False)
        eq(q.read(nsid, at, n, bs) == data[::-1], True, f"{n} blocks by R2T")
    h.close()
    return q


def main():
    print(f"1..{len(tests)}")
    failed = 0
    for i, fn in enumerate(tests, 1):
        name = fn.__name__.replace("_", " ")
        start = time.monotonic()
        try:
            fn()
            print(f"ok {i} - {name} # {time.monotonic() - start:.1f} s", flush=True)
        except Exception:
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {i} - {name}", flush=True)
    return 1 if failed else 0
