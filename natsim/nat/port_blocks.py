"""Ports in blocks, as carriers give them out: who was it, without a log line for every connection?

A carrier puts many subscribers behind one address, and must be able to tell which of them used a port at some time
(RFC 7422 section 1).  A log of all mappings is long; RFC 6888 REQ-14 asks for a short one, and REQ-15 for ports that
are hard to guess all the same.  So each subscriber, which is an inside address, gets a block of ports for itself:

* `DeterministicBlocks` (RFC 7422) calculates the block from the address, and needs a log only for those who use more.
* `BulkBlocks` gives a block to whoever makes a first mapping, and writes one line for each block.

For whoever punches holes: to a peer that has seen one port of a subscriber, the next one is probably in the same block.
At a hundred probes a second it takes five seconds to try all ports of a block of 512, and eleven minutes to try all
64,512 from 1024 up.

*Full.*  A rule is not told which ports are in use; it proposes those that a subscriber has, and when the NAT goes on
asking, they are all taken.  Then there is another block, as far as the limits go (RFC 6888 REQ-4); after that the rule
falls silent, and the NAT says that no port is left.

*Freed.*  Nor is it told when a mapping ends.  So its ports are used again by the same subscriber, but a block that
has been given stays given as long as the NAT runs, and the log never names two owners of a port.  (Carriers' NATs take
a block back when none of its ports is in use, and log that, too.)

A block is one of TCP, UDP and ICMP alike, and on every outside address of the NAT.  The log is in `wish.memory`.

Next: `allocation.py`, which asks these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import islice
from typing import Any

from .ports import FIRST_PORT, LAST_PORT, EphemeralPorts, Wish
from .ports_rfc6056 import SimplePortRandomization
from .spelling import Knobs

# -- The log ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One line of the log: a block of ports, and the inside address that has it."""

    ports: range
    subscriber: str

    def __str__(self) -> str:
        return f"{self.ports[0]}-{self.ports[-1]}: {self.subscriber}"


class BlockLog:
    """The blocks of one NAT: those that are `free`, and in `entries` those given out, oldest first."""

    def __init__(self, blocks: list[range]) -> None:
        self.free = blocks
        self.entries: list[Entry] = []

    def subscriber_of(self, port: int) -> str | None:
        """The inside address that has this outside port; None if its block was never given out."""
        return next((entry.subscriber for entry in self.entries if port in entry.ports), None)

    def blocks_for(self, subscriber: str, choose: Callable[[list[range]], range]) -> Iterator[range]:
        """The blocks that a subscriber has, oldest first; for whoever wants more, `choose` takes one that is free."""
        yield from [entry.ports for entry in self.entries if entry.subscriber == subscriber]
        while self.free:
            block = choose(self.free)
            self.free.remove(block)
            self.entries.append(Entry(block, subscriber))
            yield block

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))


def random_within(block: range, wish: Wish) -> Iterator[int]:
    """The ports of a block, beginning anywhere in it (RFC 6056 algorithm 1)."""
    return SimplePortRandomization(block[0], block[-1])(wish)


# -- Blocks by arithmetic --------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class DeterministicBlocks(Knobs):
    """A range of ports for each address of the inside network, by arithmetic (RFC 7422 section 2, algorithm 0).

    inside: the inside address range (I).  Its hosts are the subscribers; with one outside address (O), their number is
    the compression ratio (C).  On a NAT with several, a subscriber has the same range on each.
    dynamic_pool_factor: the dynamic address pool factor (D): so many shares more are set aside for those who need more
    ports than their own; 0 for none.  Of C + D shares, each subscriber has one.
    maximum_ports: the maximum ports per user (M), own and dynamic ones together; None if only the pool is a limit.
    reserved_ports: the reserved ports (R) are those below this one.
    block_size: how many ports a subscriber gets from the dynamic pool at a time, and the log in one line.  Blocks
    begin at multiples of it; what does not make a whole block is left out.

    The RFC's example:

    >>> rule = DeterministicBlocks("198.51.100.0/28", dynamic_pool_factor=2, maximum_ports=5040)
    >>> rule.range_of("198.51.100.1"), rule.range_of("198.51.100.14")
    (range(1024, 5056), range(53440, 57472))
    >>> rule.subscriber_of(2001)
    '198.51.100.1'

    Within the range, ports are random, as the RFC asks.  But an observer who knows a subscriber's inside address can
    calculate its range, and one who has seen a port knows where all the others are.

    Raises ValueError for a network that is none, or has more hosts than there are ports, and for impossible numbers.
    """

    inside: str
    dynamic_pool_factor: int = 2
    maximum_ports: int | None = None
    reserved_ports: int = FIRST_PORT
    block_size: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.reserved_ports <= LAST_PORT:
            raise ValueError(f"the reserved ports end below 1 to {LAST_PORT}, not {self.reserved_ports}; 0 is no port")
        if self.dynamic_pool_factor < 0 or self.block_size < 1:
            raise ValueError(
                "the dynamic pool factor is 0 or more and the block size 1 or more, "
                f"not {self.dynamic_pool_factor} and {self.block_size}"
            )
        own = self.ports_per_subscriber
        if not own:
            raise ValueError(
                f"{self.inside} has {self.compression_ratio} hosts, and one outside address has not a port for each; "
                "take a smaller network"
            )
        if self.maximum_ports is not None and self.maximum_ports < own:
            raise ValueError(f"each subscriber has {own} ports, so the maximum is that or more: {self.maximum_ports}")

    @cached_property
    def _hosts(self) -> range:
        """The inside addresses as numbers, without those of the network itself and of broadcast."""
        network = IPv4Network(self.inside)
        edge = 1 if network.prefixlen < 31 else 0
        return range(int(network[edge]), int(network[-1]) + 1 - edge)

    @property
    def compression_ratio(self) -> int:
        """How many inside addresses there are to one outside address (C)."""
        return len(self._hosts)

    @property
    def ports_per_subscriber(self) -> int:
        """How many ports are a subscriber's own: one share of C + D (RFC 7422 section 2, step 2)."""
        return (LAST_PORT + 1 - self.reserved_ports) // (self.compression_ratio + self.dynamic_pool_factor)

    @property
    def dynamic_ports(self) -> range:
        """The dynamic pool: what is left when each subscriber has its own."""
        first = self.reserved_ports + self.compression_ratio * self.ports_per_subscriber
        return range(first, LAST_PORT + 1 if self.dynamic_pool_factor else first)

    def range_of(self, address: str) -> range:
        """The ports that belong to an inside address.  Raises ValueError if it is not one of the inside network."""
        subscriber = ip_address(address)
        if subscriber.version != 4 or int(subscriber) not in self._hosts:
            raise ValueError(
                f"{address} is no subscriber: this rule is for the {self.compression_ratio} hosts of {self.inside}; "
                "give it the network inside the NAT"
            )
        own = self.ports_per_subscriber
        start = self.reserved_ports + self._hosts.index(int(subscriber)) * own
        return range(start, start + own)

    def subscriber_of(self, port: int, log: BlockLog | None = None) -> str | None:
        """The inside address that an outside port belongs to; None if it belongs to nobody.

        A port of the dynamic pool is looked up in the `log`; without one, asking for it raises ValueError.
        """
        if port in self.dynamic_ports:
            if log is None:
                raise ValueError(f"port {port} is in the dynamic pool, so only the log knows: log(wish.memory)")
            return log.subscriber_of(port)
        number = (port - self.reserved_ports) // self.ports_per_subscriber
        return str(IPv4Address(self._hosts[number])) if 0 <= number < self.compression_ratio else None

    def log(self, memory: dict[str, Any]) -> BlockLog:
        """The log of the dynamic blocks of the NAT that has this memory."""
        if repr(self) not in memory:
            pool, size = self.dynamic_ports, self.block_size
            multiples = range(-(-pool.start // size) * size, pool.stop - size + 1, size)
            memory[repr(self)] = BlockLog([range(start, start + size) for start in multiples])
        log: BlockLog = memory[repr(self)]
        return log

    def __call__(self, wish: Wish) -> Iterator[int]:
        subscriber = wish.internal.address
        own = self.range_of(subscriber)
        yield from random_within(own, wish)
        more = len(self.dynamic_ports) if self.maximum_ports is None else self.maximum_ports - len(own)
        blocks = self.log(wish.memory).blocks_for(subscriber, lambda free: free[0])
        for block in islice(blocks, -(-more // self.block_size)):
            yield from random_within(block[:more], wish)  # of the last block perhaps only a part
            more -= len(block)


# -- Blocks on demand ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class BulkBlocks(EphemeralPorts):
    """A block of `size` ports for each inside address at its first mapping, and another when it is full.

    size: 512 to 4096 have been met in carriers' networks (Richter et al. 2016).
    blocks_per_host: the most that one inside address can have (RFC 6888 REQ-4); 8 is what Junos has, unless told.
    sequential: within a block, the lowest free port instead of a random one.
    The blocks lie one after the other from `first` on; a rest before `last` that makes no whole block is left out.

    Which of the free blocks it is, is random.  An observer who has seen one port knows the block in which the next one
    will be, until it is full; if `sequential`, mostly the very port: they are contiguous for each inside address,
    whatever the destination.

    Raises ValueError if there is not one whole block, or if a host gets none.
    """

    size: int = 512
    blocks_per_host: int = 8
    sequential: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.size <= self.count:
            raise ValueError(f"a block is 1 to {self.count} of the ports {self.first} to {self.last}, not {self.size}")
        if self.blocks_per_host < 1:
            raise ValueError(f"a host gets 1 block or more, not {self.blocks_per_host}")

    def log(self, memory: dict[str, Any]) -> BlockLog:
        """The log of the blocks of the NAT that has this memory."""
        if repr(self) not in memory:
            starts = range(self.first, self.last - self.size + 2, self.size)
            memory[repr(self)] = BlockLog([range(start, start + self.size) for start in starts])
        log: BlockLog = memory[repr(self)]
        return log

    def __call__(self, wish: Wish) -> Iterator[int]:
        blocks = self.log(wish.memory).blocks_for(wish.internal.address, wish.random.choice)
        for block in islice(blocks, self.blocks_per_host):
            yield from block if self.sequential else random_within(block, wish)
