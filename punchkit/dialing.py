"""`connect`: from a pairing code to a link.

    link = await punchkit.connect("7-amber-falcon", server="203.0.113.10")

Opens the door at the server, meets the peer there, and makes a `Link` of it.  Next: `link.py`, what one can do with it;
`rendezvous.py`, how two peers meet.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType

from punchkit import code as codes
from punchkit.errors import NoDirectPath
from punchkit.link import Link
from punchkit.rendezvous import Door

DEFAULT_SERVER_PORT = 7711


class Connecting:
    """What `connect` returns: await it for a `Link`, or enter it with `async with`."""

    def __init__(
        self,
        code: str | None,
        server: tuple[str, int],
        relay_only: bool,
        direct_only: bool,
        on_code: Callable[[str], object] | None,
    ) -> None:
        self._code = codes.parse(code) if code is not None else None
        self._server = server
        self._relay_only = relay_only
        self._direct_only = direct_only
        self._on_code = on_code
        self._link: Link | None = None

    def __await__(self) -> Generator[object, None, Link]:
        return self._open().__await__()

    async def __aenter__(self) -> Link:
        self._link = await self._open()
        return self._link

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._link is not None
        await self._link.close()

    async def _open(self) -> Link:
        door = await Door.open(self._server)
        try:
            room = await door.enter(self._code.nameplate if self._code else None)
            code = self._code or codes.parse(codes.make(room))
            if self._on_code is not None:
                self._on_code(str(code))
            meeting = await door.meet(code)
        except BaseException:
            door.close()
            raise
        link = Link(meeting, relay_only=self._relay_only, direct_only=self._direct_only)
        if self._direct_only:
            try:
                await link.settled()
                if not link.direct:
                    raise NoDirectPath(link.why())
            except BaseException:
                await link.close()
                raise
        return link


def connect(
    code: str | None = None,
    *,
    server: str | tuple[str, int],
    relay_only: bool = False,
    direct_only: bool = False,
    on_code: Callable[[str], object] | None = None,
) -> Connecting:
    """Connect to whoever uses the same code at the same server: `link = await connect("7-amber-falcon", server=...)`.

    `server` is "HOST", "HOST:PORT" or (HOST, PORT).  Without a code the server gives a free number, words are drawn for
    it, and `on_code` is called with the whole code before we wait.  `relay_only` never looks for a direct path;
    `direct_only` waits for one and never sends data through the relay.

    Raises CodeError and ValueError at once; awaiting it raises ServerUnreachable, NobodyCame, CodeUsed, RoomCrowded,
    WrongCode, PeerGone, ServerGone, NoDirectPath: all of them PunchkitError.
    """
    if relay_only and direct_only:
        raise ValueError("relay_only and direct_only cannot both be wanted")
    return Connecting(code, parse_server(server), relay_only, direct_only, on_code)


def parse_server(server: str | tuple[str, int]) -> tuple[str, int]:
    """ "HOST", "HOST:PORT", "[IPV6]:PORT" or (HOST, PORT) as (host, port).  Raises ValueError.

    >>> parse_server("relay.example")
    ('relay.example', 7711)
    >>> parse_server("[2001:db8::1]:80")
    ('2001:db8::1', 80)
    """
    if isinstance(server, tuple):
        return server
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = server, str(DEFAULT_SERVER_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536 or not host:
        raise ValueError(f"{server!r} is no server: HOST, HOST:PORT or [IPV6]:PORT is wanted")
    return host.strip("[]"), int(port)
