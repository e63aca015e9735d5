#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-target against hosts that break the rules: usage
test_target_hostile.py PATH/nvmf-target. Output is TAP."""
import json
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import CMD, F_LAST, H2CDATA, Host, Queue, crc32c  # noqa: E402
from taptest import Running, broken, eq, exercise, main, term_of, test  # noqa: E402


@test
def hostile_hosts_get_the_right_termreq():
    with Running("--ns=mem:1M", "--in-capsule=4096", "--maxh2cdata=4096", "--max-conns=8") as t:
        def raw(data, **kw):
            q = Queue(t.addr, **kw)
            q.send(data)
            try:
                return term_of(q.recv_pdu)
            finally:
                q.close()
        ch = struct.Struct("<BBBBI").pack
        eq(raw(ch(4, 0, 72, 0, 72), icreq=False), (2, 0), "command before ICReq")
        eq(raw(ch(0, 0, 128, 0, 128) + struct.pack("<H118x", 1), icreq=False), (6, 8), "PFV")
        eq(raw(ch(0, 0, 128, 0, 128) + struct.pack("<HB117x", 0, 32), icreq=False), (1, 10), "HPDA")
        eq(raw(ch(0, 0, 64, 0, 128), icreq=False), (1, 2), "HLEN of ICReq")
        eq(raw(ch(0, 0, 128, 0, 128)), (2, 0), "a second ICReq")
        eq(raw(ch(7, 0, 24, 0, 24)), (1, 0), "C2HData from a host")
        eq(raw(ch(0xFF, 0, 24, 0, 24)), (1, 0), "unknown type")
        eq(raw(ch(4, 0x80, 72, 0, 72)), (1, 1), "reserved flag")
        eq(raw(ch(4, 1, 72, 0, 72)), (1, 1), "digest not negotiated")
        eq(raw(ch(4, 2, 72, 72, 80)), (1, 1), "data digest not negotiated")
        eq(raw(ch(4, 0, 72, 0, 72), hdgst=True), (1, 1), "digest missing")
        eq(raw(ch(4, 0, 71, 0, 72)), (1, 2), "HLEN")
        eq(raw(ch(4, 0, 72, 8, 80)), (1, 3), "PDO inside the header")
        eq(raw(ch(4, 0, 72, 255, 600)), (1, 3), "PDO unaligned")
        eq(raw(ch(4, 0, 72, 0, 8)), (1, 4), "PLEN")
        eq(raw(ch(4, 0, 72, 72, 0xFFFFFFFF)), (1, 4), "PLEN of 4 GiB")
        eq(raw(ch(6, 4, 24, 24, 24)), (1, 4), "H2CData without data")
        good = ch(4, 1, 72, 0, 76) + bytes(64)
        eq(raw(good + struct.pack("<I", crc32c(good) ^ 1), hdgst=True),
           (3, crc32c(good) ^ 1), "header digest")

        def h2c(change, last=F_LAST, n=4096, cid=0, ttag=0, datal=None, twice=False):
            h = Host(t.addr)
            q = h.io()
            sqe, c = q.sqe(1, 1, q.rw_cdw(0, 4), 16384)
            q.start(sqe)
            _, head, _ = q.recv_pdu()
            _, tt, off, _ = struct.unpack_from("<HHII", head, 8)
            body = struct.pack("<HHII4x", c + cid, tt + ttag, off + change,
                               n if datal is None else datal)
            pdu = q.pdu(H2CDATA, body, bytes(n), last)
            q.send(pdu)
            if twice:
                q.send(pdu)
            try:
                return term_of(q.recv_pdu)
            finally:
                h.close()
        eq(h2c(0, cid=9), (1, 8), "CCCID")
        eq(h2c(0, ttag=1), (1, 10), "TTAG")
        eq(h2c(0, ttag=4000), (1, 10), "TTAG out of range")
        eq(h2c(0, datal=4092), (1, 16), "DATAL")
        eq(h2c(4, 0), (2, 0), "DATAO")
        eq(h2c(16384, 0), (4, 0), "beyond the R2T")
        eq(h2c(0, 0, 8192), (5, 0), "above MAXH2CDATA")
        eq(h2c(0, F_LAST), (2, 0), "LAST too early")
        eq(h2c(0, 0, twice=True), (2, 0), "the same data twice")
        h = Host(t.addr)
        q = h.io()
        q.ioccsz = 1 << 20
        eq(term_of(lambda: q.write(1, 0, bytes(8192))), (1, 4), "capsule above IOCCSZ")
        h.close()
        h = Host(t.addr)
        q = h.io(sqsize=3)
        q.ioccsz = 0
        for _ in range(5):
            q.start(q.sqe(1, 1, q.rw_cdw(0, 1), 4096)[0])

        def drain():
            while True:
                q.recv_pdu()
        eq(term_of(drain), (5, 0), "more commands than entries")
        h.close()
        for data in (ch(2, 0, 24, 0, 23), ch(2, 0, 24, 0, 153), ch(2, 0, 24, 0, 24) + bytes(16)):
            q = Queue(t.addr)
            q.send(data)
            broken(lambda: q.recv(1), ConnectionError)
            q.close()
        eq("host sent H2CTermReq" in t.control("history"), True)
        socks = [Queue(t.addr, icreq=False) for _ in range(8)]
        broken(lambda: Queue(t.addr))           # --max-conns
        for s in socks:
            s.close()
        while json.loads(t.control("stats"))["conns"]:
            pass                                # it has to see the ends first
        Host(t.addr).close()


@test
def random_bytes_never_hurt():
    seed = int(os.environ.get("NOF_SEED", "20251123"))
    rng = random.Random(seed)
    print(f"# seed {seed}")
    with Running("--ns=mem:16M", "--r2t=4", "--r2t-size=4096") as t:
        for i in range(150):
            h = Host(t.addr, hdgst=bool(i & 1), ddgst=bool(i & 2))
            q = h.io()
            sqe, _ = q.sqe(rng.choice((0, 1, 2, 5, 8, 9)), 1, q.rw_cdw(0, 4), 16384,
                           rng.random() < 0.5)
            pdu = bytearray(q.pdu(CMD, sqe, bytes(rng.choice((0, 16, 512, 8192)))))
            fix = rng.random() < 0.7 and q.hdgst
            for _ in range(rng.randrange(1, 6)):
                pdu[rng.randrange(min(len(pdu), 72))] = rng.randrange(256)
            if fix:
                struct.pack_into("<I", pdu, 72, crc32c(pdu[:72]))
            try:
                (q if rng.random() < 0.7 else h.admin).send(pdu + rng.randbytes(rng.randrange(400)))
            except OSError:
                pass
            h.close()
        exercise(t.addr, rng)


IO_OPCODES = (0, 1, 2, 4, 5, 8, 9, 0x0C, 0x0D, 0x0E, 0x11, 0x15, 0x19, 0x79, 0x7A, 0x7D, 0x21, 0x92)
ADMIN_OPCODES = (2, 6, 8, 9, 0x0A, 0x0D, 0x10, 0x11, 0x14, 0x15, 0x18, 0x80, 0x81, 0x82, 0x84, 0xC1)


def odd(rng):
    """A number where mistakes are."""
    n = rng.choice((0, 1, 2, 3, 7, 8, 15, 16, 63, 127, 128, 255, 256, 4095, 16383, 65535, 1 << 20,
                    (1 << 31) - 1, 1 << 31, (1 << 32) - 1))
    return n if rng.random() < 0.7 else rng.randrange(1 << 32)


def any_data(rng, n):
    """Bytes that are small numbers here and there, as descriptors are."""
    out = bytearray(rng.randbytes(n)) if rng.random() < 0.3 else bytearray(n)
    for _ in range(min(n // 4, 12)):
        struct.pack_into("<I", out, 4 * rng.randrange(n // 4), odd(rng))
    return bytes(out)


@test
def random_commands_of_every_kind_are_answered():
    seed = int(os.environ.get("NOF_SEED", "20261124"))
    rng = random.Random(seed)
    print(f"# seed {seed}")
    args = ["--ns=mem:1M,bs=512", "--ns=mem:1M,bs=512,ms=8,pi=1", "--ns=mem:1M,ms=64,pi=2,pif=64",
            "--ns=mem:1M,zns=64k,mar=3,mor=2", "--ns=mem:1M,bs=512,ms=16,pi=3,pif=32,zns=64k",
            "--ns=null:1T", "--capacity=16M", "--mdts=4", "--in-capsule=4096", "--r2t-size=4096",
            "--listen=127.0.0.1:0,ana=1:optimized", "--zasl=2"]
    with Running(*args) as t:
        h = q = None
        for i in range(4000):
            if not i % 200:
                if h:
                    h.close()
                h = Host(t.addr, cc=rng.choice((0x460061, 0x460061, 0x460001)))
                q = h.io()
                q.ioccsz = h.ioccsz
            is_io = rng.random() < 0.7
            opc = rng.choice(IO_OPCODES if is_io else ADMIN_OPCODES)
            cdw = {k: odd(rng) if rng.random() < 0.5 else rng.randrange(4)
                   for k in (2, 3, 10, 11, 12, 13, 14, 15)}
            if is_io and rng.random() < 0.8:
                cdw[11] = 0
                cdw[12] = rng.randrange(8) | rng.choice((0, 0, rng.randrange(1 << 16) << 16))
            n = 4 * rng.choice((0, 1, 2, 4, 8, 16, 128, 130, 1024, 1040, 2048)) or 4
            if is_io and opc in (1, 2, 5, 0x7D) and rng.random() < 0.8:
                n = ((cdw[12] & 0xFFFF) + 1) * rng.choice((512, 520, 528, 4096, 4104, 4160))
                n = min(n, 1 << 18)
            if not is_io and opc in (2, 0x82) and rng.random() < 0.8:
                cdw[10] = (cdw[10] & 0xFFFF) | (n // 4 - 1) << 16
                cdw[11] = n if opc == 0x82 else 0
            if not is_io and opc in (6, 0x0D, 0x15):
                n = 4096
            direction = opc & 3
            kw = {"wdata": any_data(rng, n)} if direction == 1 else {}
            if direction == 2:
                kw["rlen"] = n
            target = q if is_io else h.admin
            try:
                target.command(opc, rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0xFFFFFFFF)), cdw,
                               check=False, **kw)
            except ConnectionError:
                h = Host(t.addr)
                q = h.io()
        h.close()
        h = Host(t.addr)
        h.admin.identify(1)
        h.close()


@test
def input_split_at_every_byte():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr, hdgst=True, ddgst=True)
        q = h.io()
        data = os.urandom(4096)
        for size in (1, 7, 71, 4095):
            sqe, cid = q.sqe(1, 1, q.rw_cdw(0, 1), 4096, True)
            pdu = q.pdu(CMD, sqe, data)
            for i in range(0, len(pdu), size):
                q.send(pdu[i:i + size])
            q.finish(cid)
            eq(q.read(1, 0, 1), data)
        h.close()


if __name__ == "__main__":
    sys.exit(main())
