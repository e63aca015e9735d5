#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""blktests nvme/012: a file system is made, filled, and verified. A file system image
goes to the namespace and comes back through nvmf-copy; its own checker and the files in
it are the judges. Usage: test_blktests_mkfs.py PATH/nvmf-target TOOLS_FOLDER. TAP."""
import hashlib
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from clitest import VARIANTS, Folder, Running, eq, main, noise, run, test, uri  # noqa: E402

SIZE = 24 << 20
os.environ["PATH"] += ":/usr/sbin:/sbin"


def command(*argv):
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60)
    eq(p.returncode, 0, f"{' '.join(argv)}: {p.stdout.decode(errors='replace')}")
    return p.stdout


def digests(image, names):
    """SHA-256 of files inside the image."""
    return {name: hashlib.sha256(subprocess.run(
        ["debugfs", "-R", f"cat /{name}", image], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, timeout=60).stdout).hexdigest() for name in names}


def filled(folder, number):
    """An image with files of odd sizes, and their digests."""
    root = folder.path(f"root{number}")
    os.mkdir(root)
    want = {}
    for i, size in enumerate((1, 4095, 4096, 70001, 1 << 20, (3 << 20) + 17)):
        data = noise(size, seed=100 * number + i)
        with open(os.path.join(root, f"file{i}"), "wb") as f:
            f.write(data)
        want[f"file{i}"] = hashlib.sha256(data).hexdigest()
    image = folder.path(f"image{number}")
    with open(image, "wb") as f:
        f.truncate(SIZE)
    command("mkfs.ext4", "-q", "-F", "-d", root, image)
    return image, want


def over(target_options, number):
    with Folder() as folder:
        image, want = filled(folder, number)
        back = folder.path("back")
        with Running(*target_options) as t:
            for variant in VARIANTS:
                run("nvmf-copy", "--flush", "--verify", image, uri(t, "1", variant))
                run("nvmf-copy", uri(t, "1", variant), back)
                command("e2fsck", "-f", "-n", back)
                eq(digests(back, want), want, "files in the file system")
                os.unlink(back)


@test
def blktests_nvme_012_device():
    over([f"--ns=mem:{SIZE},bs=4096"], 1)


@test
def blktests_nvme_012_file():
    with Folder() as folder:
        path = folder.write("ns", b"")
        os.truncate(path, SIZE)
        over([f"--ns=file:{path},bs=512", "--in-capsule=0", "--r2t-size=16384"], 2)


@test
def blktests_nvme_012_sparse():
    """Only what is in use is sent, over a namespace full of other data."""
    with Folder() as folder:
        image, want = filled(folder, 3)
        other = folder.write("other", noise(SIZE))
        back = folder.path("back")
        with Running(f"--ns=mem:{SIZE},bs=4096") as t:
            run("nvmf-copy", other, uri(t, "1", VARIANTS[0]))
            run("nvmf-copy", "--sparse", "--verify", image, uri(t, "1", VARIANTS[0]))
            run("nvmf-copy", "--sparse", uri(t, "1", VARIANTS[1]), back)
            command("e2fsck", "-f", "-n", back)
            eq(digests(back, want), want, "files in the file system")


if __name__ == "__main__":
    missing = [p for p in ("mkfs.ext4", "e2fsck", "debugfs") if not shutil.which(p)]
    if missing:
        print(f"1..0 # SKIP no {', '.join(missing)} here: install e2fsprogs")
        sys.exit(0)
    main()
