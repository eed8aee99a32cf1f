"""Each requirement of RFC 4787 holds for the `rfc` device, and its row says so when the rule behind it is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest

from natsim import (
    Hairpin,
    NatBehavior,
    Overloading,
    Timeouts,
    address_dependent,
    arbitrary,
    endpoint_independent,
    pipe,
    preserve,
    random_port,
)
from natsim.fragmentation import fragments_of
from natsim.nat import fragments
from natsim.nat.devices import find
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import Endpoint, Packet
from natsim.pipe import Pipe
from natsim.router import NatBox
from natsim.verify import large_packets, rfc4787

RFC = find("rfc").layers[0]
assert isinstance(RFC, NatBehavior)


def moody(remote: Endpoint) -> Hashable:
    """A mapping that changes its type under load."""
    asked[remote.address] += 1
    return () if asked.total() < 100 else remote


asked: Counter[str] = Counter()

#: For each requirement, a NAT that breaks it: another behavior, or a change to the code that obeys it.
BROKEN: dict[str, dict[str, Any] | Any] = {
    "RFC 4787 REQ-1": {"mapping": address_dependent},
    "RFC 4787 REQ-2": {"pooling": arbitrary},
    "RFC 4787 REQ-3": {"ports": preserve, "overloading": Overloading.ALWAYS},
    "RFC 4787 REQ-3a": {"ports": random_port},
    "RFC 4787 REQ-5": {"timeouts": Timeouts(udp=119)},
    "RFC 4787 REQ-5c": {"timeouts": Timeouts(udp=299)},
    "RFC 4787 REQ-6": {"refresh_outbound": False},
    "RFC 4787 REQ-8": {"filtering": endpoint_independent},
    "RFC 4787 REQ-9": {"hairpin": Hairpin.NONE},
    "RFC 4787 REQ-9a": {"hairpin": Hairpin.INTERNAL},
    "RFC 4787 REQ-10": {"alg": True},
    "RFC 4787 REQ-11": {"mapping": moody},
}


def takes_insiders_for_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that throws away what comes from outside for an address of its own inside range."""
    whole = NatBox.receive_outside

    def receive_outside(box: NatBox, packet: Any) -> None:
        if not box._is_local(packet.dst.address):
            whole(box, packet)

    monkeypatch.setattr(NatBox, "receive_outside", receive_outside)


def knows_no_mtu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that sends on whatever it has."""
    monkeypatch.setattr(Pipe, "takes", lambda pipe, packet: True)


def sends_the_last_fragment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that cuts, and begins at the end."""
    monkeypatch.setattr(pipe, "fragments_of", lambda packet, mtu: fragments_of(packet, mtu)[::-1])


def holds_no_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAT that has no place for fragments without a first one."""
    monkeypatch.setattr(fragments, "HELD_OF_EACH", 0)


def is_exhausted_by_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAT that takes no more fragments when it has had two hundred."""
    judge, seen = fragments.FragmentTranslator.judge, Counter[str]()

    def count_and_judge(self: Any, piece: Packet, now: int) -> Verdict:
        seen["pieces"] += 1
        return judge(self, piece, now) if seen["pieces"] < 200 else Verdict(Rule.POLICY, "too many fragments")

    monkeypatch.setattr(fragments.FragmentTranslator, "judge", count_and_judge)


BROKEN |= {
    "RFC 4787 REQ-7": takes_insiders_for_neighbours,
    "RFC 4787 REQ-13": knows_no_mtu,
    "RFC 4787 REQ-13a": sends_the_last_fragment_first,
    "RFC 4787 REQ-14": holds_no_fragments,
    "RFC 4787 REQ-14a": is_exhausted_by_fragments,
}


@pytest.mark.parametrize(
    "requirement",
    [*rfc4787.REQUIREMENTS, *large_packets.REQUIREMENTS],
    ids=lambda requirement: requirement.name,
)
def test_a_requirement_holds_and_is_missed_when_it_is_broken(requirement: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requirement.measure(RFC) == requirement.expected
    asked.clear()
    breaks = BROKEN[requirement.name]
    if callable(breaks):
        breaks(monkeypatch)
        assert requirement.measure(RFC) != requirement.expected
    else:
        assert requirement.measure(replace(RFC, **breaks)) != requirement.expected
