"""What holds for every NAT, whatever is sent through it and when."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sim_tools import s, tcp, udp

from natsim import (
    DoubleHash,
    Hairpin,
    KeepClass,
    KeepParity,
    LinuxBehavior,
    Masquerade,
    NatBehavior,
    Overloading,
    PreserveElse,
    WanInput,
    address_and_port_dependent,
    address_dependent,
    arbitrary,
    drop_syn,
    endpoint_independent,
    hold_syn,
    paired,
    preserve,
    random_port,
    refuse_syn,
    sequential,
)
from natsim.nat.engine import NatEngine
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule
from natsim.packet import ACK, FIN, RST, SYN, Endpoint, Packet

OUTSIDE = "198.51.100.1"
POOL = [OUTSIDE, "198.51.100.2", "198.51.100.3"]
scopes = st.sampled_from([endpoint_independent, address_dependent, address_and_port_dependent])
port_rules = st.sampled_from([preserve, random_port, sequential, DoubleHash(), KeepClass(PreserveElse()), KeepParity()])
rfc_behaviors = st.builds(
    NatBehavior,
    mapping=scopes,
    filtering=scopes,
    ports=port_rules,
    overloading=st.sampled_from([Overloading.NEVER, Overloading.OTHER_DESTINATIONS]),
    addresses=st.integers(1, 3),
    pooling=st.sampled_from([paired, arbitrary]),
    hairpin=st.sampled_from(Hairpin),
    unsolicited_syn=st.sampled_from([drop_syn, refuse_syn, hold_syn]),
    refresh_outbound=st.booleans(),
    refresh_inbound=st.booleans(),
    port_hold=st.sampled_from([0, 60]),
    tcp=st.none() | st.builds(NatBehavior, mapping=scopes, filtering=scopes, ports=port_rules),
)
linux_behaviors = st.builds(
    LinuxBehavior, st.sampled_from([Masquerade.PLAIN, Masquerade.FULLY_RANDOM]), st.sampled_from(WanInput)
)
insiders = st.builds(Endpoint, st.sampled_from(["192.168.1.2", "192.168.1.3"]), st.sampled_from([5000, 5001]))
remotes = st.builds(Endpoint, st.sampled_from(["203.0.113.10", "203.0.113.11"]), st.sampled_from([5000, 5001]))
flags = st.sampled_from([None, SYN, SYN | ACK, ACK, FIN | ACK, RST])  # None: a datagram
pauses = st.sampled_from([0.0, 0.1, 5.0, 31.0, 121.0, 300.0])
#: (who inside, who outside, flags or a datagram, outbound?, seconds before)
steps = st.lists(st.tuples(insiders, remotes, flags, st.booleans(), pauses), max_size=40)


def packet(src: Endpoint, dst: Endpoint, flags: int | None) -> Packet:
    return udp(src, dst) if flags is None else tcp(src, dst, flags)


def play(engine: Any, script: list[Any]) -> None:
    """Run a script, checking after each step what must always hold."""
    now = 0
    for inside, remote, flags, goes_out, pause in script:
        now += s(pause)
        if goes_out:
            verdict = engine.outbound(packet(inside, remote, flags), now)
            sent = verdict.packet
            if verdict.rule is Rule.INVALID and isinstance(engine, LinuxNat) and flags not in (None, SYN):
                continue  # a SYN and a datagram always leave; anything else must belong to a flow
            assert sent is not None
            assert sent.dst == remote
            assert sent.src.address in POOL
            if flags != RST:  # a refusal may take the flow away
                answer = engine.inbound(packet(remote, sent.src, ACK if flags else flags), now).packet
                assert answer is not None, "what goes out comes back"
                assert answer.dst == inside, "to the same socket"
        else:
            known = engine.table(now)
            port = inside.port
            verdict = engine.inbound(packet(remote, Endpoint(OUTSIDE, port), flags), now)
            if verdict.packet is None:
                assert verdict.row is None or not verdict.passed
            else:
                assert any(
                    verdict.packet.dst in (getattr(row, "internal", None), getattr(row, "src", None)) for row in known
                )
        unshared(engine, now)


def unshared(engine: Any, now: int) -> None:
    """No two sessions (or flows) that are alive have the same 5-tuple outside."""
    rows = engine.table(now)
    if isinstance(engine, NatEngine):
        sessions = [session for row in rows for session in row.sessions.values() if session.expires > now]
        claims = [(x.mapping.protocol, x.mapping.external, x.remote) for x in sessions]
    else:
        claims = [(row.protocol, row.reply_src, row.reply_dst) for row in rows]
    assert len(set(claims)) == len(claims)


@settings(deadline=None)
@given(rfc_behaviors, steps)
def test_what_leaves_an_rfc_nat_comes_back_and_rows_share_nothing(behavior: NatBehavior, script: list[Any]) -> None:
    play(NatEngine(behavior, POOL[: behavior.addresses], random.Random(0)), script)


FRESH = Endpoint("192.168.1.9", 40_000)
FAR = [Endpoint(address, port) for address in ("203.0.113.50", "203.0.113.51") for port in (1, 2)]


@settings(deadline=None)
@given(rfc_behaviors, steps)
def test_a_nat_never_changes_its_type(behavior: NatBehavior, script: list[Any]) -> None:
    engine = NatEngine(behavior, POOL[: behavior.addresses], random.Random(0))
    known: dict[Any, Any] = {}
    now = 0
    for inside, remote, flags, goes_out, pause in script:
        now += s(pause)
        if goes_out:
            engine.outbound(packet(inside, remote, flags), now)
        else:
            engine.inbound(packet(remote, Endpoint(OUTSIDE, inside.port), flags), now)
        for row in engine.table(now):
            assert known.setdefault(row, (row.internal, row.external, row.scope)) == (
                row.internal,
                row.external,
                row.scope,
            )
    for flags in (None, SYN):
        rules = behavior.of("tcp" if flags else "udp")
        ends = {remote: engine.outbound(packet(FRESH, remote, flags), now).packet.src for remote in FAR}
        for one in FAR:
            for other in FAR:
                alike = rules.mapping(one) == rules.mapping(other)
                if alike or rules.overloading is Overloading.NEVER:
                    assert (ends[one] == ends[other]) == alike, "the mapping is what it was"
        alone = FRESH._replace(port=40_001)
        end = engine.outbound(packet(alone, FAR[0], flags), now).packet.src
        for remote in FAR[1:]:
            may_enter = rules.filtering(remote) == rules.filtering(FAR[0])
            if rules.overloading is Overloading.NEVER:
                assert engine.inbound(packet(remote, end, flags), now).passed == may_enter, "and so is the filter"


@settings(deadline=None)
@given(linux_behaviors, steps)
def test_what_leaves_a_linux_nat_comes_back_and_flows_share_nothing(behavior: LinuxBehavior, script: list[Any]) -> None:
    play(LinuxNat(behavior, OUTSIDE, random.Random(0)), script)


@settings(deadline=None)
@given(rfc_behaviors, st.lists(st.tuples(insiders, remotes), min_size=1, max_size=8), remotes)
def test_filtered_means_not_delivered_and_the_filter_knows_whom_we_spoke_to(
    behavior: NatBehavior, spoken: list[tuple[Endpoint, Endpoint]], stranger: Endpoint
) -> None:
    engine = NatEngine(replace(behavior, overloading=Overloading.NEVER), POOL[: behavior.addresses], random.Random(0))
    for inside, remote in spoken:
        engine.outbound(udp(inside, remote), 0)
    for row in engine.table(0):
        allowed = {behavior.filtering(session.remote) for session in row.sessions.values()}
        verdict = engine.inbound(udp(stranger, row.external), 0)
        assert verdict.passed == (behavior.filtering(stranger) in allowed)
        assert verdict.passed == (verdict.packet is not None)
        assert verdict.label == ("translated" if verdict.passed else "filtered")
