# SPDX-License-Identifier: LGPL-2.1-or-later
"""libnof against the Linux kernel's target in the VM.

The way there is QEMU's user network, which speaks plain TCP: libnof asks for
MPTCP and has to notice that it did not get it.
"""

import contextlib
import json
import select
import subprocess

from programs import Outcome, die_with_parent, perf, program, verified
from programs import run as run_program
from tap import Failure
from vm import FRIEND, MAIN, PRIVATE

STRANGER = 'nqn.2024-01.org.libnof:stranger'


class Lab:
    """What every case needs."""

    def __init__(self, t, vm, build):
        self.t, self.vm, self.build = t, vm, build
        self.cmds = program(build, 'tests', 'interop', 'nvmet_cmds')

    def uri(self, nsid=None, nqn=MAIN, port=None, **options):
        text = f'nvme+tcp://{self.vm.address}:{port or self.vm.forwarded(4420)}/{nqn}'
        if nsid:
            text += f'/{nsid}'
        # A fault shall end a case, not the patience of whoever waits for it.
        options = {'connect_timeout': 30, 'admin_timeout': 30, 'io_timeout': 60, **options}
        return text + '?' + '&'.join(f'{k}={v}' for k, v in options.items())

    def command(self, verb, uri, *arguments, deadline=180):
        """nvmet_cmds that has to succeed; what it printed."""
        done = run_program([self.cmds, verb, uri, *map(str, arguments)], deadline)
        if done.status:
            raise Failure(str(done))
        return done.out


def discovery(lab):
    t = lab.t
    nqn = 'nqn.2014-08.org.nvmexpress.discovery'
    for digests in ('off', 'on'):
        with t.case(f'discovery log of the kernel, digests {digests}'):
            out = lab.command('discover', lab.uri(nqn=nqn, hdr_digest=digests,
                                                  data_digest=digests, hostnqn=STRANGER), MAIN)
            t.true(PRIVATE not in out, f'a subsystem closed to this host is listed: {out}')
    with t.case('discovery log shows a host what only it may use'):
        lab.command('discover', lab.uri(nqn=nqn, hostnqn=FRIEND), MAIN, PRIVATE)


def verified_io(lab):
    t = lab.t
    for hdr, data in (('off', 'off'), ('on', 'off'), ('off', 'on'), ('on', 'on')):
        with t.case(f'4 KiB to 1 MiB verified, header digest {hdr}, data digest {data}'):
            verified(lab.build, '--rw=randrw', '--bsrange=4k-1m', '--iodepth=16', '--size=32m',
                     '--io-size=24m', lab.uri(1, hdr_digest=hdr, data_digest=data))
    for nsid, what in ((1, 'ram disk, 512-byte blocks'), (2, 'null_blk, 4096-byte blocks'),
                       (3, 'file on tmpfs'), (4, 'loop device')):
        with t.case(f'each size verified on NSID {nsid}: {what}'):
            for bs in ('4k', '8k', '16k', '20k', '64k', '128k', '1m'):
                verified(lab.build, '--rw=randrw', f'--bs={bs}', '--iodepth=8', '--size=32m',
                         '--io-limit=64', lab.uri(nsid))
    for queues, threads in ((1, 1), (4, 1), (4, 2), (8, 2)):
        with t.case(f'{queues} queues in {threads} threads verified'):
            document = verified(lab.build, '--rw=randrw', '--bs=16k', '--iodepth=16',
                                f'--queues={queues}', f'--threads={threads}', '--size=64m',
                                '--io-size=16m',
                                lab.uri(2, nr_io_queues=queues, hdr_digest='on',
                                        data_digest='on'))
            t.note(json.dumps(document.get('transport'))[:300])
    for options in ({'engine': 'epoll'}, {'engine': 'io_uring'}, {'disable_sqflow': 'on'},
                    {'queue_size': 2}, {'queue_size': 16}, {'max_r2t': 1},
                    {'mptcp': 'off'}, {'keep_alive_tmo': 1}):
        name = ', '.join(f'{k}={v}' for k, v in options.items())
        with t.case(f'verified with {name}'):
            verified(lab.build, '--rw=randrw', '--bsrange=4k-256k', '--iodepth=8', '--size=16m',
                     '--io-size=8m', lab.uri(4, hdr_digest='on', data_digest='on', **options))
    with t.case('sequential writing, then reading back'):
        verified(lab.build, '--rw=rw', '--bs=128k', '--iodepth=4', '--size=32m', '--io-size=32m',
                 lab.uri(2))


def identify(lab):
    """SPDK's identify_kernel_nvmf: what we see is what the kernel says and its host sees."""
    t, vm = lab.t, lab.vm
    directory = f'/sys/kernel/config/nvmet/subsystems/{MAIN}'

    def info(uri):
        done = run_program([program(lab.build, 'examples', 'nvmf-info'), '--json', uri])
        t.equal(done.status, 0, str(done))
        return done.json()

    with t.case('SPDK identify_kernel_nvmf: the controller, as configfs and the kernel host say'):
        seen = info(lab.uri(nqn=MAIN))
        controller = seen['controller']
        for key in ('model', 'serial'):
            t.equal(controller[key], vm.check(f'cat {directory}/attr_{key}').strip(), key)
        connect = f'nvme connect -t tcp -a 127.0.0.1 -s 4420 -n {MAIN} -i 1 >/dev/null'
        theirs = json.loads(vm.check(f'{connect} && for c in /sys/class/nvme/nvme*; do '
                                     f'nvme id-ctrl /dev/${{c##*/}} -o json; done; '
                                     f'host disconnect {MAIN} >/dev/null'))
        for ours, key in (('subnqn', 'subnqn'), ('model', 'mn'), ('serial', 'sn'),
                          ('firmware', 'fr'), ('version', 'ver')):
            want = theirs[key]
            t.equal(controller[ours], want.strip() if isinstance(want, str) else want, ours)
        t.equal(controller['in_capsule'], theirs['ioccsz'] * 16 - 64, 'in-capsule bytes')
        t.equal(controller['volatile_cache'], bool(theirs['vwc'] & 1), 'volatile cache')
    with t.case('SPDK identify_kernel_nvmf: the namespaces, as configfs says'):
        t.equal([n['nsid'] for n in seen['namespaces']], [1, 2, 3, 4], 'NSIDs')
        for n in seen['namespaces']:
            uuid = vm.check(f'cat {directory}/namespaces/{n["nsid"]}/device_uuid').strip()
            t.equal(n['uuid'], uuid, f'UUID of NSID {n["nsid"]}')
        t.equal([(n['bytes'] >> 20, n['block_size']) for n in seen['namespaces']],
                [(128, 512), (128, 4096), (128, 4096), (64, 512)], 'sizes in MiB and blocks')
        uuid = seen['namespaces'][1]['uuid']
        t.equal(info(lab.uri(nqn=MAIN).replace('?', f'/{uuid}?'))['namespaces'][0]['nsid'], 2,
                'NSID of the one found by its UUID')
    with t.case('SPDK identify_kernel_nvmf: the discovery service'):
        seen = info(lab.uri(nqn='nqn.2014-08.org.nvmexpress.discovery'))
        t.true(seen['controller']['is_discovery'], 'it does not say that it is one')
        entries = [(e['type'], e['subnqn']) for e in seen['discovery']['entries']]
        t.equal(('subsystem', MAIN) in entries, True, f'{MAIN} in {entries}')


def transport(lab):
    t = lab.t
    with t.case('the fallback to TCP is noticed and has a reason'):
        done = perf(lab.build, '--rw=randread', '--io-limit=100', lab.uri(1, mptcp='prefer'))
        t.equal(done.status, 0, str(done))
        text = json.dumps(done.json()['transport'])
        t.contains(text, '"tcp"', 'transport')
        t.true('reason' in text and '"reason": ""' not in text, f'no reason in {text}')
    with t.case('mptcp=require is refused over plain TCP, with a sentence'):
        lab.command('refused', lab.uri(mptcp='require'), 'EPROTONOSUPPORT')


def commands(lab):
    t = lab.t
    with t.case('iovecs of odd shapes, 4 KiB to 1 MiB and beyond'):
        for digests in ('off', 'on'):
            lab.command('vectors', lab.uri(1, hdr_digest=digests, data_digest=digests))
    for nsid in (1, 2, 3, 4):
        with t.case(f'NSID {nsid}: flush and FUA'):
            lab.command('flush', lab.uri(nsid))
        with t.case(f'NSID {nsid}: deallocate leaves the blocks around alone'):
            t.note(lab.command('deallocate', lab.uri(nsid, data_digest='on')))
        with t.case(f'NSID {nsid}: out of range and unaligned are refused here'):
            lab.command('bounds', lab.uri(nsid))
    for nsid in (1, 2, 4):
        with t.case(f'NSID {nsid}: write zeroes'):
            lab.command('zeroes', lab.uri(nsid, data_digest='on'))
    with t.case('NSID 3: write zeroes that tmpfs cannot do is an error of that command only'):
        t.note(lab.command('status', lab.uri(3), 'EOPNOTSUPP', 'EIO'))
    with t.case('compare, which this target does not have'):
        t.contains(lab.command('compare', lab.uri(1)), 'unsupported', 'compare')


def refusals(lab):
    t = lab.t
    with t.case('a wrong NQN'):
        t.note(lab.command('refused', lab.uri(nqn=MAIN + '-not'), 'ENOENT', 'EINVAL'))
    with t.case('a host that is not allowed'):
        t.note(lab.command('refused', lab.uri(nqn=PRIVATE, hostnqn=STRANGER), 'EACCES'))
    with t.case('the same subsystem with a host that is allowed'):
        lab.command('flush', lab.uri(1, nqn=PRIVATE, hostnqn=FRIEND))
    with t.case('a namespace that is not there'):
        t.note(lab.command('refused', lab.uri(77), 'ENODEV'))
    with t.case('nvmf-perf says it in one sentence and exits 1'):
        for uri in (lab.uri(nqn=MAIN + '-not'), lab.uri(77),
                    lab.uri(nqn=PRIVATE, hostnqn=STRANGER)):
            one_sentence(t, perf(lab.build, '--rw=randread', '--io-limit=10', uri))


def one_sentence(t, done):
    t.equal(done.status, 1, f'exit status: {done}')
    lines = [x for x in done.err.splitlines() if x.strip()]
    t.equal(len(lines), 1, f'lines on stderr: {done}')


@contextlib.contextmanager
def losing(lab, *argv):
    """A program that runs while the block takes its target away; gives a way to
    wait for its first line, and to see how it ended."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               preexec_fn=die_with_parent)

    class Running:
        @staticmethod
        def line(stream, deadline=60):
            got, _, _ = select.select([stream], [], [], deadline)
            if not got:
                raise Failure(f'{" ".join(argv)} said nothing for {deadline} s')
            return stream.readline()

        @staticmethod
        def end(deadline=90):
            try:
                out, err = process.communicate(timeout=deadline)
            except subprocess.TimeoutExpired:
                raise Failure(f'{" ".join(argv)} still runs {deadline} s after its target went')
            return Outcome(list(argv), process.returncode, out, err, 0)

    Running.stdout, Running.stderr = process.stdout, process.stderr
    try:
        yield Running
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# How the target goes away, and how it comes back.
LOSSES = {
    'stops listening': ('nvmet unlisten', 'nvmet listen'),
    'falls silent': ('ip link set eth0 down', 'ip link set eth0 up; ip route add default via 10.0.2.2'),
}


def losses(lab):
    t, vm = lab.t, lab.vm
    for how, (away, back) in LOSSES.items():
        for queues in (1, 4):
            with t.case(f'the target {how} mid-I/O: {queues} queues, each operation ends once'):
                uri = lab.uri(2, io_timeout=3, admin_timeout=3, keep_alive_tmo=2,
                              ctrl_loss_tmo=0)
                try:
                    with losing(lab, lab.cmds, 'lose', uri, str(queues)) as program_:
                        t.equal(program_.line(program_.stdout).strip(), 'running', 'first line')
                        vm.check(away)
                        done = program_.end()
                        t.equal(done.status, 0, str(done))
                        t.note(done.out)
                finally:
                    vm.check(back)
        with t.case(f'the target {how} mid-I/O: nvmf-perf ends with one sentence'):
            uri = lab.uri(2, io_timeout=3, admin_timeout=3, keep_alive_tmo=2, ctrl_loss_tmo=0)
            try:
                with losing(lab, program(lab.build, 'examples', 'nvmf-perf'), '--json',
                            '--rw=randrw', '--bs=16k', '--iodepth=16', '--runtime=120',
                            '--status-interval=0.2', uri) as program_:
                    program_.line(program_.stderr)      # the load runs
                    vm.check(away)
                    done = program_.end()
                    t.equal(done.status, 1, str(done))
                    t.true(done.json(), 'results so far')
                    t.note(done.err.strip().splitlines()[-1])
            finally:
                vm.check(back)
        with t.case(f'after it {how}: connecting again works'):
            lab.command('vectors', lab.uri(2))


def run(t, vm, build, directory):
    with t.case('the programs of our host are built'):
        lab = Lab(t, vm, build)
        program(build, 'examples', 'nvmf-perf')
    if t.failed and 'lab' not in locals():
        return
    discovery(lab)
    identify(lab)
    verified_io(lab)
    transport(lab)
    commands(lab)
    refusals(lab)
    losses(lab)
