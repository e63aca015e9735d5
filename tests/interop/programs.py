# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our programs as the tests run them: nvmf-target, nvmf-perf, nvmet_cmds."""

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time

from tap import Failure

START_DEADLINE = 30
PERF_DEADLINE = 240


LIBC = ctypes.CDLL(None)


def die_with_parent():
    """For preexec_fn: PR_SET_PDEATHSIG, so that even a SIGKILLed test leaves nothing behind."""
    LIBC.prctl(1, signal.SIGKILL)


def program(build, *where):
    path = os.path.join(build, *where)
    if not os.access(path, os.X_OK):
        raise Failure(f'{path} is not there: build it first')
    return path


class Target:
    """An nvmf-target on a free port of 127.0.0.1, killed when the block is left.

    What it prints is kept, and shown when it did not start or ended by itself.
    """

    def __init__(self, build, *options, listen='127.0.0.1:0'):
        self.argv = [program(build, 'target', 'nvmf-target'), f'--listen={listen}', *options]
        self.process = None
        self.output = None
        self.port = None

    def __enter__(self):
        ready, ready_end = os.pipe()
        self.output = tempfile.TemporaryFile()
        try:
            with contextlib.ExitStack() as ends:
                ends.callback(os.close, ready_end)
                self.process = subprocess.Popen(
                    self.argv + [f'--ready-fd={ready_end}'], pass_fds=(ready_end,),
                    preexec_fn=die_with_parent, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)
            got, _, _ = select.select([ready], [], [], START_DEADLINE)
            # A closed pipe without a byte: it exited, or will not say ready.
            if not got or not os.read(ready, 64):
                raise Failure('nvmf-target did not get ready: ' + self.said())
            found = re.search(r':(\d+)\b', self.said())
            if not found:
                raise Failure('nvmf-target did not tell its port: ' + self.said())
            self.port = int(found.group(1))
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(ready)
        return self

    def said(self):
        # The child writes through the same open file: pread leaves its offset alone.
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode(errors='replace')

    def alive(self):
        return self.process.poll() is None

    def resident(self):
        """Bytes of memory in use, to see that sessions leave nothing behind."""
        with open(f'/proc/{self.process.pid}/statm') as f:
            return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def stop(self, deadline=20):
        """Ends it the polite way; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise Failure(f'nvmf-target still runs {deadline} s after SIGTERM: ' + self.said())

    def __exit__(self, *exc):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.output is not None:
            self.output.close()


class Outcome:
    def __init__(self, argv, status, out, err, seconds):
        self.argv = argv
        self.status = status
        self.out = out
        self.err = err
        self.seconds = seconds

    def __str__(self):
        return (f'{" ".join(self.argv)}\nexit status {self.status} after {self.seconds:.1f} s\n'
                f'stdout: {self.out.strip()[-2000:]}\nstderr: {self.err.strip()[-2000:]}')

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as e:
            raise Failure(f'no JSON document ({e}): {self}')


def run(argv, deadline=PERF_DEADLINE):
    began = time.monotonic()
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=deadline,
                              preexec_fn=die_with_parent)
    except subprocess.TimeoutExpired as e:
        raise Failure(f'{" ".join(argv)} still ran after {deadline} s; '
                      f'stderr: {(e.stderr or b"").decode(errors="replace")[-1000:]}')
    return Outcome(argv, done.returncode, done.stdout.decode(errors='replace'),
                   done.stderr.decode(errors='replace'), time.monotonic() - began)


def perf(build, *arguments, deadline=PERF_DEADLINE):
    """nvmf-perf --json, whatever it ends with."""
    return run([program(build, 'examples', 'nvmf-perf'), '--json', *arguments], deadline)


def verified(build, *arguments, deadline=PERF_DEADLINE):
    """nvmf-perf --verify that has to succeed, having moved something both ways."""
    done = perf(build, '--verify', *arguments, deadline=deadline)
    if done.status:
        raise Failure(f'verified I/O failed: {done}')
    document = done.json()
    job = document['jobs'][0]
    moved = {d: job[d]['io_bytes'] for d in ('read', 'write')}
    if not all(moved.values()) or not document['verify']['checked_bytes'] \
            or not document['verify']['readback']:
        raise Failure(f'verified I/O moved {moved} and verified {document["verify"]}: {done}')
    errors = document['errors']
    if errors['io'] or errors['verify'] or document['submitted'] != document['completed']:
        raise Failure(f'nvmf-perf exits 0 with errors {errors}: {done}')
    return document
