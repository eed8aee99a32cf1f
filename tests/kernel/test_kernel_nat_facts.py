"""The facts about Linux as a NAT, put to the real kernel: the same questions, and the same answers, as to the model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from kernel_nat import as_seen

from natsim import LinuxBehavior, Masquerade, WanInput
from natsim.kernel.kernel_nat import KernelBench
from natsim.nat.bench import ALICE, BOB, S1, S1_OTHER, S2
from natsim.nat.linux import LinuxTimeouts
from natsim.nat.linux_facts import FACTS, Fact
from natsim.nat.linux_questions import KEPT, MakeBench, ports_for_three
from natsim.nat.linux_questions_tcp import OPEN, Talk
from natsim.packet import ACK, FIN, ICMP, RST, SYN, TCP, Endpoint, Packet

pytestmark = [pytest.mark.kernel, as_seen]


@pytest.fixture
def make() -> Iterator[MakeBench]:
    """Puts real NATs on the bench, and takes them away afterwards."""
    with contextlib.ExitStack() as benches:
        yield lambda behavior: benches.enter_context(contextlib.closing(KernelBench(behavior)))


@pytest.mark.parametrize("fact", [fact for fact in FACTS if not fact.exact], ids=lambda fact: fact.name)
def test_the_kernel_does_what_the_table_says(fact: Fact, make: MakeBench) -> None:
    assert fact.ask(make) == fact.expected


def test_masquerade_random_is_fully_random(make: MakeBench) -> None:
    """So the model needs no third kind."""

    def masquerading_at_random(behavior: LinuxBehavior) -> KernelBench:
        bench = make(behavior)
        rule = 'add rule ip natsim postrouting oifname "wan" masquerade random'
        bench.engine.nft(f"flush chain ip natsim postrouting\n{rule}\n")
        return bench

    assert ports_for_three(LinuxBehavior(), masquerading_at_random) == "3 other ports"


def test_every_timeout_is_a_sysctl_that_the_kernel_obeys(make: MakeBench) -> None:
    numbers = range(11, 11 + len(asdict(LinuxTimeouts())))
    timeouts = LinuxTimeouts(*numbers)
    bench = make(LinuxBehavior(timeouts=timeouts))
    talk = Talk(bench)
    lives = []
    for segment in f"{OPEN} >F. <. <F. >. >R".split():
        talk.say(segment)
        lives.append(bench.seconds_alive())
    assert lives == [
        timeouts.tcp_syn_sent,
        timeouts.tcp_syn_recv,
        timeouts.tcp_established,
        timeouts.tcp_fin_wait,
        timeouts.tcp_close_wait,
        timeouts.tcp_last_ack,
        timeouts.tcp_time_wait,
        timeouts.tcp_close,
    ]


def test_the_state_of_crossed_syns_has_no_sysctl_of_its_own(make: MakeBench) -> None:
    bench = make(LinuxBehavior(timeouts=LinuxTimeouts(tcp_syn_sent=20)))
    talk = Talk(bench)
    talk.play(">S <S")
    assert bench.seconds_alive() == 20, "the second SYN renews nothing"
    talk.say("<S")
    assert bench.seconds_alive() == 120


# -- What the model does not show ------------------------------------------------------------------------------------


def test_what_is_invalid_would_leave_with_its_private_address(make: MakeBench) -> None:
    """Hence `ct state invalid drop` in the rules."""
    bench = make(LinuxBehavior())
    bench.engine.nft("flush chain ip natsim forward\nadd rule ip natsim forward accept\n")
    for flags in (SYN | ACK, FIN | ACK, RST):
        left = bench.engine.outbound(Packet(TCP, ALICE, S1, flags=flags, window=9)).packet
        assert left.src == ALICE
    assert not bench.engine.table()


@pytest.mark.parametrize("masquerade", Masquerade)
def test_a_firewall_keeps_addresses_and_a_nat_does_not(masquerade: Masquerade, make: MakeBench) -> None:
    bench = make(LinuxBehavior(masquerade))
    outside = bench.outside(ALICE, S1)
    assert (outside == ALICE) is (masquerade is Masquerade.NONE)
    assert bench.enters(S1, outside) == ALICE
    assert bench.enters(S2, outside) is None


def test_blocked_udp_does_not_leave_and_everything_else_does(make: MakeBench) -> None:
    bench = make(LinuxBehavior(block_udp=True))
    assert bench.outside(ALICE, S1) is None
    assert bench.outside(ALICE, S1, SYN) == KEPT
    assert bench.ping(ALICE, S1.address).passed


def test_an_echo_reply_that_nobody_asked_for_enters_nowhere(make: MakeBench) -> None:
    bench = make(LinuxBehavior(wan_input=WanInput.ACCEPT))
    stray = bench.pong(S1.address, Endpoint(KEPT.address, 77))
    assert (stray.packet, stray.reply) == (None, None)
    assert not bench.engine.outbound(
        Packet(ICMP, Endpoint(ALICE.address, 0), Endpoint(S1.address, 7), icmp=(0, 0))
    ).passed


def test_a_moved_socket_stays_moved_while_its_newest_flow_lives(make: MakeBench) -> None:
    bench = make(LinuxBehavior())
    bench.out(ALICE, S1)
    moved = bench.outside(BOB, S1)
    assert moved != KEPT
    assert bench.outside(BOB, S1_OTHER) == bench.outside(BOB, S2) == moved


def test_a_full_class_ends_in_silence(make: MakeBench) -> None:
    bench = make(LinuxBehavior())
    hosts = [Endpoint(f"192.168.1.{number}", port) for number in range(2, 152) for port in range(100, 120)]
    ends = [end for host in hosts if (end := bench.outside(host, S1)) is not None]
    assert len(ends) == len(set(ends)) == 511
