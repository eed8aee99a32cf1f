"""A NAT on the bench: packets are handed to it and its verdicts read, with no network around it.

    bench = Bench(NatBehavior(filtering=address_dependent))
    port = bench.outside(ALICE, S1)          # alice sends to S1; the endpoint that S1 sees
    bench.enters(S2, port)                   # None: S2 was never spoken to
    bench.wait(120)                          # two minutes pass in no time

For `natsim verify` and for notebooks: the least that one needs to ask a NAT a question.  Next: `engine.py`.
"""

from __future__ import annotations

import random
from typing import Protocol

from ..packet import ACK, ICMP, SYN, TCP, UDP, Endpoint, Packet
from ..scheduler import nanoseconds
from .behavior import NatBehavior
from .engine import NatEngine
from .linux import LinuxBehavior, LinuxNat
from .verdict import Verdict

#: Two hosts inside, and around the NAT two servers with two ports each (RFC 5780 calls them primary and alternate).
ALICE, BOB = Endpoint("192.168.1.2", 5000), Endpoint("192.168.1.3", 5000)
S1, S1_OTHER = Endpoint("203.0.113.10", 3478), Endpoint("203.0.113.10", 3479)
S2, S2_OTHER = Endpoint("203.0.113.11", 3478), Endpoint("203.0.113.11", 3479)


class Engine(Protocol):
    """Any NAT: `NatEngine`, `LinuxNat`, or your own."""

    def outbound(self, packet: Packet, now: int) -> Verdict: ...

    def inbound(self, packet: Packet, now: int) -> Verdict: ...

    def overdue(self, now: int) -> list[Verdict]: ...

    def reboot(self) -> None: ...


def make_engine(
    behavior: NatBehavior | LinuxBehavior, addresses: list[str], chance: random.Random
) -> NatEngine | LinuxNat:
    """The engine that behaves so."""
    if isinstance(behavior, LinuxBehavior):
        return LinuxNat(behavior, addresses[0], chance)
    return NatEngine(behavior, addresses, chance)


class Bench:
    """One NAT, and a clock that stands still until `wait` is called.

    `seed` decides what is left to chance; the NAT's outside addresses are the first ones of `network`.
    """

    def __init__(self, behavior: NatBehavior | LinuxBehavior, seed: int | str = 0, network: str = "198.51.100") -> None:
        count = behavior.addresses if isinstance(behavior, NatBehavior) else 1
        self.addresses = [f"{network}.{number}" for number in range(1, count + 1)]
        self.engine = make_engine(behavior, self.addresses, random.Random(seed))
        self.now = 0

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += nanoseconds(seconds)

    # -- Datagrams, and TCP segments if `flags` are given --------------------------------------------------------------

    def out(self, src: Endpoint, dst: Endpoint, flags: int | None = None, payload: bytes = b"") -> Verdict:
        """A packet from inside."""
        return self.engine.outbound(_packet(src, dst, flags, payload), self.now)

    def back(self, src: Endpoint, dst: Endpoint, flags: int | None = None, payload: bytes = b"") -> Verdict:
        """A packet from outside."""
        return self.engine.inbound(_packet(src, dst, flags, payload), self.now)

    def outside(self, src: Endpoint, dst: Endpoint, flags: int | None = None) -> Endpoint | None:
        """The endpoint under which the world sees a packet from inside; None if it does not get out."""
        packet = self.out(src, dst, flags).packet
        return packet.src if packet is not None else None

    def enters(self, src: Endpoint, dst: Endpoint | None, flags: int | None = None) -> Endpoint | None:
        """The inside endpoint that a packet from outside reaches; None if it does not get in."""
        packet = self.back(src, dst, flags).packet if dst is not None else None
        return packet.dst if packet is not None else None

    def connect(self, src: Endpoint, dst: Endpoint) -> Endpoint | None:
        """A TCP handshake from inside, as the NAT sees it; returns the endpoint outside."""
        external = self.outside(src, dst, SYN)
        if external is not None:
            self.back(dst, external, SYN | ACK)
            self.out(src, dst, ACK)
        return external

    # -- ICMP ----------------------------------------------------------------------------------------------------------

    def ping(self, src: Endpoint, dst: str) -> Verdict:
        """An echo request from inside; the port of `src` is its identifier (RFC 792)."""
        return self.engine.outbound(Packet(ICMP, src, Endpoint(dst, 0), icmp=(8, 0)), self.now)

    def pong(self, src: str, dst: Endpoint) -> Verdict:
        """An echo reply from outside; the port of `dst` is the identifier."""
        return self.engine.inbound(Packet(ICMP, Endpoint(src, 0), dst, icmp=(0, 0)), self.now)

    def error(self, about: Packet, source: str, kind: tuple[int, int] = (3, 3), *, outbound: bool = False) -> Verdict:
        """An ICMP error about a packet as `source` saw it: from outside, or from inside if `outbound`."""
        message = Packet(ICMP, Endpoint(source, 0), Endpoint(about.src.address, 0), icmp=kind, quoted=about)
        return (self.engine.outbound if outbound else self.engine.inbound)(message, self.now)

    # -- Time ----------------------------------------------------------------------------------------------------------

    def rows(self) -> int:
        """How many rows are alive."""
        return len(self.engine.table(self.now))

    def seconds_alive(self) -> float:
        """How long the rows live from now on if nothing more happens, in seconds (to the nanosecond)."""
        dead, alive = self.now + nanoseconds(10_000_000), self.now
        while dead - alive > 1:
            middle = (dead + alive) // 2
            if self.engine.table(middle):
                alive = middle
            else:
                dead = middle
        return (dead - self.now) / nanoseconds(1)


def _packet(src: Endpoint, dst: Endpoint, flags: int | None, payload: bytes) -> Packet:
    return (
        Packet(UDP, src, dst, payload) if flags is None else Packet(TCP, src, dst, payload, flags=flags, window=65_535)
    )
