# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Linux kernel's NVMe/TCP host, in the VM, against nvmf-target out here."""

import hashlib
import os

from programs import Target
from vm import OUTSIDE

NQN = 'nqn.2024-01.org.libnof:outside'
CLOSED = 'nqn.2024-01.org.libnof:outside-closed'
FRIEND = 'nqn.2024-01.org.libnof:outside-friend'
MIB = 1 << 20


def expect(t, vm, script, what, status=0, deadline=180):
    result = vm.run(script, deadline)
    t.true((result.status == 0) == (status == 0), f'{what}: in the VM, {script!r}: {result}')
    return result.output


class Host:
    """A connection of the guest's kernel to a target, ended when the block is left."""

    def __init__(self, t, vm, target, options=''):
        """target has .addr and .port as the guest sees them, and .nqn"""
        self.t, self.vm, self.nqn = t, vm, target.nqn
        self.connect = f'host connect {target.addr} {target.port} {target.nqn} {options}'

    def __enter__(self):
        self.name = expect(self.t, self.vm, self.connect, 'connect').split()[-1]
        return self

    def __exit__(self, *exc):
        result = self.vm.run(f'host disconnect {self.nqn}')
        if exc[0] is None:
            self.t.true(result.status == 0, f'disconnect: {result}')

    def block(self, nsid):
        return expect(self.t, self.vm, f'host block {self.nqn} {nsid}', 'namespace').strip()

    def read(self, attribute):
        return self.vm.check(f'cat /sys/class/nvme/{self.name}/{attribute}').strip()


def geometry(t, vm, host, sizes):
    """sizes: NSID → (block size, bytes)."""
    for nsid, (block, size) in sizes.items():
        dev = host.block(nsid)
        out = vm.check(f'blockdev --getss {dev}; blockdev --getsize64 {dev}').split()
        t.equal([int(x) for x in out], [block, size], f'block size and bytes of NSID {nsid}')


def commands(t, vm, host, nsid, block):
    """Flush, discard, write zeroes, compare and errors on one namespace."""
    dev = host.block(nsid)
    fill = f'dd if=/dev/urandom of={dev} bs=64k count=32 oflag=direct 2>&1'

    def zero_features():
        """What this namespace promises: the discard granularity and write zeroes limits."""
        queue = f'/sys/class/block/{os.path.basename(dev)}/queue'
        return [int(x) for x in vm.check(
            f'cat {queue}/discard_max_bytes {queue}/write_zeroes_max_bytes').split()]

    with t.case(f'NSID {nsid}: flush, as a command and by fsync'):
        expect(t, vm, f'nvme flush {dev} && dd if=/dev/urandom of={dev} bs=1M count=2 conv=fsync',
               'flush')
    with t.case(f'NSID {nsid}: discard leaves the blocks around alone'):
        t.true(zero_features()[0], 'the kernel sees no discard support')
        expect(t, vm, f'{fill} && dd if={dev} of=/run/before bs=64k count=3 iflag=direct 2>&1 && '
               f'blkdiscard -o 65536 -l 65536 {dev} && host zeroed {dev} 65536 65536 && '
               f'dd if={dev} of=/run/after bs=64k count=3 iflag=direct 2>&1 && '
               'cmp -n 65536 /run/before /run/after && '
               'tail -c 65536 /run/before >/run/b && tail -c 65536 /run/after >/run/a && '
               'cmp /run/a /run/b', 'discard')
    with t.case(f'NSID {nsid}: write zeroes, by blkdiscard and fallocate'):
        t.true(zero_features()[1], 'the kernel sees no write zeroes support')
        expect(t, vm, f'{fill} && blkdiscard -z -o 4096 -l 1048576 {dev} && '
               f'host zeroed {dev} 4096 1048576 && ! host zeroed {dev} 0 8192 && '
               f'{fill} && fallocate -z -o 131072 -l 65536 {dev} && '
               f'host zeroed {dev} 131072 65536 && ! host zeroed {dev} 131072 131072 && '
               f'{fill} && fallocate -p -o 131072 -l 65536 {dev} && '
               f'host zeroed {dev} 131072 65536 && '
               'test $(dmesg | grep -c "WRITE_ZEROES") = 0', 'write zeroes')
    with t.case(f'NSID {nsid}: compare finds equal and different data'):
        expect(t, vm, f'dd if=/dev/urandom of=/run/data bs={block} count=4 2>&1 && '
               f'dd if=/run/data of={dev} bs={block} count=4 oflag=direct 2>&1 && '
               f'nvme compare {dev} -s 0 -c 3 -z {4 * block} -d /run/data', 'equal data')
        # Sixteen bytes: a single random one is the one it replaces every 256th time.
        out = expect(t, vm, f'dd if=/dev/urandom of=/run/data bs=16 count=1 seek={block // 8} '
                     f'conv=notrunc 2>/dev/null; nvme compare {dev} -s 0 -c 3 -z {4 * block} '
                     '-d /run/data', 'different data', status=1)
        t.contains(out.lower(), 'compare', 'the kernel\'s words for it')
    with t.case(f'NSID {nsid}: reading past the end is refused'):
        out = expect(t, vm, f'blocks=$(($(blockdev --getsize64 {dev}) / {block})); '
                     f'nvme read {dev} -s $blocks -c 0 -z {block} -d /run/data', 'LBA', status=1)
        t.contains(out.lower(), 'lba', 'the kernel\'s words for it')


def sessions(t, vm, target):
    """Digests and queue numbers; 4 KiB to 1 MiB verified."""
    for options, name in (('', 'no digest'), ('-g', 'header digest'), ('-G', 'data digest'),
                          ('-g -G', 'both digests')):
        with t.case(f'{name}: 4 KiB to 1 MiB, written, read back, compared'):
            with Host(t, vm, target, options + ' -i 1') as host:
                expect(t, vm, f'host verify {host.block(1)}', name)
        target.case_alive(t)
    for options, count in (('-i 1', 1), ('-i 2', 2), ('-i 2 -W 2 -P 2 -g -G', 6),
                           ('-i 2 -Q 16', 2), ('-i 2 -d', 2)):
        with t.case(f'connect {options}: {count} I/O queues, several writers at once'):
            with Host(t, vm, target, options) as host:
                t.equal(int(host.read('queue_count')), count + 1, 'queues with the admin queue')
                expect(t, vm, f'host parallel {host.block(1)} 4', 'parallel I/O')
        target.case_alive(t)


class Outside(Target):
    nqn = NQN
    addr = OUTSIDE

    def __init__(self, build, *options, **where):
        super().__init__(build, f'--nqn={NQN}', *options, **where)

    def case_alive(self, t):
        if not self.alive():
            with t.case('nvmf-target survived'):
                t.true(False, f'it ended with {self.process.returncode}: {self.said()}')


def run(t, vm, build, directory):
    """All of it; needs only a booted VM."""
    disk = os.path.join(directory, 'disk.img')
    with open(disk, 'wb') as f:
        f.truncate(64 * MIB)
    spaces = ['--ns=mem:64M,bs=4096', f'--ns=file:{disk},bs=512', '--ns=mem:64M,bs=512']
    sizes = {1: (4096, 64 * MIB), 2: (512, 64 * MIB), 3: (512, 64 * MIB)}
    with t.case('nvmf-target starts for the kernel host'):
        with Outside(build, *spaces) as target:
            t.note(target.said())
    closed = [f'--nqn={CLOSED}', '--ns=mem:16M', f'--allow-host={FRIEND}']
    with Outside(build, '--hdgst', '--ddgst', *spaces, *closed) as target:
        with t.case('nvme discover lists the subsystem'):
            out = expect(t, vm, f'nvme discover -t tcp -a {OUTSIDE} -s {target.port}', 'discover')
            t.contains(out, f'subnqn:  {NQN}', 'discovery log')
            t.contains(out, 'trtype:  tcp', 'discovery log')
        with t.case('nvme discover with digests, and the port in the log'):
            # The address in the log is 127.0.0.1, as the target sees it behind
            # the user network: the guest could not follow it.
            out = expect(t, vm, f'nvme discover -t tcp -a {OUTSIDE} -s {target.port} -g -G -o json',
                         'discover with digests')
            t.contains(out, f'"trsvcid":"{target.port}"', 'port in the log')
        with t.case('an unknown NQN is refused'):
            expect(t, vm, f'nvme connect -t tcp -a {OUTSIDE} -s {target.port} -n {NQN}-not',
                   'connect', status=1)
        with t.case('a host that is not on the list is refused, the other is not'):
            connect = f'nvme connect -t tcp -a {OUTSIDE} -s {target.port} -n {CLOSED}'
            expect(t, vm, connect, 'a stranger', status=1)
            expect(t, vm, f'{connect} -q {FRIEND} && host disconnect {CLOSED}', 'a friend')
        sessions(t, vm, target)
        with t.case('three namespaces with their block sizes'):
            with Host(t, vm, target, '-i 2') as host:
                geometry(t, vm, host, sizes)
        with t.case('the kernel host stays connected for the commands'):
            with Host(t, vm, target, '-i 2 -g -G') as host:
                for nsid, (block, _) in sizes.items():
                    commands(t, vm, host, nsid, block)
        with t.case('data written by the kernel is in the target\'s file'):
            with Host(t, vm, target, '-i 2') as host:
                dev = host.block(2)
                out = expect(t, vm, 'dd if=/dev/urandom of=/run/data bs=1M count=8 2>/dev/null && '
                             f'dd if=/run/data of={dev} bs=256k seek=4M conv=fsync '
                             'oflag=seek_bytes 2>/dev/null && sha256sum </run/data', 'write')
                with open(disk, 'rb') as f:
                    f.seek(4 * MIB)
                    have = hashlib.sha256(f.read(8 * MIB)).hexdigest()
                t.equal(have, out.split()[0], 'SHA-256 of what was written')
        with t.case('an idle connection lives on keep alives'):
            with Host(t, vm, target, '-i 1 -k 1') as host:
                began = vm.check('dmesg | wc -l').strip()
                # Several periods have to pass: this is a duration, not a wait for something.
                expect(t, vm, 'sleep 4', 'idle')
                t.equal(host.read('state'), 'live', 'state after four keep alive periods')
                out = vm.check(f'dmesg | tail -n +{int(began) + 1}')
                t.true('reset' not in out and 'reconnect' not in out, out)
        with t.case('twenty connects and disconnects leave nothing behind'):
            expect(t, vm, 'for i in $(seq 20); do '
                   f'nvme connect -t tcp -a {OUTSIDE} -s {target.port} -n {NQN} -i 2 || exit 1; '
                   f'host disconnect {NQN} >/dev/null || exit 1; done', 'connect and disconnect')
            t.true(target.alive(), 'the target ended: ' + target.said())
        with t.case('nvmf-target ends cleanly on SIGTERM'):
            t.equal(target.stop(), 0, 'exit status')
    # A second target that needs many R2Ts and splits what it sends.
    for name, options in (
            ('no in-capsule data', ['--in-capsule=0']),
            ('R2Ts of 8 KiB and C2HData of 4 KiB',
             ['--in-capsule=4096', '--r2t-size=8192', '--c2h-size=4096', '--maxh2cdata=4096']),
            ('128 KiB per command', ['--mdts=5'])):
        with t.case(f'target with {name}: 4 KiB to 1 MiB verified'):
            with Outside(build, '--hdgst', '--ddgst', *options, spaces[0]) as target:
                with Host(t, vm, target, '-i 2 -g -G') as host:
                    expect(t, vm, f'host verify {host.block(1)} 4k 64k 1M && '
                           f'host parallel {host.block(1)} 3', 'I/O', deadline=240)
                t.true(target.alive(), 'the target ended: ' + target.said())
