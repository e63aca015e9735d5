# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the command-line tools share. Arguments of a test program:
PATH/nvmf-target and the folder of the other tools."""
import json
import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from taptest import Running, eq, main, test  # noqa: E402,F401

TOOLS = sys.argv[2]
NQN = "nqn.2025-11.org.libnof:target"
DEADLINE = 30


def has_mptcp():
    try:
        with open("/proc/sys/net/mptcp/enabled") as f:
            return f.read().strip() == "1"
    except OSError:
        return False


# Keys of a URI: every case runs with each. Without MPTCP in the kernel, the second is TCP too.
VARIANTS = ("mptcp=off&engine=epoll", "mptcp=require" if has_mptcp() else "mptcp=prefer")


def tool(name):
    return os.path.join(TOOLS, name)


def uri(target, ns="", variant="", nqn=NQN):
    host, port = target.addr
    return f"nvme+tcp://{host}:{port}/{nqn}" + (f"/{ns}" if ns else "") + \
        (f"?{variant}" if variant else "")


def run(name, *args, rc=0, **kw):
    """The finished process; output is bytes, stderr text. Its exit status must be rc."""
    p = subprocess.run([tool(name), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=DEADLINE, stdin=None if "input" in kw else subprocess.DEVNULL, **kw)
    p.stderr = p.stderr.decode()
    eq((p.returncode, p.stderr if rc == 0 else ""), (rc, ""), f"{name} {args}: {p.stderr}")
    if rc and rc != 3:
        eq(p.stderr.count("\n"), 1, f"lines on stderr: {p.stderr}")
    return p


def fails(name, *args, **kw):
    """The one sentence of a failure, with standard input and output as they are given."""
    p = subprocess.run([tool(name), *args], stderr=subprocess.PIPE, timeout=DEADLINE, **kw)
    err = p.stderr.decode()
    eq((p.returncode, err.count("\n")), (1, 1), f"{name} {args}: {err}")
    return err


def run_json(name, *args, **kw):
    return json.loads(run(name, "--json", *args, **kw).stdout)


def wants(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError(f"no {part!r} in {text!r}")


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        eq(time.monotonic() < deadline, True, "in time")
        time.sleep(0.002)


class Folder(tempfile.TemporaryDirectory):
    def __enter__(self):
        super().__enter__()
        return self

    def path(self, name):
        return os.path.join(self.name, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()
