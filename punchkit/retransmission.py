"""Requests over UDP: sent again until an answer comes, or until it is time to give up.

UDP loses datagrams and does not tell.  So a request is repeated, and since whatever lost it may be a full queue
somewhere, each wait is twice as long as the one before.  How long the first wait is, how many requests there are and
how long the last of them is waited for, each protocol says for itself: that is a `Schedule`, a value without I/O.

`DatagramClient` is the driver: one UDP port, over which any number of requests may be under way, to one place or to
many.  That it is *one* port matters: what a server says of our outside address holds for this port only, so whoever
punches later punches through the same client (`punch_udp.py`).

May use asyncio's datagram endpoints; knows no protocol.  Next: `stun.py`, whose messages are requests and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from punchkit.errors import NoAnswer, ProtocolError
from punchkit.sockets import Address

T = TypeVar("T")

#: Looks at a datagram and its sender.  Returns the answer that it is, or None if it is none; may raise ProtocolError,
#: which means none, too.
Accept = Callable[[bytes, Address], T | None]

#: Takes a datagram and its sender.
Receive = Callable[[bytes, Address], None]


@dataclass(frozen=True)
class Schedule:
    """When a request is sent again: `attempts` requests, the first two `first_wait` seconds apart, each further one
    after twice the wait before; `last_wait` seconds after the last request, nobody waits any more.

    >>> list(STUN.waits())
    [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 8.0]
    >>> STUN.patience, NAT_PMP.patience
    (39.5, 127.75)
    """

    first_wait: float
    attempts: int
    last_wait: float

    def waits(self) -> Iterator[float]:
        """How long to wait for an answer after each request, in seconds."""
        for attempt in range(self.attempts - 1):
            yield self.first_wait * 2**attempt
        yield self.last_wait

    @property
    def patience(self) -> float:
        """Seconds from the first request to giving up."""
        return sum(self.waits())


#: RFC 8489 section 6.2.1: RTO is 500 ms, Rc is 7 requests, and the last wait is Rm = 16 times RTO.
STUN = Schedule(first_wait=0.5, attempts=7, last_wait=16 * 0.5)

#: RFC 6886 section 3.1: 250 ms, doubled eight times; the last wait is doubled like the others.
NAT_PMP = Schedule(first_wait=0.25, attempts=9, last_wait=0.25 * 2**8)


class DatagramClient(asyncio.DatagramProtocol):
    """One UDP port.  What arrives goes to the request that accepts it as its answer, else to whoever is listening.

    `remote` is the only address with which the port exchanges datagrams, or None if it is free to talk to all.
    """

    def __init__(self, remote: Address | None = None) -> None:
        self.remote = remote
        self._transport: asyncio.DatagramTransport
        self._waiting: list[tuple[Accept[Any], asyncio.Future[Any]]] = []
        self._listener: Receive | None = None

    @classmethod
    async def open(cls, local: Address = ("0.0.0.0", 0), remote: Address | None = None) -> DatagramClient:
        """Open a port (0: any).  Raises OSError.

        Connected to `remote`, it hears nobody else, and hears at once if nobody listens there; unconnected, it can
        ask many, and later punch.
        """
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(lambda: cls(remote), local_addr=local, remote_addr=remote)
        return client

    @property
    def local(self) -> Address:
        """The address and port that the socket is bound to."""
        address: Address = self._transport.get_extra_info("sockname")[:2]
        return address

    def send(self, data: bytes, to: Address | None = None) -> None:
        """Send one datagram; `to` is None if the port is connected.  Raises ConnectionAbortedError if it is closed."""
        if self._transport.is_closing():
            raise ConnectionAbortedError("the UDP port is closed")
        self._transport.sendto(data, to)

    async def request(self, data: bytes, to: Address | None, accept: Accept[T], schedule: Schedule) -> T:
        """Send `data` as `schedule` says, until `accept` makes something of a datagram; returns what it makes.

        On an unconnected port anybody may send anything: that the sender is the right one is for `accept` to check.
        Raises NoAnswer when the time is over, or at once when a connected port hears that nobody listens there (ICMP
        port unreachable; RFC 8489 section 6.2.1, RFC 6886 section 3.1).  Raises ConnectionAbortedError if the port is
        closed meanwhile.
        """
        whom = to or self.remote
        if whom is None:
            raise ValueError("an unconnected UDP port has to be told whom to ask")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = (accept, answer)
        self._waiting.append(waiting)
        try:
            for wait in schedule.waits():
                self.send(data, to)
                # A wait begins when the request has gone, so a computer that has slept does not send a volley.
                await asyncio.wait([answer], timeout=wait)
                if answer.done():
                    return answer.result()
        finally:
            self._waiting.remove(waiting)
            answer.cancel()
        raise NoAnswer(f"{whom[0]}:{whom[1]} was asked {schedule.attempts} times in {schedule.patience:g} s")

    @contextmanager
    def listening(self, receive: Receive) -> Iterator[None]:
        """While this is entered, `receive` gets every datagram that is no answer to a request."""
        if self._listener is not None:
            raise RuntimeError("somebody listens on this UDP port already")
        self._listener = receive
        try:
            yield
        finally:
            self._listener = None

    def close(self) -> None:
        """Close the port.  Requests that wait fail."""
        self._transport.close()

    # -- Called by asyncio ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        source: Address = addr[:2]  # IPv6 has two numbers more
        for accept, answer in self._waiting:
            if not answer.done() and (found := _accepted(accept, data, source)) is not None:
                answer.set_result(found)
                return
        if self._listener is not None:
            self._listener(data, source)

    def error_received(self, exc: OSError) -> None:  # type: ignore[override]
        """Of a connected port, a refusal is final (Windows calls it a reset).  Anything else may pass."""
        if self.remote is not None and isinstance(exc, ConnectionRefusedError | ConnectionResetError):
            self._fail(NoAnswer(f"nobody listens at {self.remote[0]}:{self.remote[1]}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionAbortedError("the UDP port was closed"))

    def _fail(self, exc: Exception) -> None:
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(exc)


def _accepted(accept: Accept[T], data: bytes, source: Address) -> T | None:
    try:
        return accept(data, source)
    except ProtocolError:
        return None  # anybody may send us garbage
