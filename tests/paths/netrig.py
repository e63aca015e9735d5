# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two network namespaces, a host's and a target's, with one to eight links between them.

    with Net(paths=2, rate="200mbit") as net:
        subprocess.run(net.host(["ping", "-c1", net.addr("target", 2)]), check=True)
        net.drop(2)                 # silently: no carrier loss, no error, nothing arrives
        net.undrop(2)

Net(paths=2, rate=None, v6=False, endpoints="signal", limits=(8, 8), emu=None, loss=0, delay=None,
    nat=(), congestion="cubic", queue_ms=20, gso=True, linkemu=None)
  paths      how many links: device lN at both ends, N from 1
  rate       what tbf lets through at both ends: None, "200mbit", or a list with one for each link
  v6         which addresses addr() gives: False IPv4, True IPv6, "mixed" IPv6 for odd links and
             IPv4 for even ones (an IPv4 socket takes no IPv6 subflow). All links have both.
  endpoints  "signal": the target announces its addresses on links 2..; "subflow": the host has
             endpoints for links 2..; "fullmesh": the same with the flag; None: none
  limits     (subflows, accepted ADD_ADDR) at both ends, None: the kernel's
  emu        links are pairs of tun devices joined by linkemu: its options as a dictionary, as
             {"delay": "5ms", "jitter": "1ms", "loss": 0.5, "rate": "100mbit",
             "queue": "256k", "burst": "0.1:30", "reorder": True, "calm": 60, "seed": 7} for all
             links, or a list of them; None in that list is a veth pair. Keys ending in _up (host to
             target) or _down (target to host) are for one direction. calm: the first packets have
             neither loss nor jitter. Then emu_stats() ends the emulators and says what they did.
  loss       as if loss(n, percent) had been called for every link
  delay      as emu={"delay": delay}
  nat        links that pass a third namespace (`router`), which masquerades the host
  gso        False: veth carries no packet larger than the MTU, so that loss is per packet; loss
             from the start implies it. Emulated links always lose single packets
  congestion asked for in both namespaces. Where only what the first namespace's
             tcp_allowed_congestion_control lists may be set in others, the kernel's default stays
  queue_ms   what tbf's queue holds, in time at its rate (at least 128 KiB)
  linkemu    the program; by default $NOF_LINKEMU, or that of the folder build/

Addresses of link N: host 10.80.N.1 and fd00:80:N::1, target 10.80.N.2 and fd00:80:N::2; behind a
NAT the target's are 10.81.N.2 and fd00:81:N::2. Packets from a host address leave by its link
(policy routing), whatever they are for, and the answers come back by the same link.

Argv prefixes: host(argv), target(argv), router(argv); inside(side, argv). Names: name[side], side
is "host", "target" or "router".
Links: down(n, side="host"), up(n, side="host"): administrative state; with side="target" the host
sees its carrier go, as with a cable pulled. drop(n, direction="both") and undrop(n, direction):
direction "up" is host to target. dropped(n) counts. loss(n, percent, direction="both", even=False):
random, or with even=True every so-manyth packet; 0 ends it. shape(n, rate) changes the rate.
Others: ip(side, *args), nft(side, text), sysctl(side, "key=value", …), addr(side, n, v6=None),
endpoint_add(side, address, *flags_and_dev, dev=None), endpoint_del(side, address), limits(side,
subflows, accepted), subflows(port) (established TCP connections of the host to that port),
counters(side) (the kernel's MPTCP counters, as {"AddAddr": 1, …}).

unable() says why a rig cannot be made here, or None. Everything is removed on every way out,
SIGKILL included: a child of the shell kind waits for the end of its standard input, then kills what
still runs in the namespaces and deletes them. Nothing outside these namespaces is touched.
"""
import fractions
import itertools
import os
import shutil
import subprocess

SIDES = ("host", "target")
_numbers = itertools.count(1)

# Ends when its standard input does. Device and process go with the namespace.
_GUARD = """
cat >/dev/null
for n; do
	ip netns pids "$n" 2>/dev/null | xargs -r kill -KILL 2>/dev/null
	ip netns del "$n" 2>/dev/null
done
exit 0
"""


class RigError(Exception):
    """A command that sets the rig up has failed; the text has what it said."""


def _run(argv, text=None):
    p = subprocess.run(argv, input=text, text=True, capture_output=True, check=False,
                       **({} if text is not None else {"stdin": subprocess.DEVNULL}))
    if p.returncode:
        raise RigError(f"{' '.join(argv)}: {p.stderr.strip()}" + (f"\n{text}" if text else ""))
    return p.stdout


def unable(emu=False):
    """Why no rig can be made here, or None."""
    if os.geteuid():
        return "network namespaces need root here"
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("ss", "iproute2"),
                             ("nft", "nftables"), ("sysctl", "procps")):
        if not shutil.which(program):
            return f"no {program} here: install {package}"
    if not os.path.exists("/proc/sys/net/mptcp/enabled"):
        return "this kernel has no MPTCP"
    if not os.path.exists("/proc/sys/net/ipv6"):
        return "this kernel has no IPv6"
    if emu and not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun here"
    try:
        with Net(paths=1, rate="100mbit", emu=None) as net:
            net.drop(1)
    except RigError as e:
        return "no rig can be made here: " + " ".join(str(e).split())[:300]
    return None


def _bits(rate):
    """tc's notation of a rate, in bits per second."""
    for suffix, factor in (("kbit", 10**3), ("mbit", 10**6), ("gbit", 10**9)):
        if rate.endswith(suffix):
            return float(rate[:-len(suffix)]) * factor
    raise ValueError(f"rate {rate!r}: want kbit, mbit or gbit")


class Net:
    def __init__(self, paths=2, rate=None, v6=False, endpoints="signal", limits=(8, 8), emu=None,
                 loss=0, delay=None, nat=(), congestion="cubic", queue_ms=20, gso=True,
                 linkemu=None):
        if not 1 <= paths <= 8 or v6 not in (False, True, "mixed") or \
           endpoints not in (None, "signal", "subflow", "fullmesh"):
            raise ValueError("Net: see its description")
        if delay is not None:
            emu = {**(emu or {}), "delay": delay}
        self.paths = paths
        self.links = range(1, paths + 1)
        self.v6, self.endpoints, self.limit = v6, endpoints, limits
        self.rates = rate if isinstance(rate, (list, tuple)) else [rate] * paths
        self.emu = emu if isinstance(emu, (list, tuple)) else [emu] * paths
        self.nat, self.congestion, self.queue_ms = tuple(nat), congestion, queue_ms
        self.percent, self.gso = loss, gso and not loss
        self.program = linkemu or os.environ.get("NOF_LINKEMU") or os.path.join(
            os.path.dirname(os.path.abspath(__file__)), "..", "..", "build/tests/paths/linkemu")
        stem = f"nof-{os.getpid()}-{next(_numbers)}"
        self.name = {"host": stem + "-h", "target": stem + "-t", "router": stem + "-r"}
        self.guard = None
        self.emulators = {}

    # What a test runs

    def inside(self, side, argv):
        return ["ip", "netns", "exec", self.name[side], *argv]

    def host(self, argv):
        return self.inside("host", argv)

    def target(self, argv):
        return self.inside("target", argv)

    def router(self, argv):
        return self.inside("router", argv)

    # Building

    def __enter__(self):
        self.guard = subprocess.Popen(["sh", "-c", _GUARD, "guard", *self.name.values()],
                                      stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for emulator in self.emulators.values():
            emulator.stdin.close()
            emulator.stdout.close()
        self.guard.stdin.close()
        self.guard.wait()
        for emulator in self.emulators.values():
            emulator.wait()

    def _build(self):
        sides = SIDES + (("router",) if self.nat else ())
        for side in sides:
            _run(["ip", "netns", "add", self.name[side]])
            self.sysctl(side, "net.mptcp.enabled=1", "net.ipv4.conf.all.rp_filter=0",
                        "net.ipv4.conf.default.rp_filter=0", "net.ipv4.ip_forward=1",
                        "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0",
                        "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.all.keep_addr_on_down=1",
                        "net.ipv6.conf.default.keep_addr_on_down=1")
            self.ip(side, "link", "set", "lo", "up")
            if self.limit:
                self.limits(side, *self.limit)
            if self.congestion:
                # A kernel that does not allow it keeps its own.
                subprocess.run(self.inside(side, [
                    "sysctl", "-q", "-w", f"net.ipv4.tcp_congestion_control={self.congestion}"]),
                    capture_output=True, check=False)
        for n in self.links:
            self._link(n)
            if self.rates[n - 1]:
                self.shape(n, self.rates[n - 1])
            if self.percent:
                self.loss(n, self.percent)
        for n in self.links[1:]:
            if self.endpoints == "signal":
                self.endpoint_add("target", self.addr("target", n), "signal", dev=f"l{n}")
            elif self.endpoints:
                more = ["fullmesh"] if self.endpoints == "fullmesh" else []
                self.endpoint_add("host", self.addr("host", n), "subflow", *more, dev=f"l{n}")

    def _link(self, n):
        dev, emu = f"l{n}", self.emu[n - 1]
        if emu is not None:
            self._emulator(n, emu)
        elif n in self.nat:
            for side, inner in (("host", f"h{n}"), ("target", f"t{n}")):
                self.ip(side, "link", "add", dev, "type", "veth", "peer", "name", inner, "netns",
                        self.name["router"])
            self._batch("router", [f"addr add 10.80.{n}.254/24 dev h{n}",
                                   f"addr add 10.81.{n}.254/24 dev t{n}",
                                   f"addr add fd00:80:{n}::254/64 dev h{n} nodad",
                                   f"addr add fd00:81:{n}::254/64 dev t{n} nodad",
                                   f"link set h{n} up", f"link set t{n} up"])
            self.nft("router", f"table inet nat{n} {{\n chain c {{\n  type nat hook postrouting "
                     f"priority 100; oifname \"t{n}\" masquerade;\n }}\n}}\n")
        else:
            self.ip("host", "link", "add", dev, "type", "veth", "peer", "name", dev, "netns",
                    self.name["target"])
        for side in SIDES:
            lines = [f"addr add {self.addr(side, n, False)}/24 dev {dev}",
                     f"addr add {self.addr(side, n, True)}/64 dev {dev} nodad",
                     f"link set {dev} up"]
            if not self.gso and emu is None:
                lines.insert(0, f"link set {dev} gso_max_segs 1")
            self._batch(side, lines)
        for version in ("-4", "-6"):
            address = self.addr("host", n, version == "-6")
            self.ip("host", version, "rule", "add", "from", address, "table", str(100 + n))
        self._routes(n)

    def _routes(self, n):
        """The way out for a host address, and for that of a target behind a router the way back:
        gone with a link that goes down."""
        for v6 in (False, True):
            via = self._hop("host", n, v6)
            self._batch("host", [f"route replace default {via}dev l{n} table {100 + n}"], v6)
            if n in self.nat:
                net = f"fd00:81:{n}::/64" if v6 else f"10.81.{n}.0/24"
                self._batch("host", [f"route replace {net} {via}dev l{n}"], v6)

    def _hop(self, side, n, v6):
        """The word for the next hop: none between tun devices, which have no neighbours."""
        if self.emu[n - 1] is not None:
            return ""
        if n in self.nat:
            return f"via fd00:80:{n}::254 " if v6 else f"via 10.80.{n}.254 "
        return f"via {self.addr('target' if side == 'host' else 'host', n, v6)} "

    def _batch(self, side, lines, v6=None):
        version = [] if v6 is None else ["-6" if v6 else "-4"]
        _run(["ip", *version, "-n", self.name[side], "-batch", "-"], "\n".join(lines) + "\n")

    def _emulator(self, n, emu):
        options = []
        for key, value in emu.items():
            key = key.replace("_", "-")
            if value is True:
                options.append(f"--{key}")
            elif value is not None and value is not False:
                options.append(f"--{key}={value}")
        self.emulators[n] = emulator = subprocess.Popen(
            [self.program, f"--dev=l{n}", *options, f"/run/netns/{self.name['host']}",
             f"/run/netns/{self.name['target']}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if emulator.stdout.readline() != "ready\n":
            raise RigError(f"linkemu {options} has not started")

    def emu_stats(self):
        """Ends the emulators; {link: {"up.NAME": number, "down.NAME": number}}."""
        stats = {}
        for n, emulator in self.emulators.items():
            out, _ = emulator.communicate()
            stats[n] = {name: int(value) for name, value in
                        (line.split() for line in out.splitlines())}
        self.emulators = {}
        return stats

    # Small things

    def ip(self, side, *args):
        return _run(["ip", "-n", self.name[side], *args])

    def nft(self, side, text):
        _run(self.inside(side, ["nft", "-f", "-"]), text)

    def sysctl(self, side, *settings):
        _run(self.inside(side, ["sysctl", "-q", "-w", *settings]))

    def addr(self, side, n, v6=None):
        if v6 is None:
            v6 = self.v6 if self.v6 != "mixed" else n % 2 == 1
        middle = 81 if n in self.nat and side == "target" else 80
        last = 1 if side == "host" else 2
        return f"fd00:{middle}:{n}::{last}" if v6 else f"10.{middle}.{n}.{last}"

    def limits(self, side, subflows, accepted):
        self.ip(side, "mptcp", "limits", "set", "subflow", str(subflows), "add_addr_accepted",
                str(accepted))

    def endpoint_add(self, side, address, *flags, dev=None):
        self.ip(side, "mptcp", "endpoint", "add", address, *(["dev", dev] if dev else []), *flags)

    def endpoint_del(self, side, address):
        """The endpoint with this address, whatever its number."""
        for line in self.ip(side, "mptcp", "endpoint", "show").splitlines():
            words = line.split()
            if words[0] == address:
                self.ip(side, "mptcp", "endpoint", "del", "id", words[words.index("id") + 1])
                return
        raise RigError(f"{side} has no endpoint {address}")

    def subflows(self, port=4420):
        out = _run(self.host(["ss", "-Htn", "state", "established", "dport", "=", f":{port}"]))
        return len(out.splitlines())

    def counters(self, side):
        lines = [line.split()[1:] for line in
                 _run(self.inside(side, ["cat", "/proc/net/netstat"])).splitlines()
                 if line.startswith("MPTcpExt:")]
        return dict(zip(lines[0], map(int, lines[1])))

    # Breaking and repairing links

    def down(self, n, side="host"):
        self.ip(side, "link", "set", f"l{n}", "down")

    def up(self, n, side="host"):
        self.ip(side, "link", "set", f"l{n}", "up")
        if side == "host":
            self._routes(n)

    def shape(self, n, rate):
        bits = _bits(rate)
        burst = max(int(bits / 8 / 1000), 64 << 10)                 # a millisecond
        limit = max(int(bits / 8 / 1000 * self.queue_ms), 128 << 10) + burst
        for side in SIDES:
            _run(["tc", "-n", self.name[side], "qdisc", "replace", "dev", f"l{n}", "root", "tbf",
                  "rate", rate, "burst", str(burst), "limit", str(limit)])

    def _receivers(self, direction):
        return {"both": SIDES, "up": ("target",), "down": ("host",)}[direction]

    def _filter(self, n, what, direction, rule):
        """A filter where packets arrive: their sender is not told. An empty rule takes it away."""
        table = f"netdev {what}{n}"
        for side in self._receivers(direction):
            text = f"table {table}\ndelete table {table}\n"
            if rule:
                text += (f"table {table} {{\n chain c {{\n  type filter hook ingress device "
                         f"\"l{n}\" priority 0;\n  {rule}\n }}\n}}\n")
            self.nft(side, text)

    def drop(self, n, direction="both"):
        self._filter(n, "drop", direction, "counter drop")

    def undrop(self, n, direction="both"):
        self._filter(n, "drop", direction, "")

    def loss(self, n, percent, direction="both", even=False):
        share = fractions.Fraction(str(percent)).limit_denominator(100000) / 100
        if not 0 <= share <= 1:
            raise ValueError(f"loss of {percent} %")
        count, of = share.numerator, share.denominator
        if even:
            lost = ", ".join(f"{i * of // count}" for i in range(count)) if count else ""
            rule = f"numgen inc mod {of} {{ {lost} }} counter drop"
        else:
            rule = f"numgen random mod {of} < {count} counter drop"
        self._filter(n, "loss", direction, rule if count else "")

    def dropped(self, n, what="drop"):
        """Packets that drop(n), or with what="loss" loss(n), has dropped, as {side: packets}."""
        counts = {}
        for side in SIDES:
            p = subprocess.run(self.inside(side, ["nft", "list", "table", "netdev", f"{what}{n}"]),
                               capture_output=True, text=True, check=False)
            words = p.stdout.split()
            counts[side] = int(words[words.index("packets") + 1]) if "packets" in words else 0
        return counts
