# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is broken when: a list of steps, made from a seed alone, so that a run can be repeated.

A path belongs to a node (a process) and is one of its ports. A plan never leaves all paths dead
for longer than DARK seconds; what is broken is healed by a step of the plan too.
"""
import collections
import random

DARK = 3.0          # seconds without any path
QUIET = 1.0         # of the end and of the beginning

# at: seconds; what: a method of the runner, with the node and its arguments
Step = collections.namedtuple("Step", "at what node args")

STATES = ("optimized", "non-optimized", "inaccessible", "persistent-loss", "change")


class Maker:
    def __init__(self, seed, seconds, ports, skip=(), only=(), states=STATES):
        """ports: for each node how many it has; skip, only: disruptions by name"""
        self.rng = random.Random(f"chaos/{seed}")
        self.seconds = seconds
        self.ports = ports
        self.steps = []
        self.states = states
        self.loss_until = 0.0                   # a path is in persistent loss
        self.node_until = [0.0] * len(ports)    # until then something is wrong with it
        self.down_until = {(n, p): 0.0 for n, count in enumerate(ports) for p in range(count)}
        self.kinds = [kind for kind in (
            (self.kill, 4), (self.stop, 4), (self.pause, 3), (self.slow, 2), (self.late, 2),
            (self.drop, 3), (self.ana, 4), (self.unlisten, 2), (self.status, 2), (self.term, 2),
            (self.fewer_queues, 1)) if kind[0].__name__ in (only or [kind[0].__name__]) and
            kind[0].__name__ not in skip and "all" not in skip]

    def make(self):
        now = QUIET
        while self.kinds and now < self.seconds - QUIET:
            kind = self.rng.choices([k for k, _ in self.kinds], [w for _, w in self.kinds])[0]
            node = self.rng.randrange(len(self.ports))
            if self.node_until[node] + 0.05 <= now:
                kind(now, node)
            now += self.rng.expovariate(1 / 0.5)
        return sorted(self.steps)

    def duration(self, longest):
        """Short ones more often: many things happen at the edges of timeouts."""
        return self.rng.choice((0.05, 0.3, 1, 1)) * self.rng.uniform(0.1, longest)

    def add(self, at, what, node, *args):
        self.steps.append(Step(round(at, 3), what, node, args))

    def take_down(self, now, paths, length):
        """True when these paths may be dead for so long; then they are."""
        until = min(now + length, self.seconds - QUIET / 2)
        others = [t for path, t in self.down_until.items() if path not in paths]
        dark = min([until, *others]) - now
        if dark > DARK or until <= now:
            return None
        for path in paths:
            self.down_until[path] = max(self.down_until[path], until)
        return until

    def all_of(self, node):
        return [(node, port) for port in range(self.ports[node])]

    def one_of(self, node):
        return self.rng.randrange(self.ports[node])

    def for_a_while(self, now, node, paths, longest, begin, end, *args):
        until = self.take_down(now, paths, self.duration(longest))
        if until is None:
            return
        self.node_until[node] = until
        self.add(now, begin, node, *args)
        self.add(until, end, node, *args)

    def kill(self, now, node):
        self.for_a_while(now, node, self.all_of(node), 6, "kill", "restart")

    def stop(self, now, node):
        self.for_a_while(now, node, self.all_of(node), 8, "stop", "go_on")

    def pause(self, now, node):
        port = self.one_of(node)
        self.for_a_while(now, node, [(node, port)], 8, "pause", "resume", port)

    def unlisten(self, now, node):
        port = self.one_of(node)
        self.for_a_while(now, node, [(node, port)], 5, "unlisten", "listen", port)

    def ana(self, now, node):
        port = self.one_of(node)
        state = self.rng.choice(self.states)
        # It does not end by itself, as far as a host knows: with all paths in it, I/O fails.
        if state == "persistent-loss" and now < self.loss_until + 1:
            return
        is_down = state not in ("optimized", "non-optimized")
        longest = 2 if state == "change" else 6
        self.for_a_while(now, node, [(node, port)] if is_down else [], longest, "ana",
                         "ana_again", port, state)
        if state == "persistent-loss":
            self.loss_until = max(self.loss_until, self.node_until[node])

    def faults(self, now, node, longest, script):
        self.for_a_while(now, node, [], longest, "fault", "clear", script)

    def slow(self, now, node):
        """Its answers are late, all of a connection with them."""
        self.faults(now, node, 4, f"on=resp qid=io every={self.rng.randrange(20, 200)} "
                                  f"do=delay:{self.rng.randrange(5, 300)}")

    def late(self, now, node):
        """Commands overtake each other."""
        self.faults(now, node, 4, f"on=cmd qid=io every={self.rng.randrange(2, 50)} "
                                  f"do=delay:{self.rng.randrange(5, 500)}")

    def status(self, now, node):
        """Not executed, try again."""
        which = self.rng.choice(("0/0x21", "0/0x82", "3/0x00", "3/0x70", "3/0x71"))
        self.faults(now, node, 2, f"on=cmd qid=io every={self.rng.randrange(50, 400)} "
                                  f"do=status:{which}")

    def term(self, now, node):
        self.faults(now, node, 1, f"on=resp qid=io nth={self.rng.randrange(1, 100)} do=term:2")

    def drop(self, now, node):
        self.add(now, "drop", node, self.rng.choice(("", "io", "admin")))

    def fewer_queues(self, now, node):
        """The next connect is granted another number of queues."""
        self.for_a_while(now, node, [], 4, "queues", "queues_again", self.rng.choice((2, 3, 64)))
        self.add(now + 0.001, "drop", node, "")
