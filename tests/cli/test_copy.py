#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-copy between files, pipes and namespaces, well and badly ended. Usage:
test_copy.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import hashlib
import json
import os
import re
import signal
import subprocess

from clitest import (DEADLINE, VARIANTS, Folder, Running, eq, fails, main, noise, run, run_json,
                     test, tool, until, uri, wants)

MIB = 1 << 20
COPY = "nvmf-copy"
GIVE_UP = "&ctrl_loss_tmo=0"   # a lost connection is the end


def content(target, ns, size=None):
    data = run(COPY, uri(target, ns), "-").stdout
    return data if size is None else data[:size]


def fill(target, ns, byte=b"\xff"):
    size = int(run("nvmf-info", "--size", uri(target, ns)).stdout)
    run(COPY, "-", uri(target, ns), input=byte * size)
    return size


@test
def file_to_namespace_and_back_with_sizes_of_any_kind():
    with Running("--ns=mem:2M", "--ns=mem:2M,bs=512") as t, Folder() as d:
        for variant in VARIANTS:
            for size in (0, 1, 4097, 256 << 10, MIB + 123):
                data = noise(size, size)
                src = d.write("src", data)
                for ns, bs in (("1", 4096), ("2", 512)):
                    fill(t, ns)
                    run(COPY, src, uri(t, ns, variant))
                    run(COPY, uri(t, ns, variant), d.path("dst"))
                    got = d.read("dst")
                    padded = -(-size // bs) * bs
                    eq(len(got), 2 * MIB, "size of the file")
                    eq(got[:padded] == data + bytes(padded - size), True, f"{size} bytes")
                    eq(got[padded:] == b"\xff" * (2 * MIB - padded), True, "what lies behind")


@test
def namespace_to_namespace_of_other_block_size_verified():
    with Running("--ns=mem:16M", "--ns=mem:32M,bs=512") as t:
        data = noise(16 * MIB)
        for variant in VARIANTS:
            run(COPY, "-", uri(t, "1", variant), input=data)
            r = run_json(COPY, "--verify", "--queues=3", "--requests=5", "--request-size=64k",
                         uri(t, "1", variant), uri(t, "2", variant))
            eq((r["complete"], r["verify"]["same"], r["good_bytes"]), (True, True, 16 * MIB))
            eq(r["verify"]["sha256"], hashlib.sha256(data).hexdigest())
            eq(r["destination"]["protocol"], "mptcp" if "require" in variant else "tcp")
            eq(content(t, "2", 16 * MIB) == data, True, "content")


@test
def between_two_files():
    with Folder() as d:
        data = noise(3 * MIB + 7)
        src = d.write("src", data)
        # An older, longer file keeps nothing of itself.
        dst = d.write("dst", b"x" * 5 * MIB)
        run(COPY, "--flush", "--verify", src, dst)
        eq(d.read("dst") == data, True, "content")


@test
def pipes_on_both_ends():
    with Running("--ns=mem:8M") as t:
        for variant in VARIANTS:
            for size in (0, 5, 5 * MIB + 5):
                data = noise(size, 7)
                run(COPY, "--request-size=16k", "--requests=3", "-", uri(t, "1", variant),
                    input=data)
                p = run(COPY, "--request-size=128k", uri(t, "1", variant), "-")
                eq(len(p.stdout), 8 * MIB)
                eq(p.stdout[:size] == data, True, f"{size} bytes")
        data = noise(MIB + 1)
        eq(run(COPY, "-", "-", input=data).stdout == data, True, "standard input to output")


def sparse_content():
    """8 MiB: data, small and large zeroes, a hole that ends in the middle of a block."""
    data = bytearray(8 * MIB)
    for at, n in ((0, 10000), (MIB, 4096), (MIB + 12288, 3), (6 * MIB + 100, 5000)):
        data[at:at + n] = noise(n, at)
    return data


@test
def sparse_copies_zero_what_was_there_without_sending_it():
    data = sparse_content()
    with Running("--ns=mem:8M", "--ns=mem:8M,bs=512") as t, Folder() as d:
        with open(d.path("src"), "wb") as f:
            f.truncate(len(data))
            for at in range(0, len(data), 4096):
                if any(data[at:at + 4096]):
                    f.seek(at)
                    f.write(data[at:at + 4096])
        for variant in VARIANTS:
            for ns in ("1", "2"):
                fill(t, ns)
                r = run_json(COPY, "--sparse", "--verify", d.path("src"), uri(t, ns, variant))
                eq(r["verify"]["same"], True)
                eq(r["written_bytes"] + r["zeroed_bytes"], 8 * MIB)
                eq(r["written_bytes"], 4096 * 7, "bytes sent")
                eq(content(t, ns) == bytes(data), True, f"namespace {ns}")
                # And back: a file has holes where the zeroes are.
                if os.path.exists(d.path("back")):
                    os.unlink(d.path("back"))
                run(COPY, "--sparse", uri(t, ns, variant), d.path("back"))
                eq(d.read("back") == bytes(data), True, "back")
                eq(os.stat(d.path("back")).st_blocks * 512 <= 64 << 10, True, "it has holes")
                # Zeroes that come through a pipe are found as well.
                fill(t, ns)
                r = run_json(COPY, "--sparse", "-", uri(t, ns, variant), input=bytes(data))
                eq(r["written_bytes"], 4096 * 7, "bytes sent")
                eq(content(t, ns) == bytes(data), True, "through a pipe")


@test
def a_destination_too_small_is_not_touched():
    with Running("--ns=mem:1M") as t, Folder() as d:
        fill(t, "1")
        src = d.write("src", noise(MIB + 1))
        for variant in VARIANTS:
            p = run(COPY, src, uri(t, "1", variant), rc=1)
            wants(p.stderr, "1048577", "1048576", "nothing was copied")
            eq(content(t, "1") == b"\xff" * MIB, True, "the namespace")
        # The size of a pipe shows at its end.
        p = run(COPY, "-", uri(t, "1"), input=noise(MIB + 1), rc=1)
        wants(p.stderr, "holds more than the 1048576 bytes", "is incomplete")


@test
def a_target_killed_while_it_is_written_to():
    with Folder() as d:
        src = d.write("src", noise(16 * MIB))
        for variant in VARIANTS:
            r = Running("--ns=mem:16M", "--fault=on=write nth=40 do=kill")
            t = r.__enter__()
            try:
                p = run(COPY, "--request-size=64k", src, uri(t, "1", variant + GIVE_UP), rc=1)
                m = re.search(r"is incomplete, only its first (\d+) of 16777216 bytes are good: .",
                              p.stderr)
                eq(bool(m), True, p.stderr)
                eq(int(m[1]) <= 40 * 65536, True, p.stderr)
            finally:
                t.stop()
                t.stderr.close()
                t.dir.cleanup()


@test
def a_file_is_cut_to_what_is_good_when_the_target_is_killed():
    data = noise(16 * MIB)
    with Folder() as d:
        for variant in VARIANTS:
            r = Running("--ns=mem:16M")
            t = r.__enter__()
            try:
                run(COPY, "-", uri(t, "1"), input=data)
                t.control("fault on=read nth=40 do=kill")
                p = run(COPY, "--request-size=64k", uri(t, "1", variant + GIVE_UP), d.path("dst"),
                        rc=1)
                m = re.search(r"only its first (\d+) of 16777216 bytes are good", p.stderr)
                got = d.read("dst")
                eq(len(got), int(m[1]), "length of the file")
                eq(got == data[:len(got)], True, "its content")
            finally:
                t.stop()
                t.stderr.close()
                t.dir.cleanup()


@test
def a_write_that_fails_is_reported_and_nothing_else():
    with Running("--ns=mem:16M", "--fault=on=write nth=9- do=status:2/0x80/dnr") as t, \
            Folder() as d:
        src = d.write("src", noise(4 * MIB))
        p = run(COPY, "--json", "--requests=1", src, uri(t, "1"), rc=1)
        r = json.loads(p.stdout)
        eq((r["complete"], r["good_bytes"]), (False, 8 * 256 << 10))
        wants(p.stderr, "writing nvme+tcp://", "is incomplete")
        wants(r["error"], "is incomplete")


@test
def verify_finds_one_wrong_bit():
    with Running("--ns=mem:4M") as t, Folder() as d:
        src = d.write("src", noise(4 * MIB))
        for variant in VARIANTS:
            t.control("fault on=c2hdata for=read nth=6 do=set:data8[100]^=1")
            p = run(COPY, "--verify", "--json", "--requests=1", src, uri(t, "1", variant), rc=1)
            r = json.loads(p.stdout)
            eq((r["complete"], r["verify"]["same"]), (True, False))
            eq(r["verify"]["first_difference"], 5 * 256 << 10)
            wants(p.stderr, "--verify", "differs", str(5 * 256 << 10))
            t.control("clear")
            run(COPY, "--verify", src, uri(t, "1", variant))


@test
def progress_lines_for_programs():
    with Running("--ns=mem:32M") as t, Folder() as d:
        src = d.write("src", noise(32 * MIB))
        for args, source in ((["--verify"], src), ([], "-")):
            r, w = os.pipe()
            kw = {"input": b"x" * 5000} if source == "-" else {}
            run(COPY, *args, f"--progress={w}", source, uri(t, "1"), pass_fds=[w], **kw)
            os.close(w)
            with os.fdopen(r) as f:
                lines = f.read().splitlines()
            last = {}
            for line in lines:
                m = re.fullmatch(r"(copy|verify) (\d+|-) (\d+) (\d+|-)", line)
                eq(bool(m), True, line)
                eq((m[2] == "-"), (m[4] == "-"), line)
                eq(int(m[3]) >= last.get(m[1], 0), True, line)
                last[m[1]] = int(m[3])
            eq(lines[0], "copy 0 0 33554432" if args else "copy - 0 -")
            eq(lines[-1], "verify 100 33554432 33554432" if args else "copy 100 5000 5000")
        p = subprocess.run([tool(COPY), "--progress", src, uri(t, "1")], timeout=DEADLINE,
                           stderr=subprocess.PIPE, check=True)
        wants(p.stderr.decode(), "copy 100% [########################] 32 MiB of 32 MiB")


def interrupted(args, stdin, begun=lambda: True, stop=None):
    r, w = os.pipe()
    p = subprocess.Popen([tool(COPY), "--json", f"--progress={w}", *args], pass_fds=[w],
                         stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(w)
    with os.fdopen(r) as f:
        f.readline()    # signals are caught from here on
        until(begun)
        if stop:
            stop.send_signal(signal.SIGSTOP)
        p.send_signal(signal.SIGINT)
        try:
            out, err = p.communicate(timeout=DEADLINE)
        finally:
            if stop:
                stop.send_signal(signal.SIGCONT)
    eq(p.returncode, 1, err.decode())
    result = json.loads(out)
    eq((result["interrupted"], result["complete"]), (True, False))
    wants(err.decode(), "interrupted by SIGINT", "is incomplete")
    eq(err.count(b"\n"), 1, err)


@test
def sigint_ends_it_with_what_was_done_so_far():
    with Running("--ns=mem:16M") as t, Folder() as d:
        src = d.write("src", noise(16 * MIB))
        for variant in VARIANTS:
            # A pipe that nobody writes to.
            r, w = os.pipe()
            interrupted(["-", uri(t, "1", variant)], r)
            os.close(r)
            os.close(w)
        # A target that says nothing, at first to a write, then at all: nobody waits for it.
        for variant, stop in zip(VARIANTS, (None, t.proc)):
            t.control("fault on=write do=drop")
            interrupted([src, uri(t, "1", variant)], subprocess.DEVNULL,
                        lambda: json.loads(t.control("stats"))["faults_fired"], stop)
        t.control("clear")


@test
def a_reader_that_goes_away_is_an_error():
    with Running("--ns=mem:16M") as t:
        r, w = os.pipe()
        p = subprocess.Popen([tool(COPY), uri(t, "1"), "-"], stdout=w, stderr=subprocess.PIPE)
        os.close(w)
        os.read(r, 1)
        os.close(r)
        err = p.communicate(timeout=DEADLINE)[1].decode()
        eq(p.returncode, 1, err)
        wants(err, "nobody reads it any more", "of 16777216 bytes")


@test
def closed_standard_descriptors_are_nobody_elses():
    with Running("--ns=mem:4M") as t:
        data = noise(4 * MIB)
        run(COPY, "-", uri(t, "1"), input=data)
        wants(fails(COPY, uri(t, "1"), "-", preexec_fn=lambda: os.close(1)), "output is closed")
        wants(fails(COPY, "-", uri(t, "1"), preexec_fn=lambda: os.close(0)), "input is closed")
        eq(content(t, "1") == data, True, "content")
        with Folder() as d:
            p = subprocess.run([tool(COPY), uri(t, "1"), d.path("dst")], timeout=DEADLINE,
                               preexec_fn=lambda: os.closerange(0, 3), check=True)
            eq(p.returncode, 0)
            eq(d.read("dst") == data, True, "content of the file")


@test
def a_slow_reader_gets_everything():
    with Running("--ns=mem:4M") as t:
        data = noise(4 * MIB)
        run(COPY, "-", uri(t, "1"), input=data)
        p = subprocess.Popen([tool(COPY), uri(t, "1"), "-"], stdout=subprocess.PIPE)
        got = b""
        while piece := os.read(p.stdout.fileno(), 3000):
            got += piece
        p.stdout.close()
        eq(p.wait(DEADLINE), 0)
        eq(got == data, True, "content")


@test
def what_cannot_be_copied_is_refused_before_anything_happens():
    with Running("--ns=mem:4M", "--ns=mem:4M,ro") as t, Folder() as d:
        src = d.write("src", noise(4096))
        one = uri(t, "1")
        wants(run(COPY, one, one + "?mptcp=off", rc=2).stderr, "the same storage")
        wants(run(COPY, src, src, rc=2).stderr, "the same storage")
        eq(len(d.read("src")), 4096, "the file")
        wants(run(COPY, src, uri(t, "2"), rc=1).stderr, "write protected")
        wants(run(COPY, src, uri(t, "9"), rc=1).stderr, "9")
        wants(run(COPY, d.path("none"), one, rc=1).stderr, "No such file")
        wants(run(COPY, d.name, one, rc=1).stderr, "is a directory")
        wants(run(COPY, one, d.path("no/such"), rc=1).stderr, "No such file")
        wants(run(COPY, src, "/dev/full", rc=1).stderr, "No space left", "first 0 of 4096")
        for args in ([], [src], [src, one, one], ["--json", src, "-"], ["--verify", src, "-"],
                     ["--requests=0", src, one], ["--request-size=5000", src, one],
                     ["--progress=99", src, one], ["--progress=1", src, "-"],
                     ["--nonsense", src, one], ["--requests"], [src, "nvme+tcp://"]):
            run(COPY, *args, rc=2)
        port = t.addr[1]
    wants(run(COPY, "/dev/null", f"nvme+tcp://127.0.0.1:{port}/nqn.x", rc=1).stderr, "refused")


if __name__ == "__main__":
    raise SystemExit(main())
