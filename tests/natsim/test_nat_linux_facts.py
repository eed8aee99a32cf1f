"""The table of facts about Linux: each holds, and each would notice if the model's rule were another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import pytest
from sim_tools import s

from natsim import LinuxBehavior, WanInput
from natsim.nat import conntrack, conntrack_tracking, linux, linux_facts, linux_questions, linux_questions_tcp
from natsim.nat.conntrack import Conntrack
from natsim.nat.conntrack_tcp import NEXT, ORIGINAL, REPLY, TcpState
from natsim.nat.conntrack_tracking import Fate, TcpTracking
from natsim.nat.conntrack_window import Fit
from natsim.nat.leases import Lease
from natsim.nat.linux import LinuxNat, LinuxTimeouts
from natsim.nat.linux_facts import FACTS, Fact
from natsim.nat.linux_questions_tcp import CROSSED, OPEN
from natsim.packet import Endpoint, Packet
from natsim.scheduler import SECOND

Patch = pytest.MonkeyPatch
Mutation = tuple[Callable[[Patch], None], tuple[str, ...]]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_the_model_does_what_was_seen(fact: Fact) -> None:
    assert fact.measure() == fact.expected


def test_facts_have_names_of_their_own_and_sources() -> None:
    assert len({fact.name for fact in FACTS}) == len(FACTS)
    assert all(fact.source.startswith("measured on Linux 6.18") for fact in FACTS)


# -- Mutations: what if Linux were another NAT? ----------------------------------------------------------------------


def around(patch: Patch, owner: Any, name: str, before: Any = None, after: Any = None) -> None:
    """Do something before a method, or make something else of what it returns."""
    method = getattr(owner, name)

    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(self, *args)
        result = method(self, *args, **kwargs)
        return result if after is None else after(self, result, *args)

    patch.setattr(owner, name, changed)


def timeouts(**changed: int) -> Callable[[Patch], None]:
    def mutate(patch: Patch) -> None:
        for module in (linux_facts, linux_questions, linux_questions_tcp):
            patch.setattr(module, "PLAIN", LinuxBehavior(timeouts=LinuxTimeouts(**changed)))

    return mutate


def longer(seconds: int = 1) -> dict[str, int]:
    return {name: value + seconds for name, value in asdict(LinuxTimeouts()).items()}


def transition(direction: str, state: str, kind: str, after: str | None) -> Callable[[Patch], None]:
    def mutate(patch: Patch) -> None:
        row = NEXT[direction][TcpState[state]]
        if after is None:
            patch.delitem(row, kind)
        else:
            patch.setitem(row, kind, TcpState[after])

    return mutate


def always_another_port(patch: Patch) -> None:
    def choose(self: LinuxNat, packet: Packet, now: int) -> Endpoint | None:
        kept = Endpoint(self.external, packet.src.port)
        return self._random_source(packet, kept, packet.dst, now)

    patch.setattr(LinuxNat, "_choose_source", choose)


def never_another_port(patch: Patch) -> None:
    patch.setattr(LinuxNat, "_choose_source", lambda self, packet, now: Endpoint(self.external, packet.src.port))


def whole_ports_are_taken(patch: Patch) -> None:
    def is_free(self: LinuxNat, packet: Packet, source: Endpoint, remote: Endpoint, now: int) -> bool:
        return source not in [flow.reply_dst for flow in self.table(now)]

    patch.setattr(LinuxNat, "_is_free", is_free)


def nothing_is_ever_taken(patch: Patch) -> None:
    patch.setattr(LinuxNat, "_is_free", lambda *anything: True)


def one_class_for_all(patch: Patch) -> None:
    patch.setattr(linux, "_port_class", lambda protocol, port: (1024, 65535))


def anybody_may_enter(patch: Patch) -> None:
    def or_any(self: Conntrack, found: Any, wanted: Any, now: int) -> Any:
        return found or next((flow for flow in self.rows(now) if flow.reply_dst == wanted[-1]), None)

    around(patch, Conntrack, "find", after=or_any)


def the_router_is_mute(patch: Patch) -> None:
    patch.setattr(LinuxNat, "_own_answer", lambda self, packet: None)


def reject_is_mute(patch: Patch) -> None:
    patch.setattr(linux, "icmp_error", lambda *about: None)
    patch.setattr(linux, "reset_for", lambda packet: None)


def input_is(wan_input: WanInput, instead_of: WanInput) -> Callable[[Patch], None]:
    def change(self: LinuxNat, *anything: Any) -> None:
        if self.behavior.wan_input is instead_of:
            self.behavior = LinuxBehavior(wan_input=wan_input)

    return lambda patch: around(patch, LinuxNat, "inbound", before=change)


def taken_datagrams_are_forgotten(patch: Patch) -> None:
    def forget(self: LinuxNat, verdict: Any, *anything: Any) -> Any:
        self._conntrack.forget(verdict.row)
        return verdict

    around(patch, LinuxNat, "_taken", after=forget)


def a_lease_admits_nobody(patch: Patch) -> None:
    patch.setattr(Lease, "admits", lambda self, remote: False)


def a_stream_needs_no_answer(patch: Patch) -> None:
    def answered(self: Conntrack, flow: Any, now: int) -> None:
        flow.replied = True

    around(patch, Conntrack, "_idle", before=answered)


def streams_begin_after(seconds: float) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(conntrack, "STREAM_AFTER", s(seconds))


def a_refused_flow_stays(patch: Patch) -> None:
    def stays(self: TcpTracking, outcome: Any, *anything: Any) -> Any:
        return (Fate.PASSES, 10) if outcome[0] is Fate.LAST else outcome

    around(patch, TcpTracking, "_outcome", after=stays)


def crossing_is_not_noticed(patch: Patch) -> None:
    def uncrossed(self: TcpTracking, *anything: Any) -> None:
        self.crossed = False

    around(patch, TcpTracking, "_enter", before=uncrossed)


def every_rst_is_believed(patch: Patch) -> None:
    patch.setattr(TcpTracking, "_reset", lambda self, *anything: (TcpState.CLOSE, True))


def nothing_is_under_way(patch: Patch) -> None:
    def acknowledged(self: TcpTracking, *anything: Any) -> None:
        for side in self.sides.values():
            side.unacked = False

    around(patch, TcpTracking, "_idle", before=acknowledged)


def no_windows(patch: Patch) -> None:
    patch.setattr(conntrack_tracking, "check", lambda *anything, **more: Fit.WITHIN)


def acks_before_the_syn_ack(patch: Patch) -> None:
    no_windows(patch)
    transition(ORIGINAL, "SYN_SENT", "ACK", "SYN_SENT")(patch)


def ignored_syns_stay_ignored(patch: Patch) -> None:
    patch.setattr(TcpTracking, "_agrees_to_ignored_syn", lambda self, *anything: False)


def every_packet_renews(patch: Patch) -> None:
    def renew(self: Conntrack, fate: Any, flow: Any, packet: Any, now: int) -> Any:
        flow.expires = max(flow.expires, now + 120 * SECOND)
        return fate

    around(patch, Conntrack, "follow", after=renew)


def nobody_counts_repetitions(patch: Patch) -> None:
    patch.setattr(conntrack_tracking, "MAX_RETRANSMISSIONS", 99)


def tcp(*scripts: str) -> tuple[str, ...]:
    return tuple(f"linux: TCP {script}" for script in scripts)


def last(*scripts: str) -> tuple[str, ...]:
    return tuple(f"linux: last of TCP {script}" for script in scripts)


MUTATIONS: dict[str, Mutation] = {
    "always another port": (always_another_port, ("linux: ports of one socket", "linux: early * drop", "linux: echo")),
    "never another port": (never_another_port, ("linux: ports, fully-random", "linux: clash", "linux: echo")),
    "whole ports are taken": (whole_ports_are_taken, ("linux: overloading",)),
    "nothing is taken": (nothing_is_ever_taken, ("linux: clash", "linux: echo", "linux: leased port, tuple taken")),
    "one class": (one_class_for_all, ("linux: port classes",)),
    "no filter": (anybody_may_enter, ("linux: filter",)),
    "mute router": (the_router_is_mute, ("linux: hairpin", "linux: strays, input accept", "linux: early * accept")),
    "mute reject": (
        reject_is_mute,
        ("linux: strays, input reject", "linux: early * reject", "linux: SYN from * reject"),
    ),
    "reject for drop": (
        input_is(WanInput.REJECT, WanInput.DROP),
        ("linux: strays, input drop", "linux: early * drop", "linux: SYN from * drop"),
    ),
    "accept for reject": (input_is(WanInput.ACCEPT, WanInput.REJECT), ("linux: early datagram, input reject",)),
    "nothing is taken by the router": (taken_datagrams_are_forgotten, ("linux: early datagram, input accept",)),
    "no leases": (a_lease_admits_nobody, ("linux: leased port", "linux: leased port, tuple taken")),
    "one-sided streams": (a_stream_needs_no_answer, ("linux: unanswered datagrams", "linux: late first reply*")),
    "early streams": (streams_begin_after(1.7), ("linux: datagrams both ways, 1.8 s", "linux: datagrams, at 2 s")),
    "late streams": (
        streams_begin_after(2.3),
        ("linux: datagrams both ways, 2.2 s", "linux: datagrams, 1 ns later", "linux: late first reply*"),
    ),
    "longer timeouts": (
        timeouts(**longer()),
        ("linux: timeouts", "linux: echo", *tcp(">S", ">S <S.", OPEN, f"{CROSSED} >.", f"{OPEN} >R", f"{OPEN} <R")),
    ),
    **{
        f"longer {name}": (timeouts(**{name: 7}), tcp(script))
        for name, script in (
            ("tcp_fin_wait", f"{OPEN} >F."),
            ("tcp_close_wait", f"{OPEN} >F. <."),
            ("tcp_last_ack", f"{OPEN} >F. <. <F."),
            ("tcp_time_wait", f"{OPEN} >F. <. <F. >."),
            ("tcp_unacknowledged", ">."),
            ("tcp_unacknowledged", ">. <."),
        )
    },
    "an open window": (timeouts(tcp_max_retrans=400), ("linux: closed window",)),
    "a refused flow stays": (a_refused_flow_stays, (*tcp(">S <R."), "linux: early SYN, input accept")),
    "no simultaneous open": (
        transition(REPLY, "SYN_SENT", "SYN", None),
        tcp(">S <S", ">S <S >S."),
    ),
    "crossing is not noticed": (crossing_is_not_noticed, tcp(f"{CROSSED} <.")),
    "every RST is believed": (every_rst_is_believed, (*tcp(f"{OPEN} <R+"), *last(f"{OPEN} <R!"))),
    "nothing is under way": (nothing_is_under_way, tcp(f"{OPEN} >P.")),
    "data is never acknowledged": (transition(REPLY, "ESTABLISHED", "ACK", "IGNORED"), tcp(f"{OPEN} >P. <.")),
    "no picking up": (
        transition(ORIGINAL, "NONE", "ACK", None),
        (*tcp(">.", ">. <.", ">. <. >."), "linux: TCP without a flow"),
    ),
    "no reopening after a RST": (transition(ORIGINAL, "CLOSE", "SYN", "IGNORED"), tcp(f"{OPEN} >R >S")),
    "reopening after anybody's RST": (transition(ORIGINAL, "CLOSE", "SYN", "SYN_SENT2"), tcp(f"{OPEN} <R >S")),
    "no reopening in TIME_WAIT": (transition(ORIGINAL, "TIME_WAIT", "SYN", "IGNORED"), tcp(f"{OPEN} >F. <F. >. >S")),
    "no reopening from outside": (transition(REPLY, "TIME_WAIT", "SYN", "IGNORED"), ("linux: SYN from outside*",)),
    "ignored SYNs stay ignored": (ignored_syns_stay_ignored, tcp(f"{OPEN} <R >S <S.")),
    "SYNs from outside pass": (transition(REPLY, "ESTABLISHED", "SYN", "IGNORED"), last(f"{OPEN} <S")),
    "SYNs from outside pass after a RST": (transition(REPLY, "CLOSE", "SYN", "IGNORED"), last(f"{OPEN} <R <S")),
    "no windows": (no_windows, last(f"{OPEN} <P.!", f"{OPEN} <R!")),
    "ACKs before the SYN,ACK": (acks_before_the_syn_ack, last(">S >.")),
    "no half-open connections": (transition(REPLY, "SYN_SENT", "ACK", None), last(">S <.")),
    "every packet renews": (every_packet_renews, ("linux: SYN repeated",)),
    "nobody counts": (nobody_counts_repetitions, ("linux: same ACK four times",)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_another_rule_breaks_its_facts(name: str, monkeypatch: Patch) -> None:
    mutate, patterns = MUTATIONS[name]
    mutate(monkeypatch)
    for pattern in patterns:
        facts = [fact for fact in FACTS if matches(fact, pattern)]
        assert facts, pattern
        assert [fact.name for fact in facts if fact.measure() == fact.expected] == []


def test_every_fact_is_broken_by_some_mutation() -> None:
    patterns = [pattern for _, broken in MUTATIONS.values() for pattern in broken]
    assert [fact.name for fact in FACTS if not any(matches(fact, pattern) for pattern in patterns)] == []


def matches(fact: Fact, pattern: str) -> bool:
    return fnmatchcase(fact.name, pattern)
