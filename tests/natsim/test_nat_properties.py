"""What holds for every NAT, whatever is sent through it and when."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sim_tools import s, tcp, udp

from natsim import (
    LinuxBehavior,
    Masquerade,
    NatBehavior,
    WanInput,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
    preserve,
    random_port,
    sequential,
)
from natsim.nat.engine import NatEngine
from natsim.nat.linux import LinuxNat
from natsim.nat.verdict import Rule
from natsim.packet import ACK, FIN, RST, SYN, Endpoint, Packet

OUTSIDE = "198.51.100.1"
scopes = st.sampled_from([endpoint_independent, address_dependent, address_and_port_dependent])
rfc_behaviors = st.builds(
    NatBehavior,
    mapping=scopes,
    filtering=scopes,
    ports=st.sampled_from([preserve, random_port, sequential]),
    refresh_inbound=st.booleans(),
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
            assert (sent.src.address, sent.dst) == (OUTSIDE, remote)
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
    """No two rows that are alive claim the same packets from outside."""
    rows = engine.table(now)
    if isinstance(engine, NatEngine):
        claims = [(row.protocol, row.external) for row in rows]
    else:
        claims = [(row.protocol, row.reply_src, row.reply_dst) for row in rows]
    assert len(set(claims)) == len(claims)


@settings(deadline=None)
@given(rfc_behaviors, steps)
def test_what_leaves_an_rfc_nat_comes_back_and_rows_share_nothing(behavior: NatBehavior, script: list[Any]) -> None:
    play(NatEngine(behavior, OUTSIDE, random.Random(0)), script)


@settings(deadline=None)
@given(linux_behaviors, steps)
def test_what_leaves_a_linux_nat_comes_back_and_flows_share_nothing(behavior: LinuxBehavior, script: list[Any]) -> None:
    play(LinuxNat(behavior, OUTSIDE, random.Random(0)), script)


@settings(deadline=None)
@given(rfc_behaviors, st.lists(st.tuples(insiders, remotes), min_size=1, max_size=8), remotes)
def test_filtered_means_not_delivered_and_the_filter_knows_whom_we_spoke_to(
    behavior: NatBehavior, spoken: list[tuple[Endpoint, Endpoint]], stranger: Endpoint
) -> None:
    engine = NatEngine(behavior, OUTSIDE, random.Random(0))
    for inside, remote in spoken:
        engine.outbound(udp(inside, remote), 0)
    for row in engine.table(0):
        allowed = {behavior.filtering(session.remote) for session in row.sessions.values()}
        verdict = engine.inbound(udp(stranger, row.external), 0)
        assert verdict.passed == (behavior.filtering(stranger) in allowed)
        assert verdict.passed == (verdict.packet is not None)
        assert verdict.label == ("translated" if verdict.passed else "filtered")
