"""What goes wrong between two peers and their server: each time in a bounded time, with words, and for nobody else."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_processes import PATIENCE, Command, House, house, made_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX ones here")


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    with house() as built:
        yield built


def talk(pair: tuple[Command, Command]) -> None:
    """A pair that was undisturbed still hears each other, to the end."""
    one, other = pair
    one.say(b"still here?")
    other.say(b"yes, here.")
    one.end_input()
    other.end_input()
    assert (one.ends(), other.ends()) == (0, 0)
    assert (one.stdout, other.stdout) == ("yes, here.", "still here?")


# -- Codes -------------------------------------------------------------------------------------------------------------


def test_a_wrong_code_fails_on_both_sides_and_is_spent(shared: House, tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.bin", 10)
    sender = shared.peer("send", file, "--json")
    number = sender.line("code: ").split()[-1].partition("-")[0]
    receiver = shared.peer("receive", f"{number}-wrong-guess", "--output", tmp_path, "--json")
    for command in (sender, receiver):
        result = command.result(status=1, within=10)
        assert result["error"] == "WrongCode"
        assert "the pairing code was wrong" in command.stderr
        assert "Ask for a new code" in command.stderr
    again = shared.peer("receive", f"{number}-wrong-guess", "--output", tmp_path, "--json").result(1, within=10)
    assert again["error"] == "CodeUsed"
    assert "used already" in again["message"]
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_code_that_has_served_is_spent(shared: House, tmp_path: Path) -> None:
    talk(shared.pair("21-served-well"))
    late = shared.peer("receive", "21-served-well", "--output", tmp_path)
    assert late.ends(10) == 1
    assert "this pairing code has been used already" in late.stderr
    assert late.stdout == ""


def test_a_third_peer_is_turned_away_and_the_pair_undisturbed(shared: House, tmp_path: Path) -> None:
    pair = shared.pair("22-two-only")
    third = shared.peer("receive", "22-two-only", "--output", tmp_path, "--json").result(status=1, within=10)
    assert third["error"] == "RoomCrowded"
    assert "two others" in third["message"]
    talk(pair)


# -- The server --------------------------------------------------------------------------------------------------------


def test_garbage_costs_only_whoever_sends_it(shared: House) -> None:
    pair = shared.pair("23-un-disturbed")
    with shared.connect() as silent:
        answers = [said(shared, garbage) for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\xff\n", b"[]\n")]
        random = said(shared, os.urandom(300_000))
        endless = said(shared, b"x" * 10_000_000)
        talk(pair)
        talk(shared.pair("24-still-serving"))
        silent.settimeout(0.01)
        with pytest.raises(TimeoutError):
            silent.recv(1)  # the silent one has its ten seconds yet: test_server.py sees it go
    assert all(b'"error":"bad"' in answer for answer in answers)
    assert all(len(answer) < 300 for answer in (*answers, random, endless))


def said(h: House, garbage: bytes) -> bytes:
    """What the server answers before it hangs up."""
    with h.connect() as connection:
        answer = b""
        try:
            connection.sendall(garbage)
            while piece := connection.recv(4096):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # it does not read all of it, which is the point
        return answer


def test_the_server_dies_while_somebody_waits(tmp_path: Path) -> None:
    with house() as h:
        file = made_file(tmp_path / "a", 1)
        waiting = h.peer("send", file, "--json"), h.peer("send", file, "--code", "99-a-b", "--json")
        for command in waiting:
            command.line("code: ")  # said once it is in its room
        h.server.stop(signal.SIGKILL)
        for command in waiting:
            assert command.result(status=1, within=5)["error"] == "ServerGone"
            assert "the connection to the server was lost" in command.stderr
            assert "Start again" in command.stderr


def test_the_server_stops_politely(tmp_path: Path) -> None:
    with house() as h:
        pair = h.pair("1-a-b", "--relay-only")
        h.server.stop(signal.SIGINT)
        stats = h.server.result(within=5)
        assert stats["pairs"] == 1
        assert stats["connections"] == 2
        assert stats["bytes_relayed"] > 0
        for command in pair:
            assert command.ends(5) == 1
            assert "the other side is gone" in command.stderr


def test_a_port_in_use_is_an_error_in_words(shared: House) -> None:
    port = shared.address.rpartition(":")[2]
    second = shared.start("serve", "--bind", "127.0.0.1", "--port", port, "--json")
    assert second.result(status=1, within=10)["error"] == "CannotListen"
    assert f"port {port} is in use already" in second.stderr
    assert "--port" in second.stderr


def test_an_address_of_somebody_else_is_an_error_in_words(shared: House) -> None:
    wrong = shared.start("serve", "--bind", "192.0.2.1", "--port", 7711)
    assert wrong.ends(10) == 1
    assert "this machine does not have the address (192.0.2.1:7711)" in wrong.stderr


def test_two_addresses_and_what_to_tell_peers() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Command("serve", "--bind", "127.0.0.1", "127.0.0.2", "--port", port)
    try:
        server.line(f"punchkit send FILE --server 127.0.0.1:{port}")
        for address in ("127.0.0.1", "127.0.0.2"):
            server.line(f"listening on {address}:{port}")
            socket.create_connection((address, port), timeout=PATIENCE).close()
        server.stop()
        assert server.ends(5) == 0
        assert "2 connections" in server.stdout
    finally:
        server.close()


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_while_waiting_is_quiet(shared: House, tmp_path: Path, number: int, status: int) -> None:
    receiver = shared.peer("receive", f"{status}-nobody-comes", "--output", tmp_path, "--json")
    receiver.line("waiting")
    receiver.stop(number)
    assert receiver.ends(5) == status
    assert receiver.stdout == ""
    assert receiver.stderr == "waiting for the other side ...\n"


def test_a_server_that_is_no_punchkit_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:
        peer = Command("receive", "7-a", "--server", f"127.0.0.1:{web.getsockname()[1]}")
        try:
            connection, _ = web.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                assert peer.ends(5) == 1
            assert "do not follow the protocol" in peer.stderr
        finally:
            peer.close()
