#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The discovery subsystem of nvmf-target: usage test_target_discovery.py
PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import DEFAULT_NQN, DISCOVERY_NQN, Host, Queue  # noqa: E402
from taptest import DNR, Running, broken, eq, main, status_of, test  # noqa: E402

FIELDS = "trtype adrfam subtype treq portid cntlid asqsz eflags trsvcid nqn traddr sectype"


def log_of(h, lsp=0):
    """(GENCTR, records as dicts)"""
    out = h.admin.command(2, 0, {10: 0x70 | lsp << 8 | 0xFFFF << 16 & 0x3FFF0000}, rlen=65536)[0]
    genctr, numrec = struct.unpack_from("<QQ", out)
    recs = []
    for i in range(numrec):
        e = out[1024 * (i + 1):1024 * (i + 2)]
        trtype, adrfam, subtype, treq, portid, cntlid, asqsz, eflags = struct.unpack_from(
            "<BBBBHHHH", e)
        recs.append(dict(trtype=trtype, adrfam=adrfam, subtype=subtype, treq=treq, portid=portid,
                         cntlid=cntlid, asqsz=asqsz, eflags=eflags,
                         trsvcid=e[32:64].decode().strip(), nqn=e[256:512].split(b"\0")[0].decode(),
                         traddr=e[512:768].decode().strip(), sectype=e[768]))
    return genctr, recs


def arm(h):
    h.admin.command(9, 0, {10: 0x0B, 11: 1 << 31})
    sqe, cid = h.admin.sqe(0x0C)
    h.admin.start(sqe)
    return cid


@test
def records_of_any_content():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr, DISCOVERY_NQN)
        gen, recs = log_of(h)
        eq((len(recs), recs[0]["nqn"], recs[0]["subtype"], recs[0]["treq"]),
           (1, DEFAULT_NQN, 2, 6))
        t.control("discovery-add traddr=192.0.2.7 trsvcid=4421 nqn=nqn.2025-11.org.example:x "
                  "treq=1 eflags=5 portid=9 cntlid=0xfffe sectype=2 asqsz=64")
        t.control("discovery-add traddr=2001:db8::1 trtype=4 subtype=2")
        gen2, recs = log_of(h)
        eq(gen2, gen + 2, "GENCTR")
        want = dict(trtype=3, adrfam=1, subtype=2, treq=1, portid=9, cntlid=0xFFFE, asqsz=64,
                    eflags=5, trsvcid="4421", nqn="nqn.2025-11.org.example:x",
                    traddr="192.0.2.7", sectype=2)
        eq(set(want), set(FIELDS.split()))
        eq(recs[1], want)
        eq((recs[2]["adrfam"], recs[2]["trtype"], recs[2]["traddr"]), (2, 4, "2001:db8::1"))
        t.control("discovery-clear")
        eq(len(log_of(h)[1]), 1)
        for bad in ("discovery-add color=red", "discovery-add traddr", "discovery-add trtype=x"):
            broken(lambda: t.control(bad), ValueError)
        eq(len(log_of(h)[1]), 1)
        h.close()


@test
def referrals():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr, DISCOVERY_NQN)
        cid = arm(h)
        t.control("referral-add 127.0.0.1:8009")
        eq(h.admin.finish(cid)[1], 0x0070F002)
        t.control("referral-add [2001:db8::2]:8010,nqn.2025-11.org.example:dc")
        recs = log_of(h)[1][1:]
        eq([(r["subtype"], r["adrfam"], r["traddr"], r["trsvcid"], r["nqn"]) for r in recs],
           [(1, 1, "127.0.0.1", "8009", DISCOVERY_NQN),
            (1, 2, "2001:db8::2", "8010", "nqn.2025-11.org.example:dc")])
        t.control("referral-remove 127.0.0.1:8009")
        eq(len(log_of(h)[1]), 2)
        for bad in ("referral-remove 127.0.0.1:8009", "referral-add", "referral-add host"):
            broken(lambda: t.control(bad), ValueError)
        h.close()


@test
def the_subsystem_has_a_name_of_its_own():
    own = "nqn.2025-11.org.example:discovery"
    with Running("--ns=mem:1M", f"--discovery-nqn={own}", "--listen=127.0.0.1:0") as t:
        for nqn in (DISCOVERY_NQN, own):
            h = Host(t.addr, nqn)
            eq(h.id[768:1024].split(b"\0")[0].decode(), own)
            recs = log_of(h)[1]
            eq(sorted((r["subtype"], r["nqn"]) for r in recs),
               [(2, DEFAULT_NQN)] * 2 + [(3, own)] * 2)
            eq({r["eflags"] for r in recs if r["subtype"] == 3}, {2}, "EPCSD")
            eq({r["trsvcid"] for r in log_of(h, 2)[1]}, {str(t.addr[1])}, "this port only (PLEO)")
            h.close()


@test
def subsystems_come_and_go():
    nqn = "nqn.2025-11.org.example:late"
    with Running("--ns=mem:1M") as t:
        d = Host(t.addr, DISCOVERY_NQN)
        cid = arm(d)
        t.control(f"subsys-add {nqn} mem:1M,bs=512")
        eq(d.admin.finish(cid)[1], 0x0070F002)
        eq({r["nqn"] for r in log_of(d)[1]}, {DEFAULT_NQN, nqn})
        t.control(f"ns-add mem:1M {nqn}")
        h = Host(t.addr, nqn)
        q = h.io()
        q.write(1, 0, b"l" * 512, 512)
        q.read(2, 0, 1)
        q.start(q.sqe(1, 1, q.rw_cdw(0, 64), 32768)[0])
        q.recv_pdu()                            # the R2T: a write is under way
        t.control(f"subsys-remove {nqn}")
        broken(lambda: q.recv(1), ConnectionError)
        broken(lambda: h.admin.recv(1), ConnectionError)
        eq({r["nqn"] for r in log_of(d)[1]}, {DEFAULT_NQN})
        late = Queue(t.addr)
        eq(status_of(late.connect, nqn=nqn)[0], 0x182 | DNR)
        late.close()
        for bad in (f"subsys-remove {nqn}", f"subsys-remove {DISCOVERY_NQN}", "subsys-add x",
                    f"subsys-add {DEFAULT_NQN}", f"subsys-add {nqn} nothing"):
            broken(lambda: t.control(bad), ValueError)
        for i in range(50):
            t.control(f"subsys-add {nqn} mem:64M")
            Host(t.addr, nqn).close()
            t.control(f"subsys-remove {nqn}")
        d.close()


if __name__ == "__main__":
    sys.exit(main())
