# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process costs: CPU, context switches, memory, system calls.

Of a child by what the kernel hands to its parent (finished()), of one that goes on running by
/proc (Sampler), and system calls by the tracepoint raw_syscalls:sys_enter (count_syscalls()).
"""

import ctypes
import os
import platform
import re
import select
import struct
import subprocess
import tempfile

from failures import BenchError, Skip

TICK = os.sysconf("SC_CLK_TCK")


def pinned(cpu):
    """For preexec_fn: runs the child on one CPU only."""
    if cpu is None:
        return None
    return lambda: os.sched_setaffinity(0, {cpu})


class Usage:
    """What one process used from its start to its end."""

    def __init__(self, usage):
        self.user_s = usage.ru_utime
        self.sys_s = usage.ru_stime
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.voluntary = usage.ru_nvcsw         # it had to wait
        self.involuntary = usage.ru_nivcsw      # something else was let run
        # ru_maxrss is no use: the kernel hands down to a child what its parent had at the fork.
        self.rss_kib = None                     # the peak until then, where it was asked for


def _tasks(pid):
    folder = f"/proc/{pid}/task"
    try:
        return [os.path.join(folder, tid) for tid in os.listdir(folder)]
    except OSError:
        return []


def _read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def status_kib(pid, field):
    """VmRSS, VmHWM, RssAnon ... of /proc/PID/status, in KiB; None when it is not there."""
    found = re.search(rf"^{field}:\s+(\d+) kB", _read(f"/proc/{pid}/status"), re.M)
    return int(found.group(1)) if found else None


class Sampler:
    """What a running process uses between start() and stop(), all its threads together.

    CPU is exact where the kernel has schedstat (ns), else in ticks of the clock. How it is shared
    between user and system is known in ticks only. Threads that end in between are not seen.
    """

    def __init__(self, pid):
        self.pid = pid
        self.before = None

    def _now(self):
        exact = voluntary = involuntary = 0
        has_exact = True
        for task in _tasks(self.pid):
            fields = _read(task + "/schedstat").split()
            has_exact = has_exact and len(fields) == 3
            exact += int(fields[0]) if len(fields) == 3 else 0
            status = _read(task + "/status")
            for line in status.splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    voluntary += int(line.split()[1])
                elif line.startswith("nonvoluntary_ctxt_switches"):
                    involuntary += int(line.split()[1])
        # The name is in brackets and may contain anything: count from behind it.
        stat = _read(f"/proc/{self.pid}/stat").rpartition(")")[2].split()
        if len(stat) < 13:
            raise BenchError(f"process {self.pid} ended while it was measured")
        user, system = int(stat[11]) / TICK, int(stat[12]) / TICK
        return {"cpu_s": exact / 1e9 if has_exact else user + system, "user_s": user,
                "sys_s": system, "voluntary": voluntary, "involuntary": involuntary}

    def start(self):
        self.before = self._now()
        return self

    def stop(self):
        after = self._now()
        used = {key: after[key] - self.before[key] for key in after}
        ticks = used["user_s"] + used["sys_s"]
        share = used["user_s"] / ticks if ticks > 0 else 0.0
        used["user_s"], used["sys_s"] = used["cpu_s"] * share, used["cpu_s"] * (1 - share)
        used["rss_kib"] = status_kib(self.pid, "VmRSS")
        return used


def wait_end(proc, timeout, rss_after=None):
    """Waits for a subprocess.Popen whose output is a file: its Usage, or None after the timeout.

    rss_after: seconds after which the peak of its memory is read.
    """
    fd = os.pidfd_open(proc.pid)
    rss = None
    try:
        if rss_after is not None and not select.select([fd], [], [], rss_after)[0]:
            rss = status_kib(proc.pid, "VmHWM")
        if not select.select([fd], [], [], timeout)[0]:
            return None
    finally:
        os.close(fd)
    _, status, used = os.wait4(proc.pid, 0)
    proc.returncode = os.waitstatus_to_exitcode(status)
    usage = Usage(used)
    usage.rss_kib = rss
    return usage


# --- system calls -------------------------------------------------------------------------------

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_TYPE_TRACEPOINT = 2
_DISABLED, _INHERIT, _ENABLE_ON_EXEC = 1 << 0, 1 << 1, 1 << 12
_TRACING = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def _perf_fd(pid):
    """A counter of the system calls that PID and its children make from their exec on."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if not number:
        raise Skip(f"no number of perf_event_open is known for {platform.machine()}")
    for folder in _TRACING:
        event = _read(folder + "/events/raw_syscalls/sys_enter/id").strip()
        if event:
            break
    else:
        raise Skip("the tracepoint raw_syscalls:sys_enter cannot be read (root and a mounted "
                   "tracefs are needed)")
    attr = struct.pack("<IIQQQQQ", _TYPE_TRACEPOINT, 112, int(event), 0, 0, 0,
                       _DISABLED | _INHERIT | _ENABLE_ON_EXEC).ljust(112, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, attr, pid, -1, -1, 8)        # 8: close on exec
    if fd < 0:
        raise Skip("system calls cannot be counted: perf_event_open: "
                   f"{os.strerror(ctypes.get_errno())} (kernel.perf_event_paranoid, CAP_PERFMON)")
    return fd


def _counted_by_perf(argv, timeout, cpu):
    # The shell waits until the counter is there, and counts nothing itself: the counter starts
    # with the exec.
    proc = subprocess.Popen(["/bin/sh", "-c", "read -r _; exec \"$@\" </dev/null", "sh", *argv],
                            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, preexec_fn=pinned(cpu))
    try:
        fd = _perf_fd(proc.pid)
        try:
            _, err = proc.communicate(b"\n", timeout)
            count = struct.unpack("<Q", os.read(fd, 8))[0]
        finally:
            os.close(fd)
    except subprocess.TimeoutExpired:
        raise BenchError(f"no end within {timeout} s: {' '.join(argv)}") from None
    finally:
        if proc.returncode is None:
            proc.kill()
            proc.communicate()
    if proc.returncode:
        raise BenchError(f"{' '.join(argv)} ended with status {proc.returncode}: "
                         f"{err.decode(errors='replace').strip()}")
    return count


def _counted_by_strace(argv, timeout, cpu):
    with tempfile.NamedTemporaryFile("r") as out:
        try:
            proc = subprocess.run(["strace", "-f", "-c", "-o", out.name, *argv],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=timeout,
                                  preexec_fn=pinned(cpu), check=False)
        except FileNotFoundError:
            raise Skip("neither the tracepoint nor strace is there") from None
        except subprocess.TimeoutExpired:
            raise BenchError(f"no end within {timeout} s: {' '.join(argv)}") from None
        if proc.returncode:
            raise Skip("strace failed: " + proc.stderr.decode(errors="replace").strip()[-200:])
        found = re.search(r"^100\.00\s+\S+\s+(?:\d+\s+)?(\d+)\s+(?:\d+\s+)?total$",
                          out.read(), re.M)
    if not found:
        raise Skip("strace printed no total")
    return int(found.group(1))


def count_syscalls(argv, timeout=60, cpu=None):
    """(number of system calls of a program from its start to its end, how they were counted).

    With strace everything is slower, so batches are larger and calls fewer: such a number is no
    pass mark. Raises Skip with the reason when neither way is open.
    """
    try:
        return _counted_by_perf(argv, timeout, cpu), "perf"
    except Skip as reason:
        try:
            return _counted_by_strace(argv, timeout, cpu), "strace"
        except Skip as other:
            raise Skip(f"{reason}; {other}") from None
