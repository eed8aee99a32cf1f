"""The STUN server: what it answers, what it does not, and that it sits beside the relay on the same port number."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

import natsim
import punchkit
from punchkit.outside import PADDING, outside_address
from punchkit.retransmission import DatagramClient
from punchkit.server.stun_server import LONGEST_REQUEST, respond
from punchkit.stun import Change, Kind, Message, decode, encode

ASKER = ("198.51.100.1", 40000)


@pytest.mark.parametrize("asker", [ASKER, ("2001:db8::7", 40000)])
def test_an_answer_names_the_asker_and_is_no_larger_than_the_question(asker: tuple[str, int]) -> None:
    request = Message(Kind.REQUEST, attributes=PADDING)
    answer = respond(encode(request), asker)
    assert answer is not None
    assert len(answer) <= len(encode(request))
    assert decode(answer).answers(request)
    assert decode(answer).mapped == asker


def test_what_is_indispensable_and_unknown_is_refused() -> None:
    asked = {"SOFTWARE": "x" * 60, "CHANGE-REQUEST": Change(address=True, port=False)}
    answer = respond(encode(Message(Kind.REQUEST, attributes=asked)), ASKER)
    assert answer is not None
    assert decode(answer).kind is Kind.ERROR
    assert decode(answer).attributes["ERROR-CODE"][0] == 420
    assert decode(answer).attributes["UNKNOWN-ATTRIBUTES"] == (3,)


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.REQUEST),  # shorter than its answer: it would make us a magnifying glass
        Message(Kind.INDICATION, attributes=PADDING),
        Message(Kind.SUCCESS, attributes={"XOR-MAPPED-ADDRESS": ASKER, **PADDING}),  # or two servers talk for ever
        Message(Kind.REQUEST, attributes={"SOFTWARE": "x" * LONGEST_REQUEST}),
    ],
)
def test_what_gets_no_answer(message: Message) -> None:
    assert respond(encode(message), ASKER) is None


@given(st.binary(max_size=100))
def test_garbage_gets_no_answer_and_breaks_nothing(data: bytes) -> None:
    answer = respond(data, ASKER)
    assert answer is None or len(answer) <= len(data)


def test_a_udp_port_learns_its_outside_address_from_the_relay() -> None:
    net = natsim.two_nats("linux", "linux", seed=5)

    async def ask() -> tuple[str, int]:
        port = await DatagramClient.open()
        try:
            return await outside_address(port, (net.server.address, 7711))
        finally:
            port.close()

    async def story() -> tuple[str, int]:
        server = punchkit.Server()
        net.server.start(server.run())
        await server.ready.wait()
        return await net.alice.start(ask())

    host, _ = net.run(story).result
    assert host == str(net.nat_a.address)


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_both_families_side_by_side_on_real_sockets() -> None:
    async def story() -> list[str]:
        server = punchkit.Server(("0.0.0.0", "::"), 0)
        serving = asyncio.create_task(server.run())
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        seen = []
        for loopback in ("127.0.0.1", "::1"):
            port = await DatagramClient.open((loopback, 0))
            seen.append((await outside_address(port, (loopback, server.port)))[0])
            port.close()
        serving.cancel()
        await asyncio.wait([serving])
        return seen

    assert asyncio.run(story()) == ["127.0.0.1", "::1"]
