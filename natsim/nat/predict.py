"""Who can punch whom, and why: the verdict on paper.

    predict("linux", "apdm-apdf", "udp").why

How it reasons
--------------
The server tells each peer the endpoint at which it saw the other, the **announced** one.  Both send there at the same
time, so each peer's own NATs note that it has spoken to the other's announced endpoint.  What matters then is

1. from which endpoint a peer's packets to the other really come, the **actual** one: the announced one if its mapping
   is endpoint-independent, another one if it is not (RFC 4787 section 4.1);
2. whether the other's filters let the actual one in, having spoken to the announced one (section 5);
3. whether the *answer* gets back.  It leaves from where the packet came in, unless the answering side has already sent
   to that very endpoint by another row.

There is a direct way if, in one direction or the other, a packet gets in and its answer gets back.  TCP asks more of
the answer: it must come from the endpoint that was dialled, or no socket knows it (a SYN from elsewhere is taken by the
listener, so one direction is enough).

Strategies: "punch" is the above; "prediction" also dials the endpoint that a sequential NAT will use next;
"birthday" searches for a random one with many sockets and many probes (UDP only, see `odds.py`).

It holds for peers that start within one one-way delay of each other and whose ports nobody else uses.  Used by
`natsim matrix`, which compares it with what happens.  Next: `paper.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..packet import TCP, UDP, Endpoint
from .devices import Behavior, Device, find, find_firewall
from .linux import LinuxBehavior, WanInput
from .odds import birthday, both_random
from .paper import PEER, SERVER, Side, filter_words, in_rfc_words, lets_in
from .spelling import named, rule_name
from .unsolicited import drop_syn, hold_syn

PUNCH, PREDICTION, BIRTHDAY = "punch", "prediction", "birthday"

#: The birthday search: sockets on the random side, probes from the other (bounded, and only on request).
SOCKETS, PROBES = 256, 1024


@dataclass(frozen=True)
class Prediction:
    """Whether two peers can meet.  `probability` is 0 or 1 unless luck decides; `steps` is the reasoning."""

    transport: str
    strategy: str
    probability: float
    steps: list[str] = field(compare=False)

    @property
    def direct(self) -> bool:
        """Is it more likely than not?"""
        return self.probability >= 0.5

    @property
    def why(self) -> str:
        """The reasoning in sentences."""
        return " ".join(self.steps)

    def __str__(self) -> str:
        verdict = "direct" if self.direct else "relayed"
        chance = f" (with a chance of {self.probability:.1%})" if 0 < self.probability < 1 else ""
        return f"{verdict}{chance} over {self.transport}: {self.why}"


@dataclass(frozen=True)
class Cast:
    """One side in one throw of the dice: where the peer sends (`target`), where its own packets come from."""

    side: Side
    announced: Endpoint
    target: Endpoint
    actual: Endpoint

    def admits(self, source: Cast, at: Endpoint) -> bool:
        """Do this side's NATs let in what `source` sends from its actual endpoint to `at`?"""
        return self.keeper(source, at) is None

    def keeper(self, source: Cast, at: Endpoint) -> str | None:
        """Who keeps it out, in words; None if it gets in."""
        if at not in (self.announced, self.actual):
            return f"{self.side.name} has no row at the port that was guessed"
        for behavior, same in zip(reversed(self.side.layers), reversed(self.side.layer_same), strict=True):
            spoken = [SERVER] if at == self.announced else []
            if at == self.actual or same:
                spoken.append(source.target)
            if not lets_in(behavior, source.actual, spoken):
                return f"{self.side.name} {filter_words(behavior)}"
        return None


def predict(
    a: str | Behavior | Device,
    b: str | Behavior | Device,
    transport: str = UDP,
    strategy: str = PUNCH,
    *,
    ipv6: str | Behavior | Device | None = None,
) -> Prediction:
    """Can a peer behind `a` and one behind `b` meet directly?  Names, behaviors or devices.

    `ipv6`: both have IPv6 as well, and each of their routers guards it by this firewall.  Whatever is direct in either
    family is direct; if both are, it is IPv6 that tells why.

    Raises UnknownDevice and ValueError with the nearest right name.

    >>> predict("linux", "linux", "tcp").direct, predict("linux", "linux-random", "tcp").direct
    (True, False)
    >>> round(predict("linux", "linux-random", "udp", "birthday").probability, 2)
    0.98
    >>> predict("linux", "linux-random", "tcp", ipv6="firewall").direct
    True
    """
    transport = named("the transport", transport, {UDP: UDP, TCP: TCP})
    strategy = named("the strategy", strategy, {name: name for name in (PUNCH, PREDICTION, BIRTHDAY)})
    layers = _layers(a), _layers(b)
    ipv4 = _over_one_family(layers, transport, strategy)
    if ipv6 is None:
        return ipv4
    firewall = find_firewall(ipv6)
    other = _over_one_family(tuple((firewall,) * len(side) for side in layers), transport, strategy)
    if other.probability >= ipv4.probability:
        return replace(other, steps=["Over IPv6 nothing is translated.", *other.steps])
    steps = ["Over IPv6 nothing is translated.", *other.steps, "Over IPv4:", *ipv4.steps]
    return replace(ipv4, steps=steps)


def _over_one_family(layers: tuple[tuple[Behavior, ...], ...], transport: str, strategy: str) -> Prediction:
    if transport == UDP and any(isinstance(b, LinuxBehavior) and b.block_udp for side in layers for b in side):
        return Prediction(transport, strategy, 0.0, ["A firewall lets no UDP out."])
    sides = [
        Side(name, tuple(in_rfc_words(layer).of(transport) for layer in side))
        for name, side in zip(("A", "B"), layers, strict=True)
    ]
    steps = [_mapping_words(side, strategy) for side in sides]
    chance, reason = _chance(sides, transport, strategy)
    steps.append(reason)
    if chance < 0.5 and strategy == BIRTHDAY and transport == UDP:
        chance, reason = _search(sides, chance)
        steps.append(reason)
    if chance:
        steps += _cautions(layers, sides, transport)
    return Prediction(transport, strategy, chance, steps)


def _layers(what: str | Behavior | Device) -> tuple[Behavior, ...]:
    if isinstance(what, str):
        what = find(what)
    return what.layers if isinstance(what, Device) else (what,)


# -- Punching ------------------------------------------------------------------------------------------------------


def _chance(sides: list[Side], transport: str, strategy: str) -> tuple[float, str]:
    """The chance that packets and answers get through, summed over what the dice may show; and why."""
    total, reasons = 0.0, []
    for p_a, a in _casts(sides[0], PEER._replace(address="203.0.113.71"), strategy):
        for p_b, b in _casts(sides[1], PEER._replace(address="203.0.113.72"), strategy):
            way, reason = _way(a, b, transport)
            total += p_a * p_b * way
            reasons.append((way, p_a * p_b, reason))
    return total, max(reasons)[2]


def _casts(side: Side, announced: Endpoint, strategy: str) -> Iterator[tuple[float, Cast]]:
    """How a side may look to its peer, with probabilities: only the address can be partly luck."""
    if side.same:
        yield 1.0, Cast(side, announced, announced, announced)
        return
    moved = side.step if side.step is not None else 7_777  # any other port will do: nobody can guess it
    guess = announced._replace(port=announced.port + moved)
    target = guess if strategy == PREDICTION and side.step is not None else announced
    yield side.same_address, Cast(side, announced, target, guess)
    if side.same_address < 1:
        yield 1 - side.same_address, Cast(side, announced, target, guess._replace(address="203.0.113.99"))


def _way(a: Cast, b: Cast, transport: str) -> tuple[bool, str]:
    """Is there a direction in which a packet gets in and its answer gets back?"""
    reasons = []
    for x, y in ((a, b), (b, a)):
        keeper = y.keeper(x, y.target)
        if keeper is not None:
            moved = "" if x.actual == x.target else ", and such packets come from an endpoint it has not spoken to"
            unspoken = "" if y.actual == y.target else ", and it speaks to its peer by another row"
            reasons.append(f"{keeper}{moved or unspoken}")
            continue
        answer = y.target if x.actual != x.target else y.actual
        if answer == y.target or (transport == UDP and x.admits(_from(y, answer, x), x.actual)):
            return True, f"Direct: packets of {x.side.name} get in at {y.side.name}, and answers get back."
        reasons.append(f"answers of {y.side.name} come from another endpoint than the one that was dialled")
    return False, f"Relayed: {reasons[0]}; {reasons[1]}."


def _from(y: Cast, answer: Endpoint, x: Cast) -> Cast:
    """`y` as the sender of an answer: from `answer`, while `x` has spoken to y's target."""
    return Cast(y.side, y.announced, y.target, answer)


# -- The birthday search -------------------------------------------------------------------------------------------


def _search(sides: list[Side], chance: float) -> tuple[float, str]:
    """The chance of finding a random port with SOCKETS sockets on its side and PROBES probes from the other."""
    hard = [side for side in sides if side.step is None]
    if len(hard) == 2:
        odds = both_random(SOCKETS, PROBES, min(side.ports for side in hard))
        return max(chance, odds), f"Both sides' ports are random: a search finds a pair with a chance of {odds:.3%}."
    if len(hard) == 1 and all(side.same for side in sides if side.step is not None):
        odds = birthday(SOCKETS, PROBES, max(hard[0].ports, PROBES)) * hard[0].same_address
        found = f"{SOCKETS} sockets behind the random NAT are met by {PROBES} probes with a chance of {odds:.1%}."
        return max(chance, odds), found
    return chance, "There is no random port that a search could find."


# -- Words ---------------------------------------------------------------------------------------------------------


def _mapping_words(side: Side, strategy: str) -> str:
    if not side.layers:
        return f"On {side.name} there is no NAT."
    if side.same:
        return f"The peer sees {side.name} where the server saw it."
    if side.step is None:
        how = "at a port that nobody can know beforehand"
    elif strategy == PREDICTION:
        how = f"{side.step:+d} ports further, which can be predicted"
    else:
        how = f"{side.step:+d} ports further"
    rules = ", ".join(rule_name(layer.mapping).replace("_", "-") for layer in side.layers)
    pool = "" if side.same_address == 1 else f" and with a chance of {side.same_address:.0%} at the same address"
    return f"The peer sees {side.name} elsewhere than the server did, {how}{pool} (mapping: {rules})."


def _cautions(layers: tuple[tuple[Behavior, ...], ...], sides: list[Side], transport: str) -> list[str]:
    """What a direct path hangs on besides mapping and filtering."""
    opens = any(isinstance(b, LinuxBehavior) and b.wan_input is WanInput.ACCEPT for side in layers for b in side)
    if transport == UDP:
        trap = "A router that accepts datagrams itself gives their port away: both must send before the other's arrive."
        return [trap] if opens else []
    silent = (drop_syn, hold_syn)
    if all(layer.unsolicited_syn in silent for side in sides for layer in side.layers):
        return []
    return ["Stray SYNs are answered: two must cross in flight, which retries at random intervals bring about."]
