#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-target with several ports: ANA, pausing, ports that come and go,
namespaces that come, go and change: usage test_target_paths.py
PATH/nvmf-target. Output is TAP."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import DISCOVERY_NQN, Host, Queue  # noqa: E402
from taptest import DNR, Running, broken, eq, main, status_of, test  # noqa: E402


def ports(t):
    """[(addr, port)] by index."""
    out = {}
    for line in t.control("listeners").split("\n"):
        w = dict(x.split("=") for x in line.split()[1:] if "=" in x)
        out[int(w["index"])] = (w["addr"], int(w["port"]))
    return out


def ana_log(h, rgo=False):
    """(chgcnt, {group: (state, chgcnt, nsids)})"""
    log = h.admin.command(0x02, 0xFFFFFFFF, {10: 0x0C | (0x100 if rgo else 0) | 1023 << 16},
                          rlen=4096)[0]
    chgcnt, n = struct.unpack_from("<QH", log)
    at, groups = 16, {}
    for _ in range(n):
        grp, nn, chg, state = struct.unpack_from("<IIQB", log, at)
        groups[grp] = (state, chg, struct.unpack_from(f"<{nn}I", log, at + 32))
        at += 32 + 4 * nn
    return chgcnt, groups


@test
def ana_groups_and_states_by_port():
    with Running("--listen=127.0.0.1:0,ana=2:inaccessible,ana=3:persistent-loss,portid=77",
                 "--ns=mem:1M", "--ns=mem:1M,anagrp=2", "--ns=mem:1M,anagrp=3",
                 "--anatt=3") as t:
        p = ports(t)
        eq(len(p), 2)
        h1, h2 = Host(p[1]), Host(p[2])
        eq(h1.cntlid == h2.cntlid, False, "controller ids")
        eq(h1.id[76] & 0x0B, 0x0B, "CMIC: ports, controllers, ANA")
        eq((h1.id[342], h1.id[343] & 0x1F), (3, 0x1F), "ANATT, ANACAP")
        anagrpmax, nanagrpid = struct.unpack_from("<II", h1.id, 344)
        eq(0 < nanagrpid <= anagrpmax, True)
        eq(struct.unpack_from("<I", h1.id, 92)[0] >> 11 & 1, 1, "OAES")
        nn, mnan = struct.unpack_from("<I", h1.id, 516)[0], struct.unpack_from("<I", h1.id, 540)[0]
        eq(0 < mnan <= nn, True)
        eq(ana_log(h1), (0, {1: (1, 0, (1,)), 2: (1, 0, (2,)), 3: (1, 0, (3,))}))
        eq(ana_log(h2), (0, {1: (1, 0, (1,)), 2: (3, 0, (2,)), 3: (4, 0, (3,))}))
        eq(ana_log(h2, True), (0, {1: (1, 0, ()), 2: (3, 0, ()), 3: (4, 0, ())}), "RGO")
        eq(struct.unpack_from("<I", h1.admin.identify(0, 2), 92)[0], 2, "ANAGRPID")
        q1, q2 = h1.io(), h2.io()
        q1.write(2, 0, b"p" * 4096)
        eq(status_of(q2.read, 2, 0, 1)[0], 0x302)
        eq(status_of(q2.write, 3, 0, bytes(4096))[0], 0x301)
        q2.read(1, 0, 1)
        t.control("ana 2 2 optimized")
        eq(q2.read(2, 0, 1), b"p" * 4096, "one namespace over both ports")
        t.control("ana 2 1 change")
        eq(status_of(q2.read, 1, 0, 1)[0], 0x303)
        q1.read(1, 0, 1)
        eq(ana_log(h2), (2, {1: (15, 2, (1,)), 2: (1, 1, (2,)), 3: (4, 0, (3,))}))
        eq(ana_log(h1)[0], 0, "the other port's count")
        d = Host(t.addr, DISCOVERY_NQN)
        log = d.admin.get_log(0x70, 3072)
        eq([struct.unpack_from("<H", log, 1024 * i + 4)[0] for i in (1, 2)], [1, 77], "PORTID")
        for bad in ("ana 3 1 optimized", "ana 1 0 optimized", "ana 1 161 optimized", "ana 1 1 ok"):
            broken(lambda: t.control(bad), ValueError)
        for h in (h1, h2, d):
            h.close()


@test
def ana_events_are_told_once_until_the_log_is_read():
    with Running("--listen=127.0.0.1:0", "--ns=mem:1M") as t:
        p = ports(t)
        h, deaf = Host(p[2]), Host(p[2])
        a = h.admin
        a.command(0x09, 0, {10: 0x0B, 11: 1 << 11})
        sqe, cid = a.sqe(0x0C)
        a.start(sqe)
        deaf.admin.start(deaf.admin.sqe(0x0C)[0])
        t.control("ana 1 1 inaccessible")       # of another port
        t.control("ana 2 1 inaccessible")
        eq(a.finish(cid)[1], 0x000C0302)
        sqe, cid = a.sqe(0x0C)
        a.start(sqe)
        t.control("ana 2 1 optimized")          # masked
        a.command(0x18)
        eq(ana_log(h)[0], 2)                    # would be taken for the event otherwise
        eq(a.finish(cid)[1], 0x000C0302, "what happened while it was masked")
        deaf.admin.command(0x18)                # nothing came: its mask does not allow ANA
        h.close()
        deaf.close()


@test
def one_port_has_no_ana_unless_asked_for():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        eq(h.id[76] & 8, 0)
        eq(status_of(h.admin.get_log, 0x0C, 64)[0], 0x109 | DNR)
        h.close()
    for args in (["--ana=on"], ["--ns=mem:1M,anagrp=3"]):
        with Running(*args) as t:
            h = Host(t.addr)
            eq(h.id[76] & 8, 8)
            h.close()
    with Running("--ana=off", "--listen=127.0.0.1:0", "--ns=mem:1M") as t:
        h = Host(t.addr)
        eq(h.id[76] & 8, 0)
        h.close()


@test
def ports_come_and_go():
    with Running("--listen=127.0.0.1:0", "--ns=mem:1M") as t:
        p = ports(t)
        h1, h2 = Host(p[1]), Host(p[2])
        q1, q2 = h1.io(), h2.io()
        d = Host(p[1], DISCOVERY_NQN)
        d.admin.command(0x09, 0, {10: 0x0B, 11: 1 << 31})
        before = struct.unpack_from("<QQ", d.admin.get_log(0x70, 16))
        sqe, cid = d.admin.sqe(0x0C)
        d.admin.start(sqe)
        t.control("unlisten 2")
        broken(lambda: q2.recv(1), ConnectionError)
        broken(lambda: Queue(p[2]), ConnectionError)
        eq(d.admin.finish(cid)[1], 0x0070F002, "discovery log changed")
        after = struct.unpack_from("<QQ", d.admin.get_log(0x70, 16))
        eq((after[0] > before[0], after[1]), (True, before[1] - 1), "GENCTR, NUMREC")
        q1.read(1, 0, 1)
        line = t.control(f"listen 127.0.0.1:{p[2][1]}")
        eq("index=2" in line, True, line)
        eq(ports(t), p)
        Host(p[2]).close()
        eq("index=3" in t.control("listen 127.0.0.1:0,ana=1:non-optimized"), True)
        for bad in ("unlisten 9", "unlisten x", "pause 0", "listen 192.0.2.1:1"):
            broken(lambda: t.control(bad), ValueError)
        h1.close()
        h2.close()
        d.close()


@test
def a_paused_port_is_silent_and_goes_on():
    with Running("--listen=127.0.0.1:0", "--ns=mem:1M") as t:
        p = ports(t)
        h1, h2, h3 = Host(p[1]), Host(p[2]), Host(p[2], kato=100)
        q1, q2, q3 = h1.io(), h2.io(), h3.io()
        t.control("pause 2")
        cids = []
        for q, lba in ((q2, 0), (q3, 1)):
            sqe, cid = q.sqe(0x01, 1, q.rw_cdw(lba, 1), 4096, True)
            q.start(sqe, b"s" * 4096)
            cids.append(cid)
        q3.sock.settimeout(0.4)
        broken(lambda: q3.recv(1), TimeoutError)        # longer than its keep alive timeout
        broken(lambda: Queue(p[2], timeout=0.2), TimeoutError)
        eq(q1.read(1, 0, 1), bytes(4096), "not executed yet")
        t.control("resume 2")
        q2.finish(cids[0], b"s" * 4096)
        eq(q1.read(1, 0, 1), b"s" * 4096, "executed late")
        broken(lambda: q3.recv(1), ConnectionError)
        eq(q1.read(1, 1, 1), bytes(4096), "never executed: its host was given up")
        for h in (h1, h2, h3):
            h.close()


@test
def queue_counts_and_transfer_limits_change_for_new_controllers():
    with Running("--ns=mem:8M", "--queues=4") as t:
        h = Host(t.addr)
        t.control("queues 2")
        t.control("mdts 1")
        eq(h.admin.command(0x09, 0, {10: 7, 11: 0x00070007})[1], 0x00010001)
        q = h.io()
        q.read(1, 0, 16)                        # the limit it was told
        t.control("queues 8")
        n = Host(t.addr)
        eq(n.admin.command(0x09, 0, {10: 7, 11: 0x000F000F})[1], 0x00070007)
        eq((h.id[77], n.id[77]), (8, 1), "MDTS")
        eq(status_of(n.io(8).read, 1, 0, 3)[0], 0x02 | DNR)
        eq(h.admin.command(0x09, 0, {10: 7, 11: 0x000F000F}, check=False)[1], 0)
        h.close()
        h = n
        h.close()
        for bad in ("queues 0", "queues 2000", "mdts 17", "mdts"):
            broken(lambda: t.control(bad), ValueError)


@test
def namespaces_come_go_and_change():
    uuid = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
    with Running(f"--ns=mem:1M,uuid={uuid},nguid=none,eui64=0102030405060708",
                 "--ns=mem:1M") as t:
        h = Host(t.addr)
        a = h.admin
        q = h.io()
        want = bytes.fromhex(uuid.replace("-", ""))
        eq(a.identify(3, 1)[:33], b"\1\x08\0\0\1\2\3\4\5\6\7\x08\3\x10\0\0" + want + b"\4")
        a.command(0x09, 0, {10: 0x0B, 11: 0x100})
        sqe, cid = a.sqe(0x0C)
        a.start(sqe)
        old = a.identify(3, 2)
        q.write(2, 0, b"o" * 4096)
        t.control("ns-remap 2 mem:2M,bs=512")
        eq(a.finish(cid)[1], 0x00040002)
        t.control("ns-add null:1G,nsid=9")
        t.control("ns-remove 1")
        eq(struct.unpack_from("<4I", a.get_log(4, 4096)), (1, 2, 9, 0), "log 04h")
        eq(a.get_log(4, 4096), bytes(4096))
        eq(struct.unpack_from("<3I", a.identify(2)), (2, 9, 0))
        eq(a.identify(3, 2)[:72] == old[:72], False, "another identity")
        eq(q.read(2, 0, 8, 512), bytes(4096))
        eq(status_of(q.read, 1, 0, 1)[0], 0x0B | DNR)
        first = a.identify(3, 2)
        t.control("ns-remap 2 mem:2M")
        eq(a.identify(3, 2)[:72] == first[:72], False, "and another")
        for bad in ("ns-add x", "ns-add mem:1M,nsid=9", "ns-remove 1", "ns-remap 5 mem:1M",
                    "ns-add mem:1M nqn.2025-11.org.libnof:none", "ns-add mem:1M,uuid=12",
                    "ns-add mem:1M,anagrp=0"):
            broken(lambda: t.control(bad), ValueError)
        for i in range(300):
            t.control(f"ns-add mem:64M,nsid={1000 + i}")
        log = a.get_log(4, 4096)
        eq(struct.unpack_from("<2I", log), (2, 1000))
        h.close()


@test
def a_write_into_a_removed_namespace_ends():
    with Running("--ns=mem:1M", "--in-capsule=0") as t:
        h = Host(t.addr)
        q = h.io()
        sqe, cid = q.sqe(0x01, 1, q.rw_cdw(0, 16), 65536)
        q.start(sqe)
        _, head, _ = q.recv_pdu()               # the R2T
        _, ttag, off, length = struct.unpack_from("<HHII", head, 8)
        t.control("ns-remove 1")
        for i in range(4):
            t.control(f"ns-add mem:1M,nsid={i + 1}")
            if i:
                t.control(f"ns-remove {i}")
        q.answer_r2t(cid, ttag, os.urandom(65536), off, length)
        q.finish(cid, check=False)
        q.read(4, 0, 1)
        h.close()


@test
def identify_says_what_the_options_say():
    with Running("--cqt=1500", "--crdt=1,20,300", "--tbkas=off", "--acl=0",
                 "--cntlid-min=500") as t:
        h = Host(t.addr)
        eq(h.cntlid, 500)
        eq(struct.unpack_from("<3H", h.id, 128), (1, 20, 300), "CRDT")
        eq(struct.unpack_from("<H", h.id, 386)[0], 1500, "CQT")
        eq((struct.unpack_from("<I", h.id, 96)[0] >> 6 & 1, h.id[258]), (0, 0), "TBKAS, ACL")
        h.close()
        # Without TBKAS only Keep Alive counts.
        h = Host(t.addr, kato=200)
        q = h.io()

        def forever():
            while True:
                q.read(1, 0, 1)
        broken(forever, ConnectionError)
        h.close()


if __name__ == "__main__":
    sys.exit(main())
