"""The story of one packet in words: what each node did with it, by which rule and table row, and what came of it.

    print(run.why(run.trace.drops()[0].packet))

`why.py` tells why two hosts went direct, or did not; this file knows nothing of hosts, only of entries.  The reasons
themselves are the verdicts' own sentences (`nat/verdict.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .nat.verdict import Verdict
from .packet import ICMP, Packet
from .scheduler import seconds
from .trace import ANSWERED, DELIVERED, DROPPED, DUPLICATED, FRAGMENTED, HELD, SENT, TRANSLATED, Entry

if TYPE_CHECKING:
    from .trace import Trace

#: What a node did with the packet.
_DID = {
    SENT: "sent it",
    TRANSLATED: "passed it on",
    FRAGMENTED: "sent the piece that has this number",
    DELIVERED: "took it",
    ANSWERED: "refused it with an answer",
    DUPLICATED: "made two of it",
    HELD: "held it back",
    DROPPED: "dropped it",
}


def why_packet(trace: Trace, uid: int) -> str:
    """A line for each thing that a node did with the packet, and before and after them what it has to do with others.

    Raises ValueError if the trace knows no packet of that number.
    """
    story = trace.of(uid)
    if not story:
        raise ValueError(f"this trace knows no packet #{uid}: a packet gets its number when it is sent, in its own run")
    packet = story[0].packet
    lines = [f"#{uid} is {_name(packet)}.{_cause(trace, story[0])}"]
    lines += [_line(trace, entry) for entry in story]
    lines += _aftermath(trace, story[-1])
    lines += [_effect(entry) for entry in _effects(trace, uid)]
    return "\n".join(lines)


def _name(packet: Packet) -> str:
    """A packet without its number: "tcp S seq=7 192.168.1.2:5000 > 203.0.113.10:80"."""
    return repr(packet)[1:-1].partition(" ")[2]


def _short(packet: Packet) -> str:
    return f"#{packet.uid} ({_name(packet)})"


def _cause(trace: Trace, first: Entry) -> str:
    """Why there is such a packet: it answers another, or is a part of it."""
    cause = first.packet.cause
    if cause is None:
        return ""
    causes = trace.of(cause)
    name = f"{_short(causes[0].packet)} of {causes[0].node}" if causes else f"#{cause}"
    return f" It is a part of {name}." if first.action == FRAGMENTED else f" It answers {name}."


def _effects(trace: Trace, uid: int) -> list[Entry]:
    """The packets that this one has caused, as they were sent or cut off it."""
    found: dict[int, Entry] = {}
    for entry in trace:
        if entry.packet.cause == uid:
            found.setdefault(entry.packet.uid, entry)
    return list(found.values())


def _effect(entry: Entry) -> str:
    if entry.action == FRAGMENTED:
        return f"Another piece of it is {_short(entry.packet)}, which {entry.node} cut off."
    return f"It caused {_short(entry.packet)}, which {entry.node} sent."


def _line(trace: Trace, entry: Entry) -> str:
    subject = f"the link {entry.node}" if ">" in entry.node else entry.node
    what = f"{seconds(entry.when):.6f} s: {subject} {_DID[entry.action]}{_addresses(entry)}"
    return f"{what}. {entry.reason}.{_row(trace, entry)}" if entry.reason is not None else f"{what}."


def _addresses(entry: Entry) -> str:
    """Its addresses as the node left it; where a NAT has changed them, also as it came."""
    now = _ends(entry.packet)
    if entry.action == SENT:
        return ""
    if entry.action != TRANSLATED or entry.before is None:
        return f" as {now}"
    was = _ends(entry.before)
    return f" as {now}; it came as {was}" if was != now else f" as it came, {now}"


def _ends(packet: Packet) -> str:
    """ICMP errors have no ports, but what they quote has."""
    if packet.protocol == ICMP and packet.quoted is not None:
        return f"{packet.src.address} > {packet.dst.address}, about {packet.quoted.src} > {packet.quoted.dst}"
    return f"{packet.src} > {packet.dst}"


# -- Table rows -------------------------------------------------------------------------------------------------------


def _row(trace: Trace, entry: Entry) -> str:
    """The row of the NAT's table that decided, and which packet had made it."""
    if not isinstance(entry.reason, Verdict):
        return ""
    row = entry.reason.row
    if row is None:
        return "" if entry.reason.passed else " No row of its table was for it."
    if entry.reason.new:
        return ""
    named = "" if str(row) in str(entry.reason) else f" Its row is {row}."
    maker = _maker(trace, row)
    return f"{named} That row was made by {maker}." if maker else named


def _maker(trace: Trace, row: object) -> str:
    """The packet that made a row, in words; nothing for a row that was asked for (a lease), as no packet made it."""
    for entry in trace:
        if isinstance(entry.reason, Verdict) and entry.reason.row is row and entry.reason.new:
            return f"#{entry.packet.uid} at {seconds(entry.when):.6f} s"
    return ""


# -- Afterwards -------------------------------------------------------------------------------------------------------


def _aftermath(trace: Trace, last: Entry) -> list[str]:
    """What there is to say when the story is over: if that is no ending, and what may have led to it."""
    if last.action == DELIVERED:
        return []
    if last.action == HELD and last.packet.fragment is not None:
        return ["It waited there for the other parts of its datagram; the whole has the number of the first part."]
    if last.action == HELD:
        return ["It went no further."]
    if last.action not in (ANSWERED, DROPPED):
        return ["Nobody has seen it since: it was on its way when the run ended."]
    faults = [event for event in trace.events if event.node == last.node and event.when <= last.when]
    return [f"Before that, at {seconds(fault.when):.6f} s: {fault.words}." for fault in faults[-1:]]
