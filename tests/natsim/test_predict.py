"""The verdict on paper is what the simulation gives: for the nine boxes, for chancy pools, and for prediction."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Iterator
from itertools import combinations_with_replacement
from typing import Any

import pytest

import natsim
from natsim import (
    LinuxBehavior,
    NatBehavior,
    Overloading,
    RuleError,
    Sequential,
    UnknownDevice,
    Wish,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    endpoint_independent,
    predict,
    preserve,
    random_port,
    sequential,
)
from natsim.cli.attempt import ask, attempt, punch, stun_server
from natsim.nat.devices import Device
from natsim.packet import Endpoint
from punchkit.retransmission import DatagramClient

SCOPES = (endpoint_independent, address_dependent, address_and_port_dependent)
SHORT = dict(zip(SCOPES, ("EI", "AD", "APD"), strict=True))

#: The nine boxes of RFC 4787 with random ports; and those that show every destination the same port all the same.
BOXES = [
    NatBehavior(mapping=mapping, filtering=filtering, ports=random_port) for mapping in SCOPES for filtering in SCOPES
]
BOXES += [
    NatBehavior(mapping=mapping, filtering=filtering, ports=preserve, overloading=Overloading.OTHER_DESTINATIONS)
    for mapping in SCOPES[1:]
    for filtering in SCOPES
]


def name(behavior: NatBehavior) -> str:
    kept = "-kept" if behavior.overloading is not Overloading.NEVER else ""
    return f"{SHORT[behavior.mapping]}M-{SHORT[behavior.filtering]}F{kept}"


@pytest.mark.parametrize("a", BOXES, ids=name)
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_pair_of_boxes_does_what_was_predicted(transport: str, a: NatBehavior) -> None:
    for number, b in enumerate(BOXES[BOXES.index(a) :]):
        ran = attempt(natsim.two_nats(a, b, seed=number), transport)
        foretold = predict(a, b, transport)
        assert ran.direct == foretold.direct, f"{name(a)} and {name(b)}: {foretold}\n{ran.why}"
        assert foretold.probability in (0, 1)


POOL = NatBehavior(mapping=address_and_port_dependent, ports=random_port, addresses=4, pooling=arbitrary)


@pytest.mark.parametrize(
    ("a", "b", "chance"),
    [
        (POOL, NatBehavior(filtering=address_dependent), 1 / 4),
        (POOL, NatBehavior(filtering=endpoint_independent), 1),
        (POOL, NatBehavior(), 0),
        (NatBehavior(addresses=4, pooling=arbitrary), NatBehavior(), 1),
        (Device("two", (LinuxBehavior(), POOL), "-", "-"), NatBehavior(filtering=address_dependent), 1 / 4),
    ],
    ids=["adf", "eif", "apdf", "eim", "nested"],
)
def test_a_pool_of_addresses_leaves_the_rest_to_luck(a: Any, b: Any, chance: float) -> None:
    assert predict(a, b, "udp").probability == pytest.approx(chance)
    runs = 200
    share = sum(attempt(natsim.two_nats(a, b, seed=seed), "udp").direct for seed in range(runs)) / runs
    assert abs(share - chance) <= 4 * math.sqrt(chance * (1 - chance) / runs)


# -- Prediction ------------------------------------------------------------------------------------------------------


def guessed(a: Any, b: Any, seed: int) -> bool:
    """Two peers ask two servers each, and dial the endpoint that follows from the two answers."""
    net = natsim.two_nats(a, b, seed=seed)
    net.host("mirror")

    async def look(server: str, mirror: str) -> tuple[Any, tuple[str, int]]:
        client = await DatagramClient.open()
        first, second = await ask(client, server), await ask(client, mirror)
        guess = 2 * second[1] - first[1]
        return client, (second[0], 1024 + (guess - 1024) % 64_512)

    async def story() -> bool:
        for host in (net.server, net.mirror):
            ready = asyncio.Event()
            host.start(stun_server(ready))
            await ready.wait()
        looks = [host.start(look(net.server.address, net.mirror.address)) for host in (net.alice, net.bob)]
        (alice, to_alice), (bob, to_bob) = [await task for task in looks]
        return await punch(net, alice, bob, to_alice, to_bob) is not None

    return bool(net.run(story).result)


STEPPING = [NatBehavior(mapping=address_and_port_dependent, ports=Sequential(step)) for step in (1, 2, -3)]
PREDICTED = [*STEPPING, "eim-apdf", "linux", "apdm-apdf", NatBehavior(mapping=address_dependent, ports=sequential)]


@pytest.mark.parametrize(("a", "b"), list(combinations_with_replacement(PREDICTED, 2)))
def test_sequential_ports_are_predicted_and_random_ones_are_not(a: Any, b: Any) -> None:
    foretold = predict(a, b, "udp", "prediction")
    assert [guessed(a, b, seed) for seed in range(3)] == [foretold.direct] * 3, str(foretold)
    assert foretold.direct == ("apdm-apdf" not in (a, b))


def test_prediction_never_does_worse_than_plain_punching() -> None:
    for a, b in combinations_with_replacement(natsim.DEVICES, 2):
        for transport in ("udp", "tcp"):
            plain, clever = (predict(a, b, transport, strategy).probability for strategy in ("punch", "prediction"))
            assert clever >= plain, (a, b, transport)


# -- Birthday --------------------------------------------------------------------------------------------------------


def test_a_search_finds_one_random_side_and_not_two() -> None:
    one = predict("eim-apdf", "apdm-apdf", "udp", "birthday")
    both = predict("apdm-apdf", "apdm-apdf", "udp", "birthday")
    assert one.probability == pytest.approx(0.9835, abs=0.001)
    assert 0 < both.probability < 0.001
    assert (one.direct, both.direct) == (True, False)
    assert "256 sockets" in one.why
    assert predict("eim-apdf", "apdm-apdf", "tcp", "birthday").probability == 0, "it is for UDP only"
    assert predict("apdm-sequential", "apdm-sequential", "udp", "birthday").probability == 0, "nothing is random there"


# -- Words, and rules of one's own ------------------------------------------------------------------------------------


def test_the_verdict_gives_its_reasons() -> None:
    relayed = predict("linux", "apdm-apdf", "tcp")
    assert str(relayed).startswith(
        "relayed over tcp: The peer sees A where the server saw it. The peer sees B elsewhere"
    )
    assert "filters by address and port" in relayed.why
    assert "mapping: address-and-port-dependent" in relayed.why
    assert "random intervals" in predict("linux-reject", "linux", "tcp").why
    assert "both must send before" in predict("linux-open", "linux", "udp").why
    assert predict("udp-blocked", "none", "udp").why == "A firewall lets no UDP out."
    assert "chance of 98.3%" in str(predict("linux", "linux-random", "udp", "birthday"))


def test_a_rule_of_ones_own_is_asked_what_it_would_do() -> None:
    def only_even_hosts(remote: Endpoint) -> Hashable:
        return int(remote.address.rsplit(".", 1)[1]) % 2

    def always_7000(wish: Wish) -> Iterator[int]:
        yield 7000

    behavior = NatBehavior(
        mapping=address_dependent,
        filtering=only_even_hosts,
        ports=always_7000,
        overloading=Overloading.OTHER_DESTINATIONS,
    )
    foretold = predict(behavior, "eim-apdf", "udp")
    assert foretold.direct
    assert attempt(natsim.two_nats(behavior, "eim-apdf"), "udp").direct

    def nonsense(remote: Endpoint) -> Hashable:
        return [remote]  # type: ignore[return-value]

    with pytest.raises(RuleError, match="nonsense"):
        predict(NatBehavior(mapping=nonsense), "none")


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("linuxx", "linux"), "did you mean linux"),
        (("linux", "linux", "upd"), "did you mean udp"),
        (("linux", "linux", "udp", "brithday"), "did you mean birthday"),
    ],
)
def test_a_typo_gets_the_nearest_right_name(arguments: Any, near: str) -> None:
    with pytest.raises((UnknownDevice, ValueError), match=near):
        predict(*arguments)
