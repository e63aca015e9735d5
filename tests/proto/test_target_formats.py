#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metadata, protection information and atomic units of nvmf-target: usage
test_target_formats.py PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import Host, crc32c  # noqa: E402
from taptest import DNR, Running, eq, main, status_of, test  # noqa: E402

GUARD, APP, REF, INVALID = 0x282 | DNR, 0x283 | DNR, 0x284 | DNR, 0x181 | DNR
ACT, CHK_GUARD, CHK_APP, CHK_REF = 8, 4, 2, 1


def crc(data, width, poly, start, out, reflect):
    c = start
    top, mask = 1 << (width - 1), (1 << width) - 1
    for b in data:
        if reflect:
            c ^= b
            for _ in range(8):
                c = c >> 1 ^ (poly if c & 1 else 0)
        else:
            c ^= b << (width - 8)
            for _ in range(8):
                c = (c << 1 & mask) ^ (poly if c & top else 0)
    return c ^ out


def crc16(data):
    return crc(data, 16, 0x8BB7, 0, 0, False)


def crc64(data):
    return crc(data, 64, 0x9A6C9329AC4BC9B5, (1 << 64) - 1, (1 << 64) - 1, True)


def tuple_of(pif, covered, app, ref, storage=0):
    if pif == 16:
        return struct.pack(">HHI", crc16(covered), app, ref & 0xFFFFFFFF)
    if pif == 32:
        return struct.pack(">IHHQ", crc32c(covered), app, storage, ref)
    return struct.pack(">QH", crc64(covered), app) + struct.pack(">Q", ref)[2:]


class Space:
    """A namespace with protection information, as a host sees it."""

    def __init__(self, q, nsid, bs, ms, pif=16, ptype=1, first=False):
        self.q, self.nsid, self.bs, self.ms, self.pif = q, nsid, bs, ms, pif
        self.ptype, self.first = ptype, first
        self.size = 8 if pif == 16 else 16

    def block(self, data, app, ref, meta=b"", storage=0):
        """Data, metadata and protection information of one block."""
        rest = meta.ljust(self.ms - self.size, b"m")
        if self.first:
            return data + tuple_of(self.pif, data, app, ref, storage) + rest
        return data + rest + tuple_of(self.pif, data + rest, app, ref, storage)

    def cdw(self, lba, n, prinfo, app, mask, ref, storage=0, dw12=0):
        ref = lba if ref is None else ref
        out = self.q.rw_cdw(lba, n, prinfo << 26 | dw12)
        out.update({14: ref & 0xFFFFFFFF, 15: app | mask << 16, 3: ref >> 32, 2: storage})
        return out

    def write(self, lba, buf, n, prinfo=0, app=0, mask=0, ref=None, **kw):
        self.q.command(1, self.nsid, self.cdw(lba, n, prinfo, app, mask, ref, **kw), wdata=buf)

    def read(self, lba, n, prinfo=0, app=0, mask=0, ref=None, length=None, **kw):
        length = n * (self.bs + self.ms) if length is None else length
        return self.q.command(2, self.nsid, self.cdw(lba, n, prinfo, app, mask, ref, **kw),
                              rlen=length)[0]


@test
def known_answers_of_the_guards():
    eq((crc16(b"123456789"), crc32c(b"123456789"), crc64(b"123456789")),
       (0xD0DB, 0xE3069283, 0xAE8B14860A799888))


@test
def metadata_without_protection_is_kept():
    with Running("--ns=mem:4M,bs=512,ms=8", "--ns=mem:4M,ms=64", "--ns=null:1G,ms=16") as t:
        h = Host(t.addr)
        q = h.io()
        for nsid, ms, ds in ((1, 8, 9), (2, 64, 12)):
            n = h.admin.identify(0, nsid)
            eq((struct.unpack_from("<HB", n, 128), n[26] >> 4 & 1, n[27], n[29]),
               ((ms, ds), 1, 1, 0), "LBAF, FLBAS, MC, DPS")
            eq(struct.unpack_from("<Q", n)[0], (4 << 20) >> ds)
            bs = (1 << ds) + ms
            for i, incapsule in ((0, None), (9, False)):
                data = os.urandom(7 * bs)
                q.write(nsid, i, data, bs, incapsule=incapsule)
                eq(q.read(nsid, i, 7, bs), data)
                eq(q.read(nsid, i + 3, 1, bs), data[3 * bs:4 * bs])
            eq(status_of(q.read, nsid, 0, 2, 1 << ds)[0], 0x0F | DNR, "without metadata")
        q.command(5, 1, q.rw_cdw(0, 2), wdata=q.read(1, 0, 2, 520))
        q.command(8, 1, q.rw_cdw(0, 1))
        eq(q.read(1, 0, 1, 520), bytes(520))
        eq(q.read(3, 5, 2, 4112), bytes(8224))
        h.close()


@test
def every_guard_type_and_place_is_checked_inserted_and_stripped():
    cases = [(p, ms, ty, first) for p, sizes in ((16, (8, 64)), (32, (16, 64)), (64, (16, 64)))
             for ms in sizes for ty in (1, 2, 3) for first in (False, True)]
    specs = [f"--ns=mem:1M,bs={512 if i % 2 else 4096},ms={ms},pi={ty},pif={p}"
             + (",pil=first" if first else "") for i, (p, ms, ty, first) in enumerate(cases)]
    with Running(*specs) as t:
        h = Host(t.addr)
        q = h.io()
        for i, (p, ms, ty, first) in enumerate(cases):
            what = f"guard {p}, {ms} bytes, type {ty}, first {first}"
            bs, nsid = 512 if i % 2 else 4096, i + 1
            s = Space(q, nsid, bs, ms, p, ty, first)
            n = h.admin.identify(0, nsid)
            eq((n[28] & 0x1F, n[29]), (0x1F, ty | (8 if first else 0)), "DPC, DPS")
            elbaf = struct.unpack_from("<I", h.admin.identify(5, nsid), 12)[0]
            eq((elbaf >> 7 & 3, elbaf & 0x7F), ({16: 0, 32: 1, 64: 2}[p], 16 if p == 32 else 0))
            chk = CHK_GUARD | CHK_APP | (0 if ty == 3 else CHK_REF)
            st = 0xBEEF if p == 32 else 0
            ref = 10 if ty != 2 else 0x1234
            blocks = b"".join(s.block(os.urandom(bs), 0x55AA, ref + (k if ty != 3 else 0),
                                      storage=st) for k in range(3))
            arg = dict(app=0x55AA, mask=0xFFFF, ref=ref, storage=st)
            s.write(10, blocks, 3, chk, **arg)
            eq(s.read(10, 3, chk, **arg), blocks, what)
            eq(s.read(10, 3), blocks, what)
            # Inserted by the controller: of 8 or 16 bytes only the data travels.
            stripped = ms == s.size
            data = os.urandom(3 * bs) if stripped else blocks
            s.write(20, data, 3, ACT, app=7, ref=20 if ty == 1 else ref, storage=st)
            got = s.read(20, 3, chk, app=7, mask=0xFFFF, ref=20 if ty == 1 else ref, storage=st)
            size = bs + ms
            for k in range(3):
                d = data[k * bs:(k + 1) * bs] if stripped else data[k * size:k * size + bs]
                r = (20 if ty == 1 else ref) + (k if ty != 3 else 0)
                eq(got[k * size:(k + 1) * size], s.block(d, 7, r, storage=st), what)
            back = s.read(20, 3, ACT | chk, app=7, mask=0xFFFF, ref=20 if ty == 1 else ref,
                          storage=st, length=3 * bs if stripped else None)
            eq(back, data if stripped else got, what)
            # Each check finds what it is for, on the way in and on the way out.
            bad = bytearray(blocks)
            bad[1] ^= 1
            eq(status_of(s.write, 10, bytes(bad), 3, chk, **arg)[0], GUARD, what)
            eq(s.read(10, 3), blocks, "nothing was written")
            s.write(10, bytes(bad), 3, 0)
            eq(status_of(s.read, 10, 3, chk, **arg)[0], GUARD, what)
            eq(s.read(10, 3, chk & ~CHK_GUARD, **arg), bytes(bad), what)
            s.write(10, blocks, 3, chk, **arg)
            eq(status_of(s.read, 10, 3, chk, **{**arg, "app": 0x55AB})[0], APP, what)
            s.read(10, 3, chk, **{**arg, "app": 0x55AB, "mask": 0xFFF0})
            if ty == 2:
                eq(status_of(s.read, 10, 3, chk, **{**arg, "ref": 0x1235})[0], REF, what)
            elif ty == 1:
                eq(status_of(s.read, 10, 3, chk, **{**arg, "ref": 11})[0], INVALID, what)
                s.write(13, blocks, 3, CHK_GUARD, **{**arg, "ref": 13})
                eq(status_of(s.read, 13, 3, chk, **{**arg, "ref": 13})[0], REF, what)
            else:
                eq(status_of(s.read, 10, 3, CHK_REF, **arg)[0], INVALID, what)
            if p == 32:
                eq(status_of(s.read, 10, 3, chk, **{**arg, "storage": 1}, dw12=1 << 24)[0],
                   0x288 | DNR, what)
                s.read(10, 3, chk, **arg, dw12=1 << 24)
            # What was never written is not checked, and says so.
            off = 0 if first else ms - s.size
            fresh = s.read(40, 1, chk, ref=40)
            eq(fresh, bytes(bs + off) + b"\xff" * s.size + bytes(ms - s.size - off), what)
            q.command(0x0C, nsid, s.cdw(10, 3, chk, 0x55AA, 0xFFFF, ref, st))
            eq(status_of(q.command, 0x0C, nsid, s.cdw(10, 3, chk, 1, 0xFFFF, ref, st))[0], APP)
        h.close()


@test
def other_commands_keep_protection_information():
    with Running("--ns=mem:4M,bs=512,ms=8,pi=1", "--ns=mem:4M,bs=512,ms=8,pi=1") as t:
        h = Host(t.addr)
        q = h.io()
        s = Space(q, 1, 512, 8)
        chk = CHK_GUARD | CHK_REF
        blocks = b"".join(s.block(os.urandom(512), 3, k) for k in range(4))
        s.write(0, blocks, 4, chk)
        q.command(5, 1, s.cdw(0, 4, 0, 0, 0, 0), wdata=blocks)
        eq(status_of(q.command, 5, 1, s.cdw(0, 4, 0, 0, 0, 0), wdata=blocks[::-1])[0],
           0x285 | DNR)
        # The information is no part of the comparison; PRACT is for neither of these.
        other = b"".join(blocks[k * 520:k * 520 + 512] + b"\0\0\0\0\0\0\0\0" for k in range(4))
        q.command(5, 1, s.cdw(0, 4, 0, 0, 0, 0), wdata=other)
        stripped = b"".join(blocks[k * 520:k * 520 + 512] for k in range(4))
        eq(status_of(q.command, 5, 1, s.cdw(0, 4, ACT | chk, 0, 0, 0), wdata=stripped)[0],
           INVALID)
        eq(status_of(q.command, 0x0C, 1, s.cdw(0, 4, ACT | chk, 0, 0, 0))[0], INVALID)
        q.command(8, 1, s.cdw(100, 70, ACT, 9, 0, 100))
        eq(s.read(100, 70, chk), b"".join(s.block(bytes(512), 9, 100 + k) for k in range(70)),
           "zeroes with information")
        q.command(8, 1, q.rw_cdw(0, 1))
        eq(s.read(0, 1, chk), bytes(512) + b"\xff" * 8, "zeroes without")
        q.command(9, 1, {10: 0, 11: 4}, wdata=struct.pack("<IIQ", 0, 1, 1))
        eq(s.read(1, 1, chk)[512:], b"\xff" * 8, "deallocated")
        # Copy checks the source by its tags and inserts new ones.
        r = struct.pack("<8xQH6xIHH", 2, 1, 2, 3, 0xFFFF)
        q.command(0x19, 1, {10: 50, 12: (CHK_GUARD | CHK_REF | CHK_APP) << 12 | ACT << 26,
                            14: 50, 15: 8}, wdata=r)
        want = b"".join(s.block(blocks[k * 520:k * 520 + 512], 8, 48 + k) for k in (2, 3))
        eq(s.read(50, 2, chk), want)
        r = struct.pack("<8xQH6xIHH", 2, 1, 2, 4, 0xFFFF)
        eq(status_of(q.command, 0x19, 1, {10: 50, 12: CHK_APP << 12}, wdata=r)[0], APP)
        # Fused, on blocks with information.
        old, new = s.read(2, 1), s.block(b"n" * 512, 1, 2)
        cids = []
        for opc, fuse, data in ((5, 0x41, old), (1, 0x42, new)):
            sqe, cid = q.sqe(opc, 1, s.cdw(2, 1, chk, 0, 0, 2), 520, True, flags=fuse)
            q.start(sqe, data)
            cids.append(cid)
        for cid in cids:
            q.finish(cid)
        eq(s.read(2, 1, chk), new)
        h.close()


@test
def protection_information_in_zones():
    with Running("--ns=mem:1M,zns=64k,ms=8,pi=1") as t:
        h = Host(t.addr, cc=0x460061)
        q = h.io()
        s = Space(q, 1, 4096, 8)
        chk = CHK_GUARD | CHK_REF
        s.write(0, b"a" * 4096, 1, ACT)
        data = b"".join(s.block(bytes([k]) * 4096, 0, k) for k in range(2))
        cdw = {10: 0, 12: 1 | chk << 26 | 1 << 25, 14: 0}
        eq(q.command(0x7D, 1, cdw, wdata=data)[1], 1)
        want = b"".join(s.block(bytes([k]) * 4096, 0, k + 1) for k in range(2))
        eq(s.read(1, 2, chk), want, "reference tags of where it went")
        eq(status_of(q.command, 0x7D, 1, {10: 0, 12: 0}, wdata=data[:4096 + 8])[0], 0x181 | DNR,
           "type 1 without PIREMAP")
        h.close()


@test
def atomic_units_are_reported():
    with Running("--ns=mem:1M,atomic=16", "--ns=mem:1M,atomic=8:32:4", "--ns=mem:1M") as t:
        h = Host(t.addr)
        want = [(2, 15, 15, 0, 0, 0), (2, 7, 7, 31, 4, 31), (0, 0, 0, 0, 0, 0)]
        for nsid, w in enumerate(want, 1):
            n = h.admin.identify(0, nsid)
            nawun, nawupf, _, nabsn, nabo, nabspf = struct.unpack_from("<6H", n, 34)
            eq((n[24] & 2, nawun, nawupf, nabsn, nabo, nabspf), w)
        h.close()


if __name__ == "__main__":
    sys.exit(main())
