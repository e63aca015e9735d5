#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the chaos program must find, and that it finds nothing where nothing is wrong. Usage:
test_chaos_sees.py PATH/nvmf-target PATH/chaos. Output is TAP."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from taptest import Running, eq, main, test  # noqa: E402

CHAOS = sys.argv[2]
KEYS = "keep_alive_tmo=2&io_timeout=10&ctrl_loss_tmo=0"


def chaos(target, *args, keys=KEYS, seconds=3):
    """(exit status, final document)"""
    host, port = target.addr
    uri = f"nvme+tcp://{host}:{port}/nqn.2025-11.org.libnof:target?{keys}"
    p = subprocess.run([CHAOS, f"--seconds={seconds}", "--span=16", "--interval=0.5", *args, uri],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    lines = p.stdout.decode().splitlines()
    eq(p.stderr.decode(), "", "stderr")
    return p.returncode, [json.loads(line) for line in lines][-1]


def must_find(what, fault=None, args=(), target=(), **kw):
    with Running("--ns=mem:16M", *target) as t:
        if fault:
            t.control("fault " + fault)
        status, doc = chaos(t, *args, **kw)
    eq((status, doc["ok"]), (1, False), f"{fault or args}: {doc}")
    eq(bool(doc[what]), True, f"{what} of {doc}")
    return doc


@test
def nothing_where_nothing_is_wrong():
    with Running("--ns=mem:16M") as t:
        for keys in ("mptcp=off&engine=epoll", "mptcp=prefer"):
            status, doc = chaos(t, keys=f"{KEYS}&{keys}")
            eq((status, doc["ok"], doc["submitted"], doc["first_failure"]),
               (0, True, doc["completed"], ""))
            eq(doc["reread_units"], 4096)
    with Running("--ns=mem:16M,bs=512") as t:
        status, doc = chaos(t, "--workers=5", "--depth=40")
        eq((status, doc["first_failure"]), (0, ""))


@test
def faults_of_its_own_in_every_counter():
    eq(must_find("lost", args=("--plant=lost", "--max-age=2"), seconds=8)["lost"], 2,
       "one of each worker")
    eq(must_find("doubled", args=("--plant=doubled",))["doubled"], 2)
    eq(must_find("mismatches", args=("--plant=corrupt",))["mismatches"], 2)


@test
def one_bit_of_a_read():
    doc = must_find("mismatches", "on=c2hdata for=read qid=io nth=100 do=set:data8[77]^=4")
    eq(doc["mismatches"], 1)


@test
def a_write_that_did_nothing():
    # All of them from one on, so that none is overwritten before it is read. Success without an
    # R2T would be seen by the library: in the capsule it cannot be.
    doc = must_find("mismatches", "on=write nth=200- do=status:0", target=["--in-capsule=1m"])
    # A read or a compare of such a place notices, whichever comes first.
    eq(any(word in doc["first_failure"] for word in ("older", "zeroes", "a compare of")), True,
       str(doc))


@test
def zeroes_that_were_not_written():
    must_find("mismatches", "on=writezeroes nth=10- do=status:0")


@test
def a_compare_that_says_yes_to_everything():
    must_find("mismatches", "on=compare do=status:0")


@test
def a_write_that_fails_leaves_a_doubt_and_is_an_error():
    doc = must_find("errors", "on=write nth=200 do=status:2/0x80/dnr")
    eq((doc["errors"], doc["mismatches"], doc["doubtful_units"] > 0), (1, 0, True))


@test
def an_old_write_that_a_stopped_target_executes_late():
    """What write_hold is for: without it, and with targets that do not give the host up."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "chaos.py")
    build = os.path.dirname(os.path.dirname(sys.argv[1]))
    p = subprocess.run([sys.executable, script, f"--build={build}", "--seconds=15", "--seed=5",
                        "--only=stop", "--hold=off", "--no-fence", "--ignore-rss"],
                       stdout=subprocess.PIPE, timeout=200)
    report = json.loads(p.stdout)
    eq((p.returncode, report["final"]["mismatches"] > 0), (1, True), str(report)[:2000])


if __name__ == "__main__":
    raise SystemExit(main())
