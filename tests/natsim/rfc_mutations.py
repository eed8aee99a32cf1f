"""For each requirement of the RFCs on TCP, ICMP, all of them, and carriers: a NAT that breaks it.

A mutation is either a set of fields that are changed in the behavior, or a change to the code that obeys it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from natsim import (
    Hairpin,
    Overloading,
    Timeouts,
    WhenFull,
    Wish,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    drop_syn,
    preserve,
    random_port,
    refuse_syn,
    unreachable_syn,
)
from natsim.nat import engine, icmp, tcp_tracking
from natsim.nat.allocation import Allocator
from natsim.nat.engine import NatEngine
from natsim.nat.table import Mapping, Session
from natsim.nat.tcp_tracking import IN, OUT, Tracking
from natsim.nat.unsolicited import Later
from natsim.nat.verdict import Rule, Verdict
from natsim.packet import ACK, FIN, RST, SYN, Packet

Change = Callable[[pytest.MonkeyPatch], None]
Mutation = dict[str, Any] | Change

#: The least time that there is, in seconds: too little by this is too little.
NANOSECOND = 1e-9


# -- Packets that are lost -------------------------------------------------------------------------------------------


def loses(direction: str, lost: Callable[[Packet], bool]) -> Change:
    """A NAT that drops some packets of one direction."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = getattr(NatEngine, direction)

        def judge(nat: NatEngine, packet: Packet, now: int) -> Verdict:
            return Verdict(Rule.INVALID, "lost") if lost(packet) else whole(nat, packet, now)

        monkeypatch.setattr(NatEngine, direction, judge)

    return change


def has(flags: int) -> Callable[[Packet], bool]:
    return lambda packet: packet.protocol == "tcp" and packet.flags == flags


def is_icmp(kind: int) -> Callable[[Packet], bool]:
    return lambda packet: packet.icmp is not None and packet.icmp[0] == kind


# -- ICMP errors -----------------------------------------------------------------------------------------------------


def mistranslates(spoil: Callable[[Verdict, Packet, Mapping, str | None], Verdict | None]) -> Change:
    """A NAT that spoils its verdicts on ICMP errors: (verdict, error, row, its own address or None) -> verdict."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        right = engine.translate_error

        def wrong(error: Packet, mapping: Mapping, external: str | None) -> Verdict:
            verdict = right(error, mapping, external)
            return spoil(verdict, error, mapping, external) or verdict

        monkeypatch.setattr(engine, "translate_error", wrong)

    return change


def lets_unknown_pass(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> Verdict | None:
    return Verdict(Rule.TRANSLATED, "as it is", packet=error) if mapping is None else None


def spoils(side: str, make: Callable[[Packet, Packet], Packet]) -> Change:
    """One that changes errors from "outside" or "inside": (what is right, what came in) -> what goes on."""

    def spoil(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> None:
        if verdict.packet is not None and (side == "outside") == (external is None):
            verdict.packet = make(verdict.packet, error)

    return mistranslates(spoil)


def leaves_quotation(right: Packet, error: Packet) -> Packet:
    return right.rewritten(quoted=error.quoted)


def changes_code(right: Packet, error: Packet) -> Packet:
    copy = right.rewritten()
    copy.icmp = (3, 1)
    return copy


def leaves_destination(right: Packet, error: Packet) -> Packet:
    return right.rewritten(dst=error.dst)


def leaves_source(right: Packet, error: Packet) -> Packet:
    return right.rewritten(src=error.src)


def ends_the_row(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> None:
    if mapping is not None:
        mapping.sessions.clear()
        mapping.doors.clear()


def refreshes_the_row(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> None:
    for session in mapping.sessions.values() if mapping is not None else ():
        session.expires += 10**9


def only_from_the_destination(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> Verdict | None:
    assert error.quoted is not None
    strange = external is None and error.src.address != error.quoted.dst.address
    return Verdict(Rule.FILTERED, "a stranger's error") if strange else None


def without(kind: tuple[int, int]) -> Change:
    """One that carries no errors of this type and code."""

    def spoil(verdict: Verdict, error: Packet, mapping: Any, external: str | None) -> Verdict | None:
        return Verdict(Rule.POLICY, "not that one") if error.icmp == kind else None

    return mistranslates(spoil)


def errors_never_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._mapping_of_error_from_outside

    def find(nat: NatEngine, error: Packet, now: int) -> Mapping | None:
        return None if error.src.address in nat.addresses else whole(nat, error, now)

    monkeypatch.setattr(NatEngine, "_mapping_of_error_from_outside", find)


# -- The engine ------------------------------------------------------------------------------------------------------


def never_forgets_a_syn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine.outbound

    def outbound(nat: NatEngine, packet: Packet, now: int) -> Verdict:
        held = dict(nat._held)
        verdict = whole(nat, packet, now)
        nat._held.update(held)
        return verdict

    monkeypatch.setattr(NatEngine, "outbound", outbound)


def answers_never_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NatEngine, "_turned", lambda nat, answer, now: answer)


def goes_to(state: Tracking, arrow: tuple[str, str], wrong: Tracking) -> Change:
    """A TCP machine with one wrong arrow."""
    return lambda monkeypatch: monkeypatch.setitem(tcp_tracking.NEXT[state], arrow, wrong)


def one_transitory_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._lifetime

    def lifetime(nat: NatEngine, session: Session, packet: Packet) -> float:
        closing = session.tracking is Tracking.BOTH_FIN
        return nat.behavior.timeouts.tcp_opening if closing else whole(nat, session, packet)

    monkeypatch.setattr(NatEngine, "_lifetime", lifetime)


def tcp_keeps_udp_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._note

    def note(nat: NatEngine, session: Session, packet: Packet, direction: str, now: int) -> None:
        whole(nat, session, packet, direction, now)
        for row in nat.rows.rows(now, session.mapping.internal.address):
            for other in row.sessions.values():
                other.expires = max(other.expires, session.expires)

    monkeypatch.setattr(NatEngine, "_note", note)


def any_protocol_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._mapping_at

    def mapping_at(nat: NatEngine, packet: Packet, now: int) -> Mapping | None:
        same_port = (row for row in nat.rows.rows(now) if row.external == packet.dst)
        return whole(nat, packet, now) or next(same_port, None)

    monkeypatch.setattr(NatEngine, "_mapping_at", mapping_at)


def strangers_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._refuse

    def refuse(nat: NatEngine, packet: Packet, rule: Rule, why: str, facts: Any, mapping: Any, now: int) -> Verdict:
        for session in mapping.sessions.values() if mapping is not None else ():
            session.expires = now + round(nat._lifetime(session, packet) * 10**9)
        return whole(nat, packet, rule, why, facts, mapping, now)

    monkeypatch.setattr(NatEngine, "_refuse", refuse)


def a_rst_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NatEngine._note

    def note(nat: NatEngine, session: Session, packet: Packet, direction: str, now: int) -> None:
        whole(nat, session, packet, direction, now)
        session.expires = now + round(nat._lifetime(session, packet) * 10**9)

    monkeypatch.setattr(NatEngine, "_note", note)


def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allocator, "_limit", lambda allocator, packet, now: None)


def a_moment_too_early(syn: Packet) -> Later:
    return Later(6 - NANOSECOND, unreachable_syn(syn))


def kept_at_will(wish: Wish) -> Iterator[int]:
    if wish.random.random() < 0.5:
        yield wish.internal.port
    yield from random_port(wish)


def always_the_first(internal: str, pool: Any, chance: Any) -> str:
    return str(pool[0])


# -- The tables ------------------------------------------------------------------------------------------------------

RFC5382: dict[str, list[Mutation]] = {
    "RFC 5382 REQ-1": [{"mapping": address_dependent}],
    "RFC 5382 REQ-2": [loses("inbound", has(FIN | ACK)), loses("outbound", has(RST | ACK)), loses("inbound", has(RST))],
    "RFC 5382 REQ-2 from outside": [loses("outbound", has(SYN | ACK)), {"filtering": address_and_port_dependent}],
    "RFC 5382 REQ-2a": [loses("inbound", has(SYN)), loses("outbound", has(SYN | ACK))],
    "RFC 5382 REQ-3": [{"filtering": address_and_port_dependent}],
    "RFC 5382 REQ-4": [{"unsolicited_syn": policy} for policy in (refuse_syn, unreachable_syn, a_moment_too_early)],
    "RFC 5382 REQ-4 matched": [never_forgets_a_syn, {"unsolicited_syn": a_moment_too_early}],
    "RFC 5382 REQ-4 unmatched": [{"unsolicited_syn": drop_syn}, {"unsolicited_syn": refuse_syn}],
    "RFC 5382 REQ-4 hairpinned": [answers_never_turn, {"unsolicited_syn": drop_syn}],
    "RFC 5382 REQ-5 established": [{"timeouts": Timeouts(tcp_established=7440 - NANOSECOND)}],
    "RFC 5382 REQ-5 opening": [{"timeouts": Timeouts(tcp_opening=240 - NANOSECOND)}],
    "RFC 5382 REQ-5 closing": [{"timeouts": Timeouts(tcp_closing=240 - NANOSECOND)}],
    "RFC 5382 REQ-6": [{"alg": True}],
    "RFC 5382 REQ-7": [{"ports": preserve, "overloading": Overloading.ALWAYS}],
    "RFC 5382 REQ-8": [{"hairpin": Hairpin.NONE}],
    "RFC 5382 REQ-8a": [{"hairpin": Hairpin.INTERNAL}],
    "RFC 5382 REQ-9": [without((3, 13)), spoils("outside", leaves_quotation), spoils("outside", leaves_destination)],
    "RFC 5382 REQ-10": [mistranslates(ends_the_row)],
}

RFC5508: dict[str, list[Mutation]] = {
    "RFC 5508 REQ-1": [loses("inbound", is_icmp(0)), loses("outbound", is_icmp(8))],
    "RFC 5508 REQ-1a": [{"mapping": address_dependent}],
    "RFC 5508 REQ-2": [{"timeouts": Timeouts(icmp=60 - NANOSECOND)}],
    "RFC 5508 REQ-4": [mistranslates(lets_unknown_pass)],
    "RFC 5508 REQ-4a": [spoils("outside", leaves_quotation)],
    "RFC 5508 REQ-4b": [spoils("outside", changes_code)],
    "RFC 5508 REQ-4c": [spoils("outside", leaves_destination)],
    "RFC 5508 REQ-5": [mistranslates(lets_unknown_pass)],
    "RFC 5508 REQ-5a": [spoils("inside", leaves_quotation)],
    "RFC 5508 REQ-5b": [spoils("inside", changes_code)],
    "RFC 5508 REQ-5c": [spoils("inside", leaves_source)],
    "RFC 5508 REQ-6": [mistranslates(ends_the_row), mistranslates(refreshes_the_row)],
    "RFC 5508 REQ-7": [errors_never_turn, {"hairpin": Hairpin.NONE}, spoils("outside", leaves_quotation)],
    "RFC 5508 REQ-7a": [errors_never_turn, spoils("outside", leaves_destination)],
    "RFC 5508 REQ-8": [{"when_full": WhenFull.DROP}, {"when_full": WhenFull.EVICT}],
    "RFC 5508 REQ-10a": [without((11, 0)), without((3, 4)), loses("inbound", is_icmp(0))],
    "RFC 5508 REQ-10c": [lambda monkeypatch: monkeypatch.setattr(icmp, "SOURCE_QUENCH", None)],
    "RFC 4787 REQ-12": [mistranslates(ends_the_row)],
    "RFC 4787 REQ-12a": [mistranslates(only_from_the_destination)],
    "RFC 4787 REQ-12b": [without((3, 0)), without((3, 15))],
}

T = Tracking
RFC7857: dict[str, list[Mutation]] = {
    "RFC 7857 section 2: CLOSED, C SYN": [goes_to(T.CLOSED, (OUT, "SYN"), T.ESTABLISHED)],
    "RFC 7857 section 2: INIT, S SYN": [goes_to(T.OUT_SYN, (IN, "SYN"), T.OUT_SYN)],
    "RFC 7857 section 2: INIT, S SYN, at once": [goes_to(T.OUT_SYN, (IN, "SYN"), T.IN_SYN)],
    "RFC 7857 section 2: ESTABLISHED, C FIN": [goes_to(T.ESTABLISHED, (OUT, "FIN"), T.BOTH_FIN)],
    "RFC 7857 section 2: ESTABLISHED, S FIN": [goes_to(T.ESTABLISHED, (IN, "FIN"), T.BOTH_FIN)],
    "RFC 7857 section 2: C FIN RCV, S FIN": [goes_to(T.OUT_FIN, (IN, "FIN"), T.OUT_FIN)],
    "RFC 7857 section 2: S FIN RCV, C FIN": [goes_to(T.IN_FIN, (OUT, "FIN"), T.IN_FIN)],
    "RFC 7857 section 2: ESTABLISHED, C RST": [goes_to(T.ESTABLISHED, (OUT, "RST"), T.ESTABLISHED)],
    "RFC 7857 section 2: ESTABLISHED, S RST": [goes_to(T.ESTABLISHED, (IN, "RST"), T.ESTABLISHED)],
    "RFC 7857 section 2: TRANS, C data": [goes_to(T.TRANS, (OUT, "data"), T.TRANS)],
    "RFC 7857 section 2: TRANS, S data": [goes_to(T.TRANS, (IN, "data"), T.TRANS)],
    "RFC 7857 section 2: client outside": [
        goes_to(T.CLOSED, (IN, "SYN"), T.ESTABLISHED),
        goes_to(T.IN_SYN, (OUT, "SYN"), T.IN_SYN),
    ],
    "RFC 7857 section 2.1": [one_transitory_timer],
    "RFC 7857 section 2.1 default": [
        {"timeouts": Timeouts(tcp_opening=240 - NANOSECOND)},
        {"timeouts": Timeouts(tcp_closing=240 - NANOSECOND)},
    ],
    "RFC 7857 section 2.2": [loses("inbound", has(RST | ACK)), loses("outbound", has(RST))],
    "RFC 7857 section 2.2 wait": [
        {"timeouts": Timeouts(tcp_reset=240 - NANOSECOND)},
        {"timeouts": Timeouts(tcp_reset=241)},
    ],
    "RFC 7857 section 2.2 revival": [
        {"timeouts": Timeouts(tcp_reset=10)},
        goes_to(T.TRANS, (IN, "data"), T.TRANS),
    ],
    "RFC 7857 section 4": [{"pooling": arbitrary}],
    "RFC 7857 section 4 TCP": [{"pooling": arbitrary}],
    "RFC 7857 section 5": [tcp_keeps_udp_alive],
    "RFC 7857 section 6": [any_protocol_will_do],
    "RFC 7857 section 7": [strangers_refresh],
    "RFC 7857 section 7 TCP": [strangers_refresh],
    "RFC 7857 section 7.1": [mistranslates(refreshes_the_row)],
    "RFC 7857 section 7.1 RST": [a_rst_refreshes],
    "RFC 7857 section 9": [{"ports": preserve}],
    "RFC 7857 section 9 preservation": [{"ports": kept_at_will}],
    "RFC 7857 section 12": [errors_never_turn, without((11, 1))],
}

RFC6888: dict[str, list[Mutation]] = {
    "RFC 6888 REQ-1": [{"timeouts": Timeouts(udp=119)}, {"hairpin": Hairpin.NONE}],
    "RFC 6888 REQ-2": [{"pooling": arbitrary}],
    "RFC 6888 REQ-3": [{"pooling": always_the_first}],
    "RFC 6888 REQ-4": [no_limit],
    "RFC 6888 REQ-7": [{"filtering": address_dependent}],
    "RFC 6888 REQ-8": [{"port_hold": 120 - NANOSECOND}, {"port_hold": 0}],
    "RFC 6888 REQ-11a": [{"when_full": WhenFull.EVICT}],
    "RFC 6888 REQ-11b": [{"when_full": WhenFull.DROP}],
    "RFC 6888 REQ-11d": [{"when_full": WhenFull.EVICT}],
    "RFC 6888 REQ-15": [{"ports": preserve}],
}
