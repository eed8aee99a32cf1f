"""One peer and its NATs, on paper: which endpoint of it does whom see, and whom do its NATs let in?

Nothing is sent here.  The rules of each behavior are asked what they *would* do for two remotes, the server and the
peer, and the answers are compared: an endpoint that looks the same to both can be told to the peer, one that moves
cannot, unless it moves by a step that is always the same.

Used by `predict.py`.  Knows behaviors, not engines, so that a simulation can prove it wrong.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..packet import Endpoint
from .behavior import (
    NatBehavior,
    Overloading,
    address_and_port_dependent,
    endpoint_independent,
)
from .linux import LinuxBehavior, Masquerade, WanInput
from .odds import ALL_PORTS
from .ports import KeepClass, KeepParity, PreserveElse, RandomPort, Wish, preserve, random_port
from .rules import ask_pooling, ask_ports, ask_scope
from .spelling import rule_name
from .unsolicited import drop_syn, refuse_syn

#: The remotes of the thought experiment.  What they are does not matter, only that they differ in address and port.
SERVER, PEER = Endpoint("203.0.113.10", 7711), Endpoint("203.0.113.77", 50_000)

#: How often the rules are asked, with different luck, to see what in their answers is luck.
LOOKS = 16


def in_rfc_words(behavior: NatBehavior | LinuxBehavior) -> NatBehavior:
    """What a Linux router looks like to two peers that are its only users (`linux.py` says where it differs)."""
    if isinstance(behavior, NatBehavior):
        return behavior
    random_ports = behavior.masquerade is Masquerade.FULLY_RANDOM
    return NatBehavior(
        mapping=address_and_port_dependent if random_ports else endpoint_independent,
        ports=random_port if random_ports else preserve,
        unsolicited_syn=drop_syn if behavior.wan_input is WanInput.DROP else refuse_syn,
        translate=behavior.masquerade is not Masquerade.NONE,
    )


@dataclass(frozen=True)
class Look:
    """One layer's outside endpoints towards the server and towards the peer."""

    to_server: Endpoint
    to_peer: Endpoint

    @property
    def same(self) -> bool:
        """Do both see the same endpoint?"""
        return self.to_server == self.to_peer


@dataclass(frozen=True)
class Side:
    """A peer behind `layers` of NAT, from the host outwards.  `name` is how sentences call it."""

    name: str
    layers: tuple[NatBehavior, ...]

    @cached_property
    def looks(self) -> list[list[Look]]:
        """The layers' endpoints, for several throws of the dice."""
        return [_look(self.layers, random.Random(f"paper {seed}")) for seed in range(LOOKS)]

    @cached_property
    def step(self) -> int | None:
        """How far the port moves from the server's view to the peer's: 0 if it does not, None if that is luck."""
        steps = {look[-1].to_peer.port - look[-1].to_server.port for look in self.looks if look}
        return steps.pop() if len(steps) == 1 else None if steps else 0

    @cached_property
    def same_address(self) -> float:
        """The chance that server and peer see the same address."""
        if all(look[-1].to_peer.address == look[-1].to_server.address for look in self.looks if look):
            return 1.0
        return 1 / self.layers[-1].addresses

    @cached_property
    def layer_same(self) -> list[bool]:
        """For each layer: does its row towards the server serve the peer as well?"""
        return [all(look[depth].same for look in self.looks) for depth in range(len(self.layers))]

    @property
    def same(self) -> bool:
        """Does the peer see what the server saw?"""
        return self.step == 0 and self.same_address == 1

    @property
    def ports(self) -> int:
        """Among how many ports a random one is drawn."""
        return _port_space(self.layers[-1].ports)

    def admits(self, source: Endpoint, spoken_to: Sequence[Endpoint]) -> NatBehavior | None:
        """The first layer, from outside, that keeps out `source`, whatever the row; None if it gets in."""
        for behavior in reversed(self.layers):
            if not lets_in(behavior, source, spoken_to):
                return behavior
        return None


def lets_in(behavior: NatBehavior, source: Endpoint, spoken_to: Sequence[Endpoint]) -> bool:
    """Does a row that has spoken to these remotes let this one in (RFC 4787 section 5)?"""
    wanted = ask_scope(behavior, "filtering", source)
    return any(ask_scope(behavior, "filtering", remote) == wanted for remote in spoken_to)


def _look(layers: Sequence[NatBehavior], chance: random.Random) -> list[Look]:
    """Walk outwards: each layer gives the packets to the server, then those to the peer, an outside endpoint."""
    inside = Look(Endpoint("192.168.1.2", 40_000), Endpoint("192.168.1.2", 40_000))
    looks = []
    for behavior in layers:
        if behavior.translate:
            inside = _translated(behavior, inside, chance)
        looks.append(inside)
    return looks


def _translated(behavior: NatBehavior, inside: Look, chance: random.Random) -> Look:
    scopes = [ask_scope(behavior, "mapping", remote) for remote in (SERVER, PEER)]
    memory: dict[str, Any] = {}
    previous = chance.randint(20_000, 40_000)
    first = _endpoint(behavior, inside.to_server, SERVER, previous, memory, None, chance)
    if inside.same and scopes[0] == scopes[1]:
        return Look(first, first)
    may_share = behavior.overloading is Overloading.ALWAYS or (
        behavior.overloading is Overloading.OTHER_DESTINATIONS and scopes[0] != scopes[1]
    )
    taken = None if may_share else first
    return Look(first, _endpoint(behavior, inside.to_peer, PEER, first.port, memory, taken, chance))


def _endpoint(
    behavior: NatBehavior,
    internal: Endpoint,
    remote: Endpoint,
    previous: int,
    memory: dict[str, Any],
    taken: Endpoint | None,
    chance: random.Random,
) -> Endpoint:
    pool = [f"198.51.100.{number}" for number in range(1, behavior.addresses + 1)]
    address = ask_pooling(behavior, internal.address, pool, chance)
    wish = Wish("udp", internal, remote, previous, chance, memory)
    for port in ask_ports(behavior, wish):
        if Endpoint(address, port) != taken:
            return Endpoint(address, port)
    return Endpoint(address, 0)  # it has no port to offer, so nothing leaves


def _port_space(rule: Any) -> int:
    """How many ports a rule draws from, as far as one can tell from the rule itself."""
    match rule:
        case RandomPort(first, last):
            return last - first + 1
        case KeepClass(inner) | PreserveElse(inner):
            return _port_space(inner)
        case KeepParity(inner):
            return _port_space(inner) // 2
    return ALL_PORTS


def filter_words(behavior: NatBehavior) -> str:
    """What a NAT's filter looks at."""
    return {
        "endpoint_independent": "lets anybody in (endpoint-independent filtering)",
        "address_dependent": "filters by address",
        "address_and_port_dependent": "filters by address and port",
    }.get(rule_name(behavior.filtering), f"filters by {rule_name(behavior.filtering)}")
