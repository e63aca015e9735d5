#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""MPTCP that does not get through: middleboxes that drop or strip it, machines that lack or forbid
it. Each way ends in TCP with verified data and a reason that names the suspect, or with
mptcp=require in an error that does. Usage: test_fallback.py PATH/nvmf-target TOOLS_FOLDER."""
import ctypes
import errno
import functools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys

from netrig import Net, unable
from pathtest import DEADLINE, NQN, eq, main, test, tool, until

TARGET = sys.argv[1]
ENGINES = ("epoll", "io_uring")
net = None          # one rig for all cases: each leaves it without a filter


def filtered(side, match, verdict):
    """From now on packets that arrive there and match lose MPTCP's option, or are dropped."""
    net.nft(side, "table inet box\ndelete table inet box\ntable inet box {\n chain c {\n  type "
            f"filter hook prerouting priority -300;\n  {match} tcp option mptcp exists counter "
            f"{verdict}\n }}\n}}\n")


def free(side):
    net.nft(side, "table inet box\ndelete table inet box\n")


DROP, STRIP = "drop", "reset tcp option mptcp"
SYN = "tcp flags & (syn | ack) == syn"
SYNACK = "tcp flags & (syn | ack) == syn | ack"
ACK = "tcp flags & (syn | ack) == ack"


class Target:
    def __init__(self, *args, port=4420, before=(), words=()):
        ready, write = os.pipe()
        self.proc = subprocess.Popen(
            net.target([*before, TARGET, f"--listen=10.80.1.2:{port}", "--ns=mem:16M",
                        f"--ready-fd={write}", *args]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[write])
        os.close(write)
        eq(bool(os.read(ready, 16)), True, "the target started")
        os.close(ready)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.proc.terminate()
        rc = self.proc.wait(DEADLINE)
        free("host")
        free("target")
        if kind is None:
            eq(rc, 0, "how the target ended")


def uri(keys, port=4420, address="10.80.1.2"):
    return f"nvme+tcp://{address}:{port}/{NQN}?{keys}"


def perf_command(where, *args, before=()):
    return net.host([*before, tool("nvmf-perf"), "--json", "--rw=randrw", "--verify", "--bs=4k",
                     "--iodepth=8", "--queues=2", "--size=4m", *args, where])


def checked(result):
    """The transports of the queues of an nvmf-perf run whose data was right."""
    eq(result["errors"], {"io": 0, "verify": 0, "other": 0, "first": ""})
    eq(result["verify"]["checked_bytes"] > 0, True, "data was checked")
    eq(result["submitted"], result["completed"])
    return [(q["is_mptcp"], q["reason"]) for q in result["transport"]]


def perf(where, before=(), **kw):
    p = subprocess.run(perf_command(where, "--io-limit=2000", before=before), timeout=DEADLINE,
                       stdin=subprocess.DEVNULL, capture_output=True, check=False, **kw)
    eq(p.returncode, 0, p.stderr.decode())
    return checked(json.loads(p.stdout))


def is_tcp(queues, *words):
    for is_mptcp, reason in queues:
        eq(is_mptcp, False, "MPTCP")
        for word in words:
            eq(word in reason, True, f"{word!r} in the reason {reason!r}")


def is_mptcp(queues):
    eq(queues, [(True, "")] * 2)


def refused(where, *words, **kw):
    """The error of a connection that must not come to be."""
    p = subprocess.run(net.host([tool("nvmf-info"), where]), stdin=subprocess.DEVNULL, text=True,
                       capture_output=True, timeout=DEADLINE, check=False, **kw)
    eq((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
    for word in ("mptcp=require",) + words:
        eq(word in p.stderr, True, f"{word!r} in {p.stderr!r}")


def counters(side, *names):
    out = subprocess.run(net.inside(side, ["cat", "/proc/net/netstat"]), capture_output=True,
                         check=True, text=True).stdout.splitlines()
    name, value = (line.split() for line in out if line.startswith("MPTcpExt:"))
    both = dict(zip(name, value))
    return [int(both[n]) for n in names]


def both_engines(fn):
    """The case with each, and a target of its own each time."""
    for engine in ENGINES:
        @functools.wraps(fn)
        def case(engine=engine):
            fn(f"engine={engine}")
        case.__name__ = f"{fn.__name__}_{engine}"
        test(case)
    return fn


@both_engines
def syns_dropped(engine):
    with Target(), Target(port=4421):
        filtered("target", f"tcp dport 4420 {SYN}", DROP)
        # The admin queue finds out, the others know.
        is_tcp(perf(uri(engine)), "earlier SYNs", "firewall", "option 30", "tried again in")
        # The kernel was never led to give MPTCP up everywhere.
        is_mptcp(perf(uri(engine, 4421)))
        eq(counters("host", "MPCapableSYNTXDrop", "MPCapableSYNTXDisabled"), [0, 0])


@both_engines
def syns_dropped_and_little_time(engine):
    """connect_timeout below the time at which the kernel itself would use TCP."""
    with Target():
        filtered("target", SYN, DROP)
        is_tcp(perf(uri(f"{engine}&connect_timeout=0.5")), "firewall", "option 30")
        refused(uri(f"{engine}&connect_timeout=0.5&mptcp=require"), "no answer", "plain TCP did",
                "firewall")


@both_engines
def syns_dropped_and_mptcp_required(engine):
    with Target():
        filtered("target", SYN, DROP)
        refused(uri(f"{engine}&mptcp=require"), "got no answer, plain TCP did", "firewall",
                "option 30")


@both_engines
def nobody_answers(engine):
    """Neither MPTCP nor TCP: that is no middlebox's doing."""
    with Target():
        net.nft("target", "table inet box {\n chain c {\n  type filter hook prerouting priority "
                "-300;\n  tcp dport 4420 drop\n }\n}\n")
        p = subprocess.run(net.host([tool("nvmf-info"), uri(f"{engine}&connect_timeout=0.4")]),
                           capture_output=True, text=True, timeout=DEADLINE, check=False)
        eq(("no connection within 400 ms" in p.stderr, "MPTCP" in p.stderr), (True, False),
           p.stderr)


@test
def a_kernel_that_holds_mptcp_back():
    """What another program has brought about: said as such, not as the target's fault."""
    net.sysctl("host", "net.mptcp.syn_retrans_before_tcp_fallback=1",
               "net.mptcp.blackhole_timeout=3600")
    with Target():
        filtered("target", SYN, DROP)
        subprocess.run(net.host([sys.executable, "-SE", "-c", "import socket; socket.socket("
                                 "2, 1, 262).connect(('10.80.1.2', 4420))"]), check=True,
                       timeout=DEADLINE)
        # The SYN has to be under way when connect() returns: the first one is lost.
        net.nft("target", "table inet box\ndelete table inet box\ntable inet box {\n chain c {\n"
                "  type filter hook prerouting priority -300;\n  tcp flags & (syn | ack) == syn "
                "numgen inc mod 2 == 0 drop\n }\n}\n")
        refused(uri("mptcp=require"), "blackhole_timeout=0")
    net.sysctl("host", "net.mptcp.blackhole_timeout=0",
               "net.mptcp.syn_retrans_before_tcp_fallback=2")
    with Target():
        is_mptcp(perf(uri("")))


def stripped(side, match, engine, *words):
    with Target():
        filtered(side, match, STRIP)
        is_tcp(perf(uri(engine)), *words)
        refused(uri(f"{engine}&mptcp=require"), *words)


@both_engines
def stripped_from_the_syn(engine):
    stripped("target", SYN, engine, "middlebox", "did not take up MPTCP")


@both_engines
def stripped_from_the_syn_ack(engine):
    stripped("host", SYNACK, engine, "middlebox", "did not take up MPTCP")


@both_engines
def stripped_behind_the_syn_to_the_target(engine):
    stripped("target", ACK, engine, "middlebox", "first data", "option 30")


@both_engines
def stripped_behind_the_syn_to_the_host(engine):
    stripped("host", ACK, engine, "middlebox", "first data", "option 30")


def in_flight(engine, begin, *words):
    """What begin does to connections under load costs a reconnect and no error."""
    with Target() as t:
        p = subprocess.Popen(
            perf_command(uri(f"{engine}&ctrl_loss_tmo=60&reconnect_delay=0.1&keep_alive_tmo=0.4"),
                         "--runtime=600"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            until(lambda: net.subflows() == 3 or p.poll() is not None)
            old = connections()
            begin()
            # The old connections are given up, the new ones are TCP.
            until(lambda: p.poll() is not None or
                  (mptcp_sockets() == 0 and len(connections() - old) == 3))
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=DEADLINE)
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
        eq((p.returncode, t.proc.poll()), (0, None), err.decode())
        result = json.loads(out)
        is_tcp(checked(result), *words)
        eq(result["jobs"][0]["paths"][0]["reconnects"] >= 1, True, "reconnected")


def connections():
    """The host's ends of those to the target: one that falls back keeps its own."""
    out = subprocess.run(net.host(["ss", "-Htn", "state", "established", "dport", "=", ":4420"]),
                         check=True, text=True, capture_output=True).stdout
    return {line.split()[2] for line in out.splitlines()}


def mptcp_sockets():
    out = subprocess.run(net.host(["ss", "-HtniM", "state", "established"]), check=True, text=True,
                         capture_output=True).stdout
    return out.count("remote-key") + out.count("token:")


@both_engines
def stripped_in_mid_connection_to_the_target(engine):
    in_flight(engine, lambda: filtered("target", "", STRIP), "middlebox", "option 30")


@both_engines
def stripped_in_mid_connection_to_the_host(engine):
    in_flight(engine, lambda: filtered("host", "", STRIP), "middlebox", "option 30")


@test
def the_only_subflow_reset_in_mid_connection():
    """The kernel tells no error then; it is noticed long before a command times out."""
    with Target():
        p = subprocess.Popen(
            perf_command(uri("mptcp=require&ctrl_loss_tmo=60&reconnect_delay=0.1&"
                             "keep_alive_tmo=1&io_timeout=60"), "--runtime=600"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            until(lambda: net.subflows() == 3 or p.poll() is not None)
            net.nft("target", "table inet box {\n chain c {\n  type filter hook input priority 0;\n"
                    "  tcp dport 4420 tcp flags & syn != syn reject with tcp reset\n }\n}\n")
            until(lambda: net.subflows() < 3 or p.poll() is not None)
            free("target")
            until(lambda: net.subflows() == 3 or p.poll() is not None)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=DEADLINE)
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
        eq(p.returncode, 0, err.decode())
        is_mptcp(checked(json.loads(out)))


def altered(side, engine):
    """One byte of one packet, as a helpful NAT does. MPTCP's checksum finds it, but with one
    subflow the kernel hands the data up all the same: it is NVMe's digests that keep it out."""
    for end in ("host", "target"):
        net.sysctl(end, "net.mptcp.checksum_enabled=1")
    in_flight(f"{engine}&data_digest=on&hdr_digest=on", lambda: net.nft(
        side, "table inet box\ndelete table inet box\ntable inet box {\n chain c {\n  type filter "
        "hook prerouting priority -300;\n  tcp option mptcp exists meta length > 1000 "
        "numgen inc mod 1000 == 100 @th,4000,8 set 0x55\n }\n}\n"), "middlebox", "option 30")
    for end in ("host", "target"):
        net.sysctl(end, "net.mptcp.checksum_enabled=0")


@both_engines
def altered_in_mid_connection_to_the_target(engine):
    altered("target", engine)


@both_engines
def altered_in_mid_connection_to_the_host(engine):
    altered("host", engine)


@both_engines
def switched_off_on_the_host(engine):
    net.sysctl("host", "net.mptcp.enabled=0")
    with Target():
        is_tcp(perf(uri(engine)), "sysctl net.mptcp.enabled=1")
        refused(uri(f"{engine}&mptcp=require"), "sysctl net.mptcp.enabled=1")
    net.sysctl("host", "net.mptcp.enabled=1")


@both_engines
def a_target_of_plain_tcp(engine):
    with Target("--mptcp=off"):
        is_tcp(perf(uri(engine)), "plain TCP")
        refused(uri(f"{engine}&mptcp=require"), "mptcpize run")


@test
def no_path_manager():
    """A path manager that does nothing is no reason for TCP."""
    net.sysctl("host", "net.mptcp.pm_type=1")
    with Target():
        is_mptcp(perf(uri("")))
    net.sysctl("host", "net.mptcp.pm_type=0")


def forbid(code):
    """Run in the child: from here on socket(…, IPPROTO_MPTCP) fails with code."""
    def instruction(op, jt, jf, k):
        return struct.pack("HBBI", op, jt, jf, k)

    socket_number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
    program = b"".join((
        instruction(0x20, 0, 0, 0),                        # the call's number
        instruction(0x15, 0, 3, socket_number),
        instruction(0x20, 0, 0, 16 + 2 * 8),               # its third argument
        instruction(0x15, 0, 1, 262),
        instruction(0x06, 0, 0, 0x00050000 | code),        # SECCOMP_RET_ERRNO
        instruction(0x06, 0, 0, 0x7fff0000)))              # SECCOMP_RET_ALLOW
    code_bytes = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8,
                                                    ctypes.addressof(code_bytes)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog):
        os._exit(126)


def forbidden(engine, code, *words):
    if os.uname().machine not in ("x86_64", "aarch64"):
        return
    with Target():
        is_tcp(perf(uri(engine), preexec_fn=lambda: forbid(code)), *words)
        refused(uri(f"{engine}&mptcp=require"), *words, preexec_fn=lambda: forbid(code))


@both_engines
def forbidden_by_a_filter(engine):
    forbidden(engine, errno.EPERM, "seccomp")


@both_engines
def a_kernel_without_mptcp(engine):
    forbidden(engine, errno.EPROTONOSUPPORT, "CONFIG_MPTCP")
    forbidden(engine, errno.EINVAL, "CONFIG_MPTCP")


@test
def a_target_under_mptcpize():
    with Target("--mptcp=off", before=("mptcpize", "run")):
        is_mptcp(perf(uri("mptcp=require")))


@both_engines
def a_host_under_mptcpize(engine):
    with Target():
        is_mptcp(perf(uri(engine), before=("mptcpize", "run")))
        # It makes plain TCP sockets MPTCP, and what is shown is what is.
        is_mptcp(perf(uri(f"{engine}&mptcp=off"), before=("mptcpize", "run")))


def reason_to_skip():
    why = unable()
    if why is None and not shutil.which("mptcpize"):
        why = "no mptcpize here: install mptcpize"
    return why


if __name__ == "__main__":
    skip = reason_to_skip()
    if skip:
        print(f"1..0 # SKIP {skip}")
        sys.exit(0)
    with Net(paths=1) as net:
        net.sysctl("host", "net.mptcp.blackhole_timeout=0")
        sys.exit(main())
