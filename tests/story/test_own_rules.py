"""Rules that a learner writes in a cell: each of a few lines, run through the whole story at once."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from typing import Any

import pytest

import natsim
import punchkit
from natsim import Endpoint, NatBehavior, Packet, RuleError, Wish, address_and_port_dependent, refuse_syn


def connect(*nats: Any, seed: int = 3) -> natsim.Run:
    """The story between two NATs; its result is whether both went direct."""
    net = natsim.two_nats(*nats, seed=seed)

    async def story() -> bool:
        net.server.start(punchkit.serve())
        first = net.alice.start(punchkit.connect("7-amber-falcon", server=net.server.address))
        second = net.bob.start(punchkit.connect("7-amber-falcon", server=net.server.address))
        async with await first as alice, await second as bob:
            await asyncio.gather(alice.settled(), bob.settled())
            await alice.write(b"hello")
            await bob.read()
            return alice.direct and bob.direct

    return net.run(story)


def lottery(wish: Wish) -> Iterator[int]:
    """Ports: one of 365, for each destination anew."""
    while True:
        yield 40_000 + wish.random.randrange(365)


def my_block(wish: Wish) -> Iterator[int]:
    """Ports: each host has a hundred of its own, remembered where it began."""
    hosts = wish.memory.setdefault("hosts", [])
    if wish.internal.address not in hosts:
        hosts.append(wish.internal.address)
    start = 50_000 + 100 * hosts.index(wish.internal.address)
    yield from range(start, start + 100)


def same_network(remote: Endpoint) -> Hashable:
    """Filter: whoever is in the same /16 as somebody we spoke to may come in."""
    return remote.address.split(".")[:2] == ["198", "51"]


def only_even_ports(syn: Packet) -> Packet | None:
    """SYN policy: refuse those from odd ports, say nothing to the others."""
    return refuse_syn(syn) if syn.src.port % 2 else None


def test_a_port_assignment_of_ones_own_decides() -> None:
    assert connect(NatBehavior(ports=lottery), "eim-apdf").result is True, "one port for all: any port will do"
    guarded = connect(NatBehavior(mapping=address_and_port_dependent, ports=lottery), "eim-apdf")
    assert guarded.result is False
    assert "lottery" in guarded.why()


def test_a_port_assignment_may_remember() -> None:
    run = connect(NatBehavior(ports=my_block), "eim-apdf")
    assert run.result is True
    seen = {entry.packet.src.port for entry in run.trace if entry.node == "nat_a" and entry.before is not None}
    assert seen & set(range(50_000, 50_100))


def test_a_filter_of_ones_own_decides() -> None:
    assert connect(NatBehavior(), "apdm-apdf").result is False
    assert connect(NatBehavior(filtering=same_network), "apdm-apdf").result is True


def test_a_syn_policy_of_ones_own_is_asked() -> None:
    runs = [connect(NatBehavior(unsolicited_syn=only_even_ports), "apdm-apdf", seed=seed) for seed in range(6)]
    strays = [entry for run in runs for entry in run.trace.drops() if entry.node == "nat_a"]
    answered = [entry.packet.src.port % 2 for entry in strays if "only_even_ports" in str(entry.reason)]
    silent = [entry.packet.src.port % 2 for entry in strays if "only_even_ports" not in str(entry.reason)]
    assert (set(answered), set(silent)) == ({1}, {0})


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            {"ports": lambda wish: 7000},
            r"port assignment <lambda> returned 7000 for 192.168.1.2:\d+ to 203.0.113.10:7711",
        ),
        ({"ports": lambda wish: iter([wish.internal.address])}, "proposed '192.168.1.2' .*; a port is 1 to 65535"),
        (
            {"mapping": lambda remote: [remote]},
            r"mapping scope <lambda> returned \[.*it must return something hashable",
        ),
        ({"filtering": lambda remote: remote.adress}, "filtering scope <lambda> failed for .*AttributeError.*adress"),
        ({"pooling": lambda host, pool, chance: "1.2.3.4"}, "pooling <lambda> returned '1.2.3.4' .*one of"),
        ({"unsolicited_syn": lambda syn: True, "filtering": lambda remote: 1 / 0}, "ZeroDivisionError"),
    ],
)
def test_a_wrong_rule_is_named_with_what_it_returned(rules: Any, said: str) -> None:
    with pytest.raises(RuleError, match=said):
        connect(NatBehavior(**rules), "none")


def test_a_wrong_syn_policy_is_named_when_a_stray_syn_comes() -> None:
    def my_policy(syn: Packet) -> Any:
        return "RST"

    with pytest.raises(RuleError, match=r"the SYN policy my_policy returned 'RST' for <#.*must return a Packet"):
        connect(NatBehavior(unsolicited_syn=my_policy), "apdm-apdf")


def test_rules_are_short_enough_for_a_cell() -> None:
    import inspect

    for rule in (lottery, my_block, same_network, only_even_ports):
        assert len(inspect.getsource(rule).splitlines()) <= 10
