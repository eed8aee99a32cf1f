"""Every state of TCP against everything that can happen: reads `tcp_transitions.txt`, and does what its rows say.

A row is: state, event, what is sent, the next state, what the application is told, and whose rule that is.

* A state is reached by an ordinary exchange (`STATES`), with the peer's receive window open and nothing in flight but
  what the state is about: a SYN in the first three, a FIN in FIN-WAIT-1, CLOSING and LAST-ACK.
* An event is a segment of the peer, an ICMP error, a call of the application, or a timer (`EVENTS`).
* What is sent is flags, then how its number stands to the highest one that we have sent (`max`), or to that of the
  segment that it answers (`their ack`, for a RST); "-" is nothing.
* The application is told an errno, "end" (end of file), "text", "done" (it may let go), or nothing, "-".
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tcp_wire import A, B, TcpConnection, make

from natsim.packet import ACK, FIN, PSH, RST, SYN, TCP, Packet, flag_text
from natsim.tcp import State
from natsim.tcp_congestion import SECOND
from natsim.tcp_segments import add

IRS, WINDOW = 9000, 5000
TABLE = Path(__file__).with_name("tcp_transitions.txt")


class Row(NamedTuple):
    """One line of the table."""

    state: str
    event: str
    sends: str
    next: str
    tells: str
    source: str


def rows() -> list[Row]:
    """The table."""
    found = []
    for line in TABLE.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            found.append(Row(*(cell.strip() for cell in line.split("|"))))
    return found


# -- Segments of the peer ---------------------------------------------------------------------------------------------


def peer(c: TcpConnection, flags: int, seq: int = 0, ack: int = 0, text: bytes = b"") -> Packet:
    """A segment to us, with numbers relative to RCV.NXT and to the highest number that we have sent."""
    origin = c.rcv_nxt if c.rcv.irs else IRS
    packet = Packet(TCP, B, A, text, flags=flags, seq=add(origin, seq), window=WINDOW)
    packet.uid = 77
    if flags & ACK:
        packet.ack = add(c.snd_max, ack)
    if flags & SYN:
        packet.mss = 1460
    return packet


def _segment(flags: int, seq: int = 0, ack: int = 0, text: bytes = b"") -> Callable[[TcpConnection], None]:
    return lambda c: c.segment_in(peer(c, flags, seq, ack, text), SECOND)


def _old_syn(c: TcpConnection) -> None:
    """The peer's first SYN, once more."""
    packet = peer(c, SYN)
    packet.seq = c.rcv.irs or IRS
    c.segment_in(packet, SECOND)


def _old_syn_ack(c: TcpConnection) -> None:
    packet = peer(c, SYN | ACK)
    packet.seq = c.rcv.irs or IRS
    c.segment_in(packet, SECOND)


def _timer(c: TcpConnection) -> None:
    """Whatever is due next."""
    if c.next_timer is not None:
        c.on_timer(c.next_timer)


def _wait(c: TcpConnection) -> None:
    """Wait until nothing is due any more, or forty timers have gone off."""
    for _ in range(40):
        _timer(c)


def _send(c: TcpConnection) -> None:
    c.send(b"hello", SECOND)


#: 1 MB is the receive window of `make`.
FAR = (1 << 20) + 10

EVENTS: dict[str, Callable[[TcpConnection], None]] = {
    # Segments; "acking" acknowledges all that we have sent, "before" is one less, "beyond" one more.
    "SYN": _segment(SYN),
    "SYN again": _old_syn,
    "SYN,ACK acking": _segment(SYN | ACK),
    "SYN,ACK before": _segment(SYN | ACK, ack=-1),
    "SYN,ACK beyond": _segment(SYN | ACK, ack=1),
    "SYN,ACK again": _old_syn_ack,
    "ACK acking": _segment(ACK),
    "ACK before": _segment(ACK, ack=-1),
    "ACK beyond": _segment(ACK, ack=1),
    "ACK ancient": _segment(ACK, ack=-100_000),
    "ACK old number": _segment(ACK, seq=-1),
    "text": _segment(ACK | PSH, text=b"hello"),
    "text old": _segment(ACK | PSH, seq=-5, text=b"hello"),
    "text early": _segment(ACK | PSH, seq=5, text=b"hello"),
    "text too far": _segment(ACK | PSH, seq=FAR, text=b"hello"),
    "text without ACK": _segment(PSH, text=b"hello"),
    "FIN": _segment(FIN | ACK, ack=-1),
    "FIN acking": _segment(FIN | ACK),
    "FIN again": _segment(FIN | ACK, seq=-1),
    "FIN early": _segment(FIN | ACK, seq=5),
    "RST exact": _segment(RST),
    "RST,ACK exact": _segment(RST | ACK),
    "RST,ACK before": _segment(RST | ACK, ack=-1),
    "RST in window": _segment(RST, seq=1),
    "RST old": _segment(RST, seq=-1),
    "RST too far": _segment(RST, seq=FAR),
    # ICMP errors.
    "ICMP port unreachable": lambda c: c.icmp_in(3, 3, SECOND),
    "ICMP host unreachable": lambda c: c.icmp_in(3, 1, SECOND),
    "ICMP too big": lambda c: c.icmp_in(3, 4, SECOND),
    # The application.
    "SEND": _send,
    "SHUTDOWN": lambda c: c.shutdown(SECOND),
    "CLOSE": lambda c: c.close(SECOND),
    "ABORT": lambda c: c.abort(SECOND),
    # Time.
    "timer": _timer,
    "long silence": _wait,
}


# -- States -----------------------------------------------------------------------------------------------------------


def _syn_sent() -> TcpConnection:
    c = make()
    c.open(0)
    return c


def _syn_received_active() -> TcpConnection:
    """Simultaneous open."""
    c = _syn_sent()
    c.segment_in(peer(c, SYN), 0)
    return c


def _syn_received_passive() -> TcpConnection:
    return TcpConnection.accept(Packet(TCP, B, A, flags=SYN, seq=IRS, window=WINDOW, mss=1460), 1000, 0)


def _established() -> TcpConnection:
    c = _syn_sent()
    c.segment_in(peer(c, SYN | ACK), 0)
    return c


def _fin_wait_1() -> TcpConnection:
    c = _established()
    c.shutdown(0)
    return c


def _fin_wait_2() -> TcpConnection:
    c = _fin_wait_1()
    c.segment_in(peer(c, ACK), 0)
    return c


def _close_wait() -> TcpConnection:
    c = _established()
    c.segment_in(peer(c, FIN | ACK), 0)
    return c


def _closing() -> TcpConnection:
    c = _fin_wait_1()
    c.segment_in(peer(c, FIN | ACK, ack=-1), 0)
    return c


def _last_ack() -> TcpConnection:
    c = _close_wait()
    c.shutdown(0)
    return c


def _time_wait() -> TcpConnection:
    c = _fin_wait_2()
    c.segment_in(peer(c, FIN | ACK), 0)
    return c


def _closed() -> TcpConnection:
    c = _last_ack()
    c.segment_in(peer(c, ACK), 0)
    return c


STATES: dict[str, Callable[[], TcpConnection]] = {
    "SYN-SENT": _syn_sent,
    "SYN-RECEIVED (active)": _syn_received_active,
    "SYN-RECEIVED (passive)": _syn_received_passive,
    "ESTABLISHED": _established,
    "FIN-WAIT-1": _fin_wait_1,
    "FIN-WAIT-2": _fin_wait_2,
    "CLOSE-WAIT": _close_wait,
    "CLOSING": _closing,
    "LAST-ACK": _last_ack,
    "TIME-WAIT": _time_wait,
    "CLOSED": _closed,
}


# -- What comes of it -------------------------------------------------------------------------------------------------


def happen(state: str, event: str) -> tuple[str, str, str]:
    """What is sent, the next state, and what the application is told."""
    c = STATES[state]()
    c.outbox.clear()
    highest, readable, at_eof = c.snd_max, c.rcv.has_text, c.at_eof
    raised = ""
    try:
        EVENTS[event](c)
    except OSError as error:
        raised = errno.errorcode[error.errno or 0]
    told = [raised] if raised else []
    if c.error is not None:
        told.append(errno.errorcode[c.error])
    told += ["text"] * (c.rcv.has_text and not readable) + ["end"] * (c.at_eof and not at_eof)
    return _sent(c, highest), _state(c), ", ".join(told) or "-"


def _state(c: TcpConnection) -> str:
    if c.state is State.SYN_RECEIVED:
        return f"SYN-RECEIVED ({'passive' if c.passive else 'active'})"
    return c.state.value


def _sent(c: TcpConnection, highest: int) -> str:
    """Flags and numbers of what is in the outbox; of more than three segments only how many of which."""
    told = []
    for packet in c.outbox:
        words = [flag_text(packet.flags)]
        if packet.flags & RST and not packet.flags & ACK:
            words.append("their ack" if packet.seq != highest else "max")
        else:
            words.append(_number(packet.seq, highest))
        told.append(" ".join(words))
    if len(told) > 3:
        return ", ".join(f"{told.count(one)} x {one}" for one in dict.fromkeys(told))
    return ", ".join(told) or "-"


def _number(seq: int, highest: int) -> str:
    if seq == 0:
        return "0"
    return "max" if seq == highest else f"max{(seq - highest + 2**31) % 2**32 - 2**31:+d}"


assert set(State) == {STATES[name]().state for name in STATES}
