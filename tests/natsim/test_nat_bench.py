"""The NAT bench and its knobs, without a browser; `tests/browser` turns them in a real one."""

from __future__ import annotations

import re

import pytest

import natsim
from natsim.cli.attempt import experiment
from natsim.nat.devices import DEVICES
from natsim.view.knobs import KNOBS, LINUX, OLD_NAMES, RFC_NAT, Setting, presets, setting_of
from natsim.view.nat_bench import NatBench
from natsim.view.tables import Tables, deciding_rows

# -- Knobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_the_device_of_that_name(name: str) -> None:
    setting = presets()[name]
    assert setting.behavior == ("none" if name == "none" else DEVICES[name].layers[0])


@pytest.mark.parametrize("setting", [*presets().values(), *OLD_NAMES.values()])
def test_the_call_makes_the_same_nat(setting: Setting) -> None:
    assert eval(setting.code, {"natsim": natsim}) == setting.behavior


@pytest.mark.parametrize("kind", KNOBS)
def test_every_mark_of_every_knob_makes_a_nat_that_stands_as_it_was_set(kind: str) -> None:
    for knob in KNOBS[kind]:
        for choice in knob.choices:
            setting = Setting(kind).turned(knob.name, choice)
            assert not isinstance(setting.behavior, str)
            assert setting_of(setting.behavior).value(knob.name) == choice
            assert eval(setting.code, {"natsim": natsim}) == setting.behavior


def test_old_names_are_points_in_the_space_of_mapping_and_filtering() -> None:
    places = {name: (s.value("mapping"), s.value("filtering")) for name, s in OLD_NAMES.items()}
    assert places["full cone"] == ("endpoint-independent", "endpoint-independent")
    assert places["symmetric"] == ("address-and-port-dependent", "address-and-port-dependent")
    assert len(set(places.values())) == 4


def test_a_knob_has_no_other_marks() -> None:
    with pytest.raises(ValueError, match="no mapping='sideways'"):
        Setting(RFC_NAT).turned("mapping", "sideways")
    with pytest.raises(ValueError, match="Linux has no mapping"):
        Setting(LINUX).turned("mapping", "endpoint-independent")


# -- The bench --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> NatBench:
    return NatBench(experiment)


def words(bench: NatBench) -> str:
    """What the answer says before the pictures."""
    return re.sub(r"<[^>]+>", " ", bench.answer.value.partition("<details>")[0])


def test_nothing_runs_before_somebody_has_committed(bench: NatBench) -> None:
    assert bench.commit.disabled
    bench.a.knobs["masquerade"].value = "fully-random"
    assert (bench.finding, bench.answer.value) == (None, "")
    bench.prediction.value = "direct"
    assert not bench.commit.disabled


def test_a_wrong_guess_is_answered_with_the_reason_and_the_rows(bench: NatBench) -> None:
    bench.a.knobs["masquerade"].value = "fully-random"
    bench.prediction.value = "direct"
    bench.commit.click()
    said = words(bench)
    assert "relayed" in said
    assert "You had said direct." in said
    assert "no flow" in said
    assert "On paper: relayed" in said
    assert "The rows that decided" in said
    assert "<svg" in bench.answer.value


def test_then_every_turned_knob_is_answered_at_once(bench: NatBench) -> None:
    bench.prediction.value = "direct"
    bench.commit.click()
    assert "You had said so." in words(bench)
    bench.b.knobs["masquerade"].value = "fully-random"
    assert "relayed" in words(bench)
    bench.a.preset.value = "full cone"
    assert "direct" in words(bench)
    bench.transport.value = "udp"
    assert "over udp" in words(bench)


def test_presets_only_move_the_knobs_and_knobs_find_their_preset(bench: NatBench) -> None:
    bench.a.preset.value = "symmetric"
    assert (bench.a.kind.value, bench.a.knobs["mapping"].value) == (RFC_NAT, "address-and-port-dependent")
    assert bench.a.preset.value == "apdm-apdf", "which is the same NAT, by its first name"
    bench.a.knobs["ports"].value = "sequential"
    assert bench.a.preset.value == "apdm-sequential"
    bench.a.knobs["hairpin"].value = "external"
    assert bench.a.preset.value == "(your own)"
    bench.a.kind.value = LINUX
    assert bench.a.preset.value == "linux"
    assert list(bench.a.knobs) == ["masquerade", "wan_input", "block_udp"]


def test_the_call_is_always_the_internet_that_runs(bench: NatBench) -> None:
    bench.a.preset.value, bench.b.preset.value = "eim-adf", "none"
    bench.delay.value, bench.loss.value, bench.seed.value = 50, 10, 7
    assert bench.call in bench.code.value.replace("&quot;", '"')
    scope: dict[str, natsim.Internet] = {}
    exec(bench.call, {"natsim": natsim}, scope)
    assert scope["net"].nat_a.behavior == DEVICES["eim-adf"].layers[0]
    assert scope["net"].nat_a.link.loss == 0.1
    assert scope["net"].seed == 7


# -- Tables -----------------------------------------------------------------------------------------------------------


def test_a_table_is_that_of_its_moment() -> None:
    _, run = experiment(natsim.two_nats("linux", "eim-apdf", seed=2), "udp", 0.0)
    assert run.tables(0.0).rows == {"nat_a": [], "nat_b": []}
    late = run.tables()
    assert len(late.rows["nat_a"]) == 2, "the server's, and the peer's"
    assert len(late.rows["nat_b"]) == 1, "one for all"
    assert "anybody" in str(late)
    assert "<td>anybody</td>" in late.html
    assert isinstance(late, Tables)


def test_the_rows_that_decided_say_how_often() -> None:
    _, run = experiment(natsim.two_nats("apdm-apdf", "apdm-apdf", seed=2), "udp", 0.0)
    text = re.sub(r"<[^>]+>", " ", deciding_rows(run))
    assert re.search(r"\d+ translated", text)
    assert re.search(r"\d+ filtered", text)
