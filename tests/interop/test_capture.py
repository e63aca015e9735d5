#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real sessions between nvmf-perf and nvmf-target, as Wireshark sees them.

    test_capture.py BUILD-DIRECTORY

Each session is recorded, dissected by tshark and checked PDU by PDU: over TCP
on the wire (needs the right to capture on the loopback interface), over TCP and
MPTCP through the library's own tap.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))

import pdu_check
import tap
from programs import Target, die_with_parent, verified
from tap import Failure, Skip

NQN = 'nqn.2024-01.org.libnof:capture'
DEADLINE = 30

DIGESTS = {'no digest': ('off', 'off'), 'header digest': ('on', 'off'),
           'data digest': ('off', 'on'), 'both digests': ('on', 'on')}

# What the target does, and which PDUs that has to bring about.
SHAPES = {
    'in-capsule writes': (['--in-capsule=16384'], {}, '4k-16k',
                          {'incapsule', 'c2hdata'}),
    'R2T writes': (['--in-capsule=0'], {}, '4k-256k', {'r2t', 'h2cdata', 'c2hdata'}),
    'many R2Ts and small H2CData': (
        ['--in-capsule=4096', '--r2t=4', '--r2t-size=16384', '--maxh2cdata=4096',
         '--c2h-size=8192'], {'max_r2t': 4}, '4k-256k',
        {'incapsule', 'multi_r2t', 'multi_h2cdata', 'c2hdata'}),
    'SUCCESS with SQ flow control off': (['--success=on'], {'disable_sqflow': 'on'}, '4k-64k',
                                       {'success', 'c2hdata'}),
    'SQ flow control off without SUCCESS': (['--success=off'], {'disable_sqflow': 'on'}, '4k-64k',
                                            {'c2hdata'}),
    'CPDA 7': (['--cpda=7', '--in-capsule=8192'], {}, '4k-64k',
               {'incapsule', 'h2cdata', 'padded'}),
}


class Wire:
    """Captures what passes the loopback interface meanwhile, all of it.

    A capture that is stopped loses what the kernel has buffered. So the end is
    marked by a datagram of our own, and the capture stops once it has seen it.
    """

    def __init__(self, port, path):
        program = shutil.which('dumpcap')
        if not program:
            raise Skip('no dumpcap here: install the package wireshark-common')
        self.marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.marker.bind(('127.0.0.1', 0))
        self.sign = b'end of capture ' + os.urandom(16)
        where = self.marker.getsockname()[1]
        self.argv = [program, '-i', 'lo', '-f', f'tcp port {port} or udp port {where}', '-q',
                     '-B', '256', '-P', '-w', '-']
        self.path = path
        self.process = None
        self.errors = None
        self.started = threading.Event()    # the file header came: packets are taken
        self.complete = threading.Event()   # the marker came, or nothing ever will

    def _copy(self):
        tail = b''
        with open(self.path, 'wb') as out:
            while True:
                data = os.read(self.process.stdout.fileno(), 1 << 20)
                if not data:
                    break
                self.started.set()
                out.write(data)
                out.flush()
                if self.sign in tail + data:
                    self.complete.set()
                tail = (tail + data)[-len(self.sign):]
        self.started.set()
        self.complete.set()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors='replace').strip()

    def __enter__(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.errors,
                                        preexec_fn=die_with_parent)
        self.thread = threading.Thread(target=self._copy)
        self.thread.start()
        if not self.started.wait(DEADLINE) or self.complete.is_set():
            self._end()
            text = self.said()
            if 'permission' in text.lower():
                raise Skip('capturing on lo is not allowed here: ' + text.splitlines()[0])
            raise Failure(f'{" ".join(self.argv)}: {text}')
        return self

    def _end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.marker.close()

    def __exit__(self, *exc):
        try:
            self.marker.sendto(self.sign, self.marker.getsockname())
            seen = self.complete.wait(DEADLINE)
        finally:
            self._end()
        if exc[0] is not None:
            return
        if not seen:
            raise Failure(f'the capture did not see its end in {DEADLINE} s: {self.said()}')
        # "Packets received/dropped on interface 'Loopback: lo': 2062/0 (pcap:0/…)"
        dropped = re.search(r"on interface '[^']*': \d+/(\d+)", self.said())
        if not dropped or int(dropped.group(1)):
            raise Failure(f'the capture lost packets, which proves nothing: {self.said()}')


def check(t, path, port, need):
    violations, counts = pdu_check.check(path, [port], need=need)
    t.note(', '.join(f'{n} {k}' for k, n in sorted(counts.items())))
    if violations:
        raise Failure('\n'.join(violations[:40]))


def session(build, port, digests, uri_options, bsrange, *options):
    hdr, data = digests
    keys = {'hdr_digest': hdr, 'data_digest': data, **uri_options}
    uri = f'nvme+tcp://127.0.0.1:{port}/{NQN}/1?' + '&'.join(f'{k}={v}' for k, v in keys.items())
    return verified(build, '--rw=randrw', f'--bsrange={bsrange}', '--iodepth=16', '--queues=2',
                    '--size=16m', '--io-size=6m', *options, uri)


def body(t, build, directory):
    path = os.path.join(directory, 'session.pcap')
    for shape, (options, uri_options, bsrange, need) in SHAPES.items():
        for name, digests in DIGESTS.items():
            wanted = need | {'command', 'response', 'io'}
            wanted |= {k for k, v in zip(('hdgst', 'ddgst'), digests) if v == 'on'}

            def one(how, mptcp, capture, *extra):
                with t.case(f'{how}, {shape}, {name}'):
                    with Target(build, f'--nqn={NQN}', '--ns=mem:32M,bs=4096', '--hdgst',
                                '--ddgst', *options) as target:
                        with capture(target.port):
                            session(build, target.port, digests,
                                    {'mptcp': mptcp, **uri_options}, bsrange, *extra)
                        check(t, path, target.port, wanted)
                        t.true(target.alive(), 'the target ended: ' + target.said())
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

            one('TCP on the wire', 'off', lambda port: Wire(port, path))
            one('MPTCP through the tap', 'prefer', lambda port: contextlib.nullcontext(),
                f'--pcap={path}')
    with t.case('TCP through the tap shows the same PDUs as the wire'):
        other = os.path.join(directory, 'tap.pcap')
        with Target(build, f'--nqn={NQN}', '--ns=mem:32M,bs=4096', '--hdgst', '--ddgst') as target:
            with Wire(target.port, path):
                session(build, target.port, DIGESTS['both digests'], {'mptcp': 'off'}, '4k-64k',
                        f'--pcap={other}')
            found = []
            for p in (path, other):
                violations, counts = pdu_check.check(p, [target.port])
                t.true(not violations, '\n'.join(violations[:40]))
                found.append(dict(counts))
            t.equal(found[1], found[0], 'PDUs in the tap and on the wire')


def main(argv):
    if len(argv) != 2 or argv[1].startswith('-'):
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix='nof-capture-') as directory:
        return tap.run(lambda t: body(t, os.path.abspath(argv[1]), directory))


if __name__ == '__main__':
    sys.exit(main(sys.argv))
