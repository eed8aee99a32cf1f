"""The session's invariant, in random lives: whatever happens to the paths, every byte arrives once and in order."""

import random
from itertools import count

import pytest
from session_world import WINDOW, A, B, World, noise

from punchkit.messages import (
    Finished,
    PeerFinished,
)
from punchkit.session import RELAY

# ---- the invariant ---------------------------------------------------------------------------------------------------


class Chaos:
    """A random life of two peers: upgrades, silent and abrupt deaths, slow readers, relays that go and come back."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.world = World(rng.uniform(0.005, 0.3), rng.choice([WINDOW, 3 * WINDOW, 1 << 20]), self.capacity())
        self.data = [noise(seed * 2 + end, rng.choice([0, 1, 5000, 300_000, 800_000])) for end in (A, B)]
        self.pace = rng.choice([0.05, 0.5, 2.0])
        self.numbers = count(1)
        for end in (A, B):
            self.dribble(end, 0)
            self.world.read_rate[end] = rng.choice([1 << 30, 1 << 30, 3000, 40_000])
        for _ in range(rng.randrange(1, 12)):
            self.world.after(rng.uniform(0, 8), self.strike)
        self.heal()

    def capacity(self):
        return self.rng.choice([2000, 40_000, 1 << 20])

    def dribble(self, end, sent):
        size = self.rng.choice([1, 700, 33_000, 200_000])
        self.world.send(end, self.data[end][sent : sent + size])
        if sent + size < len(self.data[end]):
            self.world.after(self.rng.uniform(0, self.pace), self.dribble, end, sent + size)
        else:
            self.world.after(self.rng.uniform(0, 3), self.world.close, end)

    def strike(self):
        world, path = self.world, self.rng.choice(sorted({path for path, _ in self.world.pipes}))
        match self.rng.randrange(8):
            case 0 | 1 | 2:
                new = next(self.numbers)
                world.open(new, self.rng.uniform(0.001, 0.2), self.capacity())
                world.after(self.rng.choice([0, 0, 0.3]), self.select, new)
            case 3:
                world.silence(path)
            case 4:
                world.silence(path, self.rng.choice([A, B]))
            case 5:
                world.break_(path, self.rng.uniform(0, 0.5))
            case 6:
                self.select(RELAY)
            case 7:
                for end in (A, B):
                    if path in world.ends[end]._paths:
                        world.ends[end].ping(path, world.now)

    def select(self, path):
        if path in self.world.ends[A]._paths:
            self.world.ends[A].select(path, self.world.now)

    def heal(self):
        """A mute relay's transport ends after a while; a lost relay is reached again once both ends know."""
        world = self.world
        if world.pipes[RELAY, A].dead or world.pipes[RELAY, B].dead or not self.relayed():
            if any(RELAY in end._paths for end in world.ends):
                world.break_(RELAY, 0.2)
            elif not self.relayed():
                world.open(RELAY, self.rng.uniform(0.005, 0.3), self.capacity())
        world.after(2.0, self.heal)

    def relayed(self):
        return all(RELAY in end._paths for end in self.world.ends)

    def check(self):
        world = self.world
        assert world.run(2000, world.finished), "the session got stuck"
        for end in (A, B):
            assert world.read[end] == self.data[1 - end]
            assert world.ends[end].at_eof
            assert len(world.has(end, PeerFinished)) == len(world.has(end, Finished)) == 1
            assert sum(world.ends[end].bytes_sent.values()) >= len(self.data[end])
        assert world.now < 600


@pytest.mark.parametrize("block", range(10))
def test_whatever_happens_to_the_paths_every_byte_arrives_once_and_in_order(block):
    for seed in range(block * 40, block * 40 + 40):
        try:
            Chaos(seed).check()
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
