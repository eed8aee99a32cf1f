"""NATs by name: each can be built, each lets its host ask a question, and each has the address it should."""

from __future__ import annotations

from typing import Any

import pytest
from sim_tools import datagrams

import natsim
from natsim.nat.devices import DEVICES, Device, UnknownDevice, find
from natsim.nat.linux import LinuxBehavior

NAMES_OF_THE_CONTRACT = {
    *("none", "eim-eif", "eim-adf", "eim-apdf", "adm-apdf", "apdm-apdf", "apdm-sequential", "linux", "linux-random"),
    *("linux-reject", "rfc", "cgnat", "firewall", "udp-blocked"),
}


def test_the_names_of_the_contract_exist() -> None:
    assert set(DEVICES) >= NAMES_OF_THE_CONTRACT


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_says_what_it_is_and_where_that_is_known_from(name: str) -> None:
    device = find(name)
    assert (device.name, bool(device.about), bool(device.source)) == (name, True, True)


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_can_be_built_on_either_side_and_answers(name: str) -> None:
    net = natsim.two_nats(name, name)

    async def ask(reachable: bool) -> Any:
        mine = await datagrams(("0.0.0.0", 5000))
        mine.transport.sendto(b"who am I?", (net.server.address, 9))
        return await mine.received.get() if reachable else None

    async def story() -> list[Any]:
        heard = await net.server.start(datagrams(("0.0.0.0", 9), echo=True))
        for host in (net.alice, net.bob):
            await host.start(ask(name != "udp-blocked"))
        return [heard.received.get_nowait()[1][0] for _ in range(heard.received.qsize())]

    seen = net.run(story, limit=5).result
    if name == "udp-blocked":
        assert seen == []
        return
    assert len(set(seen)) == 2
    assert not any(address.startswith(("192.168.", "100.64.")) for address in seen)
    if name == "cgnat":
        assert seen == [net.carrier_a.address, net.carrier_b.address]


@pytest.mark.parametrize("name", [name for name, device in DEVICES.items() if device.layers])
def test_every_device_can_stand_before_both_peers(name: str) -> None:
    net = natsim.same_nat(name)
    assert net.alice.behind is net.bob.behind is not None
    assert len(net.nats) == len(DEVICES[name].layers)


@pytest.mark.parametrize(
    ("wrong", "near"), [("linuxx", "linux"), ("eimapdf", "eim-apdf"), ("cgn", "cgnat"), ("udp_blocked", "udp-blocked")]
)
def test_an_unknown_name_gets_the_nearest_ones(wrong: str, near: str) -> None:
    with pytest.raises(UnknownDevice, match=f"no NAT is called '{wrong}'; did you mean .*{near}"):
        find(wrong)
    with pytest.raises(ValueError, match=near):
        natsim.two_nats(wrong, "none")


def test_a_name_like_no_other_gets_them_all() -> None:
    with pytest.raises(UnknownDevice) as caught:
        find("xyzzy")
    assert all(name in str(caught.value) for name in DEVICES)


def test_three_layers_of_nat_are_built_from_the_host_outwards() -> None:
    layers = (LinuxBehavior(), natsim.NatBehavior(), natsim.NatBehavior(hairpin=True))
    net = natsim.two_nats(Device("deep", layers, "three NATs", "-"), "none")
    chain = []
    node = net.alice.behind
    while node is not None:
        chain.append(node.behavior)
        node = node.behind
    assert tuple(chain) == layers


def test_a_behavior_can_stand_for_a_device() -> None:
    net = natsim.two_nats(natsim.NatBehavior(hairpin=True), LinuxBehavior())
    assert repr(net.nat_a.behavior) == "NatBehavior(hairpin=Hairpin.EXTERNAL)"
    assert net.nat_b.behavior == LinuxBehavior()
