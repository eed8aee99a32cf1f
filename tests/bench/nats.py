"""How fast are the NATs by themselves, with no network around them?"""

from __future__ import annotations

from collections.abc import Callable

from comparing import Way, compare

from natsim.nat.behavior import NatBehavior
from natsim.nat.bench import ALICE, S1, Bench
from natsim.nat.linux import LinuxBehavior
from natsim.packet import ACK, SYN, TCP, UDP, Endpoint, Packet
from natsim.scheduler import MILLISECOND

ROUND_TRIPS = 10_000

#: So many inside sockets take turns.
SOCKETS = 50

OUTSIDE = "198.51.100.1"

#: Packets in the order in which they come: from inside, and the answer from outside.
Traffic = list[tuple[Packet, Packet]]


def compare_nats() -> None:
    """Print the comparison."""
    datagrams, segments = udp_traffic(), tcp_traffic()
    compare(
        "a NAT alone, in packets per second, half of them from inside and half from outside",
        Way("RFC 4787, UDP", through(NatBehavior(), datagrams)),
        Way("RFC 4787, TCP", through(NatBehavior(), segments)),
        Way("Linux, UDP", through(LinuxBehavior(), datagrams)),
        Way("Linux, TCP, with its windows", through(LinuxBehavior(), segments)),
    )


def through(behavior: NatBehavior | LinuxBehavior, traffic: Traffic) -> Callable[[], int]:
    """All this traffic through a fresh NAT of that behavior; both keep the inside ports."""

    def work() -> int:
        engine, now = Bench(behavior).engine, 0
        passed = 0
        for out, back in traffic:
            passed += engine.outbound(out, now).passed + engine.inbound(back, now).passed
            now += MILLISECOND
        assert passed == 2 * len(traffic)
        return passed

    return work


def udp_traffic() -> Traffic:
    """Questions and answers."""
    return [(Packet(UDP, inside, S1), Packet(UDP, S1, outside)) for inside, outside in _sockets()]


def tcp_traffic() -> Traffic:
    """A handshake for each socket; then a server that sends, segment by segment, and is acknowledged."""
    traffic: Traffic = []
    heard: dict[Endpoint, int] = {}
    for inside, outside in _sockets():
        if inside not in heard:
            heard[inside] = 1
            syn = Packet(TCP, inside, S1, flags=SYN, seq=0, window=64_000, mss=1460)
            answer = Packet(TCP, S1, outside, flags=SYN | ACK, seq=0, ack=1, window=64_000, mss=1460)
            traffic.append((syn, answer))
            continue
        ack = Packet(TCP, inside, S1, flags=ACK, seq=1, ack=heard[inside], window=64_000)
        text = Packet(TCP, S1, outside, bytes(1460), flags=ACK, seq=heard[inside], ack=1, window=64_000)
        heard[inside] += len(text.payload)
        traffic.append((ack, text))
    return traffic


def _sockets() -> list[tuple[Endpoint, Endpoint]]:
    """Whose turn it is, seen from inside and from outside."""
    ports = [5000 + turn % SOCKETS for turn in range(ROUND_TRIPS)]
    return [(ALICE._replace(port=port), Endpoint(OUTSIDE, port)) for port in ports]
