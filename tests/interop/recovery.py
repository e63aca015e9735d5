# SPDX-License-Identifier: LGPL-2.1-or-later
"""libnof against the Linux kernel's target while that restarts, changes its queues,
its namespaces and the states of its paths. Named after the blktests that ask the same
of the kernel's host."""

import contextlib
import json
import re

from our_host import losing
from tap import Failure
from verify import Verify

PATHS = 'nqn.2024-01.org.libnof:vm-paths'
UUID_A = '7d1ebb8a-0001-4444-8888-000000000001'
UUID_B = '7d1ebb8a-0002-4444-8888-000000000002'
GROUP = 2       # ANA group of the namespace; group 1 is the main subsystem's
PORTS = {2: 4421, 3: 4422}      # port 1 is the main subsystem's


class Paths:
    """A subsystem with one namespace on two ports of its own, removed at the end.

    The ports listen while they offer the subsystem. On a port that it shares with others
    its absence would be an answer: no such subsystem, do not retry.
    """

    def __init__(self, lab):
        self.lab, self.vm, self.t = lab, lab.vm, lab.t

    def __enter__(self):
        for port, trsvcid in PORTS.items():
            self.vm.check(f'nvmet port {port} {trsvcid}')
        self.vm.check(f'nvmet ana 2 {GROUP} optimized; nvmet ana 3 {GROUP} non-optimized')
        self.build_up()
        return self

    def __exit__(self, *exc):
        self.vm.run(f'nvmet del-subsys {PATHS}; nvmet del-port 2; nvmet del-port 3')

    def build_up(self):
        self.vm.check(f'nvmet subsys {PATHS} && nvmet hide {PATHS} 1 && '
                      f'nvmet ns {PATHS} 1 /dev/nullb0 {UUID_A} {GROUP} && '
                      f'nvmet publish {PATHS} 2 && nvmet publish {PATHS} 3')

    def uri(self, port=2, **options):
        options = {'keep_alive_tmo': 2, 'io_timeout': 20, 'admin_timeout': 20,
                   'connect_timeout': 20, 'reconnect_delay': 1, 'ctrl_loss_tmo': 60,
                   'nr_io_queues': 2, **options}
        return self.lab.uri(1, nqn=PATHS, port=self.vm.forwarded(PORTS[port]), **options)

    def load(self, *uris, **options):
        return Verify(self.lab.build, *uris, **options)


def target_reset(paths):
    """The port goes and comes back: every connection is lost, nothing else."""
    t, vm = paths.t, paths.vm
    with t.case('blktests nvme/060: the target resets its controllers three times under I/O'):
        with paths.load(paths.uri(data_digest='on'), channels=2, zeroes=True) as load:
            load.runs()
            for losses in (1, 2, 3):
                vm.check(f'nvmet hide {PATHS} 2; nvmet publish {PATHS} 2')
                load.live_again(losses=losses)
                load.runs()
            t.note(json.dumps(load.finish()))


def target_teardown(paths):
    t, vm = paths.t, paths.vm
    with t.case('blktests nvme/061: the target is torn down and set up again under I/O'):
        with paths.load(paths.uri(hdr_digest='on'), channels=2) as load:
            load.runs()
            vm.check(f'nvmet del-subsys {PATHS}')
            load.until(lambda s: s['paths'][0]['losses'], 'the loss')
            paths.build_up()
            load.live_again()
            load.runs()
            t.note(json.dumps(load.finish()))


def silent_target(paths):
    """No RST tells of it: the keep alive has to."""
    t, vm = paths.t, paths.vm
    with t.case('the target falls silent under I/O and is heard again'):
        with paths.load(paths.uri(io_timeout=3), channels=2) as load:
            load.runs()
            try:
                vm.check('ip link set eth0 down')
                load.until(lambda s: s['paths'][0]['losses'], 'the loss')
            finally:
                vm.check('ip link set eth0 up; ip route add default via 10.0.2.2')
            load.live_again()
            load.runs()
            t.note(json.dumps(load.finish()))


def reset(paths):
    t = paths.t
    with t.case('blktests nvme/040: the host resets its controller three times under I/O'):
        with paths.load(paths.uri(), channels=2) as load:
            load.runs()
            for number in (1, 2, 3):
                load.say('reset 0')
                load.until(lambda s: sum('reset' in e for e in load.events) == number,
                           'the end of the reset')
                done = [e for e in load.events if 'reset' in e][-1]
                t.equal(done['error'], 0, f'reset: {done}')
                load.runs()
            t.note(json.dumps(load.finish()))


def queue_count(paths):
    t, vm = paths.t, paths.vm
    with t.case('blktests nvme/048: fewer, then more I/O queues after a reconnect'):
        try:
            with paths.load(paths.uri(nr_io_queues=4), channels=4) as load:
                load.runs()
                t.equal(load.stats['paths'][0]['queues'], 4, 'queues at first')
                for losses, count in ((1, 1), (2, 3), (3, 8)):
                    vm.check(f'nvmet queues {PATHS} {count}; nvmet hide {PATHS} 2; '
                             f'nvmet publish {PATHS} 2')
                    load.live_again(losses=losses)
                    load.runs()
                    t.equal(load.ask()['paths'][0]['queues'], min(4, count), 'queues granted')
                t.note(json.dumps(load.finish()))
        finally:
            vm.check(f'nvmet queues {PATHS} 128')


def remap(paths):
    """The same NSID becomes another namespace: nothing may be written there."""
    t, vm = paths.t, paths.vm
    digest = 'sha256sum /dev/ram0'
    with t.case('blktests nvme/058: the namespace is another one after a reconnect'):
        before = vm.check(f'dd if=/dev/urandom of=/dev/ram0 bs=1M count=16 2>/dev/null; {digest}')
        try:
            with paths.load(paths.uri(ctrl_loss_tmo=20), drain=40) as load:
                load.runs()
                vm.check(f'nvmet hide {PATHS} 2; '
                         f'nvmet remap {PATHS} 1 /dev/ram0 {UUID_B} {GROUP}; '
                         f'nvmet publish {PATHS} 2')
                load.until(lambda s: s['errors'], 'the end of I/O to it')
                load.end()
                s = load.stats
                t.equal(s['mismatches'], 0, 'blocks of another namespace')
                t.equal(s['doubled'], 0, 'doubled completions')
                t.equal(s['completed'], s['submitted'], 'completions')
                t.note(s['detail'])
            t.equal(vm.check(digest), before, 'the other namespace')
            # Who names no identity gets what is there now.
            paths.lab.command('flush', paths.uri())
        finally:
            vm.check(f'nvmet remap {PATHS} 1 /dev/nullb0 {UUID_A} {GROUP}')


# Each step: state of the group on the first port, on the second, and which path may carry I/O then.
ANA_STEPS = (
    ('non-optimized', 'optimized', 1),
    ('inaccessible', 'optimized', 1),
    ('optimized', 'inaccessible', 0),
    ('persistent-loss', 'non-optimized', 1),
    ('optimized', 'non-optimized', 0),
)


def ana(paths):
    t, vm = paths.t, paths.vm
    with t.case('blktests nvme/057: ANA failover between two ports under I/O'):
        try:
            with paths.load(paths.uri(2), paths.uri(3), channels=2) as load:
                load.runs()
                for first, second, want in ANA_STEPS:
                    vm.check(f'nvmet ana 2 {GROUP} {first}; nvmet ana 3 {GROUP} {second}')
                    load.until(lambda s: s['paths'][want]['commands'] and
                               only_path(load, want), f'I/O on path {want} only '
                               f'with {first} and {second}')
                    load.runs()
                s = load.finish()
                t.equal([p['losses'] for p in s['paths']], [0, 0], 'lost controllers')
                t.note(json.dumps(s))
        finally:
            vm.check(f'nvmet ana 2 {GROUP} optimized; nvmet ana 3 {GROUP} non-optimized')
    with t.case('failover when one of two ports goes, and back when it returns'):
        with paths.load(paths.uri(2), paths.uri(3), channels=2) as load:
            load.runs()
            for round_ in (1, 2):
                vm.check(f'nvmet hide {PATHS} 2')
                load.until(lambda s: s['paths'][0]['losses'] == round_, 'the loss')
                load.runs()
                vm.check(f'nvmet publish {PATHS} 2')
                load.live_again(losses=round_)
                load.until(lambda s: only_path(load, 0), 'I/O back on the optimized path')
                load.runs()
            s = load.finish()
            t.equal(s['paths'][1]['losses'], 0, 'losses of the healthy path')
            t.note(json.dumps(s))


def only_path(load, want):
    """Of the commands since the last question only path want had any."""
    before = [p['commands'] for p in load.stats['paths']]
    after = [p['commands'] for p in load.ask()['paths']]
    moved = [b - a for a, b in zip(before, after)]
    return moved[want] > 0 and not any(m for i, m in enumerate(moved) if i != want)


def discovery(lab, paths):
    t, vm = lab.t, lab.vm
    uri = lab.uri(nqn='nqn.2014-08.org.nvmexpress.discovery')

    def generation():
        out = lab.command('discover', uri)
        found = re.search(r'generation (\d+)', out)
        if not found:
            raise Failure(f'no generation in: {out}')
        return int(found.group(1)), PATHS in out

    with t.case('blktests nvme/030: the discovery generation follows every change'):
        vm.check(f'nvmet publish {PATHS} 1')
        first, is_there = generation()
        t.true(is_there, 'the subsystem is not in the log')
        t.equal(generation()[0], first, 'generation without a change')
        vm.check(f'nvmet hide {PATHS} 1')
        second, is_there = generation()
        t.true(second > first, f'generation {first} and then {second}')
        t.true(not is_there, 'the subsystem is still in the log')
        vm.check(f'nvmet publish {PATHS} 1')
        third, is_there = generation()
        t.true(third > second, f'generation {second} and then {third}')
        t.true(is_there, 'the subsystem is not in the log again')
        vm.check(f'nvmet hide {PATHS} 1')


def discovery_watch(lab, paths):
    """SPDK's host case discovery: a persistent controller hears of every change."""
    t, vm = lab.t, lab.vm
    # The log names the guest's own address, which nobody may be asked for out here.
    uri = lab.uri(nqn='nqn.2014-08.org.nvmexpress.discovery', keep_alive_tmo=5,
                  reconnect_delay=1, ctrl_loss_tmo=60,
                  addr_map=f'10.0.2.15:4420%3D{vm.address}:{vm.forwarded(4420)}')
    with t.case('SPDK discovery: subsystems and ports that come and go are told by events'):
        with losing(lab, lab.cmds, 'watch', uri) as watch:
            def heard(want):
                """The next update says this of the subsystem, and that all is well."""
                line = watch.line(watch.stdout)
                got = [x for x in line.strip().split('; ') if PATHS in x or x[:1] == '!']
                t.equal([x.rstrip(';') for x in got], [want], f'what {line!r} tells')

            watch.line(watch.stdout)    # the whole log
            for _ in range(2):
                vm.check(f'nvmet publish {PATHS} 1')
                heard(f'+ {PATHS} 4420 2')
                vm.check(f'nvmet hide {PATHS} 1')
                heard(f'- {PATHS} 4420 2')


def run(lab):
    with contextlib.ExitStack() as stack:
        with lab.t.case('a subsystem on two ports comes up'):
            paths = stack.enter_context(Paths(lab))
        if 'paths' not in locals():
            return
        discovery(lab, paths)
        discovery_watch(lab, paths)
        target_reset(paths)
        target_teardown(paths)
        silent_target(paths)
        reset(paths)
        queue_count(paths)
        remap(paths)
        ana(paths)
