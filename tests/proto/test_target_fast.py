#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-target answers plain reads on a short way of its own, off which a fault rule, even
one that never fires, leads every command. A host must see no difference: usage
test_target_fast.py PATH/nvmf-target. Output is TAP."""
import json
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import C2HDATA, CMD, F_SUCCESS, R2T, RESP, Host, Terminated  # noqa: E402
from taptest import Running, eq, main, test  # noqa: E402

NEVER = "--fault=on=flush conn=4000000 do=drop"
BATCH = 24


def answers(q, count):
    """All PDUs until so many commands ended, or the end of the connection."""
    out = []
    try:
        while count:
            t, head, data = q.recv_pdu()
            out.append((t, head, data))
            count -= t == RESP or (t == C2HDATA and bool(head[1] & F_SUCCESS))
    except Terminated as e:
        out.append(("terminated", e.fes, e.fei, e.culprit))
    return out


def send_in_two(q, rng, pdus):
    data = b"".join(pdus)
    cut = rng.randrange(len(data) + 1)
    for piece in (data[:cut], data[cut:]):
        q.send(piece)


def some_read(q, rng, blocks, bs):
    """A read that is mostly right; what is wrong with the others is right in all but one thing."""
    nlb = rng.choice((1, 1, 1, 2, 8, 33))
    slba = rng.choice((0, 5, blocks // 2, blocks - nlb))
    length, opc, nsid, flags, sgl = nlb * bs, 2, 1, 0x40, 0x5A
    wrong = rng.randrange(24)
    if wrong == 0:
        slba = rng.choice((blocks, blocks - nlb + 1, 1 << 63, (1 << 64) - 1))
    elif wrong == 1:
        length = rng.choice((0, length - 1, length + 512, 1 << 31))
    elif wrong == 2:
        opc = rng.choice((0, 5, 0x99))    # nothing that writes: it might overtake a read
        length = 0
    elif wrong == 3:
        nsid = rng.choice((0, 2, 3, 4, 5, 6, 0xFFFFFFFF))
    elif wrong == 4:
        flags = rng.choice((0, 0x80, 0x41, 0x42, 0x43, 0x44, 0x7C))
    elif wrong == 5:
        sgl = rng.choice((0x00, 0x01, 0x50, 0x5B, 0xFF))
    q.cid = rng.choice((q.cid + 1, rng.randrange(1 << 16))) & 0xFFFF
    head = struct.pack("<BBHI16xQI3xB", opc, flags, q.cid, nsid, rng.randrange(2) << 40, length,
                       sgl)
    return head + struct.pack("<QI12x", slba, nlb - 1 | rng.choice((0, 0, 1 << 30, 1 << 31)))


def session(seed, target, blocks, bs, host, mptcp=False):
    """Everything a host saw of one, and what the target counted."""
    rng = random.Random(seed)
    seen = []
    with Running(*target) as t:
        h = Host(t.addr, mptcp=mptcp, **host)
        q = h.io(sqsize=63)
        for at in (0, blocks // 2):     # or every block would look like its neighbour
            for i in range(8):
                q.write(1, at + 2 * i, rng.randbytes(2 * bs), bs)
        for turn in range(12):
            if "--ana=on" in target and turn in (4, 8):
                t.control("ana 1 2 " + ("inaccessible" if turn == 4 else "optimized"))
            pdus = {}
            while len(pdus) < BATCH:
                sqe = some_read(q, rng, blocks, bs)
                pdus.setdefault(q.cid, q.pdu(CMD, sqe))
            send_in_two(q, rng, pdus.values())
            seen += answers(q, BATCH)
        stats = json.loads(t.control("stats"))
        h.close()
    return seen, [stats[key] for key in ("commands", "reads", "read_bytes", "tx_bytes")]


def both_ways(target, bs=4096, blocks=2048, **host):
    for mptcp in (False, True):
        for seed in (1, 2):
            fast = session(seed, target, blocks, bs, host, mptcp)
            slow = session(seed, [*target, NEVER], blocks, bs, host, mptcp)
            for i, (a, b) in enumerate(zip(fast[0], slow[0])):
                eq(a, b, f"PDU {i}")
            eq((len(fast[0]), fast[1]), (len(slow[0]), slow[1]), "PDUs, counters")


@test
def reads_of_memory_and_nothing():
    others = ("--ns=null:1M,nsid=2", "--ns=mem:8M,ro,nsid=3", "--ns=null:8M,bs=512,nsid=4",
              "--ns=null:8M,anagrp=2,nsid=5")
    both_ways(("--ns=mem:8M", *others, "--ana=on"))
    both_ways(("--ns=null:8M,bs=512",), bs=512, blocks=16384)


@test
def without_flow_control_and_with_success():
    both_ways(("--ns=null:8M",), cattr=4)
    both_ways(("--ns=mem:8M", "--success=off"), cattr=4)


@test
def limits_padding_and_digests():
    both_ways(("--ns=null:8M", "--mdts=2"))
    both_ways(("--ns=null:8M", "--c2h-size=4096"))
    both_ways(("--ns=null:8M",), hpda=7)
    both_ways(("--ns=null:8M",), hdgst=True)
    both_ways(("--ns=null:8M,bs=512",), bs=512, blocks=16384, ddgst=True)


@test
def cids_in_use_and_full_queues():
    def run(*target):
        out = []
        with Running("--ns=null:8M", "--in-capsule=0", *target) as t:
            h = Host(t.addr)
            q = h.io(sqsize=7)
            writes = [q.sqe(1, 1, q.rw_cdw(0, 1), 4096) for _ in range(6)]
            for sqe, _ in writes:
                q.start(sqe)
            out += [q.recv_pdu() for _ in writes]
            eq({t for t, _, _ in out}, {R2T})
            # A read with the CID of a write that waits, one that is right, one too many.
            for cid in (writes[2][1], 77):
                sqe, _ = q.sqe(2, 1, q.rw_cdw(0, 1), 4096)
                q.start(sqe[:2] + struct.pack("<H", cid) + sqe[4:])
                out += answers(q, 1)
            for sqe, _ in (q.sqe(1, 1, q.rw_cdw(0, 1), 4096) for _ in range(2)):
                q.start(sqe)
            out += [q.recv_pdu() for _ in range(2)]
            q.start(q.sqe(2, 1, q.rw_cdw(0, 1), 4096)[0])
            out += answers(q, 1)
            eq(out[-1][0], "terminated")
            h.close()
        return out
    eq(run(), run(NEVER))


@test
def rules_that_come_later_are_heeded():
    with Running("--ns=null:8M") as t:
        h = Host(t.addr)
        q = h.io()
        q.read(1, 0, 1)
        t.control("fault on=read nth=1 do=status:0x281")
        sqe, cid = q.sqe(2, 1, q.rw_cdw(0, 1), 4096)
        q.start(sqe)
        _, head, _ = q.recv_pdu()
        eq(struct.unpack_from("<HH", head, 20), (cid, 0x281 << 1))
        q.read(1, 0, 1)
        h.close()


sys.exit(main())
