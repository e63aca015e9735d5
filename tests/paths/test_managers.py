#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verified I/O where not the kernel but somebody else decides about subflows: a path manager in
user space, by netlink, and mptcpd, which drives that of the kernel.
Usage: test_managers.py PATH/nvmf-target TOOLS_FOLDER [WORD…]. Output is TAP."""
import contextlib
import glob
import os
import re
import subprocess
import sys
import tempfile

from netrig import Net
from pathtest import DEADLINE, ENGINES, Load, Skip, case, eq, run_cases

BUSY = {"depth": 16, "bs": "16k"}
USERPM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "userpm.py")
# Not installed by scripts/deps.sh: its package starts a service that changes the machine's own
# MPTCP configuration. Unpacked, it is only a program.
MPTCPD_PACKAGES = ("mptcpd", "mptcpd-plugins", "libmptcpd3", "libell0")


def connections(net, side="host"):
    """[(token, local port)] of the MPTCP connections to the target, or of it to the host."""
    shown = subprocess.run(net.inside(side, ["ss", "-HMin", "state", "established"]), check=True,
                           capture_output=True, text=True).stdout
    return [(token, int(port)) for port, token in
            re.findall(r":(\d+)\s+\S+\s*\n.*token:([0-9a-f]+)", shown)]


def userpm(net, *words):
    subprocess.run(net.host([sys.executable, "-SE", USERPM, *(str(w) for w in words)]), check=True)


@case(engine=ENGINES)
def the_manager_in_user_space_makes_and_ends_subflows(engine):
    with Net(rate="50mbit") as net:
        net.sysctl("host", "net.mptcp.pm_type=1")
        with Load(net, f"mptcp=require&engine={engine}", **BUSY) as load:
            # The target announces its second address, and nobody here cares.
            load.carries(1)
            load.has_subflows(1)
            tokens = connections(net)
            eq(len(tokens), load.connections, f"connections: {tokens}")
            with load.unbroken():
                for token, _ in tokens:
                    userpm(net, "create", token, net.addr("host", 2), 2, net.addr("target", 2),
                           4420)
                load.has_subflows(2)
                load.carries(1, 2)
                net.drop(1)
                load.carries(2)
                net.undrop(1)
                for token, port in tokens:
                    userpm(net, "destroy", token, net.addr("host", 1), port,
                           net.addr("target", 1), 4420)
                load.has_subflows(1)
                load.carries(2)


@case
def the_manager_in_user_space_announces_an_address():
    with Net(rate="50mbit", endpoints=None) as net:
        net.sysctl("host", "net.mptcp.pm_type=1")
        with Load(net, **BUSY) as load:
            load.has_subflows(1)
            load.carries(1)
            # The target's kernel could join only where somebody listens: it does not, and
            # nothing breaks.
            with load.unbroken():
                for token, _ in connections(net):
                    userpm(net, "announce", token, net.addr("host", 2), 2)
                load.until(lambda: net.counters("target")["AddAddr"] == load.connections)
                load.carries(1)


@contextlib.contextmanager
def mptcpd():
    """(argv, environment) of the installed program, or of one unpacked for now."""
    if os.path.exists("/usr/libexec/mptcpd"):
        yield ["/usr/libexec/mptcpd"], None
        return
    with tempfile.TemporaryDirectory(prefix="nof-mptcpd-") as folder:
        for argv in (["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download",
                      *MPTCPD_PACKAGES],
                     *(["dpkg-deb", "-x", f"{name}_*.deb", "."] for name in MPTCPD_PACKAGES)):
            argv = [file for word in argv
                    for file in (glob.glob(os.path.join(folder, word)) if "*" in word else [word])]
            try:
                p = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, timeout=DEADLINE,
                                   capture_output=True, text=True, check=False)
            except (OSError, subprocess.TimeoutExpired) as e:
                raise Skip(f"mptcpd is not installed here and apt cannot fetch it: {e}") from e
            if p.returncode:
                raise Skip("mptcpd is not installed here and apt cannot fetch it: "
                           + " ".join(p.stderr.split())[:200])
        libraries, = glob.glob(f"{folder}/usr/lib/*-linux-gnu*")
        yield [f"{folder}/usr/libexec/mptcpd", f"--plugin-dir={libraries}/mptcpd"], \
            {**os.environ, "LD_LIBRARY_PATH": libraries}


@case
def mptcpd_brings_the_second_path():
    with mptcpd() as (argv, env), Net(rate="50mbit", endpoints=None) as net:
        daemon = subprocess.Popen(
            net.host([*argv, "--log=stderr", "--addr-flags=subflow", "--load-plugins=addr_adv",
                      "--path-manager=addr_adv",
                      "--notify-flags=existing,skip_link_local,skip_loopback"]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
        try:
            with Load(net, **BUSY) as load:
                load.has_subflows(2)
                load.carries(1, 2)
                with load.unbroken():
                    # It follows the interface's addresses.
                    net.ip("host", "addr", "del", f"{net.addr('host', 2)}/24", "dev", "l2")
                    load.has_subflows(1)
                    load.carries(1)
                    net.ip("host", "addr", "add", f"{net.addr('host', 2)}/24", "dev", "l2")
                    load.has_subflows(2)
                    load.carries(1, 2)
            eq(daemon.poll(), None, "mptcpd runs")
        finally:
            daemon.terminate()
            _, err = daemon.communicate()
            if sys.exc_info()[0]:
                print("# mptcpd: " + err.decode().replace("\n", "\n# "))


if __name__ == "__main__":
    sys.exit(run_cases())
