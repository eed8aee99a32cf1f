"""`natsim matrix`: every named NAT against every other, and what was predicted."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from natsim.cli import main, matrix
from natsim.matrix import Cell, pairs
from natsim.nat.devices import DEVICES
from natsim.nat.predict import predict
from natsim.sweep import FEW, sweep
from natsim.view.matrix_svg import matrix_svg

SVG = "{http://www.w3.org/2000/svg}"


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    status = main(["matrix", "--json", *arguments])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    return status, json.loads(out)["cells"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_named_nat_against_every_other_does_what_was_predicted(
    capsys: pytest.CaptureFixture[str], transport: str
) -> None:
    status, cells = as_json(capsys, "--transport", transport, "--seeds", "1" if transport == "tcp" else "3")
    lucky = [cell for cell in cells if 0 < cell["predicted"] < 1]
    assert [cell for cell in cells if cell["direct_share"] != cell["predicted"] and cell not in lucky] == []
    assert [(cell["nat_a"], cell["nat_b"]) for cell in cells] == pairs(list(DEVICES))
    assert status == 0
    assert all("carrier-symmetric" in (cell["nat_a"], cell["nat_b"]) for cell in lucky), "it has several addresses"
    shares = {(cell["nat_a"], cell["nat_b"]): cell["direct_share"] for cell in cells}
    assert shares["linux", "linux"] == 1
    assert shares["eim-apdf", "apdm-apdf"] == 0
    assert shares["eim-adf", "apdm-apdf"] == 1


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_where_luck_decides_the_share_is_what_was_predicted(transport: str) -> None:
    jobs = [matrix.Job("eim-adf", "carrier-symmetric", transport, "sim", seed) for seed in range(100)]
    share = sum(sweep(matrix.goes_direct, jobs)) / len(jobs)
    foretold = predict("eim-adf", "carrier-symmetric", transport).probability
    assert foretold == 1 / 4
    assert Cell("eim-adf", "carrier-symmetric", transport, share, foretold, len(jobs)).agrees


def test_the_cells_say_what_the_contract_wants(capsys: pytest.CaptureFixture[str]) -> None:
    status, cells = as_json(capsys, "linux", "linux-random", "--seeds", "2")
    assert status == 0
    assert [set(cell) for cell in cells] == [{"nat_a", "nat_b", "transport", "direct_share", "predicted", "runs"}] * 6
    assert {cell["transport"] for cell in cells} == {"tcp", "udp"}
    assert {cell["runs"] for cell in cells} == {2}


def test_the_table_is_for_people_and_the_picture_for_the_book(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "matrix.svg"
    assert main(["matrix", "linux", "apdm-apdf", "--transport", "udp", "--svg", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "  1 linux      ●  ·" in out
    assert "  2 apdm-apdf  ·  ·" in out
    assert "3 pairs: 1 direct, 2 relayed; all as predicted." in out
    root = ET.fromstring(picture.read_text())
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert "linux and linux over udp: direct in 1 run; predicted 100% direct" in titles
    assert root.find(f"{SVG}desc").text == "3 pairs: 1 always go direct; all are as predicted."  # type: ignore[union-attr]


def test_a_wrong_prediction_is_shown_and_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = matrix.predict

    class Wrong:
        probability = 1.0

    monkeypatch.setattr(matrix, "predict", lambda a, b, t: Wrong if "apdm-apdf" in (a, b) else honest(a, b, t))
    assert main(["matrix", "linux", "apdm-apdf", "--transport", "udp"]) == 1
    out = capsys.readouterr().out
    assert "!·" in out
    assert "! linux and apdm-apdf over udp: predicted 100%, seen 0% direct in 1 runs" in out
    assert "2 not as predicted" in out


def test_pictures_are_the_same_bytes_and_mark_surprises() -> None:
    cells = [
        Cell("a", "a", "udp", 1.0, 1.0, 4),
        Cell("a", "b<", "udp", 0.5, 0.5, 4),
        Cell("b<", "b<", "udp", 0.0, 1.0, 4),
    ]
    picture = matrix_svg(cells)
    assert picture == matrix_svg(cells)
    root = ET.fromstring(picture)
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert "a and b< over udp: 50% direct in 4 runs; predicted 50% direct" in titles
    rings = [rect for rect in root.iter(f"{SVG}rect") if rect.get("stroke-width") == "3"]
    assert len(rings) == 2, "one cell, and the legend"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["linuxx"], "did you mean linux"),
        (["--seeds", "0"], "must be from 1 to 10000"),
        (["--transport", "sctp"], "invalid choice"),
        (["--svg", "nowhere/m.svg"], "there is no directory nowhere"),
    ],
)
def test_wrong_use_is_said_in_words(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    try:
        status = main(["matrix", *arguments])
    except SystemExit as exc:
        status = int(exc.code or 0)
    assert status in (1, 2)
    assert said in capsys.readouterr().err


def test_a_sweep_gives_the_same_results_in_processes_and_without() -> None:
    jobs = [matrix.Job("linux", "eim-adf", "udp", "sim", seed) for seed in range(FEW)]
    assert list(sweep(matrix.goes_direct, jobs, 1)) == list(sweep(matrix.goes_direct, jobs, 2)) == [True] * FEW


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
def test_the_kernel_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    status, cells = as_json(capsys, "linux", "linux-random", "apdm-sequential", "--world", "kernel")
    assert status == 0
    assert len(cells) == 12
    assert [cell for cell in cells if not cell["direct_share"] == cell["simulated"] == cell["predicted"]] == []
