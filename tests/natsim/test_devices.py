"""NATs by name: each can be built, each lets its host ask a question, each has the address it should, and each says
for all that it does differently where that is known from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sim_tools import datagrams

import natsim
from natsim.cli.main import main
from natsim.nat.devices import DEVICES, Device, UnknownDevice, find
from natsim.nat.devices.device import CLAIM_OF, IMPORTANT, settings
from natsim.nat.linux import LinuxBehavior

NAMES_OF_THE_CONTRACT = {
    *("none", "eim-eif", "eim-adf", "eim-apdf", "adm-apdf", "apdm-apdf", "apdm-sequential", "linux", "linux-random"),
    *("linux-reject", "rfc", "pf", "cgnat", "firewall", "udp-blocked"),
}
KNOBS = {CLAIM_OF.get(knob, knob) for knob in natsim.NatBehavior.__dataclass_fields__}


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


# -- Claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
def test_every_knob_that_differs_from_the_default_has_a_claim(name: str) -> None:
    device = DEVICES[name]
    needed = {
        prefix + knob
        for prefix, layer in device.named_layers()
        for knob, _, _, is_default in settings(layer)
        if not is_default
    }
    assert needed - device.claims.keys() == set()


@pytest.mark.parametrize("name", DEVICES)
def test_every_claim_is_about_a_knob_of_a_part_and_says_something(name: str) -> None:
    device = DEVICES[name]
    possible = {prefix + knob for prefix, _ in device.named_layers() for knob in KNOBS}
    assert device.claims.keys() - possible == set()
    assert all(len(source) > 10 and "://" not in source for source in device.claims.values())
    assert len(set(device.parts)) == (len(device.layers) if len(device.layers) > 1 else 0)


def test_a_knob_without_a_claim_is_not_known() -> None:
    behavior = natsim.NatBehavior()
    assert Device("mine", (behavior,), "my router", "-").unknown == list(IMPORTANT)
    claims = {"mapping": "measured", "home filtering": "another's", "timeouts": "measured"}
    mine = Device("mine", (behavior,), "my router", "-", claims)
    assert mine.unknown == ["filtering", "ports", "hairpin", "unsolicited_syn"]
    assert DEVICES["none"].unknown == []


def test_what_is_not_known_of_layers_names_the_layer() -> None:
    two = (LinuxBehavior(), natsim.NatBehavior())
    claims = {"home mapping": "measured", "carrier ports": "measured"}
    unknown = Device("two", two, "two NATs", "-", claims, ("home", "carrier")).unknown
    assert unknown == [
        *("home filtering", "home ports", "home hairpin", "home unsolicited_syn", "home timeouts"),
        *("carrier mapping", "carrier filtering", "carrier hairpin", "carrier unsolicited_syn", "carrier timeouts"),
    ]
    assert Device("two", two, "two NATs", "-").unknown[0] == "layer 1 mapping"


def test_of_a_firewall_nobody_asks_how_it_translates() -> None:
    for layer in (natsim.NatBehavior(translate=False), LinuxBehavior(masquerade=natsim.Masquerade.NONE)):
        assert Device("wall", (layer,), "a firewall", "-").unknown == ["filtering", "unsolicited_syn", "timeouts"]


def test_definitions_and_what_was_measured_leave_nothing_unknown() -> None:
    known = {name for name, device in DEVICES.items() if not device.unknown}
    assert known >= NAMES_OF_THE_CONTRACT | {"home-overload", "linux-open", "openwrt", "carrier-blocks"}
    assert DEVICES["vmware"].unknown == ["mapping", "filtering", "ports", "hairpin", "unsolicited_syn"]


# -- The command -----------------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["devices", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_of_all_fits_a_terminal_and_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    table = printed(capsys)
    assert max(map(len, table.splitlines())) <= 100
    starts = [line.split()[0] for line in table.splitlines() if line and not line.startswith(" ")]
    assert starts == list(DEVICES)
    entries = dict(zip(DEVICES, table.split("\n\n"), strict=True))
    assert "carrier: NatBehavior(filtering=endpoint_independent, ports=" in " ".join(entries["cgnat"].split())
    assert "source: Azure documentation: NAT gateway" in entries["azure-nat"]
    assert "not known: hairpin (assumed Hairpin.NONE)" in entries["azure-nat"]
    assert "not known" not in entries["rfc"]
    assert "machine unsolicited_syn (assumed WanInput.DROP)" in " ".join(entries["docker-desktop"].split())


def test_one_nat_in_full_has_the_source_of_every_claim(capsys: pytest.CaptureFixture[str]) -> None:
    for name, device in DEVICES.items():
        shown = printed(capsys, name)
        assert max(map(len, shown.splitlines())) <= 100
        text = " ".join(shown.split())
        assert text.startswith(f"{name} {device.about}")
        for knob, source in device.claims.items():
            assert any(line.startswith(f"{knob} ") for line in shown.splitlines())
            assert source in text


def test_one_nat_in_full_shows_the_setting_beside_its_claim(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [" ".join(line.split()) for line in printed(capsys, "carrier-blocks").splitlines()]
    assert "carrier filtering filtering=endpoint_independent" in lines
    assert "carrier limits max_mappings_per_host=1024, when_full=WhenFull.ANSWER" in lines
    assert not any(line.startswith("home filtering filtering=") for line in lines)


def test_the_json_of_devices(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, "--json").splitlines()
    devices = json.loads(line)["devices"]
    assert [device["name"] for device in devices] == list(DEVICES)
    for device in devices:
        assert set(device) == {"name", "about", "source", "layers", "claims", "unknown"}
    (cgnat,) = json.loads(printed(capsys, "cgnat", "--json"))["devices"]
    assert cgnat["layers"] == [repr(layer) for layer in DEVICES["cgnat"].layers]
    assert cgnat["claims"] == dict(DEVICES["cgnat"].claims)
    (vmware,) = json.loads(printed(capsys, "vmware", "--json"))["devices"]
    assert vmware["unknown"] == DEVICES["vmware"].unknown


@pytest.mark.parametrize("arguments", [["linuxx"], ["linuxx", "--json"]])
def test_a_wrong_name_is_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["devices", *arguments])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no NAT is called 'linuxx'; did you mean linux" in err
