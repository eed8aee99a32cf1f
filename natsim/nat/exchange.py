"""A UDP hole punch between two NATs without a network around them: packets go from engine to engine.

    udp_exchange([NatBehavior()], [LinuxBehavior()])        # True: they meet

The procedure of RFC 5128 section 3.3: each peer tells a server where it is, and both send to where the server saw the
other.  Whatever comes in is answered to where it came from, which may be somewhere else (RFC 8445 section 7.3.1.3
calls that a peer-reflexive address).  They have met when a probe has been answered.

`predict.py` says on paper what comes of it.  This file asks the engines and knows nothing of that, so that each can
prove the other wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..packet import UDP, Endpoint, Packet
from .behavior import NatBehavior
from .bench import S1, Bench
from .linux import LinuxBehavior


class Peer:
    """A host behind `layers` of NAT, from the host outwards.  `number` tells it and its addresses from the other."""

    def __init__(self, layers: Sequence[NatBehavior | LinuxBehavior], number: int, seed: int) -> None:
        self.host = Endpoint(f"192.168.{number}.2" if layers else f"203.0.113.{70 + number}", 40_000)
        self.nats = [
            Bench(behavior, f"{seed}: NAT {depth} of {number}", network=f"198.51.{number}{depth}")
            for depth, behavior in enumerate(layers)
        ]

    def send(self, target: Endpoint) -> Packet | None:
        """A datagram to `target`, as it leaves the outermost NAT; None if it does not."""
        packet: Packet | None = Packet(UDP, self.host, target)
        for nat in self.nats:
            packet = nat.engine.outbound(packet, nat.now).packet if packet is not None else None
        return packet

    def receive(self, packet: Packet | None) -> Packet | None:
        """A datagram from the internet, as it reaches the host; None if it does not."""
        for nat in reversed(self.nats):
            packet = nat.engine.inbound(packet, nat.now).packet if packet is not None else None
        return packet


def udp_exchange(
    a: Sequence[NatBehavior | LinuxBehavior], b: Sequence[NatBehavior | LinuxBehavior], seed: int = 0
) -> bool:
    """Do two peers behind these NATs meet?  Each is a list of layers, from the host outwards; [] is a public host."""
    alice, bob = Peer(a, 1, seed), Peer(b, 2, seed)
    to_alice, to_bob = (packet.src if packet is not None else None for packet in (alice.send(S1), bob.send(S1)))
    if to_alice is None or to_bob is None:
        return False
    # Both send before anything arrives: the probes cross, and each NAT has seen its own peer's when the other's comes.
    by_alice, by_bob = alice.send(to_bob), bob.send(to_alice)
    return _is_answered(by_alice, bob, alice) or _is_answered(by_bob, alice, bob)


def _is_answered(probe: Packet | None, receiver: Peer, sender: Peer) -> bool:
    """Let a probe arrive, and its answer; a NAT sends that by the row through which the probe has come."""
    arrived = receiver.receive(probe)
    answer = receiver.send(arrived.src) if arrived is not None else None
    return sender.receive(answer) is not None
