"""The story that `python -m natsim.view.ladder` draws: TCP hole punching in plain asyncio.

alice and bob meet at a server, greet each other through it, and then dial each other directly at the addresses that
the server saw.  bob is slow, so alice's first SYN finds his NAT closed; his own SYN opens it.  Whoever is refused
tries again with a new socket, after a random pause.  There is no punchkit here and no encryption, only the sockets
that every Python has.
"""

from __future__ import annotations

import asyncio
import random
import socket

from ..ready_made import two_nats
from ..run import Run

PORT = 7711

#: How long bob hesitates before he dials, in seconds.
HESITATION = 0.05

#: How long both dial, in seconds.
PATIENCE = 4.0


def demonstration(a: str = "linux", b: str = "linux", seed: int = 7) -> Run:
    """Run the story between two NATs."""
    net = two_nats(a, b, seed=seed)

    async def story() -> tuple[str, str]:
        net.server.start(_serve())
        alice = net.alice.start(_peer(net.server.address, 5000, 0.0))
        bob = net.bob.start(_peer(net.server.address, 6000, HESITATION))
        return await alice, await bob

    return net.run(story)


async def _serve() -> None:
    """Tell each of two clients the address of the other, and carry one line each way."""
    clients: list[asyncio.StreamWriter] = []
    both = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        if len(clients) == 2:
            both.set()
        await both.wait()
        other = next(known for known in clients if known is not writer)
        address, port = other.get_extra_info("peername")
        writer.write(f"{address} {port}\n".encode())
        other.write(await reader.readline())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(client, "0.0.0.0", PORT)
    async with server:
        await asyncio.sleep(60)


async def _peer(server: str, port: int, hesitation: float) -> str:
    """Greet the other through the server, then directly; returns the direct greeting."""
    loop = asyncio.get_running_loop()
    with _socket(port) as meeting:
        await loop.sock_connect(meeting, (server, PORT))
        reader, writer = await asyncio.open_connection(sock=meeting)
        address, other_port = (await reader.readline()).decode().split()
        writer.write(b"hello through the server\n")
        await reader.readline()
        await asyncio.sleep(hesitation)
        direct = await _dial(port, (address, int(other_port)))
        answer = ""
        if direct is not None:
            with direct:
                await loop.sock_sendall(direct, b"hello without it\n")
                answer = (await loop.sock_recv(direct, 100)).decode().strip()
                await asyncio.sleep(0.1)
        writer.close()
    await asyncio.sleep(0.1)
    return answer


async def _dial(port: int, remote: tuple[str, int]) -> socket.socket | None:
    """Connect from a port to a remote that dials too; None if that did not succeed in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while loop.time() < end:
        attempt = _socket(port)
        try:
            await asyncio.wait_for(loop.sock_connect(attempt, remote), end - loop.time())
        except OSError:
            attempt.close()
            await asyncio.sleep(random.uniform(0.01, 0.2))
        else:
            return attempt
    return None


def _socket(port: int) -> socket.socket:
    """A TCP socket on a port that it shares with others of this host."""
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("0.0.0.0", port))
    return made
