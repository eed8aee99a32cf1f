"""UPnP's WANIPConnection, versions 1 and 2: an HTTP request goes in, the HTTP answer comes out.

Where PCP has one MAP with a lifetime, UPnP has a table of port mappings that control points add to, read and delete
from, by (remote host, outside port, protocol).  It has no secrets: "secure mode" is all that protects a mapping, and it
is always on, so a host can map ports to itself only.

What can be asked is in `igd.py`, the envelope in `soap.py`; error codes as in RFC 6970 section 4.3.
Next: `daemon.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address
from typing import Any

from ...packet import TCP, UDP, Endpoint
from ..leases import Lease
from . import igd, soap, web
from .gateway import Gateway, Refusal, Request, seconds_left
from .igd import Kind
from .soap import Call, UpnpError

#: The longest lease of version 2, and what a lifetime of 0 means there; in version 1 it means without end.
WEEK = 604_800

PROTOCOLS = {"TCP": TCP, "UDP": UDP}

#: What a refusal is called in version 1 and in version 2.
ERROR = {
    Refusal.NO_ADDRESS: (501, 501),
    Refusal.NOT_YOURS: (718, 606),
    Refusal.QUOTA: (501, 728),
    Refusal.TAKEN: (718, 718),
    Refusal.NO_PORT: (501, 728),
}


@dataclass(frozen=True)
class Asked:
    """A call whose arguments have been read: their values by name, who calls, and in which version of the service."""

    values: Mapping[str, Any]
    caller: str
    version: int
    now: int

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def refused(self, refusal: Refusal) -> UpnpError:
        """The error for a refusal."""
        return UpnpError(ERROR[refusal][self.version - 1])


Results = dict[str, object]


class Upnp:
    """The web server of a gateway that is to be found at `address`."""

    def __init__(self, gateway: Gateway, address: str) -> None:
        self._gateway = gateway
        self._pages = {igd.DESCRIPTION_PATH: igd.device_description(address)}
        self._pages |= {igd.service_path(service): igd.service_description(service) for service in igd.SERVICES}
        self._services = {igd.control_path(service): service for service in igd.SERVICES}
        self._does: dict[str, Callable[[Asked], Results]] = {
            "AddPortMapping": self._add,
            "AddAnyPortMapping": self._add_any,
            "DeletePortMapping": self._delete,
            "GetExternalIPAddress": self._external_address,
            "GetSpecificPortMappingEntry": self._specific_entry,
            "GetGenericPortMappingEntry": self._generic_entry,
            "GetStatusInfo": self._status,
            "GetConnectionTypeInfo": _connection_type,
            "GetCommonLinkProperties": _link_properties,
        }

    def answer(self, data: bytes, source: Endpoint, now: int) -> bytes:
        """The answer to a request; there always is one."""
        try:
            request = web.read(data)
        except web.HttpError as error:
            return web.answer(error.status)
        if request.method == "GET" and request.target in self._pages:
            return web.answer(HTTPStatus.OK, self._pages[request.target])
        if request.method == "POST" and request.target in self._services:
            return self._control(self._services[request.target], request.body, source.address, now)
        known = request.target in self._pages or request.target in self._services
        return web.answer(HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND)

    def _control(self, service: Kind, body: bytes, caller: str, now: int) -> bytes:
        try:
            call = soap.read_call(body)
            asked = _asked(service, call, caller, now)
            results = self._does[call.action](asked)
        except UpnpError as error:
            return soap.fault(error)
        return soap.success(call, results)

    # -- Adding and deleting -----------------------------------------------------------------------------------------

    def _add(self, asked: Asked) -> Results:
        """AddPortMapping: this outside port, or an error."""
        if not asked["NewExternalPort"]:
            raise UpnpError(716)
        lease = self._gateway.grant_port(self._request(asked), asked.now)
        if isinstance(lease, Refusal):
            raise asked.refused(lease)
        lease.allowed = _allowed(asked["NewRemoteHost"])
        return {}

    def _add_any(self, asked: Asked) -> Results:
        """AddAnyPortMapping: this outside port, or else another one."""
        request = self._request(asked)
        lease = self._gateway.grant_port(request, asked.now) if request.port else Refusal.TAKEN
        if lease in (Refusal.TAKEN, Refusal.NOT_YOURS):
            lease = self._gateway.grant(request, asked.now)
        if isinstance(lease, Refusal):
            raise asked.refused(lease)
        lease.allowed = _allowed(asked["NewRemoteHost"])
        return {"NewReservedPort": lease.external.port}

    def _request(self, asked: Asked) -> Request:
        """What an Add... asks for, once it is clear that the caller may."""
        client = _address(asked["NewInternalClient"])
        if not asked["NewInternalPort"]:
            raise UpnpError(732)
        _allowed(asked["NewRemoteHost"])
        if not asked["NewEnabled"]:
            raise UpnpError(501)  # a lease that lets nobody in is none
        if client != asked.caller and asked.caller not in self._gateway.trusted:
            raise asked.refused(Refusal.NOT_YOURS)
        lifetime = asked["NewLeaseDuration"]
        return Request(
            _protocol(asked),
            Endpoint(client, asked["NewInternalPort"]),
            asked.caller,
            (lifetime or None) if asked.version == 1 else min(lifetime or WEEK, WEEK),
            asked["NewExternalPort"],
            description=asked["NewPortMappingDescription"],
        )

    def _delete(self, asked: Asked) -> Results:
        """DeletePortMapping."""
        if not self._gateway.end(self._named(asked), asked.caller):
            raise UpnpError(606)
        return {}

    # -- Reading -----------------------------------------------------------------------------------------------------

    def _named(self, asked: Asked) -> Lease:
        """The mapping that a call names."""
        lease = self._gateway.at(_protocol(asked), asked.caller, asked["NewExternalPort"], asked.now)
        if lease is None or _remote_host(lease) != asked["NewRemoteHost"]:
            raise UpnpError(714)
        return lease

    def _specific_entry(self, asked: Asked) -> Results:
        """GetSpecificPortMappingEntry: what is behind an outside port."""
        return _entry(self._named(asked), asked.now)

    def _generic_entry(self, asked: Asked) -> Results:
        """GetGenericPortMappingEntry: one row of the whole table."""
        leases = self._gateway.leases(asked.now)
        index = asked["NewPortMappingIndex"]
        if index >= len(leases):
            raise UpnpError(713)
        lease = leases[index]
        named_by: Results = {
            "NewRemoteHost": _remote_host(lease),
            "NewExternalPort": lease.external.port,
            "NewProtocol": lease.protocol.upper(),
        }
        return named_by | _entry(lease, asked.now)

    def _external_address(self, asked: Asked) -> Results:
        """GetExternalIPAddress: empty while there is none."""
        return {"NewExternalIPAddress": self._gateway.address_of(asked.caller) or ""}

    def _status(self, asked: Asked) -> Results:
        """GetStatusInfo."""
        connected = self._gateway.address_of(asked.caller) is not None
        return {
            "NewConnectionStatus": "Connected" if connected else "Disconnected",
            "NewLastConnectionError": "ERROR_NONE",
            "NewUptime": self._gateway.epoch(asked.now),
        }


def _connection_type(asked: Asked) -> Results:
    """GetConnectionTypeInfo: a router, as opposed to a bridge."""
    return {"NewConnectionType": "IP_Routed", "NewPossibleConnectionTypes": "IP_Routed"}


def _link_properties(asked: Asked) -> Results:
    """GetCommonLinkProperties: the simulated wire has no rate of its own, which 0 says."""
    return {
        "NewWANAccessType": "Ethernet",
        "NewLayer1UpstreamMaxBitRate": 0,
        "NewLayer1DownstreamMaxBitRate": 0,
        "NewPhysicalLinkStatus": "Up",
    }


# -- Arguments --------------------------------------------------------------------------------------------------------

BOOLEANS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
RANGES = {"ui2": 2**16, "ui4": 2**32}


def _asked(service: Kind, call: Call, caller: str, now: int) -> Asked:
    """Check a call against the table of actions, and read its arguments."""
    action = igd.ACTIONS[service].get(call.action)
    versions = {urn: version for version, urn in enumerate(service.urns(), start=1)}
    if action is None or versions.get(call.service, 0) < action.since:
        raise UpnpError(401)
    if not set(action.takes) <= set(call.arguments):
        raise UpnpError(402)
    values = {name: _value(name, call.arguments[name]) for name in action.takes}
    return Asked(values, caller, versions[call.service], now)


def _value(name: str, text: str) -> Any:
    """An argument as its type says."""
    kind, text = igd.TYPES.get(name, "string"), text.strip()
    if kind == "string":
        return text
    if kind == "boolean":
        if text.lower() not in BOOLEANS:
            raise UpnpError(402)
        return BOOLEANS[text.lower()]
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) >= RANGES[kind]:
        raise UpnpError(402)
    return int(text)


def _protocol(asked: Asked) -> str:
    protocol = PROTOCOLS.get(asked["NewProtocol"].upper())
    if protocol is None:
        raise UpnpError(402)
    return protocol


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise UpnpError(402) from None


# -- Leases in UPnP's words -------------------------------------------------------------------------------------------


def _allowed(remote_host: str) -> list[tuple[str, int]]:
    """A remote host as a lease has it; the empty one means everybody."""
    return [(f"{_address(remote_host)}/32", 0)] if remote_host else []


def _remote_host(lease: Lease) -> str:
    """The one remote host that a lease admits; empty if it admits everybody, or whom PCP's filters say."""
    for network, port in lease.allowed:
        if len(lease.allowed) == 1 and port == 0 and network.endswith("/32"):
            return network.removesuffix("/32")
    return ""


def _entry(lease: Lease, now: int) -> Results:
    return {
        "NewInternalPort": lease.internal.port,
        "NewInternalClient": lease.internal.address,
        "NewEnabled": 1,
        "NewPortMappingDescription": lease.description,
        "NewLeaseDuration": seconds_left(lease, now),
    }
