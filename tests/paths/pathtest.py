# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests over several paths share: cases that run side by side, and a verified load between
the two ends of a rig. Arguments of a test program: PATH/nvmf-target and the folder of the other
tools; then, to try some cases alone, words that their names contain.

    @case
    def a_link_is_cut():
        with Net(rate="50mbit") as net, Load(net) as load:
            load.grows()                    # the target has executed more reads and writes
            with load.unbroken():           # nothing reconnects, nothing fails inside
                net.drop(2)
                load.grows()
                load.carries(1)             # link 1 brings data
At the end of the with block the load ends, and must be without an error."""
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from clitest import DEADLINE, NQN, TOOLS, eq, main, test, tool, until  # noqa: E402,F401
from netrig import unable  # noqa: E402

ENGINES = ("io_uring", "epoll")
# How a link breaks, and how it is repaired.
CUTS = {
    "down": (lambda net, n: net.down(n), lambda net, n: net.up(n)),
    # As with a pulled cable: the host's interface loses its carrier.
    "carrier": (lambda net, n: net.down(n, "target"), lambda net, n: net.up(n, "target")),
    "drop": (lambda net, n: net.drop(n), lambda net, n: net.undrop(n)),
}
_cases = []


class Skip(Exception):
    """The case cannot run here; the text says why."""


def case(fn=None, **each):
    """A case; with @case(key=values), one case for each of the values."""
    if fn is None:
        (key, values), = each.items()

        def spread(inner):
            for value in values:
                _cases.append((f"{inner.__name__} {value}", lambda v=value: inner(**{key: v})))
            return inner
        return spread
    _cases.append((fn.__name__, fn))
    return fn


def run_cases(workers=4, emu=False):
    """All cases, several at a time: each has namespaces of its own, and mostly waits."""
    why = unable(emu)
    if why:
        print(f"1..0 # SKIP {why}")
        return 0
    chosen = [(name.replace("_", " "), fn) for name, fn in _cases
              if all(word in name for word in sys.argv[3:])]
    print(f"1..{len(chosen)}", flush=True)
    lock = threading.Lock()
    count = failed = 0

    def one(name, fn):
        nonlocal count, failed
        start, text, tail = time.monotonic(), "", ""
        try:
            fn()
        except Skip as e:
            tail = f" # SKIP {e}"
        except Exception:       # whatever it is, the other cases go on
            text = traceback.format_exc()
        with lock:
            count += 1
            failed += bool(text)
            if text:
                print("# " + text.replace("\n", "\n# "))
            tail = tail or f" # {time.monotonic() - start:.1f} s"
            print(f"{'not ' if text else ''}ok {count} - {name}{tail}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for name, fn in chosen:
            pool.submit(one, name, fn)
    return 1 if failed else 0


class Target:
    """nvmf-target in the target's namespace; listens on all addresses of both families."""

    def __init__(self, net, *args, listen=("0.0.0.0:4420", "[::]:4420"), ns="mem:16m"):
        self.dir = tempfile.TemporaryDirectory(prefix="nof-paths-")
        self.path = os.path.join(self.dir.name, "control")
        ready, write = os.pipe()
        self.err = tempfile.TemporaryFile(dir=self.dir.name)
        self.proc = subprocess.Popen(
            net.target([sys.argv[1], f"--control={self.path}", f"--ready-fd={write}", f"--ns={ns}",
                        *(f"--listen={addr}" for addr in listen), *args]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.err, pass_fds=[write])
        os.close(write)
        started = os.read(ready, 16)
        os.close(ready)
        if not started:
            self.end()
            raise AssertionError("nvmf-target has not started: " + self.errors())

    def control(self, line):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(self.path)
            s.sendall(line.encode() + b"\n")
            return s.makefile().readline()

    def stats(self):
        return json.loads(self.control("stats"))

    def answers_on(self, by=100000):
        """How many I/O queues have sent the host that many bytes."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(self.path)
            s.sendall(b"conns\n")
            s.shutdown(socket.SHUT_WR)
            shown = s.makefile().read()
        conns = re.findall(r"qid=(-?\d+) .* tx=(\d+)", shown)
        return sum(int(qid) > 0 and int(sent) >= by for qid, sent in conns)

    def ios(self):
        stats = self.stats()
        return stats["reads"] + stats["writes"]

    def errors(self):
        self.err.seek(0)
        return self.err.read().decode()

    def end(self):
        self.proc.terminate()
        return self.proc.wait(DEADLINE)


class Load:
    """A target, and nvmf-perf that writes, reads and compares until the end of the block."""

    def __init__(self, net, keys="mptcp=require", args=(), target=(), depth=16, bs="4k", queues=1,
                 addr=None, clean=True, probes=False, listen=("0.0.0.0:4420", "[::]:4420")):
        """clean: at the end nothing may have reconnected. probes: mptcp_paths is on, and tries
        a path that has failed by connections of its own, which the target counts."""
        self.net, self.target_args, self.clean, self.listen = net, target, clean, listen
        self.probes = probes
        addr = addr or net.addr("target", 1)
        host = f"[{addr}]" if ":" in addr else addr
        self.argv = [tool("nvmf-perf"), "--json", "--rw=randrw", "--verify", f"--bs={bs}",
                     f"--iodepth={depth}", f"--queues={queues}", "--size=1m", "--rwmixread=50",
                     "--runtime=600",
                     *args, f"nvme+tcp://{host}:4420/{NQN}?keep_alive_tmo=5&{keys}"]
        self.connections = queues + 1
        self.result = None

    def __enter__(self):
        self.target = Target(self.net, *self.target_args, listen=self.listen)
        self.perf = subprocess.Popen(self.net.host(self.argv), stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None and self.result is None:
                self.end()
        except BaseException:
            print("# " + str(self.target.stats()))
            raise
        finally:
            if self.perf.poll() is None:
                self.perf.kill()
                _, err = self.perf.communicate()
                print("# nvmf-perf: " + err.decode().replace("\n", "\n# "))
            rc, errors = self.target.end(), self.target.errors()
            self.target.err.close()
            self.target.dir.cleanup()
        if kind is None:
            eq((rc, errors), (0, ""), "exit status and stderr of nvmf-target")

    def lives(self):
        if self.perf.poll() is not None:
            raise AssertionError(f"nvmf-perf has ended: {self.perf.stderr.read().decode()}")

    def until(self, condition):
        def check():
            self.lives()
            return condition()
        until(check)

    def grows(self, by=200):
        want = self.target.ios() + by
        self.until(lambda: self.target.ios() >= want)

    def received(self, n):
        """Bytes that the host has received by link n so far."""
        shown = json.loads(self.net.ip("host", "-s", "-j", "link", "show", f"l{n}"))
        return shown[0]["stats64"]["rx"]["bytes"]

    def carries(self, *links, by=100000):
        """Waits until each of the links has brought so many bytes more."""
        want = {n: self.received(n) + by for n in links}
        self.until(lambda: all(self.received(n) >= want[n] for n in links))

    def is_quiet(self, n):
        """Whether link n brings nothing but acknowledgements while another one brings data."""
        before, others = self.received(n), [m for m in self.net.links if m != n]
        total = sum(map(self.received, others)) + 100000
        self.until(lambda: sum(map(self.received, others)) >= total)
        return self.received(n) - before < 10000

    def has_subflows(self, each, port=4420):
        """Waits until every connection, the admin queue's too, has so many to that port."""
        self.until(lambda: self.net.subflows(port) == each * self.connections)

    @contextlib.contextmanager
    def unbroken(self):
        before = self.target.stats()["accepted"]
        yield
        self.lives()
        if not self.probes:
            eq(self.target.stats()["accepted"], before, "connections made")

    def end(self):
        """Ends the load, after enough I/O that most reads find what was written; its document."""
        self.grows()
        self.perf.send_signal(signal.SIGINT)
        out, err = self.perf.communicate(timeout=DEADLINE)
        self.result = result = json.loads(out)
        eq((self.perf.returncode, result["errors"]),
           (0, {"io": 0, "verify": 0, "other": 0, "first": ""}), f"nvmf-perf: {err.decode()}")
        eq(result["submitted"], result["completed"])
        eq(result["verify"]["checked_bytes"] > 0, True, f"data was checked: {result['verify']}")
        if self.clean:
            path = result["jobs"][0]["paths"][0]
            eq({k: path[k] for k in ("errors", "resets", "reconnects", "retries", "timeouts")},
               dict.fromkeys(("errors", "resets", "reconnects", "retries", "timeouts"), 0))
            if not self.probes:
                eq(self.target.stats()["accepted"], self.connections, "connections made in all")
        return result
