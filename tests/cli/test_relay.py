#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-relay: what happens on one side happens on the other. Usage:
test_relay.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading

from clitest import DEADLINE, Running, eq, has_mptcp, main, noise, run, run_json, test, tool, until

RELAY = "nvmf-relay"
MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)
SIDES = "both" if has_mptcp() else "off"


class Relay:
    """One for a with-block; it must end cleanly, sanitizers included."""

    def __init__(self, target, *args, sides=SIDES, listen="127.0.0.1:0"):
        self.argv = [tool(RELAY), f"--listen={listen}", f"--mptcp={sides}", "--verbose", *args,
                     target]

    def __enter__(self):
        self.proc = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        line = self.proc.stdout.readline()
        found = re.match(r"listening on \[?([^\]]+?)\]?:(\d+) \((\w+)\)", line)
        eq(bool(found), True, f"its first line {line!r}: {self.lines}")
        self.addr = found[1], int(found[2])
        return self

    def _read(self):
        for line in self.proc.stderr:
            self.lines.append(line)

    def said(self, text):
        return sum(text in line for line in self.lines)

    def __exit__(self, kind, value, tb):
        self.proc.send_signal(signal.SIGTERM)
        rc = self.proc.wait(DEADLINE)
        self.reader.join(DEADLINE)
        self.proc.stdout.close()
        self.proc.stderr.close()
        if kind:
            print("# the relay said: " + "# ".join(x for x in self.lines if "accepted" not in x and "relay ends" not in x))
        eq(rc, 0, f"its exit status; it said {''.join(self.lines)}")


class Listener:
    """A target of bytes: accepts, and no more."""

    def __init__(self, proto=0):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
        self.s.settimeout(DEADLINE)
        self.s.bind(("127.0.0.1", 0))
        self.s.listen(64)
        self.name = "127.0.0.1:%d" % self.s.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.close()

    def accept(self):
        s, _ = self.s.accept()
        s.settimeout(DEADLINE)
        return s


def connect(relay, proto=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
    s.settimeout(DEADLINE)
    s.connect(relay.addr)
    return s


def joined(relay, listener, proto=0):
    """Both ends of a connection through the relay, with a byte sent each way."""
    a = connect(relay, proto)
    b = listener.accept()
    for x, y in ((a, b), (b, a)):
        x.sendall(b"!")
        eq(y.recv(1), b"!")
    return a, b


def protocols():
    return (0, MPTCP) if has_mptcp() else (0,)


def read_all(s):
    data = b""
    while piece := s.recv(65536):
        data += piece
    return data


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def is_reset(s):
    try:
        while s.recv(65536):
            pass
        return False
    except ConnectionResetError:
        return True


@test
def the_end_of_a_direction_is_passed_on_and_the_other_goes_on():
    with Listener(protocols()[-1]) as t, Relay(t.name) as relay:
        for proto in protocols():
            for first in (0, 1):
                ends = joined(relay, t, proto)
                a, b = ends[first], ends[1 - first]
                data = noise(300000, proto + first)
                a.sendall(data)
                a.shutdown(socket.SHUT_WR)
                eq(read_all(b) == data, True, "all of it, and then the end")
                b.sendall(data[::-1])
                b.close()
                eq(read_all(a) == data[::-1], True, "all of the answer")
                a.close()
        until(lambda: relay.said(": ended") == 2 * len(protocols()))


@test
def a_reset_is_passed_on_as_a_reset():
    with Listener(protocols()[-1]) as t, Relay(t.name) as relay:
        for proto in protocols():
            for first in (0, 1):
                ends = joined(relay, t, proto)
                reset(ends[first])
                eq(is_reset(ends[1 - first]), True, f"the other end, {proto}, {first}")
                ends[1 - first].close()
        # One direction has ended already.
        a, b = joined(relay, t)
        a.shutdown(socket.SHUT_WR)
        eq(read_all(b), b"")
        reset(b)
        eq(is_reset(a), True)
        a.close()
        # The other end takes nothing, so that bytes are held back.
        a, b = joined(relay, t)
        a.setblocking(False)
        try:
            while a.send(bytes(1 << 20)):
                pass
        except BlockingIOError:
            pass
        reset(a)
        eq(is_reset(b), True)
        b.close()


@test
def who_takes_nothing_stops_the_other_and_loses_nothing():
    with Listener() as t, Relay(t.name) as relay:
        for first in (0, 1):
            ends = joined(relay, t)
            a, b = ends[first], ends[1 - first]
            a.setblocking(False)
            sent, piece, digest = 0, noise(1 << 20), hashlib.sha256()
            while sent < 256 << 20:
                try:
                    n = a.send(piece)
                except BlockingIOError:
                    break
                digest.update(piece[:n])
                sent += n
            eq(sent < 256 << 20, True, "it was stopped")
            # Both directions end; the last bytes are still on their way then.
            a.shutdown(socket.SHUT_WR)
            b.shutdown(socket.SHUT_WR)
            a.settimeout(DEADLINE)
            eq(a.recv(1), b"")
            got, n = hashlib.sha256(), 0
            while data := b.recv(1 << 20):
                got.update(data)
                n += len(data)
            eq((n, got.digest() == digest.digest()), (sent, True))
            a.close()
            b.close()
        until(lambda: relay.said(": ended") == 2)


@test
def many_connections_at_once_do_not_mix():
    count, rng = 100, random.Random(1)
    with Listener() as t, Relay(t.name) as relay:
        pairs = [joined(relay, t) for _ in range(count)]
        want = [(b"", b"")] * count
        for _ in range(2000):
            i, way = rng.randrange(count), rng.randrange(2)
            data = rng.randbytes(rng.randrange(1, 2000))
            pairs[i][way].sendall(data)
            want[i] = tuple(w + data if k == way else w for k, w in enumerate(want[i]))
        for i, (a, b) in enumerate(pairs):
            a.shutdown(socket.SHUT_WR)
            b.shutdown(socket.SHUT_WR)
            eq((read_all(b) == want[i][0], read_all(a) == want[i][1]), (True, True), f"pair {i}")
            a.close()
            b.close()
        until(lambda: relay.said(": ended") == count)
        eq(len(os.listdir(f"/proc/{relay.proc.pid}/fd")) < 12, True, "descriptors are closed")


@test
def a_target_that_is_not_there_resets_clients_until_it_is():
    with Listener() as t:
        name = t.name
    with Relay(name) as relay:
        for _ in range(3):
            try:
                with connect(relay) as s:
                    eq(is_reset(s), True)
            except ConnectionResetError:
                pass    # as quick as that
        eq(relay.said("clients are turned away"), 1, "it is said once")
        back = Listener.__new__(Listener)
        back.s = socket.create_server(("127.0.0.1", int(name.split(":")[1])))
        back.s.settimeout(DEADLINE)
        with back:
            a, b = joined(relay, back)
            a.close()
            eq(b.recv(1), b"")
            b.close()


@test
def more_connections_than_allowed_wait():
    with Listener() as t, Relay(t.name, "--max-connections=2") as relay:
        one, two = joined(relay, t), joined(relay, t)
        three = connect(relay)
        three.sendall(b"?")
        eq(relay.said(": accepted"), 2)
        for s in one:
            s.close()
        b = t.accept()
        eq(b.recv(1), b"?")
        for s in (*two, three, b):
            s.close()


@test
def nvme_over_mptcp_to_a_target_without_it():
    if not has_mptcp():
        return
    with Running("--ns=mem:16M", "--mptcp=off") as target:
        host, port = target.addr
        with Relay(f"{host}:{port}", sides="listen") as relay, \
                Relay("%s:%d" % relay.addr, sides="connect") as plain:
            for where, mptcp, want in ((relay, "require", "mptcp"), (plain, "off", "tcp")):
                r = run_json("nvmf-perf", "--rw=randrw", "--verify", "--bsrange=4k-256k",
                             "--io-limit=400", "--runtime=20", "--queues=2",
                             "nvme+tcp://%s:%d/%s?mptcp=%s&hdr_digest=on&data_digest=on"
                             % (*where.addr, "nqn.2025-11.org.libnof:target/1", mptcp))
                eq({q["protocol"] for q in r["transport"]}, {want})
                eq(r["errors"], {"io": 0, "verify": 0, "other": 0, "first": ""})
                eq(r["verify"]["readback"], True)


@test
def command_lines():
    for args in ([], ["127.0.0.1:1"], ["--listen=127.0.0.1:0"], ["--listen=127.0.0.1:0", "a:1", "b:2"],
                 ["--mptcp=yes", "--listen=127.0.0.1:0", "127.0.0.1:1"], ["--listen"],
                 ["--max-connections=0", "--listen=127.0.0.1:0", "127.0.0.1:1"],
                 ["--ready-fd=77", "--listen=127.0.0.1:0", "127.0.0.1:1"]):
        run(RELAY, *args, rc=2)
    for args in (["--listen=127.0.0.1", "127.0.0.1:1"], ["--listen=::1:5", "127.0.0.1:1"],
                 ["--listen=192.0.2.1:1", "127.0.0.1:1"], ["--listen=127.0.0.1:0", "127.0.0.1"]):
        run(RELAY, *args, rc=1)


if __name__ == "__main__":
    raise SystemExit(main())
