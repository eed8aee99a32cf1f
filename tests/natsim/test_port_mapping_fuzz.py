"""Rubbish goes in: no exception comes out, no answer is larger than its protocol allows, and none is for an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from port_mapping_tools import (
    ALICE,
    BOB,
    Lab,
    add_arguments,
    http_answer,
    natpmp_map,
    option,
    pcp_map,
    pcp_peer,
    pcp_request,
    post,
    soap,
)
from sim_tools import s

from natsim.nat.port_mapping import web
from natsim.nat.port_mapping.ssdp import Ssdp
from natsim.packet import Endpoint

LONGEST = 1100
STRANGER = Endpoint("203.0.113.9", 9)

GOOD = [
    b"\x00\x00",
    natpmp_map(5000),
    natpmp_map(0, lifetime=0),
    pcp_request(0, 0),
    pcp_map(5000),
    pcp_map(5000, lifetime=0),
    pcp_peer(5000, STRANGER),
]
options = st.builds(option, st.integers(0, 255), st.binary(max_size=40))
byte = st.integers(0, 255)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good message with some bytes changed, options added, cut off or made long."""
    data = bytearray(draw(st.sampled_from(GOOD)) + b"".join(draw(st.lists(options, max_size=4))))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 2**16), byte), max_size=5)):
        data[position % len(data)] = value
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


datagrams = st.one_of(st.binary(max_size=100), damaged(), damaged().map(lambda data: data + bytes(1200)))


@pytest.mark.parametrize("protocols", [("nat-pmp", "pcp"), ("nat-pmp",), ("pcp",)])
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(datagrams, st.sampled_from([ALICE, BOB])), min_size=1, max_size=8))
def test_port_5351(protocols: tuple[str, ...], asked: list[tuple[bytes, str]]) -> None:
    lab = Lab(protocols=protocols)
    for number, (datagram, host) in enumerate(asked):
        answer = lab.ask(datagram, host, now=number)
        if answer is None:
            continue
        assert 4 <= len(answer) <= LONGEST
        assert answer[0] in (0, 2)
        assert answer[1] == datagram[1] | 0x80
        if answer[0] == 2:
            assert len(answer) % 4 == 0
            assert len(answer) >= 24
        assert lab.ask(answer, host, now=number) is None, "an answer is never answered"
    for lease in lab.gateway.leases(s(1000)):
        assert lease.internal.address in (ALICE, BOB)
        assert lease.internal.address == lease.owner
        assert 0 < lease.external.port < 65536


@settings(max_examples=300, deadline=None)
@given(datagrams | st.text().map(lambda text: f"M-SEARCH * HTTP/1.1\r\n{text}\r\n\r\n".encode("utf-8", "replace")))
def test_ssdp(datagram: bytes) -> None:
    for answer in Ssdp("192.168.1.1", 5000).answers(datagram):
        assert len(answer) < LONGEST


texts = st.one_of(st.text(max_size=20), st.integers(-5, 70_000).map(str), st.sampled_from([ALICE, BOB, "TCP", "udp"]))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """HTTP requests between rubbish and right."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return b"POST /control/WANIPConnection HTTP/1.1\r\n" + draw(st.binary(max_size=200)) + b"\r\n\r\n"
    if kind == 2:
        return post("/control/WANIPConnection", draw(st.binary(max_size=200)))
    action = draw(st.sampled_from(["AddPortMapping", "AddAnyPortMapping", "DeletePortMapping", "GetStatusInfo"]))
    arguments: dict[str, object] = add_arguments()
    changed = draw(st.dictionaries(st.sampled_from(sorted(arguments)), texts, max_size=3))
    return post("/control/WANIPConnection", soap(action, arguments | changed).encode("utf-8", "replace"))


@settings(max_examples=500, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_the_web_server(asked: list[bytes]) -> None:
    lab = Lab()
    for request in asked:
        web.is_complete(request)
        status, _, body = http_answer(lab.upnp.answer(request, Endpoint(ALICE, 50_000), s(1000)))
        assert 200 <= status < 600
        assert len(body) < web.LARGEST
    assert all(lease.internal.address == ALICE for lease in lab.gateway.leases(s(1000)))
