"""A path: one TCP connection that carries sealed records, and how two peers recognise each other on a new one.

The relayed connection is a path from the start: its keys come from the PAKE.  A new, direct connection becomes one by
`recognise`: until the other end has proved that it holds the session's keys, in both directions, it may be anybody
(RFC 9000 section 8.2 asks the same of QUIC).  Next: `link.py`, which drives paths.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from punchkit.crypto import GREETING_SIZE, Deframer, Master, Opener, PathHandshake, Sealer, frame
from punchkit.errors import ProtocolError
from punchkit.messages import Response, decode, encode
from punchkit.sockets import Address, close_with_reset, notice_death, reset_on_close

#: Seconds in which a stranger would have to show keys that it does not have.
RECOGNISE_TIMEOUT = 2.0

#: How much is read at a time, and how much may wait to be sent before `send` waits too, in bytes.  The second is kept
#: small: what waits here stands between a control record and the wire.
READ_SIZE = 1 << 18
WRITE_LIMIT = 1 << 16


class Path:
    """Sealed records over one connection.  `name` is what people are shown."""

    def __init__(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keys: tuple[Sealer, Opener],
    ) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer
        self._sealer, self._opener = keys
        self._deframer = Deframer()
        self._bodies: deque[bytes] = deque()
        writer.transport.set_write_buffer_limits(high=WRITE_LIMIT)

    async def send(self, record: bytes) -> None:
        """Seal and send a record; waits while the connection takes no more.  Raises ConnectionError."""
        self._writer.write(frame(self._sealer.seal(record)))
        await self._writer.drain()

    async def receive(self) -> list[bytes]:
        """The next records, one at least.  Raises ConnectionError at the end, ProtocolError for what does not open."""
        await self._fill()
        records = [self._opener.open(body) for body in self._bodies]
        self._bodies.clear()
        return records

    async def receive_one(self) -> bytes:
        """The next record; later ones stay for `receive`."""
        await self._fill()
        return self._opener.open(self._bodies.popleft())

    async def _fill(self) -> None:
        while not self._bodies:
            data = await self._reader.read(READ_SIZE)
            if not data:
                raise ConnectionResetError("the other end closed it")
            self._bodies.extend(self._deframer.feed(data))

    def end(self) -> None:
        """Say that no more records will come."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def close(self) -> None:
        """Close when everything is sent."""
        self._writer.close()

    def abort(self) -> None:
        """Close now, with a RST: a dead connection must not keep its pair of endpoints from the next attempt."""
        reset_on_close(self._writer.get_extra_info("socket"))
        self._writer.transport.abort()


async def recognise(sock: socket.socket, master: Master, role: str) -> Path:
    """A connected socket as a path, if the peer is at its other end.

    Owns the socket from here on.  Raises ProtocolError (a stranger), ConnectionError or TimeoutError.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(RECOGNISE_TIMEOUT):
            remote: Address = sock.getpeername()[:2]
            notice_death(sock)
            reader, writer = await asyncio.open_connection(sock=sock)
            handshake = PathHandshake(master, role)
            writer.write(handshake.greeting)
            keys = handshake.receive_greeting(await reader.readexactly(GREETING_SIZE))
            path = Path(f"tcp {remote[0]}:{remote[1]}", reader, writer, keys)
            await path.send(encode(Response()))
            if not isinstance(decode(await path.receive_one()), Response):
                raise ProtocolError("a new path that does not begin with RESPONSE")
            return path
    except BaseException as exc:
        if writer is not None:
            writer.transport.abort()
        else:
            close_with_reset(sock)
        if isinstance(exc, OSError | asyncio.IncompleteReadError) and not isinstance(exc, TimeoutError):
            raise ConnectionResetError("it closed before it was recognised") from None
        raise
