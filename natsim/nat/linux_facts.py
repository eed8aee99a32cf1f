"""The proof that `LinuxNat` is Linux: what a real kernel was seen to do, and a question to the model for each.

    for fact in FACTS:
        print(fact.name, fact.expected, fact.measure())

`natsim verify` prints this table.  The same questions are put to a real kernel by
`tests/kernel/test_kernel_nat_facts.py`, so that kernel, table and model agree or a test fails; beside it,
`test_kernel_nat_model.py` holds the two against each other packet by packet.  The questions are in
`linux_questions.py` and `linux_questions_tcp.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from .bench import Bench
from .linux_behavior import LinuxTimeouts, WanInput
from .linux_questions import (
    PLAIN,
    RANDOM,
    MakeBench,
    clash,
    datagram_lifetime,
    early_datagram,
    echo,
    engine_of,
    hairpin,
    late_first_reply,
    leased_port,
    one_port_for_two_hosts,
    port_classes,
    ports_for_three,
    strays,
    three_probes,
)
from .linux_questions_tcp import (
    CROSSED,
    OPEN,
    closed_window,
    early_syn,
    last_of,
    reopened_from_outside,
    repeated_ack,
    repeated_syn,
    state_after,
    without_a_flow,
)


@dataclass(frozen=True)
class Fact:
    """One thing that Linux does.  `exact`: so exact in time that only the model can be asked."""

    name: str
    source: str
    expected: str
    ask: Callable[[MakeBench], str]
    exact: bool = False

    def measure(self) -> str:
        """What the model does; `expected` if it is right."""
        return self.ask(Bench)


def timeouts_in_words(timeouts: LinuxTimeouts) -> str:
    """All of them, as "udp 30, ..."."""
    return ", ".join(f"{name} {seconds}" for name, seconds in asdict(timeouts).items())


_SEEN = "measured on Linux 6.18"
_NAT = f"{_SEEN}; nf_nat_core.c"
_CORE = f"{_SEEN}; nf_conntrack_core.c"
_UDP = f"{_SEEN}; nf_conntrack_proto_udp.c"
_TCP = f"{_SEEN}; nf_conntrack_proto_tcp.c"
_ICMP = f"{_SEEN}; nf_conntrack_proto_icmp.c"

_PORTS = (
    Fact("linux: ports of one socket", _NAT, "the inside port", partial(ports_for_three, PLAIN)),
    Fact("linux: ports, fully-random", _NAT, "3 other ports", partial(ports_for_three, RANDOM)),
    Fact("linux: overloading", _NAT, "1 outside port, answers told apart", one_port_for_two_hosts),
    Fact("linux: clash", _NAT, "the second moves within its class, for good", clash),
    Fact(
        "linux: port classes",
        _NAT,
        "1: 1-511, 511: 1-511, 512: 600-1023, 1023: 600-1023, 1024: 1024-65535, 65535: 1024-65535",
        port_classes,
    ),
    Fact(
        "linux: filter",
        _CORE,
        "same endpoint passes, other port filtered, other address filtered",
        three_probes,
    ),
    Fact("linux: hairpin", _NAT, "none, ICMP 3/3", hairpin),
)

_EARLY = tuple(
    Fact(f"linux: early datagram, input {wan_input.value}", _CORE, expected, partial(early_datagram, wan_input))
    for wan_input, expected in (
        (WanInput.DROP, "silence, port kept, punch succeeds"),
        (WanInput.REJECT, "ICMP 3/3, port kept, punch succeeds"),
        (WanInput.ACCEPT, "ICMP 3/3, port moved, punch fails"),
    )
) + tuple(
    Fact(f"linux: early SYN, input {wan_input.value}", _TCP, expected, partial(early_syn, wan_input))
    for wan_input, expected in (
        (WanInput.DROP, "silence, no flow left; then port kept, SYN_RECV, 60 s"),
        (WanInput.REJECT, "RST (R.), no flow left; then port kept, SYN_RECV, 60 s"),
        (WanInput.ACCEPT, "RST (R.), no flow left; then port kept, SYN_RECV, 60 s"),
    )
)

_STRAYS = tuple(
    Fact(f"linux: strays, input {wan_input.value}", _SEEN, expected, partial(strays, wan_input))
    for wan_input, expected in (
        (
            WanInput.DROP,
            "SYN: silence, SYN,ACK: silence, ACK: silence, FIN: silence, RST: silence, datagram: silence, "
            "echo: silence",
        ),
        (
            WanInput.REJECT,
            "SYN: RST (R.), SYN,ACK: RST (R), ACK: RST (R), FIN: RST (R), RST: silence, datagram: ICMP 3/3, "
            "echo: ICMP 3/3",
        ),
        (
            WanInput.ACCEPT,
            "SYN: RST (R.), SYN,ACK: RST (R), ACK: RST (R), FIN: RST (R), RST: silence, datagram: ICMP 3/3, "
            "echo: ICMP 0/0",
        ),
    )
)

_LEASES = (
    Fact("linux: leased port", _NAT, "seen as itself, answered from the leased port", partial(leased_port, False)),
    Fact(
        "linux: leased port, tuple taken",
        _NAT,
        "seen as itself with another port, answered from the leased port",
        partial(leased_port, True),
    ),
)

_DATAGRAMS = (
    Fact("linux: unanswered datagrams", _UDP, "30 s", partial(datagram_lifetime, False, 2.2)),
    Fact("linux: datagrams both ways, 1.8 s", _UDP, "30 s", partial(datagram_lifetime, True, 1.8)),
    Fact("linux: datagrams both ways, 2.2 s", _UDP, "120 s", partial(datagram_lifetime, True, 2.2)),
    Fact("linux: datagrams, at 2 s", _UDP, "30 s", partial(datagram_lifetime, True, 2), exact=True),
    Fact("linux: datagrams, 1 ns later", _UDP, "120 s", partial(datagram_lifetime, True, 2 + 1e-9), exact=True),
    Fact("linux: late first reply, and another", _UDP, "30 s, then 120 s", late_first_reply),
    Fact("linux: echo", _ICMP, "the second identifier moves, answers told apart, 30 s", echo),
    Fact(
        "linux: timeouts",
        f"{_SEEN}; /proc/sys/net/netfilter",
        "udp 30, udp_stream 120, icmp 30, tcp_syn_sent 120, tcp_syn_recv 60, tcp_established 432000, "
        "tcp_fin_wait 120, tcp_close_wait 60, tcp_last_ack 30, tcp_time_wait 120, tcp_close 10, tcp_max_retrans 300, "
        "tcp_unacknowledged 300",
        lambda make: timeouts_in_words(engine_of(make(PLAIN)).behavior.timeouts),
    ),
)

_STATES = tuple(
    Fact(f"linux: TCP {script}", _TCP, expected, partial(state_after, script))
    for script, expected in (
        (">S", "SYN_SENT, 120 s"),
        (">S <S.", "SYN_RECV, 60 s"),
        (OPEN, "ESTABLISHED, 432000 s"),
        (f"{OPEN} >F.", "FIN_WAIT, 120 s"),
        (f"{OPEN} >F. <.", "CLOSE_WAIT, 60 s"),
        (f"{OPEN} >F. <. <F.", "LAST_ACK, 30 s"),
        (f"{OPEN} >F. <. <F. >.", "TIME_WAIT, 120 s"),
        (f"{OPEN} <R", "CLOSE, 10 s"),
        (f"{OPEN} >R", "CLOSE, 10 s"),
        (f"{OPEN} <R+", "ESTABLISHED, 10 s"),  # within the window, but not exact
        (">S <R.", "no flow"),
        (">S <S", "SYN_SENT2, 120 s"),
        (">S <S >S.", "SYN_RECV, 60 s"),
        (f"{CROSSED} >.", "ESTABLISHED, 432000 s"),
        (f"{CROSSED} <.", "ESTABLISHED, 432000 s"),
        (f"{OPEN} >P.", "ESTABLISHED, 300 s"),
        (f"{OPEN} >P. <.", "ESTABLISHED, 432000 s"),
        (">.", "ESTABLISHED, 300 s"),  # picked up in the middle
        (">. <.", "ESTABLISHED, 300 s"),
        (">. <. >.", "ESTABLISHED, 432000 s"),
        (f"{OPEN} >R >S", "SYN_SENT, 120 s"),
        (f"{OPEN} <R >S", "CLOSE, 10 s"),
        (f"{OPEN} <R >S <S.", "SYN_RECV, 60 s"),
        (f"{OPEN} >F. <F. >. >S", "SYN_SENT, 120 s"),
    )
)

_SEGMENTS = (
    *(
        Fact(f"linux: last of TCP {script}", _TCP, expected, partial(last_of, script))
        for script, expected in (
            (f"{OPEN} <S", "invalid; ESTABLISHED, 432000 s"),
            (f"{OPEN} <R <S", "invalid; CLOSE, 10 s"),
            (f"{OPEN} <P.!", "invalid; ESTABLISHED, 432000 s"),
            (f"{OPEN} <R!", "invalid; ESTABLISHED, 432000 s"),
            (">S >.", "invalid; SYN_SENT, 120 s"),
            (">S <.", "passes; SYN_SENT, 120 s"),
        )
    ),
    Fact("linux: TCP without a flow", _TCP, "S . may leave", without_a_flow),
    Fact("linux: SYN repeated", _TCP, "not renewed", repeated_syn),
    Fact("linux: closed window", _TCP, "ESTABLISHED, 300 s", closed_window),
    Fact("linux: same ACK four times", _TCP, "432000 s, 432000 s, 300 s", repeated_ack),
    Fact(
        "linux: SYN from outside in TIME_WAIT, input drop",
        _TCP,
        "silence, no flow",
        partial(reopened_from_outside, WanInput.DROP),
    ),
    Fact(
        "linux: SYN from outside in TIME_WAIT, input reject",
        _TCP,
        "RST (R.), no flow",
        partial(reopened_from_outside, WanInput.REJECT),
    ),
)

FACTS = (*_PORTS, *_EARLY, *_STRAYS, *_LEASES, *_DATAGRAMS, *_STATES, *_SEGMENTS)
