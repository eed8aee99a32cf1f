"""STUN messages against the test vectors of RFC 5769, against bytes made by hand, and against garbage."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from punchkit.errors import ProtocolError
from punchkit.stun import ATTRIBUTES, Change, Kind, Message, decode, encode

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 sections 2.1 to 2.3: a request and two responses, each with SOFTWARE (padded with spaces), attributes that
# belong to ICE and to passwords, and FINGERPRINT.
REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701bc34d686fa87dfae"
    "80220010 5354554e207465737420636c69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b151263b36"
    "00060009 6576746a3a68367659202020"
    "00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004 e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200008 0001a147 e112a643"
    "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004 c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004 c8fb0b4c"
)

PRIORITY, USERNAME, MESSAGE_INTEGRITY = 0x0024, 0x0006, 0x0008


def raw(body: str, kind: int = Kind.SUCCESS) -> bytes:
    """A message with these attributes, in hexadecimal digits, and without FINGERPRINT."""
    attributes = bytes.fromhex(body)
    return struct.pack("!HHI", kind, len(attributes), 0x2112A442) + TRANSACTION + attributes


# -- The vectors of RFC 5769 -------------------------------------------------------------------------------------------


def test_the_sample_request() -> None:
    """What it demands beyond our knowledge is reported, what it only offers (ICE-CONTROLLED) is passed over."""
    message = decode(REQUEST)
    assert (message.kind, message.transaction) == (Kind.REQUEST, TRANSACTION)
    assert message.attributes == {"SOFTWARE": "STUN test client"}
    assert message.unknown == (PRIORITY, USERNAME, MESSAGE_INTEGRITY)


@pytest.mark.parametrize(
    ("data", "address"),
    [(RESPONSE_IPV4, "192.0.2.1"), (RESPONSE_IPV6, "2001:db8:1234:5678:11:2233:4455:6677")],
)
def test_the_sample_responses(data: bytes, address: str) -> None:
    message = decode(data)
    assert message.kind is Kind.SUCCESS
    assert message.attributes == {"SOFTWARE": "test vector", "XOR-MAPPED-ADDRESS": (address, 32853)}
    assert message.mapped == (address, 32853)


def test_our_own_response_looks_like_the_sample_as_far_as_it_goes() -> None:
    ours = encode(Message(Kind.SUCCESS, TRANSACTION, {"XOR-MAPPED-ADDRESS": ("192.0.2.1", 32853)}))
    assert ours[4:32] == RESPONSE_IPV4[4:20] + RESPONSE_IPV4[36:48]
    assert ours[:4] + ours[32:36] == bytes.fromhex("01010014 80280004")


# -- Made by hand ------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_request() -> None:
    data = encode(Message(Kind.REQUEST, TRANSACTION, {"CHANGE-REQUEST": Change(address=True, port=False)}))
    body = bytes.fromhex("00010010 2112a442") + TRANSACTION + bytes.fromhex("00030004 00000004")
    fingerprint = zlib.crc32(body) ^ 0x5354554E
    assert data == body + bytes.fromhex("80280004") + fingerprint.to_bytes(4, "big")


def test_a_server_of_rfc_5780_says_who_it_is() -> None:
    message = decode(raw("00010008 0001 9c40 c6336401  802b0008 0001 0d96 cb00710a  802c0008 0001 0d97 cb00710b"))
    assert message.attributes == {
        "MAPPED-ADDRESS": ("198.51.100.1", 40000),
        "RESPONSE-ORIGIN": ("203.0.113.10", 3478),
        "OTHER-ADDRESS": ("203.0.113.11", 3479),
    }
    assert message.mapped == ("198.51.100.1", 40000)


def test_the_hidden_address_is_believed_rather_than_the_open_one() -> None:
    """Some NATs rewrite whatever looks like an address, payload or not."""
    attributes = {"MAPPED-ADDRESS": ("192.168.1.2", 4000), "XOR-MAPPED-ADDRESS": ("198.51.100.1", 40000)}
    assert Message(Kind.SUCCESS, attributes=attributes).mapped == ("198.51.100.1", 40000)
    assert Message(Kind.REQUEST).mapped is None


def test_a_refusal_names_what_was_not_understood() -> None:
    message = decode(raw("00090015 00000414 556e6b6e6f776e20417474726962757465 000000 000a0002 0024 0000", Kind.ERROR))
    assert message.attributes == {"ERROR-CODE": (420, "Unknown Attribute"), "UNKNOWN-ATTRIBUTES": (0x0024,)}


def test_of_two_alike_the_first_counts() -> None:
    assert decode(raw("80220001 61000000 80220001 62000000")).attributes == {"SOFTWARE": "a"}


def test_a_strangers_words_are_safe_to_print() -> None:
    assert decode(raw("80220005 1b5b324aff 000000")).attributes == {"SOFTWARE": "?[2J\N{REPLACEMENT CHARACTER}"}


def test_what_answers_a_request() -> None:
    request, other = Message(Kind.REQUEST), Message(Kind.REQUEST)
    assert request.transaction != other.transaction
    assert Message(Kind.SUCCESS, request.transaction).answers(request)
    assert Message(Kind.ERROR, request.transaction).answers(request)
    assert not Message(Kind.SUCCESS, other.transaction).answers(request)
    assert not Message(Kind.INDICATION, request.transaction).answers(request)
    assert not request.answers(request)  # it has come back to us


def test_the_table_has_each_attribute_once() -> None:
    assert len({attribute.number for attribute in ATTRIBUTES}) == len(ATTRIBUTES)
    assert [attribute.number for attribute in ATTRIBUTES] == sorted(attribute.number for attribute in ATTRIBUTES)


# -- Round trips -------------------------------------------------------------------------------------------------------

addresses = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
words = st.text(max_size=40).filter(str.isprintable)
values: dict[str, st.SearchStrategy[Any]] = {
    "MAPPED-ADDRESS": addresses,
    "CHANGE-REQUEST": st.builds(Change, st.booleans(), st.booleans()),
    "ERROR-CODE": st.tuples(st.integers(300, 699), words),
    "UNKNOWN-ATTRIBUTES": st.lists(st.integers(0, 65535), max_size=9).map(tuple),
    "XOR-MAPPED-ADDRESS": addresses,
    "SOFTWARE": words,
    "RESPONSE-ORIGIN": addresses,
    "OTHER-ADDRESS": addresses,
}
messages = st.builds(
    Message,
    st.sampled_from(Kind),
    st.binary(min_size=12, max_size=12),
    st.fixed_dictionaries({}, optional=values),
)


def test_every_attribute_but_the_fingerprint_is_tried_below() -> None:
    assert values.keys() | {"FINGERPRINT"} == {attribute.name for attribute in ATTRIBUTES}


@given(messages)
def test_a_message_travels(message: Message) -> None:
    assert decode(encode(message)) == message


# -- Garbage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "header alone"),
        (RESPONSE_IPV4[:19], "header alone"),
        (RESPONSE_IPV4[:-4], "claims to have 80"),
        (RESPONSE_IPV4 + bytes(4), "claims to have 80"),
        (b"\x01\x01\x00\x02" + RESPONSE_IPV4[4:20] + b"ab", "claims"),
        (bytes(20), "magic cookie"),
        (raw("", 0x0003), "type 0x0003"),  # Allocate, of TURN
        (raw("", 0xC001), "type 0xc001"),  # the first two bits are not zero
        (raw("00200008 00010d96"), "goes beyond the message"),
        (raw("00200004 00010d96"), "neither IPv4 nor IPv6"),
        (raw("00200008 00020d96 01020304"), "neither IPv4 nor IPv6"),
        (raw("00010008 00030d96 01020304"), "neither IPv4 nor IPv6"),
        (raw("00200018 00020d96" + "00" * 20), "neither IPv4 nor IPv6"),
        (raw("00030002 0000 0000"), "CHANGE-REQUEST"),
        (raw("00090004 00000214"), "ERROR-CODE"),
        (raw("00090004 00000464"), "ERROR-CODE"),
        (raw("00090002 0004 0000"), "ERROR-CODE"),
        (raw("000a0003 002400 00"), "odd"),
        (raw("80280004 00000000"), "FINGERPRINT"),
        (raw("80280003 00000000"), "FINGERPRINT"),
    ],
)
def test_what_is_malformed_is_refused_and_says_why(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        decode(data)


def test_nothing_can_be_added_behind_the_fingerprint() -> None:
    data = bytearray(RESPONSE_IPV4 + bytes.fromhex("80220000"))
    data[3] += 4
    with pytest.raises(ProtocolError, match="FINGERPRINT"):
        decode(bytes(data))


def decode_or_refuse(data: bytes) -> None:
    """Nothing but ProtocolError may come out."""
    try:
        decode(data)
    except ProtocolError:
        pass


@given(st.binary(max_size=200))
@example(RESPONSE_IPV6)
def test_no_bytes_crash_it(data: bytes) -> None:
    decode_or_refuse(data)


@given(st.sampled_from(Kind), st.binary(max_size=120).map(lambda body: body[: len(body) // 4 * 4]))
def test_no_attributes_crash_it(kind: Kind, body: bytes) -> None:
    decode_or_refuse(raw(body.hex(), kind))


@given(messages, st.data())
def test_no_damage_crashes_it(message: Message, data: st.DataObject) -> None:
    whole = bytearray(encode(message))
    for bit in data.draw(st.lists(st.integers(0, 8 * len(whole) - 1), min_size=1, max_size=3)):
        whole[bit // 8] ^= 1 << bit % 8
    decode_or_refuse(bytes(whole))


@given(st.integers(0, 95), addresses)
def test_damage_to_the_transaction_or_the_address_is_noticed(bit: int, address: tuple[str, int]) -> None:
    whole = bytearray(encode(Message(Kind.SUCCESS, TRANSACTION, {"XOR-MAPPED-ADDRESS": address})))
    for start in (8, 26):
        damaged = bytearray(whole)
        damaged[start + bit % 48 // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError, match="FINGERPRINT"):
            decode(bytes(damaged))


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda attribute: attribute.name)
@given(body=st.binary(max_size=40))
def test_no_value_of_a_known_attribute_crashes_it(attribute: Any, body: bytes) -> None:
    padded = body + bytes(-len(body) % 4)
    decode_or_refuse(raw(struct.pack("!HH", attribute.number, len(body)).hex() + padded.hex()))
