# SPDX-License-Identifier: LGPL-2.1-or-later
"""libnof and MPTCP over two links between this machine and the VM, both ways.

The kernel's target listens with plain TCP: nvmf-relay in the guest puts MPTCP in front of
it. The other way, libnof runs in the guest, whose older kernel tells less of a connection,
and the kernel's host reaches nvmf-target out here over both links through a relay.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import kernel_host
from our_host import Lab
from programs import die_with_parent, perf, program, verified
from tap import Failure
from verify import Verify
from vm import GUESTS, OUTSIDES, TAPS, ImageError
from vmimage import find_program

RELAY = 4430        # before the kernel's target
AWAY = 4440         # in the guest, before nvmf-target out here
DEADLINE = 60


def until(condition, what, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() >= end:
            raise Failure(f'waited {deadline} s for: {what}')
        time.sleep(0.02)


def ip(*words):
    done = subprocess.run(['ip', *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        raise Failure(f'ip {" ".join(words)}: {done.stderr}')
    return done.stdout


def sysctl(setting):
    subprocess.run(['sysctl', '-q', '-w', setting], check=True)


def carried():
    """Bytes that each link has carried so far, both directions."""
    count = {}
    for link in json.loads(ip('-j', '-s', 'link', 'show')):
        s = link['stats64']
        count[link['ifname']] = s['rx']['bytes'] + s['tx']['bytes']
    return [count[tap] for tap in TAPS]


def moved(before):
    return [b - a for a, b in zip(before, carried())]


def pairs(transport):
    """(local, peer) of each subflow that a tool's document shows."""
    return {(s['local'], s['peer']) for q in transport for s in q['subflows']}


def seen_by_ss(text):
    """(local, peer) of each line of ss without a header, `ss -Htn`."""
    return {tuple(line.split()[3:5]) for line in text.splitlines() if line.strip()}


def outside_ss():
    return seen_by_ss(subprocess.run(
        ['ss', '-Htn', 'state', 'connected', 'dport', '=', f':{RELAY}'],
        stdout=subprocess.PIPE, text=True, check=True).stdout)


# Ways to take a link away: nobody here is told of the first, one end each of the others.
def drop(vm, n):
    rules = (f'table inet cut{n} {{ chain in {{ type filter hook input priority 0; '
             f'iifname {TAPS[n]} drop; }}; chain out {{ type filter hook output priority 0; '
             f'oifname {TAPS[n]} drop; }}; }}')
    subprocess.run(['nft', '-f', '-'], input=rules, text=True, check=True)


def undrop(vm, n):
    subprocess.run(['nft', 'delete', 'table', 'inet', f'cut{n}'], check=True)


def down(vm, n):
    ip('link', 'set', TAPS[n], 'down')


def up(vm, n):
    ip('link', 'set', TAPS[n], 'up')


def guest_down(vm, n):
    vm.check(f'ip link set eth{n} down')


def guest_up(vm, n):
    vm.check(f'ip link set eth{n} up')
    if n == 0:
        vm.check('ip route add default via 10.0.2.2')


DROP_FIRST = ('the first link drops all in silence', 0, drop, undrop)
DROP_SECOND = ('the second link drops all in silence', 1, drop, undrop)
DOWN_FIRST = ('the first link goes down out here', 0, down, up)
GUEST_DOWN = ('the second link goes down in the guest', 1, guest_down, guest_up)


def check_here():
    """Raises ImageError where this cannot run."""
    if os.geteuid() or not os.path.exists('/dev/net/tun'):
        raise ImageError('a network namespace with tap devices needs root and /dev/net/tun')
    for name, package in (('nft', 'nftables'), ('ip', 'iproute2'), ('ss', 'iproute2')):
        if not find_program(name):
            raise ImageError(f'no {name} here: install {package}')
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError as e:
        raise ImageError(f'no MPTCP in this kernel: {e}')


class Paths(Lab):
    def program(self, name):
        return program(self.build, 'examples', name)

    def relayed(self, nsid=1, **options):
        options = {'mptcp': 'require', 'keep_alive_tmo': 30, **options}
        return self.uri(nsid, port=RELAY, **options)

    def load(self, **options):
        return Verify(self.build, self.relayed(2, hdr_digest='on', data_digest='on',
                                               nr_io_queues=2, **options), channels=2)


def set_up(paths):
    """Both ends take a second subflow, and the guest announces its second address."""
    for where in (ip, lambda *words: paths.vm.check('ip ' + ' '.join(words))):
        where('mptcp', 'limits', 'set', 'subflow', '2', 'add_addr_accepted', '2')
    paths.vm.check(f'ip mptcp endpoint add {GUESTS[1]} dev eth1 signal')
    # A subflow is given up after one timeout, not after four.
    sysctl('net.mptcp.stale_loss_cnt=1')
    paths.vm.check('sysctl -w net.mptcp.stale_loss_cnt=1')
    relay(paths.vm, f'--listen=0.0.0.0:{RELAY} 127.0.0.1:4420')


def relay(vm, words):
    """Starts one in the guest; it listens when this returns."""
    vm.check(f'mkfifo /run/ready; nvmf-relay --verbose --ready-fd=3 {words} >/run/relay.log 2>&1 '
             '3>/run/ready & read line </run/ready; rm /run/ready; [ "$line" = ready ]')


def io(paths):
    t, build = paths.t, paths.build
    for digests in ('off', 'on'):
        with t.case(f'verified over two links to the kernel target, digests {digests}'):
            before = carried()
            document = verified(
                build, '--rw=randrw', '--bsrange=4k-256k', '--iodepth=16', '--queues=2',
                '--size=32m', '--io-size=24m',
                paths.relayed(1, nr_io_queues=2, hdr_digest=digests, data_digest=digests))
            links, transport = moved(before), document['transport']
            t.note(f'bytes of the links {links}, of the queues {json.dumps(transport)}')
            check_transport(t, transport, queues=2)
            for n, peer in enumerate(GUESTS):
                told = sum(s['bytes_sent'] + s['bytes_received'] for q in transport
                           for s in q['subflows'] if s['peer'].startswith(peer + ':'))
                # The links carry headers and the admin queue too, the queues perhaps nothing.
                t.true(0 < told < links[n], f'link {n} carried {links[n]} bytes, its subflows '
                       f'say {told}')


def check_transport(t, transport, queues):
    """What a tool's document says of each queue: MPTCP, two subflows, all in use."""
    t.equal(len(transport), queues, 'queues')
    for q in transport:
        t.equal((q['protocol'], q['reason'], q['subflow_count']), ('mptcp', '', 2),
                f'queue {q["qid"]}')
        t.equal(len({s['peer'].rsplit(':', 1)[0] for s in q['subflows']}), 2,
                f'addresses of the peer: {q["subflows"]}')
        for s in q['subflows']:
            t.true(s['rtt_us'] > 0, f'no round trip time: {s}')
        for way in ('bytes_sent', 'bytes_received'):
            # Each byte came by some subflow, some of those sent by more than one.
            t.true(0 < q[way] <= sum(s[way] for s in q['subflows']),
                   f'{way} of queue {q["qid"]}: {json.dumps(q)}')


def agreement(paths):
    """The same subflows, as our tool sees them, and ss at both ends."""
    t, vm = paths.t, paths.vm
    with t.case('nvmf-perf, ss out here and ss in the guest see the same subflows'):
        argv = [paths.program('nvmf-perf'), '--json', '--rw=randread', '--bs=16k', '--iodepth=8',
                '--queues=2', '--runtime=600', paths.relayed(1, nr_io_queues=2)]
        with running(argv) as perf_:
            until(lambda: len(outside_ss()) == 6, 'two subflows of three queues')
            here = outside_ss()
            there = seen_by_ss(vm.check(f'ss -Htn state connected sport = :{RELAY}'))
            connections = [subprocess.run(['ss', '-HMn', 'dport', '=', f':{RELAY}'],
                                          stdout=subprocess.PIPE, text=True, check=True).stdout,
                           vm.check(f'ss -HMn sport = :{RELAY}')]
            document = perf_.end()
        told = pairs(document['transport'])
        t.equal(len(told), 4, f'subflows of two I/O queues: {told}')
        t.true(told <= here, f'nvmf-perf: {sorted(told)}, ss: {sorted(here)}')
        t.equal({(b, a) for a, b in there}, here, 'the guest\'s view of what is seen here')
        t.equal([len(seen_by_ss(text)) for text in connections], [3, 3],
                f'connections by ss -M, here and there: {connections}')


@contextlib.contextmanager
def running(argv):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)

    class Running:
        @staticmethod
        def end():
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE)
            if process.returncode:
                raise Failure(f'{" ".join(argv)} ended with {process.returncode}: {err}')
            return json.loads(out)

    try:
        yield Running
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def cuts(paths, kind, which, **options):
    """One link goes, and comes back: NVMe sees nothing of it."""
    t, vm = paths.t, paths.vm
    with contextlib.ExitStack() as stack:
        with t.case(f'{kind}: a verified load that is to live through what follows'):
            load = stack.enter_context(paths.load(**options))
            load.runs(100)
            before = carried()
            load.until(lambda s: min(moved(before)) > 1 << 18, 'traffic on both links')
            t.note(f'subflows: {len(outside_ss())}')
        if 'load' not in locals():
            return
        for what, n, cut, mend in which:
            with t.case(f'{kind}: {what}, and carries again when it is back'):
                load.runs(100)
                cut(vm, n)
                try:
                    load.runs()
                finally:
                    mend(vm, n)
                before = carried()
                load.until(lambda s: moved(before)[n] > 1 << 18, 'traffic on it again')
                t.equal([p['losses'] for p in load.stats['paths']], [0], 'lost controllers')
                load.good()
        with t.case(f'{kind}: no error, no reset, all data as written'):
            s = load.finish()
            t.equal([(p['lives'], p['losses']) for p in s['paths']], [(1, 0)],
                    'lives and losses of the controller')
            t.note(json.dumps(s))


def kept(paths):
    """With mptcp_paths the host makes the paths, and needs no word of the target's kernel."""
    t, vm = paths.t, paths.vm
    # Out here there may be one that the kernel made by itself for a subflow.
    ip('mptcp', 'endpoint', 'flush')
    vm.check('ip mptcp endpoint flush')
    ip('mptcp', 'limits', 'set', 'subflow', '0', 'add_addr_accepted', '0')
    before = ip('mptcp', 'limits'), ip('mptcp', 'endpoint')
    cuts(paths, 'mptcp_paths=auto', (DROP_FIRST, DROP_SECOND, DOWN_FIRST), mptcp_paths='auto')
    with t.case('mptcp_paths=auto: limits and endpoints are as they were'):
        t.equal((ip('mptcp', 'limits'), ip('mptcp', 'endpoint')), before, 'at the end')


def fallback(paths):
    t = paths.t
    with t.case('without the relay the kernel target speaks TCP, and that is said'):
        done = perf(paths.build, '--rw=randread', '--io-limit=200',
                    paths.uri(1, mptcp='prefer'))
        t.equal(done.status, 0, str(done))
        for q in done.json()['transport']:
            t.equal((q['protocol'], q['subflow_count']), ('tcp', 1), 'transport')
            t.contains(q['reason'], 'the target did not take up MPTCP', 'reason')
    with t.case('without the relay mptcp=require is refused'):
        done = perf(paths.build, '--rw=randread', '--io-limit=200',
                    paths.uri(1, mptcp='require'))
        t.equal(done.status, 1, str(done))
        t.contains(done.err, 'mptcp=require', 'its sentence')


def older_kernel(paths):
    """libnof in the guest, over both links to nvmf-target out here."""
    t, vm = paths.t, paths.vm
    nqn = kernel_host.NQN
    ip('mptcp', 'limits', 'set', 'subflow', '2', 'add_addr_accepted', '2')
    vm.run(f'ip mptcp endpoint flush; ip mptcp endpoint add {GUESTS[1]} dev eth1 signal')
    ip('mptcp', 'endpoint', 'add', OUTSIDES[1], 'dev', TAPS[1], 'signal')
    with kernel_host.Outside(paths.build, '--ns=mem:64M', listen='0.0.0.0:0') as target:
        uri = f'nvme+tcp://{OUTSIDES[0]}:{target.port}/{nqn}/1?mptcp=require&connect_timeout=30' \
              '&admin_timeout=30&io_timeout=60'
        release = vm.check('uname -r').strip()
        for engine in ('io_uring', 'epoll'):
            with t.case(f'libnof on Linux {release.split("-")[0]}, {engine}: verified over two '
                        'links'):
                before = carried()
                out = vm.check('nvmf-perf --json --verify --rw=randrw --bsrange=4k-128k --queues=2 '
                               f'--iodepth=16 --size=16m --io-size=12m "{uri}&engine={engine}&'
                               'hdr_digest=on&data_digest=on"')
                document = json.loads(out)
                t.equal((document['errors']['io'], document['errors']['verify'],
                         document['verify']['readback']), (0, 0, True), 'errors')
                check_transport(t, document['transport'], queues=2)
                t.true(min(moved(before)) > 1 << 20, f'bytes of the links: {moved(before)}')
                t.note(json.dumps(document['transport']))
        with t.case(f'nvmf-info on Linux {release.split("-")[0]} agrees with ip mptcp'):
            document = json.loads(vm.check(f'nvmf-info --json --paths "{uri}"'))
            t.true(document['queues'], 'no queue in the document')
            for q in document['queues']:
                t.equal((q['protocol'], q['reason']), ('mptcp', ''), f'queue {q["qid"]}')
            manager = document['path_manager']
            t.equal(manager['is_enabled'], True, 'MPTCP is on')
            t.equal([int(x) for x in vm.check('ip mptcp limits').split()[1::2]],
                    [manager['limits'][x] for x in ('add_addr_accepted', 'subflows')], 'limits')
            t.equal({x.split()[0] for x in vm.check('ip mptcp endpoint').splitlines()},
                    {e['address'] for e in manager['endpoints']}, 'endpoints')
        with t.case('the kernel host over both links, through a relay on its own machine'):
            relay(vm, f'--mptcp=connect --listen=127.0.0.1:{AWAY} {OUTSIDES[0]}:{target.port}')
            before = carried()
            target.addr, target.port = '127.0.0.1', AWAY
            with kernel_host.Host(t, vm, target, '-i 2 -g -G') as host:
                kernel_host.expect(t, vm, f'host verify {host.block(1)} 4k 1M', 'I/O')
            t.true(min(moved(before)) > 1 << 20, f'bytes of the links: {moved(before)}')
        with t.case('nvmf-target ends cleanly'):
            t.equal(target.stop(), 0, 'exit status')


def run(t, vm, build):
    with t.case('two links, a relay in the guest before the kernel target'):
        paths = Paths(t, vm, build)
        set_up(paths)
    if 'paths' not in locals():
        return
    io(paths)
    agreement(paths)
    cuts(paths, 'announced', (DROP_FIRST, GUEST_DOWN))
    kept(paths)
    fallback(paths)
    older_kernel(paths)
