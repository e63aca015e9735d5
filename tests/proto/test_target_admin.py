#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Namespace management, Format, Sanitize, self-test, firmware, security,
features and logs of nvmf-target: usage test_target_admin.py
PATH/nvmf-target. Output is TAP."""
import os
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import HOST_ID, Host  # noqa: E402
from taptest import DNR, Running, broken, eq, main, status_of, test  # noqa: E402

FIELD, NO_NS, OPCODE, FORMAT = 0x02 | DNR, 0x0B | DNR, 0x01 | DNR, 0x10A | DNR


def u16(b, at):
    return struct.unpack_from("<H", b, at)[0]


def u64(b, at):
    return struct.unpack_from("<Q", b, at)[0]


def nsids(h, cns=2):
    return [x for x in struct.unpack("<1024I", h.admin.identify(cns)) if x]


def arm(h, mask=0):
    if mask:
        h.admin.command(9, 0, {10: 0x0B, 11: mask})
    sqe, cid = h.admin.sqe(0x0C)
    h.admin.start(sqe)
    return cid


def create(h, blocks, fmt=1, dps=0, anagrp=0, nmic=1, ncap=None, csi=0):
    d = bytearray(4096)
    flbas = (fmt & 15) | 1 << 4
    struct.pack_into("<QQ", d, 0, blocks, blocks if ncap is None else ncap)
    d[26], d[29], d[30] = flbas, dps, nmic
    struct.pack_into("<I", d, 92, anagrp)
    return h.admin.command(0x0D, 0, {10: 0, 11: csi << 24}, wdata=bytes(d))[1]


def attach(h, nsid, cntlids, detach=False):
    d = struct.pack(f"<H{len(cntlids)}H", len(cntlids), *cntlids).ljust(4096, b"\0")
    h.admin.command(0x15, nsid, {10: int(detach)}, wdata=d)


def delete(h, nsid):
    h.admin.command(0x0D, nsid, {10: 1})


@test
def namespaces_are_made_attached_and_deleted():
    with Running("--ns=mem:1M", "--capacity=64M") as t:
        h = Host(t.addr)
        other = Host(t.addr, hostnqn="nqn.2025-11.org.libnof:other", hostid=HOST_ID[::-1])
        a = h.admin
        eq((u16(h.id, 256) >> 3 & 1, u64(h.id, 280), u64(h.id, 296)), (1, 65 << 20, 64 << 20),
           "OACS, TNVMCAP, UNVMCAP")
        common = a.identify(0, 0xFFFFFFFF)
        eq((common[25], struct.unpack_from("<HB", common, 128 + 4)), (10, (0, 9)))
        nsid = create(h, 2048, 1)
        eq(nsid, 2)
        eq((nsids(h), nsids(h, 0x10)), ([1], [1, 2]), "allocated, not attached")
        eq((a.identify(0, 2), u64(a.identify(0x11, 2), 0)), (bytes(4096), 2048))
        q, oq = h.io(), other.io()
        eq(status_of(q.read, 2, 0, 1, 512)[0], NO_NS)
        heard = arm(other, 0x100)
        attach(h, 2, [h.cntlid])
        eq((nsids(h), nsids(other)), ([1, 2], [1]))
        q.write(2, 2047, b"n" * 512, 512)
        eq(status_of(oq.read, 2, 0, 1, 512)[0], NO_NS)
        eq(struct.unpack_from("<HHH", a.identify(0x12, 2)), (1, h.cntlid, 0))
        eq(struct.unpack_from("<HHH", a.identify(0x13)), (2, h.cntlid, other.cntlid))
        # Another controller of the same host sees what the first one does.
        again = Host(t.addr)
        eq(nsids(again), [1, 2])
        again.close()
        attach(h, 2, [other.cntlid])
        eq(other.admin.finish(heard)[1], 0x00040002, "told")
        eq(oq.read(2, 2047, 1, 512), b"n" * 512)
        eq(status_of(attach, h, 2, [h.cntlid])[0], 0x118 | DNR, "attached already")
        for bad in ([], [999], [other.cntlid, h.cntlid], [h.cntlid, h.cntlid]):
            eq(status_of(attach, h, 1, bad, True)[0], 0x11C | DNR, str(bad))
        attach(h, 1, [other.cntlid], True)
        eq(status_of(attach, h, 1, [other.cntlid], True)[0], 0x11A | DNR, "not attached")
        eq((nsids(h), nsids(other)), ([1, 2], [2]), "also one that was there from the start")
        attach(h, 1, [other.cntlid])
        eq(status_of(attach, h, 9, [h.cntlid])[0], NO_NS)
        private = create(h, 8, 2, nmic=0)
        attach(h, private, [h.cntlid])
        eq(status_of(attach, h, private, [other.cntlid])[0], 0x119 | DNR)
        eq(status_of(create, h, 1 << 18, 1)[0], 0x115 | DNR, "capacity")
        eq(status_of(create, h, 0)[0], FIELD)
        eq(status_of(create, h, 8, 1, ncap=4)[0], 0x11B | DNR)
        eq(status_of(create, h, 8, 15)[0], FORMAT)
        eq(status_of(create, h, 8, 1, dps=1)[0], FORMAT, "no room for information")
        eq(status_of(create, h, 8, 1, anagrp=0xffff)[0], 0x124 | DNR)
        eq(status_of(create, h, 8, 1, csi=2)[0], 0x129 | DNR)
        delete(h, private)
        delete(h, 2)
        eq(status_of(delete, h, 2)[0], NO_NS)
        eq(status_of(q.read, 2, 0, 1, 512)[0], NO_NS)
        uuid = None
        for _ in range(100):                    # memory and capacity come back
            n = create(h, 12 << 10, 2)
            eq(n, 2)
            attach(h, n, [h.cntlid])
            now = a.identify(3, n)[:72]
            eq(now == uuid, False, "an identity of its own")
            uuid = now
            delete(h, n)
        delete(h, 0xFFFFFFFF)
        eq(nsids(h, 0x10), [])
        h.close()
        other.close()
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        eq((u16(h.id, 256) >> 3 & 1, status_of(create, h, 8)[0]), (0, OPCODE))
        h.close()


@test
def format_changes_the_geometry():
    path = f"/tmp/nvmf-target-format-{os.getpid()}"
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    try:
        with Running("--ns=mem:1M", "--ns=mem:1M,ro", f"--ns=file:{path}",
                     "--ns=mem:1M,zns=64k") as t:
            h = Host(t.addr, cc=0x460061)
            a, q = h.admin, h.io()

            def fmt(nsid, i, pi=0, mset=True, ses=0):
                a.command(0x80, nsid, {10: (i & 15) | mset << 4 | pi << 5 | ses << 9})
            other = Host(t.addr)
            cid = arm(other, 0x100)
            for nsid in (1, 3, 4):
                q.write(nsid, 0, b"f" * 4096)
                for i, (ms, ds) in enumerate(((0, 12), (0, 9), (0, 12), (8, 9), (8, 12), (16, 9),
                                              (16, 12), (16, 9), (16, 12), (64, 9), (64, 12))):
                    fmt(nsid, i, 1 if ms else 0)
                    n = a.identify(0, nsid)
                    stride = (1 << ds) + ms
                    blocks = (1 << 20) // (stride if nsid == 3 else 1 << ds)
                    if nsid == 4:
                        eq(u64(a.identify(5, 4, 2), 2816 + 16 * i), 65536 >> ds, "ZSZE")
                    eq((u64(n, 0), n[26] & 15, n[26] >> 4 & 1, n[29]),
                       (blocks, i, int(ms > 0), int(ms > 0)), f"nsid {nsid}, format {i}")
                    got = q.read(nsid, 0, 1, stride)
                    eq(got[:1 << ds], bytes(1 << ds), "erased")
                    if nsid != 4:
                        q.read(nsid, blocks - 1, 1, stride)
                    eq(status_of(q.read, nsid, blocks, 1, stride)[0], 0x80 | DNR)
                    # Inserted by the controller, or after metadata that is not information.
                    strip = ms == {3: 8, 4: 8}.get(i, 16)
                    block = bytes([i]) * (1 << ds) + (b"" if strip else bytes(ms))
                    q.command(1, nsid, {**q.rw_cdw(0, 2), 12: 1 | (8 << 26 if ms else 0)},
                              wdata=2 * block)
                if nsid != 3:
                    fmt(nsid, 0)
            eq(other.admin.finish(cid)[1], 0x00040002, "told")
            eq(status_of(fmt, 1, 11)[0], FORMAT)
            eq(status_of(fmt, 1, 3, 0, False)[0], FORMAT, "separate metadata")
            eq(status_of(fmt, 1, 2, 1)[0], FORMAT, "no room for information")
            eq(status_of(fmt, 2, 1)[0], 0x20 | DNR)
            eq(status_of(fmt, 9, 1)[0], NO_NS)
            eq(status_of(fmt, 1, 0, ses=3)[0], FIELD)
            fmt(1, 1, ses=2)
            q.read(1, 2047, 1, 512)
            other.close()
            h.close()
    finally:
        os.unlink(path)


@test
def commands_under_way_end_when_their_namespace_is_formatted():
    with Running("--ns=mem:8M,bs=512,ms=8,pi=1", "--in-capsule=0") as t:
        h = Host(t.addr)
        a, q = h.admin, h.io()
        sqe, wcid = q.sqe(1, 1, q.rw_cdw(0, 64), 64 * 520)
        q.start(sqe)
        _, head, _ = q.recv_pdu()
        ttag = u16(head, 10)
        t.control("fault on=read do=delay:200")
        sqe, rcid = q.sqe(2, 1, q.rw_cdw(16000, 64), 64 * 520)
        q.start(sqe)
        sqe, ccid = q.sqe(5, 1, q.rw_cdw(5, 1), 520, flags=0x41)
        q.start(sqe)
        _, head, _ = q.recv_pdu()
        q.answer_r2t(ccid, u16(head, 10), bytes(520), 0, 520)
        q2 = h.io()
        q2.command(0, 1)                        # all of it has arrived
        a.command(0x80, 1, {10: 10 | 1 << 4 | 1 << 5})
        sqe, c2 = q.sqe(1, 1, q.rw_cdw(5, 1), 4160, flags=0x42)
        q.start(sqe)
        q.answer_r2t(wcid, ttag, bytes(64 * 520), 0, 64 * 520)
        got = {}
        while len(got) < 4:
            _, head, _ = q.recv_pdu()
            got[u16(head, 20)] = u16(head, 22) >> 1
        eq((got[wcid], got[rcid], got[ccid], got[c2]), (0x84, 0x84, 0x84, 0x09))
        h.close()


@test
def sanitize_and_its_log():
    with Running("--ns=mem:1M", "--op-time=400") as t:
        h = Host(t.addr)
        a, q = h.admin, h.io()
        eq(struct.unpack_from("<I", h.id, 328)[0] & 7, 7, "SANICAP")
        q.write(1, 0, b"s" * 4096)
        log = a.get_log(0x81, 512)
        eq((u16(log, 0), u16(log, 2) & 7), (0xFFFF, 0), "never")
        cid = arm(h)
        a.command(0x84, 0, {10: 2})
        log = a.get_log(0x81, 512)
        eq((u16(log, 0) < 0xFFFF, u16(log, 2) & 7, struct.unpack_from("<I", log, 4)[0]),
           (True, 2, 2), "in progress")
        eq(status_of(q.read, 1, 0, 1)[0], 0x1D)
        eq(status_of(a.command, 0x84, 0, {10: 2})[0], 0x1D | DNR)
        eq(status_of(a.command, 0x80, 1, {10: 0})[0], 0x1D)
        eq(a.finish(cid)[1], 0x00810106, "completed")
        eq(u16(a.get_log(0x81, 512), 2) & 7, 1)
        eq(q.read(1, 0, 1), bytes(4096))
        eq(status_of(a.command, 0x84, 0, {10: 0})[0], FIELD)
        a.command(0x84, 0, {10: 1})             # exit failure mode: nothing to leave
        h.close()
    with Running("--ns=mem:1M", "--ns=mem:1M,ro") as t:
        h = Host(t.addr)
        eq(status_of(h.admin.command, 0x84, 0, {10: 2})[0], 0x20 | DNR)
        h.close()


@test
def self_test_and_its_log():
    with Running("--ns=mem:1M", "--op-time=300") as t:
        h = Host(t.addr)
        a = h.admin
        eq(u16(h.id, 256) >> 4 & 1, 1)
        log = a.get_log(6, 564)
        eq((log[0], log[4] & 15, log[4 + 19 * 28] & 15), (0, 15, 15), "nothing yet")
        a.command(0x14, 1, {10: 1})
        log = a.get_log(6, 564)
        eq((log[0], log[1] < 100), (1, True))
        eq(status_of(a.command, 0x14, 1, {10: 2})[0], 0x11D | DNR, "in progress")
        a.command(0x14, 0, {10: 15})
        log = a.get_log(6, 564)
        eq((log[0], log[4], struct.unpack_from("<I", log, 16)[0]), (0, 0x11, 1), "aborted")
        a.command(0x14, 0xFFFFFFFF, {10: 2})
        end = time.monotonic() + 10
        while a.get_log(6, 564)[0]:
            eq(time.monotonic() < end, True, "a self-test ends")
        log = a.get_log(6, 564)
        eq((log[4], log[32]), (0x20, 0x11), "the newest first")
        eq(status_of(a.command, 0x14, 7, {10: 1})[0], NO_NS)
        eq(status_of(a.command, 0x14, 1, {10: 9})[0], FIELD)
        h.close()


@test
def firmware_download_commit_and_activation():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        a = h.admin
        eq((u16(h.id, 256) >> 2 & 1, h.id[260]), (1, 0x17), "OACS, FRMW")
        own = h.id[64:72]

        def download(off, data):
            a.command(0x11, 0, {10: len(data) // 4 - 1, 11: off // 4}, wdata=data)

        def commit(slot, action):
            a.command(0x10, 0, {10: slot | action << 3})

        def slots():
            log = a.get_log(3, 512)
            return log[0], [log[8 + 8 * i:16 + 8 * i] for i in range(3)]
        eq(slots(), (1, [own, bytes(8), bytes(8)]))
        image = b"REV-2.0 " + os.urandom(8192 - 8)
        download(4096, image[4096:])
        eq(status_of(commit, 2, 0)[0], 0x107 | DNR, "its beginning is missing")
        download(0, image[:4096])
        download(4096, image[4096:])
        eq(status_of(download, 4096, bytes(4))[0], 0x114 | DNR, "overlap")
        eq(status_of(commit, 1, 1)[0], 0x106 | DNR, "read-only")
        eq(status_of(commit, 5, 1)[0], 0x106 | DNR)
        commit(2, 1)
        eq(slots(), (0x21, [own, b"REV-2.0 ", bytes(8)]), "at the next reset")
        eq(a.identify(1)[64:72], own)
        a.prop_set(0x14, 0)
        a.enable()
        eq((a.identify(1)[64:72], slots()[0]), (b"REV-2.0 ", 2))
        download(0, b"NEW3    and more")
        cid = arm(h, 0x200)
        commit(3, 3)
        eq(a.finish(cid)[1], 0x00030102, "activation starts")
        eq(slots(), (3, [own, b"REV-2.0 ", b"NEW3    "]))
        download(0, b"BAD image...")
        eq(status_of(commit, 2, 0)[0], 0x107 | DNR)
        eq(status_of(commit, 2, 1)[0], 0x107 | DNR, "nothing was downloaded")
        commit(1, 2)
        eq(slots()[0], 0x13)
        eq(status_of(download, 4 << 20, bytes(4))[0], FIELD)
        eq(status_of(commit, 1, 7)[0], FIELD)
        cid = arm(h)
        t.control("fw 9.9")
        eq(a.finish(cid)[1], 0x00030102)
        eq(a.identify(1)[64:72], b"9.9     ")
        h.close()


@test
def security_echo():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        a = h.admin

        def send(proto, spsp, data):
            a.command(0x81, 0, {10: proto << 24 | spsp << 8, 11: len(data)}, wdata=data)

        def receive(proto, spsp, n):
            return a.command(0x82, 0, {10: proto << 24 | spsp << 8, 11: n}, rlen=n)[0]
        eq(receive(0, 0, 16)[6:11], b"\0\x03\x00\xef\xfe")
        eq(receive(0xFE, 7, 12), bytes(12))
        send(0xFE, 7, b"secret words")
        eq(receive(0xFE, 7, 16), b"secret words" + bytes(4))
        eq(receive(0xFE, 7, 8), b"secret w")
        eq(receive(0xFE, 8, 8), bytes(8), "another one's")
        send(0xEF, 1, os.urandom(20000))
        eq(status_of(receive, 0x41, 0, 8)[0], FIELD)
        eq(status_of(send, 0, 0, bytes(8))[0], FIELD)
        h.close()


@test
def features_errors_and_effects():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        a, q = h.admin, h.io()

        def get(fid, select=0, **kw):
            return a.command(0x0A, 0, {10: fid | select << 8}, **kw)
        eq(get(0x81, rlen=16)[0], HOST_ID)
        eq(status_of(a.command, 9, 0, {10: 0x81}, wdata=bytes(16))[0], 0x10E | DNR)
        eq(get(0x0B, 3)[1], 4, "changeable")
        eq((get(0x82, 3)[1], get(0x81, 3)[1]), (6, 0))
        a.command(9, 0, {10: 6, 11: 0})
        eq((get(6)[1], get(6, 1)[1], get(6, 2)[1]), (0, 1, 1), "current, default, saved")
        eq(status_of(get, 6, 4)[0], FIELD)
        eq(status_of(get, 0x55, 3)[0], FIELD)
        a.command(9, 0, {10: 0x0E}, wdata=struct.pack("<Q", 1700000000000))
        ts = u64(get(0x0E, rlen=8)[0], 0)
        eq((0 <= (ts & (1 << 48) - 1) - 1700000000000 < 10000, ts >> 49 & 7), (True, 1))
        before = u64(a.get_log(1, 64), 0)
        status_of(q.read, 1, 999, 1)
        status_of(q.write, 7, 3, bytes(4096))
        log = a.get_log(1, 64 * 64)
        count, sqid, _, st, loc, lba, nsid = struct.unpack_from("<QHHHHQI", log)
        eq((count, sqid, st >> 1, loc, nsid), (before + 2, 1, NO_NS, 0xFFFF, 7), "the newest")
        count, sqid, _, st, loc, lba, nsid = struct.unpack_from("<QHHHHQI", log, 64)
        eq((count, st >> 1, lba, nsid), (before + 1, 0x80 | DNR, 999, 1))
        for i in range(100):
            status_of(q.read, 1, 1000 + i, 1)
        log = a.get_log(1, 64 * 64)
        eq([u64(log, 64 * i + 16) for i in (0, 63)], [1099, 1036], "the last 64")
        log = a.get_log(5, 4096)
        for opc in (0x80, 0x84, 0x10, 0x81):
            eq(u16(log, 4 * opc) & 1, 1)
        eq(u16(log, 4 * 0x0D) & 1, 0)
        broken(lambda: t.control("fw"), ValueError)
        h.close()


@test
def congestion_control_is_that_of_its_connections():
    for mptcp in ("off", "prefer"):
        with Running("--congestion=reno", f"--mptcp={mptcp}") as t:
            h = Host(t.addr)
            h.io()
            if shutil.which("ss"):
                out = subprocess.run(["ss", "-Htin", "state", "established", "sport", "=",
                                      f":{t.addr[1]}"], capture_output=True, text=True,
                                     check=True).stdout
                eq(out.count(" reno "), 2, out)
        for name in ("no-such", "x" * 40):
            p = subprocess.run([sys.argv[1], f"--congestion={name}", f"--mptcp={mptcp}",
                                "--listen=127.0.0.1:0"], capture_output=True, text=True,
                               timeout=10, check=False)
            eq((p.returncode, "--congestion=" + name[:32] in p.stderr), (1, True), p.stderr)


if __name__ == "__main__":
    sys.exit(main())
