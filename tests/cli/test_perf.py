#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nvmf-perf: command lines, documents, several namespaces, early ends. Usage:
test_perf.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import json
import os
import signal
import subprocess

from clitest import (DEADLINE, NQN, VARIANTS, Folder, Running, eq, fails, main, run, run_json, test,
                     tool, uri, wants)

PERF = "nvmf-perf"
OTHER = "nqn.2024-01.org.example:other"
SHORT = ["--io-limit=500", "--runtime=20"]


@test
def a_document_that_adds_up():
    with Running("--ns=mem:16M") as t:
        for variant in VARIANTS:
            r = run_json(PERF, "--rw=randrw", "--bsrange=4k-64k", "--verify", "--queues=2",
                         "--threads=2", *SHORT, uri(t, "1", variant))
            job = r["jobs"][0]
            eq((job["nsid"], job["subnqn"], job["size"]), (1, NQN, 16 << 20))
            eq(job["read"]["total_ios"] + job["write"]["total_ios"], 500)
            eq((r["submitted"] >= 500, r["submitted"]), (True, r["completed"]))
            eq((r["verify"]["readback"], r["errors"]["first"]), (True, ""))
            eq({q["protocol"] for q in r["transport"]},
               {"mptcp" if "require" in variant else "tcp"})
            eq(len(r["transport"]), 2)


@test
def modes_of_waiting_do_what_they_say():
    with Running("--ns=mem:16M") as t:
        for variant in VARIANTS:
            one = uri(t, "1", variant)
            for mode in "sleep", "adaptive", "spin":
                for rate in [], ["--rate-iops=5000"]:
                    r = run_json(PERF, f"--poll={mode}", "--iodepth=1", "--threads=2", *SHORT,
                                 *rate, one)
                    eq((r["global options"]["poll"], len(r["loops"])), (mode, 2))
                    for loop in r["loops"]:
                        eq(loop["completions"] > 0, True, loop)
                        eq(loop["spins"] > 0, mode != "sleep", loop)
                        # One may be under way when the numbers are taken.
                        eq(loop["spin_looks"] + 1 >= loop["spins"], True, loop)
                        eq(loop["spins"] + 1 >= loop["spin_hits"], True, loop)
                        eq(loop["sleeps"] > 0, True, loop) if mode == "sleep" else None
                        eq(loop["sleeps"], 0, loop) if mode == "spin" else None


@test
def text_for_people():
    with Running("--ns=mem:16M") as t:
        out = run(PERF, *SHORT, "--hist", uri(t, "1")).stdout.decode()
        wants(out, "read of 4 KiB", "IOPS", "p99.9", "500 submitted, 500 completed, 0 errors",
              "read latency from")
        p = subprocess.run([tool(PERF), "--runtime=0.4", "--status-interval=0.1", uri(t, "1")],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
                           check=True)
        wants(p.stderr.decode(), "IOPS", "s left")
        with Folder() as d:
            run(PERF, *SHORT, f"--json-out={d.path('doc')}", uri(t, "1"))
            eq(json.loads(d.read("doc"))["completed"], 500)


@test
def a_silent_target_is_a_stall():
    with Running("--ns=mem:16M") as t:
        # One answer of all those in flight is late: nothing else is asked for meanwhile.
        t.control("fault on=cmd for=read nth=200 do=delay:150")
        one = uri(t, "1")
        r = run_json(PERF, "--iodepth=1", "--runtime=0.6", "--timeline=0.01", one)
        job = r["jobs"][0]
        eq(job["stall_ns"] >= 150_000_000, True, f"stall_ns: {job['stall_ns']}")
        eq(job["read"]["clat_ns"]["max"] >= 150_000_000, True)
        ios = job["timeline"]["ios"]
        eq((job["timeline"]["interval"], len(ios)), (0.01, 60))
        # Completed after the last interval: at most what was in flight.
        eq(0 <= job["read"]["total_ios"] - sum(ios) <= 1, True, f"{sum(ios)} of {job['read']}")
        first = int(job["stall_at"] / 0.01) + 1
        eq(ios[first:first + 13], [0] * 13, "intervals within the stall")
        # Time in which nothing was asked for is none: half a second between two here.
        r = run_json(PERF, "--rate-iops=2", "--iodepth=1", "--io-limit=3", "--runtime=5", one)
        eq(r["jobs"][0]["stall_ns"] < 450_000_000, True, r["jobs"][0]["stall_ns"])
        wants(run(PERF, *SHORT, one).stdout.decode(), "longest time without a completion")


@test
def hedged_reads_have_a_queue_of_their_own():
    with Running("--ns=mem:16M") as t:
        for queues, asked in (([], 2), (["--threads=2"], 4), (["--queues=3"], 6)):
            r = run_json(PERF, *queues, *SHORT, uri(t, "1", "hedge=auto"))
            eq((r["completed"], r["errors"]["first"]), (r["submitted"], ""))
            eq(r["jobs"][0]["nr_io_queues"], asked)
        r = run_json(PERF, *SHORT, uri(t, "1", "hedge=auto&nr_io_queues=3"))
        eq(r["jobs"][0]["nr_io_queues"], 3)
        eq(run_json(PERF, *SHORT, uri(t, "1"))["jobs"][0]["nr_io_queues"], 1)


@test
def several_namespaces_are_jobs_of_their_own():
    with Running("--ns=mem:8M", "--ns=mem:16M,bs=512", f"--nqn={OTHER}", "--ns=mem:4M") as t:
        r = run_json(PERF, "--rw=randwrite", "--verify", "--threads=3", *SHORT, uri(t, "1"),
                     uri(t, "2"), uri(t, "1", nqn=OTHER))
        eq([(j["nsid"], j["subnqn"], j["size"] >> 20) for j in r["jobs"]],
           [(1, NQN, 8), (2, NQN, 16), (1, OTHER, 4)])
        eq([j["completed"] >= 500 for j in r["jobs"]], [True] * 3)


@test
def a_discovery_uri_is_all_it_lists():
    with Running(f"--nqn={NQN}", "--ns=mem:8M", f"--nqn={OTHER}", "--ns=mem:4M") as t:
        base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
        r = run_json(PERF, "--rw=randrw", "--verify", *SHORT, base + "?mptcp=off")
        eq(sorted((j["subnqn"], j["size"] >> 20) for j in r["jobs"]), sorted([(NQN, 8), (OTHER, 4)]))
        eq({q["protocol"] for q in r["transport"]}, {"tcp"}, "keys of the URI are those of all")
        with Folder() as d:
            wants(run(PERF, f"--pcap={d.path('pdus')}", base, rc=2).stderr, "stands for 2")


@test
def what_a_log_lists_and_cannot_be_used_is_named():
    with Running("--ns=mem:8M") as t:
        for record in (f"traddr=127.0.0.9 trsvcid={t.addr[1]} nqn={NQN}",
                       "traddr=127.0.0.1 trsvcid=4420 trtype=1 nqn=nqn.2024-01.org.example:rdma",
                       f"traddr=127.0.0.1 trsvcid={t.addr[1]} nqn=nqn.2024-01.org.example:gone"):
            t.control(f"discovery-add {record}")
        base = f"nvme+tcp://127.0.0.1:{t.addr[1]}"
        r = run_json(PERF, *SHORT, base)
        eq([j["subnqn"] for j in r["jobs"]], [NQN])
        eq(len(r["not_used"]), 3, r["not_used"])
        wants(run(PERF, *SHORT, base).stdout.decode(), "not used    ", "500 completed")


@test
def a_signal_ends_it_with_the_results_so_far():
    with Running("--ns=mem:16M") as t:
        for sig in (signal.SIGINT, signal.SIGTERM):
            p = subprocess.Popen([tool(PERF), "--json", "--runtime=100", "--status-interval=0.05",
                                  uri(t, "1")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            p.stderr.readline()     # the load runs
            p.send_signal(sig)
            out = p.communicate(timeout=DEADLINE)[0]
            r = json.loads(out)
            eq((p.returncode, r["interrupted"], r["submitted"]), (0, True, r["completed"]))


@test
def wrong_command_lines():
    with Running("--ns=mem:16M", "--ns=mem:16M,ro") as t:
        one = uri(t, "1")
        for args in ([], ["--rw=fly", one], ["--bs=0", one], ["--bs=1000", one], ["--bsrange=8k", one],
                     ["--bsrange=8k-4k", one], ["--iodepth=0", one], ["--iodepth=5000", one],
                     ["--threads=4", "--queues=2", one], ["--size=1g", one], ["--verify=md5", one],
                     ["--poll=often", one], ["--runtime=0", one], ["--nonsense", one], ["--rw"],
                     ["--json-out=/nonexistent/x", one], ["--timeline=0", one],
                     ["--timeline=0.00001", one], ["--timeline=1", "--io-limit=5", one], ["nvme+tcp://"],
                     [one + "?engine=epoll", uri(t, "2") + "?engine=io_uring"]):
            run(PERF, *args, rc=2)
        wants(fails(PERF, "--rw=write", uri(t, "2"), stdout=subprocess.DEVNULL), "write protected")
        with open("/dev/full", "w") as full:
            wants(fails(PERF, *SHORT, one, stdout=full), "could not be written")
        wants(fails(PERF, *SHORT, one, stdout=subprocess.DEVNULL,
                    preexec_fn=lambda: os.close(1)), "could not be written")
    wants(fails(PERF, one, stdout=subprocess.DEVNULL), "refused")


if __name__ == "__main__":
    raise SystemExit(main())
