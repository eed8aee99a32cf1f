"""TCP's state table, transition by transition, and whether the table would notice a broken rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tcp_transitions import EVENTS, STATES, Row, happen, rows

from natsim import tcp, tcp_sender
from natsim.packet import Packet
from natsim.tcp import State, TcpConnection
from natsim.tcp_receiver import Receiver
from natsim.tcp_refusal import ChallengeLimit
from natsim.tcp_sender import Sender

TABLE = rows()


def wrong(row: Row) -> str:
    """What is not as the row says; nothing if all is."""
    found = happen(row.state, row.event)
    expected = (row.sends, row.next, row.tells)
    return "" if found == expected else f"{row.state}, {row.event}: {found}, not {expected} ({row.source})"


@pytest.mark.parametrize("state", STATES)
def test_every_row_of_a_state(state: str) -> None:
    assert [wrong(row) for row in TABLE if row.state == state and wrong(row)] == []


def test_every_state_has_a_row_for_everything_that_can_happen() -> None:
    assert [(row.state, row.event) for row in TABLE] == [(state, event) for state in STATES for event in EVENTS]
    assert all(row.source for row in TABLE)


#: RFC 9293 figure 5, but for what concerns LISTEN: from, to, and an event of ours on that arrow.
FIGURE_5 = [
    ("SYN-SENT", "SYN-RECEIVED (active)", "SYN"),
    ("SYN-SENT", "ESTABLISHED", "SYN,ACK acking"),
    ("SYN-SENT", "CLOSED", "CLOSE"),
    ("SYN-RECEIVED (active)", "ESTABLISHED", "ACK acking"),
    ("SYN-RECEIVED (passive)", "ESTABLISHED", "ACK acking"),
    ("SYN-RECEIVED (passive)", "CLOSED", "RST exact"),
    ("ESTABLISHED", "FIN-WAIT-1", "CLOSE"),
    ("ESTABLISHED", "CLOSE-WAIT", "FIN"),
    ("FIN-WAIT-1", "FIN-WAIT-2", "ACK acking"),
    ("FIN-WAIT-1", "CLOSING", "FIN"),
    ("FIN-WAIT-1", "TIME-WAIT", "FIN acking"),
    ("FIN-WAIT-2", "TIME-WAIT", "FIN"),
    ("CLOSE-WAIT", "LAST-ACK", "CLOSE"),
    ("CLOSING", "TIME-WAIT", "ACK acking"),
    ("LAST-ACK", "CLOSED", "ACK acking"),
    ("TIME-WAIT", "CLOSED", "timer"),
]


def test_every_arrow_of_figure_5_is_in_the_table() -> None:
    known = {(row.state, row.next, row.event) for row in TABLE}
    assert [arrow for arrow in FIGURE_5 if arrow not in known] == []


def test_closing_before_the_handshake_is_over_waits_for_it() -> None:
    """The arrow from SYN-RECEIVED to FIN-WAIT-1: the FIN leaves with the ACK (the RFC lets it wait, 3.10.4)."""
    connection = STATES["SYN-RECEIVED (passive)"]()
    connection.close(0)
    EVENTS["ACK acking"](connection)
    assert connection.state is State.FIN_WAIT_1


def test_without_the_application_what_is_new_is_refused() -> None:
    """Data that comes when nobody will read it any more (RFC 9293 3.6.1, MUST-17)."""
    for state in ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"):
        connection = STATES[state]()
        connection.close(0)
        connection.outbox.clear()
        EVENTS["text"](connection)
        assert [bool(packet.flags & 0x04) for packet in connection.outbox] == [True]
        assert connection.closed


# -- Would the table notice? ------------------------------------------------------------------------------------------

Change = Callable[[pytest.MonkeyPatch], None]


def leads(table: str, start: State, end: State | None) -> Change:
    """One of the tables leads elsewhere, or nowhere."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        changed = dict(getattr(tcp, table))
        if end is None:
            del changed[start]
        else:
            changed[start] = end
        monkeypatch.setattr(tcp, table, changed)

    return change


def without(table: str, state: State) -> Change:
    return lambda monkeypatch: monkeypatch.setattr(tcp, table, getattr(tcp, table) - {state})


def having(table: str, state: State) -> Change:
    return lambda monkeypatch: monkeypatch.setattr(tcp, table, getattr(tcp, table) | {state})


def instead(owner: type, name: str, other: Callable[..., object]) -> Change:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, other)


def _believes_any_reset(connection: TcpConnection, packet: Packet, now: int) -> None:
    if packet.flags & 0x04:
        connection._reset_by_peer()
    else:
        connection._send_ack(packet.uid)


def _never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = (lambda connection, now: None, *TcpConnection._TIMERS[1:])
    monkeypatch.setattr(TcpConnection, "_TIMERS", timers)


MUTATIONS: dict[str, Change] = {
    **{f"we finish: {s.value}": leads("WE_FINISH", s, None) for s in tcp.WE_FINISH},
    **{f"the peer finishes: {s.value}": leads("PEER_FINISHES", s, None) for s in tcp.PEER_FINISHES},
    **{f"our FIN is known: {s.value}": leads("OUR_FIN_IS_ACKNOWLEDGED", s, None) for s in tcp.OUR_FIN_IS_ACKNOWLEDGED},
    "simultaneous close waits like any": leads("PEER_FINISHES", State.FIN_WAIT_1, State.TIME_WAIT),
    "last ACK waits": leads("OUR_FIN_IS_ACKNOWLEDGED", State.LAST_ACK, State.TIME_WAIT),
    **{f"deaf in {s.value}": without("PEER_MAY_SEND", s) for s in tcp.PEER_MAY_SEND},
    **{f"listens in {s.value}": having("PEER_MAY_SEND", s) for s in (State.CLOSE_WAIT, State.TIME_WAIT)},
    **{f"mute in {s.value}": without("WE_MAY_SEND", s) for s in (State.ESTABLISHED, State.CLOSE_WAIT)},
    **{f"resets in {s.value}": without("NOTHING_TO_RESET", s) for s in tcp.NOTHING_TO_RESET if s is not State.CLOSED},
    **{
        f"leaves without a word in {s.value}": having("NOTHING_TO_RESET", s)
        for s in (State.ESTABLISHED, State.CLOSE_WAIT)
    },
    **{f"ICMP is nothing in {s.value}": without("HANDSHAKE", s) for s in tcp.HANDSHAKE},
    "ICMP kills what stands": having("HANDSHAKE", State.ESTABLISHED),
    "every segment is acceptable": instead(Receiver, "is_acceptable", lambda self, packet: True),
    "no segment is acceptable": instead(Receiver, "is_acceptable", lambda self, packet: False),
    "every ACK is credible": instead(Sender, "is_credible", lambda self, ack: True),
    "every ACK is new": instead(Sender, "acknowledges_something", lambda self, ack: True),
    "challenges are never sent": instead(ChallengeLimit, "allows", lambda self, now: False),
    "a RST need not be exact": instead(TcpConnection, "_challenge", _believes_any_reset),
    "strangers are ignored": instead(TcpConnection, "_refuse", lambda self, packet: None),
    "a SYN is sent but once more": lambda monkeypatch: monkeypatch.setattr(tcp, "LINUX_SYN_SCHEDULE", (1,)),
    "hope dies early": lambda monkeypatch: monkeypatch.setattr(tcp_sender, "MAXIMUM_RETRIES", 3),
    "TIME-WAIT never ends": _never_ends,
    "crossing SYNs are not seen": instead(Receiver, "without_known_syn", lambda self, packet, scale: packet),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_table_notices_a_broken_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    assert any(map(_wrong_or_broken, TABLE))


def _wrong_or_broken(row: Row) -> bool:
    try:
        return bool(wrong(row))
    except Exception:
        return True
