"""`natsim verify`: JSON by the contract, exit status, which rows are shown, and what the table says."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from natsim.cli import main, retransmissions
from natsim.cli import verify as command
from natsim.nat.port_blocks import BlockLog
from natsim.verify import (
    classification,
    ford,
    halkes,
    large_packets,
    linux,
    odds,
    port_rules,
    rfc4787,
    rfc5382,
    rfc5508,
    rfc6888,
    rfc7857,
    tcp_open,
    violations,
)
from natsim.verify.check import Check
from natsim.verify.table import all_checks

RFCS = (rfc4787, large_packets, rfc5382, rfc5508, rfc6888, rfc7857)
FIGURES = (classification, port_rules, halkes, odds, ford, tcp_open, linux, violations)


def verify(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["verify", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def breaks_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of RFC 7422's four fails."""
    monkeypatch.setattr(BlockLog, "subscriber_of", lambda log, port: None)


# -- The whole table -------------------------------------------------------------------------------------------------


def test_every_module_is_in_the_table() -> None:
    rows = Counter(check.name for check in all_checks())
    requirements = [requirement for module in RFCS for requirement in module.REQUIREMENTS]
    assert rows.total() == len(requirements) + sum(len(module.CHECKS) for module in FIGURES)
    for module in FIGURES:
        assert {check.name for check in module.CHECKS} <= rows.keys()
    assert rows.keys() | {check.name for check in retransmissions.CHECKS} == {
        check.name for check in command.chosen("")
    }


def test_no_two_rows_have_the_same_name() -> None:
    assert [name for name, count in Counter(check.name for check in command.chosen("")).items() if count > 1] == []


def test_every_requirement_is_put_to_a_nat_that_obeys_it() -> None:
    names = {check.name for check in all_checks()}
    for module in RFCS:
        obeys = "carrier" if module is rfc6888 else "rfc"
        assert {f"{requirement.name} {obeys}" for requirement in module.REQUIREMENTS} <= names


# -- JSON ------------------------------------------------------------------------------------------------------------


def test_json_is_one_line_by_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = verify(capsys, "--only", "rfc 7422", "--json")
    assert (status, err) == (0, "")
    (line,) = out.splitlines()
    outcome = json.loads(line)
    assert outcome.keys() == {"checks"}
    assert len(outcome["checks"]) == 4
    for check in outcome["checks"]:
        assert list(check) == ["name", "source", "expected", "measured", "ok"]
        assert check["ok"] is True
        assert check["measured"] == check["expected"]
        assert check["source"] == "RFC 7422 section 2"


def test_a_requirement_names_its_document_and_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = verify(capsys, "--only", "RFC 4787 REQ-5 ", "--json")
    first, *others = json.loads(out)["checks"]
    assert first["name"] == "RFC 4787 REQ-5 rfc"
    assert first["source"] == "RFC 4787, MUST NOT: a mapping expires in less than 2 minutes"
    assert all("known to break MUST NOT: a mapping" in check["source"] for check in others)
    _, out, _ = verify(capsys, "--only", "RFC 4787 REQ-5 rfc")
    heading, row, rule, _, _ = out.splitlines()
    assert heading == "RFC 4787"
    assert row.split() == ["ok", "RFC", "4787", "REQ-5", "rfc", "at", "least", "120", "s"]
    assert rule.strip() == "MUST NOT: a mapping expires in less than 2 minutes"


def test_a_row_that_fails_is_told_in_json_and_by_the_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_the_log(monkeypatch)
    for arguments, rows in (([], 4), (["--failed"], 1)):
        status, out, _ = verify(capsys, "--only", "RFC 7422", "--json", *arguments)
        checks = json.loads(out)["checks"]
        assert status == 1
        assert len(checks) == rows
        (failed,) = [check for check in checks if not check["ok"]]
        assert failed["measured"] == "2001: 198.51.100.1; in the log: None"


# -- The table as text -----------------------------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_source_and_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = verify(capsys, "--only", "RFC 5780")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "RFC 5780 sections 4.2 to 4.4"
    assert " ".join(lines[1].split()) == "ok discovery of EIM-EIF EIM, EIF"
    assert "RFC 5780 section 4.6" in lines
    assert lines[-1] == "all 16 rows are as expected"


def test_rows_of_one_source_stand_together(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [Check(str(number), source, "yes", lambda: "yes") for number, source in enumerate("abab")]
    assert [check.name for check in command.by_source(checks)] == ["0", "2", "1", "3"]


def test_a_row_that_fails_shows_both_texts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    breaks_the_log(monkeypatch)
    status, out, _ = verify(capsys, "--only", "RFC 7422", "--failed")
    assert status == 1
    source, failed, expected, _, summary = out.splitlines()
    assert source == "RFC 7422 section 2"
    assert " ".join(failed.split()) == "FAILED who had that port? 2001: 198.51.100.1; in the log: None"
    assert " ".join(expected.split()) == "expected: 2001: 198.51.100.1; in the log: 198.51.100.2"
    assert failed.index("2001") == expected.index("2001")
    assert summary == "1 of 4 rows are not as expected"


def test_nothing_failed_is_a_short_answer(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = verify(capsys, "--only", "RFC 7422", "--failed")
    assert (status, out) == (0, "all 4 rows are as expected\n")


def test_a_text_that_no_row_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = verify(capsys, "--only", "RFC 2549")
    assert (status, out) == (1, "")
    assert "no row has 'RFC 2549'" in err


# -- Row by row ------------------------------------------------------------------------------------------------------


def test_each_row_is_printed_before_the_next_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def measure() -> str:
        seen.append(capsys.readouterr().out)
        return "yes"

    monkeypatch.setattr(command, "all_checks", lambda: [Check(name, "here", "yes", measure) for name in ("one", "two")])
    assert verify(capsys, "--only", "here")[0] == 0
    assert seen == ["", "here\n  ok      one  yes\n"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    _, out, err = verify(capsys, "--only", "RFC 7422", "--json")
    assert len(out.splitlines()) == 1
    assert ("1 of 4: the example's ranges of ports" in err) is terminal
    assert err == "" or err.endswith(" \r"), "the line is clean again"


def test_a_check_that_breaks_is_a_row_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure() -> str:
        raise LookupError("no such thing")

    checks: list[Check] = [Check("broken", "here", "yes", measure), Check("whole", "here", "yes", lambda: "yes")]
    monkeypatch.setattr(command, "all_checks", lambda: checks)
    status, out, _ = verify(capsys, "--only", "here", "--json")
    assert status == 1
    assert [check["measured"] for check in json.loads(out)["checks"]] == ["LookupError: no such thing", "yes"]
