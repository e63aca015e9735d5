# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets for the chaos: processes that can be killed, stopped and started again."""
import os
import signal
import socket
import subprocess
import time

NQN = "nqn.2024-01.org.example:chaos"
DEADLINE = 20


def own_address():
    """An address of loopback that no other test uses: its ports stay ours while nobody listens."""
    pid = os.getpid()
    return f"127.{10 + (pid >> 16) % 200}.{(pid >> 8) % 256}.{1 + pid % 254}"


class Node:
    """One nvmf-target process; its ports and its part of the configuration outlive it."""

    def __init__(self, program, folder, number, ports, args, env=None):
        self.program, self.number, self.ports = program, number, ports
        self.control_path = os.path.join(folder, f"control{number}")
        self.log = open(os.path.join(folder, f"target{number}.log"), "a+b")
        self.args = args
        self.env = env
        self.proc = None
        self.is_stopped = False
        self.complaints = []

    def start(self):
        ready, write = os.pipe()
        argv = [self.program, f"--control={self.control_path}", f"--ready-fd={write}", *self.args]
        argv += [f"--listen={port}" for port in self.ports]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=self.log, pass_fds=[write], env=self.env)
        os.close(write)
        is_ready = os.read(ready, 16)
        os.close(ready)
        if not is_ready:
            self.proc.wait()
            raise RuntimeError(f"{' '.join(argv)} did not start: {self.errors()}")

    def errors(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()

    def control(self, command):
        """The answer; an error of the target is an exception."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(self.control_path)
            s.sendall(command.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = s.recv(65536)
                if not piece:
                    raise ConnectionError(f"target {self.number} closed its control socket")
                answer += piece
        text = answer.decode().strip()
        if text.startswith("error"):
            raise ValueError(f"target {self.number}, {command}: {text}")
        return text

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        self.is_stopped = False

    def stop(self):
        self.proc.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self):
        self.proc.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def is_alive(self):
        return self.proc is not None and self.proc.poll() is None

    def end(self):
        """Ends it; what it has to complain about (sanitizers) is returned."""
        if not self.is_alive():
            status = self.proc.returncode if self.proc else 0
            self.log.close()
            return "" if status in (0, -9) else f"target {self.number} ended with {status}"
        if self.is_stopped:
            self.go_on()
        self.proc.terminate()
        try:
            status = self.proc.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            status = "no end"
        text = "" if status == 0 else f"target {self.number}: status {status}: {self.errors()}"
        self.log.close()
        return text


def wait_until(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
