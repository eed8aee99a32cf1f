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
    preserve,
    random_port,
)
from natsim.nat.devices import find
from natsim.packet import Endpoint
from natsim.router import NatBox
from natsim.verify.rfc4787 import REQUIREMENTS

RFC = find("rfc").layers[0]
assert isinstance(RFC, NatBehavior)


def moody(remote: Endpoint) -> Hashable:
    """A mapping that changes its type under load."""
    asked[remote.address] += 1
    return () if asked.total() < 200 else remote


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


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_holds_and_is_missed_when_it_is_broken(requirement: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requirement.measure(RFC) == requirement.expected
    if requirement.name == "RFC 4787 REQ-7":
        takes_insiders_for_neighbours(monkeypatch)
        broken = RFC
    else:
        asked.clear()
        broken = replace(RFC, **BROKEN[requirement.name])
    assert requirement.measure(broken) != requirement.expected
