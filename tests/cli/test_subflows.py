#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""MPTCP inside a path, ANA between paths. Three network namespaces: a host with three links,
controller A behind two of them (subflows of one connection), controller B behind the third.
Usage: test_subflows.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP; SKIP without privilege.

What it proves: one link of A cut is repaired below NVMe (no reset, no failover); both cut are
repaired by the path B (no error); both back, the load returns to A."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from clitest import DEADLINE, NQN, eq, has_mptcp, main, test, tool, until

TARGET = sys.argv[1]
KEYS = "mptcp=require&ctrl_loss_tmo=60&reconnect_delay=0.2&keep_alive_tmo=1&connect_timeout=1"


class Net:
    """The namespaces; gone with everything in them at the end."""

    def __init__(self):
        self.names = {k: f"nof-sub-{os.getpid()}-{k}" for k in ("host", "a", "b")}

    def ip(self, where, *args):
        subprocess.run(["ip", "-n", self.names[where], *args], check=True)

    def inside(self, where, *args):
        return ["ip", "netns", "exec", self.names[where], *args]

    def sysctl(self, where, *settings):
        subprocess.run(self.inside(where, "sysctl", "-q", "-w", *settings), check=True)

    def __enter__(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "add", name], check=True)
        for where in self.names:
            self.ip(where, "link", "set", "lo", "up")
            self.sysctl(where, "net.mptcp.enabled=1", "net.ipv4.conf.all.rp_filter=0",
                        "net.ipv4.conf.default.rp_filter=0")
            self.ip(where, "mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "2")
        for number, where in ((1, "a"), (2, "a"), (3, "b")):
            self.ip("host", "link", "add", f"l{number}", "type", "veth", "peer", "name",
                    f"l{number}", "netns", self.names[where])
            for side, last in (("host", 1), (where, 2)):
                self.ip(side, "addr", "add", f"10.79.{number}.{last}/24", "dev", f"l{number}")
                self.ip(side, "link", "set", f"l{number}", "up")
        # A tells its hosts of its second address: they make a subflow to it, so A listens on all.
        self.ip("a", "mptcp", "endpoint", "add", "10.79.2.2", "dev", "l2", "signal")
        return self

    def __exit__(self, *exc):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)

    def link(self, number, state):
        self.ip("host", "link", "set", f"l{number}", state)


class Controller:
    def __init__(self, net, where, folder, *args):
        self.path = os.path.join(folder, where)
        ready, write = os.pipe()
        self.proc = subprocess.Popen(
            net.inside(where, TARGET, f"--control={self.path}", f"--ready-fd={write}",
                       f"--ns=file:{folder}/disk,anagrp=1", *args),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[write])
        os.close(write)
        eq(bool(os.read(ready, 16)), True, f"target {where} started")
        os.close(ready)

    def control(self, line):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(self.path)
            s.sendall(line.encode() + b"\n")
            return s.makefile().readline()

    def stat(self, *names):
        stats = json.loads(self.control("stats"))
        return sum(stats[name] for name in names)

    def grows(self, by=500):
        """Waits until it has executed so many more reads and writes."""
        want = self.stat("reads", "writes") + by
        until(lambda: self.stat("reads", "writes") >= want)

    def end(self):
        self.proc.terminate()
        return self.proc.wait(DEADLINE)


def subflows(net):
    """TCP connections that the host has with A: one for each subflow of each queue."""
    out = subprocess.run(net.inside("host", "ss", "-Htn", "state", "established", "dport",
                                    "=", ":4420"), capture_output=True, check=True, text=True)
    return len(out.stdout.splitlines())


@test
def a_link_a_path_and_back():
    with Net() as net, tempfile.TemporaryDirectory(prefix="nof-sub-") as folder:
        with open(f"{folder}/disk", "wb") as f:
            f.truncate(64 << 20)
        a = Controller(net, "a", folder, "--listen=0.0.0.0:4420,ana=1:optimized")
        b = Controller(net, "b", folder, "--listen=10.79.3.2:4421,ana=1:non-optimized",
                       "--cntlid-min=1000")
        perf = subprocess.Popen(
            net.inside("host", tool("nvmf-perf"), "--json", "--rw=randrw", "--verify", "--bs=4k",
                       "--iodepth=16", "--size=32m", "--runtime=600",
                       f"nvme+tcp://10.79.1.2:4420/{NQN}?{KEYS}",
                       f"nvme+tcp://10.79.3.2:4421/{NQN}?{KEYS}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            a.grows()
            until(lambda: subflows(net) == 4)     # two queues, two subflows each
            # B may have been ready first: the beginning is not what counts.
            accepted, elsewhere = a.stat("accepted"), b.stat("reads", "writes")

            net.link(1, "down")
            a.grows()
            eq(a.stat("accepted"), accepted, "connections made after one link of two was cut")
            eq(b.stat("reads", "writes"), elsewhere, "I/O by the other path while A has a link")

            net.link(2, "down")
            b.grows()

            net.link(1, "up")
            net.link(2, "up")
            a.grows()

            perf.send_signal(signal.SIGINT)
            out, err = perf.communicate(timeout=DEADLINE)
        finally:
            if perf.poll() is None:
                perf.kill()
                perf.wait()
            ends = a.end(), b.end()
        eq(perf.returncode, 0, f"nvmf-perf: {err.decode()}")
        result = json.loads(out)
        paths = result["jobs"][0]["paths"]
        eq([p["errors"] > 0 for p in paths], [True, False], f"paths that lost commands: {paths}")
        eq((paths[0]["reconnects"], paths[1]["reconnects"]), (1, 0), "reconnects")
        eq(result["errors"], {"io": 0, "verify": 0, "other": 0, "first": ""})
        eq(result["verify"]["checked_bytes"] > 0, True, "data was checked")
        eq(result["submitted"], result["completed"])
        eq(ends, (0, 0), "how the targets ended")


def reason():
    if os.geteuid():
        return "network namespaces need root here"
    if not shutil.which("ip") or not shutil.which("ss"):
        return "no ip and ss here: install iproute2"
    if not has_mptcp():
        return "MPTCP is off or missing in this kernel"
    name = f"nof-sub-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


if __name__ == "__main__":
    why = reason()
    if why:
        print(f"1..0 # SKIP {why}")
        sys.exit(0)
    sys.exit(main())
