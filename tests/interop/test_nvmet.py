#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Interoperability with the Linux kernel, both ways, in one boot of the VM.

    test_nvmet.py BUILD-DIRECTORY [vm] [kernel-host] [our-host] [recovery] [mptcp] [control]

vm proves the VM itself: its own host against its own target. kernel-host is the
kernel's host against nvmf-target, our-host is libnof against the kernel's target.
recovery is libnof against a kernel target that restarts and changes, mptcp is both ways over
two links, which needs root. Without a word the first three run. control runs the kernel host's I/O cases against the
kernel's target over the same user network: when something fails in kernel-host
it tells the network's faults from ours.
"""

import os
import sys
import tempfile

import kernel_host
import multipath
import our_host
import recovery
import tap
from vm import MAIN, OUTSIDE, PRIVATE, VM, ImageError, VMError


# These want two links, and connections torn down as often as it takes.
OWN_NETWORK = ('recovery', 'mptcp')


def vm_is_good(t, vm):
    with t.case('the kernel target lists its subsystem and namespaces'):
        out = vm.check('nvme discover -t tcp -a 127.0.0.1 -s 4420')
        t.contains(out, f'subnqn:  {MAIN}', 'discovery log')
        t.true(PRIVATE not in out, 'a subsystem that refuses this host is in its discovery log')
        with kernel_host.Host(t, vm, KernelTarget('127.0.0.1', 4420), '-i 2 -g -G') as host:
            kernel_host.geometry(t, vm, host, {1: (512, 128 << 20), 2: (4096, 128 << 20),
                                               3: (4096, 128 << 20), 4: (512, 64 << 20)})
            vm.check(f'host verify {host.block(2)} 4k 1M')
    with t.case('the kernel target refuses a host and an NQN'):
        for nqn in (PRIVATE, MAIN + '-not'):
            result = vm.run(f'nvme connect -t tcp -a 127.0.0.1 -s 4420 -n {nqn}')
            t.true(result.status, f'{nqn} was not refused')


class KernelTarget:
    """The guest's target with the face of an Outside one."""

    nqn = MAIN

    def __init__(self, addr, port):
        self.addr, self.port = addr, port

    def case_alive(self, t):
        pass


def main(argv):
    if len(argv) < 2 or argv[1].startswith('-'):
        print(__doc__, file=sys.stderr)
        return 2
    build = os.path.abspath(argv[1])
    parts = argv[2:] or ['vm', 'kernel-host', 'our-host']

    def body(t):
        programs = []
        if 'mptcp' in parts:
            multipath.check_here()
            programs = [os.path.join(build, 'examples', name)
                        for name in ('nvmf-relay', 'nvmf-info', 'nvmf-perf')]
        with tempfile.TemporaryDirectory(prefix='nof-interop-') as directory, \
                VM(os.path.join(build, 'vm'), directory, forward=(4420, 4421, 4422),
                   say=t.note, programs=programs,
                   own_network=not set(parts).isdisjoint(OWN_NETWORK)) as vm:
            t.note(f'the VM booted in {vm.boot_seconds:.1f} s')
            with t.case('the kernel target comes up in the VM'):
                vm.check('nvmet up')
            if 'vm' in parts:
                vm_is_good(t, vm)
            if 'control' in parts:
                kernel_host.sessions(t, vm, KernelTarget(OUTSIDE, vm.forwarded(4420)))
            if 'kernel-host' in parts:
                kernel_host.run(t, vm, build, directory)
            if 'our-host' in parts:
                our_host.run(t, vm, build, directory)
            if 'recovery' in parts:
                recovery.run(our_host.Lab(t, vm, build))
            if 'mptcp' in parts:
                multipath.run(t, vm, build)
            with t.case('the guest kernel saw nothing odd'):
                out = vm.run('dmesg | grep -E "BUG|Oops|WARNING|Call Trace|hung task"')
                t.true(out.status, out.output)

    return tap.run(body, fatal=(VMError,), unable=(ImageError,))


if __name__ == '__main__':
    sys.exit(main(sys.argv))
