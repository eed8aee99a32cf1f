"""The harness of the TCP tests, which hold `natsim.tcp` against RFC 9293 and what Linux 6.18 was measured to do.

`Wire` is the whole world of these tests: two connections, a delay, and a seeded dice for loss, order and copies.
`make`, `connected` and `limited` give connections to hang on it, `segment` forges one segment, and `transfer` sends
two streams and compares what arrives.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import natsim.tcp
from natsim.packet import ACK, TCP, Endpoint, Packet, flag_text
from natsim.tcp import State, reset_for
from natsim.tcp_congestion import MILLISECOND, SECOND

A = Endpoint("198.51.100.1", 4000)
B = Endpoint("203.0.113.2", 5000)
DELAY = 20 * MILLISECOND


class TcpConnection(natsim.tcp.TcpConnection):
    """The connection under test, with the numbers of its two halves at hand: `snd_una` is `snd.una`, SND.UNA."""

    snd_una = property(lambda self: self.snd.una)
    snd_max = property(lambda self: self.snd.max)
    snd_wnd = property(lambda self: self.snd.wnd)
    snd_wscale = property(lambda self: self.snd.wscale)
    max_snd_wnd = property(lambda self: self.snd.max_wnd)
    mss = property(lambda self: self.snd.mss)
    timer = property(lambda self: self.snd.timer)
    congestion = property(lambda self: self.snd.congestion)
    retransmissions = property(lambda self: self.snd.retransmissions)
    _retries = property(lambda self: self.snd.retries)

    rcv_nxt = property(lambda self: self.rcv.nxt)
    rcv_wnd = property(lambda self: self.rcv.wnd)
    _ack_at = property(lambda self: self.rcv.ack_at)
    _received = property(lambda self: self.rcv._received)


class Wire:
    """Carries segments between `a` and `b`, in virtual time.  What was sent is in `log` as (when, packet)."""

    def __init__(
        self,
        a: TcpConnection,
        b: TcpConnection | None = None,
        *,
        delay: int = DELAY,
        seed: int = 0,
        loss: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        drop: Callable[[Packet], bool] = lambda packet: False,
    ) -> None:
        self.a, self.b = a, b
        self.delay, self.loss, self.reorder, self.duplicate, self.drop = delay, loss, reorder, duplicate, drop
        self.random = random.Random(seed)
        self.now = 0
        self.log: list[tuple[int, Packet]] = []
        self.listen: dict[str, int] = {}
        self.work: Callable[[], None] = lambda: None
        self._heap: list[tuple[int, int, Packet]] = []
        self._count = 0

    def ends(self) -> list[TcpConnection]:
        return [end for end in (self.a, self.b) if end is not None]

    def flush(self) -> None:
        for end in self.ends():
            while end.outbox:
                segments, end.outbox = end.outbox, []
                for packet in segments:
                    self._count += 1
                    packet.uid = self._count
                    self.log.append((self.now, packet))
                    if self.drop(packet) or self.random.random() < self.loss:
                        continue
                    for _ in range(1 + (self.random.random() < self.duplicate)):
                        late = self.random.randrange(3 * self.delay) if self.random.random() < self.reorder else 0
                        self.inject(packet, self.delay + late)

    def inject(self, packet: Packet, after: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + after, self._count, packet))

    def run(self, until: int | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """Go on until nothing happens any more, the time is up, or `stop()`."""
        while True:
            self.work()
            self.flush()
            if stop():
                return
            times = [end.next_timer for end in self.ends() if end.next_timer is not None]
            times += [self._heap[0][0]] if self._heap else []
            if not times or (until is not None and min(times) > until):
                self.now = self.now if until is None else max(until, self.now)
                return
            self.now = max(self.now, min(times))
            while self._heap and self._heap[0][0] <= self.now:
                self.deliver(heapq.heappop(self._heap)[2])
                self.flush()
            for end in self.ends():
                if end.next_timer is not None and end.next_timer <= self.now:
                    end.on_timer(self.now)

    def deliver(self, packet: Packet) -> None:
        for end in self.ends():
            if (packet.dst, packet.src) == (end.local, end.remote) and not (end.closed and end.error is None):
                end.segment_in(packet, self.now)
                return
        if self.b is None and packet.is_initial_syn and packet.dst.port in self.listen.values():
            self.b = TcpConnection.accept(packet, 9000, self.now)
        elif reply := reset_for(packet):
            self.log.append((self.now, reply))
            self.inject(reply, self.delay)

    def story(self, of: Endpoint) -> list[str]:
        """What `of` sent: time in ms, flags, and numbers relative to 1000 for A and 9000 for B."""
        lines = []
        for when, packet in self.log:
            if packet.src == of:
                mine, other = (1000, 9000) if of == A else (9000, 1000)
                line = f"{when // MILLISECOND} {flag_text(packet.flags)} seq {packet.seq - mine}"
                lines.append(line + (f" ack {packet.ack - other}" if packet.flags & ACK else ""))
        return lines


def make(local: Endpoint = A, remote: Endpoint = B, isn: int | None = None, **options: int) -> TcpConnection:
    return TcpConnection(local, remote, (1000 if local == A else 9000) if isn is None else isn, **options)


def connected(isn_a: int = 1000, isn_b: int = 9000, **options: float) -> Wire:
    """A pair after the three-way handshake; the options are the wire's."""
    a = make(isn=isn_a)
    a.open(0)
    b = TcpConnection.accept(a.outbox[0], isn_b, 0)
    a.outbox.clear()
    a.segment_in(b.outbox.pop(), 0)
    b.segment_in(a.outbox.pop(), 0)
    assert a.state is b.state is State.ESTABLISHED
    return Wire(a, b, **options)  # type: ignore[arg-type]


def limited(receive_buffer: int) -> Wire:
    """Like `connected`, but B has this receive buffer."""
    a = make()
    a.open(0)
    b = TcpConnection.accept(a.outbox[0], 9000, 0, receive_buffer=receive_buffer)
    a.outbox.clear()
    a.segment_in(b.outbox.pop(), 0)
    b.segment_in(a.outbox.pop(), 0)
    return Wire(a, b)


def segment(wire: Wire, flags: int, *, seq: int | None = None, ack: int | None = None, text: bytes = b"") -> Packet:
    """A segment to A as if from B; by default the next one that B could send."""
    a = wire.a
    seq = a.rcv_nxt if seq is None else seq
    ack = a.snd_una if ack is None else ack
    packet = Packet(TCP, B, A, text, flags=flags, seq=seq % 2**32, ack=ack % 2**32, window=1000)
    packet.uid = 77
    return packet


def transfer(wire: Wire, data_a: bytes, data_b: bytes = b"", *, until: int = 4000 * SECOND) -> None:
    """Both ends send all they have, close their direction, read to the end; what arrives must be what was sent."""
    pending = {id(wire.a): memoryview(data_a), id(wire.b): memoryview(data_b)}
    got = {id(wire.a): bytearray(), id(wire.b): bytearray()}

    def work() -> None:
        for end in wire.ends():
            rest = pending[id(end)]
            if rest and end.writable:
                pending[id(end)] = rest = rest[end.send(rest, wire.now) :]
            if not rest and end.connected:
                end.shutdown(wire.now)
            got[id(end)] += end.receive(1 << 20, wire.now)

    wire.work = work
    wire.run(until=until, stop=lambda: all(end.at_eof for end in wire.ends()))
    assert wire.b is not None
    assert got[id(wire.b)] == data_a
    assert got[id(wire.a)] == data_b
