#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host against a target that misbehaves at random (seeded, replayable).

Each run: nvmf-target with a few random fault rules, nvmf-perf --verify over it
with short timeouts. Whatever the target does, the host must end in bounded
time, complete what it submitted, never crash, never report success for wrong
data. TAP output.

	test_random_faults.py BUILD [--runs N] [--seed S]   one seed is one run
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

NQN = "nqn.2024-01.org.libnof:random"
FIELDS = ["type", "flags", "hlen", "pdo", "plen", "cccid", "ttag", "offset", "length", "dw0",
          "sqhd", "status", "cid", "u32[8]", "u16[10]", "byte[12]", "byte[20]"]
# Payload is changed only where a host can know: not in the blocks of a namespace.
DATA = ["data8[0]", "data8[77]", "data32[0]", "data64[8]", "data16[26]", "data8[128]", "data32[4]"]
VALUES = [0, 1, 2, 3, 4, 7, 8, 9, 23, 24, 25, 28, 31, 72, 127, 128, 129, 255, 512, 4095, 4096,
          0xffff, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff]


def action(r, event):
    kind = r.randrange(17 if event == "resp" else 16)
    if kind < 6:
        op = r.choice(["=", "=", "^=", "+=", "-="])
        return "set:%s%s%d" % (r.choice(FIELDS), op, r.choice(VALUES))
    return [lambda: "hdgst:bad", lambda: "ddgst:bad", lambda: "short:%d" % r.choice([1, 4, 512]),
            lambda: "cut:%d" % r.choice([1, 4, 20]), lambda: "drop", lambda: "dup",
            lambda: "swap", lambda: "raw:" + r.randbytes(r.choice([1, 8, 24, 200])).hex(),
            lambda: "inject:%s:len=%d" % (r.choice(["icresp", "resp", "c2hdata", "r2t", "c2hterm"]),
                                          r.choice([4, 512, 4096])),
            lambda: "delay:%d" % r.choice([1, 20, 200]),
            lambda: "status:%d/%d" % (r.randrange(8), r.randrange(1, 256))][kind - 6]()


def rule(r):
    if r.random() < .12:
        return "on=c2hdata for=%s do=set:%s=%d" % (r.choice(["identify", "log", "identify"]),
                                                    r.choice(DATA), r.choice(VALUES))
    event = r.choice(["resp", "c2hdata", "r2t", "pdu", "icresp", "cmd", "resp", "c2hdata"])
    where = ""
    if event not in ("icresp",):
        where = r.choice(["", " qid=io", " qid=io", " qid=io", " qid=0"])
        if r.random() < .3:
            where += " for=" + r.choice(["read", "write", "identify", "connect", "setfeatures",
                                         "propget", "keepalive", "flush"])
    where += r.choice([" nth=1", " nth=%d" % r.randrange(1, 60), " nth=%d-" % r.randrange(1, 60),
                       " every=%d" % r.randrange(2, 50)])
    act = action(r, event)
    if event == "cmd":
        act = r.choice(["drop", "delay:50", "status:%d/%d" % (r.randrange(4), r.randrange(1, 256)),
                        "close", "reset", "silence", "stall", "inject:c2hdata:len=4096",
                        "inject:r2t:len=4096", "inject:resp"])
    elif r.random() < .12:
        act = r.choice(["close", "reset", "silence", "stall", "term:1:8", "kill"])
    elif r.random() < .2:
        act += "," + action(r, event)
    return "on=%s%s do=%s" % (event, where, act)


def script(r):
    rules = [rule(r) for _ in range(r.choice([1, 1, 1, 2, 3]))]
    if r.random() < .25:
        rules.append("on=accept do=" + r.choice(["split:%d" % r.choice([1, 3, 17, 1000]),
                                                 "splitat:%d" % r.randrange(1, 6000),
                                                 "merge:%d" % r.randrange(2, 9)]))
    return "; ".join(rules)


def one(build, seed):
    r = random.Random(seed)
    faults = script(r)
    target = [os.path.join(build, "target/nvmf-target"), "--listen=127.0.0.1:0", "--nqn=" + NQN,
              "--ns=mem:16M,bs=%d" % r.choice([512, 4096]),
              "--in-capsule=%d" % r.choice([0, 4096, 8192, 65536]), "--r2t=%d" % r.randrange(1, 5),
              "--r2t-size=%d" % r.choice([4096, 16384, 1 << 20]),
              "--c2h-size=%d" % r.choice([4096, 1 << 17, 1 << 20]),
              "--cpda=%d" % r.choice([0, 0, 3, 31]), "--success=" + r.choice(["on", "off"])]
    keys = {"mptcp": r.choice(["off", "require"]), "engine": r.choice(["io_uring", "epoll"]),
            "hdr_digest": r.choice(["on", "off"]), "data_digest": r.choice(["on", "off"]),
            "disable_sqflow": r.choice(["on", "off"]), "max_r2t": r.randrange(1, 5),
            "connect_timeout": 1, "admin_timeout": 1, "io_timeout": 1, "keep_alive_tmo": 2}
    ready_r, ready_w = os.pipe()
    with tempfile.TemporaryFile("w+") as log:
        tgt = subprocess.Popen(target + ["--fault=" + faults, "--ready-fd=%d" % ready_w],
                               stdout=subprocess.PIPE, stderr=log, pass_fds=[ready_w], text=True)
        os.close(ready_w)
        try:
            if not os.read(ready_r, 100):
                log.seek(0)
                return "the target refused: " + log.read().strip(), faults
            port = tgt.stdout.readline().split()[2].rsplit(":", 1)[1]
            uri = "nvme+tcp://127.0.0.1:%s/%s/1?%s" % (
                port, NQN, "&".join("%s=%s" % kv for kv in keys.items()))
            perf = [os.path.join(build, "examples/nvmf-perf"), "--rw=randrw", "--bsrange=4k-128k",
                    "--iodepth=%d" % r.choice([1, 8, 40]), "--queues=%d" % r.choice([1, 2]),
                    "--size=4m", "--io-limit=300", "--runtime=5", "--verify", "--json",
                    "--seed=%d" % seed, uri]
            env = dict(os.environ, ASAN_OPTIONS="exitcode=99:abort_on_error=0",
                       UBSAN_OPTIONS="halt_on_error=1:exitcode=99")
            try:
                p = subprocess.run(perf, capture_output=True, text=True, timeout=60, env=env)
            except subprocess.TimeoutExpired:
                return "hangs: " + " ".join(perf), faults
            return judge(p), faults + "   [" + uri + "]"
        finally:
            tgt.kill()
            tgt.wait()
            tgt.stdout.close()
            os.close(ready_r)


def judge(p):
    # 2: a namespace that the target made too small for --size
    if p.returncode not in (0, 1, 2):
        return "exit status %d: %s" % (p.returncode, p.stderr[-3000:])
    lines = p.stderr.strip().splitlines()
    if p.returncode and len(lines) != 1:
        return "%d lines on stderr: %s" % (len(lines), p.stderr[-2000:])
    if not p.stdout.strip():
        return "" if p.returncode else "success without results"
    doc = json.loads(p.stdout)
    if doc["submitted"] != doc["completed"]:
        return "%d submitted, %d completed" % (doc["submitted"], doc["completed"])
    if doc["errors"]["verify"]:
        return "wrong data reported as success: " + str(doc["errors"])
    return ""


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("build")
    ap.add_argument("--runs", type=int, default=40)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    failed = 0
    print("1..%d" % a.runs)
    for i in range(a.runs):
        why, faults = one(a.build, a.seed + i)
        print("%sok %d - seed %d" % ("not " if why else "", i + 1, a.seed + i), flush=True)
        if why:
            failed += 1
            for line in (why + "\nscript: " + faults).splitlines():
                print("# " + line, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
