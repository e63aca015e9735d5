#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tools over several paths to one namespace. Usage:
test_paths.py PATH/nvmf-target TOOLS_FOLDER. Output is TAP."""
import json
import re
import signal
import subprocess

from clitest import (DEADLINE, NQN, VARIANTS, Folder, Running, eq, main, noise, run, run_json, test,
                     tool, until, wants)

MIB = 1 << 20
OTHER = "nqn.2024-01.org.example:other"
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
FAST = "ctrl_loss_tmo=20&reconnect_delay=0.2&keep_alive_tmo=1&write_hold=off"


def two_ports(*args, states=("optimized", "non-optimized"), ns=("--ns=mem:16M,anagrp=1",)):
    return Running(*ns, f"--listen=127.0.0.1:0,ana=1:{states[1]}", *args,
                   listen=f"127.0.0.1:0,ana=1:{states[0]}")


def addresses(t):
    """host:port of each listening socket, in the order of the command line."""
    rows = re.findall(r"addr=(\S+) port=(\d+) .*index=(\d+)", t.control("listeners"))
    return [f"{addr}:{port}" for addr, port, index in sorted(rows, key=lambda row: int(row[2]))]


def uris(t, variant="", ns="", nqn=NQN):
    return [f"nvme+tcp://{address}/{nqn}{ns and '/' + ns}" + (f"?{variant}" if variant else "")
            for address in addresses(t)]


@test
def perf_uses_the_optimized_path_and_names_both():
    with two_ports() as t:
        for variant in VARIANTS:
            r = run_json("nvmf-perf", "--rw=randrw", "--verify", "--io-limit=1000",
                         *uris(t, variant))
            eq(len(r["jobs"]), 1, "one namespace, one job")
            paths = r["jobs"][0]["paths"]
            eq([p["uri"] for p in paths], uris(t, variant))
            eq([(p["state"], p["ana_state"]) for p in paths],
               [("up", "optimized"), ("up", "non-optimized")])
            eq((paths[0]["commands"] >= 1000, paths[1]["commands"]), (True, 0))
        text = run("nvmf-perf", "--io-limit=100", *uris(t)).stdout.decode()
        wants(text, "up, optimized, 100 commands", "up, non-optimized, 0 commands")


@test
def equal_paths_share_by_the_policy_of_the_first():
    with two_ports(states=("optimized", "optimized")) as t:
        for policy, shares in (("round-robin", True), ("queue-depth", True), ("numa", False)):
            first, second = uris(t, f"iopolicy={policy}")
            r = run_json("nvmf-perf", "--rw=randread", "--io-limit=2000", first, second)
            n = [p["commands"] for p in r["jobs"][0]["paths"]]
            eq((sum(n), min(n) > 500), (2000, shares), f"{policy}: {n}")


@test
def a_discovery_uri_gives_all_paths():
    with two_ports() as t:
        r = run_json("nvmf-perf", "--io-limit=100", uris(t, nqn=DISCOVERY)[0])
        eq([len(j["paths"]) for j in r["jobs"]], [2])


def start(*args):
    """A tool that has begun its work."""
    p = subprocess.Popen([tool(args[0]), *args[1:]], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    return p


def commands(t):
    return json.loads(t.control("stats"))["commands"]


@test
def verified_load_goes_on_when_a_port_disappears_and_returns():
    with two_ports() as t:
        for variant in VARIANTS:
            first = addresses(t)[0]
            p = start("nvmf-perf", "--json", "--rw=randrw", "--verify", "--runtime=3",
                      "--iodepth=8", *uris(t, f"{variant}&{FAST}"))
            before = commands(t)
            until(lambda: commands(t) > before + 500)
            t.control("unlisten 1")
            before = commands(t)
            until(lambda: commands(t) > before + 500)
            t.control(f"listen {first},ana=1:optimized")
            out, err = p.communicate(timeout=DEADLINE)
            eq((p.returncode, err), (0, b""))
            r = json.loads(out)
            paths = r["jobs"][0]["paths"]
            eq([path["state"] for path in paths], ["up", "up"])
            eq((paths[0]["reconnects"], paths[0]["resets"], paths[1]["resets"]), (1, 1, 0))
            eq((paths[1]["commands"] > 500, r["jobs"][0]["retries"] > 0), (True, True))
            eq((r["submitted"], r["errors"]["verify"]), (r["completed"], 0))


@test
def a_load_without_a_path_fails_with_the_reason():
    with two_ports() as t:
        p = start("nvmf-perf", "--runtime=20", *uris(t))
        before = commands(t)
        until(lambda: commands(t) > before + 100)
        t.control("unlisten 1")
        before = commands(t)
        until(lambda: commands(t) > before + 100)     # the other path: no recovery was asked for
        t.control("unlisten 2")
        err = p.communicate(timeout=DEADLINE)[1].decode()
        eq((p.returncode, err.count("\n")), (1, 1), err)


@test
def info_shows_states_and_all_paths():
    with two_ports(f"--nqn={OTHER}", "--ns=mem:4M") as t:
        first, second = uris(t)
        wants(run("nvmf-info", first).stdout.decode(), f"path       {addresses(t)[0]}, up, ANA "
              "group 1 optimized")
        t.control("ana 2 1 inaccessible")
        eq([(p["ana_state"], p["usable"]) for p in
            run_json("nvmf-info", second)["namespaces"][0]["paths"]], [("inaccessible", False)])
        t.control("ana 2 1 non-optimized")
        for where in ([first, second], [uris(t, nqn=DISCOVERY)[1]]):
            r = run_json("nvmf-info", "--connect-all", *where)
            spaces = [n for n in r["namespaces"] if n["subnqn"] == NQN]
            eq(len(spaces), 1)
            eq(sorted((p["address"], p["ana_state"]) for p in spaces[0]["paths"]),
               sorted(zip(addresses(t), ("optimized", "non-optimized"))))
            wants(run("nvmf-info", "--connect-all", *where).stdout.decode(), "ANA group 1 optimized",
                  "ANA group 1 non-optimized", f"subsystem    {NQN}")
        eq({n["subnqn"] for n in r["namespaces"]}, {NQN, OTHER})
    dead = first.replace("127.0.0.1", "127.0.0.9")
    with two_ports() as t:
        r = run_json("nvmf-info", "--connect-all", dead, uris(t)[0])
        eq([bool(c["error"]) for c in r["controllers"]], [True, False])
        wants(r["controllers"][0]["detail"], "refused")
    wants(run("nvmf-info", "--connect-all", dead, rc=1).stderr, "refused")
    run("nvmf-info", "--connect-all", rc=2)
    run("nvmf-info", "--connect-all", "--list", dead, rc=2)


@test
def copies_go_on_over_the_other_path():
    data = noise(16 * MIB)
    with Folder() as d, two_ports() as t:
        src = d.write("src", data)
        first, second = uris(t, FAST)
        back = addresses(t)[0]
        r = run_json("nvmf-copy", f"--path={second}", src, first)
        eq([(p["uri"], p["state"], p["commands"] > 0) for p in r["destination"]["paths"]],
           [(first, "up", True), (second, "up", False)])
        t.control("fault on=read nth=20 do=reset")
        r = run_json("nvmf-copy", "--request-size=64k", f"--path={second}", first, d.path("dst"))
        eq(d.read("dst") == data, True, "content")
        eq(sum(p["retries"] for p in r["source"]["paths"]) > 0, True)
        t.control("clear")
        # And without another path, over the same one again.
        t.control("fault on=read nth=20 do=reset")
        r = run_json("nvmf-copy", "--request-size=64k", first, d.path("dst"))
        eq((d.read("dst") == data, r["source"]["paths"][0]["reconnects"]), (True, 1))
        t.control("clear")
        # Verified, while the path in use goes for good.
        p = start("nvmf-copy", "--json", "--verify", "--request-size=16k", "--requests=2",
                  f"--path={second}", src, first)
        before = commands(t)
        until(lambda: commands(t) > before + 50)
        t.control("unlisten 1")
        out, err = p.communicate(timeout=DEADLINE)
        eq((p.returncode, err), (0, b""))
        eq(json.loads(out)["verify"]["same"], True)
        t.control(f"listen {back},ana=1:optimized")


@test
def the_bar_says_that_it_waits():
    with Folder() as d, two_ports() as t:
        src = d.write("src", noise(4 * MIB))
        t.control("fault on=write nth=10- do=drop")
        p = subprocess.Popen([tool("nvmf-copy"), "--progress", src, uris(t, FAST)[0]],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seen = b""
        while b"waiting for" not in seen:
            piece = p.stderr.read1(1000)
            eq(bool(piece), True, f"it ended: {seen}")
            seen += piece
        p.send_signal(signal.SIGINT)
        eq(p.communicate(timeout=DEADLINE) and p.returncode, 1)
        t.control("clear")


@test
def paths_that_are_none():
    with two_ports(ns=("--ns=mem:4M,anagrp=1", "--ns=mem:4M,anagrp=1")) as t, Folder() as d:
        src = d.write("src", noise(MIB))
        one, other = uris(t, ns="1")
        two = uris(t, ns="2")[1]
        wants(run("nvmf-copy", f"--path={two}", src, one, rc=2).stderr, "another namespace")
        wants(run("nvmf-copy", f"--path={other}", src, d.path("dst"), rc=2).stderr, "--path")
        run("nvmf-copy", "--path=file", src, one, rc=2)
        run("nvmf-copy", "--path=nvme+tcp://", src, one, rc=2)
        wants(run("nvmf-copy", f"--path={one}", src, one, rc=1).stderr, "path")
        wants(run("nvmf-perf", one, one, rc=1).stderr, "path")
        eq(len(run_json("nvmf-perf", "--io-limit=10", one, two)["jobs"]), 2)


@test
def a_signal_while_there_is_no_path():
    with two_ports() as t:
        p = start("nvmf-perf", "--json", "--runtime=60", *uris(t, FAST.replace("20", "60")))
        before = commands(t)
        until(lambda: commands(t) > before + 100)
        t.control("unlisten 1")
        t.control("unlisten 2")
        until(lambda: json.loads(t.control("stats"))["conns"] == 0)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=DEADLINE)
        r = json.loads(out)
        eq((r["interrupted"], r["submitted"]), (True, r["completed"]), err)


if __name__ == "__main__":
    raise SystemExit(main())
