#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-info: exit codes of questions, lists, discovery, documents. Usage:
test_info.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import json
import os
import re
import signal
import subprocess
import threading

from clitest import (DEADLINE, NQN, VARIANTS, Running, eq, fails, main, run, run_json, test, tool,
                     uri, wants)

INFO = "nvmf-info"
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
NO = 3


@test
def questions_about_a_namespace():
    with Running("--ns=mem:4M", "--ns=mem:4M,ro", "--no-flush-cache") as t, \
            Running("--ns=mem:4M") as cached:
        for variant in VARIANTS:
            for ns, option, rc in (
                    ("1", "--can=read", 0), ("2", "--can=read", 0),
                    ("1", "--can=write", 0), ("2", "--can=write", NO),
                    ("1", "--can=flush", 0),
                    ("1", "--can=write-zeroes", 0), ("1", "--can=write_zeroes", 0),
                    ("2", "--can=write-zeroes", NO), ("2", "--can=deallocate", NO),
                    ("1", "--can=deallocate", 0), ("1", "--can=compare", 0),
                    ("1", "--can=verify", 0), ("2", "--can=verify", 0),
                    ("1", "--can=copy", 0), ("2", "--can=copy", NO),
                    ("1", "--can=compare-write", 0), ("1", "--can=reserve", 0),
                    ("1", "--can=append", NO), ("1", "--is=zoned", NO),
                    ("1", "--is=read-only", NO), ("2", "--is=read_only", 0),
                    ("1", "--is=volatile-cache", NO), ("1", "--is=discovery", NO)):
                p = run(INFO, option, uri(t, ns, variant), rc=rc)
                eq((p.stdout, p.stderr), (b"", ""), option)
            run(INFO, "--is=volatile-cache", uri(cached, "1", variant))


@test
def questions_about_the_connection():
    with Running("--ns=mem:4M") as t:
        run(INFO, "--is=mptcp", uri(t, variant="mptcp=off"), rc=NO)
        if "require" in VARIANTS[1]:
            run(INFO, "--is=mptcp", uri(t, variant="mptcp=require"))
        run(INFO, "--is=hdr-digest", uri(t), rc=NO)
        run(INFO, "--is=hdr-digest", uri(t, variant="hdr_digest=on"))
        run(INFO, "--is=data_digest", uri(t, variant="data_digest=on"))
        run(INFO, "--is=discovery", uri(t, nqn=DISCOVERY))
        run(INFO, "--can=write", uri(t, nqn=DISCOVERY), rc=NO)
        r = run_json(INFO, "--is=discovery", uri(t), rc=NO)
        eq(r, {"question": "is", "name": "discovery", "answer": False})


@test
def failures_and_wrong_command_lines_are_no_answers():
    with Running("--ns=mem:4M") as t:
        one = uri(t, "1")
        run(INFO, "--can=write", uri(t, "7"), rc=1)
        run(INFO, "--can=write", uri(t, "1", nqn="nqn.2024-01.org.example:none"), rc=1)
        for args in ([], [one, one], ["--can=fly", one], ["--is=", one], ["--can"],
                     ["--list", "--size", one], ["--can=read", "--can=write", one],
                     ["--nonsense", one], ["nvme+tcp://"], ["--size", uri(t, nqn=DISCOVERY)]):
            run(INFO, *args, rc=2)
        wants(run(INFO, "--can=fly", one, rc=2).stderr, "write-zeroes", "compare")
    run(INFO, one, rc=1)


@test
def an_output_that_cannot_be_written_is_an_error():
    with Running("--ns=mem:4M") as t:
        one = uri(t, "1")
        for args in ([], ["--json"], ["--list"], ["--size"], ["--paths"], ["--doctor"],
                     ["--json", "--doctor"], ["--json", "--can=read"]):
            with open("/dev/full", "w") as full:
                err = fails(INFO, *args, one, stdout=full)
            wants(err, "standard output: No space left on device")
            err = fails(INFO, *args, one, preexec_fn=lambda: os.close(1))
            wants(err, "standard output: Bad file descriptor")
        # Whoever closed it reads no sentence, and it must not end up in a connection either.
        eq(subprocess.run([tool(INFO), uri(t, "7")], preexec_fn=lambda: os.close(2), check=False,
                          stdout=subprocess.PIPE).returncode, 1)


@test
def several_namespaces_in_a_table_a_list_and_a_document():
    with Running("--ns=mem:4M", "--ns=null:1T,bs=512", "--ns=mem:8M,nsid=7,ro") as t:
        for variant in VARIANTS:
            text = run(INFO, uri(t, variant=variant)).stdout.decode()
            wants(text, "NSID", "subsystem    " + NQN)
            rows = [line.split()[:4] for line in text.splitlines()
                    if re.match(r" +\d+ +\d", line)]
            eq([(r[0], r[1] + r[2], r[3]) for r in rows],
               [("1", "4MiB", "4096"), ("2", "1TiB", "512"), ("7", "8MiB", "4096")])
            uris = run(INFO, "--list", uri(t, variant=variant)).stdout.decode().split()
            eq(len(uris), 3)
            sizes = [int(run(INFO, "--size", u).stdout) for u in uris]
            eq(sizes, [4 << 20, 1 << 40, 8 << 20], "each leads to its namespace")
            r = run_json(INFO, uri(t, variant=variant))
            eq([(n["nsid"], n["bytes"], n["block_size"]) for n in r["namespaces"]],
               [(1, 4 << 20, 4096), (2, 1 << 40, 512), (7, 8 << 20, 4096)])
            eq(r["namespaces"][2]["features"]["read_only"], True)
            eq(r["controller"]["subnqn"], NQN)
            one = run(INFO, uri(t, "7", variant)).stdout.decode()
            wants(one, "namespace 7", "2048 blocks of 4096 bytes", "read_only")
            eq(run_json(INFO, "--size", uri(t, "2")), {"bytes": 1 << 40})


@test
def zones_metadata_and_atomic_writes():
    with Running("--ns=mem:64M,zns=4M,mor=3,mar=5", "--ns=mem:8M,bs=512,ms=8,pi=1",
                 "--ns=mem:8M,atomic=4") as t:
        n = run_json(INFO, uri(t))["namespaces"]
        eq([(s["metadata_size"], s["pi_type"], "zones" in s) for s in n],
           [(0, 0, True), (8, 1, False), (0, 0, False)])
        eq((n[0]["zones"], n[0]["zone_size"], n[0]["max_open_zones"], n[0]["max_active_zones"]),
           (16, 1024, 3, 5))
        eq((n[1]["pi_guard_bits"], n[1]["pi_first"]), (16, False))
        eq(n[2]["atomic_write"], 16384)
        for ns, words in (("1", "16 of 4 MiB, 3 may be open, 5 active"),
                          ("2", "protection information type 1 with a guard of 16 bits"),
                          ("3", "16 KiB atomic")):
            wants(run(INFO, uri(t, ns)).stdout.decode(), words)
        table = run(INFO, uri(t)).stdout.decode()
        wants(table, " zoned\n", " protected:1\n")
        eq(max(len(line) for line in table.splitlines()[-3:]) < 100, True, table)
        run(INFO, "--is=zoned", uri(t, "1"))
        run(INFO, "--can=append", uri(t, "1"))
        run(INFO, "--is=zoned", uri(t, "2"), rc=NO)
        run(INFO, "--is=protected", uri(t, "2"))
        # Tools that write in any order say so before anything is written.
        wants(run("nvmf-copy", "/dev/null", uri(t, "1"), rc=1).stderr, "has zones")
        wants(fails("nvmf-perf", "--rw=write", uri(t, "1"), stdout=subprocess.DEVNULL),
              "has zones")
        run("nvmf-perf", "--rw=randread", "--io-limit=10", uri(t, "1"))


@test
def the_discovery_log():
    nqns = ["nqn.2024-01.org.example:a", "nqn.2024-01.org.example:b"]
    with Running(f"--nqn={nqns[0]}", "--ns=mem:4M", f"--nqn={nqns[1]}", "--ns=mem:8M") as t:
        base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
        for where in (base, f"{base}/{DISCOVERY}"):
            lines = run(INFO, "--list", where).stdout.decode().splitlines()
            found = {line.split()[1] for line in lines if line.startswith("subsystem")}
            eq(found, {f"{base}/{nqn}" for nqn in nqns})
        eq([int(run(INFO, "--size", f"{base}/{nqn}").stdout) for nqn in nqns],
           [4 << 20, 8 << 20])
        r = run_json(INFO, base)
        eq(r["controller"]["is_discovery"], True)
        entries = [e for e in r["discovery"]["entries"] if e["type"] == "subsystem"]
        eq(sorted(e["subnqn"] for e in entries), nqns)
        eq({(e["transport"], e["adrfam"], e["trsvcid"]) for e in entries},
           {("tcp", "ipv4", str(t.addr[1]))})


@test
def referrals_are_followed_and_dead_ones_named():
    other = "nqn.2024-01.org.example:other"
    with Running("--ns=mem:4M") as t, Running(f"--nqn={other}", "--ns=mem:8M") as u:
        base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
        t.control(f"referral-add 127.0.0.1:{u.addr[1]}")
        t.control("referral-add 127.0.0.1:1")
        r = run_json(INFO, base)["discovery"]
        eq({e["subnqn"] for e in r["entries"] if e["type"] == "subsystem"}, {NQN, other})
        eq([(s["trsvcid"], s["depth"], bool(s["error"])) for s in
            sorted(r["services"], key=lambda s: (s["depth"], bool(s["error"])))],
           [(str(t.addr[1]), 0, False), (str(u.addr[1]), 1, False), ("1", 1, True)])
        text = run(INFO, base).stdout.decode()
        wants(text, f"127.0.0.1:{u.addr[1]}/{other}", "refused", "service    ")
        r = run_json(INFO, "--connect-all", base)
        eq({n["subnqn"] for n in r["namespaces"]}, {NQN, other})


class Follow:
    """nvmf-info --follow for one with-block; a signal must end it with success."""

    def __init__(self, *args, sig=signal.SIGINT):
        self.args, self.sig = args, sig

    def __enter__(self):
        self.p = subprocess.Popen([tool(INFO), "--follow", *self.args], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.watchdog = threading.Timer(DEADLINE, self.p.kill)
        self.watchdog.start()
        return self

    def line(self):
        return self.p.stdout.readline()

    def __exit__(self, kind, value, tb):
        self.watchdog.cancel()
        if kind is not None:
            self.p.kill()
        self.p.send_signal(self.sig)
        out, err = self.p.communicate(timeout=DEADLINE)
        if kind is None:
            eq((self.p.returncode, out, err), (0, "", ""))


@test
def changes_of_the_log_are_followed():
    other = "nqn.2024-01.org.example:a"
    for sig in (signal.SIGINT, signal.SIGTERM):
        with Running("--ns=mem:4M") as t:
            base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
            with Follow(base, sig=sig) as f:
                eq(f.line(), f"+ subsystem  {base}/{NQN}\n")
                t.control(f"discovery-add traddr=192.0.2.7 trsvcid=4420 nqn={other}")
                eq(f.line(), f"+ subsystem  nvme+tcp://192.0.2.7:4420/{other}\n")
                t.control("discovery-clear")
                eq(f.line(), f"- subsystem  nvme+tcp://192.0.2.7:4420/{other}\n")


@test
def changes_as_documents():
    other = "nqn.2024-01.org.example:a"
    with Running("--ns=mem:4M") as t:
        base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
        with Follow("--json", base) as f:
            r = json.loads(f.line())
            eq([e["subnqn"] for e in r["added"] if e["type"] == "subsystem"], [NQN])
            eq((r["removed"], [s["error"] for s in r["services"]]), ([], [0]))
            eq(r["count"], len(r["added"]))
            t.control(f"discovery-add traddr=192.0.2.7 trsvcid=4420 nqn={other}")
            s = json.loads(f.line())
            eq([e["traddr"] for e in s["added"]], ["192.0.2.7"])
            eq((s["removed"], s["count"]), ([], r["count"] + 1))
            t.control("discovery-clear")
            s = json.loads(f.line())
            eq((s["added"], [e["traddr"] for e in s["removed"]]), ([], ["192.0.2.7"]))


@test
def what_cannot_be_followed():
    wants(run(INFO, "--follow", "nvme+tcp://127.0.0.1:1", rc=1).stderr, "refused")
    run(INFO, "--follow", rc=2)
    run(INFO, "--follow", "--list", "nvme+tcp://127.0.0.1:1", rc=2)
    run(INFO, "--follow", "nvme+tcp://127.0.0.1:1?nonsense=1", rc=2)
    with Running("--ns=mem:4M") as t:
        wants(run(INFO, "--follow", uri(t), rc=1).stderr, "discovery")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                wants(fails(INFO, "--follow", f"nvme+tcp://127.0.0.1:{t.addr[1]}", stdout=full),
                      "No space")


@test
def a_service_that_is_lost_and_comes_back():
    with Running("--ns=mem:4M") as t:
        port = t.addr[1]
        base = f"nvme+tcp://127.0.0.1:{port}"
        with Follow(base) as f:
            f.line()
            t.control("fault on=connect do=status:1/0x81")
            t.control("drop admin")
            wants(f.line(), f"! service    127.0.0.1 port {port}: ")
            t.control("clear")
            # Each other reason is told, until it is over.
            while (line := f.line()) != f"! service    127.0.0.1 port {port}: answers again\n":
                wants(line, f"! service    127.0.0.1 port {port}: ")


@test
def paths_and_the_doctor():
    with Running("--ns=mem:4M") as t:
        for variant in VARIANTS:
            r = run_json(INFO, "--paths", uri(t, "1", variant))
            eq(sorted(r), ["namespaces", "path_manager", "queues", "total", "transport"])
            eq([q["qid"] for q in r["queues"]], [0, 1])
            eq([(n["nsid"], len(n["paths"])) for n in r["namespaces"]], [(1, 1)])
            want = "mptcp" if "require" in variant else "tcp"
            eq(r["transport"]["protocol"], want)
            eq(r["transport"]["subflows"][0]["peer"], f"127.0.0.1:{t.addr[1]}")
            wants(run(INFO, "--paths", uri(t, "1", variant)).stdout.decode(),
                  want.upper(), f"127.0.0.1:{t.addr[1]}")
            r = run_json(INFO, "--doctor", uri(t, "1", variant))
            eq(sorted(r), ["error", "findings", "host", "transport"])
        wants(run(INFO, "--doctor", uri(t, variant="mptcp=off")).stdout.decode(),
              "this host", "transport    TCP", "The URI says mptcp=off")
    with Running("--ns=mem:4M", "--mptcp=off") as t:
        if "require" in VARIANTS[1]:
            wants(run(INFO, "--doctor", uri(t)).stdout.decode(), "look at the target")


if __name__ == "__main__":
    raise SystemExit(main())
