"""TCP simultaneous open: two peers behind NATs connect to each other at the same moment.

Why it works
------------
Each peer connects to the outside address at which the server saw the other.  A's SYN leaves through A's NAT, which
notes "192.168.1.2 talks to B": from now on it lets packets from B in.  When that SYN reaches B's NAT, nobody there has
talked to A yet, so it is thrown away.  Then B's SYN leaves, B's NAT notes "talks to A", and A's NAT lets this SYN in.
A's TCP, which has sent a SYN itself, gets a SYN instead of a SYN,ACK: that is a simultaneous open, and TCP has always
been able to do it (RFC 9293 section 3.5, figure 7).  If both SYNs are under way at once, both get in.

What it needs, and what goes wrong
----------------------------------
* The outside address must be the one the server saw: every socket is bound to the *same local port* as the
  connection to the server (`sockets.py`), and the NAT must map it alike for every destination (RFC 4787 section 4).
* A NAT that *drops* a stray SYN does no harm: TCP sends it again after a second.  So `connect` is called once on a
  socket and left alone.
* A NAT that *answers* a stray SYN with a RST ends our attempt at once, and our own NAT, seeing the RST, may close the
  hole (Linux does).  Then only a fresh socket and another try help, until two SYNs happen to cross in flight: the two
  must leave within one one-way delay.
  The pause before the next try must be random.  With a fixed one, both sides keep the same distance for ever
  (measured: 0 of 12 connected with a fixed pause, 56 of 56 with a random one).
* The peer may need no hole at all (no NAT, an open one, the same LAN): so we listen on the port, too.
* EADDRNOTAVAIL from `connect` means that this pair of endpoints exists already: the peer's SYN has come in through the
  listener.  `accept` has it.

Whoever answers may be a stranger: what this finds are connections, not peers.  `handshake.py` tells them apart.
May use sockets and asyncio; knows nothing of sessions.  Next: `matchmaker.py`, which says when and where to punch.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Iterable

from punchkit.sockets import Address, close_with_reset, shared_socket

#: How long one round of punching lasts, in seconds.  Three tries of the kernel's SYN fit in.
ROUND = 4.0

#: What one round may cost whoever has the addresses that a peer named: so many of them, and so many tries in all.
MAX_TARGETS, MAX_TRIES = 8, 200

#: The least pause before a new socket tries again, and the least upper bound of it, in seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.010, 0.200


class Punch:
    """One round of punching from one local port towards the addresses of one peer.

    `async for sock in punch.connections()` yields every TCP connection that comes about, until the round is over.
    `outcomes` counts, for each address, what became of the tries: the raw material of "why am I still relayed?".
    """

    def __init__(self, local: Address, targets: Iterable[Address], round_trip: float) -> None:
        self.local = local
        self.targets = list(targets)[:MAX_TARGETS]
        self._tries = 0
        self.longest_pause = max(2 * round_trip, LONGEST_PAUSE)
        self.outcomes: dict[Address, Counter[str]] = {target: Counter() for target in self.targets}
        self._found: asyncio.Queue[socket.socket] = asyncio.Queue()

    async def connections(self, seconds: float = ROUND) -> AsyncGenerator[socket.socket, None]:
        """Connected sockets, as they come; the caller owns them.  Ends after `seconds`."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._dial_until_met(target), name=f"dial {target}") for target in self.targets]
        listener = self._listen()
        end = loop.time() + seconds
        try:
            while True:
                try:
                    async with asyncio.timeout_at(end):
                        sock = await self._found.get()
                except TimeoutError:
                    return
                yield sock
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if listener is not None:
                loop.remove_reader(listener)
                listener.close()
            while not self._found.empty():
                close_with_reset(self._found.get_nowait())

    async def _dial_until_met(self, target: Address) -> None:
        """Try one address again and again, with a new socket each time, until it connects."""
        while self._tries < MAX_TRIES:
            self._tries += 1
            outcome = await self._dial(target)
            self.outcomes[target][outcome] += 1
            if outcome == "connected":
                return
            await asyncio.sleep(random.uniform(SHORTEST_PAUSE, self.longest_pause))

    async def _dial(self, target: Address) -> str:
        """One socket, one connect.  Returns what became of it."""
        try:
            sock = shared_socket(self.local)
        except OSError as exc:
            return f"no socket: {exc.strerror}"
        try:
            await asyncio.get_running_loop().sock_connect(sock, target)
        except OSError as exc:
            close_with_reset(sock)
            return _OUTCOMES.get(exc.errno or 0, str(exc.strerror or exc))
        except asyncio.CancelledError:
            self.outcomes[target]["no answer"] += 1
            close_with_reset(sock)
            raise
        self._found.put_nowait(sock)
        return "connected"

    def _listen(self) -> socket.socket | None:
        """Take connections that come in by themselves.  Where listening beside dialing is not allowed, do without."""
        try:
            sock = shared_socket(self.local)
        except OSError:
            return None
        try:
            sock.listen(8)
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)
        except (OSError, NotImplementedError):
            sock.close()
            return None
        return sock

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it has gone again
        connection.setblocking(False)
        self._found.put_nowait(connection)


#: What a failed connect means, in words.
_OUTCOMES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EADDRNOTAVAIL: "already coming in",
    errno.EADDRINUSE: "port in use",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ETIMEDOUT: "no answer",
}
