#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reservations of nvmf-target between two and three hosts: usage
test_target_resv.py PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import Host, StatusError  # noqa: E402
from taptest import DNR, Running, eq, main, status_of, test  # noqa: E402

CONFLICT, INVALID = 0x83 | DNR, 0x02 | DNR
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = range(1, 7)
REG_PREEMPTED, RELEASED, PREEMPTED = 1, 2, 3


class Node:
    """A host of its own, with a queue."""

    def __init__(self, t, n):
        self.hostid = bytes([n] * 16)
        self.key = 0x1000 + n
        self.h = Host(t.addr, hostid=self.hostid,
                      hostnqn=f"nqn.2025-11.org.libnof:host{n}")
        self.q = self.h.io()
        self.aer = None

    def st(self, fn, *args, **kw):
        try:
            fn(*args, **kw)
            return 0
        except StatusError as e:
            return e.status

    def cmd(self, opc, dw10, data):
        return self.st(self.q.command, opc, 1, {10: dw10}, wdata=data)

    def register(self, key=None, action=0, old=0, iekey=False, cptpl=0):
        key = self.key if key is None else key
        return self.cmd(0x0D, action | iekey << 3 | cptpl << 30, struct.pack("<QQ", old, key))

    def unregister(self, key=None):
        return self.register(0, 1, self.key if key is None else key)

    def acquire(self, rtype, action=0, prkey=0, key=None):
        key = self.key if key is None else key
        return self.cmd(0x11, action | rtype << 8, struct.pack("<QQ", key, prkey))

    def release(self, rtype, action=0, key=None):
        return self.cmd(0x15, action | rtype << 8,
                        struct.pack("<Q", self.key if key is None else key))

    def report(self, eds=1, length=4096):
        return self.q.command(0x0E, 1, {10: length // 4 - 1, 11: eds}, rlen=length)[0]

    def rw(self):
        """(may read, may write)"""
        r, w = self.st(self.q.read, 1, 0, 1), self.st(self.q.write, 1, 0, bytes(4096))
        for s in (r, w):
            eq(s in (0, CONFLICT), True, f"status {s:#x}")
        return not r, not w

    def listen(self):
        sqe, self.aer = self.h.admin.sqe(0x0C)
        self.h.admin.start(sqe)

    def heard(self):
        """Type of the notification that an armed event tells of."""
        eq(self.h.admin.finish(self.aer)[1], 0x00800006)
        log = self.h.admin.get_log(0x80, 64)
        count, kind, _, nsid = struct.unpack_from("<QBB2xI", log)
        eq((count > 0, nsid), (True, 1))
        return kind

    def close(self):
        self.h.close()


def state(node):
    """(gen, type, {hostid byte: (key, is holder)})"""
    out = node.report()
    gen, rtype, n = struct.unpack_from("<IBH", out)
    regs = {}
    for i in range(n):
        e = out[64 + 64 * i:128 + 64 * i]
        regs[e[16]] = (struct.unpack_from("<Q", e, 8)[0], e[2])
    return gen, rtype, regs


@test
def registration_and_report():
    with Running("--ns=mem:1M") as t:
        a, b = Node(t, 1), Node(t, 2)
        n = a.h.admin.identify(0, 1)
        eq((n[31], struct.unpack_from("<H", a.h.id, 520)[0] >> 5 & 1), (0xFE, 1), "RESCAP, ONCS")
        eq(state(a), (0, 0, {}))
        eq(a.register(), 0)
        eq(a.register(), 0, "the same key again")
        eq(a.register(77), CONFLICT, "another key")
        eq(b.register(), 0)
        eq(a.register(0x99, 2, 5), CONFLICT, "replace with a wrong key")
        eq(a.register(0x99, 2, a.key), 0)
        eq(a.register(a.key, 2, 0, iekey=True), 0, "the key is not looked at")
        eq(a.register(cptpl=3), INVALID, "nothing survives power loss")
        eq(a.register(action=3), INVALID)
        gen, rtype, regs = state(b)
        eq((rtype, regs), (0, {1: (a.key, 0), 2: (b.key, 0)}))
        raw = a.report()
        eq(struct.unpack_from("<H", raw, 64)[0], a.h.cntlid)
        eq(a.st(a.report, 0), 0x18 | DNR, "64-bit host identifiers")
        eq(a.report(length=68), raw[:68], "a short buffer")
        b2 = Host(t.addr, hostid=b.hostid, hostnqn=b.h.hostnqn)
        eq(struct.unpack_from("<H", a.report(), 5)[0], 3, "an entry for each controller")
        b2.close()
        eq(b.unregister(1), CONFLICT)
        eq(b.unregister(), 0)
        eq(b.unregister(), CONFLICT, "no registrant any more")
        eq(state(a)[0] > gen, True)
        b.close()
        eq(state(a)[2], {1: (a.key, 0)})
        a.close()


@test
def who_may_read_and_write_under_each_type():
    with Running("--ns=mem:1M") as t:
        a, b, c = (Node(t, n) for n in (1, 2, 3))
        eq((a.register(), b.register()), (0, 0))
        table = {WE: ((1, 0), (1, 0)), EA: ((0, 0), (0, 0)),
                 WE_RO: ((1, 1), (1, 0)), EA_RO: ((1, 1), (0, 0)),
                 WE_AR: ((1, 1), (1, 0)), EA_AR: ((1, 1), (0, 0))}
        for rtype, (reg, stranger) in table.items():
            eq(c.acquire(rtype), CONFLICT, "no registrant")
            eq(a.acquire(rtype, key=5), CONFLICT, "wrong key")
            eq(a.acquire(rtype), 0)
            eq(a.acquire(rtype), 0, "again")
            eq(a.rw(), (True, True))
            eq(b.rw(), tuple(map(bool, reg)), f"registrant, type {rtype}")
            eq(c.rw(), tuple(map(bool, stranger)), f"stranger, type {rtype}")
            for opc, cdw, buf, kind in ((8, c.q.rw_cdw(0, 1), b"", 1), (4, c.q.rw_cdw(5, 1), b"", 1),
                                        (9, {10: 0, 11: 4}, bytes(16), 1),
                                        (0x0C, c.q.rw_cdw(0, 1), b"", 0),
                                        (0x19, {10: 4}, bytes(32), 1), (0, {}, b"", 1)):
                eq(c.st(c.q.command, opc, 1, cdw, wdata=buf), 0 if stranger[kind] else CONFLICT,
                   f"opcode {opc:#x}, type {rtype}")
            both = rtype in (WE_AR, EA_AR)
            eq(state(a)[1:], (rtype, {1: (a.key, 1), 2: (b.key, int(both))}))
            eq(b.acquire(rtype), 0 if both else CONFLICT)
            eq(a.release(rtype % 6 + 1), INVALID, "release of another type")
            eq(b.release(rtype, key=9), CONFLICT)
            if not both:
                eq(b.release(rtype), 0, "not the holder: nothing happens")
                eq(state(a)[1], rtype)
            eq(a.release(rtype), 0)
            eq(state(a)[1], 0)
            eq(c.rw(), (True, True))
        eq(a.acquire(0), INVALID)
        eq(a.acquire(7), INVALID)
        eq(a.cmd(0x11, 1 << 8 | 8, struct.pack("<QQ", a.key, 0)), INVALID, "IEKEY")
        for n in (a, b, c):
            n.close()


@test
def preempt_clear_and_what_others_hear():
    with Running("--ns=mem:1M") as t:
        a, b, c = (Node(t, n) for n in (1, 2, 3))
        for n in (a, b, c):
            eq(n.register(), 0)
            n.listen()
        eq(a.acquire(WE_RO), 0)
        eq(b.acquire(EA, 1, a.key), 0, "preempt")
        eq(a.heard(), REG_PREEMPTED)
        eq(c.heard(), RELEASED, "the type changed")
        eq(state(b)[1:], (EA, {2: (b.key, 1), 3: (c.key, 0)}))
        eq((a.rw(), b.rw()), ((False, False), (True, True)))
        eq(b.acquire(EA, 1, 0x4444), CONFLICT, "no such key")
        eq(b.acquire(EA, 1, 0), INVALID)
        eq(b.acquire(EA, 1, c.key), 0, "a registrant that holds nothing")
        c.listen()
        eq(c.heard(), REG_PREEMPTED)
        eq(b.acquire(WE_AR, 1, b.key), 0, "itself: another type")
        eq(state(b)[1:], (WE_AR, {2: (b.key, 1)}))
        eq((a.register(), c.register()), (0, 0))
        a.listen()
        c.listen()
        eq(a.acquire(EA, 1, 0), 0, "all registrants")
        eq(state(a)[1:], (EA, {1: (a.key, 1)}))
        eq((b.heard(), c.heard()), (REG_PREEMPTED, REG_PREEMPTED))
        eq(b.register(), 0)
        b.listen()
        eq(b.release(EA, 1), 0, "clear, by any registrant")
        eq(a.heard(), PREEMPTED)
        eq(state(a)[1:], (0, {}))
        eq((a.register(), b.register(), a.acquire(EA_AR)), (0, 0, 0))
        eq(a.release(EA_AR), 0)
        eq(b.heard(), RELEASED)
        eq((a.acquire(EA_RO), a.unregister()), (0, 0), "a holder that leaves")
        b.listen()
        eq(b.heard(), RELEASED)
        eq((a.register(), a.acquire(WE_AR), a.unregister()), (0, 0, 0))
        eq(state(b)[1], WE_AR, "another one still holds it")
        eq(b.unregister(), 0)
        eq(state(b)[1], 0)
        # Two notifications: one event, the log has both, the second is told after that.
        eq((a.register(), b.register(), c.register()), (0, 0, 0))
        eq((a.acquire(WE_RO), a.release(WE_RO), a.acquire(WE_RO), a.release(WE_RO)), (0,) * 4)
        b.listen()
        eq(b.heard(), RELEASED)
        b.listen()
        eq(b.heard(), RELEASED)
        eq(b.h.admin.get_log(0x80, 64), bytes(64))
        eq(b.st(b.h.admin.command, 9, 1, {10: 0x82, 11: 0x0E}), 0)
        eq(b.h.admin.command(0x0A, 1, {10: 0x82})[1], 0x0E, "mask")
        eq((a.acquire(WE_RO), a.release(WE_RO)), (0, 0))
        eq(b.h.admin.get_log(0x80, 64), bytes(64))
        eq(status_of(b.h.admin.command, 9, 5, {10: 0x82, 11: 2})[0], 0x0B | DNR)
        for n in (a, b, c):
            n.close()


@test
def preempt_and_abort_ends_commands():
    with Running("--ns=mem:1M", "--in-capsule=0") as t:
        a, b = Node(t, 1), Node(t, 2)
        eq((a.register(), b.register(), a.acquire(WE)), (0, 0, 0))
        t.control("fault on=read do=delay:60000")
        sqe, rcid = a.q.sqe(2, 1, a.q.rw_cdw(0, 1), 4096)
        a.q.start(sqe)
        sqe, wcid = a.q.sqe(1, 1, a.q.rw_cdw(0, 1), 4096)
        a.q.start(sqe)
        _, head, _ = a.q.recv_pdu()
        ttag = struct.unpack_from("<H", head, 10)[0]
        eq(b.acquire(WE, 2, a.key), 0)
        eq(a.q.finish(rcid, check=False)[0], b"")
        eq(a.q.status, 0x1B | DNR)
        a.q.answer_r2t(wcid, ttag, b"x" * 4096, 0, 4096)
        a.q.finish(wcid, check=False)
        eq(a.q.status, 0x1B | DNR)
        t.control("clear")
        eq(b.q.read(1, 0, 1), bytes(4096), "nothing of it was written")
        a.close()
        b.close()


@test
def reservations_outlive_connections_and_many_hosts_are_bounded():
    with Running("--ns=mem:1M") as t:
        a, b = Node(t, 1), Node(t, 2)
        eq((a.register(), a.acquire(EA)), (0, 0))
        a.close()
        eq(b.rw(), (False, False))
        eq(state(b)[1:], (EA, {1: (a.key, 1)}))
        a = Node(t, 1)
        eq(a.rw(), (True, True), "the same host comes back")
        rng = os.urandom
        for _ in range(300):
            hostid = rng(16)
            h = Host(t.addr, hostid=hostid)
            q = h.io()
            q.command(0x0D, 1, {10: 0}, wdata=struct.pack("<QQ", 0, 1), check=False)
            h.close()
        eq(q.status, 0x06 | DNR)
        n = struct.unpack_from("<H", b.report(length=32768), 5)[0]
        eq(n, 256)
        a.close()
        b.close()


if __name__ == "__main__":
    sys.exit(main())
