"""The server's sockets: reads a hello, asks the lobby, and copies bytes between the two of a pair.

One port number: TCP here, and UDP for `stun_server.py`.  A peer that says nothing, says nonsense, or leaves, costs its
own connection and nobody else's.  The relay copies a piece only after the other side has taken the one before, so a
slow reader slows its own sender down and fills no memory here.  It connects to nobody: it is no proxy.  Decisions are
in `lobby.py`, words in `wire.py`.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from dataclasses import dataclass

from punchkit import wire
from punchkit.errors import ProtocolError
from punchkit.server.lobby import WAIT_LIMIT, Lobby, Paired, Refused
from punchkit.server.stun_server import StunServer
from punchkit.sockets import notice_death

DEFAULT_PORT = 7711

#: A peer must have said its hello within this time, in seconds.
HELLO_TIMEOUT = 10.0

#: So many connections are served at a time, and so many from one address: a lecture room behind one NAT fits in.
MOST_CLIENTS = 4000
MOST_PER_ADDRESS = 400

#: A connection that only asks for its address may stand so long, in seconds.
OBSERVE_LIMIT = 60.0

#: One of a pair that says nothing for so long is gone, in seconds.
IDLE_LIMIT = 60.0

#: How much the relay copies at a time, in bytes.
PIECE = 1 << 16


@dataclass
class Stats:
    """What the server has done so far."""

    connections: int = 0
    refused: int = 0
    pairs: int = 0
    bytes_relayed: int = 0


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: tuple[str, int]) -> None:
        self.reader = reader
        self.writer = writer
        self.address = address  # from where we see it
        self.other: Client | None = None

    def say(self, **fields: object) -> None:
        """Send a line."""
        self.writer.write(wire.line(**fields))


class Server:
    """A rendezvous and relay server.  `await Server().run()` serves until it is cancelled.

    `bind` are the local addresses to listen on.  After `ready` is set, `stats` counts what passes.
    Raises OSError if an address or the port cannot be had, over TCP or over UDP.
    """

    def __init__(self, bind: tuple[str, ...] = ("0.0.0.0",), port: int = DEFAULT_PORT) -> None:
        self.bind = bind
        self.port = port
        self.stats = Stats()
        self.lobby = Lobby()
        self.ready = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._from: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled; then close every connection."""
        listener = await asyncio.start_server(self._connected, self.bind, self.port, limit=PIECE)
        self.port = listener.sockets[0].getsockname()[1]
        stun: list[StunServer] = []
        try:
            for address in self.bind:
                stun.append(await StunServer.open((address, self.port)))
            self.ready.set()
            await asyncio.get_running_loop().create_future()
        finally:
            listener.close()
            for server in stun:
                server.close()
            for task in sorted(self._serving, key=lambda task: task.get_name()):
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stats.connections += 1
        peer = writer.get_extra_info("peername")
        if peer is None:  # it has gone again
            writer.close()
            return
        client = Client(reader, writer, peer[:2])
        host = client.address[0]
        if len(self._serving) >= MOST_CLIENTS or self._from[host] >= MOST_PER_ADDRESS:
            self._refuse(client, Refused(wire.BUSY, "it has as many connections as it will take"))
            writer.close()
            return
        self._from[host] += 1
        notice_death(writer.get_extra_info("socket"))
        task = asyncio.create_task(self._serve_client(client), name=f"client {self.stats.connections}")
        self._serving.add(task)
        task.add_done_callback(functools.partial(self._left, host))

    def _left(self, host: str, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._from[host] -= 1
        if not self._from[host]:
            del self._from[host]

    async def _serve_client(self, client: Client) -> None:
        try:
            await self._welcome(client)
        except ProtocolError as exc:
            self._refuse(client, Refused(wire.BAD, exc.detail))
        except TimeoutError:
            self._refuse(client, Refused(wire.BAD, f"no hello within {HELLO_TIMEOUT:.0f} s"))
        except asyncio.LimitOverrunError:
            self._refuse(client, Refused(wire.BAD, f"a line of more than {wire.MAX_LINE} bytes"))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # it is gone: nothing to be said to it
        finally:
            client.writer.close()

    async def _welcome(self, client: Client) -> None:
        async with asyncio.timeout(HELLO_TIMEOUT):
            hello = await client.reader.readuntil(b"\n")
        asked = wire.parse_hello(hello)
        if asked.observe:
            await self._observe(client)
            return
        now = asyncio.get_running_loop().time()
        room = asked.room or self.lobby.allocate(now)
        outcome = self.lobby.enter(room, client, now)
        if isinstance(outcome, Refused):
            self._refuse(client, outcome)
            return
        client.say(welcome=wire.VERSION, room=room, you=client.address, wait_s=WAIT_LIMIT)
        if isinstance(outcome, Paired):
            self._pair(outcome)
        waiting_ends = asyncio.get_running_loop().call_later(WAIT_LIMIT, self._nobody_came, client)
        try:
            await self._copy(client)
        finally:
            waiting_ends.cancel()
            self.lobby.leave(room, client, asyncio.get_running_loop().time())

    async def _observe(self, client: Client) -> None:
        """Tell a peer how it looks from outside; its NAT keeps the row while the connection stands."""
        client.say(welcome=wire.VERSION, you=client.address, wait_s=OBSERVE_LIMIT)
        try:
            async with asyncio.timeout(OBSERVE_LIMIT):
                if await client.reader.read(1):
                    raise ProtocolError("data where only an address was asked for")
        except TimeoutError:
            pass  # long enough for any round of punching

    def _refuse(self, client: Client, refused: Refused) -> None:
        self.stats.refused += 1
        client.say(error=refused.code, say=refused.say)

    def _pair(self, paired: Paired) -> None:
        leader, follower = paired.leader, paired.follower
        assert isinstance(leader, Client)
        assert isinstance(follower, Client)
        leader.other, follower.other = follower, leader
        leader.say(paired=wire.LEADER)
        follower.say(paired=wire.FOLLOWER)
        self.stats.pairs += 1

    def _nobody_came(self, client: Client) -> None:
        if client.other is None:
            self._refuse(client, Refused(wire.NOBODY, f"nobody else came within {WAIT_LIMIT:.0f} s"))
            client.writer.close()

    async def _copy(self, client: Client) -> None:
        """Copy what `client` says to the other of its pair, until it stops talking."""
        try:
            while piece := await self._piece(client):
                if client.other is None:
                    raise ProtocolError("data before anybody was there to hear it")
                client.other.writer.write(piece)
                self.stats.bytes_relayed += len(piece)
                await client.other.writer.drain()
        finally:
            if client.other is not None:  # however this one went, the other must hear of it
                client.other.writer.close()

    async def _piece(self, client: Client) -> bytes:
        """What the client says next; one that is alone may be silent, one of a pair says PING every fifteen seconds."""
        while True:
            try:
                async with asyncio.timeout(IDLE_LIMIT):
                    return await client.reader.read(PIECE)
            except TimeoutError:
                if client.other is not None:
                    raise ConnectionResetError("it has fallen silent") from None


async def serve(bind: tuple[str, ...] = ("0.0.0.0",), port: int = DEFAULT_PORT) -> None:
    """Serve until cancelled: rendezvous and relay."""
    await Server(bind, port).run()
