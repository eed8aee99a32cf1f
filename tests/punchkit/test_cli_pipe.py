"""`punchkit pipe`: standard input and output of two processes, joined."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_processes import Command, House, house, made_file, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals are POSIX ones here")


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    with house() as built:
        yield built


def summary(command: Command) -> dict[str, object]:
    """The JSON of a pipe: the last line of standard error, since standard output is data."""
    assert command.ends() == 0, repr(command)
    fields: dict[str, object] = json.loads(command.stderr.splitlines()[-1])
    return fields


def test_each_direction_ends_by_itself(shared: House) -> None:
    one, other = shared.pair("31-half-close")
    one.say(b"a question")
    until(lambda: other.stdout == "a question", "the question arrives")
    one.end_input()
    # One has nothing more to say; the other still answers, in several pieces.
    for piece in (b"first ", b"second ", b"third"):
        other.say(piece)
        until(lambda piece=piece: one.out.endswith(piece), "each piece arrives by itself")
    assert one.process.poll() is None
    other.end_input()
    assert (summary(one)["bytes_sent"], summary(one)["bytes_received"]) == (10, 18)
    assert (summary(other)["bytes_sent"], summary(other)["bytes_received"]) == (18, 10)
    assert one.stdout == "first second third"


def test_the_end_of_the_input_reaches_the_reader_behind_the_other_pipe(shared: House) -> None:
    """`punchkit pipe CODE | wc` must end when the peer has ended, though our own input is still open."""
    one = shared.peer("pipe", "32-eof")
    two = shared.peer("pipe", "32-eof")
    two.line("connected")
    one.say(b"all of it")
    one.end_input()
    reader = two._readers[0]  # it ends with the stream that it reads
    reader.join(10)
    assert not reader.is_alive()
    assert two.process.poll() is None
    two.say(b"and back")
    two.end_input()
    assert (one.ends(), two.ends()) == (0, 0)
    assert (one.stdout, two.stdout) == ("and back", "all of it")


def test_megabytes_both_ways_at_once_from_files(shared: House, tmp_path: Path) -> None:
    files = [made_file(tmp_path / name, size) for name, size in (("a", 5_000_000), ("b", 8_000_000))]
    pipes = []
    for file in files:
        with file.open("rb") as source:
            pipes.append(shared.peer("pipe", "33-both-ways", "--json", stdin=source))
    results = [summary(command) for command in pipes]
    for command, file in zip(pipes, reversed(files), strict=True):
        assert hashlib.sha256(command.out).digest() == hashlib.sha256(file.read_bytes()).digest()
    for result in results:
        moved = result["bytes_relayed"] + result["bytes_direct"]  # type: ignore[operator]
        assert moved >= 13_000_000
        assert result["direct"] == str(result["path"]).startswith("tcp ")


def test_a_reader_that_takes_its_time_stops_the_writer_and_loses_nothing(shared: House) -> None:
    """Back pressure: the peer's input is read no faster than our output is taken, and no path is thought dead."""
    read_end, write_end = os.pipe()
    slow = shared.peer("pipe", "34-slow", "--direct-only", stdout=write_end, stdin=subprocess.DEVNULL)
    os.close(write_end)
    fast = shared.peer("pipe", "34-slow", "--direct-only", "--why")
    data = os.urandom(16_000_000)
    taken = [0]

    def write() -> None:
        for start in range(0, len(data), 100_000):
            fast.say(data[start : start + 100_000])
            taken[0] = start
        fast.end_input()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    fast.line("connected")
    # Until the windows and pipes are full; then for longer than any path may be silent.
    stuck, since = -1, 0

    def is_stuck() -> bool:
        nonlocal stuck, since
        since, stuck = (since + 1 if stuck == taken[0] else 0), taken[0]
        return since > 300

    until(is_stuck, "the writer is held back")
    assert taken[0] < 12_000_000
    received = bytearray()
    with os.fdopen(read_end, "rb") as source:
        while piece := source.read(65536):
            received += piece
    writer.join(10)
    assert received == data
    assert (slow.ends(), fast.ends()) == (0, 0)
    assert "suspect" not in fast.stderr


def test_a_closed_standard_output_ends_it_without_a_traceback(shared: House) -> None:
    read_end, write_end = os.pipe()
    one = shared.peer("pipe", "35-broken", stdout=write_end)
    os.close(write_end)
    other = shared.peer("pipe", "35-broken")
    other.line("connected")
    other.say(b"first line\n")
    assert os.read(read_end, 100) == b"first line\n"
    os.close(read_end)
    other.say(b"second line\n")
    assert one.ends(10) == 1
    assert "standard output was closed" in one.stderr
    assert other.ends(10) == 1
    assert "the other side is gone" in other.stderr


def test_ctrl_c_while_the_input_waits_for_more(shared: House) -> None:
    one, other = shared.pair("36-interrupted")
    one.stop(signal.SIGINT)
    assert one.ends(5) == 130
    assert other.ends(5) == 1
    assert json.loads(other.stderr.splitlines()[-1])["error"] == "PeerGone"
    assert (one.stdout, other.stdout) == ("", "")
