"""The model of Linux's NAT held against a real one, packet by packet: whatever is sent, both do the same with it.

Both get the same packets, sensible ones and mad ones.  After each, what came out must be alike, and so must the tables.
Where the kernel has drawn a random port, the model draws the same.  A failing seed is a bug in the model, or news about
the kernel.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kernel_nat import as_seen

from natsim import LinuxBehavior, Masquerade, WanInput
from natsim.kernel.kernel_nat import KernelNat
from natsim.kernel.side_by_side import SideBySide
from natsim.nat.bench import ALICE, BOB, S1, S1_OTHER, S2
from natsim.nat.linux_questions import KEPT
from natsim.nat.linux_questions_tcp import TwoEnds
from natsim.packet import ACK, FIN, ICMP, RST, SYN, TCP, UDP, Endpoint, Packet

sys.path.insert(0, str(Path(__file__).parent.parent / "natsim"))
from linux_transitions import BEGINNINGS, Transition, recorded, scripts

pytestmark = [pytest.mark.kernel, as_seen]

LEASED = KEPT._replace(port=7000)


# -- TCP ---------------------------------------------------------------------------------------------------------------

#: What comes then, the likely more often; the last three make no sense.
FLAGS = [*("S " * 4 + "S. " * 3 + ". " * 6 + "P. " * 3 + "F. " * 3 + "R R R. F FS").split(), ""]

#: By how much a number may be wrong.
WRONG = (-1, 1, -100, 100, -1000, 1000, -70_000, 70_000, -1_000_000)


@dataclass
class Mad:
    """Makes segments that are a little, or very, wrong."""

    chance: random.Random

    def __post_init__(self) -> None:
        self.wildness = self.chance.choice((0.03, 0.15, 0.3))
        self.scales = dict(zip("<>", self.chance.choice(((None, None), (7, 7), (0, 14), (7, None))), strict=True))
        self.starts = {way: self.chance.choice((0, 2**32 - 5005, self.chance.randrange(2**32))) for way in "<>"}

    def sensible(self, two_ends: TwoEnds, word: str) -> Packet:
        """A segment with the window scale that its side offers, and counted from where both sides do."""
        segment = two_ends.segment(word)
        if segment.flags & SYN:
            segment.wscale = self.scales[word[0]]
        segment.seq = (segment.seq + self.starts[word[0]]) % 2**32
        if segment.flags & ACK:
            segment.ack = (segment.ack + self.starts[">" if word[0] == "<" else "<"]) % 2**32
        return segment

    def spoil(self, segment: Packet) -> Packet:
        if self._strikes():
            segment.seq = self._wrong(segment.seq)
        if segment.flags & ACK and self._strikes():
            segment.ack = self._wrong(segment.ack)
        if self._strikes():
            segment.window = self.chance.choice((0, 1, 500, 2000, 65535))
        if segment.flags & SYN and self._strikes():
            segment.mss, segment.wscale = self.chance.choice(
                ((None, None), (1460, None), (1460, 0), (None, 7), (1460, 14))
            )
        return segment

    def _strikes(self) -> bool:
        return self.chance.random() < self.wildness

    def _wrong(self, number: int) -> int:
        off = self.chance.choice((*WRONG, self.chance.randrange(2**32)))
        return self.chance.choice((0, *[(number + off) % 2**32] * 4))


def placed(segment: Packet, inside: Endpoint, remote: Endpoint, outside: Endpoint) -> Packet:
    """A segment of `TwoEnds`, between other endpoints."""
    outward = segment.src == ALICE
    return segment.rewritten(*((inside, remote) if outward else (remote, outside)))


def asked_of_the_kernel() -> Iterator[Transition]:
    """What a real NAT does, in the words of the record."""
    with contextlib.closing(KernelNat(LinuxBehavior(), KEPT.address)) as nat:
        for number, (conversation, last) in enumerate(scripts()):
            two_ends, inside = TwoEnds(), ALICE._replace(port=2000 + number)
            for word in f"{conversation} {last}".split():
                segment = placed(two_ends.segment(word), inside, S1, KEPT._replace(port=inside.port))
                verdict = nat.outbound(segment) if word[0] == ">" else nat.inbound(segment)
            line = next((line for line in nat.table() if line.src == inside), None)
            yield Transition(
                conversation, last, verdict.passed, line.state if line else "no flow", line.seconds if line else 0
            )


def test_the_record_of_transitions_is_what_this_kernel_does() -> None:
    asked = list(asked_of_the_kernel())
    for real, line in zip(asked, recorded(), strict=True):
        assert line.seconds - real.seconds in (0, 1), f"the kernel rounds down: {line} - {real}"
        assert real._replace(seconds=line.seconds) == line


@pytest.mark.parametrize("leased", [False, True], ids=["from inside", "by a lease"])
@pytest.mark.parametrize("wan_input", WanInput)
def test_tcp_conversations(wan_input: WanInput, leased: bool) -> None:
    chance = random.Random(f"{wan_input} {leased}")
    leased_to = ALICE if leased else None
    with contextlib.closing(SideBySide(LinuxBehavior(wan_input=wan_input), leased_to, LEASED)) as both:
        for number, beginning in enumerate(BEGINNINGS * 3):
            remote = S1._replace(port=1000 + number)
            inside, outside = (ALICE, LEASED) if leased else (ALICE._replace(port=2000 + number), None)
            two_ends, mad = TwoEnds(chance.choice((0, 500, 65535))), Mad(chance)
            for segment in segments(two_ends, beginning, leased, mad):
                ends = inside, remote, outside or KEPT._replace(port=inside.port)
                both.send(placed(segment, *ends), segment.src == ALICE)


def segments(two_ends: TwoEnds, beginning: str, swapped: bool, mad: Mad) -> Iterator[Packet]:
    """A beginning by the book, then anything; `swapped`: whoever is outside begins."""
    if swapped:
        beginning = beginning.translate(str.maketrans("<>", "><"))
    for word in beginning.split():
        yield mad.sensible(two_ends, word)
    last: Packet | None = None
    for _ in range(12):
        if last is None or mad.chance.random() > 0.15:
            word = mad.chance.choice("<>") + mad.chance.choice(FLAGS)
            last = mad.spoil(mad.sensible(two_ends, word))
        yield last


# -- Everything at once ------------------------------------------------------------------------------------------------

INSIDE = (ALICE, BOB, ALICE._replace(port=600), BOB._replace(port=7000))
REMOTE = (S1, S1_OTHER, S2)


@pytest.mark.parametrize("leased", [False, True], ids=["", "with a lease"])
@pytest.mark.parametrize("wan_input", WanInput)
@pytest.mark.parametrize("masquerade", Masquerade)
def test_many_flows_of_every_protocol(masquerade: Masquerade, wan_input: WanInput, leased: bool) -> None:
    chance = random.Random(f"{masquerade} {wan_input} {leased}")
    known: dict[tuple[str, Endpoint, Endpoint], Endpoint] = {}
    passed: list[tuple[Packet, bool]] = []
    with contextlib.closing(
        SideBySide(LinuxBehavior(masquerade, wan_input), ALICE if leased else None, LEASED)
    ) as both:
        for _ in range(250):
            outward = chance.random() < 0.5
            if passed and chance.random() < 0.2:
                about, went_out = chance.choice(passed)
                source = "203.0.113.254" if went_out else about.dst.address
                target = S2.address if chance.random() < 0.1 and not went_out else about.src.address
                error = Packet(ICMP, Endpoint(source, 0), Endpoint(target, 0), icmp=(11, 0), quoted=about)
                both.send(error, not went_out)
                continue
            protocol = chance.choice((UDP, UDP, TCP, ICMP))
            inside, remote = chance.choice(INSIDE), chance.choice(REMOTE)
            usual = inside if masquerade is Masquerade.NONE else KEPT._replace(port=inside.port)
            outside = known.get((protocol, inside, remote), usual)
            if chance.random() < 0.1:
                outside = LEASED
            packet = any_packet(chance, protocol, outward, inside, remote, outside)
            through = both.send(packet, outward)
            if through is not None:
                passed.append((through, outward))
                if outward:
                    known[protocol, inside, remote] = through.src


def test_errors_about_a_flow_whose_remote_had_to_move() -> None:
    """Alice talks to S1 already, and then S1 comes by the leased port: she sees it with another port."""
    with contextlib.closing(SideBySide(LinuxBehavior(), ALICE, LEASED)) as both:
        both.send(Packet(UDP, ALICE, S1), True)
        arrived = both.send(Packet(UDP, S1, LEASED), False)
        assert arrived is not None
        assert arrived.src != S1
        answer = both.send(Packet(UDP, ALICE, arrived.src), True)
        for about, source, outward in ((answer, "203.0.113.254", False), (arrived, ALICE.address, True)):
            target = Endpoint(about.src.address, 0)
            error = Packet(ICMP, Endpoint(source, 0), target, icmp=(3, 3), quoted=about)
            assert both.send(error, outward) is not None


def any_packet(
    chance: random.Random, protocol: str, outward: bool, inside: Endpoint, remote: Endpoint, outside: Endpoint
) -> Packet:
    """A datagram, an echo or a reply to one, or some segment."""
    src, dst = (inside, remote) if outward else (remote, outside)
    if protocol == UDP:
        return Packet(UDP, src, dst, b"x")
    if protocol == TCP:
        flags, low = chance.choice((SYN, SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST)), chance.randrange(1000)
        ack = chance.randrange(1000) if flags & ACK else 0
        return Packet(TCP, src, dst, flags=flags, seq=low, ack=ack, window=chance.choice((0, 500, 65535)))
    if chance.random() < (0.8 if outward else 0.3):
        return Packet(ICMP, src._replace(port=inside.port), dst._replace(port=0), icmp=(8, 0))
    return Packet(ICMP, src._replace(port=0), dst._replace(port=outside.port), icmp=(0, 0))
