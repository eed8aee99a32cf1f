"""What a peer names is attack input: bounded, filtered, and dialed only where it makes sense."""

from __future__ import annotations

import pytest

from punchkit.candidates import HOST, MAX_CANDIDATES, SERVER_REFLEXIVE, Candidate, from_json, own, worth_dialing
from punchkit.errors import ProtocolError

SERVER = ("203.0.113.10", 7711)
OURS = own(("192.168.1.2", 4000), ("198.51.100.1", 4000))


def theirs(*addresses: tuple[str, int], seen: str = "198.51.100.2") -> list[Candidate]:
    return [*(Candidate(HOST, address) for address in addresses), Candidate(SERVER_REFLEXIVE, (seen, 5000))]


def test_a_candidate_travels() -> None:
    assert from_json([candidate.to_json() for candidate in OURS]) == OURS


def test_a_peer_elsewhere_is_dialed_at_its_outside_address_only() -> None:
    assert worth_dialing(theirs(("192.168.7.9", 5000)), OURS, SERVER) == [("198.51.100.2", 5000)]


def test_a_peer_behind_the_same_outside_address_is_dialed_at_home_too() -> None:
    peer = theirs(("10.9.9.9", 5000), seen="198.51.100.1")
    assert worth_dialing(peer, OURS, SERVER) == [("10.9.9.9", 5000), ("198.51.100.1", 5000)]


def test_a_private_address_on_our_own_network_is_dialed() -> None:
    assert ("192.168.1.77", 5000) in worth_dialing(theirs(("192.168.1.77", 5000)), OURS, SERVER)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1", "::1", "ff02::1"]
)
def test_addresses_that_no_peer_can_have_are_refused(address: str) -> None:
    assert worth_dialing(theirs((address, 5000)), OURS, SERVER) == [("198.51.100.2", 5000)]


def test_loopback_is_dialed_by_those_who_are_on_loopback() -> None:
    ours = own(("127.0.0.1", 4000), ("127.0.0.1", 4000))
    peer = [Candidate(HOST, ("127.0.0.1", 5000))]
    assert worth_dialing(peer, ours, ("127.0.0.1", 7711)) == [("127.0.0.1", 5000)]


def test_neither_ourselves_nor_the_server_is_dialed() -> None:
    addresses = [SERVER, (SERVER[0], 22), OURS[0].address, OURS[1].address]
    assert worth_dialing([Candidate(HOST, address) for address in addresses], OURS, SERVER) == []


def test_one_address_has_one_spelling() -> None:
    (candidate,) = from_json([["host", "2001:DB8:0::1", 5000]])
    assert candidate.address == ("2001:db8::1", 5000)


def test_an_address_is_dialed_once() -> None:
    twice = [Candidate(HOST, ("198.51.100.2", 5000)), Candidate(SERVER_REFLEXIVE, ("198.51.100.2", 5000))]
    assert worth_dialing(twice, OURS, SERVER) == [("198.51.100.2", 5000)]


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        {},
        [["host", "198.51.100.2"]],
        [["host", "198.51.100.2", 0]],
        [["host", "198.51.100.2", 70000]],
        [["host", 5, 5000]],
        [["relay", "198.51.100.2", 5000]],
        [["host", "x" * 100, 5000]],
        [["host", "not.an.ip", 5000]],
        [["host", "198.51.100.2", 5000]] * (MAX_CANDIDATES + 1),
    ],
)
def test_nonsense_is_refused(nonsense: object) -> None:
    with pytest.raises(ProtocolError):
        from_json(nonsense)
