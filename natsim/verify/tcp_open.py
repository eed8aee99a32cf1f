"""Simultaneous open, segment by segment: as RFC 9293 draws it, and as Linux does it.

Two connections without a network: each segment is carried by hand.  In the figure, A's SYN is slower than all that B
sends; on a wire with equal delays both ways, the two sides do the same at the same time.  In the figure both are
established when the SYN,ACKs have come; Linux then sends one ACK more, which nobody waits for.

Next: `natsim/tcp.py`, the connection.
"""

from __future__ import annotations

from collections.abc import Callable

from ..packet import ACK, SYN, Endpoint, Packet, flag_text
from ..scheduler import MILLISECOND
from ..tcp import TcpConnection
from .check import Check

A, B = Endpoint("198.51.100.1", 4000), Endpoint("203.0.113.2", 5000)
DELAY = 20 * MILLISECOND

#: The lines of the figure: what is sent, or what has come and the state of whoever has received it.
FIGURE_7 = {
    "line 2, A to B": "<SEQ=100><CTL=SYN>",
    "line 3, at A": "<SEQ=300><CTL=SYN> SYN-RECEIVED",
    "line 4, at B": "<SEQ=100><CTL=SYN> SYN-RECEIVED",
    "line 5, A to B": "<SEQ=100><ACK=301><CTL=SYN,ACK>",
    "line 6, at A": "<SEQ=300><ACK=101><CTL=SYN,ACK> ESTABLISHED",
    "line 7, at B": "<SEQ=100><ACK=301><CTL=SYN,ACK> ESTABLISHED",
}


def figure_7() -> list[str]:
    """The figure, played: what its lines say."""
    a, b = TcpConnection(A, B, 100), TcpConnection(B, A, 300)
    a.open(0)
    b.open(0)
    syn_a, syn_b = a.outbox.pop(), b.outbox.pop()
    opening = [_written(syn_a), _arrives(syn_b, a, DELAY), _arrives(syn_a, b, 2 * DELAY)]
    syn_ack_a, syn_ack_b = a.outbox.pop(), b.outbox.pop()
    return [*opening, _written(syn_ack_a), _arrives(syn_ack_b, a, 3 * DELAY), _arrives(syn_ack_a, b, 4 * DELAY)]


def _arrives(packet: Packet, end: TcpConnection, now: int) -> str:
    end.segment_in(packet, now)
    return f"{_written(packet)} {end.state.value}"


def _written(packet: Packet) -> str:
    """A segment in the figure's notation."""
    ack = f"<ACK={packet.ack}>" if packet.flags & ACK else ""
    control = ",".join(name for bit, name in ((SYN, "SYN"), (ACK, "ACK")) if packet.flags & bit)
    return f"<SEQ={packet.seq}>{ack}<CTL={control}>"


def crossing_syns() -> str:
    """Both ends open at once, DELAY apart: what each sends when, with numbers relative to the two SYNs'."""
    ends = TcpConnection(A, B, 100), TcpConnection(B, A, 300)
    said: dict[TcpConnection, list[str]] = {end: [] for end in ends}
    for end in ends:
        end.open(0)
    for now in range(0, 4 * DELAY, DELAY):
        under_way = [(end, end.outbox) for end in ends]
        for end, packets in under_way:
            end.outbox = []
            said[end] += [f"{now // MILLISECOND} ms {_relative(packet, end)}" for packet in packets]
        for end, packets in under_way:
            for packet in packets:
                ends[end is ends[0]].segment_in(packet, now + DELAY)
    stories = {"; ".join([*lines, end.state.value]) for end, lines in said.items()}
    return "both: " + stories.pop() if len(stories) == 1 else " | ".join(sorted(stories))


def _relative(packet: Packet, end: TcpConnection) -> str:
    mine, other = (100, 300) if end.local == A else (300, 100)
    ack = f" ack {packet.ack - other}" if packet.flags & ACK else ""
    return f"{flag_text(packet.flags)} seq {packet.seq - mine}{ack}"


def _line(number: int) -> Callable[[], str]:
    return lambda: figure_7()[number]


CHECKS = [
    *(
        Check(f"simultaneous open, {name}", "RFC 9293 section 3.5, figure 7", expected, _line(number))
        for number, (name, expected) in enumerate(FIGURE_7.items())
    ),
    Check(
        "simultaneous open, both dial at once",
        "measured on Linux 6.18, 20 ms each way",
        "both: 0 ms S seq 0; 20 ms S. seq 0 ack 1; 40 ms . seq 1 ack 1; ESTABLISHED",
        crossing_syns,
    ),
]
