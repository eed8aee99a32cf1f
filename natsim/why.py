"""Why did two hosts go direct, or why not?  The answer in a few sentences, from the trace.

It looks at what the two sent to each other without the server: did data arrive, and if not, where did the packets that
should have opened the way end, by which rule, and under which outside address did their own side's packets leave?

Next: `why_packet.py`, the story of a single packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .internet import Host, Internet, public_addresses
from .multicast import is_multicast
from .nat.spelling import did_you_mean
from .packet import Endpoint
from .trace import ANSWERED, DELIVERED, DROPPED, SENT, TRANSLATED, Entry, Trace

#: The host that everybody talks to, and that relays.
SERVER = "server"


def why(net: Internet, trace: Trace) -> str:
    """A few lines about each pair of hosts that are not the server."""
    peers = _peers(net)
    stories = _by_packet(trace)
    pairs = [(a, b) for number, a in enumerate(peers) for b in peers[number + 1 :]]
    return "\n".join(_pair(net, stories, a, b) for a, b in pairs) or "There are no two peers in this internet."


def why_pair(net: Internet, trace: Trace, a: str, b: str) -> str:
    """The lines about the two hosts of these names.  ValueError if they are not two peers of this internet."""
    peers = {host.name: host for host in _peers(net)}
    for name in (a, b):
        if name == SERVER:
            raise ValueError(f"{SERVER} is no peer: it relays; ask about two of {', '.join(peers)}")
        if name not in peers:
            raise ValueError(f"this internet has no host {name!r}; {did_you_mean(name, peers)}")
    if a == b:
        raise ValueError(f"{a!r} and {b!r} are one host; ask about two of {', '.join(peers)}")
    return _pair(net, _by_packet(trace), peers[a], peers[b])


def _peers(net: Internet) -> list[Host]:
    return [host for host in net.hosts.values() if host.name != SERVER]


def _by_packet(trace: Iterable[Entry]) -> dict[int, list[Entry]]:
    stories: dict[int, list[Entry]] = {}
    for entry in trace:
        stories.setdefault(entry.packet.uid, []).append(entry)
    return stories


def _pair(net: Internet, stories: dict[int, list[Entry]], a: Host, b: Host) -> str:
    relays = {address for host in net.hosts.values() if host.name == SERVER for address in host.addresses}
    elsewhere = relays | _gateways(net) | _addresses_of_others(net, a, b)
    between = {
        (sender.name, receiver.name): [
            story
            for story in stories.values()
            if story[0].node == sender.name
            and story[0].action == SENT
            and story[0].packet.dst.address not in elsewhere
            and not is_multicast(story[0].packet.dst.address)
        ]
        for sender, receiver in ((a, b), (b, a))
    }
    for (sender, receiver), sent in between.items():
        arrived = next((s for s in sent if s[-1].packet.payload and _arrived(s, receiver)), None)
        if arrived is not None:
            opening = _opening(sender, receiver, sent, between[receiver, sender])
            return f"{a.name} and {b.name} went direct: {_how(arrived)}. {opening}"
    if not any(between.values()):
        return f"{a.name} and {b.name} stayed relayed: neither has sent anything to the other's address."
    reasons = [_failure(stories, sender, relays, sent) for (sender, _), sent in between.items() if sent]
    return "\n".join([f"{a.name} and {b.name} stayed relayed.", *reasons])


def _gateways(net: Internet) -> set[str]:
    """The routers' own addresses on their LANs."""
    ipv6 = {nat.ipv6.gateway for nat in net.nats.values() if nat.ipv6 is not None}
    return ipv6 | {nat.gateway for nat in net.nats.values()}


def _addresses_of_others(net: Internet, a: Host, b: Host) -> set[str]:
    """The addresses under which other peers are known, but neither of these two."""
    known = {host.name: {*host.addresses, *public_addresses(net, host.name)} for host in _peers(net)}
    pair = known.pop(a.name) | known.pop(b.name)
    return set[str]().union(*known.values()) - pair


def _arrived(story: list[Entry], receiver: str) -> bool:
    return story[-1].node == receiver and story[-1].action == DELIVERED


def _how(story: list[Entry]) -> str:
    first, last = story[0], story[-1]
    return f"data from {first.node} ({first.packet.src}) reaches {last.node} as {last.packet.src} > {last.packet.dst}"


def _opening(sender: str, receiver: str, sent: list[list[Entry]], back: list[list[Entry]]) -> str:
    """Whose SYN got through, and what had opened the way for it."""
    let_in = [story for story in sent if story[0].packet.is_initial_syn and _arrived(story, receiver)]
    for story in let_in:
        door, packet = story[-2], story[0].packet
        for other in back:
            left = next((entry for entry in other if entry.node == door.node), None)
            if left is not None and left.when <= door.when and left.packet.dst == _outermost(story).packet.src:
                opener = f"#{left.packet.uid} of {receiver} had left for {left.packet.dst} before"
                return f"The SYN #{packet.uid} of {sender} was let in by {door.node}, since {opener}."
    return f"Nothing on the side of {receiver} keeps such packets out." if let_in else ""


def _failure(stories: dict[int, list[Entry]], sender: str, relays: set[str], sent: list[list[Entry]]) -> str:
    """Where the packets of one side ended, and what its own NAT did to them."""
    ends = Counter((story[-1].node, str(story[-1].reason)) for story in sent if story[-1].action in (DROPPED, ANSWERED))
    if not ends:
        return f"What {sender} sent to its peer was still under way at the end."
    (node, reason), count = ends.most_common(1)[0]
    times = f"{count} of its packets" if count > 1 else "its packet"
    example = next(s for s in sent if (s[-1].node, str(s[-1].reason)) == (node, reason))[0].packet
    sentence = f"{sender} sent to {example.dst}, and {times} ended at {node}: {reason}."
    changed = _changed_port(stories, sender, relays, sent)
    return f"{sentence} {changed}" if changed else sentence


def _changed_port(stories: dict[int, list[Entry]], sender: str, relays: set[str], sent: list[list[Entry]]) -> str:
    """The sentence for a NAT that shows the peer another port than it showed the server."""
    seen_by_server: dict[Endpoint, Endpoint] = {}
    for story in stories.values():
        if story[0].node == sender and story[0].packet.dst.address in relays:
            seen_by_server.setdefault(story[0].packet.src, _outermost(story).packet.src)
    for story in sent:
        known, last = seen_by_server.get(story[0].packet.src), _outermost(story)
        if known is not None and last.action == TRANSLATED and last.packet.src != known:
            return (
                f"{sender} itself left {last.node} as {last.packet.src}, not as {known}, which the server had seen and "
                f"told its peer ({last.reason})."
            )
    return ""


def _outermost(story: list[Entry]) -> Entry:
    """The entry in which a packet got the source under which the world sees it: the last outbound translation."""
    source = story[0]
    for entry in story:
        if entry.action == TRANSLATED and entry.before is not None and entry.before.src == source.packet.src:
            source = entry
    return source
