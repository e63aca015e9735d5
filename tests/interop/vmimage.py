# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the kernel and the initramfs of the interop VM from Debian's packages.

Nothing is installed and no privilege is needed: the kernel package is
downloaded and unpacked, the few other programs are taken from this system or,
when they are not installed, from their package in the same way. The archive
is written here rather than by cpio(1), because an ordinary user could not
make the device nodes that cpio would read.

The result lives in a cache directory and is reused until an input changes.
Removing that directory is always safe, and is how to pick up a newer kernel.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What the guest must be able to load; dependencies are found and loaded first.
# The crc ones are asked for by name through the crypto API at run time, where
# no module dependency shows them.
MODULES = [
    'virtio_pci', 'virtio_console', 'virtio_net', 'virtio_rng', 'af_packet',
    'crc32c_generic', 'crc32c_intel', 'crct10dif_generic',
    'crc64_rocksoft_generic', 'configfs', 'loop', 'brd', 'null_blk',
    'nvme_core', 'nvme_fabrics', 'nvme_tcp', 'nvmet', 'nvmet_tcp',
    'sch_netem', 'sch_tbf', 'tcp_diag', 'mptcp_diag',
]

# Program in the guest: Debian package that has it, where it is in there. The
# shell is not busybox's own, which would run its applets instead of these.
PROGRAMS = {
    'dash': ('dash', 'bin/dash'),
    'nvme': ('nvme-cli', 'usr/sbin/nvme'),
    'ip': ('iproute2', 'bin/ip'),
    'tc': ('iproute2', 'sbin/tc'),
    'ss': ('iproute2', 'bin/ss'),
    'blkdiscard': ('util-linux', 'sbin/blkdiscard'),
    'fallocate': ('util-linux', 'usr/bin/fallocate'),
}


class ImageError(Exception):
    """The VM cannot be built here; the text says what to do about it."""


def find_program(name):
    """Path of a program, also when the caller's PATH has no sbin; or None."""
    path = os.environ.get('PATH', '') + ':/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin'
    return shutil.which(name, path=path)


def _command(argv, what, **kw):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, timeout=900, **kw)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise ImageError(f'{what}: {e}')
    if done.returncode:
        raise ImageError(f'{what}: {" ".join(argv)} failed: {done.stderr.strip()[-600:]}')
    return done.stdout


def _download(package, debs):
    """The .deb of a package in the directory debs, from apt if not yet there."""
    have = sorted(glob.glob(os.path.join(debs, package + '_*.deb')))
    if have:
        return have[-1]
    with tempfile.TemporaryDirectory(dir=debs) as tmp:
        argv = ['apt-get', '-q', 'download', package]
        if os.getuid() == 0:
            # apt's own user cannot write here; it would only warn, but loudly.
            argv[1:1] = ['-o', 'APT::Sandbox::User=root']
        _command(argv, f'downloading {package} (is the package list there? '
                 'try apt-get update)', cwd=tmp)
        got = glob.glob(os.path.join(tmp, '*.deb'))
        if len(got) != 1:
            raise ImageError(f'apt-get download {package} left {len(got)} files')
        final = os.path.join(debs, os.path.basename(got[0]))
        os.rename(got[0], final)
    return final


def _kernel_deb(debs):
    """The package that linux-image-amd64 stands for today, or the cached one."""
    have = sorted(glob.glob(os.path.join(debs, 'linux-image-[0-9]*.deb')))
    if have:
        return have[-1]
    out = _command(['apt-cache', 'depends', 'linux-image-amd64'],
                   'asking apt for the kernel package (try apt-get update)')
    found = re.search(r'Depends: (linux-image-\d\S+)', out)
    if not found:
        raise ImageError('apt-cache knows no linux-image-amd64: run apt-get update; '
                         'on another distribution set NOF_VM_CACHE to a prepared directory')
    return _download(found.group(1), debs)


def _program(name, debs):
    """A file to put in the guest, installed here or from its package."""
    path = find_program(name)
    if path:
        return os.path.realpath(path)
    package, inside = PROGRAMS[name]
    deb = _download(package, debs)
    tree = deb[:-len('.deb')]
    if not os.path.isdir(tree):
        _command(['dpkg-deb', '-x', deb, tree + '.new'], f'unpacking {package}')
        os.rename(tree + '.new', tree)
    return os.path.join(tree, inside)


def _libraries(path):
    """What ldd says the program needs, as {path in the guest: path here}."""
    out = _command(['ldd', path], f'libraries of {path}')
    libs = {}
    for line in out.splitlines():
        if 'not found' in line:
            raise ImageError(f'{path} needs {line.split()[0]}, which is not installed: '
                             'install the package that has it, or ' + os.path.basename(path))
        found = re.search(r'(/\S+) \(0x', line)
        if found:
            libs[found.group(1)] = os.path.realpath(found.group(1))
    return libs


def _is_static(path):
    """True for an ELF file without a PT_INTERP segment."""
    with open(path, 'rb') as f:
        image = f.read(4096)
    if image[:5] != b'\x7fELF\x02':
        return False
    offset, = struct.unpack_from('<Q', image, 32)
    size, count = struct.unpack_from('<HH', image, 54)
    return all(struct.unpack_from('<I', image, offset + i * size)[0] != 3 for i in range(count))


def _vmlinux(vmlinuz):
    """The ELF kernel inside a bzImage: QEMU starts it without decompressing."""
    with open(vmlinuz, 'rb') as f:
        image = f.read()
    # Boot protocol: setup_sects at 1f1h, payload offset and length at 248h.
    if image[0x202:0x206] != b'HdrS':
        raise ImageError(f'{vmlinuz} is not a kernel image')
    setup = (image[0x1f1] or 4) + 1
    offset, length = struct.unpack_from('<II', image, 0x248)
    payload = image[setup * 512 + offset:setup * 512 + offset + length]
    if payload[:6] != b'\xfd7zXZ\0':
        return image  # some other compression: the kernel unpacks itself
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)


def _modules_in_order(tree):
    """Module files with every dependency before its user."""
    files = {}
    for path in glob.glob(os.path.join(tree, 'kernel', '**', '*.ko'), recursive=True):
        files[os.path.basename(path)[:-3].replace('-', '_')] = path
    with open(os.path.join(tree, 'modules.builtin')) as f:
        builtin = {os.path.basename(x.strip())[:-3].replace('-', '_') for x in f}
    order = []

    def add(name):
        name = name.replace('-', '_')
        if name in builtin or name in order:
            return
        if name not in files:
            raise ImageError(f'the kernel package has no module {name}')
        with open(files[name], 'rb') as f:
            found = re.search(rb'\0depends=([^\0]*)\0', f.read())
        for needed in (found.group(1).decode().split(',') if found else []):
            if needed:
                add(needed)
        order.append(name)

    for name in MODULES:
        add(name)
    return [files[name] for name in order]


class _Archive:
    """A newc cpio archive, which is what the kernel unpacks as initramfs."""

    def __init__(self):
        self.parts = []
        self.known = set()

    def _entry(self, name, mode, data=b'', device=(0, 0)):
        raw = name.encode() + b'\0'
        head = '070701' + ''.join('%08X' % v for v in (
            len(self.known) + 1, mode, 0, 0, 1, 0, len(data), 0, 0,
            device[0], device[1], len(raw), 0))
        for piece in (head.encode() + raw, data):
            self.parts.append(piece + b'\0' * (-len(piece) % 4))
        self.known.add(name)

    def directory(self, name):
        parts = name.strip('/').split('/')
        for i in range(1, len(parts) + 1):
            one = '/'.join(parts[:i])
            if one and one not in self.known:
                self._entry(one, 0o040755)

    def data(self, name, data, mode=0o644):
        name = name.lstrip('/')
        if name in self.known:
            return
        self.directory(os.path.dirname(name))
        self._entry(name, 0o100000 | mode, data)

    def file(self, name, path, mode=0o644):
        with open(path, 'rb') as f:
            self.data(name, f.read(), mode)

    def link(self, name, target):
        name = name.lstrip('/')
        if name not in self.known:
            self.directory(os.path.dirname(name))
            self._entry(name, 0o120777, target.encode())

    def node(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._entry(name, 0o020600, device=(major, minor))

    def bytes(self):
        self._entry('TRAILER!!!', 0)
        return b''.join(self.parts)


def _initramfs(kernel_tree, busybox, programs):
    a = _Archive()
    for d in ('proc', 'sys', 'dev', 'tmp', 'run', 'etc', 'bin', 'sbin', 'usr/bin',
              'usr/sbin', 'root', 'modules', 'srv'):
        a.directory(d)
    a.node('dev/console', 5, 1)
    a.node('dev/null', 1, 3)
    a.file('bin/busybox', busybox, 0o755)
    a.link('bin/sh', '../usr/sbin/dash')
    for name, path in programs.items():
        a.file('usr/sbin/' + name, path, 0o755)
        for inside, here in _libraries(path).items():
            a.file(inside, here, 0o755)
    a.file('init', os.path.join(HERE, 'guest', 'init'), 0o755)
    a.file('usr/sbin/agent', os.path.join(HERE, 'guest', 'agent'), 0o755)
    a.file('usr/sbin/nvmet', os.path.join(HERE, 'guest', 'nvmet'), 0o755)
    a.file('usr/sbin/host', os.path.join(HERE, 'guest', 'host'), 0o755)
    order = _modules_in_order(kernel_tree)
    for path in order:
        a.file('modules/' + os.path.basename(path), path)
    a.data('modules/order', ''.join(os.path.basename(p) + '\n' for p in order).encode())
    return a.bytes()


def overlay(programs, path):
    """Writes an archive with these programs, which are new in every build, and what they need
    of this build. The kernel unpacks one archive after the other: this goes behind the image."""
    a = _Archive()
    for program in programs:
        a.file('usr/sbin/' + os.path.basename(program), program, 0o755)
        for inside, here in _libraries(program).items():
            if not inside.startswith(('/lib', '/usr/lib')):
                inside = '/usr/lib/' + os.path.basename(inside)
            a.file(inside, here, 0o755)
    with open(path, 'wb') as f:
        f.write(a.bytes())


def _identity(path):
    st = os.stat(path)
    return [path, st.st_size, st.st_mtime_ns]


def _digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def _write(path, data):
    with open(path + '.new', 'wb') as f:
        f.write(data)
    os.rename(path + '.new', path)


def _build(cache, say):
    debs = os.path.join(cache, 'debs')
    os.makedirs(debs, exist_ok=True)
    busybox = find_program('busybox')
    if not busybox or not _is_static(busybox):
        raise ImageError('no static busybox here: install busybox-static')
    kernel = _kernel_deb(debs)
    programs = {name: _program(name, debs) for name in PROGRAMS}
    inputs = {
        'sources': [_digest(os.path.join(HERE, p)) for p in
                    ('vmimage.py', 'guest/init', 'guest/agent', 'guest/nvmet', 'guest/host')],
        'files': [_identity(p) for p in [kernel, busybox] + list(programs.values())],
    }
    stamp = os.path.join(cache, 'stamp.json')
    outputs = [os.path.join(cache, 'vmlinux'), os.path.join(cache, 'initramfs.img')]
    with contextlib.suppress(OSError, ValueError):
        with open(stamp) as f:
            if json.load(f) == inputs and all(os.path.exists(p) for p in outputs):
                return outputs
    say(f'building the VM image from {os.path.basename(kernel)}')
    with contextlib.suppress(FileNotFoundError):
        os.unlink(stamp)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        _command(['dpkg-deb', '-x', kernel, tmp], 'unpacking the kernel package')
        trees = glob.glob(os.path.join(tmp, 'lib', 'modules', '*'))
        images = glob.glob(os.path.join(tmp, 'boot', 'vmlinuz-*'))
        if len(trees) != 1 or len(images) != 1:
            raise ImageError(f'{kernel} does not look like a Debian kernel package')
        _write(outputs[0], _vmlinux(images[0]))
        _write(outputs[1], _initramfs(trees[0], busybox, programs))
    _write(stamp, json.dumps(inputs, indent=1).encode())
    return outputs


def image(cache, say=lambda text: None):
    """Paths of (vmlinux, initramfs), built now if an input changed."""
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, 'lock'), 'w') as lock:
        # Two tests may start at once; the second finds the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(cache, say)
