"""What is left of a run: its result, its trace, and the ways to look at them."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .packet import Packet
from .trace import Entry, NoTrace

if TYPE_CHECKING:
    from .internet import Host, Internet
    from .trace import Trace
    from .view.ladder import Ladder
    from .view.player import Player
    from .view.tables import Tables


@dataclass(frozen=True)
class Run:
    """One finished run of a story.

    `result` is what the story returned; `duration` is in seconds of the world's clock.  `trace` is None where packets
    are not captured, and where it was not wanted; `untraced` says which.
    """

    net: Internet
    world: str
    trace: Trace | None
    duration: float
    result: Any

    def ladder(self) -> Ladder:
        """The run as a ladder diagram: shows itself in a notebook, and has `.svg` and `.text`."""
        from .view.ladder import Ladder

        return Ladder.of(self)

    def player(self) -> Player:
        """The run to play, pause and step through: map, ladder and tables of one moment.  It shows itself."""
        from .view.player import Player

        return Player.of(self)

    def tables(self, when: float | None = None) -> Tables:
        """Every NAT's table at `when`, in seconds of the world's clock; None is the end.  `NoTrace` without a trace."""
        from .view.columns import Columns
        from .view.tables import Tables

        moment = self.duration if when is None else when
        return Tables(self._needs_trace("table"), Columns(self.net), moment)

    def mermaid(self, limit: int = 150) -> str:
        """The run as a Mermaid sequence diagram, for Markdown: one arrow for each hop, with the addresses that it has.

        At most `limit` arrows and notes; what is left out is counted.  ValueError for a limit below 1.
        `NoTrace` where there is no trace.
        """
        from .view.mermaid import mermaid

        return mermaid(self.net, self._needs_trace("diagram"), limit)

    def save_pcap(self, path: str | pathlib.Path) -> None:
        """Write every packet into a pcapng file, for Wireshark, tshark and tcpdump.

        Each host is an interface, and each NAT two: "nat_a inside", "nat_a outside".  A packet is on every interface
        that it crosses, with the addresses that it has there, and where a node decided about it, with the reason as a
        comment.  Follow one packet by its ip.id; look at one interface with frame.interface_name == "nat_a outside".

        `NoTrace` where there is no trace; OSError if the file cannot be written.
        """
        from .pcapng import save_pcapng

        save_pcapng(path, self.net, self._needs_trace("capture"))

    def scapy(self) -> list[Any]:
        """The same packets as scapy's: each with its `time`, `sniffed_on` (the interface), and `comment`.

        ImportError where scapy is not installed, `NoTrace` where there is no trace.
        """
        from .scapy_packets import scapy_packets

        return scapy_packets(self.net, self._needs_trace("list of packets"))

    def why(self, *about: str | Host | Packet | Entry | int) -> str:
        """The reason, in words.  Where there is no trace, it says why not.

        `why()`: why the peers went direct, or why not, a few sentences for each pair.  `why("alice", "bob")`: for these
        two.  `why(packet)`: the whole story of one packet, given itself, its uid or an entry of the trace, such as one
        of `run.trace.drops()`.

        Raises ValueError for hosts that this internet, or a packet that this run has not; TypeError for anything else.
        """
        from .why import why, why_pair

        if self.trace is None:
            return (
                f"There is no trace to tell it from: {self.untraced}. What the two sides saw, their links' why() tells."
            )
        match about:
            case ():
                return why(self.net, self.trace)
            case (Packet() | Entry() | int() as packet,):
                return self.trace.why(packet)
            case (_, _):
                return why_pair(self.net, self.trace, *(str(getattr(host, "name", host)) for host in about))
            case _:
                raise TypeError("why() is about every pair, why(a, b) about two hosts, why(packet) about one packet")

    def _needs_trace(self, what: str) -> Trace:
        if self.trace is None:
            raise NoTrace(f"this run has no trace, so there is no {what}: {self.untraced}")
        return self.trace

    @property
    def untraced(self) -> str:
        """Why there is no trace, and what to do for one."""
        if self.world != "loopback":
            return "the run was told to keep none, with trace=False"
        return 'loopback has no NATs, and its packets are not captured; run the story with world="sim"'

    def __repr__(self) -> str:
        packets = f"{len(self.trace)} trace entries" if self.trace is not None else "packets not captured"
        return f"<Run in world {self.world!r}: {self.duration:.3f} s, {packets}>"
