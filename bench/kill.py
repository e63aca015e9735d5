#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kills or silences the target at random points of a run and looks at how nvmf-perf ends.

Each point (seeded, so that a failure can be repeated with --seed and --point) must end with
status 1 in bounded time, one sentence on stderr, and every submitted command completed. With
an ASan build (--build build/asan) leaks and misuse of memory are failures too.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import time

import benchlib

WINDOW = 1.5		# seconds after the start of nvmf-perf in which the target is hit
SET_UP_WINDOW = 0.03	# likewise for the points that aim at the set-up
IO_TIMEOUT = 1
KEEP_ALIVE = 2
SET_UP = 2		# connect and admin timeout

Point = collections.namedtuple("Point", "number delay silence mptcp engine rw bs qd digest")


def draw(seed, number):
    rnd = random.Random(f"{seed}/{number}")
    # One in five hits the set-up, which is over in a few milliseconds.
    delay = rnd.uniform(0, SET_UP_WINDOW if number % 5 == 4 else WINDOW)
    return Point(number, delay, number % 2 == 1, rnd.random() < 0.5,
                 rnd.choice(("io_uring", "epoll")),
                 rnd.choice(("randread", "randwrite", "randrw")),
                 rnd.choice((512, 4096, 65536, 1048576)), rnd.choice((1, 16, 127)),
                 rnd.choice(("on", "off")))


def judge(point, status, out, err, took, bound):
    """Returns (list of complaints, whether I/O had begun)."""
    bad = []
    if status is None:
        return [f"did not end within {bound} s"], False
    if status != 1:
        bad.append(f"status {status} instead of 1")
    lines = err.splitlines()
    if len(lines) != 1 or not lines[0].strip():
        bad.append(f"{len(lines)} lines on stderr instead of one: {' / '.join(lines[:4])}")
    # The document is there whenever the command line was understood, connected or not.
    try:
        doc = json.loads(out)
    except ValueError:
        bad.append("stdout is not one JSON document")
        return bad, False
    submitted, completed, errors = doc["submitted"], doc["completed"], doc["errors"]
    if submitted != completed:
        bad.append(f"submitted {submitted}, completed {completed}")
    jobs = doc["jobs"]
    if any(job["submitted"] != job["completed"] for job in jobs):
        bad.append("submitted and completed differ for a job")
    if not sum(errors[kind] for kind in ("io", "verify", "other")) or not errors["first"]:
        bad.append(f"no error in the document: {errors}")
    elif len(lines) == 1 and errors["first"] not in lines[0]:
        bad.append(f"the document says '{errors['first']}'")
    # What was in flight when the target went away must have failed, each exactly once.
    good = sum(job[way]["total_ios"] for job in jobs for way in ("read", "write"))
    if submitted and good + errors["io"] != submitted:
        bad.append(f"{good} good and {errors['io']} failed of {submitted} I/Os")
    return bad, bool(submitted)


def run_point(args, point):
    env = dict(os.environ)
    # Distinct from the tool's own statuses, and loud about leaks.
    env["ASAN_OPTIONS"] = "exitcode=99:detect_leaks=1:" + env.get("ASAN_OPTIONS", "")
    env["UBSAN_OPTIONS"] = "halt_on_error=1:exitcode=99:" + env.get("UBSAN_OPTIONS", "")
    bound = args.bound
    target = benchlib.start_target(args.build, point.mptcp, ["mem:64M,bs=512"], env=env,
                                   extra=["--hdgst", "--ddgst"] if point.digest == "on" else [])
    with target:
        where = benchlib.uri(target.port, engine=point.engine,
                             mptcp="require" if point.mptcp else "off",
                             hdr_digest=point.digest, data_digest=point.digest,
                             io_timeout=IO_TIMEOUT, keep_alive_tmo=KEEP_ALIVE,
                             connect_timeout=SET_UP, admin_timeout=SET_UP, ctrl_loss_tmo=0)
        argv = benchlib.perf_argv(args.build, f"--rw={point.rw}", f"--bs={point.bs}",
                                  f"--iodepth={point.qd}", "--runtime=60", where)
        perf = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=env)
        try:
            # This sleep is the random point itself, not a wait for a condition.
            time.sleep(point.delay)
            target.signal(signal.SIGSTOP if point.silence else signal.SIGKILL)
            hit = time.monotonic()
            try:
                out, err = perf.communicate(timeout=bound)
                status = perf.returncode
            except subprocess.TimeoutExpired:
                perf.kill()
                out, err = perf.communicate()
                status = None
            took = time.monotonic() - hit
        finally:
            if perf.poll() is None:
                perf.kill()
                perf.wait()
    out, err = out.decode(errors="replace"), err.decode(errors="replace")
    bad, running = judge(point, status, out, err, took, bound)
    return bad, running, took, err.strip().splitlines()[0] if err.strip() else ""


def markdown(doc, out, asan=None):
    """One section for the run of a plain build and that of a sanitizer build."""
    docs = [(name, one) for name, one in (("plain", doc), ("ASan + UBSan", asan)) if one]
    print("## A target that dies or falls silent\n", file=out)
    print("SIGKILL or SIGSTOP for the target at random points of a run. As they must: exit "
          "status 1 within\n10 s, one sentence on stderr, every submitted I/O completed once; "
          "with AddressSanitizer also no\nleak and no misuse of memory. `io_timeout` is 1 s, "
          "`admin_timeout` 2 s.\n", file=out)
    rows = [[name, len(doc["points"]), len(doc["points"]) - doc["failed"], doc["during_io"],
             f"{doc['slowest_s']['killed']:.2f}", f"{doc['slowest_s']['silenced']:.2f}"]
            for name, doc in docs]
    benchlib.table(["build", "points", "as they must", "during I/O", "slowest end, killed (s)",
                    "silenced (s)"], rows, out, markdown=True)
    print(file=out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--build", default=benchlib.default_build(), help="build directory")
    ap.add_argument("--points", type=int, default=100)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--point", type=int, metavar="N", help="only this one")
    ap.add_argument("--bound", type=float, default=10.0,
                    help="seconds within which nvmf-perf must end (10)")
    ap.add_argument("--verbose", action="store_true", help="print every point")
    ap.add_argument("--tap", action="store_true", help="print TAP instead of sentences")
    ap.add_argument("--out", metavar="FILE", help="write every point as JSON")
    args = ap.parse_args()
    numbers = range(args.points) if args.point is None else [args.point]
    failed, running, worst, docs = 0, 0, {False: 0.0, True: 0.0}, []
    sentences = collections.Counter()
    for number in numbers:
        point = draw(args.seed, number)
        bad, had_io, took, sentence = run_point(args, point)
        failed += bool(bad)
        running += had_io
        worst[point.silence] = max(worst[point.silence], took)
        sentences[sentence] += 1
        docs.append({**point._asdict(), "took_s": took, "had_io": had_io, "sentence": sentence,
                     "complaints": bad})
        if args.tap:
            print(f"{'not ok' if bad else 'ok'} {len(docs)} - point {number}: "
                  f"{'silenced' if point.silence else 'killed'}, "
                  f"{'MPTCP' if point.mptcp else 'TCP'}, {point.engine}, {point.rw} "
                  f"{point.bs} x {point.qd}", flush=True)
            for complaint in bad:
                print(f"# {complaint}")
        elif bad or args.verbose:
            print(f"point {number} ({'silenced' if point.silence else 'killed'} at "
                  f"{point.delay:.3f} s, {'MPTCP' if point.mptcp else 'TCP'}, {point.engine}, "
                  f"{point.rw} {point.bs} x {point.qd}, digests {point.digest}): "
                  f"{'; '.join(bad) or 'ok'} after {took:.2f} s: {sentence}", flush=True)
    if args.tap:
        print(f"1..{len(docs)}")
        return 1 if failed else 0
    print(f"{len(docs) - failed} of {len(docs)} points ended as they must; {running} were hit "
          f"during I/O; slowest end {worst[False]:.2f} s after SIGKILL, {worst[True]:.2f} s "
          f"after SIGSTOP")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"seed": args.seed, "failed": failed, "during_io": running,
                       "slowest_s": {"killed": worst[False], "silenced": worst[True]},
                       "points": docs, "sentences": sentences}, file, indent=1)
            file.write("\n")
    if len(docs) >= 10 and running < len(docs) / 3:
        print("too few points were hit during I/O for this to mean much")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    benchlib.main(main)
