"""The campaign: a few hundred scripts here, thousands by `natsim campaign`; and whether it would notice anything."""

from __future__ import annotations

import json
import random
import time

import pytest
from kernel_nat import as_seen

from natsim.cli import main
from natsim.kernel.campaign import Campaign, Report
from natsim.kernel.scripts import Player, Script, Step, behaviors, random_script
from natsim.kernel.side_by_side import SideBySide
from natsim.nat import conntrack, linux
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import Endpoint, Packet

pytestmark = [pytest.mark.kernel, as_seen]


def finished(campaign: Campaign) -> Report:
    for _ in campaign.run():
        pass
    return campaign.report


def test_kernel_and_model_agree_about_hundreds_of_scripts() -> None:
    report = finished(Campaign(300, seed=2024))
    assert [str(found) for found in report.differences] == []
    assert report.scripts == 300
    assert report.packets > 3_000


def test_a_seed_asks_the_same_and_scripts_have_everything_in_them() -> None:
    scripts = [random_script(random.Random(f"0:{number}")) for number in range(300)]
    assert scripts == [random_script(random.Random(f"0:{number}")) for number in range(300)]
    steps = [step for script in scripts for step in script]
    assert {step.what for step in steps} == {"wait", "udp", "tcp", "ask", "answer", "error"}
    assert {step.outward for step in steps} == {True, False}
    assert any(step.astray for step in steps)
    assert any(step.spoilt for step in steps)
    assert len(behaviors()) == 18


def test_a_script_prints_as_what_it_is() -> None:
    script = random_script(random.Random(7))
    assert eval(repr(script), {"Step": Step}) == script


def _always_keeps(nat: LinuxNat, packet: Packet, now: int) -> Endpoint:
    return Endpoint(nat.external, packet.src.port)


def _never_keeps(nat: LinuxNat, packet: Packet, now: int) -> Endpoint | None:
    return nat._random_source(packet, Endpoint(nat.external, packet.src.port), packet.dst, now)


def _deaf(nat: LinuxNat, error: Packet, now: int) -> Verdict:
    return Verdict(Rule.INVALID, "errors are nothing to it")


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (LinuxNat, "_choose_source", _always_keeps),
        (LinuxNat, "_choose_source", _never_keeps),
        (LinuxNat, "_error", _deaf),
        (linux, "may_begin", lambda packet: True),
        (conntrack.Flow, "direction_of", lambda flow, packet: "original"),
    ],
)
def test_a_broken_model_is_found_out(owner: object, name: str, broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, broken)
    monkeypatch.setattr("natsim.kernel.campaign.ENOUGH", 1)
    monkeypatch.setattr("natsim.kernel.campaign.PATIENCE", 3.0)
    report = finished(Campaign(90, seed=5))
    assert report.differences
    assert "model" in str(report.differences[0])


def test_a_difference_is_told_by_the_shortest_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error about a flow needs that flow, and the error, and nothing else that has happened."""
    script: Script = [
        Step("ask", word="echo", inside=1),
        Step("udp"),
        Step("tcp", word=">S", inside=1),
        Step("error", word="port", number=1),
    ]
    monkeypatch.setattr(LinuxNat, "_error", _deaf)
    monkeypatch.setattr("natsim.kernel.campaign.random_script", lambda chance: script)
    report = finished(Campaign(1))
    (found,) = report.differences
    assert (
        found.script in ([Step("udp"), Step("error", number=1)], [Step("udp"), Step("error")]) or len(found.script) == 3
    )
    assert "Step('error'" in str(found)


def test_nothing_is_sent_while_a_flow_is_about_to_expire() -> None:
    both = SideBySide(behaviors()[0])
    try:
        pauses = []
        for pause in Player(both).play([Step("udp"), Step("wait", number=1.0), Step("udp")]):
            pauses.append(pause)
            time.sleep(pause)
        assert pauses[0] == 1.0
        assert len(pauses) > 1, "the flow lives for one second, so it would be then or never"
    finally:
        both.close()


def test_the_command_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["campaign", "--scripts", "20", "--seed", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["scripts"], report["differences"], report["seed"]) == (20, [], 3)
    assert main(["campaign", "--scripts", "5"]) == 0
    assert "no difference" in capsys.readouterr().out


def test_verify_has_a_column_of_the_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--world", "kernel", "--only", "nf_nat_core.c", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["checks"]
    assert all(row["real"] in (row["expected"], None) for row in rows)
    assert sum(row["real"] is not None for row in rows) > 5
    assert main(["verify", "--world", "kernel", "--only", "linux: echo"]) == 0
    said = capsys.readouterr().out
    assert "the kernel:" in said
    assert "1 of them were asked of the real kernel" in said
