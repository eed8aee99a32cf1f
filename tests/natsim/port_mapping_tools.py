"""A router with its port mapping servers, without any network; and the protocols' messages, written down once more."""

from __future__ import annotations

import random
import struct
from collections.abc import Collection
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from xml.etree import ElementTree

from sim_tools import s, tcp, udp

from natsim import NatBehavior, address_and_port_dependent, random_port
from natsim.nat.engine import NatEngine
from natsim.nat.port_mapping.control_port import ControlPort
from natsim.nat.port_mapping.gateway import Gateway
from natsim.nat.port_mapping.upnp import Upnp
from natsim.packet import Endpoint

OUTSIDE, GATEWAY = "198.51.100.1", "192.168.1.1"
ALICE, BOB = "192.168.1.2", "192.168.1.3"
STRANGER = Endpoint("203.0.113.99", 4444)

UDP_OPCODE, TCP_OPCODE = 1, 2
UDP_NUMBER, TCP_NUMBER = 17, 6
NONCE, OTHER_NONCE = b"twelve bytes", b"not the same"


class Lab:
    """One router; `now` is in seconds since it started."""

    def __init__(
        self,
        behavior: NatBehavior | None = None,
        protocols: Collection[str] = ("nat-pmp", "pcp"),
        outside: str = OUTSIDE,
        **options: Any,
    ) -> None:
        if behavior is None:
            behavior = NatBehavior(mapping=address_and_port_dependent, ports=random_port)
        self.engine = NatEngine(behavior, outside, random.Random(0))
        self.gateway = Gateway(self.engine, started=s(1000), translates=behavior.translate, **options)
        self.port = ControlPort(self.gateway, protocols)
        self.upnp = Upnp(self.gateway, GATEWAY)

    def ask(self, datagram: bytes, host: str = ALICE, now: float = 0) -> bytes | None:
        """The answer of port 5351 to a datagram."""
        return self.port.answer(datagram, Endpoint(host, 50_000), s(1000 + now))

    def lets_in(self, protocol: str, port: int, remote: Endpoint = STRANGER, now: float = 0) -> Endpoint | None:
        """Where the NAT delivers what a remote endpoint sends to an outside port, unasked."""
        make = udp if protocol == "udp" else tcp
        verdict = self.engine.inbound(make(remote, Endpoint(OUTSIDE, port)), s(1000 + now))
        return verdict.packet.dst if verdict.packet else None

    def sends_as(self, internal: Endpoint, remote: Endpoint = STRANGER, now: float = 0) -> Endpoint:
        """The outside endpoint by which a datagram leaves."""
        packet = self.engine.outbound(udp(internal, remote), s(1000 + now)).packet
        assert packet is not None
        return packet.src


# -- NAT-PMP: RFC 6886 sections 3.2 and 3.3 ---------------------------------------------------------------------------


def natpmp_map(port: int, *, opcode: int = UDP_OPCODE, suggested: int = 0, lifetime: int = 7200) -> bytes:
    return struct.pack(">BBHHHI", 0, opcode, 0, port, suggested, lifetime)


class NatPmpMapped(NamedTuple):
    version: int
    opcode: int
    result: int
    epoch: int
    internal: int
    external: int
    lifetime: int


def natpmp_mapped(answer: bytes | None) -> NatPmpMapped:
    assert answer is not None
    return NatPmpMapped(*struct.unpack(">BBHIHHI", answer))


# -- PCP: RFC 6887 sections 7, 11, 12 and 13 --------------------------------------------------------------------------


def mapped(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + bytes(map(int, address.split(".")))


def pcp_request(opcode: int, lifetime: int, body: bytes = b"", *options: bytes, client: str = ALICE) -> bytes:
    return struct.pack(">BBHI", 2, opcode, 0, lifetime) + mapped(client) + body + b"".join(options)


def pcp_map(
    port: int,
    *options: bytes,
    protocol: int = UDP_NUMBER,
    lifetime: int = 3600,
    suggested: int = 0,
    address: str = "0.0.0.0",
    nonce: bytes = NONCE,
    client: str = ALICE,
) -> bytes:
    body = nonce + struct.pack(">B3xHH", protocol, port, suggested) + mapped(address)
    return pcp_request(1, lifetime, body, *options, client=client)


def pcp_peer(port: int, remote: Endpoint, *options: bytes, protocol: int = UDP_NUMBER, lifetime: int = 3600) -> bytes:
    body = NONCE + struct.pack(">B3xHH", protocol, port, 0) + bytes(16)
    return pcp_request(2, lifetime, body + struct.pack(">H2x", remote.port) + mapped(remote.address), *options)


def option(code: int, data: bytes = b"") -> bytes:
    return struct.pack(">BxH", code, len(data)) + data + bytes(-len(data) % 4)


def third_party(address: str) -> bytes:
    return option(1, mapped(address))


PREFER_FAILURE = option(2)


def pcp_filter(address: str, prefix: int = 128, port: int = 0) -> bytes:
    return option(3, struct.pack(">xBH", prefix, port) + mapped(address))


class PcpAnswer(NamedTuple):
    version: int
    opcode: int
    result: int
    lifetime: int
    epoch: int
    rest: bytes

    @property
    def internal_port(self) -> int:
        return int.from_bytes(self.rest[16:18], "big")

    @property
    def external(self) -> Endpoint:
        address = IPv6Address(self.rest[20:36]).ipv4_mapped
        return Endpoint(str(address), int.from_bytes(self.rest[18:20], "big"))


def pcp_answer(answer: bytes | None) -> PcpAnswer:
    assert answer is not None
    assert len(answer) % 4 == 0
    assert answer[12:24] == bytes(12), "reserved"
    version, opcode, reserved, result, lifetime, epoch = struct.unpack_from(">BBBBII", answer)
    assert reserved == 0
    return PcpAnswer(version, opcode, result, lifetime, epoch, answer[24:])


# -- UPnP -------------------------------------------------------------------------------------------------------------

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:"


def post(path: str, body: str | bytes, action: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    head = f'POST {path} HTTP/1.1\r\nHost: router\r\nSOAPAction: "{action}"\r\nContent-Length: {len(data)}\r\n\r\n'
    return head.encode() + data


def soap(action: str, arguments: dict[str, object], service: str = SERVICE + "2") -> str:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service}">{inner}</u:{action}></s:Body></s:Envelope>'
    )


def http_answer(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; its length is what it says."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert int(headers["content-length"]) == len(body)
    return int(line.split()[1]), headers, body


def called(
    lab: Lab,
    action: str,
    arguments: dict[str, object] | None = None,
    *,
    host: str = ALICE,
    version: int = 2,
    now: float = 0,
) -> dict[str, str] | int:
    """What an action returns, or its error code."""
    service = f"{SERVICE}{version}"
    request = post("/control/WANIPConnection", soap(action, arguments or {}, service), f"{service}#{action}")
    status, _, body = http_answer(lab.upnp.answer(request, Endpoint(host, 50_000), s(1000 + now)))
    tree = ElementTree.fromstring(body)
    if status == 500:
        code = tree.findtext(".//{urn:schemas-upnp-org:control-1-0}errorCode")
        assert code is not None
        return int(code)
    assert status == 200
    (response,) = tree.findall("{http://schemas.xmlsoap.org/soap/envelope/}Body/*")
    assert response.tag == f"{{{service}}}{action}Response"
    return {argument.tag: argument.text or "" for argument in response}


def add_arguments(port: int = 8080, client: str = ALICE, **changes: object) -> dict[str, object]:
    """The arguments of an Add..., in the order of the specification."""
    arguments: dict[str, object] = {
        "NewRemoteHost": "",
        "NewExternalPort": port,
        "NewProtocol": "TCP",
        "NewInternalPort": 80,
        "NewInternalClient": client,
        "NewEnabled": 1,
        "NewPortMappingDescription": "a web server",
        "NewLeaseDuration": 3600,
    }
    return arguments | changes
