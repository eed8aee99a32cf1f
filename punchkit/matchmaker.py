"""When and where to punch: both peers must dial at the same moment, and they have only the relay to agree on it.

    both      CONTROL {"candidates": [...]}           as soon as the session is there
    leader    measures the round trip over the relay: the least of a few PINGs
    leader    CONTROL {"dial": 1, "rtt_ms": 80}       and dials half a round trip later
    follower  dials when that arrives, so at the same moment (libp2p's DCUtR does the same)

The first connection on which the peer proves itself wins; the leader selects it, the follower follows.  If a round
finds nothing, or a direct path dies later, there is another round after a while: networks change.

Works through a `Relay` (below), which `link.py` implements: it may send control messages, measure, and hand over a
path, and nothing else.  Next: `punch_tcp.py`, how to punch.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Protocol

from punchkit import candidates
from punchkit.errors import ProtocolError
from punchkit.messages import Select, decode
from punchkit.path import Path, recognise
from punchkit.punch_tcp import Punch
from punchkit.rendezvous import Meeting
from punchkit.sockets import Address, close_with_reset
from punchkit.wire import LEADER

#: How many PINGs the round trip is measured with.
PINGS = 3

#: Seconds until the next round, the last one for ever, each taken with a random +/- 25 %.  After a RST a Linux NAT
#: keeps the dead connection's tuple for ten seconds, and lets no new SYN in under it: the second pause covers that.
RETRY_AFTER = (4.0, 10.0, 60.0)

#: In one round so many connections are asked who they are; a flood of strangers gets no further.
MAX_GREETINGS = 32

#: Seconds in which the leader must select a connection on which it has recognised us.
SELECT_TIMEOUT = 5.0

#: The longest round trip that a leader may claim, in milliseconds.
MAX_RTT_MS = 10_000


def _close_if_cancelled(sock: socket.socket, task: asyncio.Task[None]) -> None:
    """A task that is cancelled before its first step never gets to close anything itself."""
    if task.cancelled():
        close_with_reset(sock)


class Relay(Protocol):
    """What the matchmaker needs of the link."""

    def send_control(self, body: bytes) -> None: ...

    async def round_trip(self, pings: int) -> float: ...

    def adopt(self, path: Path, first: bytes | None) -> None:
        """Take over a path: the leader with `first` None, the follower with the leader's first record on it."""

    def note(self, what: str, text: str) -> None: ...


class Matchmaker:
    """Finds direct paths for one link.  `settled` is set when the first round is over, whatever came of it."""

    def __init__(self, meeting: Meeting, relay: Relay, relay_only: bool) -> None:
        self._meeting = meeting
        self._relay = relay
        self._relay_only = relay_only
        self._leads = meeting.role == LEADER
        self._ours = [] if relay_only else candidates.own(meeting.local, meeting.observed)
        self._theirs: asyncio.Future[list[candidates.Candidate]] = asyncio.get_running_loop().create_future()
        self._dial: asyncio.Queue[tuple[int, float]] = asyncio.Queue(4)
        self._direct = False
        self._lost = asyncio.Event()
        self.settled = asyncio.Event()
        self.outcomes: dict[Address, Counter[str]] = {}
        self.not_tried: list[candidates.Candidate] = []

    # -- What the link tells us --------------------------------------------------------------------------------------

    def control(self, body: bytes) -> None:
        """A control message of the peer.  Raises ProtocolError."""
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            raise ProtocolError("a control message that is no JSON") from None
        match fields:
            case {"candidates": value}:
                if not self._theirs.done():
                    self._theirs.set_result(candidates.from_json(value))
            case {"dial": int(number), "rtt_ms": int(rtt)} if 0 <= rtt <= MAX_RTT_MS and not self._leads:
                if not self._dial.full():
                    self._dial.put_nowait((number, rtt / 1000))
            case _:
                raise ProtocolError("a control message that says nothing we know")

    def direct_path(self, exists: bool) -> None:
        """There is a direct path now, or it has died."""
        if self._direct and not exists:
            self._lost.set()
        self._direct = exists

    # -- The search ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Search until cancelled."""
        self._say(candidates=[candidate.to_json() for candidate in self._ours])
        # Measured while their candidates are still on the way.
        rtt = await self._relay.round_trip(PINGS) if self._leads else 0.0
        theirs = await self._theirs
        targets = candidates.worth_dialing(theirs, self._ours, self._meeting.server)
        self.not_tried = [c for c in theirs if c.address not in targets]
        if not self._ours or not theirs:
            self._relay.note("relay-only", f"{'this' if not self._ours else 'the other'} side wants only the relay")
            self.settled.set()
            return
        if self._leads:
            await self._lead(targets, rtt)
        else:
            await self._follow(targets)

    async def _lead(self, targets: list[Address], rtt: float) -> None:
        number = failures = 0
        while True:
            number += 1
            self._say(dial=number, rtt_ms=min(round(rtt * 1000), MAX_RTT_MS))
            await asyncio.sleep(rtt / 2)
            found = await self._round(number, targets, rtt)
            if found:
                await self._lost.wait()
                failures = 0
            pause = RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)]
            failures += 1
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            rtt = await self._relay.round_trip(PINGS)

    async def _follow(self, targets: list[Address]) -> None:
        while True:
            number, rtt = await self._dial.get()
            await self._round(number, targets, rtt)

    async def _round(self, number: int, targets: list[Address], rtt: float) -> bool:
        """One round of punching; True if it ended with a direct path."""
        self._lost.clear()
        where = ", ".join(f"{host}:{port}" for host, port in targets) or "nobody (only listening)"
        self._relay.note("punch", f"round {number}: dialing {where} from port {self._meeting.local[1]}")
        punch = Punch(self._meeting.local, targets, rtt)
        self.outcomes = punch.outcomes
        connections = punch.connections()
        found = asyncio.get_running_loop().create_future()
        greetings: list[asyncio.Task[None]] = []
        search = asyncio.create_task(self._greet_all(connections, found, greetings), name="greet connections")
        try:
            await asyncio.wait([search, found], return_when=asyncio.FIRST_COMPLETED)
            if not found.done() and greetings:
                await asyncio.wait([found, asyncio.gather(*greetings)], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (search, *greetings):
                task.cancel()
            await asyncio.gather(search, *greetings, return_exceptions=True)
            await connections.aclose()
            self.settled.set()
        success = found.done()
        if not success:
            self._relay.note("punch", f"round {number}: {self.why_not()}")
        return success

    async def _greet_all(
        self,
        connections: AsyncIterator[socket.socket],
        found: asyncio.Future[None],
        greetings: list[asyncio.Task[None]],
    ) -> None:
        async for sock in connections:
            if len(greetings) == MAX_GREETINGS:
                close_with_reset(sock)
                continue
            greeting = asyncio.create_task(self._greet(sock, found), name="greet")
            greeting.add_done_callback(functools.partial(_close_if_cancelled, sock))
            greetings.append(greeting)

    async def _greet(self, sock: socket.socket, found: asyncio.Future[None]) -> None:
        """Find out who is at the other end of a connection; if it is the peer, and the first, hand it over."""
        try:
            path = await recognise(sock, self._meeting.master, self._meeting.role)
        except (ProtocolError, ConnectionError, TimeoutError) as exc:
            self._relay.note("stranger", f"a connection that is not the peer's: {exc}")
            return
        handed_over = False
        try:
            # The leader selects, as soon as it is sure; the follower waits to be told.
            async with asyncio.timeout(SELECT_TIMEOUT):
                first = None if self._leads else await path.receive_one()
            if not found.done() and (first is None or isinstance(decode(first), Select)):
                self._relay.adopt(path, first)
                handed_over = True
                found.set_result(None)
        except (ProtocolError, ConnectionError, TimeoutError):
            pass  # the leader has chosen another connection, and closed this one
        finally:
            if not handed_over:
                path.abort()

    def why_not(self) -> str:
        """What became of the tries of the last round, in words."""
        parts = []
        for (host, port), outcome in self.outcomes.items():
            told = ", ".join(f"{what} ({count}x)" if count > 1 else what for what, count in sorted(outcome.items()))
            parts.append(f"tcp {host}:{port}: {told or 'no answer'}")
        skipped = [f"{c.address[0]}:{c.address[1]} is on another network" for c in self.not_tried]
        return "; ".join(parts + skipped) or "the other side named no address that could be tried"

    def _say(self, **fields: object) -> None:
        self._relay.send_control(json.dumps(fields, separators=(",", ":")).encode())
