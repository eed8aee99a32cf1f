"""When and where to punch: both peers must dial at the same moment, and they have only the relay to agree on it.

    both      CONTROL {"round": 1, "candidates": [...]}   as soon as the session is there
    leader    measures the round trip over the relay: the least of a few PINGs
    leader    CONTROL {"dial": 1, "rtt_ms": 80}           and dials half a round trip later
    follower  dials when that arrives, so at the same moment (libp2p's DCUtR does the same)

The first connection on which the peer proves itself wins; the leader selects it, the follower follows.  If a round
finds nothing, or a direct path dies later, there is another round after a while: networks change.

The first round uses the port of the relayed connection, so it costs nothing to learn.  Later rounds use fresh ports,
whose outside addresses a second look from the server tells.  Under the old one a NAT may still hold the dead
connection: after a RST, Linux lets no SYN in under that pair of endpoints for ten seconds (measured on 6.18).

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
from punchkit.errors import ProtocolError, PunchkitError
from punchkit.messages import Select, decode
from punchkit.path import Path, recognise
from punchkit.punch_tcp import Punch
from punchkit.rendezvous import Door, Meeting
from punchkit.sockets import Address, close_with_reset
from punchkit.wire import LEADER

#: How many PINGs the round trip is measured with.
PINGS = 3

#: Seconds until the next round, the last one for ever, each taken with a random +/- 25 %; and the shortest of these.
RETRY_AFTER, JITTER = (5.0, 15.0, 60.0), 0.25
SHORTEST_PAUSE = RETRY_AFTER[0] * (1 - JITTER)

#: Seconds that the two sides may take to exchange their candidates and to agree on the moment.
EXCHANGE_TIMEOUT = 20.0

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


class Ground:
    """Where we punch from in one round: a local port, how it looks from outside, and the connection that showed it."""

    def __init__(self, local: Address, observed: Address, door: Door | None) -> None:
        self.local = local
        self.candidates = candidates.own(local, observed)
        self._door = door

    def leave(self) -> None:
        """The round is over."""
        if self._door is not None:
            self._door.close()


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
        self._heard: asyncio.Queue[tuple[int, list[candidates.Candidate]]] = asyncio.Queue(4)
        self._dial: asyncio.Queue[tuple[int, float]] = asyncio.Queue(4)
        #: Set while data goes over the relay, so that a direct path is wanted.
        self._relayed = asyncio.Event()
        self._relayed.set()
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
            case {"round": int(number), "candidates": value}:
                theirs = candidates.from_json(value)
                if not self._heard.full():
                    self._heard.put_nowait((number, theirs))
            case {"dial": int(number), "rtt_ms": int(rtt)} if 0 <= rtt <= MAX_RTT_MS and not self._leads:
                if not self._dial.full():
                    self._dial.put_nowait((number, rtt / 1000))
            case _:
                raise ProtocolError("a control message that says nothing we know")

    def direct_path(self, exists: bool) -> None:
        """There is a direct path now, or it has died."""
        if exists:
            self._relayed.clear()
        else:
            self._relayed.set()

    # -- The search ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Search until cancelled."""
        # Whoever waits for the outcome shall not wait for a peer that says nothing.
        asyncio.get_running_loop().call_later(EXCHANGE_TIMEOUT, self.settled.set)
        if self._relay_only:
            self._say(round=1, candidates=[])
            self._give_up("this side wants only the relay")
        elif self._leads:
            await self._lead()
        else:
            await self._follow()

    async def _lead(self) -> None:
        ground = Ground(self._meeting.local, self._meeting.observed, None)
        number, failures = 1, 0
        while True:
            self._offer(number, ground)
            found = False
            try:
                async with asyncio.timeout(EXCHANGE_TIMEOUT):
                    # Measured while their candidates are still on the way.
                    rtt = await self._relay.round_trip(PINGS)
                    heard, theirs = await self._heard.get()
                    while heard != number:
                        heard, theirs = await self._heard.get()
                if not theirs:
                    self._give_up("the other side wants only the relay")
                    return
                self._say(dial=number, rtt_ms=min(round(rtt * 1000), MAX_RTT_MS))
                await asyncio.sleep(rtt / 2)
                found = await self._round(number, ground, theirs, rtt)
            except TimeoutError:
                self._relay.note("punch", f"round {number}: the other side named no addresses")
            finally:
                ground.leave()
            failures = 0 if found else failures + 1
            await self._wanted_again(RETRY_AFTER[min(max(failures - 1, 0), len(RETRY_AFTER) - 1)])
            number += 1
            ground = await self._fresh_ground()

    async def _wanted_again(self, pause: float) -> None:
        """Wait until there has been no direct path for a while; one that fell silent may come back by itself."""
        while True:
            await self._relayed.wait()
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))
            if self._relayed.is_set():
                return

    async def _follow(self) -> None:
        ground = Ground(self._meeting.local, self._meeting.observed, None)
        self._offer(1, ground)
        loop = asyncio.get_running_loop()
        ended = loop.time()
        while True:
            number, theirs = await self._heard.get()
            if not theirs:
                self._give_up("the other side wants only the relay")
                return
            if number > 1:
                # An honest leader has paused longer; a hostile one shall not have us knock at others' doors for ever.
                await asyncio.sleep(max(0.0, ended + SHORTEST_PAUSE - loop.time()))
                ground = await self._fresh_ground()
                self._offer(number, ground)
            try:
                async with asyncio.timeout(EXCHANGE_TIMEOUT):
                    dialed, rtt = await self._dial.get()
                    while dialed != number:
                        dialed, rtt = await self._dial.get()
                await self._round(number, ground, theirs, rtt)
            except TimeoutError:
                self._relay.note("punch", f"round {number}: the leader did not say when to dial")
            finally:
                ground.leave()
                ended = loop.time()

    def _offer(self, number: int, ground: Ground) -> None:
        self._say(round=number, candidates=[candidate.to_json() for candidate in ground.candidates])

    def _give_up(self, reason: str) -> None:
        self._relay.note("relay-only", reason)
        self.settled.set()

    async def _fresh_ground(self) -> Ground:
        """A port that no NAT remembers; the old one if the server cannot be asked."""
        door = None
        try:
            door = await Door.open(self._meeting.server)
            await door.observe()
            return Ground(door.local, door.observed, door)
        except BaseException as exc:
            if door is not None:
                door.close()
            if not isinstance(exc, PunchkitError):
                raise
            self._relay.note("server", f"no second look from the server: {exc}")
            return Ground(self._meeting.local, self._meeting.observed, None)

    async def _round(self, number: int, ground: Ground, theirs: list[candidates.Candidate], rtt: float) -> bool:
        """One round of punching; True if it ended with a direct path."""
        targets = candidates.worth_dialing(theirs, ground.candidates, self._meeting.server)
        self.not_tried = [candidate for candidate in theirs if candidate.address not in targets]
        where = ", ".join(f"{host}:{port}" for host, port in targets) or "nobody (only listening)"
        self._relay.note("punch", f"round {number}: dialing {where} from port {ground.local[1]}")
        punch = Punch(ground.local, targets, rtt)
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
