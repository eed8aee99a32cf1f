"""The server: who meets whom (no sockets), and what it does with those who do not follow the rules (loopback)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from punchkit import wire
from punchkit.server import Server, lobby, server
from punchkit.server.lobby import Lobby, Paired, Refused

# -- Who meets whom ----------------------------------------------------------------------------------------------------


def test_two_meet_the_first_leads_and_a_third_is_turned_away() -> None:
    rooms = Lobby()
    assert rooms.enter("7", "a", 0) is None
    assert (rooms.waiting, rooms.pairs) == (1, 0)
    assert rooms.enter("7", "b", 1) == Paired("a", "b")
    assert (rooms.waiting, rooms.pairs) == (0, 1)
    third = rooms.enter("7", "c", 2)
    assert isinstance(third, Refused)
    assert third.code == wire.CROWDED
    rooms.leave("7", "c", 3)  # it never was inside
    assert rooms.pairs == 1


def test_a_room_is_burned_by_a_meeting_until_the_last_has_left_and_an_hour_has_passed() -> None:
    rooms = Lobby()
    for peer in ("a", "b"):
        rooms.enter("7", peer, 0)
    rooms.leave("7", "a", 1)
    assert rooms.enter("7", "c", 2).code == wire.CROWDED  # type: ignore[union-attr]
    rooms.leave("7", "b", 3)
    assert rooms.enter("7", "c", 4).code == wire.USED  # type: ignore[union-attr]
    assert rooms.enter("7", "c", 3 + lobby.BURN_TIME - 0.1).code == wire.USED  # type: ignore[union-attr]
    assert rooms.enter("7", "c", 3 + lobby.BURN_TIME) is None


def test_a_room_in_which_nobody_met_anybody_is_free_again() -> None:
    rooms = Lobby()
    rooms.enter("7", "a", 0)
    rooms.leave("7", "a", 1)
    assert rooms.enter("7", "b", 2) is None


def test_numbers_are_small_and_nobody_else_has_them() -> None:
    rooms = Lobby()
    assert rooms.allocate(0) == "1"
    rooms.enter("1", "a", 0)
    assert rooms.allocate(0) == "2"
    rooms.enter("1", "b", 0)
    assert rooms.allocate(0) == "2"
    for peer in ("a", "b"):
        rooms.leave("1", peer, 0)
    assert rooms.allocate(1) == "2"
    assert rooms.allocate(lobby.BURN_TIME) == "1"


def test_rooms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "MAX_WAITING", 2)
    monkeypatch.setattr(lobby, "MAX_BURNED", 1)
    rooms = Lobby()
    assert [rooms.enter(room, room, 0) for room in "12"] == [None, None]
    assert rooms.enter("3", "3", 0).code == wire.BUSY  # type: ignore[union-attr]
    for room in "12":
        rooms.enter(room, "x" + room, 0)
        for peer in (room, "x" + room):
            rooms.leave(room, peer, 0)
    assert rooms.enter("1", "y", 0) is None  # forgotten for the sake of room 2
    assert rooms.enter("2", "y", 0).code == wire.USED  # type: ignore[union-attr]


# -- Sockets -----------------------------------------------------------------------------------------------------------


class Peer:
    """A bare connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, data: bytes) -> dict[str, Any]:
        """Say something; returns the next line of the server."""
        self.writer.write(data)
        return wire.parse(await self.reader.readuntil(b"\n"))

    async def hears(self) -> bytes:
        """Everything, to the end of the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def enters(self, room: str) -> dict[str, Any]:
        return await self.says(wire.line(punchkit=wire.VERSION, room=room))


Connect = Callable[[], Awaitable[Peer]]


def served(story: Callable[[Server, Connect], Awaitable[Any]]) -> Any:
    """Run a story against a server on loopback; at its end everything is closed, and nothing is left running."""

    async def run() -> Any:
        house = Server(("127.0.0.1",), 0)
        running = asyncio.create_task(house.run())
        await house.ready.wait()
        peers: list[Peer] = []

        async def connect() -> Peer:
            peers.append(Peer(*await asyncio.open_connection("127.0.0.1", house.port, limit=1 << 20)))
            return peers[-1]

        try:
            async with asyncio.timeout(10):
                return await story(house, connect)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for peer in peers:
                peer.writer.close()
            await asyncio.gather(*(peer.writer.wait_closed() for peer in peers), return_exceptions=True)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(run())


async def pair(connect: Connect, room: str = "7") -> tuple[Peer, Peer]:
    """Two who have met."""
    one, other = await connect(), await connect()
    for peer in (one, other):
        assert (await peer.enters(room))["room"] == room
    roles = [(await peer.says(b""))["paired"] for peer in (one, other)]
    assert roles == [wire.LEADER, wire.FOLLOWER]
    return one, other


def test_a_pair_hears_each_other_and_the_end() -> None:
    async def story(house: Server, connect: Connect) -> None:
        one, other = await pair(connect)
        one.writer.write(b"to other")
        assert await other.reader.readexactly(8) == b"to other"
        other.writer.write(b"to one")
        other.writer.close()
        assert await one.hears() == b"to one"
        assert house.stats == server.Stats(connections=2, refused=0, pairs=1, bytes_relayed=14)

    served(story)


def test_the_other_hears_of_a_connection_that_breaks() -> None:
    """A RST is an exception where a FIN is an end; the peer must be told of both."""

    async def story(house: Server, connect: Connect) -> None:
        one, other = await pair(connect)
        one.writer.write(b"x" * 10_000_000)  # so that the server has something to write where nobody is left
        await other.reader.readexactly(100)
        other.writer.transport.abort()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await one.reader.readexactly(1)

    served(story)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_one_who_waits_for_data_hears_that_the_other_is_gone(how: str) -> None:
    async def story(house: Server, connect: Connect) -> None:
        one, other = await pair(connect)
        one.writer.write(b"unread")  # what is unread when a socket closes makes it a RST
        await one.writer.drain()
        while house.stats.bytes_relayed < 6:
            await asyncio.sleep(0)
        getattr(other.writer.transport, how)()
        assert await one.hears() == b""

    served(story)


def test_the_welcome_says_as_whom_the_server_sees_us_and_gives_a_number() -> None:
    async def story(house: Server, connect: Connect) -> None:
        peer = await connect()
        welcome = await peer.says(wire.line(punchkit=wire.VERSION, allocate=True))
        assert welcome["room"] == "1"
        assert tuple(welcome["you"]) == peer.writer.get_extra_info("sockname")

    served(story)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\1\2\n",
        b"{}\n",
        b"[" * 1000 + b"\n",
        b'{"punchkit":2,"room":"7"}\n',
        b'{"punchkit":1,"room":""}\n',
        b'{"punchkit":1,"room":"../x"}\n',
        b'{"punchkit":1,"room":"' + b"7" * 65 + b'"}\n',
        b'{"punchkit":1,"room":7}\n',
        b'{"punchkit":1,"room":"7"}' + b" " * 1000 + b"\n",
        b"x" * 200_000,
        wire.line(punchkit=1, room="7") + b"data before anybody is there",
    ],
)
def test_garbage_is_refused_in_words_and_nobody_else_notices(garbage: bytes) -> None:
    async def story(house: Server, connect: Connect) -> None:
        one, other = await pair(connect, "8")
        stranger = await connect()
        stranger.writer.write(garbage)
        answer = await stranger.hears()
        assert b'"error":"bad"' in answer or len(garbage) > 100_000  # a RST may overtake the words
        assert len(answer) < 300
        assert house.stats.refused == 1
        one.writer.write(b"still here")
        assert await other.reader.readexactly(10) == b"still here"

    served(story)


def test_those_who_say_nothing_or_never_end_are_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HELLO_TIMEOUT", 0.1)

    async def story(house: Server, connect: Connect) -> list[bytes]:
        silent, slow = await connect(), await connect()
        slow.writer.write(b'{"punchkit"')
        return [await silent.hears(), await slow.hears()]

    assert all(b"no hello within" in answer for answer in served(story))


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WAIT_LIMIT", 0.1)

    async def story(house: Server, connect: Connect) -> None:
        alone = await connect()
        await alone.enters("7")
        one, other = await pair(connect, "8")
        assert b'"error":"nobody"' in await alone.hears()
        one.writer.write(b"a pair is not alone")
        assert await other.reader.readexactly(19) == b"a pair is not alone"
        assert (await (await connect()).enters("7"))["room"] == "7"  # its room is free again

    served(story)


def test_a_reader_that_does_not_read_holds_its_sender_back() -> None:
    async def story(house: Server, connect: Connect) -> None:
        one, _ = await pair(connect)
        one.writer.transport.set_write_buffer_limits(high=1)
        # Enough for every buffer of the system on the way; the server must not take all of it.
        one.writer.write(b"x" * 64_000_000)
        before = -1
        while before != house.stats.bytes_relayed:
            before = house.stats.bytes_relayed
            await asyncio.sleep(0.1)
        assert 0 < house.stats.bytes_relayed < 32_000_000
        one.writer.transport.abort()

    served(story)
