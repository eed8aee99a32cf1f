"""UDP hole punches from engine to engine: who meets, what that rests on, and whether the verdict on paper agrees."""

from __future__ import annotations

import pytest

from natsim import (
    DEVICES,
    LinuxBehavior,
    NatBehavior,
    WanInput,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    endpoint_independent,
    predict,
    random_port,
    sequential,
)
from natsim.nat.exchange import Peer, udp_exchange
from natsim.packet import Endpoint
from natsim.verify.classification import NINE

EASY = [NatBehavior()]
HARD = [NatBehavior(mapping=address_and_port_dependent, ports=random_port)]


def test_public_hosts_meet_everybody_who_can_send() -> None:
    for side in ([], EASY, HARD, EASY + HARD):
        assert udp_exchange([], side)
        assert udp_exchange(side, [])


def test_an_open_filter_is_enough_on_either_side() -> None:
    lax = [NatBehavior(mapping=address_and_port_dependent, filtering=endpoint_independent, ports=random_port)]
    assert udp_exchange(lax, HARD)
    assert udp_exchange(HARD, lax)


def test_every_layer_must_let_the_peer_in() -> None:
    assert udp_exchange(EASY + EASY, EASY)
    assert not udp_exchange(EASY + HARD, EASY), "the carrier's NAT is the hard one"
    assert not udp_exchange(HARD + EASY, EASY), "the home's NAT is"


def test_what_comes_in_is_answered_to_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a filter by address, a peer whose port has moved gets in; only the packet's source says where it is."""
    by_address = [NatBehavior(filtering=address_dependent)]
    assert udp_exchange(by_address, HARD)
    targets: list[Endpoint] = []
    send = Peer.send
    monkeypatch.setattr(Peer, "send", lambda peer, target: targets.append(target) or send(peer, target))
    assert udp_exchange(by_address, HARD)
    where_the_server_saw_it, answered = targets[2], targets[-1]
    assert answered.address == where_the_server_saw_it.address
    assert answered.port != where_the_server_saw_it.port


def test_a_nat_that_lets_nothing_out_meets_nobody() -> None:
    assert not udp_exchange([LinuxBehavior(block_udp=True)], [])
    assert not udp_exchange([], [LinuxBehavior(block_udp=True)])


def test_probes_cross_so_that_no_router_takes_one_for_its_own() -> None:
    """A Linux router that accepts datagrams itself would give their port away, if one came before its own peer's."""
    trap = [LinuxBehavior(wan_input=WanInput.ACCEPT)]
    assert udp_exchange(trap, trap)


def test_a_sequential_port_is_not_predicted_here() -> None:
    assert not udp_exchange([NatBehavior(mapping=address_and_port_dependent, ports=sequential)], EASY)


def test_chance_comes_from_the_seed() -> None:
    """An address that is drawn for each destination anew is now and then the one that the peer expects."""
    drawn = NatBehavior(mapping=address_and_port_dependent, ports=random_port, addresses=2, pooling=arbitrary)
    outcomes = [udp_exchange([drawn], [NatBehavior(filtering=address_dependent)], seed) for seed in range(20)]
    assert set(outcomes) == {True, False}
    assert outcomes == [udp_exchange([drawn], [NatBehavior(filtering=address_dependent)], seed) for seed in range(20)]


@pytest.mark.parametrize("name", NINE)
def test_the_verdict_on_paper_agrees_for_the_nine_types(name: str) -> None:
    for other in NINE.values():
        assert udp_exchange([NINE[name]], [other]) == predict(NINE[name], other, "udp").direct


@pytest.mark.parametrize("name", DEVICES)
def test_the_verdict_on_paper_agrees_for_the_named_nats(name: str) -> None:
    for other in DEVICES.values():
        met = [udp_exchange(DEVICES[name].layers, other.layers, seed) for seed in range(4)]
        chance = predict(DEVICES[name], other, "udp").probability
        assert chance == met.count(True) / 4 or 0 < chance < 1, (name, other.name, chance, met)
