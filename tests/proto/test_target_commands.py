#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands of nvmf-target beyond reading and writing: Abort, fused Compare and
Write, Copy, Verify, Write Uncorrectable: usage test_target_commands.py
PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import Host  # noqa: E402
from taptest import DNR, Running, broken, eq, main, status_of, test  # noqa: E402

BS = 4096


def finish_all(q, datas):
    """Serves several commands at a time: {cid: write data} -> {cid: status}, in order of ending."""
    out = {}
    while len(out) < len(datas):
        t, head, _ = q.recv_pdu()
        if t == 9:
            cid, ttag, off, length = struct.unpack_from("<HHII", head, 8)
            q.answer_r2t(cid, ttag, datas[cid], off, length)
            continue
        cid, st = struct.unpack_from("<HH", head, 20)
        eq(cid in datas and cid not in out, True, f"CID {cid}")
        out[cid] = st >> 1
    return out


def fused(q, lba, expect, data, incapsule=True, first=None, second=None):
    """Statuses of both halves of a fused Compare and Write."""
    cids = []
    n = len(data) // BS
    for opc, fuse, buf, kw in ((5, 1, expect, first or {}), (1, 2, data, second or {})):
        sqe, cid = q.sqe(kw.get("opc", opc), 1, q.rw_cdw(kw.get("lba", lba), n), len(buf),
                         incapsule, flags=0x40 | kw.get("fuse", fuse))
        q.start(sqe, buf if incapsule else b"")
        cids.append((cid, buf))
    st = finish_all(q, dict(cids))
    return tuple(st[c] for c, _ in cids)


@test
def fused_compare_and_write_is_one_command():
    with Running("--ns=mem:8M", "--in-capsule=8192", "--r2t-size=4096") as t:
        h = Host(t.addr)
        eq(struct.unpack_from("<H", h.id, 522)[0] & 1, 1, "FUSES")
        q = h.io()
        a, b, c = (os.urandom(2 * BS) for _ in range(3))
        q.write(1, 8, a)
        for incapsule in (True, False):
            eq(fused(q, 8, b, c, incapsule), (0x285 | DNR, 0x09), "no match")
            eq(q.read(1, 8, 2), a, "nothing was written")
            eq(fused(q, 8, a, b, incapsule), (0, 0))
            eq(q.read(1, 8, 2), b)
            q.write(1, 8, a)
        bad = 0x02 | DNR
        eq(fused(q, 8, a, b, second={"lba": 9}), (bad, bad), "other range")
        eq(fused(q, 8, a, b, first={"opc": 1}), (bad, bad), "Write and Write")
        eq(fused(q, 8, a, b, second={"fuse": 0}), (0x0A | DNR, 0), "no second half")
        eq(q.read(1, 8, 2), b, "an ordinary write")
        eq(fused(q, 8, b, a, first={"fuse": 0}), (0, 0x0A | DNR), "no first half")
        eq(fused(q, 2047, b, a), (0x80 | DNR, 0x09), "out of range")
        eq(two_first_halves(q, b), (0x0A | DNR, 0, 0))
        eq(status_of(q.command, 5, 1, q.rw_cdw(0, 1), wdata=bytes(BS), flags=0x43)[0], bad)
        eq(status_of(h.admin.command, 0x06, 0, {10: 1}, rlen=4096, flags=0x41)[0], bad)
        big = bytes(129 * BS)
        sqe, cid = q.sqe(5, 1, q.rw_cdw(0, 129), len(big), flags=0x41)
        q.start(sqe)
        eq(finish_all(q, {cid: big})[cid], 0x14 | DNR, "ACWU")
        h.close()


def two_first_halves(q, data):
    """The first of them ends without a second half; the other finds its own."""
    pdus = [q.sqe(opc, 1, q.rw_cdw(8, 2), len(data), True, flags=0x40 | fuse)
            for opc, fuse in ((5, 1), (5, 1), (1, 2))]
    for sqe, _ in pdus:
        q.start(sqe, data)
    st = finish_all(q, {cid: data for _, cid in pdus})
    return tuple(st[cid] for _, cid in pdus)


@test
def halves_interleaved_with_another_queue_and_lost_connections():
    with Running("--ns=mem:8M", "--in-capsule=0") as t:
        h = Host(t.addr)
        q, other = h.io(), h.io()
        old, new = os.urandom(BS), os.urandom(BS)
        q.write(1, 0, old)
        # Both halves wait for data while another queue reads: old data, never a mixture.
        sqe1, c1 = q.sqe(5, 1, q.rw_cdw(0, 1), BS, flags=0x41)
        sqe2, c2 = q.sqe(1, 1, q.rw_cdw(0, 1), BS, flags=0x42)
        q.start(sqe1)
        q.start(sqe2)
        r2ts = [struct.unpack_from("<HHII", q.recv_pdu()[1], 8) for _ in range(2)]
        q.answer_r2t(r2ts[1][0], r2ts[1][1], new, 0, BS)
        eq(other.read(1, 0, 1), old)
        q.answer_r2t(r2ts[0][0], r2ts[0][1], old, 0, BS)
        eq(finish_all(q, {c1: old, c2: new}), {c1: 0, c2: 0})
        eq(other.read(1, 0, 1), new)
        q.start(q.sqe(5, 1, q.rw_cdw(0, 1), BS, flags=0x41)[0])
        q.recv_pdu()
        q.close()
        other.read(1, 0, 1)
        h.close()


@test
def abort_ends_what_waits_and_says_when_it_cannot():
    with Running("--ns=mem:8M", "--acl=1") as t:
        h = Host(t.addr)
        a, q = h.admin, h.io()
        t.control("fault on=read nth=1 do=delay:60000; on=write nth=1 do=drop; "
                  "on=abort nth=4- do=delay:300")
        sqe, cid = q.sqe(2, 1, q.rw_cdw(0, 1), BS)
        q.start(sqe)
        wsqe, wcid = q.sqe(1, 1, q.rw_cdw(0, 1), BS, True)
        q.start(wsqe, bytes(BS))
        q.command(0, 1)                         # both have arrived
        eq(a.command(8, 0, {10: 1 | cid << 16})[1], 0, "aborted")
        eq(finish_all(q, {cid: b""}), {cid: 7}, "Command Abort Requested, may be repeated")
        eq(a.command(8, 0, {10: 1 | cid << 16})[1], 1, "over already")
        eq(a.command(8, 0, {10: 1 | wcid << 16})[1], 1, "lost in the controller: not aborted")
        sqes = [a.sqe(8, 0, {10: 1 | 77 << 16}) for _ in range(3)]
        for s, _ in sqes:
            a.start(s)
        st = finish_all(a, {c: b"" for _, c in sqes})
        eq(sorted(st.values()), [0, 0, 0x103 | DNR], "ACL")
        h.close()


@test
def copy_of_ranges():
    with Running("--ns=mem:8M,copy=16:40:4", "--ns=mem:8M", "--ns=mem:8M,bs=512",
                 "--ns=mem:8M,ro") as t:
        h = Host(t.addr)
        q = h.io()
        n = h.admin.identify(0, 1)
        eq(struct.unpack_from("<HIB", n, 74), (16, 40, 3), "MSSRL MCL MSRC")
        eq(struct.unpack_from("<H", h.id, 534)[0], 15, "OCFS")
        eq(struct.unpack_from("<H", h.id, 520)[0] >> 8 & 1, 1, "ONCS")
        data = os.urandom(32 * BS)
        q.write(1, 0, data)

        def copy(dst, ranges, fmt=0, nsid=1, src=0):
            d = b""
            for slba, nlb in ranges:
                r = struct.pack("<I4xQH", src, slba, nlb - 1)
                d += r.ljust(40 if fmt & 1 else 32, b"\0")
            q.command(0x19, nsid, {10: dst, 12: len(ranges) - 1 | fmt << 8}, wdata=d)
        for fmt in (0, 1):
            copy(100, [(3, 2), (20, 1), (0, 16)], fmt)
            eq(q.read(1, 100, 19) == data[3 * BS:5 * BS] + data[20 * BS:21 * BS]
               + data[:16 * BS], True)
            q.command(8, 1, q.rw_cdw(100, 19))
        limit = 0x183 | DNR
        eq(status_of(copy, 100, [(0, 17)]), (limit, 0), "MSSRL")
        eq(status_of(copy, 100, [(0, 16)] * 3)[0], limit, "MCL")
        eq(status_of(copy, 100, [(0, 1)] * 5)[0], limit, "MSRC")
        eq(status_of(copy, 100, [(0, 1), (2048, 1)]), (0x80 | DNR, 1), "a source past the end")
        eq(status_of(copy, 2047, [(0, 2)])[0], 0x80 | DNR, "the destination")
        eq(status_of(copy, 0, [(0, 1)], 0, 4)[0], 0x20 | DNR, "read-only")
        eq(status_of(copy, 0, [(0, 1)], 2, 2, 1)[0], 0x185 | DNR, "format 2 is not enabled")
        eq(status_of(copy, 0, [(0, 1)], 5)[0], 0x02 | DNR)
        h.admin.command(9, 0, {10: 0x16}, wdata=bytes(4) + b"\x0c" + bytes(507))
        for fmt in (2, 3):
            copy(5, [(1, 2)], fmt, 2, 1)
            eq(q.read(2, 5, 2), data[BS:3 * BS], "from another namespace")
            q.command(8, 2, q.rw_cdw(5, 2))
        eq(status_of(copy, 0, [(0, 1)], 2, 2, 3)[0], 0x185 | DNR, "other block size")
        eq(status_of(copy, 0, [(0, 1)], 2, 2, 9)[0], 0x0B | DNR, "no such source")
        h.close()


@test
def blocks_made_uncorrectable_until_written():
    with Running("--ns=mem:8M", "--ns=mem:8M,ro") as t:
        h = Host(t.addr)
        q = h.io()
        bad = 0x281
        q.write(1, 0, b"d" * 16 * BS)
        q.command(4, 1, q.rw_cdw(4, 8))
        for n, lba, count in ((0, 0, 4), (bad, 0, 5), (bad, 4, 1), (bad, 11, 1), (0, 12, 4),
                              (bad, 3, 12)):
            eq(q.command(2, 1, q.rw_cdw(lba, count), rlen=count * BS, check=False) and q.status,
               n, f"{count} blocks from {lba}")
        eq(status_of(q.command, 0x0C, 1, q.rw_cdw(0, 16))[0], bad, "Verify")
        eq(status_of(q.command, 5, 1, q.rw_cdw(4, 1), wdata=b"d" * BS)[0], bad, "Compare")
        q.write(1, 6, b"e" * 2 * BS)
        eq(q.read(1, 6, 2), b"e" * 2 * BS)
        eq(status_of(q.read, 1, 5, 2)[0], bad)
        eq(status_of(q.read, 1, 7, 2)[0], bad)
        q.command(8, 1, q.rw_cdw(4, 2))
        q.command(9, 1, {10: 0, 11: 4}, wdata=struct.pack("<IIQ", 0, 4, 8))
        eq(q.read(1, 0, 16), b"d" * 4 * BS + bytes(2 * BS) + b"e" * 2 * BS + bytes(4 * BS)
           + b"d" * 4 * BS)
        q.command(0x0C, 1, q.rw_cdw(0, 16))
        for i in range(0, 400, 2):              # many ranges, then holes in them
            q.command(4, 1, q.rw_cdw(i, 1))
        q.command(4, 1, q.rw_cdw(0, 400))
        q.write(1, 200, bytes(BS))
        q.read(1, 200, 1)
        eq(status_of(q.read, 1, 199, 1)[0], bad)
        eq(status_of(q.read, 1, 201, 1)[0], bad)
        eq(status_of(q.command, 4, 1, q.rw_cdw(2040, 9))[0], 0x80 | DNR)
        eq(status_of(q.command, 4, 2, q.rw_cdw(0, 1))[0], 0x20 | DNR, "read-only")
        h.close()


@test
def faults_know_the_commands_by_name():
    with Running("--ns=mem:1M") as t:
        names = ("copy writeuncor resvreg resvreport resvacq resvrel zonesend zonerecv append "
                 "nsmgmt nsattach fwcommit fwdownload selftest format secsend secrecv sanitize")
        for name in names.split():
            t.control(f"fault on={name} do=status:6")
        h = Host(t.addr)
        q = h.io()
        t.control("fault on=copy do=status:0/0x82")
        d = struct.pack("<8xQH14x", 0, 0)
        eq(status_of(q.command, 0x19, 1, {10: 4}, wdata=d)[0], 0x82)
        broken(lambda: t.control("fault on=copying do=close"), ValueError)
        h.close()


if __name__ == "__main__":
    sys.exit(main())
