# SPDX-License-Identifier: LGPL-2.1-or-later
"""One load of nvmf-perf on the embedded target, and what both used for it."""

import benchlib
import metrics
from benchlib import BenchError

# Seconds before the measurement: the socket's buffers have grown by then.
RAMP = 0.15


def run(build, target, transport, runtime, rw="randread", bs="4k", qd=32, engine="io_uring",
        digests=False, cpu=None, options=(), env=None, **keys):
    """rw and bs as nvmf-perf takes them; keys go into the URI. target: a benchlib.Server."""
    switch = "on" if digests else "off"
    address = benchlib.uri(target.port, engine=engine, nr_io_queues=1, queue_size=max(2 * qd, 32),
                           mptcp="require" if transport == "mptcp" else "off",
                           hdr_digest=switch, data_digest=switch, **keys)
    argv = benchlib.perf_argv(build, f"--rw={rw}",
                              f"--bsrange={bs}" if "-" in bs else f"--bs={bs}",
                              f"--iodepth={qd}", "--queues=1", "--threads=1",
                              f"--runtime={runtime}", f"--ramp-time={RAMP}", *options, address)
    sampler = metrics.Sampler(target.proc.pid).start()
    doc, _ = benchlib.run_json(argv, runtime + 30, cpu, env)
    served = sampler.stop()["cpu_s"]
    path = doc["transport"][0]
    job = doc["jobs"][0]
    if doc["engine"] != engine or path["protocol"] != transport or job["iodepth"] != qd:
        raise BenchError(f"nvmf-perf used {doc['engine']}, {path['protocol']} and depth "
                         f"{job['iodepth']}, not {engine}, {transport} and {qd}")
    if job["data_digest"] != digests or job["hdr_digest"] != digests:
        raise BenchError(f"digests are not {switch}: {argv[-1]}")
    if any(doc["errors"][kind] for kind in ("io", "verify", "other")):
        raise BenchError(f"errors in {' '.join(argv)}: {doc['errors']}")
    used = doc["cpu"]  # like the I/Os: from the end of the ramp on
    ios = job["read"]["total_ios"] + job["write"]["total_ios"]
    moved = job["read"]["io_bytes"] + job["write"]["io_bytes"]
    if not ios:
        raise BenchError(f"no I/O ended: {' '.join(argv)}")
    seconds = moved / (job["read"]["bw_bytes"] + job["write"]["bw_bytes"])
    return {
        "ios": ios,
        "bytes": moved,
        "iops": job["read"]["iops"] + job["write"]["iops"],
        "bw": job["read"]["bw_bytes"] + job["write"]["bw_bytes"],
        "cpu_s": used["user_s"] + used["sys_s"],
        # The target's also covers the ramp, in which it is as busy.
        "target_cpu_s": served * seconds / (seconds + RAMP),
    }
