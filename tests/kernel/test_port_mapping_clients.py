"""The simulated router's port mapping daemon on real sockets, asked by other people's clients.

`natpmpc` is the command of libnatpmp, `upnpc` that of miniupnpc; each runs on a host of its own, a network namespace,
and has the daemon's namespace for its router.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kernel_programs import settle

from natsim import NatBehavior
from natsim.aio.current import current_host, hosts_make_sockets
from natsim.kernel.namespace import Namespace
from natsim.kernel.requirements import program
from natsim.kernel.sockets import KernelHost
from natsim.nat.engine import NatEngine
from natsim.nat.port_mapping import Gateway, serve
from natsim.scheduler import nanoseconds

pytestmark = pytest.mark.kernel

ROUTER, HOST = "192.168.1.1", "192.168.1.2"

#: miniupnpc takes the addresses for documentation (RFC 5737) for no connection at all.
OUTSIDE = "11.22.33.44"

DESCRIPTION = f"http://{ROUTER}:5000/description.xml"


def needs(command: str, package: str) -> None:
    """Skip without a client; under PUNCHKIT_REQUIRE_ALL=1, fail instead."""
    if shutil.which(command) is not None:
        return
    problem = f"this test asks with `{command}`: install the package {package}"
    if os.environ.get("PUNCHKIT_REQUIRE_ALL") == "1":
        pytest.fail(f"PUNCHKIT_REQUIRE_ALL=1, but: {problem}")
    pytest.skip(problem)


class Lan:
    """A router with the daemon on it, and a host."""

    def __init__(self, router: Namespace, host: Namespace) -> None:
        self.router, self.host = router, host
        self.engine = NatEngine(NatBehavior(), OUTSIDE, random.Random(0))

    @contextlib.asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        """While this is entered, the daemon runs on the router."""
        here = KernelHost("router", self.router)
        current_host.set(here)
        gateway = Gateway(self.engine, self.now())
        task = asyncio.create_task(serve(gateway, ("nat-pmp", "pcp", "upnp"), ROUTER))
        try:
            await settle()
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)  # its transports close
            here.close()

    async def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a client on the host."""
        entered = ["nsenter", f"--net={self.host.path}", *command]
        return await asyncio.to_thread(subprocess.run, entered, capture_output=True, text=True, timeout=60)

    async def says(self, *command: str) -> str:
        """What a client says that must succeed."""
        done = await self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def now(self) -> int:
        return nanoseconds(asyncio.get_running_loop().time())

    def leases(self) -> list[str]:
        return [str(lease) for lease in self.engine.leases.rows(self.now())]


def on_a_lan(story: Callable[[Lan], Awaitable[Any]]) -> Any:
    """What a story returns on a LAN that is made for it."""

    async def main(lan: Lan) -> Any:
        async with lan.daemon():
            return await story(lan)

    with contextlib.closing(Namespace("router")) as router, contextlib.closing(Namespace("host")) as host:
        veth = f"link add lan type veth peer name eth0 netns {host.path}"
        _ip(router, "link set lo up", veth, f"address add {ROUTER}/24 dev lan", "link set lan up")
        _ip(host, f"address add {HOST}/24 dev eth0", "link set eth0 up", f"route add default via {ROUTER}")
        with hosts_make_sockets():
            return asyncio.run(main(Lan(router, host)))


def _ip(namespace: Namespace, *lines: str) -> None:
    namespace.sysctl({"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"})
    namespace.run([program("ip"), "-batch", "-"], "\n".join(lines) + "\n")


# -- NAT-PMP ----------------------------------------------------------------------------------------------------------


def test_natpmpc_maps_renews_and_deletes() -> None:
    needs("natpmpc", "natpmpc")

    async def story(lan: Lan) -> None:
        text = await lan.says("natpmpc", "-a", "6000", "5000", "udp", "3600")
        assert f"Public IP address : {OUTSIDE}" in text
        assert "Mapped public port 6000 protocol UDP to local port 5000 liftime 3600" in text
        assert lan.leases() == [f"udp {HOST}:5000 <-> {OUTSIDE}:6000 (leased)"]
        text = await lan.says("natpmpc", "-a", "7000", "5000", "udp", "1800")
        assert "Mapped public port 6000 protocol UDP to local port 5000 liftime 1800" in text
        text = await lan.says("natpmpc", "-a", "0", "5000", "tcp", "3600")
        assert "Mapped public port 6000 protocol TCP to local port 5000 liftime 3600" in text
        text = await lan.says("natpmpc", "-a", "0", "5000", "udp", "0")
        assert "Mapped public port 0 protocol UDP to local port 5000 liftime 0" in text
        assert lan.leases() == [f"tcp {HOST}:5000 <-> {OUTSIDE}:6000 (leased)"]

    on_a_lan(story)


# -- UPnP -------------------------------------------------------------------------------------------------------------


def test_upnpc_finds_the_router_by_itself() -> None:
    needs("upnpc", "miniupnpc")

    async def story(lan: Lan) -> None:
        text = await lan.says("upnpc", "-s")
        assert f"desc: {DESCRIPTION}" in text
        assert "Found valid IGD" in text
        assert "Connection Type : IP_Routed" in text
        assert "Status : Connected" in text
        assert f"ExternalIPAddress = {OUTSIDE}" in text

    on_a_lan(story)


def test_upnpc_adds_lists_and_deletes() -> None:
    needs("upnpc", "miniupnpc")

    async def story(lan: Lan) -> None:
        upnpc = ("upnpc", "-u", DESCRIPTION)
        text = await lan.says(*upnpc, "-a", HOST, "80", "8080", "TCP", "3600")
        assert f"external {OUTSIDE}:8080 TCP is redirected to internal {HOST}:80" in text
        text = await lan.says(*upnpc, "-n", HOST, "5000", "8080", "UDP", "3600")
        assert f"external {OUTSIDE}:8080 UDP is redirected to internal {HOST}:5000" in text
        assert lan.leases() == [
            f"tcp {HOST}:80 <-> {OUTSIDE}:8080 (leased)",
            f"udp {HOST}:5000 <-> {OUTSIDE}:8080 (leased)",
        ]
        text = await lan.says(*upnpc, "-l")
        assert f"0 TCP  8080->{HOST}:80    'libminiupnpc'" in text
        assert f"1 UDP  8080->{HOST}:5000" in text
        assert "returned : 0" in await lan.says(*upnpc, "-d", "8080", "TCP")
        assert "failed with code : 714" in (await lan.run(*upnpc, "-d", "8080", "TCP")).stdout
        assert lan.leases() == [f"udp {HOST}:5000 <-> {OUTSIDE}:8080 (leased)"]

    on_a_lan(story)


def test_upnpc_can_map_ports_to_its_own_host_only() -> None:
    needs("upnpc", "miniupnpc")

    async def story(lan: Lan) -> None:
        done = await lan.run("upnpc", "-u", DESCRIPTION, "-a", "192.168.1.3", "80", "8080", "TCP")
        assert "failed with code 606" in done.stdout
        assert lan.leases() == []

    on_a_lan(story)


# -- PCP, for which Debian has no client ------------------------------------------------------------------------------


def test_pcp_and_announcements_on_real_sockets() -> None:
    client, outside = (socket.inet_aton(address) for address in (HOST, OUTSIDE))
    header = struct.pack(">BBHI10xH4s", 2, 1, 0, 3600, 0xFFFF, client)
    map_request = header + struct.pack(">12sB3xHH16s", b"twelve bytes", socket.IPPROTO_UDP, 5000, 6000, bytes(16))

    async def story(lan: Lan) -> None:
        loop = asyncio.get_running_loop()
        with _socket(lan, 5350) as news, _socket(lan) as mine:
            async with asyncio.timeout(10):
                await loop.sock_sendto(mine, map_request, (ROUTER, 5351))
                answer, source = await loop.sock_recvfrom(mine, 2000)
                heard = [await loop.sock_recvfrom(news, 2000) for _ in range(2)]
        assert source == (ROUTER, 5351)
        assert (answer[:4], answer[42:44], answer[56:60]) == (b"\x02\x81\0\0", struct.pack(">H", 6000), outside)
        assert [(len(datagram), sender) for datagram, sender in heard] == [(12, source), (24, source)]

    on_a_lan(story)


def _socket(lan: Lan, port: int = 0) -> socket.socket:
    """A datagram socket on the host."""
    sock = lan.host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("", port))
    return sock
