#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of docs/mptcp.md, from top to bottom, in one shell as a reader would type them.
Usage: test_tutorial.py PATH/nvmf-target TOOLS_FOLDER MARKDOWN. Output is TAP; SKIP where
namespaces cannot be made.

Every block between ```sh and ``` is one case. HTML comments, which a reader does not see, say more:
  <!-- not run: reason -->   before a block: it is left out
  <!-- until: REGEX -->      before a block: it goes on in the background, wait until it says this
  <!-- expect: REGEX -->     after a block: its output has this. Each block must succeed, too
The tutorial makes its own user, network and process namespaces: all ends with its shell, however it
ends. Times to run and to wait are shortened."""
import os
import re
import shutil
import subprocess
import sys
import threading

from clitest import DEADLINE, eq, has_mptcp, main, test, tool

TARGET = sys.argv[1]
SANDBOX = "unshare --user --map-root-user --net --mount --pid --fork --mount-proc --kill-child"
SHORTER = 4


class Block:
    def __init__(self, line):
        self.line, self.text, self.expect = line, "", []
        self.until = self.skip = None


def blocks(path):
    """The blocks of a document in order, with what the comments say of each."""
    found, block, pending = [], None, {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if block:
                if line.startswith("```"):
                    found.append(block)
                    block = None
                else:
                    block.text += line
                continue
            comment = re.match(r"<!-- (not run|until|expect): (.*) -->$", line)
            if line.startswith("<!--"):
                eq(bool(comment), True, f"{path}:{number}: a comment that the test understands")
                if comment[1] == "expect":
                    found[-1].expect.append(comment[2])
                else:
                    pending[comment[1]] = comment[2]
            elif line.rstrip() == "```sh":
                block = Block(number)
                block.skip, block.until = pending.pop("not run", None), pending.pop("until", None)
    eq((block, pending), (None, {}), "an open block, a comment without one")
    return found


def shorter(text):
    def less(match):
        return match[1] + str(max(1, int(match[2]) // SHORTER))

    return re.sub(r"(--runtime=|\bsleep )(\d+)", less, text)


class Shell:
    """bash, and what it says. Everything in it is gone when it is left."""

    def __init__(self):
        path = f"{os.path.dirname(tool('nvmf-perf'))}:{os.path.dirname(TARGET)}"
        self.proc = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}:/usr/sbin:/sbin"}, text=True)
        self.watchdog = threading.Timer(150, self.proc.kill)
        self.watchdog.start()
        self.marks = 0

    def run(self, text, until=None):
        """What the commands say, and the status of the last; or all up to a line like until."""
        self.marks += 1
        mark = f"end of block {self.marks}"
        if not until:
            text = f"failed=0\ntrap 'failed=1' ERR\n{text}echo; echo {mark} $failed\n"
        self.proc.stdin.write(text)
        self.proc.stdin.flush()
        out = ""
        for line in self.proc.stdout:
            if not until and line.startswith(mark):
                return out, int(line.rsplit(" ", 1)[1])
            out += line
            if until and re.search(until, line):
                return out, 0
        raise AssertionError(f"the shell has ended: {out}")

    def leave(self, text):
        self.proc.stdin.write(text)
        self.proc.stdin.close()
        for _ in self.proc.stdout:
            pass
        return self.proc.wait(DEADLINE)

    def end(self):
        self.watchdog.cancel()
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


@test
def the_tutorial():
    todo = [b for b in blocks(sys.argv[3]) if not b.skip]
    eq([todo[0].text.startswith(SANDBOX), todo[-1].text], [True, "exit\n"],
       "the first block enters a sandbox, the last one leaves it")
    shell = Shell()
    try:
        # A shell in the shell: both read from the same pipe, byte by byte.
        for block in todo[:-1]:
            name = f"{sys.argv[3]}:{block.line}"
            if block is todo[0]:
                shell.proc.stdin.write(block.text)
                continue
            out, status = shell.run(shorter(block.text), block.until)
            eq(status, 0, f"{name}: {out}")
            for expect in block.expect:
                eq(bool(re.search(expect, out)), True, f"{name}: {expect} in {out}")
            print(f"# line {block.line}: ok", flush=True)
        eq(shell.leave(todo[-1].text), 0, "how the shell ended")
    finally:
        shell.end()


def reason():
    for program in ("bash", "unshare", "ip", "tc", "nft", "sysctl"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            return f"no {program} here"
    if not has_mptcp():
        return "MPTCP is off or missing in this kernel"
    p = subprocess.run([*SANDBOX.split(), "ip", "link", "add", "type", "veth"],
                       capture_output=True, text=True, check=False)
    return p.returncode and f"no user and network namespaces here: {p.stderr.strip()}" or None


if __name__ == "__main__":
    why = reason()
    if why:
        print(f"1..0 # SKIP {why}")
        sys.exit(0)
    sys.exit(main())
