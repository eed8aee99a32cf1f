"""Meeting the peer: from a pairing code to a relayed, sealed connection.

1. Connect to the server from a port that later sockets can share (`sockets.py`); it says from which outside address
   it sees us.
2. Wait in the room for the peer.
3. Run the PAKE through the relay and confirm the key (`crypto.py`).  From here on the server sees only ciphertext.

That is all: `link.py` sends data at once over what this returns.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from punchkit import wire
from punchkit.code import Code
from punchkit.crypto import Master, Opener, Pake, Sealer, frame
from punchkit.errors import (
    CodeUsed,
    NobodyCame,
    PeerGone,
    ProtocolError,
    PunchkitError,
    RoomCrowded,
    ServerBusy,
    ServerGone,
    ServerUnreachable,
    WrongCode,
)
from punchkit.sockets import Address, local_address_towards, notice_death, shared_socket

#: The longest that a server may have us wait for the peer, in seconds.
LONGEST_WAIT = 3600.0

#: Seconds to reach the server, and for the peer to answer once it is there.
CONNECT_TIMEOUT = 10.0
PAKE_TIMEOUT = 20.0

#: The largest frame of the PAKE, in bytes.
MAX_PAKE_FRAME = 256


@dataclass
class Meeting:
    """Two peers, connected through the server.  `local` and `observed` are our end of that connection, as seen from
    inside and from the server; `role` is "leader" or "follower"."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    local: Address
    observed: Address
    server: Address
    role: str
    master: Master
    sealer: Sealer
    opener: Opener


class Door:
    """The connection to the server, before there is a peer.  `await Door.open(...)`, `enter`, `meet`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: Address, server: Address
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.local = local
        self.server = server
        self.observed = local
        self._wait = LONGEST_WAIT

    @classmethod
    async def open(cls, server: Address) -> Door:
        """Connect.  Raises ServerUnreachable."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CONNECT_TIMEOUT
        try:
            async with asyncio.timeout_at(end):
                found = await loop.getaddrinfo(*server, type=socket.SOCK_STREAM)
                # A name may have several addresses: "localhost" is ::1 first, and most servers listen on 127.0.0.1.
                # Each gets its share of the time that is left: the last one, or the only one, gets all of it.
                for untried, (*_, address) in zip(range(len(found), 0, -1), found, strict=True):
                    try:
                        async with asyncio.timeout((end - loop.time()) / untried):
                            return await cls._connect((str(address[0]), int(address[1])))
                    except OSError as exc:  # a TimeoutError is one, too
                        failure = exc
                raise failure
        except TimeoutError:
            raise ServerUnreachable(f"{server[0]}:{server[1]} did not answer in {CONNECT_TIMEOUT:.0f} s") from None
        except OSError as exc:
            # The system's words are better than asyncio's; for a name that nobody knows, it has none.
            reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or exc
            raise ServerUnreachable(f"{server[0]}:{server[1]}: {reason}") from None

    @classmethod
    async def _connect(cls, address: Address) -> Door:
        sock = shared_socket((await local_address_towards(address), 0))
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
            local: Address = sock.getsockname()[:2]
            notice_death(sock)
            return cls(*await asyncio.open_connection(sock=sock), local, address)
        except BaseException:
            sock.close()
            raise

    async def enter(self, room: str | None) -> str:
        """Ask for a room (None: any that is free); returns its name.  Raises CodeUsed, RoomCrowded, ServerGone."""
        ask: dict[str, Any] = {"room": room} if room else {"allocate": True}
        self.writer.write(wire.line(punchkit=wire.VERSION, **ask))
        welcome = await self._line(CONNECT_TIMEOUT)
        self.observed = wire.parse_address(welcome.get("you"))
        wait = welcome.get("wait_s")
        if isinstance(wait, int | float) and 0 < wait < LONGEST_WAIT:
            self._wait = wait
        name = welcome.get("room")
        if not isinstance(name, str) or not name.isalnum() or len(name) > wire.MAX_ROOM:
            raise ProtocolError("the server gave no room")
        return name

    async def observe(self) -> None:
        """Only ask how we look from outside, and leave the connection open.  Raises ServerGone."""
        self.writer.write(wire.line(punchkit=wire.VERSION, observe=True))
        self.observed = wire.parse_address((await self._line(CONNECT_TIMEOUT)).get("you"))

    async def meet(self, code: Code) -> Meeting:
        """Wait for the peer and agree on keys.  Raises NobodyCame, WrongCode, PeerGone, ServerGone."""
        # The server itself says when nobody came; if it does not, it is gone.
        role = (await self._line(self._wait + CONNECT_TIMEOUT)).get("paired")
        if role not in (wire.LEADER, wire.FOLLOWER):
            raise ProtocolError("the server said neither leader nor follower")
        try:
            async with asyncio.timeout(PAKE_TIMEOUT):
                master = await self._agree(code, role)
        except TimeoutError:
            raise PeerGone(f"it came, and then said nothing for {PAKE_TIMEOUT:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise PeerGone("it left during the exchange of keys, as a peer with another code does") from None
        sealer, opener = master.path(b"relay", role)
        return Meeting(self.reader, self.writer, self.local, self.observed, self.server, role, master, sealer, opener)

    def close(self) -> None:
        """Give up."""
        self.writer.close()

    async def _agree(self, code: Code, role: str) -> Master:
        pake = Pake(str(code))
        self.writer.write(frame(pake.message))
        master = pake.finish(await self._frame())
        self.writer.write(frame(master.confirmation(role)))
        other = wire.FOLLOWER if role == wire.LEADER else wire.LEADER
        try:
            master.check(other, await self._frame())
        except WrongCode:
            # The peer must get our confirmation too, to fail for the right reason.
            await self.writer.drain()
            raise
        return master

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self.reader.readexactly(4))
        if size > MAX_PAKE_FRAME:
            raise ProtocolError(f"a frame of {size} bytes in the exchange of keys")
        return await self.reader.readexactly(size)

    async def _line(self, limit: float) -> dict[str, Any]:
        """The next line of the server, which may be a refusal."""
        try:
            async with asyncio.timeout(limit):
                fields = wire.parse(await self.reader.readuntil(b"\n"))
        except TimeoutError:
            raise ServerGone(f"it took our connection, and then said nothing for {limit:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ServerGone("it closed the connection") from None
        except asyncio.LimitOverrunError:
            raise ProtocolError("the server sent a line without end") from None
        if "error" in fields:
            raise _refusal(fields)
        return fields


def _refusal(fields: dict[str, Any]) -> PunchkitError:
    kinds: dict[str, Callable[[str], PunchkitError]] = {
        wire.CROWDED: RoomCrowded,
        wire.USED: CodeUsed,
        wire.NOBODY: NobodyCame,
        wire.BUSY: ServerBusy,
    }
    say = str(fields.get("say", ""))[:200]
    return kinds.get(str(fields.get("error")), ServerGone)(say if say.isprintable() else "")
