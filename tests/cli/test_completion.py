#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bash completion, asked as readline asks it, and once by hand through a terminal. Usage:
test_completion.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

from clitest import TOOLS, Folder, eq, main, run, test

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../completion/nvmf.bash")
ENV = {"PATH": f"{TOOLS}:{os.path.dirname(sys.argv[1])}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

# Splits the line as readline does, with = and : as words of their own, then asks.
ASK = r"""
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<<"${COMP_LINE//[=:]/ & }"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_nvmf "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" ''
printf '%s\n' "${COMPREPLY[@]}"
"""


def complete(line, cwd=None, breaks=None):
    env = dict(ENV)
    script = ASK if breaks is None else f"COMP_WORDBREAKS='{breaks}'\n" + ASK
    p = subprocess.run(["bash", "--norc", "-c", script, "bash", SCRIPT, line], env=env, cwd=cwd,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
    eq((p.returncode, p.stderr), (0, ""), line)
    return [word for word in p.stdout.split("\n") if word]


def options_of_help(tool):
    path = sys.argv[1] if tool == "nvmf-target" else os.path.join(TOOLS, tool)
    text = subprocess.run([path, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(re.findall(r"--[a-z][a-z0-9-]*", text))


@test
def every_option_of_every_tool_and_no_other():
    for tool in ("nvmf-copy", "nvmf-info", "nvmf-perf", "nvmf-relay", "nvmf-target"):
        found = {word.rstrip("=") for word in complete(f"{tool} --")}
        eq(found, options_of_help(tool), tool)


@test
def beginnings_of_options():
    eq(complete("nvmf-copy --sp"), ["--sparse"])
    eq(complete("nvmf-copy --req"), ["--requests=", "--request-size="])
    eq(complete("nvmf-copy a b --pro"), ["--progress"])
    eq(complete("nvmf-info --con"), ["--connect-all"])
    eq(complete("nvmf-perf --rwm"), ["--rwmixread="])
    eq(complete("nvmf-copy --bash"), [], "the hidden one")
    eq(complete("nvmf-info -x"), [])


@test
def values():
    eq(complete("nvmf-perf --rw=randr"), ["randread", "randrw"])
    eq(complete("nvmf-perf --rw randr"), ["randread", "randrw"])
    eq(complete("nvmf-perf --verify="), ["crc32c"])
    eq(complete("nvmf-info --can=write"), ["write", "write-zeroes", "write-uncorrectable"])
    eq(complete("nvmf-info --is=hd"), ["hdr-digest"])
    eq(complete("nvmf-target --mptcp="), ["prefer", "off"])
    eq(complete("nvmf-perf --rw=randr", breaks=" "), ["--rw=randread", "--rw=randrw"],
       "where = separates no words")
    eq(complete("nvmf-copy --requests="), [])


@test
def files_and_uris():
    with Folder() as d:
        d.write("disk.img", b"")
        d.write("disk two", b"")
        eq(sorted(complete("nvmf-copy di", cwd=d.name)), ["disk two", "disk.img"])
        eq(sorted(complete("nvmf-copy disk.img ", cwd=d.name)),
           ["disk two", "disk.img", "nvme+tcp://"])
        eq(complete("nvmf-perf --json-out=disk.", cwd=d.name), ["disk.img"])
        eq(complete("nvmf-info di", cwd=d.name), [])
        eq(complete("nvmf-info nv"), ["nvme+tcp://"])
        eq(complete("nvmf-info nvme+tcp:", breaks=" "), ["nvme+tcp://"])
        eq(complete("nvmf-info nvme+tcp:"), ["//"])
    eq(complete("nvmf-copy --path=nvme"), ["nvme+tcp://"])
    eq(complete("nvmf-copy --path=nvme+tcp://h/nqn.x?engi"), ["//h/nqn.x?engine="])
    eq(complete("nvmf-copy --path nvme+tcp://h/nqn.x?engi", breaks=" "),
       ["nvme+tcp://h/nqn.x?engine="])
    eq(complete("nvmf-copy --path=/etc/host"), [], "a path is no file")


@test
def keys_of_uris():
    keys = run("nvmf-info", "--bash-options").stdout.decode().split("keys ")[1].split()
    line = "nvmf-info nvme+tcp://127.0.0.1/nqn.x?"
    eq(complete(line, breaks=" "),
       [f"nvme+tcp://127.0.0.1/nqn.x?{key}=" for key in keys])
    eq(complete("nvmf-copy a nvme+tcp://h/nqn.x?mptcp=off&io_t", breaks=" "),
       ["nvme+tcp://h/nqn.x?mptcp=off&io_timeout="])
    eq(complete("nvmf-info nvme+tcp://h/nqn.x?data"), ["//h/nqn.x?data_digest="])
    eq(complete("nvmf-info nvme+tcp://h/nqn.x?mptcp="), [])


@test
def a_tool_that_is_missing_completes_nothing():
    eq(complete("./nvmf-copy --", cwd="/"), [])


def until(fd, what, seen):
    deadline = time.monotonic() + 20
    while what not in seen:
        if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"no {what!r} in {seen!r}")
        seen += os.read(fd, 65536)
    return seen


@test
def a_person_at_a_terminal_presses_tab():
    pid, fd = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"],
                  dict(ENV, PS1="ready> ", TERM="dumb", INPUTRC="/dev/null",
                       HISTFILE="/dev/null"))
    try:
        until(fd, b"ready> ", b"")
        os.write(fd, f"source {SCRIPT}; echo sour''ced\n".encode())
        until(fd, b"ready> ", until(fd, b"sourced\r\n", b"").split(b"sourced\r\n")[1])
        os.write(fd, b"echo nvmf; nvmf-copy --spa\t")
        until(fd, b"--sparse ", b"")
        os.write(fd, b"\x15nvmf-info --can=dea\t")
        until(fd, b"--can=deallocate", b"")
        os.write(fd, b"\x15nvmf-info nvm\t")
        until(fd, b"nvme+tcp://", b"")
        os.write(fd, b"localhost/nqn.x?keep\t")
        until(fd, b"keep_alive_tmo=", b"")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


if __name__ == "__main__":
    raise SystemExit(main())
