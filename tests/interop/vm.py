# SPDX-License-Identifier: LGPL-2.1-or-later
"""The interop VM: QEMU without KVM, the kernel's NVMe/TCP target and host.

    with VM(cache, logdir) as vm:
        vm.check('nvmet up')
        port = vm.forwarded(4420)          # vm.address:port is the guest's 4420
        job = vm.start('dd …')             # runs beside what follows
        vm.check('nvmet unlisten')
        result = job.wait()                # .status, .output

The guest reaches 127.0.0.1 of this machine as 10.0.2.2. QEMU is ended by its
PID when the block is left, and by the kernel if this process dies first.

Run by itself it proves that the VM works: vm.py CACHE-DIRECTORY [COMMAND…]
"""

import base64
import ctypes
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import vmimage
from programs import die_with_parent
from vmimage import ImageError, find_program

MAIN = 'nqn.2024-01.org.libnof:vm-main'
PRIVATE = 'nqn.2024-01.org.libnof:vm-private'
FRIEND = 'nqn.2024-01.org.libnof:vm-friend'

BOOT_DEADLINE = 300     # seconds; 6 to 30 when the machine is not crowded
COMMAND_DEADLINE = 120


CLONE_NEWNET = 0x40000000
OUTSIDE = '10.0.2.2'            # this machine, as the guest sees it
GUEST = '10.0.2.15'
# In a network of its own there are two links. The guest's ends are eth0 and eth1.
OUTSIDES = (OUTSIDE, '10.77.2.1')
GUESTS = (GUEST, '10.77.2.2')
TAPS = ('vmtap1', 'vmtap2')


def enter_own_network():
    """Moves this process into a new network namespace with tap devices; False: it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() or not os.path.exists('/dev/net/tun') or not find_program('ip') \
            or libc.unshare(CLONE_NEWNET):
        return False
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    for tap, address in zip(TAPS, OUTSIDES):
        for command in (f'tuntap add {tap} mode tap', f'addr add {address}/24 dev {tap}',
                        f'link set {tap} up'):
            subprocess.run(['ip', *command.split()], check=True)
    return True


class VMError(Exception):
    """The VM did not do what every test needs; the text has its last words."""


class Result:
    def __init__(self, status, output):
        self.status = status
        self.output = output

    def __str__(self):
        return f'status {self.status}: {self.output.strip()[-2000:]}'


class Job:
    """A script under way in the guest."""

    def __init__(self, vm, number, script):
        self.vm = vm
        self.number = number
        self.script = script

    def done(self):
        self.vm._pump(0)
        return self.number in self.vm.results

    def wait(self, deadline=COMMAND_DEADLINE):
        end = time.monotonic() + deadline
        while self.number not in self.vm.results:
            left = end - time.monotonic()
            if left <= 0:
                raise VMError(f'no answer after {deadline} s to: {self.script}'
                              + self.vm.last_words())
            self.vm._pump(left)
        return self.vm.results.pop(self.number)


class VM:
    def __init__(self, cache, logdir=None, forward=(4420,), cpus=2, memory=640, say=None,
                 own_network=False, programs=()):
        self.cache = os.environ.get('NOF_VM_CACHE') or cache
        self.forward = forward
        self.cpus = cpus
        self.memory = memory
        self.say = say or (lambda text: None)
        self.logdir = logdir or tempfile.gettempdir()
        self.qemu = None
        self.control = None     # line channel to the agent
        self.monitor = None     # QMP
        self.pending = b''      # of control: bytes of a line not yet ended
        self.results = {}       # request number: Result
        self.ready = False      # the agent takes requests
        self.count = 0
        self.ports = {}         # guest port: port on self.address
        # With own_network this process moves into a network namespace of its own, where the
        # guest is at the other end of two tap devices. QEMU's user network needs no privilege,
        # but ends the whole VM by an assertion (slirp, soread) when connections are torn
        # down often enough, and it is one link of plain TCP.
        self.own_network = own_network
        self.has_tap = False
        self.programs = programs        # of this build, for the guest
        self.address = '127.0.0.1'
        self.boot_seconds = None
        self.console = None

    def __enter__(self):
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def _boot(self):
        program = find_program('qemu-system-x86_64')
        if not program:
            raise ImageError('no qemu-system-x86_64 here: install qemu-system-x86')
        kernel, initramfs = vmimage.image(self.cache, self.say)
        # Behind the image, which may have to be fetched.
        if self.own_network and enter_own_network():
            self.has_tap = True
            self.address = GUEST
        began = time.monotonic()
        fd, self.console = tempfile.mkstemp(prefix='vm-console-', suffix='.log', dir=self.logdir)
        os.close(fd)
        # Socket pairs, not paths: nothing to clean up, no length limit, nobody else.
        self.control, control = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        # Port 0: the kernel picks, QEMU keeps it bound, the monitor tells which.
        nets = ['user' + ''.join(f',hostfwd=tcp:127.0.0.1:0-:{p}' for p in self.forward)]
        if self.has_tap:
            nets = [f'tap,ifname={tap},script=no,downscript=no' for tap in TAPS]
        devices = []
        for i, net in enumerate(nets):
            devices += ['-netdev', f'{net},id=net{i}',
                        '-device', f'virtio-net-pci,netdev=net{i},romfile=']
        if self.programs:
            initramfs = self._with_programs(initramfs)
        argv = [
            program, '-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max',
            '-smp', str(self.cpus), '-m', str(self.memory), '-nodefaults',
            '-no-user-config', '-display', 'none', '-no-reboot',
            '-kernel', kernel, '-initrd', initramfs,
            '-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr '
                       'tsc=reliable no_timer_check random.trust_cpu=on',
            '-serial', 'file:' + self.console.replace(',', ',,'),
            *devices, '-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci',
            '-chardev', f'socket,id=control,fd={control.fileno()}',
            '-device', 'virtserialport,chardev=control,name=control',
            '-chardev', f'socket,id=monitor,fd={monitor.fileno()}',
            '-mon', 'chardev=monitor,mode=control',
        ]
        self.errors = tempfile.TemporaryFile()
        with control, monitor:
            self.qemu = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors,
                pass_fds=(control.fileno(), monitor.fileno()), preexec_fn=die_with_parent)
        self._find_ports()
        end = began + BOOT_DEADLINE
        while not self.ready:
            left = end - time.monotonic()
            if left <= 0:
                raise VMError(f'the VM did not come up in {BOOT_DEADLINE} s' + self.last_words())
            self._pump(left)
        self.boot_seconds = time.monotonic() - began

    def _with_programs(self, initramfs):
        overlay, both = (os.path.join(self.logdir, f'vm-{os.getpid()}-{what}.img')
                         for what in ('programs', 'initramfs'))
        vmimage.overlay(self.programs, overlay)
        with open(both, 'wb') as out:
            for part in (initramfs, overlay):
                with open(part, 'rb') as f:
                    shutil.copyfileobj(f, out)
        return both

    def _find_ports(self):
        self.monitor.settimeout(60)
        stream = self.monitor.makefile('rw')

        def ask(command, **arguments):
            stream.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
            stream.flush()
            for line in stream:
                answer = json.loads(line)
                if 'return' in answer:
                    return answer['return']
                if 'error' in answer:
                    raise VMError(f'QEMU refused {command}: {answer["error"]}')
            raise VMError('QEMU ended' + self.last_words())

        try:
            stream.readline()
            ask('qmp_capabilities')
            if self.has_tap:
                self.ports = {port: port for port in self.forward}
                return
            table = ask('human-monitor-command', **{'command-line': 'info usernet'})
        except (OSError, ValueError) as e:
            raise VMError(f'no answer from QEMU: {e}' + self.last_words())
        for line in table.splitlines():
            found = re.match(r'\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)', line)
            if found:
                self.ports[int(found.group(2))] = int(found.group(1))
        if set(self.ports) != set(self.forward):
            raise VMError(f'QEMU forwards {self.ports}, not {self.forward}:\n{table}')

    def forwarded(self, guest_port):
        return self.ports[guest_port]

    def _pump(self, seconds):
        """Take what the agent has to say, waiting at most this long for it."""
        readable, _, _ = select.select([self.control], [], [], max(0, seconds))
        if not readable:
            return
        try:
            data = self.control.recv(1 << 20)
        except ConnectionResetError:
            data = b''
        if not data:
            try:
                self.qemu.wait(10)      # how it ended belongs to the last words
            except subprocess.TimeoutExpired:
                pass
            raise VMError('the VM is gone' + self.last_words())
        *lines, self.pending = (self.pending + data).split(b'\n')
        for line in lines:
            words = line.decode('ascii', 'replace').split()
            if words == ['ready']:
                self.ready = True
            elif len(words) in (3, 4) and words[0] == 'done':
                text = base64.b64decode(words[3]) if len(words) == 4 else b''
                self.results[int(words[1])] = Result(int(words[2]), text.decode(errors='replace'))

    def start(self, script):
        self.count += 1
        text = base64.b64encode(script.encode()).decode()
        try:
            self.control.sendall(f'run {self.count} {text}\n'.encode())
        except OSError as e:
            raise VMError(f'the VM takes no request: {e}' + self.last_words())
        return Job(self, self.count, script)

    def run(self, script, deadline=COMMAND_DEADLINE):
        return self.start(script).wait(deadline)

    def check(self, script, deadline=COMMAND_DEADLINE):
        """Run what has to succeed; its output."""
        result = self.run(script, deadline)
        if result.status:
            raise VMError(f'in the VM, {script!r} ended with {result}')
        return result.output

    def last_words(self):
        text = ''
        if self.qemu is not None and self.qemu.poll() is not None:
            self.errors.seek(0)
            text += f'\nqemu exited with {self.qemu.returncode}: ' \
                    + self.errors.read().decode(errors='replace')[-1000:]
        if self.console:
            with open(self.console, errors='replace') as f:
                text += f'\nlast lines of {self.console}:\n' + ''.join(f.readlines()[-15:])
        return text

    def close(self):
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None
            self.errors.close()
        for s in (self.control, self.monitor):
            if s is not None:
                s.close()


def main(argv):
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with VM(argv[1], say=print) as vm:
        print(f'booted in {vm.boot_seconds:.1f} s')
        began = time.monotonic()
        vm.check('nvmet up')
        print(f'target up in {time.monotonic() - began:.1f} s, 127.0.0.1:{vm.forwarded(4420)}')
        for script in argv[2:] or ['nvme discover -t tcp -a 127.0.0.1 -s 4420',
                                   f'nvme connect -t tcp -a 127.0.0.1 -s 4420 -n {MAIN} -i 2 -g -G'
                                   ' && sleep 1; nvme list; dmesg | tail -30']:
            print(f'$ {script}\n{vm.run(script)}')
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv))
    except (VMError, ImageError) as error:
        print(f'vm: {error}', file=sys.stderr)
        sys.exit(1)
