"""The command line itself: help, wrong use, exit status, and where words go.  No network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from punchkit import progress
from punchkit.cli import main

SERVER = ("--server", "127.0.0.1:1")


@pytest.fixture(autouse=True)
def _no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUNCHKIT_SERVER", raising=False)


def run(*args: str) -> int:
    """The exit status."""
    try:
        return main(args)
    except SystemExit as exc:
        return int(exc.code or 0)


@pytest.mark.parametrize("command", [(), ("serve",), ("send",), ("receive",), ("pipe",)])
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    out, err = capsys.readouterr()
    assert err == ""
    options = {"serve": ("--bind", "--port", "--json"), "send": ("--code",), "receive": ("--output",)}
    common = ("--server", "--relay-only", "--direct-only", "--why", "--json", "--transport {auto,tcp}")
    for option in options.get(command[0], ()) if command else ("serve", "send", "receive", "pipe"):
        assert option in out
    for option in common if command and command[0] != "serve" else ():
        assert option in out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ((), "COMMAND"),
        (("dance",), "dance"),
        (("receive", *SERVER), "CODE"),
        (("receive", "falcon", *SERVER), "not a pairing code: it begins with 'falcon'"),
        (("receive", "7", *SERVER), "no words after the number 7"),
        (("receive", "7-a", *SERVER, "--output", "/nowhere/at/all"), "no directory"),
        (("receive", "7-a", "--server", "host:port"), "HOST:PORT"),
        (("receive", "7-a", *SERVER, "--relay-only", "--direct-only"), "not allowed with"),
        (("receive", "7-a", *SERVER, "--transport", "udp"), "udp"),
        (("receive", "7-a"), "--server HOST[:PORT], or set PUNCHKIT_SERVER"),
        (("send", "/nowhere", *SERVER), "there is no file /nowhere"),
        (("send", "/", *SERVER), "pack it first"),
        (("send", __file__, "--code", "x", *SERVER), "not a pairing code"),
        (("pipe", *SERVER), "CODE"),
        (("serve", "--port", "70000"), "no port"),
        (("serve", "--port", "0", "--bind", "127.0.0.1", "127.0.0.2"), "one address only"),
    ],
)
def test_wrong_use(args: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert run(*args, "--json") == 2
    out, err = capsys.readouterr()
    told = json.loads((err if args[:1] == ("pipe",) else out).splitlines()[-1])
    assert told["error"] == "Usage"
    assert complaint in told["message"]


def test_the_server_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUNCHKIT_SERVER", "127.0.0.1:1")
    assert run("receive", "7-a") == 1
    assert "127.0.0.1:1: Connection refused" in capsys.readouterr().err
    monkeypatch.setenv("PUNCHKIT_SERVER", "host:port")
    assert run("receive", "7-a") == 2


@pytest.mark.parametrize("command", [("receive", "7-a"), ("send", __file__), ("pipe", "7-a")])
@pytest.mark.parametrize("server", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_cannot_be_reached(
    command: tuple[str, ...], server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--server", server, "--json") == 1
    out, err = capsys.readouterr()
    told = json.loads((err if command[0] == "pipe" else out).splitlines()[-1])
    assert told["error"] == "ServerUnreachable"
    assert set(told) == {"error", "message", "why"}
    assert server in told["message"]
    assert "Check the network" in err  # in words, for people


def test_a_localhost_that_is_ipv6_first_finds_an_ipv4_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of a name are tried one after the other."""
    import asyncio
    import socket

    from punchkit.rendezvous import Door
    from punchkit.server import Server

    async def story() -> str:
        server = Server(("127.0.0.1",), 0)
        running = asyncio.create_task(server.run())
        await server.ready.wait()
        loop = asyncio.get_running_loop()
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in ("127.0.0.9", "127.0.0.1")]
        found = loop.create_future()
        found.set_result(both)
        ask = loop.getaddrinfo
        monkeypatch.setattr(loop, "getaddrinfo", lambda host, *a, **k: found if host == "both" else ask(host, *a, **k))
        door = await Door.open(("both", server.port))
        door.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return door.server[0]

    assert asyncio.run(story()) == "127.0.0.1"


# -- The terminal ------------------------------------------------------------------------------------------------------


class FakeLink:
    """As much of a link as a progress line looks at."""

    def __init__(self) -> None:
        self.path, self.direct, self.history = "relay", False, []

    def move(self, path: str, when: float) -> None:
        from punchkit.link import Happening

        self.path, self.direct = path, path != "relay"
        self.history.append(Happening(when, "direct" if self.direct else "lost", path))

    def why(self) -> str:
        return "relayed: it went silent"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_moving_line_has_bytes_share_rate_and_path(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    terminal, link = progress.Terminal(), FakeLink()
    terminal.moving = True
    told = progress.Progress(terminal, link, "talk.pdf", 10_000_000)  # type: ignore[arg-type]
    clock[0] += 1
    told(2_000_000)
    told(2_500_000)  # too soon for another picture
    assert capsys.readouterr().err == "\rtalk.pdf  2.0 MB of 10.0 MB  20 %  2.0 MB/s  via relay"
    link.move("tcp 198.51.100.2:41000", 0.44)
    clock[0] += 1
    told(8_000_000)
    clearing, line, picture = re.split(r"\r +\r|\n", capsys.readouterr().err)
    assert (clearing, line) == ("", "went direct: tcp 198.51.100.2:41000 after 0.4 s")
    assert picture == "\rtalk.pdf  8.0 MB of 10.0 MB  80 %  4.0 MB/s  via tcp 198.51.100.2:41000"[:80]


def test_without_a_terminal_only_changes_of_path_are_told(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal, link = progress.Terminal(), FakeLink()
    told = progress.Progress(terminal, link, "talk.pdf", 10_000_000)  # type: ignore[arg-type]
    for done, move in ((1, ""), (2, "tcp 198.51.100.2:41000"), (3, ""), (4, "relay"), (5, "")):
        if move:
            link.move(move, 2.0)
        clock[0] += 1
        told(done)
    assert capsys.readouterr() == (
        "",
        "went direct: tcp 198.51.100.2:41000 after 2.0 s\nback on the relay: relayed: it went silent\n",
    )


@pytest.mark.parametrize(
    ("as_json", "data", "out", "err"),
    [
        (False, False, "asked\n", "by the way\n"),
        (True, False, '{"a": 1}\n', "asked\nby the way\n"),
        (True, True, "", 'asked\nby the way\n{"a": 1}\n'),
        (False, True, "", "asked\nby the way\n"),
    ],
)
def test_where_words_go(as_json: bool, data: bool, out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = progress.Terminal(as_json=as_json, data=data)
    terminal.say("asked")
    terminal.note("by the way")
    terminal.result({"a": 1})
    assert capsys.readouterr() == (out, err)


def test_a_name_that_the_terminal_cannot_show_is_shown_all_the_same(tmp_path: Path) -> None:
    import io

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.reconfigure(errors="backslashreplace")
    progress._write(stream, "Käse")
    stream.seek(0)
    assert stream.read() == "K\\xe4se"
