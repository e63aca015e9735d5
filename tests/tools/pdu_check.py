#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks a captured NVMe/TCP session, PDU by PDU.

    pdu_check.py --port PORT [--port PORT…] [--open-end] [--need KIND…] FILE.pcap
    pdu_check.py --self-test

tshark puts the session together, dissects it and verifies digests; what it does
not verify is checked here over its output: flags and digests as negotiated, lengths and
alignment (T-1, T-2), H2CData against each R2T (T-13), C2HData against what the
command asked for (T-14, T-15), limits (MAXH2CDATA, MAXR2T, SQSIZE), TTAG and CID
reuse, and one answer for every command. Every connection must be in the capture
from its first PDU. --open-end accepts connections that were cut: commands may
then be unanswered when the capture ends. --need fails when the capture holds
none of KIND: so a check cannot pass because there was nothing to check. Kinds:
icreq, command, response, h2cdata, c2hdata, r2t, success, incapsule, multi_r2t,
multi_h2cdata, padded, hdgst, ddgst, or io (commands on I/O queues).

Prints one line per violation, and exits 1 if there was one.
"""

import argparse
import collections
import os
import shutil
import struct
import subprocess
import sys
import tempfile

ICREQ, ICRESP, H2CTERM, C2HTERM, CMD, RESP, H2CDATA, C2HDATA, R2T = 0, 1, 2, 3, 4, 5, 6, 7, 9
NAMES = {ICREQ: 'ICReq', ICRESP: 'ICResp', H2CTERM: 'H2CTermReq', C2HTERM: 'C2HTermReq',
         CMD: 'CapsuleCmd', RESP: 'CapsuleResp', H2CDATA: 'H2CData', C2HDATA: 'C2HData', R2T: 'R2T'}
HLEN = {ICREQ: 128, ICRESP: 128, H2CTERM: 24, C2HTERM: 24, CMD: 72, RESP: 24,
        H2CDATA: 24, C2HDATA: 24, R2T: 24}
FROM_HOST = (ICREQ, H2CTERM, CMD, H2CDATA)
HDGSTF, DDGSTF, LAST, SUCCESS = 1, 2, 4, 8
OPC_FABRICS, OPC_AER = 0x7f, 0x0c
FCTYPE_CONNECT, FCTYPE_SEND, FCTYPE_RECEIVE = 1, 5, 6
SGL_IN_CAPSULE, SGL_TRANSPORT = 0x01, 0x5a


class CheckError(Exception):
    """The capture could not be read at all."""


class Request:
    """An R2T that is being answered."""

    def __init__(self, ttag, offset, length):
        self.ttag = ttag
        self.offset = offset
        self.length = length
        self.sent = 0       # bytes of it answered so far


class Command:
    def __init__(self, frame, cid, opcode, fctype, sgl, length):
        self.frame = frame
        self.cid = cid
        self.opcode = opcode
        self.length = length        # bytes the SGL describes
        self.in_capsule = sgl == SGL_IN_CAPSULE and length > 0
        self.requests = []          # R2Ts not fully answered, in arrival order
        self.requested = 0          # bytes asked for by R2Ts so far
        self.r2ts = 0
        self.sent = 0               # H2CData bytes
        self.received = 0           # C2HData bytes
        self.got_last = False
        if opcode == OPC_FABRICS:
            self.direction = {FCTYPE_CONNECT: 1, FCTYPE_SEND: 1, FCTYPE_RECEIVE: 2}.get(fctype, 0)
        else:
            self.direction = opcode & 3     # 1 host to controller, 2 back


class Connection:
    """What one TCP stream has said so far, and the rules it must keep."""

    def __init__(self, name, report, counts):
        self.name = name
        self.report = report
        self.counts = counts
        self.qid = None
        self.digests = None         # in force; None before ICResp
        self.offered = 0            # digests in ICReq
        self.hpda = self.cpda = 0
        self.max_r2t = 0            # 0's based
        self.max_h2cdata = 0
        self.sqsize = None          # 0's based, from Connect
        self.commands = {}          # CID: outstanding command
        self.ttags = {}             # TTAG: command with an unanswered R2T
        self.terminated = False

    def bad(self, frame, text):
        where = self.name if self.qid is None else f'{self.name} (queue {self.qid})'
        self.report(f'frame {frame}, {where}: {text}')

    def pdu(self, p):
        frame, kind, name = p['frame'], p['type'], NAMES.get(p['type'], f'type {p["type"]}')
        if kind not in NAMES:
            return self.bad(frame, f'unknown PDU type {kind}')
        if p['from_host'] != (kind in FROM_HOST):
            return self.bad(frame, f'{name} in the wrong direction')
        if self.terminated and kind not in (C2HTERM, H2CTERM) and p['from_host']:
            self.bad(frame, f'{name} after H2CTermReq')
        if p['hlen'] != HLEN[kind]:
            self.bad(frame, f'{name} with HLEN {p["hlen"]}')
        if (self.digests is None) != (kind in (ICREQ, ICRESP)):
            self.bad(frame, f'{name} {"before" if self.digests is None else "after"} '
                     'the connection was initialised')
        self.layout(p, kind, name)
        getattr(self, 'on_' + NAMES[kind].lower())(p)

    def layout(self, p, kind, name):
        """Flags, digests, PDO and PLEN: T-1, T-2, T-4."""
        frame, flags = p['frame'], p['flags']
        allowed = {CMD: 3, RESP: 1, H2CDATA: 7, C2HDATA: 15, R2T: 1}.get(kind, 0)
        if flags & ~allowed:
            self.bad(frame, f'{name} with flags {flags:#x}')
        if kind in (ICREQ, ICRESP, H2CTERM, C2HTERM):
            if kind in (ICREQ, ICRESP) and p['plen'] != 128:
                self.bad(frame, f'{name} with PLEN {p["plen"]}')
            return
        digests = self.digests or 0
        data = p['plen'] > p['hlen'] + 4 * (digests & 1)
        want = (digests & 1) | (digests & 2 if data else 0)
        if flags & 3 != want:
            self.bad(frame, f'{name} with digest flags {flags & 3}, negotiated {want}')
        for bit, key in ((1, 'hdgst'), (2, 'ddgst')):
            if flags & bit:
                self.counts[key + ' flag'] += 1
        if not data:
            if p['pdo']:
                self.bad(frame, f'{name} without data has PDO {p["pdo"]}')
            return
        if kind in (RESP, R2T):
            return self.bad(frame, f'{name} carries data: PLEN {p["plen"]}')
        align = 4 * (1 + (self.hpda if kind == C2HDATA else self.cpda))
        if p['pdo'] % align or p['pdo'] < p['hlen'] + 4 * (digests & 1):
            self.bad(frame, f'{name} with PDO {p["pdo"]}, alignment {align}')
        payload = p['plen'] - p['pdo'] - (4 if flags & DDGSTF else 0)
        said = p['length']
        if kind in (H2CDATA, C2HDATA) and payload != said:
            self.bad(frame, f'{name} carries {payload} bytes and says {said}')
        if kind == CMD and payload != (said if p['sgl'] == SGL_IN_CAPSULE else 0):
            self.bad(frame, f'{name} carries {payload} bytes, its SGL says {said} '
                     f'(type {p["sgl"]:#x})')

    def on_icreq(self, p):
        self.counts['icreq'] += 1
        self.offered, self.hpda, self.max_r2t = p['digest'], p['pda'], p['maxr2t']

    def on_icresp(self, p):
        self.digests, self.cpda, self.max_h2cdata = p['digest'], p['pda'], p['maxdata']
        if self.digests & ~self.offered:
            self.bad(p['frame'], f'ICResp enables digests {self.digests}, offered {self.offered}')

    def on_h2ctermreq(self, p):
        self.terminated = True
        self.bad(p['frame'], f'the host ended the connection, FES {p["fes"]}')

    def on_c2htermreq(self, p):
        self.terminated = True
        self.bad(p['frame'], f'the controller ended the connection, FES {p["fes"]}')

    def on_capsulecmd(self, p):
        self.counts['command'] += 1
        if p['cid'] in self.commands:
            self.bad(p['frame'], f'CID {p["cid"]:#x} used again while outstanding')
        c = Command(p['frame'], p['cid'], p['opcode'], p['fctype'], p['sgl'], p['length'])
        if c.opcode == OPC_FABRICS and p['fctype'] == FCTYPE_CONNECT:
            self.qid, self.sqsize = p['qid'], p['sqsize']
        self.counts['io'] += bool(self.qid) and c.opcode != OPC_FABRICS
        self.counts['incapsule'] += c.in_capsule
        if p['psdt'] & 0xc0 != 0x40:
            self.bad(p['frame'], f'opcode {c.opcode:#x} with PSDT {p["psdt"] >> 6} (T-10)')
        # Fabrics commands but Connect and the authentication ones have no SGL.
        has_sgl = c.opcode != OPC_FABRICS or c.direction
        if not has_sgl:
            c.length = 0
        elif p['sgl'] not in (SGL_IN_CAPSULE, SGL_TRANSPORT):
            self.bad(p['frame'], f'SGL type {p["sgl"]:#x} (T-10)')
        if c.in_capsule and c.direction != 1:
            self.bad(p['frame'], f'in-capsule data for opcode {c.opcode:#x}')
        if c.in_capsule and p['plen'] == HLEN[CMD] + 4 * ((self.digests or 0) & 1):
            self.bad(p['frame'], 'the SGL promises in-capsule data and there is none')
        self.commands[c.cid] = c
        if self.sqsize is not None and len(self.commands) > self.sqsize:
            self.bad(p['frame'], f'{len(self.commands)} commands outstanding, SQSIZE {self.sqsize}')

    def on_r2t(self, p):
        self.counts['r2t'] += 1
        frame, c = p['frame'], self.commands.get(p['cid'])
        if c is None:
            return self.bad(frame, f'R2T for CID {p["cid"]:#x}, which is not outstanding')
        if c.direction != 1 or c.in_capsule:
            return self.bad(frame, f'R2T for CID {c.cid:#x}, which has no data to be asked for')
        if p['ttag'] in self.ttags:
            self.bad(frame, f'TTAG {p["ttag"]:#x} used again while active')
        if p['offset'] != c.requested or not p['length'] or p['offset'] + p['length'] > c.length:
            self.bad(frame, f'R2T for {p["length"]} bytes at {p["offset"]} of CID {c.cid:#x}, '
                     f'asked before: {c.requested} of {c.length}')
        c.requested = p['offset'] + p['length']
        c.requests.append(Request(p['ttag'], p['offset'], p['length']))
        c.r2ts += 1
        if c.r2ts == 2:
            self.counts['multi_r2t'] += 1
        if len(c.requests) > self.max_r2t + 1:
            self.bad(frame, f'{len(c.requests)} R2Ts of CID {c.cid:#x} open, '
                     f'MAXR2T {self.max_r2t} (0\'s based)')
        self.ttags[p['ttag']] = c

    def on_h2cdata(self, p):
        """T-13: each R2T is answered in ascending order, LAST on its final byte only."""
        self.counts['h2cdata'] += 1
        frame, c = p['frame'], self.commands.get(p['cid'])
        if c is None:
            return self.bad(frame, f'H2CData for CID {p["cid"]:#x}, which is not outstanding')
        r = next((x for x in c.requests if x.ttag == p['ttag']), None)
        if r is None:
            return self.bad(frame, f'H2CData for TTAG {p["ttag"]:#x}, '
                            f'which no R2T of CID {c.cid:#x} opened')
        if r is not c.requests[0]:
            self.bad(frame, f'H2CData for TTAG {r.ttag:#x} before an earlier R2T was answered')
        if p['offset'] != r.offset + r.sent:
            self.bad(frame, f'H2CData at {p["offset"]} where {r.offset + r.sent} comes next')
        if self.max_h2cdata and p['length'] > self.max_h2cdata:
            self.bad(frame, f'H2CData of {p["length"]} bytes, MAXH2CDATA {self.max_h2cdata}')
        if r.sent == 0 and p['length'] < r.length:
            self.counts['multi_h2cdata'] += 1
        r.sent += p['length']
        c.sent += p['length']
        if r.sent > r.length:
            self.bad(frame, f'H2CData sends {r.sent} bytes, R2TL was {r.length}')
        if bool(p['flags'] & LAST) != (r.sent >= r.length):
            self.bad(frame, f'H2CData {"with" if p["flags"] & LAST else "without"} LAST '
                     f'at {r.sent} of {r.length} bytes')
        if r.sent >= r.length or p['flags'] & LAST:
            c.requests.remove(r)
            self.ttags.pop(r.ttag, None)

    def on_c2hdata(self, p):
        """T-14: contiguous from 0, LAST iff the final byte, SUCCESS only with LAST."""
        self.counts['c2hdata'] += 1
        frame, c = p['frame'], self.commands.get(p['cid'])
        if c is None:
            return self.bad(frame, f'C2HData for CID {p["cid"]:#x}, which is not outstanding')
        if c.direction != 2:
            self.bad(frame, f'C2HData for opcode {c.opcode:#x}')
        if c.got_last:
            self.bad(frame, f'C2HData for CID {c.cid:#x} after LAST')
        if p['offset'] != c.received:
            self.bad(frame, f'C2HData at {p["offset"]} where {c.received} comes next')
        c.received += p['length']
        if c.received > c.length:
            self.bad(frame, f'C2HData gives {c.received} bytes, the command asked for {c.length}')
        last = bool(p['flags'] & LAST)
        if last != (c.received >= c.length):
            self.bad(frame, f'C2HData {"with" if last else "without"} LAST '
                     f'at {c.received} of {c.length} bytes')
        c.got_last = last
        if p['flags'] & SUCCESS:
            self.counts['success'] += 1
            if not last:
                self.bad(frame, 'C2HData with SUCCESS and without LAST')
            self.finish(c, frame, True)

    def on_capsuleresp(self, p):
        self.counts['response'] += 1
        c = self.commands.get(p['cid'])
        if c is None:
            return self.bad(p['frame'], f'answer for CID {p["cid"]:#x}, which is not outstanding')
        self.finish(c, p['frame'], p['status'] == 0)

    def finish(self, c, frame, good):
        del self.commands[c.cid]
        for r in c.requests:
            self.ttags.pop(r.ttag, None)
        if not good:
            return
        if c.direction == 2 and c.received != c.length:
            self.bad(frame, f'CID {c.cid:#x} succeeded with {c.received} of {c.length} bytes (T-15)')
        if c.direction == 1 and not c.in_capsule and c.sent != c.length:
            self.bad(frame, f'CID {c.cid:#x} succeeded after {c.sent} of {c.length} bytes were sent')

    def end(self, open_end):
        if self.digests is None:
            self.bad('-', 'the connection was never initialised in this capture')
        if open_end:
            return
        for c in self.commands.values():
            if not (c.opcode == OPC_AER and not self.qid):
                self.bad(c.frame, f'CID {c.cid:#x}, opcode {c.opcode:#x}, was never answered')


def _crc32c(data, table=[]):
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
            table.append(i)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


class Half:
    """One direction of a TCP connection, put together again from its segments."""

    def __init__(self):
        self.next = None        # sequence number of the first byte not yet taken
        self.early = {}         # sequence number: bytes that came before their turn
        self.bytes = bytearray()    # in order, not yet a whole PDU
        self.lost_sync = False

    def segment(self, seq, syn, data):
        if self.next is None or syn:
            self.next = (seq + syn) & 0xffffffff
            seq = self.next
        if not data:
            return      # an acknowledgement; behind a FIN its number is one too high
        self.early[seq] = max(data, self.early.get(seq, b''), key=len)
        for at in sorted(self.early, key=lambda at: self._ahead(at)):
            ahead = self._ahead(at)
            if ahead > 0:
                break
            data = self.early.pop(at)[-ahead:] if ahead else self.early.pop(at)
            self.bytes += data
            self.next = (self.next + len(data)) & 0xffffffff

    def _ahead(self, seq):
        """Distance from what comes next; negative for what was seen before."""
        return ((seq - self.next + 0x80000000) & 0xffffffff) - 0x80000000

    def pdus(self):
        while len(self.bytes) >= 8 and not self.lost_sync:
            hlen, pdo, plen = struct.unpack_from('<BBI', self.bytes, 2)
            if plen < max(8, hlen, pdo):
                self.lost_sync = True
            if self.lost_sync or len(self.bytes) < plen:
                return
            yield bytes(self.bytes[:plen])
            del self.bytes[:plen]


def _decode(frame, from_host, pdu):
    kind, flags, hlen, pdo, plen = struct.unpack_from('<BBBBI', pdu)
    p = {'frame': frame, 'from_host': from_host, 'type': kind, 'flags': flags,
         'hlen': hlen, 'pdo': pdo, 'plen': plen,
         'is_padded': pdo > hlen + (4 if flags & HDGSTF else 0)}
    if plen < HLEN.get(kind, 8):
        p['type'] = -1
    elif kind == CMD:
        sqe = pdu[8:72]
        p['opcode'], p['psdt'], p['cid'], p['fctype'] = struct.unpack_from('<BBHB', sqe)
        p['length'], p['sgl'] = struct.unpack_from('<I3xB', sqe, 32)
        p['qid'], p['sqsize'] = struct.unpack_from('<HH', sqe, 42)
    elif kind == RESP:
        p['cid'], status = struct.unpack_from('<HH', pdu, 20)
        p['status'] = status >> 1
    elif kind in (H2CDATA, C2HDATA, R2T):
        p['cid'], p['ttag'], p['offset'], p['length'] = struct.unpack_from('<HHII', pdu, 8)
    elif kind == ICREQ:
        p['pda'], p['digest'], p['maxr2t'] = struct.unpack_from('<BBI', pdu, 10)
    elif kind == ICRESP:
        p['pda'], p['digest'], p['maxdata'] = struct.unpack_from('<BBI', pdu, 10)
    else:
        p['fes'], = struct.unpack_from('<H', pdu, 8)
    return p


FIELDS = ('frame.number', 'tcp.stream', 'tcp.dstport', 'tcp.seq_raw', 'tcp.flags.syn', 'tcp.len',
          'tcp.payload', 'nvme-tcp.type', 'nvme-tcp.hdgst.status', 'nvme-tcp.ddgst.status',
          '_ws.malformed')


def _frames(path, ports):
    """The FIELDS of every TCP segment, as tshark sees them."""
    program = shutil.which('tshark')
    if not program:
        raise CheckError('no tshark here: install the package tshark')
    argv = [program, '-n', '-r', path, '-T', 'fields', '-E', 'occurrence=a', '-E', 'aggregator=,',
            '-o', 'nvme-tcp.check_hdgst:TRUE', '-o', 'nvme-tcp.check_ddgst:TRUE',
            '-o', 'tcp.reassemble_out_of_order:TRUE', '-o', 'tcp.desegment_tcp_streams:TRUE',
            '-Y', ' || '.join(f'tcp.port=={port}' for port in ports)]
    for port in ports:
        argv += ['-d', f'tcp.port=={port},nvme-tcp']
    for name in FIELDS:
        argv += ['-e', name]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=errors, text=True) as tshark:
            try:
                for line in tshark.stdout:
                    yield dict(zip(FIELDS, line.rstrip('\n').split('\t')))
            except GeneratorExit:
                tshark.kill()
                raise
        if tshark.returncode:
            errors.seek(0)
            raise CheckError(f'tshark failed on {path}: '
                             + errors.read().decode(errors='replace')[-500:])


def check(path, ports, open_end=False, need=()):
    """(violations, counts) of a capture; raises CheckError if it is unreadable."""
    violations = []
    counts = collections.Counter()
    connections = {}        # tshark's stream number: (Connection, {from_host: Half})
    seen = collections.Counter()    # PDUs that tshark found, by type
    for f in _frames(path, ports):
        frame = f['frame.number']
        for kind in filter(None, f['nvme-tcp.type'].split(',')):
            seen[int(kind, 0)] += 1
        stream = f['tcp.stream']
        if stream not in connections:
            connections[stream] = (Connection(f'connection {stream}', violations.append, counts),
                                   {True: Half(), False: Half()})
        connection, halves = connections[stream]
        from_host = int(f['tcp.dstport']) in ports
        payload = bytes.fromhex(f['tcp.payload'].replace(':', ''))
        if len(payload) != int(f['tcp.len']):
            violations.append(f'frame {frame}: the capture cut {f["tcp.len"]} bytes '
                              f'to {len(payload)}')
        half = halves[from_host]
        half.segment(int(f['tcp.seq_raw']), f['tcp.flags.syn'] in ('1', 'True'), payload)
        pdus = list(half.pdus())
        decoded = [_decode(frame, from_host, pdu) for pdu in pdus]
        # tshark 4.0 takes the pad in front of data for data: it then sees a PDU cut
        # short or a wrong data digest. What it says of such frames is decided here.
        is_padded = any(p['is_padded'] for p in decoded)
        for pdu, p in zip(pdus, decoded):
            counts['pdu'] += 1
            counts[('type', pdu[0])] += 1
            counts['padded'] += p['is_padded']
            connection.pdu(p)
            if is_padded and p['flags'] & DDGSTF:
                counts['ddgst'] += 1
                if _crc32c(pdu[p['pdo']:-4]) != int.from_bytes(pdu[-4:], 'little'):
                    connection.bad(frame, 'ddgst is not good')
        if f['_ws.malformed'] and not is_padded:
            violations.append(f'frame {frame}: tshark calls it malformed')
        for key in ('hdgst',) if is_padded else ('hdgst', 'ddgst'):
            for status in filter(None, f[f'nvme-tcp.{key}.status'].split(',')):
                counts[key] += 1
                if status != '1':
                    violations.append(f'frame {frame}: {key} is not good '
                                      f'(tshark: status {status})')
        if half.lost_sync:
            violations.append(f'frame {frame}, {connection.name}: impossible PDU header '
                              + half.bytes[:8].hex())
            half.bytes.clear()
    for connection, halves in connections.values():
        for from_host, half in halves.items():
            side = 'host' if from_host else 'controller'
            if half.early:
                violations.append(f'{connection.name}: segments of the {side} are missing')
            if half.bytes and not open_end:
                violations.append(f'{connection.name}: {len(half.bytes)} bytes of the {side} '
                                  'are left over, not a whole PDU')
        connection.end(open_end)
    # What tshark did not find it did not verify.
    for kind, name in NAMES.items():
        if seen[kind] != counts[('type', kind)]:
            violations.append(f'tshark dissected {seen[kind]} {name}, there are '
                              f'{counts[("type", kind)]}')
        counts.pop(('type', kind), None)
    for key in ('hdgst', 'ddgst'):
        if counts[key] != counts[key + ' flag']:
            violations.append(f'{counts[key]} {key} were verified, there are '
                              f'{counts[key + " flag"]}')
        del counts[key + ' flag']
    counts['connection'] = len(connections)
    if not connections:
        violations.append(f'no TCP segment in {path} on port {", ".join(map(str, ports))}')
    for kind in need:
        if not counts[kind]:
            violations.append(f'the capture holds no {kind}, so nothing was proved about it')
    return violations, counts


# --------------------------------------------------------------------------
# Self-test: sessions made here, one good in each flavour, the others with one
# fault, which has to be found.

class _Session:
    """Writes one connection's PDUs as a pcap."""

    PORT = 4420

    def __init__(self, digests=0, maxr2t=0, maxdata=8192, cpda=0):
        self.cpda = cpda
        self.packets = []
        self.next = {True: 1, False: 1}     # TCP sequence numbers, by from_host
        self.digests = digests
        self._tcp(True, b'', 0x02, 0)
        self._tcp(False, b'', 0x12, 0)
        self.ic(True, struct.pack('<HBBI', 0, 0, digests, maxr2t))
        self.ic(False, struct.pack('<HBBI', 0, cpda, digests, maxdata))
        connect = bytearray(1024)
        connect[256:256 + 7] = b'nqn.2x:'
        self.command(0, OPC_FABRICS, 1024, data=bytes(connect), fctype=FCTYPE_CONNECT, qid=1)
        self.response(0)

    def _tcp(self, from_host, data, flags=0x18, seq=None):
        ports = (40000, self.PORT) if from_host else (self.PORT, 40000)
        seq = self.next[from_host] if seq is None else seq
        tcp = struct.pack('>HHIIBBHHH', *ports, seq, self.next[not from_host] if flags & 16 else 0,
                          0x50, flags, 0xffff, 0, 0)
        ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0,
                         bytes((10, 0, 0, 1 if from_host else 2)),
                         bytes((10, 0, 0, 2 if from_host else 1)))
        self.packets.append(bytes(12) + b'\x08\x00' + ip + tcp + data)
        if seq:
            self.next[from_host] = seq + len(data)

    def ic(self, from_host, parameters):
        kind = ICREQ if from_host else ICRESP
        self._tcp(from_host, (struct.pack('<BBBBI', kind, 0, 128, 0, 128) + parameters)
                  .ljust(128, b'\0'))

    def send(self, from_host, kind, body, data=b'', flags=0, break_hdgst=0, break_ddgst=0, pdo=None):
        hdr, dat = self.digests & 1, self.digests & 2 and len(data) > 0
        hlen = 8 + len(body)
        at = hlen + 4 * hdr if data else 0
        if pdo is None:
            align = 4 * (self.cpda + 1) if from_host else 4
            pdo = (at + align - 1) // align * align
        plen = (pdo or hlen + 4 * hdr) + len(data) + (4 if dat else 0)
        flags |= (HDGSTF if hdr else 0) | (DDGSTF if dat else 0)
        pdu = struct.pack('<BBBBI', kind, flags, hlen, pdo, plen) + body
        if hdr:
            pdu += struct.pack('<I', _crc32c(pdu) ^ break_hdgst)
        if data:
            pdu = pdu.ljust(pdo, b'\0') + data
        if dat:
            pdu += struct.pack('<I', _crc32c(data) ^ break_ddgst)
        self._tcp(from_host, pdu)

    def command(self, cid, opcode, length, data=b'', fctype=0, qid=0, **kw):
        sqe = bytearray(64)
        struct.pack_into('<BBHI', sqe, 0, opcode, 0x40, cid, fctype if opcode == OPC_FABRICS else 1)
        struct.pack_into('<QI3xB', sqe, 24, 0, length, SGL_IN_CAPSULE if data else SGL_TRANSPORT)
        if opcode == OPC_FABRICS:
            struct.pack_into('<HHHBxI', sqe, 40, 0, qid, 7, 0, 0)
        elif length:
            struct.pack_into('<QH', sqe, 40, 0, length // 512 - 1)
        self.send(True, CMD, bytes(sqe), data, **kw)

    def response(self, cid, status=0, **kw):
        self.send(False, RESP, struct.pack('<IIHHHH', 0, 0, 0, 0, cid, status << 1), **kw)

    def r2t(self, cid, ttag, offset, length, **kw):
        self.send(False, R2T, struct.pack('<HHIII', cid, ttag, offset, length, 0), **kw)

    def h2cdata(self, cid, ttag, offset, length, last, **kw):
        self.send(True, H2CDATA, struct.pack('<HHIII', cid, ttag, offset, length, 0),
                  bytes([offset >> 9 & 255]) * length, LAST if last else 0, **kw)

    def c2hdata(self, cid, offset, length, flags, **kw):
        self.send(False, C2HDATA, struct.pack('<HHIII', cid, 0, offset, length, 0),
                  bytes([offset >> 9 & 255]) * length, flags, **kw)

    def write(self, path):
        with open(path, 'wb') as f:
            f.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 1 << 18, 1))
            for i, packet in enumerate(self.packets):
                f.write(struct.pack('<IIII', 1700000000, i, len(packet), len(packet)) + packet)


def _good(s):
    s.command(1, 2, 4096)
    s.c2hdata(1, 0, 2048, 0)
    s.c2hdata(1, 2048, 2048, LAST)
    s.response(1)
    s.command(2, 1, 16384)
    s.r2t(2, 7, 0, 12288)
    s.h2cdata(2, 7, 0, 8192, False)
    s.h2cdata(2, 7, 8192, 4096, True)
    s.r2t(2, 7, 12288, 4096)
    s.h2cdata(2, 7, 12288, 4096, True)
    s.response(2)
    s.command(1, 1, 512, data=b'x' * 512)
    s.response(1)
    s.command(3, 2, 4096)
    s.c2hdata(3, 0, 4096, LAST | SUCCESS)
    s.command(4, 2, 4096)
    s.response(4, status=0x80)      # an error, without data, is no violation


def _faults():
    """(part of the sentence that must appear, how to make the fault)"""
    def fault(text, *steps, **kw):
        def play(s):
            for name, *arguments in steps:
                extra = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
                getattr(s, name)(*arguments, **extra)
        return text, play, kw

    write = ('command', 1, 1, 16384)
    read = ('command', 1, 2, 4096)
    return [
        fault('where 4096 comes next', write, ('r2t', 1, 7, 0, 16384),
              ('h2cdata', 1, 7, 0, 4096, False), ('h2cdata', 1, 7, 8192, 8192, True)),
        fault('without LAST at 16384', write, ('r2t', 1, 7, 0, 16384),
              ('h2cdata', 1, 7, 0, 8192, False), ('h2cdata', 1, 7, 8192, 8192, False)),
        fault('with LAST at 8192 of 16384', write, ('r2t', 1, 7, 0, 16384),
              ('h2cdata', 1, 7, 0, 8192, True)),
        fault('after 8192 of 16384 bytes were sent', write, ('r2t', 1, 7, 0, 8192),
              ('h2cdata', 1, 7, 0, 8192, True), ('response', 1)),
        fault('R2TL was 4096', write, ('r2t', 1, 7, 0, 4096), ('h2cdata', 1, 7, 0, 8192, True)),
        fault('which no R2T', write, ('r2t', 1, 7, 0, 16384), ('h2cdata', 1, 8, 0, 8192, False)),
        fault('MAXH2CDATA 8192', write, ('r2t', 1, 7, 0, 16384),
              ('h2cdata', 1, 7, 0, 16384, True), ('response', 1)),
        fault('TTAG 0x7 used again', write, ('r2t', 1, 7, 0, 8192), ('command', 2, 1, 4096),
              ('r2t', 2, 7, 0, 4096)),
        fault("MAXR2T 0 (0's based)", write, ('r2t', 1, 7, 0, 8192), ('r2t', 1, 8, 8192, 8192)),
        fault('before an earlier R2T', write, ('r2t', 1, 7, 0, 8192), ('r2t', 1, 8, 8192, 8192),
              ('h2cdata', 1, 8, 8192, 8192, True), maxr2t=1),
        fault('asked before: 8192 of 16384', write, ('r2t', 1, 7, 0, 8192),
              ('h2cdata', 1, 7, 0, 8192, True), ('r2t', 1, 7, 8192, 16384)),
        fault('no data to be asked for', read, ('r2t', 1, 7, 0, 4096)),
        fault('C2HData at 2048 where 0', read, ('c2hdata', 1, 2048, 2048, LAST)),
        fault('succeeded with 2048 of 4096', read, ('c2hdata', 1, 0, 2048, 0), ('response', 1)),
        fault('with LAST at 2048 of 4096', read, ('c2hdata', 1, 0, 2048, LAST)),
        fault('without LAST at 4096', read, ('c2hdata', 1, 0, 4096, 0), ('response', 1)),
        fault('SUCCESS and without LAST', read, ('c2hdata', 1, 0, 4096, SUCCESS)),
        fault('asked for 4096', read, ('c2hdata', 1, 0, 8192, LAST), ('response', 1)),
        fault('which is not outstanding', read, ('c2hdata', 1, 0, 4096, LAST | SUCCESS),
              ('response', 1)),
        fault('C2HData for opcode 0x1', write, ('c2hdata', 1, 0, 16384, LAST)),
        fault('CID 0x1 used again', read, ('command', 1, 2, 512)),
        fault('was never answered', read),
        fault('answer for CID 0x9', ('response', 9)),
        fault('SQSIZE 7', *[('command', i, 2, 512) for i in range(8)]),
        fault('hdgst is not good', ('command', 1, 2, 4096, {'break_hdgst': 1}), digests=3),
        fault('hdgst is not good', read, ('c2hdata', 1, 0, 4096, LAST, {'break_hdgst': 1}),
              ('response', 1), digests=1),
        fault('ddgst is not good', read, ('c2hdata', 1, 0, 4096, LAST, {'break_ddgst': 1}),
              ('response', 1), digests=3),
        fault('ddgst is not good', write, ('r2t', 1, 7, 0, 16384),
              ('h2cdata', 1, 7, 0, 8192, False, {'break_ddgst': 1}),
              ('h2cdata', 1, 7, 8192, 8192, True), ('response', 1), digests=2, cpda=7),
        fault('alignment 32', ('command', 1, 1, 512, b'x' * 512, {'pdo': 72}), ('response', 1),
              cpda=7),
        fault('digest flags', read, ('c2hdata', 1, 0, 4096, LAST | DDGSTF), ('response', 1)),
        fault('flags 0x4', ('response', 0, 0, {'flags': LAST})),
        fault('alignment 4', read, ('c2hdata', 1, 0, 4096, LAST, {'pdo': 26}), ('response', 1)),
    ]


def self_test():
    cases = []
    for cpda in (0, 7):
        for digests in range(4):
            cases.append((None, _good, {'digests': digests, 'cpda': cpda}))
    cases += _faults()
    print(f'1..{len(cases)}')
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, 'session.pcap')
        for number, (text, play, kw) in enumerate(cases, 1):
            session = _Session(**kw)
            play(session)
            session.write(path)
            violations, counts = check(path, [_Session.PORT])
            if text is None:
                need = ('r2t', 'success', 'incapsule', 'multi_r2t', 'multi_h2cdata') \
                    + ('padded',) * bool(kw['cpda'])
                good = not violations and all(counts[k] for k in need)
                name = f'a good session with digests {kw["digests"]}, CPDA {kw["cpda"]} passes'
            else:
                good = any(text in v for v in violations)
                name = f'found: {text}'
            failed += not good
            print(f'{"ok" if good else "not ok"} {number} - {name}')
            if not good:
                for v in violations or ['no violation was reported']:
                    print(f'# {v}')
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=int, action='append', help='TCP port of the target')
    parser.add_argument('--open-end', action='store_true', help='connections may end unanswered')
    parser.add_argument('--need', action='append', default=[], metavar='KIND')
    parser.add_argument('--self-test', action='store_true')
    parser.add_argument('file', nargs='?')
    a = parser.parse_args()
    try:
        if a.self_test:
            return self_test()
        if not a.file or not a.port:
            parser.error('a capture and --port are needed')
        violations, counts = check(a.file, a.port, a.open_end, a.need)
    except CheckError as e:
        print(f'pdu_check: {e}', file=sys.stderr)
        return 1
    for v in violations:
        print(v)
    print(f'{a.file}: {len(violations)} violations; '
          + ', '.join(f'{n} {k}' for k, n in sorted(counts.items())), file=sys.stderr)
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
