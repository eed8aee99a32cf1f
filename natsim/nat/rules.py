"""Asking a NAT's rules, which a learner may have written, and checking what they answer.

A rule that fails or returns nonsense gets a `RuleError` that names the rule, what it was asked and what it returned;
the engine behind it is left as it was.  Used by `engine.py`; the rules themselves are in `behavior.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Any

from ..packet import Endpoint, Packet
from .behavior import NatBehavior
from .ports import TRIES, Wish
from .spelling import rule_name
from .unsolicited import Later


class RuleError(Exception):
    """A rule of a NAT failed or returned nonsense; the message names the rule and what it returned."""


def ask_scope(behavior: NatBehavior, which: str, remote: Endpoint) -> Hashable:
    """What the `which` ("mapping" or "filtering") scope says of a remote endpoint."""
    rule = getattr(behavior, which)
    try:  # not by _call: every packet asks for scopes, and the words are wanted only if that fails
        scope: Hashable = rule(remote)
    except Exception as exc:
        raise _failed(f"the {which} scope", rule, remote, exc) from exc
    try:
        hash(scope)
    except TypeError:
        raise RuleError(
            f"the {which} scope {rule_name(rule)} returned {scope!r} for {remote}; it must return something hashable, "
            "such as remote.address"
        ) from None
    return scope


def ask_ports(behavior: NatBehavior, wish: Wish) -> Iterator[int]:
    """The ports that the port assignment proposes, so many as a NAT listens to."""
    rule = behavior.ports
    name = f"the port assignment {rule_name(rule)}"
    proposals = _call("the port assignment", rule, wish)
    if not isinstance(proposals, Iterable) or isinstance(proposals, (str, bytes)):
        raise RuleError(f"{name} returned {proposals!r} for {wish.internal} to {wish.remote}; it must yield ports")
    listened = islice(proposals, TRIES)
    while True:
        try:
            port = next(listened)
        except StopIteration:
            return
        except Exception as exc:
            raise RuleError(f"{name} failed for {wish.internal} to {wish.remote}: {_words(exc)}") from exc
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise RuleError(f"{name} proposed {port!r} for {wish.internal} to {wish.remote}; a port is 1 to 65535")
        yield port


def ask_pooling(behavior: NatBehavior, internal: str, pool: list[str], chance: Any) -> str:
    """The outside address for an inside host."""
    address = _call("the pooling", behavior.pooling, internal, pool, chance)
    if address not in pool:
        name = rule_name(behavior.pooling)
        raise RuleError(f"the pooling {name} returned {address!r} for {internal}; it must return one of {pool}")
    return str(address)


def ask_syn_policy(behavior: NatBehavior, syn: Packet) -> Packet | Later | None:
    """What the NAT answers to an unsolicited SYN."""
    answer = _call("the SYN policy", behavior.unsolicited_syn, syn)
    if answer is None or isinstance(answer, (Packet, Later)):
        return answer
    name = rule_name(behavior.unsolicited_syn)
    raise RuleError(
        f"the SYN policy {name} returned {answer!r} for {syn!r}; it must return a Packet, Later(...) or None"
    )


def _call(what: str, rule: Any, *arguments: Any) -> Any:
    try:
        return rule(*arguments)
    except Exception as exc:
        raise _failed(what, rule, arguments[0], exc) from exc


def _failed(what: str, rule: Any, asked: object, exc: Exception) -> RuleError:
    return RuleError(f"{what} {rule_name(rule)} failed for {asked}: {_words(exc)}")


def _words(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
