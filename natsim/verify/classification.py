"""Which NAT is it?  The tests of RFC 5780 by which a client finds out, put to NATs of which it is known.

A server with two addresses and two ports tells the client from which endpoint its request came, and answers from
another endpoint if the client wishes (CHANGE-REQUEST).  Two tests settle the mapping, two the filter:

* Does the alternate address see another endpoint of ours than the primary one?  Does its other port?
* Does an answer get in from an address, or from a port, that we have not spoken to?

Each test begins on a fresh port, and must (RFC 5780 section 4.1): an answer that a lax filter has let in goes back by
the row through which it came, so whoever then asks the endpoint it came from sees the old mapping, whatever the type.

RFC 3489 had one tree for both questions and four names for the nine types.  It asks for the filter first, and calls
"full cone" whatever lets anybody in, though three different mappings do.  Hence the names fell out of use.

Next: `natsim/nat/bench.py`, the NAT under test; `natsim/nat/predict.py`, what the nine types mean for two peers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..nat.behavior import (
    Hairpin,
    NatBehavior,
    Scope,
    Timeouts,
    address_and_port_dependent,
    address_dependent,
    endpoint_independent,
)
from ..nat.bench import ALICE, S1, S1_OTHER, S2, S2_OTHER, Bench
from ..nat.linux import LinuxBehavior
from ..nat.ports import random_port
from ..packet import Endpoint
from .check import Behavior, Check

SCOPES: dict[str, Scope] = {
    "EI": endpoint_independent,
    "AD": address_dependent,
    "APD": address_and_port_dependent,
}

#: The nine types of RFC 4787 by name.
NINE = {
    f"{mapping}M-{filtering}F": NatBehavior(mapping=SCOPES[mapping], filtering=SCOPES[filtering], ports=random_port)
    for mapping in SCOPES
    for filtering in SCOPES
}

#: The flags of CHANGE-REQUEST (RFC 5780 section 7.2).
CHANGE_IP, CHANGE_PORT = 0x04, 0x02

#: The server's endpoints, each with the one that differs in address and port: its OTHER-ADDRESS.
OTHER_ADDRESS = {S1: S2_OTHER, S1_OTHER: S2, S2: S1_OTHER, S2_OTHER: S1}


def response_origin(asked: Endpoint, change: int) -> Endpoint:
    """From where the server answers a request that came to `asked` (RFC 5780 table 1)."""
    other = OTHER_ADDRESS[asked]
    return Endpoint(
        other.address if change & CHANGE_IP else asked.address, other.port if change & CHANGE_PORT else asked.port
    )


@dataclass(frozen=True)
class Response:
    """A Binding response: what it says, from where it comes, and on which of the client's ports."""

    mapped: Endpoint
    other: Endpoint
    origin: Endpoint
    heard_on: Endpoint


class Client:
    """A STUN client behind the NAT in question."""

    def __init__(self, behavior: Behavior) -> None:
        self.bench = Bench(behavior)
        self._ports = iter(range(ALICE.port, 65536))

    def fresh_port(self) -> Endpoint:
        """A port that the NAT has never seen."""
        return ALICE._replace(port=next(self._ports))

    def ask(
        self, port: Endpoint, server: Endpoint, change: int = 0, response_port: int | None = None
    ) -> Response | None:
        """A Binding request, and the response if it gets in.  `response_port` is the attribute RESPONSE-PORT."""
        mapped = self.bench.outside(port, server)
        if mapped is None:
            return None
        origin = response_origin(server, change)
        heard_on = self.bench.enters(origin, mapped if response_port is None else mapped._replace(port=response_port))
        return Response(mapped, OTHER_ADDRESS[server], origin, heard_on) if heard_on is not None else None


# -- The tests of RFC 5780 -----------------------------------------------------------------------------------------


def mapping(client: Client) -> str:
    """Section 4.3."""
    port = client.fresh_port()
    one = client.ask(port, S1)
    if one is None:
        return "no answer"
    if one.mapped == port:
        return "no NAT"
    two = client.ask(port, Endpoint(one.other.address, S1.port))
    three = client.ask(port, one.other)
    if two is None or three is None:
        return "no answer"
    return "EIM" if two.mapped == one.mapped else "ADM" if three.mapped == two.mapped else "APDM"


def filtering(client: Client) -> str:
    """Section 4.4."""
    port = client.fresh_port()
    if client.ask(port, S1) is None:
        return "no answer"
    if client.ask(port, S1, CHANGE_IP | CHANGE_PORT):
        return "EIF"
    return "ADF" if client.ask(port, S1, CHANGE_PORT) else "APDF"


def hairpinning(client: Client) -> str:
    """Section 3.4: a request to our own mapped address, from a second port.  A strict filter hides the answer."""
    port, second = client.fresh_port(), client.fresh_port()
    one = client.ask(port, S1)
    turned = client.bench.out(second, one.mapped).packet if one is not None else None
    return "arrives" if turned is not None and turned.dst == port else "does not arrive"


def binding_lifetime(client: Client) -> str:
    """Section 4.6: a binary search for how long port X's binding lives, in seconds.

    After so long, port Y asks for a response to X's mapped port.  If X hears it, the binding is alive; if Y hears it,
    the NAT has given the port away.  X asks anew before each round, since a response may have refreshed its binding.
    """
    x = client.fresh_port()
    alive, dead = 0, 1024
    while dead - alive > 1:
        seconds = (alive + dead) // 2
        binding = client.ask(x, S1)
        assert binding is not None
        client.bench.wait(seconds)
        response = client.ask(client.fresh_port(), S1, response_port=binding.mapped.port)
        if response is not None and response.heard_on == x:
            alive = seconds
        else:
            dead = seconds
    return f"{dead} s"


def origins(client: Client) -> str:
    """Table 1: what a client hears from where, for each value of CHANGE-REQUEST, in the table's words."""
    words = {S1: "Da:Dp", S2: "Ca:Dp", S1_OTHER: "Da:Cp", S2_OTHER: "Ca:Cp"}
    rows = []
    for change in (0, CHANGE_IP, CHANGE_PORT, CHANGE_IP | CHANGE_PORT):
        response = client.ask(client.fresh_port(), S1, change)
        rows.append(f"{words[response.origin]}/{words[response.other]}" if response is not None else "no answer")
    return ", ".join(rows)


# -- The tree of RFC 3489 section 10.1 -----------------------------------------------------------------------------


def cone(client: Client) -> str:
    """The old name of a NAT."""
    port = client.fresh_port()
    one = client.ask(port, S1)
    if client.ask(port, S1, CHANGE_IP | CHANGE_PORT):
        return "full cone"
    changed = client.ask(port, S2_OTHER)
    if one is None or changed is None or changed.mapped != one.mapped:
        return "symmetric"
    return "restricted cone" if client.ask(port, S1, CHANGE_PORT) else "port restricted cone"


# -- The rows ------------------------------------------------------------------------------------------------------


def _put(test: Callable[[Client], str], behavior: Behavior) -> Callable[[], str]:
    return lambda: test(Client(behavior))


def _type(client: Client) -> str:
    return f"{mapping(client)}, {filtering(client)}"


def _types_called(name: str) -> Callable[[], str]:
    return lambda: ", ".join(known for known, behavior in NINE.items() if cone(Client(behavior)) == name)


_OLD_NAMES = {
    "full cone": "EIM-EIF, ADM-EIF, APDM-EIF",
    "restricted cone": "EIM-ADF",
    "port restricted cone": "EIM-APDF",
    "symmetric": "ADM-ADF, ADM-APDF, APDM-ADF, APDM-APDF",
}

CHECKS = [
    *(
        Check(f"discovery of {name}", "RFC 5780 sections 4.2 to 4.4", name.replace("-", ", "), _put(_type, behavior))
        for name, behavior in NINE.items()
    ),
    *(
        Check(f"discovery of {name}", "RFC 5780 sections 4.2 to 4.4", expected, _put(_type, behavior))
        for name, behavior, expected in (
            ("a firewall", NatBehavior(translate=False), "no NAT, APDF"),
            ("a firewall against UDP", LinuxBehavior(block_udp=True), "no answer, no answer"),
        )
    ),
    Check(
        "response origin and OTHER-ADDRESS",
        "RFC 5780 table 1",
        "Da:Dp/Ca:Cp, Ca:Dp/Ca:Cp, Da:Cp/Ca:Cp, Ca:Cp/Ca:Cp",
        _put(origins, NINE["EIM-EIF"]),
    ),
    *(
        Check(
            f"discovery of hairpinning: {hairpin.value}",
            "RFC 5780 section 3.4",
            "arrives" if hairpin is Hairpin.EXTERNAL else "does not arrive",
            _put(hairpinning, NatBehavior(filtering=endpoint_independent, hairpin=hairpin)),
        )
        for hairpin in (Hairpin.EXTERNAL, Hairpin.NONE)
    ),
    *(
        Check(
            f"discovery of a lifetime of {seconds} s",
            "RFC 5780 section 4.6",
            f"{seconds} s",
            _put(binding_lifetime, NatBehavior(timeouts=Timeouts(udp=seconds))),
        )
        for seconds in (120, 300)
    ),
    *(
        Check(f"what was called {name}", "RFC 3489 section 10.1", types, _types_called(name))
        for name, types in _OLD_NAMES.items()
    ),
]
