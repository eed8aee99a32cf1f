"""One attempt of two peers to meet: the experiment behind each cell of `natsim matrix`.

Over TCP it is `punchkit.connect` itself, whole: server, code, relay, and the search for a direct path.  Over UDP it is
what punchkit has of it: a STUN request to learn the outside address, and one round of `UdpPunch`.  The same in each
world.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial

import punchkit
from natsim.internet import Internet
from natsim.packet import TCP
from natsim.run import Run
from punchkit import stun
from punchkit.errors import PunchkitError
from punchkit.punch_udp import SESSION_SIZE, UdpPunch, drive
from punchkit.retransmission import DatagramClient, Schedule
from punchkit.sockets import Address
from punchkit.wire import FOLLOWER, LEADER

CODE = "7-amber-falcon"
STUN_PORT = 3478

#: How long a peer asks the server over UDP before it takes it that UDP is blocked: sends at 0, 0.5 and 1.5 s.
PATIENCE = Schedule(first_wait=0.5, attempts=3, last_wait=1.5)

#: The second peer starts up to so many seconds after the first: people do not press a key at the same instant.
MOST_SKEW = 0.2


@dataclass(frozen=True)
class Attempt:
    """What came of it: did data go directly in the end, and why or why not."""

    direct: bool
    why: str


def attempt(net: Internet, transport: str, world: str = "sim") -> Attempt:
    """Let `net.alice` and `net.bob` try to meet over "tcp" or "udp"."""
    return experiment(net, transport, world=world)[0]


def experiment(net: Internet, transport: str, skew: float | None = None, world: str = "sim") -> tuple[Attempt, Run]:
    """The same, with the run itself.  `skew` is how much later bob starts, in seconds (None: a bit, at random)."""
    story = partial(_over_tcp if transport == TCP else _over_udp, net, skew)
    run = net.run(story, world)
    direct, said = run.result
    return Attempt(direct, run.why() if run.trace is not None else said), run


# -- TCP -------------------------------------------------------------------------------------------------------------


async def _over_tcp(net: Internet, skew: float | None) -> tuple[bool, str]:
    """Connect, relayed at once, and wait until the search for a direct path is over on both sides."""
    server = punchkit.Server()
    serving = net.server.start(server.run(), "server")
    await server.ready.wait()
    calls = []
    for host in (net.alice, net.bob):
        calls.append(host.start(punchkit.connect(CODE, server=net.server.address), f"{host.name} connects"))
        await asyncio.sleep(random.uniform(0, MOST_SKEW) if skew is None else skew)
    async with await calls[0] as alice, await calls[1] as bob:
        await alice.write(b"hello")
        await asyncio.gather(alice.settled(), bob.settled())
        direct, why = alice.direct and bob.direct, alice.why()
        if direct:  # the path carries data, and the trace shows it
            await alice.write(b"direct")
            await asyncio.gather(alice.finish(), bob.finish())
    serving.cancel()
    return direct, why


# -- UDP -------------------------------------------------------------------------------------------------------------


async def _over_udp(net: Internet, skew: float | None) -> tuple[bool, str]:
    """Learn the outside addresses, tell them to the peers, and punch from both sides at once."""
    ready = asyncio.Event()
    net.server.start(stun_server(ready), "stun server")
    await ready.wait()
    alice, bob = [await host.start(DatagramClient.open(), f"{host.name} opens") for host in (net.alice, net.bob)]
    try:
        asking = [host.start(ask(end, net.server.address)) for host, end in ((net.alice, alice), (net.bob, bob))]
        seen_alice, seen_bob = await asyncio.gather(*asking)
        found = await punch(net, alice, bob, seen_alice, seen_bob, skew or 0.0)
    except PunchkitError as exc:
        return False, f"relayed: not even the server is reached over UDP ({exc})"
    finally:
        alice.close()
        bob.close()
    if found is not None:
        return True, f"direct: alice reaches bob at {found[0]}:{found[1]}"
    return False, "relayed: no probe was answered"


async def punch(
    net: Internet,
    alice: DatagramClient,
    bob: DatagramClient,
    to_alice: Address,
    to_bob: Address,
    skew: float = 0.0,
) -> Address | None:
    """One round from both sides, towards these addresses; where alice found bob, if he has found her, too."""
    key, session = b"a secret of the two", random.randbytes(SESSION_SIZE)

    async def one(role: str, client: DatagramClient, target: Address) -> Address | None:
        now = asyncio.get_running_loop().time()
        return await drive(UdpPunch(role, session, key, [target], now), client)

    first = net.alice.start(one(LEADER, alice, to_bob), "alice punches")
    if skew:
        await asyncio.sleep(skew)
    second = net.bob.start(one(FOLLOWER, bob, to_alice), "bob punches")
    by_alice, by_bob = await first, await second
    return by_alice if by_bob is not None else None


async def ask(client: DatagramClient, server: str) -> Address:
    """Learn how a UDP port looks from outside (RFC 8489).  Raises NoAnswer."""
    request = stun.Message(stun.Kind.REQUEST)

    def accept(data: bytes, source: Address) -> Address | None:
        answer = stun.decode(data)
        return answer.mapped if answer.answers(request) else None

    return await client.request(stun.encode(request), (server, STUN_PORT), accept, PATIENCE)


async def stun_server(ready: asyncio.Event) -> None:
    """Answer Binding requests, for as long as the world lives."""
    server = await DatagramClient.open(("0.0.0.0", STUN_PORT))

    def answer(data: bytes, source: Address) -> None:
        request = stun.decode(data)
        said = stun.Message(stun.Kind.SUCCESS, request.transaction, {"XOR-MAPPED-ADDRESS": source})
        server.send(stun.encode(said), source)

    try:
        with server.listening(answer):
            ready.set()
            await asyncio.get_running_loop().create_future()
    finally:
        server.close()
