"""UDP hole punching: two peers behind NATs send to each other until each has heard that the other hears it.

Why it works
------------
Each peer sends to the outside address at which the server saw the other.  A's first packet leaves through A's NAT,
which notes "192.168.1.2 talks to B": from now on it lets packets from B in.  At B's NAT that packet is thrown away, for
nobody there has talked to A yet.  It was doomed, and it is the key all the same: B's first packet, doomed or not, finds
A's door open, and turns the key of its own (RFC 5128 section 3.3).  Any packet after these two passes both NATs.

What it needs, and what goes wrong
----------------------------------
* The outside address must be the one the server saw: everything goes through the *one socket* that asked the server,
  and the NAT must map it alike for every destination (RFC 4787 section 4.1).
* A NAT that maps each destination to another port shows us a port that nobody could have named.  If our own NAT lets
  the packet in, because it filters by address only or not at all, its *source* is the news: there the peer is for us
  (a peer-reflexive address, RFC 8445 section 7.3.1.3).  So probes are answered where they come from, and we probe
  there, too.  If both NATs map like that, nobody gets through to anybody: the relay stays.
* A packet that comes in proves one direction.  So each probe is answered, and an address is good for us when *our own*
  probe to it has been answered from it.
* The peer must learn the same.  Whoever has had an answer says so in every packet, and goes on answering until the
  peer says so, too; it may leave then, for nobody waits for it any more.
* Datagrams get lost.  There are several probes, in quick succession at first, and then fewer and fewer.
* The intervals are random.  Two equal programs that were started by the same message send in step for ever, and what
  loses one pair of packets (a queue that is full just then, a NAT that is a moment too slow) would lose every pair.
* A router that takes the peer's early packet for one to itself makes an entry for it, and then moves our own packets,
  which would have had the same entry reversed, to another port that the peer does not know.  Linux does so if its
  firewall accepts what comes in (measured: port 33115 became 27301, and 3 of 3 rounds failed).  Starting at the same
  moment helps, a later round from a fresh port may; waiting does not.

What it may cost others
-----------------------
The addresses come from the peer, and so from an attacker: there are few of them, and few probes.  A packet without
the right MAC is never answered, and an answer is as long as its probe: we are no amplifier for anybody who forges
addresses.  The MAC covers the role of the sender, so our own probes, sent back to us, are strangers' packets; and a
probe counts once, so playing it back gets nothing.  (Who overhears probes *and* overtakes them can have us believe, as
a NAT can, that they come from elsewhere: each gets one answer there, and eight such addresses share our 200 probes.)

    magic 3, flags 1 | session 8 | counter 8 | MAC 16        36 bytes; an answer carries the counter of its probe

`UdpPunch` does no I/O: datagrams and the time go in, datagrams and a verdict come out.  `drive` connects it to a UDP
port, which it leaves open.  Knows nothing of sessions.  Next: `retransmission.py`, the port; `punch_tcp.py`, TCP.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from punchkit.retransmission import DatagramClient
from punchkit.sockets import Address
from punchkit.wire import FOLLOWER, LEADER

#: How long one round of punching lasts, in seconds; and how long at least it goes on after the first sign of the peer,
#: and at most after its first answer, until it says that it has had one, too.
ROUND, FAREWELL = 3.0, 1.0

#: Seconds between the first probes to one address, and how many go out so; after them, each wait is twice as long as
#: the one before, up to the longest.  Each is taken with a random +/- 25 %.
SHORTEST_WAIT, QUICK_PROBES, LONGEST_WAIT, JITTER = 0.025, 5, 0.4, 0.25

#: What one round may cost whoever has the addresses that a peer named, or those from which its packets came: so many
#: of the ones, so many of the others, and so many probes in all.
MAX_TARGETS, MAX_LEARNED, MAX_PROBES = 8, 8, 200

#: Neither STUN nor QUIC nor DTLS begins with this byte (RFC 9443 section 3), so they can share the port.
MAGIC = b"\x0fPK"

#: The flags: this is an answer; its sender has had an answer itself.
ANSWER, ANSWERED = 1, 2

_BODY = struct.Struct("!3sB8sQ")
SESSION_SIZE, MAC_SIZE = 8, 16
PACKET_SIZE = _BODY.size + MAC_SIZE

_ROLE_BYTES = {LEADER: b"L", FOLLOWER: b"F"}


@dataclass(eq=False)
class _Target:
    """An address to probe: when next, how many probes it has had, and what became of them."""

    address: Address
    due: float
    probes: int = 0
    outcome: Counter[str] = field(default_factory=Counter)

    def next_wait(self) -> float:
        doubled = 2.0 ** max(self.probes - QUICK_PROBES + 1, 0)
        return min(SHORTEST_WAIT * doubled, LONGEST_WAIT) * random.uniform(1 - JITTER, 1 + JITTER)


class UdpPunch:
    """One round of punching towards the addresses of one peer, without I/O.

    `role` is "leader" or "follower", the peer's is the other; both have the same `key`, used for nothing else, and the
    same `session` of 8 bytes, another one in each round.  `now` is in seconds of any clock.

    Send what `datagrams_to_send` returns, whenever something has happened; call `handle_timer` when `get_timer` says.
    When `over`, `found` is the address at which the peer has answered, or None.  The two sides may have found different
    ways to each other, of which each works in both directions.
    """

    def __init__(self, role: str, session: bytes, key: bytes, targets: Iterable[Address], now: float) -> None:
        if len(session) != SESSION_SIZE:
            raise ValueError(f"a session of {len(session)} bytes instead of {SESSION_SIZE}")
        self._ours, self._theirs = _ROLE_BYTES[role], _ROLE_BYTES[FOLLOWER if role == LEADER else LEADER]
        self._session = session
        self._key = key
        named = list(dict.fromkeys(targets))[:MAX_TARGETS]
        self._targets = {address: _Target(address, now) for address in named}
        self._most_targets = len(named) + MAX_LEARNED
        self._end = now + ROUND
        self._probes = 0
        #: Probes that wait for an answer, and answers that wait to be sent: by counter, and counter and address.
        self._unanswered: dict[int, _Target] = {}
        self._owed: list[tuple[int, Address]] = []
        self._seen: set[int] = set()
        self._found: _Target | None = None
        self._told = False
        self._peer_answered = False
        self._time_is_over = False

    # -- What came of it -----------------------------------------------------------------------------------------------

    @property
    def found(self) -> Address | None:
        """The address at which the peer has answered."""
        return self._found.address if self._found else None

    @property
    def over(self) -> bool:
        """Both sides have had an answer, and we have said so; or the time is over."""
        return self._time_is_over or (self._found is not None and self._told and self._peer_answered)

    @property
    def outcomes(self) -> dict[Address, Counter[str]]:
        """For each address, named or learned, what became of our probes: "answered", "no answer", or "answered from
        elsewhere"; and how many of the peer's probes came from there ("heard").  For "why am I still relayed?"."""
        return {address: +target.outcome for address, target in self._targets.items()}

    # -- Datagrams -----------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """A datagram has come.  Whatever the peer has not sent in this round is ignored."""
        if self.over or len(data) != PACKET_SIZE:
            return
        body, mac = data[: _BODY.size], data[_BODY.size :]
        magic, flags, session, counter = _BODY.unpack(body)
        if magic != MAGIC or session != self._session or not hmac.compare_digest(mac, self._mac(self._theirs, body)):
            return
        if flags & ANSWERED:
            self._peer_answered = True
        if flags & ANSWER:
            self._receive_answer(counter, source, now)
        else:
            self._receive_probe(counter, source, now)

    def _receive_probe(self, counter: int, source: Address, now: float) -> None:
        """The peer's packets reach us from `source`: answer there, and see whether ours reach it from here."""
        if counter in self._seen or counter >= MAX_PROBES:
            return  # played back; or a number that no honest peer uses, so that what is remembered stays bounded
        if not self._seen:
            self._end = max(self._end, now + FAREWELL)  # found late: the peer will not have given up just now
        self._seen.add(counter)
        self._owed.append((counter, source))
        if source not in self._targets and len(self._targets) < self._most_targets:
            self._targets[source] = _Target(source, now)
        if source in self._targets:
            target = self._targets[source]
            target.outcome["heard"] += 1
            target.due = min(target.due, now)

    def _receive_answer(self, counter: int, source: Address, now: float) -> None:
        """One of our probes has reached the peer.  The way back must be the same (RFC 8445 section 7.2.5.2.1)."""
        target = self._unanswered.get(counter)
        if target is None:
            return
        if target.address != source:
            target.outcome["answered from elsewhere"] += 1
            return
        del self._unanswered[counter]
        target.outcome.update({"answered": 1, "no answer": -1})
        if self._found is None:
            self._found = target
            self._end = now + FAREWELL
            target.due, target.probes = now, 0  # tell the peer, quickly again

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """The answers that we owe, and the probes that are due: datagrams, and where they go."""
        if self._time_is_over:
            return []
        ready = [(self._packet(ANSWER, counter), source) for counter, source in self._owed]
        self._owed.clear()
        due = [target for target in self._probed() if target.due <= now][: MAX_PROBES - self._probes]
        ready += [(self._probe(target, now), target.address) for target in due]
        if self._found is not None and ready:
            self._told = True
        return ready

    def _probed(self) -> list[_Target]:
        """The addresses that get probes: all of them, until one has answered; none when it is over."""
        if self.over or self._probes >= MAX_PROBES:
            return []
        return [self._found] if self._found else list(self._targets.values())

    def _probe(self, target: _Target, now: float) -> bytes:
        counter = self._probes
        self._probes += 1
        self._unanswered[counter] = target
        target.outcome["no answer"] += 1
        target.probes += 1
        target.due = now + target.next_wait()
        return self._packet(0, counter)

    def _packet(self, flags: int, counter: int) -> bytes:
        if self._found is not None:
            flags |= ANSWERED
        body = _BODY.pack(MAGIC, flags, self._session, counter)
        return body + self._mac(self._ours, body)

    def _mac(self, role: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, role + body, "sha256")[:MAC_SIZE]

    # -- Time ----------------------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        """When to call `handle_timer` and to ask for datagrams again; None when it is over."""
        if self.over:
            return None
        return min([self._end, *(target.due for target in self._probed())])

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        if now >= self._end:
            self._time_is_over = True


async def drive(punch: UdpPunch, client: DatagramClient) -> Address | None:
    """Punch through a UDP port until the round is over; returns `punch.found`.

    The port stays open, for whoever uses the path; the peer's last packets of the round may still come in, and begin
    with MAGIC.  While this runs, requests may go on over the port, but nobody else may listen.  Raises
    ConnectionAbortedError if somebody closes it.
    """
    clock = asyncio.get_running_loop().time
    something_came = asyncio.Event()

    def receive(data: bytes, source: Address) -> None:
        punch.receive_datagram(data, source, clock())
        something_came.set()

    with client.listening(receive):
        while True:
            for data, address in punch.datagrams_to_send(clock()):
                client.send(data, address)
            timer = punch.get_timer()
            if timer is None:
                return punch.found
            something_came.clear()
            try:
                async with asyncio.timeout_at(timer):
                    await something_came.wait()
            except TimeoutError:
                pass  # something is due
            punch.handle_timer(clock())
