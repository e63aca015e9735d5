# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the scripts of bench/ share: processes, the target, nvmf-perf and its JSON."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

import metrics
from failures import BenchError, Skip, SKIPPED
from metrics import pinned

NQN = "nqn.2024-01.org.example:bench"


def program(build, *path):
    full = os.path.join(build, *path)
    if not os.access(full, os.X_OK):
        raise BenchError(f"{full} is not there: build first (meson setup {build} && "
                         f"ninja -C {build}), or name the build directory with --build")
    return full


def default_build():
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..",
                                         "build"))


def two_cpus():
    """One CPU for clients and another for servers."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchError("this comparison needs two CPUs, one for the client and one for the "
                         "server; only one may be used here")
    return cpus[0], cpus[1]


class Server:
    """A process that prints the port it listens on; also a context manager."""

    def __init__(self, argv, cpu=None, env=None):
        self.argv = argv
        # A file: nobody reads a pipe while the server works, and it must not block on a full one.
        self.err = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=self.err, preexec_fn=pinned(cpu), env=env)
        try:
            self.port = self._read_port(10)
        except BaseException:
            self.stop()
            raise

    def _read_port(self, timeout):
        deadline = time.monotonic() + timeout
        out = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise BenchError(f"{self.argv[0]} did not print its port within {timeout} s")
            if not select.select([self.proc.stdout], [], [], left)[0]:
                continue
            chunk = os.read(self.proc.stdout.fileno(), 4096)
            if not chunk:
                raise BenchError(f"{' '.join(self.argv)} ended before it listened: "
                                 f"{self.stderr()}")
            out += chunk
            for line in out.decode(errors="replace").split("\n")[:-1]:
                found = re.search(r"(?:^|:|\bport )(\d{1,5})\b(?!.*:\d)", line.strip())
                if found and int(found.group(1)):
                    return int(found.group(1))

    def stderr(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace").strip()

    def signal(self, sig):
        self.proc.send_signal(sig)

    def stop(self):
        """Also ends a stopped process."""
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()
        self.err.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def start_target(build, mptcp, namespaces, cpu=None, extra=(), env=None):
    argv = [program(build, "target", "nvmf-target"), "--listen=127.0.0.1:0",
            "--mptcp=" + ("prefer" if mptcp else "off"), "--nqn=" + NQN]
    argv += ["--ns=" + ns for ns in namespaces]
    return Server(argv + list(extra), cpu, env)


def uri(port, **keys):
    query = "&".join(f"{key}={value}" for key, value in keys.items() if value is not None)
    return f"nvme+tcp://127.0.0.1:{port}/{NQN}" + ("?" + query if query else "")


class Result:
    """How a process ended: status, output, and what it used by the kernel's account."""

    def __init__(self, argv, timeout, cpu=None, env=None, rss_after=None):
        start = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                    preexec_fn=pinned(cpu), env=env)
            try:
                self.usage = metrics.wait_end(proc, timeout, rss_after)
                if not self.usage:
                    raise BenchError(f"no end within {timeout} s: {' '.join(argv)}")
            finally:
                if proc.returncode is None:
                    proc.kill()
                    proc.wait()
            self.status = proc.returncode
            self.seconds = time.monotonic() - start
            self.cpu_s = self.usage.cpu_s
            self.out, self.err = (self._text(file) for file in (out, err))

    @staticmethod
    def _text(file):
        file.seek(0)
        return file.read().decode(errors="replace")


def run_json(argv, timeout, cpu=None, env=None, rss_after=None):
    """Runs a program that must succeed and print one JSON document; returns (it, Result)."""
    res = Result(argv, timeout, cpu, env, rss_after)
    if res.status:
        raise BenchError(f"{' '.join(argv)} ended with status {res.status}: {res.err.strip()}")
    try:
        return json.loads(res.out), res
    except ValueError as err:
        raise BenchError(f"{' '.join(argv)} printed no JSON document: {err}") from None


def perf_argv(build, *options):
    return [program(build, "examples", "nvmf-perf"), "--json", *options]


def size(text):
    """4k, 64M, 2G, or plain bytes."""
    found = re.fullmatch(r"(\d+)([kKmMgG]?)", text)
    if not found:
        raise ValueError(text)
    return int(found.group(1)) << {"": 0, "k": 10, "m": 20, "g": 30}[found.group(2).lower()]


def table(head, rows, out=sys.stdout, markdown=False):
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    sep = " | " if markdown else "  "
    left, right = ("| ", " |") if markdown else ("", "")

    def line(row):
        return left + sep.join(cell.ljust(width) for cell, width in zip(row, widths)) + right

    print(line(head), file=out)
    if markdown:
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|", file=out)
    for row in rows:
        print(line(row).rstrip() if not markdown else line(row), file=out)


def main(run):
    """Runs a script's function: a BenchError is one sentence and status 1."""
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(143))
    try:
        sys.exit(run())
    except Skip as err:
        print(f"{os.path.basename(sys.argv[0])}: left out: {err}", file=sys.stderr)
        sys.exit(SKIPPED)
    except BenchError as err:
        print(f"{os.path.basename(sys.argv[0])}: {err}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
