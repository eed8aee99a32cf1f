"""Small programs for hosts: plain asyncio, nothing of natsim (but for `run`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from natsim import Internet

Address = tuple[str, int]

PORT = 7000


def run(net: Internet, story: Any) -> Any:
    """What a story returns in the kernel world."""
    return net.run(story, world="kernel", limit=20).result


async def settle() -> None:
    """Let what was just started reach its first wait."""
    await asyncio.sleep(0.02)


def tcp_socket(local_port: int = 0) -> socket.socket:
    """A socket that can share its port, which has to be said before the first bind."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", local_port))
    return sock


def udp_socket(local_port: int = 0) -> socket.socket:
    """A socket for datagrams."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("", local_port))
    return sock


@contextlib.contextmanager
def listening(port: int = PORT) -> Iterator[socket.socket]:
    with tcp_socket(port) as sock:
        sock.listen()
        yield sock


def said(address: Address) -> bytes:
    return f"{address[0]}:{address[1]}".encode().ljust(32)


def heard(text: bytes) -> Address:
    address, _, port = text.decode().strip().partition(":")
    return address, int(port)


async def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += more
    return data


async def echo_server(port: int = PORT) -> None:
    """Tell each client where it seems to come from, then echo."""
    loop = asyncio.get_running_loop()

    async def serve(client: socket.socket, peer: Address) -> None:
        with client, contextlib.suppress(ConnectionError):
            await loop.sock_sendall(client, said(peer))
            while data := await loop.sock_recv(client, 65536):
                await loop.sock_sendall(client, data)

    with listening(port) as listener:
        async with asyncio.TaskGroup() as clients:
            while True:
                clients.create_task(serve(*await loop.sock_accept(listener)))


async def dial(address: str, port: int = PORT, *, local_port: int = 0) -> socket.socket:
    """A connection."""
    sock = tcp_socket(local_port)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def seen_as(address: str, port: int = PORT, *, local_port: int = 0) -> Address:
    """As whom the echo server at that address sees us."""
    with await dial(address, port, local_port=local_port) as sock:
        return heard(await receive(sock, 32))


async def matchmaker(port: int = PORT) -> None:
    """Tell two clients of each other, and stay."""
    loop = asyncio.get_running_loop()
    with listening(port) as listener:
        one, one_at = await loop.sock_accept(listener)
        other, other_at = await loop.sock_accept(listener)
        with one, other:
            await loop.sock_sendall(one, said(other_at))
            await loop.sock_sendall(other, said(one_at))
            await asyncio.Event().wait()


async def meet(server: str, local_port: int) -> socket.socket:
    """Meet the other at the server, then open a connection straight to it, from the same port."""
    with await dial(server, local_port=local_port) as rendezvous:
        peer, port = heard(await receive(rendezvous, 32))
        return await dial(peer, port, local_port=local_port)


async def datagrams(count: int) -> list[int]:
    """Receive numbered datagrams until the way has been silent for a moment."""
    loop, got = asyncio.get_running_loop(), []
    with udp_socket(PORT) as sock:
        while len(got) < count:
            try:
                async with asyncio.timeout(0.3):
                    got.append(int(await loop.sock_recv(sock, 100)))
            except TimeoutError:
                break
    return got


async def send_datagrams(address: str, count: int) -> None:
    """Send numbered datagrams."""
    with udp_socket() as sock:
        for number in range(count):
            sock.sendto(str(number).encode(), (address, PORT))
