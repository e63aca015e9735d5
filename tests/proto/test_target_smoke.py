#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-target against a strict host written apart from libnof: usage
test_target_smoke.py PATH/nvmf-target. Output is TAP."""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from minihost import DEFAULT_NQN, DISCOVERY_NQN, HOST_ID, Host, Queue, Target  # noqa: E402
from taptest import (DNR, PROGRAM, Running, broken, eq, exercise, main, status_of,  # noqa: E402
                     test)


@test
def reads_and_writes_on_tcp_and_mptcp_with_every_digest():
    with Running("--ns=mem:64M", "--ns=mem:8M,bs=512") as t:
        rng = random.Random(1)
        for mptcp in (False, True):
            for hd in (False, True):
                for dd in (False, True):
                    exercise(t.addr, rng, 1, 4096, mptcp=mptcp, hdgst=hd, ddgst=dd)
                    exercise(t.addr, rng, 2, 512, mptcp=mptcp, hdgst=hd, ddgst=dd)


@test
def alignment_r2t_and_c2h_splits():
    args = ("--ns=mem:64M", "--cpda=7", "--in-capsule=0", "--r2t=4", "--r2t-size=8192",
            "--c2h-size=4096", "--maxh2cdata=4096")
    with Running(*args) as t:
        q = exercise(t.addr, random.Random(2), hdgst=True, ddgst=True, hpda=31, maxr2t=3)
        eq(q.cpda, 7)
        eq(q.r2t_peak, 3, "R2Ts at a time: the host's MAXR2T limits ours")
        eq(q.r2ts_seen, 2 * sum((n * 4096 + 8191) // 8192 for n in (1, 2, 3, 16, 33, 64)))
        eq(q.c2h_seen, 2 * sum((1, 2, 3, 16, 33, 64)))


@test
def success_flag_only_without_flow_control():
    with Running("--ns=mem:8M") as t:
        q = exercise(t.addr, random.Random(3))
        eq(q.success_seen, 0)
        q = exercise(t.addr, random.Random(3), cattr=4)
        eq(q.success_seen, q.c2h_seen)
    with Running("--ns=mem:8M", "--success=off") as t:
        eq(exercise(t.addr, random.Random(3), cattr=4).success_seen, 0)


@test
def file_and_null_namespaces():
    path = f"/tmp/nvmf-target-test-{os.getpid()}"
    with open(path, "wb") as f:
        f.truncate(8 << 20)
    try:
        with Running(f"--ns=file:{path}", f"--ns=file:{path},ro", "--ns=null:4T,bs=512") as t:
            exercise(t.addr, random.Random(4), ddgst=True)
            h = Host(t.addr)
            q = h.io()
            q.write(1, 100, b"\xa5" * 8192)
            q.command(0x00, 1)
            with open(path, "rb") as f:
                f.seek(100 * 4096)
                eq(f.read(8192), b"\xa5" * 8192, "the file")
            eq(q.read(2, 100, 2), b"\xa5" * 8192, "the same file, read-only")
            eq(status_of(q.write, 2, 0, bytes(4096))[0], 0x20 | DNR)
            q.write(3, 7 << 30, b"x" * 512, 512)
            eq(q.read(3, 7 << 30, 1, 512), bytes(512))
            h.close()
    finally:
        os.unlink(path)


@test
def other_io_commands():
    with Running("--ns=mem:8M") as t:
        h = Host(t.addr)
        q = h.io()
        data = os.urandom(16 * 4096)
        q.write(1, 0, data)
        q.command(0x05, 1, q.rw_cdw(0, 16), wdata=data)
        eq(status_of(q.command, 0x05, 1, q.rw_cdw(0, 16), wdata=bytes(len(data)))[0], 0x285 | DNR)
        q.command(0x08, 1, q.rw_cdw(1, 2))
        q.command(0x08, 1, q.rw_cdw(4, 2, 1 << 25))
        q.command(0x0C, 1, q.rw_cdw(0, 16))
        ranges = struct.pack("<IIQIIQ", 0, 1, 7, 0, 2, 9)
        q.command(0x09, 1, {10: 1, 11: 4}, wdata=ranges)
        want = bytearray(data)
        for at, n in ((1, 2), (4, 2), (7, 1), (9, 2)):
            want[at * 4096:(at + n) * 4096] = bytes(n * 4096)
        eq(q.read(1, 0, 16) == want, True, "zeroed and deallocated blocks")
        q.command(0x00, 0xFFFFFFFF)
        bad = struct.pack("<IIQ", 0, 9, 2047)
        eq(status_of(q.command, 0x09, 1, {10: 0, 11: 4}, wdata=bad)[0], 0x80 | DNR)
        h.close()


@test
def io_errors():
    with Running("--ns=mem:8M") as t:
        h = Host(t.addr)
        q = h.io()
        eq(status_of(q.read, 1, 2048, 1)[0], 0x80 | DNR, "first block past the end")
        eq(status_of(q.read, 1, 2040, 16)[0], 0x80 | DNR, "across the end")
        eq(status_of(q.read, 1, (1 << 64) - 1, 2)[0], 0x80 | DNR, "wrap")
        eq(status_of(q.read, 2, 0, 1)[0], 0x0B | DNR, "nsid")
        eq(status_of(q.read, 0, 0, 1)[0], 0x0B | DNR, "nsid 0")
        eq(status_of(q.write, 1, 2048, bytes(4096))[0], 0x80 | DNR)
        eq(status_of(q.write, 1, 2048, bytes(65536))[0], 0x80 | DNR)
        eq(status_of(q.command, 0x7E, 1)[0], 0x01 | DNR, "opcode")
        eq(status_of(q.command, 0x02, 1, q.rw_cdw(0, 512), rlen=2 << 20)[0], 0x02 | DNR, "MDTS")
        eq(status_of(q.command, 0x02, 1, q.rw_cdw(0, 2), rlen=4096)[0], 0x0F | DNR, "length")
        eq(status_of(q.read, 1, 0, 1, flags=0)[0], 0x02 | DNR, "PSDT")
        eq(status_of(q.read, 1, 0, 1, flags=0x41)[0], 0x02 | DNR, "fused")
        q.read(1, 2047, 1)
        h.close()


@test
def bad_data_digest_fails_the_command_only():
    with Running("--ns=mem:8M") as t:
        h = Host(t.addr, hdgst=True, ddgst=True)
        q = h.io()
        q.bad_ddgst = True
        eq(status_of(q.write, 1, 0, bytes(4096))[0], 0x22)
        q.bad_ddgst = True
        eq(status_of(q.write, 1, 0, bytes(65536))[0], 0x22)
        q.write(1, 0, b"y" * 65536)
        eq(q.read(1, 0, 16), b"y" * 65536)
        h.close()


@test
def identify_and_lists():
    args = ("--nqn=nqn.2025-11.org.libnof:a", "--ns=null:1G,bs=512", "--ns=mem:1M,nsid=7",
            "--nqn=nqn.2025-11.org.libnof:b", "--ns=mem:1M")
    with Running(*args) as t:
        h = Host(t.addr, "nqn.2025-11.org.libnof:a")
        a = h.admin
        eq(struct.unpack_from("<H", h.id, 78)[0], h.cntlid, "CNTLID")
        eq(h.id[768:768 + 24].decode(), "nqn.2025-11.org.libnof:a")
        eq(h.id[111], 1, "CNTRLTYPE")
        eq(struct.unpack_from("<I", h.id, 516)[0], 7, "NN")
        eq((h.id[512], h.id[513], h.id[1803]), (0x66, 0x44, 1), "SQES CQES MSDBD")
        eq(struct.unpack_from("<HI", h.id, 320)[0], 1, "KAS")
        eq(struct.unpack("<1024I", a.identify(2))[:3], (1, 7, 0))
        eq(struct.unpack("<1024I", a.identify(2, 1))[:2], (7, 0))
        eq(struct.unpack("<1024I", a.identify(2, 7))[0], 0)
        n1, n7 = a.identify(0, 1), a.identify(0, 7)
        eq(struct.unpack_from("<Q", n1)[0], 1 << 21)
        eq((n1[130], n7[130]), (9, 12), "LBADS")
        eq(a.identify(0, 3), bytes(4096), "an inactive namespace")
        eq(status_of(a.identify, 0, 8)[0], 0x0B | DNR)
        d = a.identify(3, 7)
        eq((d[0], d[1], d[12], d[13], d[32], d[33], d[52], d[53], d[57]),
           (1, 8, 2, 16, 3, 16, 4, 1, 0), "descriptors")
        eq((d[4:12], d[16:32]), (n7[120:128], n7[104:120]), "EUI64 and NGUID")
        eq(a.identify(8, 7)[14], 1, "ready")
        eq(a.identify(6, 1), bytes(4096), "no limits of the command set")
        for cns in (5, 6):
            eq(status_of(a.identify, cns, 1, 2)[0], 0x02 | DNR, "CSI 2")
        eq(a.identify(0x1C)[:8], struct.pack("<Q", 1))
        eq(status_of(a.identify, 0x99)[0], 0x02 | DNR)
        b = Host(t.addr, "nqn.2025-11.org.libnof:b")
        eq(b.admin.identify(3, 1)[16:32] == a.identify(3, 1)[16:32], False, "other identifiers")
        eq(b.id[4:24] == h.id[4:24], False, "other serial numbers")
        h.close()
        b.close()


@test
def admin_commands():
    with Running("--ns=mem:1M", "--queues=4") as t:
        h = Host(t.addr)
        a = h.admin
        eq(a.command(0x09, 0, {10: 7, 11: 0x000F000F})[1], 0x00030003, "queues granted")
        eq(a.command(0x0A, 0, {10: 7})[1], 0x00030003)
        eq(status_of(a.command, 0x09, 0, {10: 7, 11: 0xFFFFFFFF})[0], 0x02 | DNR)
        a.command(0x09, 0, {10: 0x0B, 11: 0x100})
        eq(a.command(0x0A, 0, {10: 0x0B})[1], 0x100)
        a.command(0x09, 0, {10: 0x0F, 11: 30000})
        eq(a.command(0x0A, 0, {10: 0x0F})[1], 30000)
        eq(a.command(0x0A, 0, {10: 6})[1], 1, "write cache")
        behaviour = b"\1" + bytes(511)
        a.command(0x09, 0, {10: 0x16}, wdata=behaviour)
        eq(a.command(0x0A, 0, {10: 0x16}, rlen=512)[0], behaviour)
        eq(status_of(a.command, 0x0A, 0, {10: 0x55})[0], 0x02 | DNR)
        a.command(0x18)
        for lid, n in ((1, 64), (2, 512), (3, 512), (4, 4096), (5, 4096)):
            eq(len(a.get_log(lid, n)), n)
        eq(status_of(a.get_log, 0x70, 16)[0], 0x109 | DNR)
        eq(a.get_log(5, 8, 4), a.get_log(5, 4096)[4:12], "log offset")
        eq(status_of(a.get_log, 5, 8, 2)[0], 0x02 | DNR, "unaligned log offset")
        sqe, cid = a.sqe(0x0C)
        a.start(sqe)
        eq(a.command(0x08, 0, {10: 99 << 16})[1], 1, "nothing to abort")
        sqe, acid = a.sqe(0x08, 0, {10: cid << 16})
        a.start(sqe)
        _, head, _ = a.recv_pdu()
        eq(struct.unpack_from("<HH", head, 20), (cid, 7 << 1), "the AER ends as aborted")
        eq(a.finish(acid)[1], 0, "aborted")
        sqe, cid = a.sqe(0x0C)
        a.start(sqe)
        t.control("resize 1 512k")
        eq(a.finish(cid)[1], 0x00040002, "namespace attribute event")
        eq(a.get_log(4, 4096)[:8], struct.pack("<II", 1, 0))
        eq(a.get_log(4, 4096)[:4], bytes(4), "reading the log clears it")
        eq(struct.unpack_from("<Q", a.identify(0, 1))[0], 128)
        h.close()


@test
def connect_refusals():
    with Running("--ns=mem:1M", "--queues=2", "--nqn=nqn.2025-11.org.libnof:private",
                 "--ns=mem:1M", "--allow-host=nqn.2025-11.org.libnof:friend") as t:
        def admin(**kw):
            q = Queue(t.addr)
            try:
                return status_of(q.connect, **kw)
            finally:
                q.close()
        eq(admin(nqn="nqn.2025-11.org.libnof:nowhere"), (0x182 | DNR, 0x10100), "unknown NQN")
        eq(admin(nqn="nqn.2025-11.org.libnof:private"), (0x184 | DNR, 0), "host not allowed")
        eq(admin(recfmt=1), (0x180 | DNR, 0), "RECFMT")
        eq(admin(cntlid=5), (0x182 | DNR, 0x10010), "static CNTLID")
        eq(admin(sqsize=0), (0x182 | DNR, 44), "SQSIZE 0")
        eq(admin(sqsize=30), (0x182 | DNR, 44), "admin queue under 32 entries")
        eq(admin(hostid=bytes(16)), (0x182 | DNR, 0x10000), "HOSTID 0")
        eq(admin(hostnqn="x"), (0x182 | DNR, 0x10200), "HOSTNQN")
        q = Queue(t.addr)
        eq(status_of(q.identify, 1)[0], 0x0C | DNR, "Identify before Connect")
        cntlid = q.connect(hostnqn="nqn.2025-11.org.libnof:friend",
                           nqn="nqn.2025-11.org.libnof:private")
        eq(status_of(q.identify, 1)[0], 0x0C | DNR, "Identify before CC.EN")
        eq(status_of(q.connect)[0], 0x0C | DNR, "a second Connect")
        q.close()
        h = Host(t.addr)

        def io(qid, **kw):
            q = Queue(t.addr)
            try:
                return status_of(q.connect, qid, **{"cntlid": h.cntlid, **kw})
            finally:
                q.close()
        eq(io(3), (0x182 | DNR, 42), "QID")
        eq(io(1, sqsize=1024), (0x182 | DNR, 44), "SQSIZE above MQES")
        eq(io(1, cntlid=h.cntlid + 9), (0x182 | DNR, 0x10010), "CNTLID")
        eq(io(1, hostid=HOST_ID[::-1]), (0x182 | DNR, 0x10000), "other HOSTID")
        eq(io(1, hostnqn="nqn.2025-11.org.libnof:friend"), (0x182 | DNR, 0x10200), "other host")
        h.io(1)
        eq(io(1)[0], 0x0C | DNR, "QID in use")
        h.close()
        q = Queue(t.addr)
        q.connect(incapsule=False)
        eq(q.r2ts_seen, 1, "Connect data by R2T")
        q.close()
        del cntlid


@test
def reset_shutdown_disconnect():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        q = h.io()
        q.command(0x7F, 8)
        broken(lambda: q.recv(1), ConnectionError)
        q = h.io(1)
        h.admin.prop_set(0x14, 0x464001)
        eq(h.admin.prop_get(0x1C) >> 2 & 3, 2, "CSTS.SHST")
        h.admin.prop_set(0x14, 0)
        eq(h.admin.prop_get(0x1C), 0, "CSTS after reset")
        broken(lambda: q.recv(1), ConnectionError, OSError)
        h.admin.enable()
        h.io(1).read(1, 0, 1)
        eq(status_of(h.admin.prop_get, 0x999)[0], 0x02 | DNR)
        h.admin.prop_set(0x14, 0x460081)
        eq(h.admin.prop_get(0x1C), 1, "already enabled")
        h.admin.prop_set(0x14, 0)
        h.admin.prop_set(0x14, 0x450001)
        eq(h.admin.prop_get(0x1C) & 2, 2, "CFS for an impossible CC")
        h.close()
        # The admin connection is the controller: its I/O queues go with it.
        h = Host(t.addr)
        q = h.io()
        h.admin.close()
        broken(lambda: q.recv(1), ConnectionError, OSError)


@test
def sq_head_and_flow_control():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr)
        q = h.io(sqsize=3)
        heads = []
        for _ in range(6):
            q.read(1, 0, 1)
            heads.append(q.sqhd)
        eq(heads, [2, 3, 0, 1, 2, 3], "SQHD counts the Connect too")
        h.close()
        h = Host(t.addr, cattr=4)
        q = Queue(t.addr)
        q.connect(1, cntlid=h.cntlid, cattr=4)
        eq(q.sqhd, 0xFFFF)
        q.close()
        h.close()


@test
def discovery_log():
    with Running("--ns=mem:1M", "--nqn=nqn.2025-11.org.libnof:b", "--ns=mem:1M",
                 "--listen=[::1]:0") as t:
        h = Host(t.addr, DISCOVERY_NQN)
        eq(h.id[111], 2, "CNTRLTYPE")
        head = h.admin.get_log(0x70, 1024)
        genctr, numrec, recfmt = struct.unpack_from("<QQH", head)
        eq((genctr > 0, numrec, recfmt), (True, 4, 0))
        log = h.admin.get_log(0x70, 5 * 1024)
        eq(h.admin.get_log(0x70, 1024, 3 * 1024), log[3 * 1024:4 * 1024], "paging")
        seen = set()
        for i in range(4):
            e = log[(i + 1) * 1024:(i + 2) * 1024]
            eq((e[0], e[2]), (3, 2), "TRTYPE, SUBTYPE")
            seen.add((e[1], e[512:768].decode().strip(), e[32:64].decode().strip(),
                      e[256:512].split(b"\0")[0].decode()))
        lines = [x.split() for x in t.control("listeners").split("\n")]
        eq(seen, {(2 if "::" in line[1] else 1, line[1][5:], line[2][5:], nqn) for line in lines
                  for nqn in (DEFAULT_NQN, "nqn.2025-11.org.libnof:b")})
        eq(status_of(h.admin.get_log, 5, 64)[0], 0x109 | DNR)
        h.close()


@test
def keep_alive_timeout():
    with Running("--ns=mem:1M") as t:
        h = Host(t.addr, kato=200)
        q = h.io()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            q.read(1, 0, 1)             # any command keeps it alive
            time.sleep(0.05)
        start = time.monotonic()
        broken(lambda: h.admin.recv(1), ConnectionError, OSError)
        took = time.monotonic() - start
        eq(0.2 < took < 5, True, f"closed after {took:.2f} s")
        broken(lambda: q.recv(1), ConnectionError, OSError)
    with Running("--ns=mem:1M", "--kato-check=off") as t:
        h = Host(t.addr, kato=100)
        time.sleep(0.4)
        h.admin.command(0x18)
        h.close()


@test
def what_waits_for_a_stopped_target_is_not_executed_after_the_keep_alive_time():
    """The host may have written elsewhere meanwhile: an old write would undo that."""
    for ns in ("mem:1M", "file"):
        with tempfile.NamedTemporaryFile() as f:
            f.truncate(1 << 20)
            with Running("--ns=" + (ns if ns[0] == "m" else f"file:{f.name}")) as t:
                h = Host(t.addr, kato=200)
                q = h.io()
                q.write(1, 0, b"a" * 8192)
                sqe = q.sqe(1, 1, q.rw_cdw(0, 2), 8192, True)[0]
                zeroes = q.sqe(8, 1, q.rw_cdw(2, 1))[0]
                t.proc.send_signal(signal.SIGSTOP)
                try:
                    q.start(sqe, b"b" * 8192)
                    q.start(zeroes)
                    time.sleep(0.4)         # what is tested is that this time has passed
                finally:
                    t.proc.send_signal(signal.SIGCONT)
                broken(lambda: q.finish(0), ConnectionError, OSError)
                eq(json.loads(t.control("stats"))["kato_expired"], 1)
                h = Host(t.addr)
                eq(h.io().read(1, 0, 2) == b"a" * 8192, True, ns)
                h.close()


@test
def kill_and_command_line():
    t = Target(PROGRAM, "--ns=mem:1M", "--fault=on=keepalive do=kill")
    h = Host(t.addr)
    broken(lambda: h.admin.command(0x18), ConnectionError)
    eq(t.proc.wait(10), -9)
    t.proc.stdout.close()

    def run(*args):
        p = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=20)
        return p.returncode, p.stdout, p.stderr
    rc, out, err = run("--help")
    eq((rc, "--fault" in out, err), (0, True, ""))
    rc, out, err = run("--version")
    eq((rc, out.startswith("nvmf-target ")), (0, True))
    for args in (["--nonsense"], ["--ns=mem:x"], ["--ns=disk:1G"], ["--nqn=x"], ["--cpda=32"],
                 ["--mptcp=require"], ["extra"], ["--fault=on=x do=y"], ["--hdgst=maybe"]):
        rc, out, err = run(*args)
        eq((rc, out, err.count("\n") in (1, 2)), (2, "", True), str(args))
    for args in (["--ns=file:/nonexistent"], ["--listen=192.0.2.1:4420"], ["--listen=1:2:3"]):
        rc, out, err = run(*args)
        eq((rc, out, err.count("\n")), (1, "", 1), str(args))


if __name__ == "__main__":
    sys.exit(main())
