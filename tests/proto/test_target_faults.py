#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fault language of nvmf-target does what target/README.md says: usage
test_target_faults.py PATH/nvmf-target. Output is TAP."""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import DISCOVERY_NQN, Host, ProtocolError, Queue, StatusError  # noqa: E402
from taptest import Running, broken, eq, exercise, main, status_of, term_of, test  # noqa: E402


def exercise_small(addr):
    h = Host(addr, hdgst=True, ddgst=True)
    q = h.io()
    data = os.urandom(512)
    q.write(1, 0, data * 8)
    eq(q.read(1, 0, 1), data * 8)
    q.write(1, 0, data * 8, incapsule=False)
    h.close()


@test
def an_association_survives_output_split_at_every_byte():
    with Running("--ns=mem:1M") as t:
        Host(t.addr, hdgst=True).close()
        t.control("fault on=accept do=split:1")
        exercise_small(t.addr)
        for k in range(1, 700, 3):
            t.control(f"fault on=accept do=splitat:{k}:1")
            exercise_small(t.addr)


def hostile_lines():
    """(name, script) of every line of target/faults.txt."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../target/faults.txt")
    with open(path) as f:
        for line in f:
            line = line.strip()
            if line and not line.startswith("#"):
                name, script, expect, _ = (x.strip() for x in line.split("|", 3))
                yield name, script, expect


def small_session(addr, digests):
    """Every kind of PDU once, giving up early when the target keeps silent."""
    h = Host(addr, hdgst=digests, ddgst=digests, timeout=0.12, maxr2t=2, cattr=4 if digests else 0)
    try:
        a = h.admin
        a.identify(2)
        a.identify(0, 1)
        a.identify(3, 1)
        a.command(0x09, 0, {10: 7, 11: 0x00030003})
        a.start(a.sqe(0x0C)[0])
        a.command(0x18)
        q = h.io()
        q.read(1, 0, 1)
        q.read(1, 0, 8)
        q.write(1, 0, bytes(4096))
        q.write(1, 0, bytes(32768))
        q.command(0x00, 1)
    finally:
        h.close()
    h = Host(addr, DISCOVERY_NQN, timeout=0.12)
    try:
        h.admin.get_log(0x70, 20)
        h.admin.get_log(0x70, 2048)
    finally:
        h.close()


@test
def every_line_of_faults_txt_is_accepted_and_fires():
    n = 0
    with Running("--ns=mem:16M", "--in-capsule=4096", "--r2t=2", "--r2t-size=8192") as t:
        for name, script, expect in hostile_lines():
            n += 1
            t.control("fault " + script)
            for hd in (True, False):
                try:
                    small_session(t.addr, hd)
                except (ProtocolError, OSError, StatusError):
                    pass
                t.control("drop")
            fired = int(t.control("stats").split('"faults_fired":')[1].rstrip("}"))
            eq(fired > 0, True, f"{name}: rule fired")
        t.control("clear")
        exercise(t.addr, random.Random(9))
    eq(n > 60, True, f"{n} lines")


@test
def faults_do_what_they_say():
    with Running("--ns=mem:1M") as t:
        def run(script, fn, *kinds):
            t.control("fault " + script)
            h = Host(t.addr, hdgst=True, ddgst=True, timeout=2)
            q = h.io()
            if kinds:
                broken(lambda: fn(q), *kinds)
            else:
                fn(q)
            h.close()
        P = ProtocolError
        run("on=resp for=write do=set:cid+=1", lambda q: q.write(1, 0, bytes(4096)), P)
        run("on=resp for=write do=hdgst:bad", lambda q: q.write(1, 0, bytes(4096)), P)
        run("on=c2hdata for=read do=ddgst:bad", lambda q: q.read(1, 0, 1), P)
        run("on=c2hdata for=read do=short:512", lambda q: q.read(1, 0, 1), P)
        run("on=c2hdata for=read do=set:data8[7]=0x5a",
            lambda q: eq(q.read(1, 0, 1)[7], 0x5A))
        run("on=c2hdata for=read do=set:data8[7]=0x5a,ddgst:keep", lambda q: q.read(1, 0, 1), P)
        run("on=read do=status:0x22", lambda q: eq(status_of(q.read, 1, 0, 1)[0], 0x22))
        run("on=read do=status:3/0x70/dnr/crd1",
            lambda q: eq(status_of(q.read, 1, 0, 1)[0], 0x4B70))
        run("on=r2t do=dup", lambda q: q.write(1, 0, bytes(65536)), P)
        run("on=resp for=write do=drop", lambda q: q.write(1, 0, bytes(4096)), TimeoutError)
        run("on=read do=close", lambda q: q.read(1, 0, 1), ConnectionError)
        run("on=resp for=read do=send,close", lambda q: (q.read(1, 0, 1), q.recv(0)))
        run("on=read do=reset", lambda q: q.read(1, 0, 1), ConnectionResetError)
        run("on=read do=silence", lambda q: q.read(1, 0, 1), TimeoutError)
        run("on=read do=raw:00", lambda q: q.read(1, 0, 1), P, TimeoutError)
        run("on=read do=term:4:7", lambda q: eq(term_of(lambda: q.read(1, 0, 1)), (4, 7)))
        run("on=resp for=read do=send,inject:c2hdata",
            lambda q: (q.read(1, 0, 1), q.read(1, 0, 1)), P)
        run("on=c2hdata for=read do=swap", lambda q: q.read(1, 0, 1), P)
        run("on=cmd for=read do=drop", lambda q: q.read(1, 0, 1), TimeoutError)
        run("on=resp for=read do=cut:1", lambda q: (q.read(1, 0, 1), q.read(1, 0, 1)),
            P, TimeoutError)
        run("on=read nth=2 do=status:0x06",
            lambda q: (q.read(1, 0, 1), eq(status_of(q.read, 1, 0, 1)[0], 6), q.read(1, 0, 1)))

        def late(q):
            start = time.monotonic()
            q.read(1, 0, 1)
            eq(time.monotonic() - start > 0.09, True, "delayed")
        run("on=read do=delay:100", late)
        run("on=resp for=read do=delay:100", late)
        run("on=c2hdata for=read do=merge:2", lambda q: q.read(1, 0, 1))
        t.control("fault on=resp prop=0x1c do=set:dw0=2")
        eq(cfs(t.addr), 2)
        t.control("fault on=accept do=at:200:reset")
        broken(lambda: Host(t.addr), ConnectionError)
        t.control("clear")
        for bad in ("on=resp", "do=drop", "on=nothing do=drop", "on=resp do=set:x=1",
                    "on=resp do=raw:0", "on=cmd do=send", "on=resp nth=0 do=drop", "on=r2t do=x"):
            broken(lambda: t.control("fault " + bad), ValueError)


def cfs(addr):
    q = Queue(addr)
    q.connect()
    v = q.prop_get(0x1C)
    q.close()
    return v


if __name__ == "__main__":
    sys.exit(main())
