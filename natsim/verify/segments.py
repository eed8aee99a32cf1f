"""A TCP conversation through a NAT on the bench, segment by segment.

    conversation = Conversation(Bench(behavior))
    conversation.play(">S <S. >.")           # a handshake; the first segment that does not pass, or None

`>` comes from inside and `<` from outside; after it stand the flags as tcpdump writes them.  A `?` before a segment
says that it need not pass.  Sequence numbers are those of two hosts that hear each other (RFC 9293), since a NAT may
look at them.
"""

from __future__ import annotations

from ..nat.bench import ALICE, S1, Bench
from ..nat.verdict import Verdict
from ..packet import ACK, FIN, PSH, RST, SYN, TCP, Endpoint, Packet
from .check import Behavior
from .limits import limit

#: A connection that is opened, and one that the inside and then the outside have closed.
HANDSHAKE = ">S <S. >."
BOTH_CLOSED = f"{HANDSHAKE} >F. <. <F. >."

_FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, ".": ACK}

#: What a segment with P carries.
DATA = b"ten octets"


class _End:
    """One of the two TCPs: the number of its SYN, and of its next octet."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.next = first

    def number(self, flags: int, length: int) -> int:
        """The sequence number of a segment that is sent now."""
        if flags & SYN:
            if self.has_closed:
                self.first = self.next + 1000
            self.next = self.first
        number, self.next = self.next, self.next + length
        return number

    @property
    def has_closed(self) -> bool:
        """It has sent more than a SYN, so that its next SYN begins another connection."""
        return self.next > self.first + 1


class Conversation:
    """One connection between an inside and a remote endpoint.  `external` is known once something has gone out."""

    def __init__(
        self, bench: Bench, inside: Endpoint = ALICE, remote: Endpoint = S1, external: Endpoint | None = None
    ) -> None:
        self.bench = bench
        self.inside = inside
        self.remote = remote
        self.external = external
        self._inside, self._outside = _End(1000), _End(5000)

    def send(self, segment: str, payload: bytes = DATA) -> Verdict:
        """One segment; what the NAT makes of it."""
        outward = segment.startswith(">")
        flags = sum(_FLAGS[letter] for letter in segment[1:])
        payload = payload if flags & PSH else b""
        here, there = (self._inside, self._outside) if outward else (self._outside, self._inside)
        if outward and flags & SYN and here.has_closed:
            self.external = None  # another connection may have another endpoint outside
        src, dst = (self.inside, self.remote) if outward else (self.remote, self._known())
        packet = Packet(TCP, src, dst, payload, flags=flags, ack=there.next if flags & ACK else 0, window=65535)
        packet.seq = here.number(flags, packet.segment_length)
        engine, now = self.bench.engine, self.bench.now
        verdict = engine.outbound(packet, now) if outward else engine.inbound(packet, now)
        if outward and verdict.packet is not None and self.external is None:
            self.external = verdict.packet.src
        return verdict

    def _known(self) -> Endpoint:
        if self.external is None:
            raise ValueError("nothing has gone out, so it is not known where something could come in")
        return self.external

    def play(self, script: str) -> str | None:
        """Segments in turn; the first one that does not reach the other end as it should, or None if all do."""
        for segment in script.split():
            passed = self._passes(segment.lstrip("?"))
            if not passed and not segment.startswith("?"):
                return segment
        return None

    def _passes(self, segment: str) -> bool:
        packet = self.send(segment).packet
        ends = (self.external, self.remote) if segment.startswith(">") else (self.remote, self.inside)
        return packet is not None and (packet.src, packet.dst) == ends


def played(behavior: Behavior, script: str) -> Conversation:
    """Alice's conversation with S1 through a fresh NAT, so far."""
    conversation = Conversation(Bench(behavior))
    conversation.play(script)
    return conversation


def idle_limit(behavior: Behavior, script: str, probe: str) -> float:
    """For how many seconds of silence after `script` a last segment from outside still comes in."""

    def still_open(delay: float) -> bool:
        conversation = played(behavior, script)
        conversation.bench.wait(delay)
        return conversation.external is not None and conversation.play(probe) is None

    return limit(still_open)
