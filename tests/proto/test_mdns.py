#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""nof_mdns_browse() against real Avahi daemons: one that announces, and one that is asked,
each in network and mount namespaces of its own, joined by a pair of interfaces. Usage:
test_mdns.py PATH/mdns_browse yes|no (whether it was built in). Output is TAP."""
import os
import shutil
import subprocess
import sys
import time

BROWSE = sys.argv[1]
DEADLINE = 40
UNIQUE = "nqn.2025-11.org.example:cdc"

BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"""

CONF = """[server]
host-name=%(host)s
use-ipv4=yes
use-ipv6=yes
allow-interfaces=%(iface)s
enable-dbus=%(dbus)s
[wide-area]
enable-wide-area=no
[publish]
publish-workstation=no
publish-hinfo=no
publish-aaaa-on-ipv4=no
"""

SERVICES = {
    "plain": (8009, ["p=tcp"]),
    "unique": (8010, ["nqn=" + UNIQUE, "p=tcp"]),
    "upper case": (8011, ["NQN=" + UNIQUE + "2", "P=TCP"]),
    "other transport": (8012, ["p=roce"]),
    "hostile \x1b[2J": (8013, ["nqn=nqn.x;\x7f rm -rf", "p=tcp", "x", "nqn"]),
    "hostile too long": (8014, ["nqn=nqn." + "x" * 240, "p=tcp"]),
    "bare": (8015, []),
}


def sh(*args):
    subprocess.run(args, check=True)


def prepare_files():
    """What the daemons write and read, private to this mount namespace."""
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "none", "/run")
    os.makedirs("/run/dbus")
    os.makedirs("/run/avahi-daemon")
    sh("mount", "-t", "tmpfs", "none", "/etc/avahi/services")


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def avahi(host, iface, dbus):
    write("/run/avahi.conf", CONF % {"host": host, "iface": iface, "dbus": dbus})
    return subprocess.Popen(["avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits",
                             "--file=/run/avahi.conf"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(proc):
    if proc and proc.poll() is None:
        proc.terminate()
        try:
            proc.wait(5)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()


def up(iface, v4, v6):
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "addr", "add", v4, "dev", iface)
    if os.path.exists("/proc/net/if_inet6"):
        sh("ip", "addr", "add", v6, "dev", iface, "nodad")
    sh("ip", "link", "set", iface, "up")


def announce():
    """The other machine."""
    prepare_files()
    for i, (name, (port, txt)) in enumerate(SERVICES.items()):
        esc = name.replace("\x1b", "?")     # XML knows no escape character
        records = "".join("<txt-record>%s</txt-record>" % t.replace("\x7f", "&#127;")
                          for t in txt)
        write("/etc/avahi/services/%d.service" % i,
              "<service-group><name>%s</name><service><type>_nvme-disc._tcp</type>"
              "<port>%d</port>%s</service></service-group>" % (esc, port, records))
    print("ready", flush=True)
    sys.stdin.readline()
    up("v1", "198.51.100.2/24", "fd00:6e6f:66::2/64")
    daemon = avahi("array", "v1", "no")
    sys.stdin.read()
    end(daemon)


def browse(*args):
    """(lines of services as lists, all lines)"""
    p = subprocess.run([BROWSE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=DEADLINE, check=False)
    if p.returncode:
        raise AssertionError("mdns_browse ended with %d: %s%s" % (
            p.returncode, p.stdout.decode(), p.stderr.decode()))
    lines = p.stdout.decode().splitlines()
    return [line.split(" ", 5)[1:] for line in lines if line.startswith("service ")], lines


count = failed = 0


def check(name, fn):
    global count, failed
    count += 1
    try:
        fn()
        print("ok %d - %s" % (count, name), flush=True)
    except Exception as e:      # pylint: disable=broad-except
        failed += 1
        print("not ok %d - %s" % (count, name))
        for line in (str(e) or repr(e)).splitlines():
            print("# " + line, flush=True)


def wants(lines, *texts):
    for t in texts:
        if not any(t in line for line in lines):
            raise AssertionError("no '%s' in:\n%s" % (t, "\n".join(lines)))


def no_bus():
    wants(browse("500")[1], "error 107", "D-Bus")


def no_daemon():
    wants(browse("500")[1], "error 107", "avahi-daemon")


def silent_bus():
    """A bus that accepts and says nothing: the caller's limit holds."""
    wants(browse("300")[1], "error 110", "did not answer")
    wants(browse("30000", "cancel")[1], "error 125", "cancelled 1")


def until(condition):
    """Announcements take a second or two: probing, and then the first answers."""
    limit = time.monotonic() + DEADLINE
    while True:
        got, lines = browse("2000")
        if condition(got):
            return got, lines
        if time.monotonic() > limit:
            raise AssertionError("not found in %d s:\n%s" % (DEADLINE, "\n".join(lines)))


def all_found():
    want = {8009: "nqn.2014-08.org.nvmexpress.discovery", 8010: UNIQUE, 8011: UNIQUE + "2",
            8013: "nqn.2014-08.org.nvmexpress.discovery",
            8014: "nqn.2014-08.org.nvmexpress.discovery",
            8015: "nqn.2014-08.org.nvmexpress.discovery"}
    got, lines = until(lambda g: {int(s[1]) for s in g if s[0] == "198.51.100.2"} == set(want))
    for addr, port, nqn, uri, name in got:
        if nqn != want[int(port)]:
            raise AssertionError("port %s: %s" % (port, nqn))
        if not all(" " <= c <= "~" for c in name):
            raise AssertionError("name %r" % name)
        if ":%s/%s" % (port, nqn) not in uri or addr.split("%")[0] not in uri:
            raise AssertionError(uri)
        if addr.startswith("fe80") and not addr.endswith("%v0"):
            raise AssertionError("a link-local address without its interface: " + addr)
    if len({(s[0], s[1], s[2]) for s in got}) != len(got):
        raise AssertionError("repetitions:\n" + "\n".join(lines))


def cancelled():
    wants(browse("30000", "cancel")[1], "cancelled 1", "error 125")


def inside():
    prepare_files()
    sh("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    other = subprocess.Popen(["unshare", "-n", "-m", sys.executable, os.path.abspath(__file__),
                              BROWSE, "announce"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    bus = daemon = silent = None
    try:
        if other.stdout.readline() != "ready\n":
            raise AssertionError("the other side did not start")
        sh("ip", "link", "set", "v1", "netns", str(other.pid))
        up("v0", "198.51.100.1/24", "fd00:6e6f:66::1/64")
        other.stdin.write("\n")
        other.stdin.flush()
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/dbus/system_bus_socket"
        check("no D-Bus", no_bus)
        silent = subprocess.Popen([sys.executable, "-c", "import socket,time\n"
                                   "s=socket.socket(socket.AF_UNIX)\n"
                                   "s.bind('/run/dbus/silent')\ns.listen(9)\n"
                                   "print('ready',flush=True)\ntime.sleep(600)"],
                                  stdout=subprocess.PIPE, text=True)
        silent.stdout.readline()
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/dbus/silent"
        check("a D-Bus that does not answer", silent_bus)
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/dbus/system_bus_socket"
        write("/run/bus.conf", BUS)
        bus = subprocess.Popen(["dbus-daemon", "--config-file=/run/bus.conf", "--nofork",
                                "--nopidfile", "--print-address=1"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
        if not bus.stdout.readline():
            raise AssertionError("dbus-daemon did not start")
        check("no Avahi daemon", no_daemon)
        daemon = avahi("host", "v0", "yes")
        check("services on the other side of the network", all_found)
        check("cancelled", cancelled)
    finally:
        for p in (daemon, bus, silent):
            end(p)
        other.stdin.close()
        try:
            other.wait(10)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()
    print("1..%d" % count)
    return 1 if failed else 0


def main():
    if sys.argv[2] == "announce":
        announce()
        return 0
    if sys.argv[2] == "inside":
        return inside()
    reason = None
    if sys.argv[2] == "no":
        reason = "built without mDNS (libavahi-client-dev)"
    elif os.geteuid() != 0:
        reason = "needs root, for network and mount namespaces"
    else:
        for tool in ("avahi-daemon", "dbus-daemon", "unshare", "ip", "mount"):
            if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                reason = tool + " is not installed"
    if not reason:
        p = subprocess.run(["unshare", "-n", "-m", "sh", "-c",
                            "mount --make-rprivate / && mount -t tmpfs none /run && "
                            "ip link add v0 type veth peer name v1"], stderr=subprocess.PIPE,
                           check=False)
        if p.returncode:
            reason = "no private namespaces here: " + p.stderr.decode().strip()[:80]
    if reason:
        print("1..0 # SKIP " + reason)
        return 0
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    return subprocess.run(["unshare", "-n", "-m", sys.executable, os.path.abspath(__file__),
                           BROWSE, "inside"], check=False).returncode


sys.exit(main())
