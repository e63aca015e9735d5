#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig itself: tbf shapes, drop is silent, loss loses the share asked for, and the namespaces go
on every way out. Usage: test_rig.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import os
import signal
import subprocess
import sys

from netrig import Net, RigError, unable
from pathtest import DEADLINE, eq, main, test, until

# Sends, inside a namespace, ARGV[3] datagrams to ARGV[1] and counts which come back.
PING = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
for i in range(int(sys.argv[3])):
    s.send(i.to_bytes(4, "little"))
"""
COUNT = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind(("::", 7))
print("ready", flush=True)
n, last, before = 0, -1, 0
while (got := s.recv(16)) != b"\\xff\\xff\\xff\\xff":
    n, number = n + 1, int.from_bytes(got, "little")
    before += number < last
    last = number
print(n, before, flush=True)
"""


def py(text, *args):
    return [sys.executable, "-SE", "-c", text, *(str(a) for a in args)]


def send(net, address, count):
    subprocess.run(net.host(py(PING, address, 7, count)), check=True)


def arrived(net, address, count):
    """How many of so many datagrams arrive by link 1, and how many of these after a later one;
    the end mark goes by link 2."""
    with subprocess.Popen(net.target(py(COUNT)), stdout=subprocess.PIPE, text=True) as sink:
        eq(sink.stdout.readline(), "ready\n")
        send(net, address, count)
        subprocess.run(net.host(py(
            "import socket, sys; socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else 2, 2)"
            ".sendto(b'\\xff' * 4, (sys.argv[1], 7))", net.addr("target", 2))), check=True)
        return [int(word) for word in sink.stdout.readline().split()]


def received(net, address, count):
    return arrived(net, address, count)[0]


def answers(net, source, address, timeout=5):
    """Whether an address can be reached from another one: a closed port refuses."""
    code = ("import socket, sys\ns = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else 2)\n"
            "s.settimeout(float(sys.argv[3]))\ns.bind((sys.argv[1], 0))\n"
            "try: s.connect((sys.argv[2], 8))\n"
            "except ConnectionRefusedError: sys.exit(3)\n"
            "except OSError: pass\n")
    return subprocess.run(net.host(py(code, source, address, timeout)),
                          check=False).returncode == 3


@test
def every_link_carries_both_families_and_nothing_else():
    with Net(paths=4, nat=(4,)) as net:
        for n in net.links:
            for v6 in (False, True):
                eq(answers(net, net.addr("host", n, v6), net.addr("target", n, v6)), True,
                   f"link {n}, IPv6 {v6}")
        # From the address of link 3 to that of link 1: by link 3, there and back.
        counts = [net.ip("host", "-s", "link", "show", "l1").split()]
        eq(answers(net, net.addr("host", 3), net.addr("target", 1)), True)
        counts.append(net.ip("host", "-s", "link", "show", "l1").split())
        eq(counts[0], counts[1], "counters of link 1")


@test
def tbf_shapes_each_link():
    with Net(paths=3, rate=["10mbit", "100mbit", None]) as net:
        for n, rate in ((1, "10Mbit"), (2, "100Mbit"), (3, None)):
            for side in ("host", "target"):
                shown = subprocess.run(["tc", "-n", net.name[side], "qdisc", "show", "dev",
                                        f"l{n}"], capture_output=True, text=True, check=True)
                eq(f"rate {rate}" in shown.stdout if rate else "tbf" not in shown.stdout, True,
                   shown.stdout)
        # 300 kB cannot pass at once: the bucket holds 64 KiB.
        flood = ("import socket, sys\ns = socket.socket(2, 2)\n"
                 "for i in range(300): s.sendto(bytes(1000), ('10.80.1.2', 9))\n")
        subprocess.run(net.host(py(flood)), check=True)
        out = subprocess.run(["tc", "-s", "-n", net.name["host"], "qdisc", "show", "dev", "l1"],
                             capture_output=True, text=True, check=True).stdout.split()
        eq(int(out[out.index("overlimits") + 1]) > 0, True, " ".join(out))


@test
def a_drop_is_silent():
    with Net() as net:
        eq(received(net, net.addr("target", 1), 100), 100)
        net.drop(1)
        net.drop(1)                                     # the same once more is no error
        # The sender sees no error and no carrier change, the receiver nothing.
        eq(received(net, net.addr("target", 1), 100), 0)
        eq("LOWER_UP" in net.ip("host", "link", "show", "l1"), True, "carrier")
        eq(net.dropped(1)["target"] >= 100, True, f"counted: {net.dropped(1)}")
        net.undrop(1)
        eq(received(net, net.addr("target", 1), 100), 100)


@test
def loss_is_the_share_asked_for():
    with Net() as net:
        # Counted: 3 of 100, evenly. Neighbour discovery may take a turn or two.
        net.loss(1, 3, even=True)
        got = received(net, net.addr("target", 1), 2000)
        eq(1938 <= got <= 1942, True, f"{got} of 2000 with 3 % lost")
        # Random: 10 % of 5000 is 500, and twelve standard deviations are 250.
        net.loss(1, 10, direction="up")
        got = received(net, net.addr("target", 1), 5000)
        eq(4250 <= got <= 4750, True, f"{got} of 5000 with 10 % lost")
        eq(net.dropped(1, "loss")["target"], 5000 - got, "what nft counted")
        net.loss(1, 0)
        eq(received(net, net.addr("target", 1), 100), 100)


@test
def down_and_up_keeps_addresses_and_routes():
    with Net() as net:
        for side in ("host", "target"):
            net.down(2, side)
            until(lambda: "LOWER_UP" not in net.ip("host", "link", "show", "l2"))
            net.up(2, side)
            for v6 in (False, True):
                until(lambda v6=v6: answers(net, net.addr("host", 2, v6),
                                            net.addr("target", 1, v6), 1))


@test
def endpoints_and_limits():
    with Net(paths=3, limits=(3, 2)) as net:
        eq(net.ip("host", "mptcp", "limits").split(), "add_addr_accepted 2 subflows 3".split())
        shown = net.ip("target", "mptcp", "endpoint", "show")
        eq([line.split()[0] for line in shown.splitlines()], ["10.80.2.2", "10.80.3.2"])
        net.endpoint_del("target", "10.80.2.2")
        net.endpoint_add("host", net.addr("host", 2), "subflow", "backup", dev="l2")
        eq("10.80.2.2" in net.ip("target", "mptcp", "endpoint", "show"), False)
        eq("backup" in net.ip("host", "mptcp", "endpoint", "show"), True)
        try:
            net.endpoint_del("target", "10.80.2.2")
        except RigError:
            return
        raise AssertionError("an endpoint that is not there was deleted")


@test
def an_emulated_link_delays_and_loses():
    with Net(emu=[{"delay": "3ms", "jitter": "2ms", "loss_up": 10, "seed": 3},
                  {"delay": "200ms"}]) as net:
        eq(answers(net, net.addr("host", 1, True), net.addr("target", 1, True)), True, "IPv6")
        got, late = arrived(net, net.addr("target", 1), 3000)
        net.drop(1)                                     # works here as well
        eq(received(net, net.addr("target", 1), 100), 0)
        stats = net.emu_stats()
        eq(late, 0, "packets that were overtaken")
        eq(2500 <= got <= 2850, True, f"{got} of 3000 with 10 % lost")
        eq(stats[1]["up.lost_random"] - (3000 - got) in range(0, 60), True, f"{got}, {stats[1]}")
        eq([stats[n][f"{d}.lost_{why}"] for n in (1, 2) for d in ("up", "down")
            for why in ("pool", "queue", "burst")], [0] * 12, f"{stats}")
        eq(stats[1]["down.lost_random"], 0, "loss that was for the other direction")
        eq(stats[1]["up.most_held"] > 1, True, "packets under way together")
        eq(net.emu_stats(), {}, "what has ended")


@test
def an_emulated_link_reorders_where_it_may():
    with Net(emu=[{"delay": "3ms", "jitter": "2ms", "reorder": True}, {"delay": "200ms"}]) as net:
        got, late = arrived(net, net.addr("target", 1), 1000)
        eq(got, 1000)
        eq(late > 10, True, f"{late} overtaken")


def names(pid):
    out = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in out.stdout.splitlines() if line.startswith(f"nof-{pid}-")]


def inside(pid):
    return subprocess.run(["ip", "netns", "pids", f"nof-{pid}-1-h"], text=True,
                          capture_output=True, check=True).stdout.split()


def lives(pid):
    """Whoever inherits an orphan may take its time to reap it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return bool(f.read())
    except OSError:
        return False


@test
def namespaces_go_on_every_way_out():
    # A shell's background jobs ignore SIGINT, and so would what they start.
    code = ("import signal, subprocess, sys\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
            "sys.path.insert(0, %r)\nfrom netrig import Net\n"
            "with Net() as net:\n"
            "    subprocess.Popen(net.host(['sleep', '1000']))\n"
            "    print('up', flush=True)\n    sys.stdin.read()\n    raise ValueError\n"
            % os.path.dirname(os.path.abspath(__file__)))
    for kind in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, None):
        with subprocess.Popen(py(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as p:
            try:
                eq(p.stdout.readline(), "up\n", "the rig was made")
                eq(len(names(p.pid)), 2, "namespaces of the rig")
                until(lambda p=p: len(inside(p.pid)) == 1)
                pids = inside(p.pid)
                if kind:
                    p.send_signal(kind)
                else:
                    p.stdin.close()
                p.wait(DEADLINE)
                until(lambda p=p: not names(p.pid))
                until(lambda pid=pids[0]: not lives(pid))
            finally:
                p.kill()


if __name__ == "__main__":
    why = unable()
    if why:
        print(f"1..0 # SKIP {why}")
        sys.exit(0)
    sys.exit(main())
