#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Zoned namespaces of nvmf-target: usage test_target_zones.py
PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import Host  # noqa: E402
from taptest import DNR, Running, broken, eq, main, status_of, test  # noqa: E402

CC_ALL_SETS = 0x460061
EMPTY, IMPLICIT, EXPLICIT, CLOSED, READ_ONLY, FULL, OFFLINE = 1, 2, 3, 4, 13, 14, 15
CLOSE, FINISH, OPEN, RESET, TO_OFFLINE = 1, 2, 3, 4, 5
BOUNDARY, IS_FULL, IS_RO, IS_OFFLINE = 0x1B8 | DNR, 0x1B9 | DNR, 0x1BA | DNR, 0x1BB | DNR
INVALID_WRITE, MANY_ACTIVE, MANY_OPEN = 0x1BC | DNR, 0x1BD | DNR, 0x1BE | DNR
TRANSITION, FIELD = 0x1BF | DNR, 0x02 | DNR
BS = 4096


def report(q, lba=0, which=0, partial=True, zones=100, nsid=1):
    """(number, [(state, write pointer)])"""
    length = 64 + 64 * zones
    cdw = {10: lba, 12: length // 4 - 1, 13: which << 8 | partial << 16}
    out = q.command(0x7A, nsid, cdw, rlen=length)[0]
    n = struct.unpack_from("<Q", out)[0]
    got = []
    for i in range(min(n, zones)):
        zt, zs, _, _, zcap, zslba, wp = struct.unpack_from("<BBBB4xQQQ", out, 64 + 64 * i)
        eq((zt, zs & 15), (2, 0))
        got.append((zs >> 4, None if wp == (1 << 64) - 1 else wp, zslba, zcap))
    return n, got


def states(q):
    return [z[0] for z in report(q)[1]]


def send(q, lba, action, everything=False):
    q.command(0x79, 1, {10: lba, 13: action | everything << 8})


def append(q, lba, data):
    _, lo, hi = q.command(0x7D, 1, {10: lba, 12: len(data) // BS - 1}, wdata=data)
    return lo | hi << 32


@test
def identify_of_a_zoned_namespace():
    with Running("--ns=mem:1M,zns=64k,zcap=48k,mar=4,mor=3", "--ns=mem:1M", "--zasl=3") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        a = h.admin
        eq(struct.unpack_from("<Q", a.identify(0, 1))[0], 256)
        z = a.identify(5, 1, 2)
        eq(struct.unpack_from("<HHII", z), (0, 1, 3, 2), "ZOC OZCS MAR MOR")
        eq(struct.unpack_from("<QB", z, 2816), (16, 0), "ZSZE")
        eq(a.identify(6, 0, 2)[0], 3, "ZASL")
        eq(a.identify(3, 1)[52:57], b"\x04\x01\0\0\x02", "CSI")
        eq(a.identify(3, 2)[52:57], b"\x04\x01\0\0\0")
        eq(struct.unpack_from("<II", a.identify(7, 0, 2)), (1, 0))
        eq(struct.unpack_from("<II", a.identify(7, 0, 0)), (2, 0))
        eq(struct.unpack_from("<III", a.identify(2)), (1, 2, 0))
        eq(a.identify(0x1C)[:8], struct.pack("<Q", 5))
        eq(status_of(a.identify, 5, 2, 2)[0], FIELD, "not zoned")
        log = a.command(2, 0, {10: 5 | 1023 << 16, 14: 2 << 24}, rlen=4096)[0]
        eq([struct.unpack_from("<I", log, 1024 + 4 * o)[0] & 1 for o in (0x79, 0x7A, 0x7D)],
           [1, 1, 1], "effects")
        q = h.io()
        eq(status_of(q.command, 0x79, 2, {10: 0, 13: RESET})[0], 0x01 | DNR)
        h.close()
        h = Host(t.addr)                        # CC.CSS: the NVM command set only
        q = h.io()
        eq(status_of(q.read, 1, 0, 1)[0], 0x12A | DNR)
        q.read(2, 0, 1)
        h.close()


@test
def writes_go_to_the_write_pointer():
    with Running("--ns=mem:1M,zns=64k,zcap=48k") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        q = h.io()
        data = os.urandom(12 * BS)
        n, zones = report(q)
        eq((n, zones[0], zones[15]), (16, (EMPTY, 0, 0, 12), (EMPTY, 240, 240, 12)))
        eq(status_of(q.write, 1, 1, data[:BS])[0], INVALID_WRITE)
        q.write(1, 0, data[:5 * BS])
        eq(report(q)[1][0][:2], (IMPLICIT, 5))
        q.write(1, 5, data[5 * BS:9 * BS], incapsule=False)
        eq(status_of(q.write, 1, 9, bytes(4 * BS))[0], BOUNDARY, "past the capacity")
        eq(status_of(q.write, 1, 5, bytes(BS))[0], INVALID_WRITE)
        q.write(1, 9, data[9 * BS:])
        eq(report(q)[1][0][:2], (FULL, None))
        eq(status_of(q.write, 1, 0, bytes(BS))[0], IS_FULL)
        eq(q.read(1, 0, 12), data)
        eq(q.read(1, 8, 20)[4 * BS:], bytes(16 * BS), "across a zone's end")
        q.command(8, 1, q.rw_cdw(16, 2))
        eq(report(q)[1][1][:2], (IMPLICIT, 18), "Write Zeroes writes")
        eq(status_of(q.command, 8, 1, q.rw_cdw(16, 1))[0], INVALID_WRITE)
        q.command(4, 1, q.rw_cdw(18, 1))
        eq(status_of(q.read, 1, 18, 1)[0], 0x281)
        send(q, 16, RESET)
        eq((report(q)[1][1][:2], q.read(1, 16, 4)), ((EMPTY, 16), bytes(4 * BS)))
        q.command(0x19, 1, {10: 16}, wdata=struct.pack("<8xQH14x", 2, 3))
        eq((q.read(1, 16, 4), report(q)[1][1][1]), (data[2 * BS:6 * BS], 20), "Copy")
        t.control("zone 1 32 read-only")
        t.control("zone 1 48 offline")
        eq(status_of(q.write, 1, 32, bytes(BS))[0], IS_RO)
        eq(status_of(q.write, 1, 48, bytes(BS))[0], IS_OFFLINE)
        eq(status_of(q.read, 1, 44, 5)[0], IS_OFFLINE)
        q.read(1, 32, 1)
        for bad in ("zone 1 9999 full", "zone 1 0 open", "zone 9 0 full", "zone"):
            broken(lambda: t.control(bad), ValueError)
        h.close()


@test
def zone_append_returns_where_it_went():
    with Running("--ns=mem:1M,zns=64k", "--zasl=2") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        q = h.io()
        blocks = [os.urandom(BS) for _ in range(16)]
        eq([append(q, 32, b) for b in blocks[:3]], [32, 33, 34])
        eq(append(q, 32, b"".join(blocks[3:7])), 35)
        eq(q.read(1, 32, 7), b"".join(blocks[:7]))
        # Several at a time: each its own place.
        started = []
        for b in blocks[7:11]:
            sqe, cid = q.sqe(0x7D, 1, {10: 32}, BS)
            q.start(sqe)
            started.append((cid, b))
        at = {}
        datas = dict(started)
        while len(at) < 4:
            kind, head, _ = q.recv_pdu()
            if kind == 9:
                cid, ttag, off, n = struct.unpack_from("<HHII", head, 8)
                q.answer_r2t(cid, ttag, datas[cid], off, n)
            else:
                eq(struct.unpack_from("<H", head, 22)[0], 0)
                at[struct.unpack_from("<H", head, 20)[0]] = struct.unpack_from("<Q", head, 8)[0]
        eq(sorted(at.values()), [39, 40, 41, 42])
        for cid, b in started:
            eq(q.read(1, at[cid], 1), b)
        eq(status_of(append, q, 33, bytes(BS))[0], FIELD, "not the zone's start")
        eq(status_of(append, q, 32, bytes(5 * BS))[0], FIELD, "ZASL")
        append(q, 32, bytes(4 * BS))
        eq(status_of(append, q, 32, bytes(2 * BS))[0], BOUNDARY)
        append(q, 32, bytes(BS))
        eq(status_of(append, q, 32, bytes(BS))[0], IS_FULL)
        eq(status_of(append, q, 256, bytes(BS))[0], 0x80 | DNR)
        h.close()


@test
def zone_states_and_transitions():
    with Running("--ns=mem:1M,zns=64k") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        q = h.io()

        names = {READ_ONLY: "read-only", FULL: "full", OFFLINE: "offline"}

        def to(state):
            t.control("zone 1 0 empty")
            if state == IMPLICIT or state == CLOSED:
                q.write(1, 0, bytes(BS))
            if state == EXPLICIT:
                send(q, 0, OPEN)
            if state == CLOSED:
                send(q, 0, CLOSE)
            if state in names:
                t.control(f"zone 1 0 {names[state]}")
            eq(report(q)[1][0][0], state)
        table = {  # action: {from: to}; not listed: refused
            OPEN: {EMPTY: EXPLICIT, IMPLICIT: EXPLICIT, EXPLICIT: EXPLICIT, CLOSED: EXPLICIT},
            CLOSE: {IMPLICIT: CLOSED, EXPLICIT: CLOSED, CLOSED: CLOSED},
            FINISH: {EMPTY: FULL, IMPLICIT: FULL, EXPLICIT: FULL, CLOSED: FULL, FULL: FULL},
            RESET: {EMPTY: EMPTY, IMPLICIT: EMPTY, EXPLICIT: EMPTY, CLOSED: EMPTY, FULL: EMPTY},
            TO_OFFLINE: {READ_ONLY: OFFLINE, OFFLINE: OFFLINE},
        }
        for action, moves in table.items():
            for state in (EMPTY, IMPLICIT, EXPLICIT, CLOSED, READ_ONLY, FULL, OFFLINE):
                to(state)
                if state in moves:
                    send(q, 0, action)
                    eq(report(q)[1][0][0], moves[state], f"action {action} from {state}")
                else:
                    eq(status_of(send, q, 0, action)[0], TRANSITION, f"{action} from {state}")
        to(EMPTY)
        for lba, action, want in ((1, RESET, FIELD), (0, 0, FIELD), (0, 6, FIELD), (0, 16, FIELD),
                                  (256, RESET, 0x80 | DNR)):
            eq(status_of(send, q, lba, action)[0], want)
        # All at once: only those that the action is for.
        for i in range(4):
            q.write(1, 16 * i, bytes(BS))
        send(q, 16, OPEN)
        send(q, 32, CLOSE)
        send(q, 48, FINISH)
        t.control("zone 1 64 read-only")
        eq(states(q)[:6], [IMPLICIT, EXPLICIT, CLOSED, FULL, READ_ONLY, EMPTY])
        send(q, 0, CLOSE, True)
        eq(states(q)[:6], [CLOSED, CLOSED, CLOSED, FULL, READ_ONLY, EMPTY])
        send(q, 0, OPEN, True)
        eq(states(q)[:6], [EXPLICIT, EXPLICIT, EXPLICIT, FULL, READ_ONLY, EMPTY])
        send(q, 0, FINISH, True)
        eq(states(q)[:6], [FULL, FULL, FULL, FULL, READ_ONLY, EMPTY])
        send(q, 0, TO_OFFLINE, True)
        send(q, 0, RESET, True)
        eq(states(q)[:6], [EMPTY, EMPTY, EMPTY, EMPTY, OFFLINE, EMPTY])
        h.close()


@test
def limits_of_open_and_active_zones():
    with Running("--ns=mem:1M,zns=64k,mar=3,mor=2") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        q = h.io()
        for i in range(3):
            q.write(1, 16 * i, bytes(BS))
        eq(states(q)[:3], [CLOSED, IMPLICIT, IMPLICIT], "one was closed to open another")
        eq(status_of(q.write, 1, 48, bytes(BS))[0], MANY_ACTIVE)
        eq(status_of(send, q, 48, OPEN)[0], MANY_ACTIVE)
        send(q, 16, OPEN)
        send(q, 32, OPEN)
        eq(status_of(q.write, 1, 1, bytes(BS))[0], MANY_OPEN)
        eq(status_of(send, q, 0, OPEN, True)[0], MANY_OPEN)
        send(q, 16, FINISH)
        q.write(1, 1, bytes(BS))
        send(q, 16, RESET)
        send(q, 32, CLOSE)
        q.write(1, 16, bytes(BS))
        eq(states(q)[:3], [IMPLICIT, IMPLICIT, CLOSED])
        h.close()


@test
def reports_full_and_partial():
    with Running("--ns=mem:1M,zns=64k") as t:
        h = Host(t.addr, cc=CC_ALL_SETS)
        q = h.io()
        send(q, 16, FINISH)
        send(q, 80, FINISH)
        q.write(1, 0, bytes(BS))
        n, z = report(q, 0, 5)
        eq((n, [x[2] for x in z]), (2, [16, 80]), "full zones")
        eq(report(q, 17, 5)[0], 2, "from a block inside a zone: its zone counts")
        eq(report(q, 32, 5)[0], 1)
        eq(report(q, 0, 2)[0], 1)
        eq(report(q, 0, 1)[0], 13)
        n, z = report(q, 0, 0, False, 3)
        eq((n, len(z)), (16, 3), "all are counted, three fit")
        n, z = report(q, 48, 0, True, 3)
        eq((n, [x[2] for x in z]), (3, [48, 64, 80]))
        eq(report(q, 240)[0], 1)
        eq(status_of(report, q, 256)[0], 0x80 | DNR)
        eq(status_of(report, q, 0, 8)[0], FIELD)
        eq(status_of(q.command, 0x7A, 1, {12: 15, 13: 1}, rlen=64)[0], FIELD, "extended report")
        eq(q.command(0x7A, 1, {12: 1, 13: 0}, rlen=8)[0], struct.pack("<Q", 16), "8 bytes")
        h.close()


if __name__ == "__main__":
    sys.exit(main())
