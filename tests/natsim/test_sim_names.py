"""What a program on a simulated host finds when it asks for names, addresses and ready sockets in the plain way."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

import ifaddr
import pytest
from sim_tools import datagrams, on_host

import natsim

TCP = (socket.SOCK_STREAM, socket.IPPROTO_TCP)


def found(*args: Any, **options: Any) -> list[Any]:
    """The addresses that getaddrinfo finds, for TCP."""
    return [entry[4] for entry in socket.getaddrinfo(*args, type=socket.SOCK_STREAM, **options)]


def six() -> natsim.Internet:
    return natsim.two_nats("linux", "none", ipv6="firewall")


def on_alice(net: natsim.Internet, program: Any) -> Any:
    async def story() -> Any:
        return await net.alice.start(program())

    return net.run(story).result


# -- Names ------------------------------------------------------------------------------------------------------------


def test_plain_calls_answer_for_the_host_on_which_they_are_made() -> None:
    net = natsim.two_nats("linux", "none")

    async def who() -> Any:
        return socket.gethostname(), socket.getfqdn(), socket.gethostbyname(socket.gethostname())

    async def story() -> Any:
        return [await host.start(who()) for host in (net.alice, net.bob)]

    assert net.run(story).result == [("alice", "alice", "192.168.1.2"), ("bob", "bob", "203.0.113.12")]
    assert socket.gethostname() not in ("alice", "bob"), "afterwards this machine answers again"


def test_the_story_itself_can_look_up_names_too() -> None:
    async def story() -> Any:
        return socket.gethostbyname("bob"), (await asyncio.get_running_loop().getaddrinfo("bob", 80))[0][4]

    assert natsim.two_nats("none", "none").run(story).result == ("203.0.113.12", ("203.0.113.12", 80))


def test_a_host_with_ipv6_hears_of_it_first_and_one_without_last() -> None:
    net = six()
    four, other = net.server.addresses
    assert ":" in other
    ends = [(other, 80, 0, 0), (four, 80)]

    async def program() -> Any:
        return [found("server", 80, family=family) for family in (0, socket.AF_INET, socket.AF_INET6)]

    assert on_alice(net, program) == [ends, ends[1:], ends[:1]]
    net.alice._addresses = net.alice._addresses[:1]
    assert on_alice(net, program)[0] == ends[::-1]


def test_loopback_and_every_address_in_both_families() -> None:
    async def program() -> Any:
        return found("localhost", 1), found(None, 1), found(None, 1, flags=socket.AI_PASSIVE)

    both = [("::1", 1, 0, 0), ("127.0.0.1", 1)]
    assert on_alice(six(), program) == (both, both, [("0.0.0.0", 1), ("::", 1, 0, 0)])


def test_entries_have_one_order_in_a_set_whatever_python_hashes_texts_by() -> None:
    """asyncio's servers bind in the order of such a set, and so draw their ports."""

    async def program() -> Any:
        infos = socket.getaddrinfo("server", 80)
        assert len({*infos, *infos}) == len(infos) == 4
        return [hash(info) == hash(tuple(map(int, info[:3]))) for info in infos]

    assert on_alice(six(), program) == [True] * 4


def test_addresses_of_ipv4_are_mapped_for_who_asks() -> None:
    def program(flags: int) -> Any:
        async def ask() -> Any:
            return found("bob", 1, family=socket.AF_INET6, flags=flags)

        return on_host(lambda net: ask())

    assert program(socket.AI_V4MAPPED) == [("::ffff:203.0.113.12", 1, 0, 0)]
    with pytest.raises(socket.gaierror, match="no address of that family"):
        program(0)


def test_names_of_addresses() -> None:
    async def program() -> Any:
        names = [socket.getnameinfo((address, 80), 0) for address in ("203.0.113.12", "203.0.113.99")]
        numeric = socket.getnameinfo(("203.0.113.12", 80), socket.NI_NUMERICHOST)
        with pytest.raises(socket.gaierror, match="no name"):
            socket.getnameinfo(("203.0.113.99", 80), socket.NI_NAMEREQD)
        assert socket.gethostbyname_ex("bob") == ("bob", [], ["203.0.113.12"])
        return [*names, numeric]

    assert on_host(lambda net: program()) == [("bob", "80"), ("203.0.113.99", "80"), ("203.0.113.12", "80")]


def test_ifaddr_tells_the_addresses_of_the_host() -> None:
    of_this_machine = [adapter.name for adapter in ifaddr.get_adapters()]

    async def program() -> Any:
        return {adapter.name: [ip.ip for ip in adapter.ips] for adapter in ifaddr.get_adapters()}

    net = six()
    assert on_alice(net, program) == {
        "lo": ["127.0.0.1", ("::1", 0, 0)],
        "eth0": ["192.168.1.2", (net.alice.addresses[1], 0, 0)],
    }
    assert [adapter.name for adapter in ifaddr.get_adapters()] == of_this_machine


# -- IPv6 -------------------------------------------------------------------------------------------------------------


def test_streams_and_datagrams_go_by_ipv6() -> None:
    net = six()

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("peername")).encode())
        writer.close()

    async def program() -> Any:
        reader, writer = await asyncio.open_connection("server", 80)
        seen = (await reader.read()).decode()
        writer.close()
        mine = await datagrams(remote=("server", 9))
        mine.transport.sendto(b"hello")
        data, source = await mine.received.get()
        return seen, data, source, mine.transport.get_extra_info("sockname")[0]

    async def story() -> Any:
        server = await net.server.start(asyncio.start_server(hello, None, 80))
        assert {sock.family for sock in server.sockets} == {socket.AF_INET, socket.AF_INET6}
        await net.server.start(datagrams(("::", 9), echo=True))
        return await net.alice.start(program())

    seen, data, source, own = net.run(story).result
    alice, server = net.alice.addresses[1], net.server.addresses[1]
    assert seen.startswith(f"('{alice}', ")
    assert (data, source, own) == (b"hello", (server, 9, 0, 0), alice), "IPv6 is translated by nobody"


def test_happy_eyeballs_fall_back_to_ipv4_when_ipv6_leads_nowhere() -> None:
    """RFC 8305: IPv4 is tried beside IPv6 after a quarter of a second."""
    net = natsim.two_nats("linux", "linux", ipv6="firewall")

    async def program() -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "server", 80, happy_eyeballs_delay=0.25)
        return transport.get_extra_info("peername"), loop.time()

    async def story() -> Any:
        server = await net.server.start(asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 80))
        net.server._addresses = net.server._addresses[0], net.bob.addresses[1]  # a firewall drops what comes for bob
        async with server:
            return await net.alice.start(program())

    (address, _), when = net.run(story).result
    assert address == net.server.address
    assert when == pytest.approx(0.25 + 2 * 0.02)


# -- Looking at sockets -----------------------------------------------------------------------------------------------


def test_select_and_poll_look_at_simulated_sockets() -> None:
    async def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            poll = select.poll()
            poll.register(sock)
            assert select.select([sock], [sock], [], 0) == ([], [sock], [])
            assert poll.poll(0) == [(sock.fileno(), select.POLLOUT)]
            sock.sendto(b"x", sock.getsockname())
            await asyncio.sleep(0.1)
            assert select.select([sock.fileno()], [], [])[0] == [sock.fileno()]
            poll.modify(sock, select.POLLIN)
            assert poll.poll() == [(sock.fileno(), select.POLLIN)]
            assert sock.recv(9) == b"x"
            for blocking in (poll.poll, lambda: select.select([sock], [], [], 5)):
                with pytest.raises(RuntimeError, match="cannot block"):
                    blocking()
            poll.unregister(sock)
            with pytest.raises(FileNotFoundError):
                poll.modify(sock, select.POLLIN)
        with pytest.raises(OSError, match="Bad file"):
            select.select([1 << 30], [], [], 0)

    on_host(lambda net: program())
