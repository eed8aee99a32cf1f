"""`punchkit serve`, `send` and `receive` as processes, on loopback."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_processes import House, house, made_file, sparse_file, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals are POSIX ones here")

KEYS = {"bytes", "seconds", "sha256", "path", "direct", "direct_after_s", "bytes_relayed", "bytes_direct", "why"}


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    with house() as built:
        yield built


def part_file(directory: Path, least: int) -> Path | None:
    """The unfinished file, once it has so many bytes."""
    return next((path for path in directory.glob("*.part") if path.stat().st_size >= least), None)


def test_three_processes_move_100_mb_and_report_the_path(tmp_path: Path) -> None:
    file = made_file(tmp_path / "big.bin", 100_000_000)
    (tmp_path / "there").mkdir()
    with house() as h:
        sender = h.peer("send", file, "--json")
        code = sender.line("code: ").split()[-1]
        told = sender.line("punchkit receive").partition("punchkit ")[2].split()
        assert told == ["receive", code, "--server", h.address]
        receiver = h.start(*told, "--output", tmp_path / "there", "--json")
        results = [sender.result(within=60), receiver.result(within=60)]
        h.server.stop()
        served = h.server.ends(), h.server.stdout
    whole = hashlib.sha256(file.read_bytes()).hexdigest()
    for command, result in zip((sender, receiver), results, strict=True):
        assert set(result) >= KEYS
        assert (result["bytes"], result["sha256"]) == (100_000_000, whole)
        assert result["direct"] is True
        assert re.fullmatch(r"tcp 127\.0\.0\.1:\d+", result["path"])
        assert 0 < result["direct_after_s"] < result["seconds"]
        assert result["bytes_direct"] > 0
        # The file, the words around it, and no more than a window's worth twice.
        assert 100_000_000 < result["bytes_relayed"] + result["bytes_direct"] < 105_000_000
        assert command.line("went direct").startswith(f"went direct: {result['path']} after ")
    assert hashlib.sha256((tmp_path / "there" / "big.bin").read_bytes()).hexdigest() == whole
    assert os.listdir(tmp_path / "there") == ["big.bin"]
    status, text = served
    assert status == 0
    assert f'"bytes_relayed": {results[0]["bytes_relayed"]}'[:-6] in text  # plus what sealing adds


def test_relay_only_stays_on_the_relay(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.bin", 3_000_000)
    (tmp_path / "there").mkdir()
    receiver = shared.peer("receive", "11-relay-only", "--output", tmp_path / "there", "--json")
    sender = shared.peer("send", file, "--code", "11-relay-only", "--relay-only", "--json", "--why")
    for result in (sender.result(), receiver.result()):
        assert (result["path"], result["direct"], result["direct_after_s"]) == ("relay", False, None)
        assert result["bytes_direct"] == 0
        assert result["bytes_relayed"] > 3_000_000
        assert "side wants only the relay" in result["why"]
    assert "relay-only: this side" in sender.stderr
    assert (tmp_path / "there" / "a.bin").read_bytes() == file.read_bytes()


def test_direct_only_puts_no_data_on_the_relay(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.bin", 3_000_000)
    (tmp_path / "there").mkdir()
    receiver = shared.peer("receive", "12-direct-only", "--output", tmp_path / "there", "--json")
    sender = shared.peer("send", file, "--code", "12-direct-only", "--direct-only", "--json")
    result = sender.result()
    assert receiver.result()["direct"] is True
    # What the sender had received by the end may have come either way; nothing of the file did.
    assert result["bytes_relayed"] < 1000
    assert result["bytes_direct"] >= 3_000_000


def test_direct_only_against_relay_only_fails_and_says_why(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.bin", 10)
    receiver = shared.peer("receive", "13-no-way", "--output", tmp_path, "--relay-only", "--json")
    sender = shared.peer("send", file, "--code", "13-no-way", "--direct-only", "--json")
    result = sender.result(status=1)
    assert result["error"] == "NoDirectPath"
    assert "the other side wants only the relay" in result["message"]
    assert "--direct-only" in result["message"]
    assert receiver.result(status=1)["error"] == "PeerGone"


def test_without_json_people_read_code_path_and_hash(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "talk.pdf", 1000)
    (tmp_path / "there").mkdir()
    sender = shared.peer("send", file)
    code = sender.line("code: ").split()[-1]
    receiver = shared.peer("receive", code.upper().replace("-", " "), "--output", tmp_path / "there")
    assert (sender.ends(), receiver.ends()) == (0, 0)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for command, verb in ((sender, "sent"), (receiver, "received")):
        assert re.search(rf"^{verb} .*talk\.pdf \(1\.0 kB\) in [\d.]+ s, (relayed|direct): ", command.stdout, re.M)
        assert digest in command.stdout


def test_an_existing_file_is_not_overwritten(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "notes.txt", 1000)
    there = tmp_path / "there"
    there.mkdir()
    (there / "notes.txt").write_text("mine")
    receiver = shared.peer("receive", "14-keep-mine", "--output", there, "--json")
    shared.peer("send", file, "--code", "14-keep-mine").ends()
    assert receiver.result()["file"] == str(there / "notes (1).txt")
    assert (there / "notes.txt").read_text() == "mine"
    assert (there / "notes (1).txt").read_bytes() == file.read_bytes()
    assert sorted(os.listdir(there)) == ["notes (1).txt", "notes.txt"]


def test_an_empty_file(shared: House, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "there").mkdir()
    receiver = shared.peer("receive", "15-no-thing", "--output", tmp_path / "there", "--json")
    sender = shared.peer("send", tmp_path / "empty", "--code", "15-no-thing", "--json")
    assert sender.result()["bytes"] == receiver.result()["bytes"] == 0
    assert (tmp_path / "there" / "empty").read_bytes() == b""


# -- When something ends in the middle -------------------------------------------------------------------------------


def test_the_server_dies_in_the_middle_of_a_relayed_transfer(tmp_path: Path) -> None:
    file = sparse_file(tmp_path / "huge", 10**10)
    there = tmp_path / "there"
    there.mkdir()
    with house() as h:
        receiver = h.peer("receive", "1-a-b", "--output", there, "--relay-only", "--json")
        sender = h.peer("send", file, "--code", "1-a-b", "--relay-only", "--json")
        until(lambda: part_file(there, 2_000_000), "data flows")
        h.server.stop(signal.SIGKILL)
        for command in (sender, receiver):
            result = command.result(status=1, within=5)
            assert result["error"] == "PeerGone"
            assert "or the server has" in result["message"]
    assert os.listdir(there) == []


def test_a_direct_transfer_survives_its_server(tmp_path: Path) -> None:
    file = made_file(tmp_path / "big.bin", 60_000_000)
    there = tmp_path / "there"
    there.mkdir()
    with house() as h:
        receiver = h.peer("receive", "1-a-b", "--output", there, "--json")
        sender = h.peer("send", file, "--code", "1-a-b", "--json")
        for command in (sender, receiver):
            command.line("went direct")
        h.server.stop(signal.SIGKILL)
        assert sender.result()["direct"] is True
        assert receiver.result()["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("number", "who", "status"), [(signal.SIGINT, "receiver", 130), (signal.SIGTERM, "sender", 143)]
)
def test_one_side_is_interrupted(shared: House, tmp_path: Path, number: int, who: str, status: int) -> None:
    file = sparse_file(tmp_path / "huge", 10**10)
    there = tmp_path / "there"
    there.mkdir()
    code = f"{status}-in-terrupt"
    receiver = shared.peer("receive", code, "--output", there, "--json")
    sender = shared.peer("send", file, "--code", code, "--json")
    until(lambda: part_file(there, 2_000_000), "data flows")
    one, other = (receiver, sender) if who == "receiver" else (sender, receiver)
    one.stop(number)
    assert one.ends(within=5) == status
    assert one.stdout == ""
    assert other.result(status=1, within=5)["error"] == "PeerGone"
    assert os.listdir(there) == []


def test_a_killed_receiver_leaves_the_sender_with_an_error(shared: House, tmp_path: Path) -> None:
    file = sparse_file(tmp_path / "huge", 10**10)
    there = tmp_path / "there"
    there.mkdir()
    receiver = shared.peer("receive", "16-kill-me", "--output", there)
    sender = shared.peer("send", file, "--code", "16-kill-me", "--json")
    until(lambda: part_file(there, 2_000_000), "data flows")
    receiver.stop(signal.SIGKILL)
    assert sender.result(status=1, within=5)["error"] == "PeerGone"


def test_a_file_that_grows_is_an_error_on_both_sides(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "growing.log", 40_000_000)
    there = tmp_path / "there"
    there.mkdir()
    receiver = shared.peer("receive", "17-grow", "--output", there, "--json")
    sender = shared.peer("send", file, "--code", "17-grow", "--json")
    until(lambda: part_file(there, 1), "data flows")
    with file.open("ab") as more:
        more.write(b"one line more")
    results = sender.result(status=1), receiver.result(status=1)
    assert [result["error"] for result in results] == ["TransferError", "TransferError"]
    assert "changed while it was sent" in results[0]["message"]
    assert "the file grew" in results[1]["message"]
    assert os.listdir(there) == []


# -- Where the output goes ---------------------------------------------------------------------------------------------


def test_a_terminal_sees_progress_and_the_change_of_path(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "big.bin", 40_000_000)
    (tmp_path / "there").mkdir()
    ours, theirs = pty.openpty()
    seen = bytearray()
    try:
        receiver = shared.peer("receive", "18-tty", "--output", tmp_path / "there", stderr=theirs)
        shared.peer("send", file, "--code", "18-tty")
        os.set_blocking(ours, False)

        def ended() -> bool:
            try:
                seen.extend(os.read(ours, 65536))
            except BlockingIOError:
                pass
            return receiver.process.poll() is not None

        until(ended, "the end of the transfer")
    finally:
        os.close(ours)
        os.close(theirs)
    text = seen.decode()
    assert re.search(
        r"\rbig\.bin  [\d.]+ MB of 40\.0 MB  \d+ %  [\d.]+ MB/s  via (relay|tcp 127\.0\.0\.1:\d+) *\r", text
    )
    assert re.search(r"\rwent direct: tcp 127\.0\.0\.1:\d+ after [\d.]+ s\r\n", text)
    assert "received" in receiver.stdout


def test_nobody_reads_the_result(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.bin", 1000)
    (tmp_path / "there").mkdir()
    unread, write = os.pipe()
    os.close(unread)
    try:
        receiver: Any = shared.peer("receive", "19-no-ears", "--output", tmp_path / "there", "--json", stdout=write)
    finally:
        os.close(write)
    sender = shared.peer("send", file, "--code", "19-no-ears", "--json")
    assert sender.result()["bytes"] == 1000
    assert receiver.ends() == 0
    assert (tmp_path / "there" / "a.bin").exists()
