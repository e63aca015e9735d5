# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small, slow, strict NVMe/TCP host, to test nvmf-target without libnof.

It checks every byte of what the controller sends (flags, lengths, padding,
digests, order), and can also send anything a well-behaved host would not.
"""
import os
import re
import select
import socket
import struct
import subprocess
import tempfile
import time

IPPROTO_MPTCP = 262
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
DEFAULT_NQN = "nqn.2025-11.org.libnof:target"
HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-4333-8444-555555555555"
HOST_ID = bytes(range(1, 17))

ICREQ, ICRESP, H2CTERM, C2HTERM, CMD, RESP, H2CDATA, C2HDATA, R2T = 0, 1, 2, 3, 4, 5, 6, 7, 9
F_HDGST, F_DDGST, F_LAST, F_SUCCESS = 1, 2, 4, 8

_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = (_n >> 1) ^ (0x82F63B78 if _n & 1 else 0)
    _TABLE.append(_n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


class ProtocolError(Exception):
    """The controller broke a rule."""


class Terminated(ProtocolError):
    """C2HTermReq came."""

    def __init__(self, fes, fei, culprit):
        super().__init__(f"C2HTermReq fes={fes} fei={fei}")
        self.fes, self.fei, self.culprit = fes, fei, culprit


class StatusError(Exception):
    def __init__(self, status, dw0):
        super().__init__(f"status {status:#x} dw0 {dw0:#x}")
        self.status, self.dw0 = status, dw0


def need(cond, what):
    if not cond:
        raise ProtocolError(what)


class Queue:
    """One connection, from ICReq on."""

    def __init__(self, addr, hdgst=False, ddgst=False, hpda=0, maxr2t=1, mptcp=False, timeout=10,
                 icreq=True):
        family = socket.AF_INET6 if ":" in addr[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP if mptcp else 0)
        self.sock.settimeout(timeout)
        self.sock.connect(addr)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hdgst = self.ddgst = False
        self.hpda, self.maxr2t = hpda, maxr2t
        self.cpda, self.maxh2c = 0, 4096
        self.ioccsz = 8192
        self.cid = 0
        self.qid = 0
        self.bad_ddgst = False      # corrupt the next data digest we send
        self.r2ts_seen = 0
        self.r2t_peak = 0
        self.success_seen = 0
        self.c2h_seen = 0
        if icreq:
            self.icreq(hdgst, ddgst)

    def close(self):
        self.sock.close()

    # ---- bytes ----
    def send(self, data):
        self.sock.sendall(data)

    def recv(self, n):
        out = bytearray()
        while len(out) < n:
            piece = self.sock.recv(n - len(out))
            if not piece:
                raise ConnectionError(f"closed after {len(out)} of {n} bytes")
            out += piece
        return bytes(out)

    # ---- PDUs ----
    def icreq(self, hdgst, ddgst, pfv=0):
        want = (1 if hdgst else 0) | (2 if ddgst else 0)
        self.send(struct.pack("<BBBBIHBBI112x", ICREQ, 0, 128, 0, 128, pfv, self.hpda, want,
                              self.maxr2t - 1))
        t, head, _ = self.recv_pdu()
        need(t == ICRESP, f"PDU type {t} instead of ICResp")
        pfv, self.cpda, dgst, self.maxh2c = struct.unpack_from("<HBBI", head, 8)
        need(pfv == 0 and self.cpda <= 31 and not dgst & ~want, "ICResp values")
        need(self.maxh2c >= 4096 and self.maxh2c % 4 == 0, "MAXH2CDATA")
        need(not any(head[16:128]), "reserved bytes of ICResp")
        self.hdgst, self.ddgst = bool(dgst & 1), bool(dgst & 2)

    def pdu(self, ptype, body, data=b"", flags=0):
        """Bytes of a host PDU: body follows the common header."""
        hlen = 8 + len(body)
        head_len = hlen + (4 if self.hdgst else 0)
        align = (self.cpda + 1) * 4
        pdo = (head_len + align - 1) // align * align if data else 0
        plen = (pdo + len(data) + (4 if self.ddgst else 0)) if data else head_len
        flags |= (F_HDGST if self.hdgst else 0) | (F_DDGST if self.ddgst and data else 0)
        out = struct.pack("<BBBBI", ptype, flags, hlen, pdo, plen) + body
        if self.hdgst:
            out += struct.pack("<I", crc32c(out))
        if data:
            out += bytes(pdo - len(out)) + data
            if self.ddgst:
                crc = crc32c(data) ^ (1 if self.bad_ddgst else 0)
                self.bad_ddgst = False
                out += struct.pack("<I", crc)
        return out

    def recv_pdu(self):
        """(type, header, data) of the next PDU, checked against T-1..T-4."""
        ch = self.recv(8)
        t, flags, hlen, pdo, plen = struct.unpack("<BBBBI", ch)
        need(t in (ICRESP, C2HTERM, RESP, C2HDATA, R2T), f"PDU type {t:#x}")
        need(plen <= 1 << 27, f"PLEN {plen}")
        if t == C2HTERM:
            rest = self.recv(plen - 8)
            fes, fei = struct.unpack_from("<HI", rest, 0)
            raise Terminated(fes, fei, rest[16:])
        need(hlen == (128 if t == ICRESP else 24), f"HLEN {hlen} of type {t}")
        head = ch + self.recv(hlen - 8)
        hd = self.hdgst and t != ICRESP
        need(bool(flags & F_HDGST) == hd, "HDGSTF")
        at = hlen
        if hd:
            need(struct.unpack("<I", self.recv(4))[0] == crc32c(head), "header digest")
            at += 4
        if t != C2HDATA:
            need(flags & ~F_HDGST == 0 and pdo == 0 and plen == at, f"layout of type {t}")
            return t, head, b""
        need(flags & ~(F_HDGST | F_DDGST | F_LAST | F_SUCCESS) == 0, "C2HData flags")
        need(bool(flags & F_DDGST) == self.ddgst, "DDGSTF")
        align = (self.hpda + 1) * 4
        need(pdo == (at + align - 1) // align * align, f"PDO {pdo} with HPDA {self.hpda}")
        need(not any(self.recv(pdo - at)), "pad is not zero")
        data = self.recv(plen - pdo - (4 if self.ddgst else 0))
        if self.ddgst:
            need(struct.unpack("<I", self.recv(4))[0] == crc32c(data), "data digest")
        return t, head, data

    # ---- commands ----
    def sqe(self, opc, nsid=0, cdw=None, length=0, incapsule=False, flags=0x40, tail=None):
        self.cid = (self.cid + 1) & 0xFFFF
        sgl = struct.pack("<QI3xB", 0, length, 0x01 if incapsule else 0x5A)
        cdw = dict(cdw or {})
        if tail is None:
            tail = struct.pack("<6I", *(cdw.get(10 + i, 0) for i in range(6)))
        head = struct.pack("<BBHI2I8x", opc, flags, self.cid, nsid, cdw.get(2, 0), cdw.get(3, 0))
        return head + sgl + tail, self.cid

    def start(self, sqe, data=b""):
        self.send(self.pdu(CMD, sqe, data))

    def finish(self, cid, wdata=b"", rlen=0, check=True):
        """Serves R2Ts and collects data until the command ends: (data, dw0, dw1)."""
        got = bytearray()
        requested = 0
        pending = []
        while True:
            if pending and not select.select([self.sock], [], [], 0.02)[0]:
                ttag, off, length = pending.pop(0)
                self.answer_r2t(cid, ttag, wdata, off, length)
                continue
            t, head, data = self.recv_pdu()
            if t == RESP:
                dw0, dw1, sqhd, sqid, rcid, st = struct.unpack_from("<IIHHHH", head, 8)
                need(rcid == cid, f"response for CID {rcid}, want {cid}")
                need(sqid == self.qid or st >> 1, f"SQID {sqid} on queue {self.qid}")
                need(not pending or st >> 1, "success with R2Ts open")
                if st >> 1 and check:
                    raise StatusError(st >> 1, dw0)
                if check and rlen:
                    need(len(got) == rlen, f"{len(got)} of {rlen} bytes before success")
                self.sqhd, self.status = sqhd, st >> 1
                return bytes(got), dw0, dw1
            ccid, ttag, off, length = struct.unpack_from("<HHII", head, 8)
            need(ccid == cid, f"CCCID {ccid}, want {cid}")
            if t == R2T:
                need(off == requested and length and off + length <= len(wdata), "R2T range")
                requested += length
                self.r2ts_seen += 1
                pending.append((ttag, off, length))
                self.r2t_peak = max(self.r2t_peak, len(pending))
                need(len(pending) <= self.maxr2t, "more R2Ts than MAXR2T")
                continue
            need(t == C2HDATA and ttag == 0, "C2HData")
            self.c2h_seen += 1
            need(off == len(got) and length == len(data), "C2HData offset or length")
            got += data
            need(bool(head[1] & F_LAST) == (len(got) == rlen), "LAST flag")
            if head[1] & F_SUCCESS:
                need(head[1] & F_LAST, "SUCCESS without LAST")
                self.success_seen += 1
                self.status = 0
                return bytes(got), 0, 0

    def answer_r2t(self, cid, ttag, wdata, off, length):
        end = off + length
        while off < end:
            n = min(self.maxh2c, end - off)
            body = struct.pack("<HHII4x", cid, ttag, off, n)
            self.send(self.pdu(H2CDATA, body, wdata[off:off + n], F_LAST if off + n == end else 0))
            off += n

    def command(self, opc, nsid=0, cdw=None, wdata=b"", rlen=0, incapsule=None, check=True,
                flags=0x40, tail=None):
        if incapsule is None:
            incapsule = bool(wdata) and len(wdata) <= self.ioccsz
        length = len(wdata) or rlen
        sqe, cid = self.sqe(opc, nsid, cdw, length, incapsule, flags, tail)
        self.start(sqe, wdata if incapsule else b"")
        return self.finish(cid, wdata, rlen, check)

    def connect(self, qid=0, nqn=DEFAULT_NQN, sqsize=31, cntlid=0xFFFF, kato=0, cattr=0,
                hostnqn=HOST_NQN, hostid=HOST_ID, recfmt=0, check=True, incapsule=True):
        self.qid = qid
        data = hostid + struct.pack("<H", cntlid) + bytes(238)
        data += nqn.encode().ljust(256, b"\0") + hostnqn.encode().ljust(256, b"\0") + bytes(256)
        self.sqflow_off = bool(cattr & 4)
        tail = struct.pack("<HHHBxI12x", recfmt, qid, sqsize, cattr, kato)
        _, dw0, _ = self.command(0x7F, 1, wdata=data, tail=tail, check=check, incapsule=incapsule)
        return dw0

    def prop_get(self, off, size=4):
        tail = struct.pack("<B3xI16x", 1 if size == 8 else 0, off)
        _, lo, hi = self.command(0x7F, 4, tail=tail)
        return lo | hi << 32

    def prop_set(self, off, value):
        self.command(0x7F, 0, tail=struct.pack("<B3xIQ8x", 0, off, value))

    def enable(self, cc=0x460001):
        self.prop_set(0x14, cc)
        end = time.monotonic() + self.sock.gettimeout()
        while not self.prop_get(0x1C) & 1:
            need(time.monotonic() < end, "CSTS.RDY never set")

    def identify(self, cns, nsid=0, csi=0):
        return self.command(0x06, nsid, {10: cns, 11: csi << 24}, rlen=4096)[0]

    def get_log(self, lid, length, off=0, nsid=0xFFFFFFFF):
        numd = length // 4 - 1
        cdw = {10: lid | (numd & 0xFFFF) << 16, 11: numd >> 16, 12: off & 0xFFFFFFFF, 13: off >> 32}
        return self.command(0x02, nsid, cdw, rlen=length)[0]

    def rw_cdw(self, slba, nblocks, cdw12=0):
        return {10: slba & 0xFFFFFFFF, 11: slba >> 32, 12: (nblocks - 1) | cdw12}

    def read(self, nsid, slba, nblocks, bs=4096, **kw):
        return self.command(0x02, nsid, self.rw_cdw(slba, nblocks), rlen=nblocks * bs, **kw)[0]

    def write(self, nsid, slba, data, bs=4096, **kw):
        return self.command(0x01, nsid, self.rw_cdw(slba, len(data) // bs), wdata=data, **kw)


class Host:
    """An association: admin queue, enabled, and I/O queues on demand."""

    def __init__(self, addr, nqn=DEFAULT_NQN, kato=0, cattr=0, hostnqn=HOST_NQN, hostid=HOST_ID,
                 cc=0x460001, **kw):
        self.addr, self.nqn, self.kw, self.cattr = addr, nqn, kw, cattr
        self.hostnqn, self.hostid = hostnqn, hostid
        self.admin = Queue(addr, **kw)
        self.cntlid = self.admin.connect(nqn=nqn, kato=kato, hostnqn=hostnqn,
                                         hostid=hostid) & 0xFFFF
        self.cap = self.admin.prop_get(0, 8)
        self.admin.enable(cc)
        self.id = self.admin.identify(1)
        self.ioccsz = struct.unpack_from("<I", self.id, 1792)[0] * 16 - 64
        self.queues = []

    def io(self, qid=None, sqsize=127, **kw):
        q = Queue(self.addr, **self.kw)
        q.ioccsz = self.ioccsz
        qid = qid or len(self.queues) + 1
        q.connect(qid, self.nqn, sqsize, self.cntlid, cattr=self.cattr, hostnqn=self.hostnqn,
                  hostid=self.hostid, **kw)
        self.queues.append(q)
        return q

    def close(self):
        for q in [*self.queues, self.admin]:
            q.close()


class Target:
    """nvmf-target as a child process, with its control socket."""

    def __init__(self, program, *args, listen="127.0.0.1:0"):
        self.dir = tempfile.TemporaryDirectory(prefix="nvmf-target-")
        self.path = os.path.join(self.dir.name, "ctl")
        r, w = os.pipe()
        self.stderr = open(os.path.join(self.dir.name, "stderr"), "w+")
        self.proc = subprocess.Popen(
            [program, f"--listen={listen}", f"--control={self.path}", f"--ready-fd={w}", *args],
            pass_fds=[w], stdout=subprocess.PIPE, stderr=self.stderr, text=True)
        os.close(w)
        ready = os.read(r, 16)
        os.close(r)
        if not ready:
            self.proc.wait()
            raise RuntimeError("nvmf-target did not start: " + self.errors())
        line = self.proc.stdout.readline()
        m = re.match(r"listening on \[?([^\]]+?)\]?:(\d+) \((\w+)\)", line)
        self.addr, self.transport = (m[1], int(m[2])), m[3]
        self.ctl = socket.socket(socket.AF_UNIX)
        self.ctl.settimeout(20)
        self.ctl.connect(self.path)
        self.rx = b""

    def errors(self):
        self.stderr.flush()
        self.stderr.seek(0)
        return self.stderr.read()

    def line(self):
        while b"\n" not in self.rx:
            piece = self.ctl.recv(65536)
            if not piece:
                raise ConnectionError("control socket closed")
            self.rx += piece
        line, self.rx = self.rx.split(b"\n", 1)
        return line.decode()

    def control(self, cmd):
        """The answer line; lines that list things come before "ok" and are joined."""
        self.ctl.sendall(cmd.encode() + b"\n")
        lines = []
        while True:
            line = self.line()
            if line == "ok":
                return "\n".join(lines)
            if line.startswith("error"):
                raise ValueError(line)
            if line.startswith("{"):
                return line
            lines.append(line)

    def stop(self):
        """Exit status after SIGTERM; a sanitizer report makes it non-zero."""
        self.ctl.close()
        self.proc.terminate()
        try:
            return self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            return -9
        finally:
            self.proc.stdout.close()
