"""What must hold of any two TCPs over any network: every octet arrives, in order, once; and both come to an end.

Hypothesis chooses the network (loss, order, copies, delay), how the two open and close, their buffers, how much they
say and in which pieces, and how eagerly they read.  Time is virtual, so a stubborn network costs nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tcp_wire import A, B, TcpConnection, Wire, make

from natsim.packet import RST
from natsim.tcp import State
from natsim.tcp_congestion import MILLISECOND, SECOND

#: Long after the last timer: TIME-WAIT is a minute.
AFTERWARDS = 300 * SECOND


@dataclass
class Side:
    """An application: sends `text` in pieces, reads up to `appetite` octets every so often, and closes at the end."""

    text: bytes
    piece: int
    appetite: int
    rest: int  # nanoseconds between two meals
    closes_first: bool  # half-close as soon as all is said; else only after the peer's end
    sent: int = 0
    got: bytearray = field(default_factory=bytearray)
    ate_at: int = -(1 << 60)

    def work(self, end: TcpConnection, now: int) -> None:
        while self.sent < len(self.text) and end.writable and end.error is None:
            taken = end.send(self.text[self.sent : self.sent + self.piece], now)
            self.sent += taken
            if not taken:
                break
        if now >= self.ate_at + self.rest:
            eaten = end.receive(self.appetite, now)
            self.got += eaten
            if eaten:
                self.ate_at = now
        if self.sent == len(self.text) and end.connected and (self.closes_first or end.at_eof):
            end.shutdown(now)


def sides(closes_first: bool | None = None) -> st.SearchStrategy[Side]:
    return st.builds(
        Side,
        text=st.integers(0, 100_000).map(lambda size: random.Random(size).randbytes(size)),
        piece=st.sampled_from([1_000, 1_460, 7_777, 65_536]),
        appetite=st.sampled_from([700, 5_000, 1 << 20]),
        rest=st.sampled_from([0, 5 * MILLISECOND, 200 * MILLISECOND]),
        closes_first=st.booleans() if closes_first is None else st.just(closes_first),
        sent=st.just(0),
        got=st.builds(bytearray),
        ate_at=st.just(-(1 << 60)),
    )


networks = st.fixed_dictionaries(
    {
        "loss": st.sampled_from([0.0, 0.02, 0.1, 0.25]),
        "reorder": st.sampled_from([0.0, 0.1, 0.5]),
        "duplicate": st.sampled_from([0.0, 0.1, 0.5]),
        "delay": st.sampled_from([0, 1, 20, 300]).map(lambda milliseconds: milliseconds * MILLISECOND),
        "seed": st.integers(0, 10_000),
    }
)
buffers = st.sampled_from([1_000, 4_000, 65_536, 1 << 20])
numbers = st.sampled_from([0, 1_000, 2**31 - 5_000, 2**32 - 10_000, 2**32 - 1])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(networks, sides(), sides(closes_first=True), st.booleans(), buffers, buffers, numbers, numbers)
def test_every_octet_arrives_and_both_come_to_an_end(
    network: dict[str, int], one: Side, other: Side, crossing: bool, room_a: int, room_b: int, isn_a: int, isn_b: int
) -> None:
    delay = network.pop("delay")
    a = make(A, B, isn=isn_a, receive_buffer=room_a, send_buffer=room_b)
    wire = Wire(a, delay=delay or MILLISECOND // 10, **network)  # type: ignore[arg-type]
    if crossing:
        wire.b = make(B, A, isn=isn_b, receive_buffer=room_b, send_buffer=room_a)
        wire.b.open(0)
    else:
        wire.listen["b"] = B.port
    a.open(0)
    eating = [one.rest, other.rest]

    def work() -> None:
        one.work(a, wire.now)
        if wire.b is not None:
            other.work(wire.b, wire.now)

    wire.work = work
    deadline = 0
    while not (a.at_eof and wire.b is not None and wire.b.at_eof) and deadline < 3_000 * SECOND:
        deadline = wire.now + max(*eating, 100 * MILLISECOND)  # somebody gets hungry again, whatever else happens
        wire.run(until=deadline)
    assert wire.b is not None
    assert (a.error, wire.b.error) == (None, None)
    assert bytes(other.got) == one.text
    assert bytes(one.got) == other.text
    wire.run(until=wire.now + AFTERWARDS)
    assert {a.state, wire.b.state} <= {State.CLOSED, State.TIME_WAIT}
    assert (a.error, wire.b.error) == (None, None)
    resets = [packet for _, packet in wire.log if packet.flags & RST]
    assert len(resets) <= 20, "a copy of a segment may find nobody any more; but nobody shouts"
