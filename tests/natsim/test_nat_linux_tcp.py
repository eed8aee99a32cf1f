"""TCP through Linux: a record of a real kernel, timers to the nanosecond, connections begun anew, crossing SYNs."""

from __future__ import annotations

import pytest
from linux_tools import KEPT, PEER, A, linux
from linux_transitions import BEGINNINGS, Transition, recorded
from sim_tools import s, tcp

from natsim import LinuxBehavior, Masquerade, WanInput
from natsim.nat.bench import Bench
from natsim.nat.conntrack_tcp import NEXT, TIMEOUT, TcpState
from natsim.nat.linux import LinuxTimeouts
from natsim.nat.linux_questions import engine_of
from natsim.nat.linux_questions_tcp import OPEN, Talk
from natsim.nat.verdict import Rule
from natsim.packet import ACK, RST, SYN, Endpoint
from natsim.tcp_segments import add

RECORD = recorded()


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_the_model_goes_where_the_kernel_went(beginning: str) -> None:
    for line in (line for line in RECORD if line.conversation == beginning):
        bench = Bench(LinuxBehavior())
        *_, last = Talk(bench).play(f"{beginning} {line.segment}")
        flows = engine_of(bench).table(0)
        state = flows[0].state if flows else "no flow"
        seconds = round(bench.seconds_alive()) if flows else 0
        assert Transition(beginning, line.segment, last.passed, state, seconds) == line


def test_the_record_reaches_every_state() -> None:
    reached = {line.state for line in RECORD}
    assert reached >= {state.value for state in NEXT["reply"]}


@pytest.mark.parametrize("state", TIMEOUT)
def test_every_state_has_its_own_timeout_to_the_nanosecond(state: TcpState) -> None:
    ways = {
        TcpState.SYN_SENT: ">S",
        TcpState.SYN_RECV: ">S <S.",
        TcpState.ESTABLISHED: OPEN,
        TcpState.FIN_WAIT: f"{OPEN} >F.",
        TcpState.CLOSE_WAIT: f"{OPEN} >F. <.",
        TcpState.LAST_ACK: f"{OPEN} >F. <F.",
        TcpState.TIME_WAIT: f"{OPEN} >F. <F. >.",
        TcpState.CLOSE: f"{OPEN} >R",
    }
    bench = Bench(LinuxBehavior(timeouts=LinuxTimeouts(**{TIMEOUT[state]: 77})))
    Talk(bench).play(ways[state])
    (flow,) = engine_of(bench).table(s(77) - 1)
    assert flow.state == state.value
    assert not engine_of(bench).table(s(77))


# -- Beginning anew ----------------------------------------------------------------------------------------------------


def test_a_refusal_takes_the_flow_and_the_hole_away() -> None:
    nat = linux()
    nat.outbound(tcp(A, PEER), 0)
    assert nat.inbound(tcp(PEER, KEPT, RST | ACK, ack=1), 0).packet.dst == A, "it is passed on"
    assert not nat.table(0)
    assert nat.inbound(tcp(PEER, KEPT), 0).rule is Rule.FILTERED


def test_a_closed_connection_may_begin_again_with_another_port() -> None:
    nat = linux(Masquerade.FULLY_RANDOM)
    first = nat.outbound(tcp(A, PEER), 0).packet.src
    nat.outbound(tcp(A, PEER, RST), 0)
    second = nat.outbound(tcp(A, PEER), 0)
    assert second.new
    assert second.packet.src != first


@pytest.mark.parametrize("wan_input", WanInput)
def test_a_syn_from_outside_ends_a_flow_in_time_wait_and_enters_nowhere(wan_input: WanInput) -> None:
    bench = Bench(LinuxBehavior(wan_input=wan_input))
    talk = Talk(bench)
    talk.play(f"{OPEN} >F. <F. >.")
    verdict = talk.say("<S")
    assert verdict.packet is None
    assert (verdict.reply is None) is (wan_input is WanInput.DROP)
    assert not engine_of(bench).table(0)


def test_after_a_reboot_a_connection_is_picked_up_from_inside_only() -> None:
    bench = Bench(LinuxBehavior(wan_input=WanInput.REJECT))
    talk = Talk(bench)
    talk.play(OPEN)
    bench.engine.reboot()
    stray = talk.say("<P.")
    assert (stray.packet, stray.reply.flags) == (None, RST), "the router, which knows nothing of it, breaks it off"
    assert talk.say(">P.").passed
    assert talk.say("<.").passed
    assert [flow.state for flow in engine_of(bench).table(0)] == ["ESTABLISHED"]


# -- Crossing SYNs, as hole punching sends them -----------------------------------------------------------------------


@pytest.mark.parametrize("syns", [">S <S", ">S >S <S", ">S <S >S <S"])
@pytest.mark.parametrize("rest", [">S. <S. >.", ">S. <S. <.", "<S. >S. <.", ">S. <.", "<S. >."])
def test_a_simultaneous_open_gets_through_however_it_goes(syns: str, rest: str) -> None:
    bench = Bench(LinuxBehavior())
    assert all(verdict.passed for verdict in Talk(bench).play(f"{syns} {rest} >P. <. <P. >."))
    assert [flow.state for flow in engine_of(bench).table(0)] == ["ESTABLISHED"]


def test_a_new_attempt_after_a_rst_gets_through_with_its_new_number() -> None:
    """The peer refused crossed SYNs; the next attempt has another initial number, and conntrack catches up."""
    nat = linux()
    assert nat.outbound(tcp(A, PEER, seq=1000, window=9), 0).passed
    assert nat.inbound(tcp(PEER, KEPT, seq=5000, window=9), 0).passed
    assert nat.inbound(tcp(PEER, KEPT, RST, seq=5001), 0).passed
    assert nat.outbound(tcp(A, PEER, seq=90_000, window=9), 0).passed
    assert nat.inbound(tcp(PEER, KEPT, SYN | ACK, seq=7000, ack=90_001, window=9), 0).passed
    assert nat.outbound(tcp(A, PEER, ACK, seq=90_001, ack=7001, window=9), 0).passed
    assert [flow.state for flow in nat.table(0)] == ["ESTABLISHED"]


@pytest.mark.parametrize("start", [0, 2**32 - 1, 2**31])
def test_numbers_go_round(start: int) -> None:
    nat, iss = linux(), add(start, 10)
    nat.outbound(tcp(A, PEER, seq=start, window=1000), 0)
    nat.inbound(tcp(PEER, KEPT, SYN | ACK, seq=iss, ack=add(start, 1), window=1000), 0)
    nat.outbound(tcp(A, PEER, ACK, seq=add(start, 1), ack=add(iss, 1), window=1000), 0)
    assert nat.inbound(tcp(PEER, KEPT, ACK, seq=add(iss, 1001), ack=add(start, 1), window=1000), 0).passed
    beyond = tcp(PEER, KEPT, ACK, seq=add(iss, 1_000_000), ack=add(start, 1), window=1000)
    assert nat.inbound(beyond, 0).rule is Rule.INVALID


def test_a_scaled_window_lets_more_pass() -> None:
    def passes(scale: int | None) -> bool:
        nat = linux()
        nat.outbound(tcp(A, PEER, seq=0, window=1000, wscale=scale), 0)
        nat.inbound(tcp(PEER, KEPT, SYN | ACK, seq=0, ack=1, window=1000, wscale=7), 0)
        nat.outbound(tcp(A, PEER, ACK, seq=1, ack=1, window=1000), 0)
        return nat.inbound(tcp(PEER, KEPT, ACK, seq=100_000, ack=1, window=1000), 0).passed

    assert passes(7)
    assert not passes(None), "if one side cannot scale, nobody does"


def test_what_is_invalid_from_outside_is_answered_as_the_input_chain_says() -> None:
    nat = linux(wan_input=WanInput.REJECT)
    for packet, out in (
        (tcp(A, PEER, window=9), True),
        (tcp(PEER, KEPT, SYN | ACK, ack=1, window=9), False),
        (tcp(A, PEER, ACK, seq=1, ack=1, window=9), True),
    ):
        assert (nat.outbound(packet, 0) if out else nat.inbound(packet, 0)).passed
    verdict = nat.inbound(tcp(PEER, KEPT, seq=77), 0)
    assert (verdict.rule, verdict.reply.flags, verdict.row) == (Rule.INVALID, RST | ACK, nat.table(0)[0])
    assert "ESTABLISHED" in str(verdict)
    assert verdict.reply.src == Endpoint(KEPT.address, KEPT.port)
