"""Outside ports that are hard to guess: the algorithms of RFC 6056 section 3.3.

Whoever can guess the port of a connection can forge packets for it, so RFC 7857 section 9 asks NATs that do not
preserve ports to choose them by RFC 6056.  That RFC has five algorithms, all of them for ephemeral ports from `first`
to `last`, and each a bargain between two wishes: no port that can be guessed, and no port that was in use just now.

| algorithm | here | the next port, to one who knows the last one |
|---|---|---|
| 1, section 3.3.1 | `SimplePortRandomization` | any; on a busy NAT rather one above a full stretch |
| 2, section 3.3.2 | `RandomPort` in `ports.py` | any |
| 3, section 3.3.3 | `SimpleHash` | to the same destination the next one, plus what went elsewhere meanwhile |
| 4, section 3.3.4 | `DoubleHash` | to the same destination the next one, mostly |
| 5, section 3.3.5 | `RandomIncrements` | one of the next `n`, whatever the destination |

Port prediction (RFC 5128 section 3.5) asks a server for its port and hopes that the peer's is the next one.  The table
says where that fails: the hashes give each destination a start of its own, so the port that a server sees tells
nothing about the port that the peer will see.

What an algorithm must remember lies in `wish.memory` under its own name, so that NATs may share a rule, and a NAT may
have two.  To preserve ports, and obey RFC 6056 only when they clash, write `PreserveElse(DoubleHash())`.

Next: `port_blocks.py`, where carriers use the first algorithm within blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from .ports import EphemeralPorts, Wish, upwards


@dataclass(frozen=True, repr=False)
class SimplePortRandomization(EphemeralPorts):
    """Begin anywhere, then go up until a port is free (RFC 6056 algorithm 1, section 3.3.1).

    It costs one random number and remembers nothing, and it finds the last free port.
    An observer learns nothing about the next port from the last one.  But where many ports in a row are in use, all
    beginnings within that stretch end at the first free port above it, which is therefore worth a guess.
    """

    def __call__(self, wish: Wish) -> Iterator[int]:
        start = wish.random.randint(self.first, self.last)
        return islice(upwards(start, first=self.first, last=self.last), self.count)


@dataclass
class HashMemory:
    """What a hash-based algorithm remembers of one NAT: two secret keys, and counters, for all protocols together."""

    secret_keys: tuple[bytes, bytes]
    table: list[int]


def keyed_hash(secret_key: bytes, wish: Wish) -> int:
    """F and G of the RFC: a number that whoever lacks the key cannot foresee.

    It depends on the inside address, the remote address and the remote port.  The inside port is left out: it is what
    an end host, for which the RFC is written, has yet to choose.
    """
    text = f"{wish.internal.address} {wish.remote.address} {wish.remote.port}"
    return int.from_bytes(hashlib.blake2b(text.encode(), key=secret_key, digest_size=8).digest(), "big")


@dataclass(frozen=True, repr=False)
class HashBased(EphemeralPorts):
    """What algorithms 3 and 4 have in common: they differ in how many counters there are."""

    def ports(self, wish: Wish, table_length: int) -> Iterator[int]:
        """Ports upwards from an offset that the destination decides, plus a counter that goes up with each port."""
        if repr(self) not in wish.memory:
            keys = wish.random.randbytes(16), wish.random.randbytes(16)
            table = [wish.random.randrange(65536) for _ in range(table_length)]
            wish.memory[repr(self)] = HashMemory(keys, table)
        memory: HashMemory = wish.memory[repr(self)]
        key_1, key_2 = memory.secret_keys
        offset = keyed_hash(key_1, wish)
        index = keyed_hash(key_2, wish) % table_length
        for _ in range(self.count):
            port = self.first + (offset + memory.table[index]) % self.count
            memory.table[index] += 1
            yield port


@dataclass(frozen=True, repr=False)
class SimpleHash(HashBased):
    """Each destination begins elsewhere, and one counter goes up for all (RFC 6056 algorithm 3, section 3.3.3).

    It costs a hash for each mapping, a key and a counter.  Towards one destination, a port comes again only after all
    the others have.  An observer who is the destination sees ports that are contiguous while the NAT speaks to nobody
    else; the gaps tell how many mappings it has made for others.  It learns nothing about where another destination's
    ports are.
    """

    def __call__(self, wish: Wish) -> Iterator[int]:
        return self.ports(wish, table_length=1)


@dataclass(frozen=True, repr=False)
class DoubleHash(HashBased):
    """As `SimpleHash`, with a table of counters and a second hash that chooses one (RFC 6056 algorithm 4, 3.3.4).

    It costs two hashes for each mapping and a table of `table_length` counters (TABLE_LENGTH; the RFC finds that 10
    already help).  An observer who is the destination sees ports that are contiguous, except for what went to those
    destinations that share its counter: one in `table_length`.  So the ports tell less of what the NAT does for
    others.  A table of one makes this algorithm 3.

    Raises ValueError for a table without counters.
    """

    table_length: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table_length < 1:
            raise ValueError(f"a table has one counter or more, not {self.table_length}")

    def __call__(self, wish: Wish) -> Iterator[int]:
        return self.ports(wish, self.table_length)


@dataclass(frozen=True, repr=False)
class RandomIncrements(EphemeralPorts):
    """The port before, plus 1 to `n` at random (RFC 6056 algorithm 5, section 3.3.5).

    It costs one random number and remembers one port.  It may miss a free port when few are left: it skips some.
    An observer who has seen a port knows that the next one, whatever its destination, is among the `n` above it: not
    contiguous for anybody, yet a guess in 500 instead of one in 64,512.  A larger `n` (N in the RFC) is harder to
    guess, and comes back to a port sooner.

    Raises ValueError for an `n` below 1.
    """

    n: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"increments are 1 to n, so n is 1 or more, not {self.n}")

    def __call__(self, wish: Wish) -> Iterator[int]:
        if repr(self) not in wish.memory:
            wish.memory[repr(self)] = wish.random.randrange(self.count)
        for _ in range(self.count):
            wish.memory[repr(self)] = (wish.memory[repr(self)] + wish.random.randint(1, self.n)) % self.count
            yield self.first + wish.memory[repr(self)]
