"""Path MTU discovery (RFC 8201): what hosts make of Packet Too Big, for datagrams and for connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest
from sim_tools import datagrams, s, tcp, udp

import natsim
from natsim.icmp_error import TIME_EXCEEDED, TOO_LARGE, Complaint, icmp_error
from natsim.packet import ACK, PSH, SYN, Endpoint, Packet
from natsim.path_mtu import DESTINATIONS, LIFETIME, PathMtus
from natsim.tcp import TcpConnection
from natsim.trace import FRAGMENTED

A, B = Endpoint("2001:db8::10", 5000), Endpoint("2001:db8::20", 80)


def told(mtu: int | None, *, about: Packet | None = None, complaint: Complaint = TOO_LARGE) -> Packet:
    error = icmp_error("2001:db8::1", about or udp(A, B), complaint, mtu=mtu)
    assert error is not None
    return error


# -- What is remembered ------------------------------------------------------------------------------------------------


def test_what_a_router_says_counts_for_ten_minutes() -> None:
    paths = PathMtus()
    paths.learn(told(1400), s(1))
    assert [paths.of(B.address, now) for now in (s(1), s(1) + LIFETIME - 1, s(1) + LIFETIME)] == [1400, 1400, None]
    assert paths.of(A.address, s(1)) is None


@pytest.mark.parametrize(
    "error",
    [
        told(1279),
        told(1500),
        told(None),
        told(1280, complaint=TIME_EXCEEDED),
    ],
)
def test_nothing_is_made_larger_or_smaller_than_every_link_takes(error: Packet) -> None:
    paths = PathMtus()
    paths.learn(told(1400), 0)
    paths.learn(error, 0)
    assert paths.of(B.address, 0) == 1400
    assert len(paths) == 1


def test_of_ipv4_smaller_sizes_are_believed() -> None:
    paths = PathMtus()
    for mtu in (600, 67):
        error = icmp_error("192.0.2.9", udp("192.0.2.1:1", "192.0.2.2:2", df=True), TOO_LARGE, mtu=mtu)
        assert error is not None
        paths.learn(error, 0)
    assert paths.of("192.0.2.2", 0) == 600


def test_only_so_many_destinations_are_remembered() -> None:
    paths = PathMtus()
    for number in range(DESTINATIONS + 1):
        paths.learn(told(1400, about=udp(A, Endpoint(f"2001:db8:9::{number:x}", 1))), 0)
    assert len(paths) == DESTINATIONS
    assert paths.of("2001:db8:9::", 0) is None


# -- A connection ------------------------------------------------------------------------------------------------------


def established(unsent: bytes) -> TcpConnection:
    connection = TcpConnection(A, B, 1, mss=1440)
    connection.open(0)
    connection.segment_in(tcp(B, A, SYN | ACK, seq=8, ack=2, window=60_000, mss=1440), 0)
    connection.outbox.clear()
    connection.send(unsent, 0)
    return connection


def test_what_was_too_large_is_sent_again_in_smaller_segments() -> None:
    connection = established(bytes(3000))
    window = connection.snd.congestion.window
    sent, connection.outbox = connection.outbox, []
    connection.path_mtu_in(1220, sent[0].seq, 0)
    assert [len(segment.payload) for segment in sent] == [1440, 1440, 120]
    assert [len(segment.payload) for segment in connection.outbox] == [1220, 1220, 560]
    assert connection.outbox[0].seq == sent[0].seq
    assert connection.snd.congestion.window == window


@pytest.mark.parametrize(("mss", "ahead"), [(1220, -1), (1220, 3000), (1440, 0), (1500, 0)])
def test_who_guesses_is_not_believed_and_nothing_grows(mss: int, ahead: int) -> None:
    """RFC 5927 section 4.1: only a segment that is under way can have been too large."""
    connection = established(bytes(3000))
    first = connection.outbox.pop(0)
    connection.outbox.clear()
    connection.path_mtu_in(mss, (first.seq + ahead) % 2**32, 0)
    assert not connection.outbox
    assert connection.snd.mss == 1440


# -- Whole internets ---------------------------------------------------------------------------------------------------


def narrow(mtu: int = 1280) -> natsim.Internet:
    """Hosts on Ethernet, and between nat_a and the internet a tunnel."""
    net = natsim.two_nats("linux", "linux", ipv6="firewall")
    net.nat_a.link = replace(net.nat_a.link, mtu=mtu)
    return net


@pytest.mark.parametrize("upload", [True, False])
def test_a_connection_gets_through_a_narrow_link(upload: bool) -> None:
    net = narrow()
    large = bytes(range(256)) * 400

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if upload else large)
        await writer.drain()
        writer.write(b"%d" % len(await reader.read(-1)))
        writer.close()

    async def fetch() -> bytes:
        reader, writer = await asyncio.open_connection(net.server.address6, 80)
        writer.write(large if upload else b"")
        writer.write_eof()
        got = await reader.read(-1)
        writer.close()
        return got

    async def story() -> list[bytes]:
        await net.server.start(asyncio.start_server(serve, net.server.address6, 80))
        return [await net.alice.start(fetch()), await net.alice.start(fetch())]

    run = net.run(story, limit=60)
    assert run.result == [b"%d" % len(large) if upload else large + b"0"] * 2
    errors = {entry.packet.uid for entry in run.trace if entry.packet.is_icmp_error}
    too_large = [entry for entry in run.trace.drops() if "TOO LARGE" in str(entry.reason)]
    assert 1 <= len(errors) == len(too_large) <= 10
    assert max(entry.when for entry in too_large) < s(0.3), "the second connection knew it"
    assert not [entry for entry in run.trace if entry.action == FRAGMENTED]


def test_a_large_datagram_is_lost_once_and_cut_after_that() -> None:
    net = narrow()

    async def ask() -> list[object]:
        asker = await datagrams(None, (net.server.address6, 9))
        for _ in range(2):
            asker.transport.sendto(bytes(1400))
            await asyncio.sleep(1)
        error = asker.errors.get_nowait()
        return [error.errno, asker.received.qsize()]  # type: ignore[attr-defined]

    async def story() -> list[object]:
        await net.server.start(datagrams((net.server.address6, 9), echo=True))
        return await net.alice.start(ask())

    run = net.run(story)
    assert run.result == [errno.EMSGSIZE, 0], "the first echo was too large, too, and the server had to learn it"
    cut = [entry for entry in run.trace if entry.action == FRAGMENTED]
    assert {entry.node for entry in cut if "RFC 8201" in str(entry.reason)} == {"alice"}


def test_who_forbids_to_cut_hears_of_the_path() -> None:
    net = narrow()

    async def ask() -> list[int | None]:
        heard: list[int | None] = []
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as mine:
            mine.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
            for size in (1400, 1400, 1280 - 48):
                try:
                    mine.sendto(bytes(size), (net.server.address6, 9))
                    heard.append(None)
                except OSError as problem:
                    heard.append(problem.errno)
                await asyncio.sleep(1)
        return heard

    async def story() -> list[int | None]:
        return await net.alice.start(ask())

    assert net.run(story).result == [None, errno.EMSGSIZE, None]


def test_segments_of_a_listener_heed_what_is_known() -> None:
    connection = TcpConnection.accept(tcp(B, A, SYN, mss=1440, window=60_000), 1, 0, mss=1440)
    connection.snd.lower_mss(1220)
    connection.segment_in(tcp(B, A, ACK, seq=1, ack=2, window=60_000), 0)
    connection.outbox.clear()
    connection.send(bytes(1300), 0)
    assert [(len(segment.payload), bool(segment.flags & PSH)) for segment in connection.outbox] == [
        (1220, False),
        (80, True),
    ]
