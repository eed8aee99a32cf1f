"""UPnP: searches, descriptions, actions and error codes, byte by byte; what may not come in stays out."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from port_mapping_tools import (
    ALICE,
    BOB,
    GATEWAY,
    NONCE,
    OUTSIDE,
    SERVICE,
    STRANGER,
    Lab,
    called,
    http_answer,
    natpmp_map,
    pcp_answer,
    pcp_filter,
    pcp_map,
    post,
    soap,
)
from port_mapping_tools import (
    add_arguments as add,
)
from sim_tools import s

from natsim import NatBehavior
from natsim.nat.port_mapping import igd, web
from natsim.nat.port_mapping.gateway import MOST_PER_HOST
from natsim.nat.port_mapping.ssdp import Ssdp
from natsim.nat.port_mapping.xml_trees import BadXml, parse
from natsim.packet import Endpoint

SOURCE = Endpoint(ALICE, 50_000)
WEEK = 604_800


def named(port: int = 8080, protocol: str = "TCP", remote: str = "") -> dict[str, object]:
    return {"NewRemoteHost": remote, "NewExternalPort": port, "NewProtocol": protocol}


# -- SSDP -------------------------------------------------------------------------------------------------------------


def search(target: str, *, first: str = "M-SEARCH * HTTP/1.1", man: str = '"ssdp:discover"') -> bytes:
    lines = [first, "HOST: 239.255.255.250:1900", f"MAN: {man}", "MX: 2", f"ST: {target}"]
    return "\r\n".join([*lines, "", ""]).encode()


def headers_of(answer: bytes) -> dict[str, str]:
    line, *lines = answer.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert line == "HTTP/1.1 200 OK"
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    "target",
    [
        "upnp:rootdevice",
        "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
        "urn:schemas-upnp-org:device:WANConnectionDevice:2",
        "urn:schemas-upnp-org:service:WANIPConnection:1",
        "urn:schemas-upnp-org:service:WANIPConnection:2",
        "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1",
    ],
)
def test_a_search_for_what_the_router_is_finds_its_description(target: str) -> None:
    (answer,) = Ssdp(GATEWAY, 5000).answers(search(target))
    headers = headers_of(answer)
    assert headers["LOCATION"] == f"http://{GATEWAY}:5000/description.xml"
    assert headers["ST"] == target
    assert headers["USN"].startswith("uuid:")
    assert headers["USN"].endswith(f"::{target}")
    assert headers["CACHE-CONTROL"] == "max-age=1800"
    assert headers["EXT"] == ""


def test_a_search_for_everything_finds_each_once() -> None:
    found = [headers_of(answer) for answer in Ssdp(GATEWAY, 5000).answers(search("ssdp:all"))]
    targets = [headers["ST"] for headers in found]
    assert len(targets) == len(set(targets)) == 13
    uuid = next(target for target in targets if target.startswith("uuid:"))
    (again,) = Ssdp(GATEWAY, 5000).answers(search(uuid))
    assert headers_of(again)["USN"] == uuid
    assert Ssdp("10.0.0.1", 5000).answers(search(uuid)) == [], "each router has names of its own"


@pytest.mark.parametrize(
    "datagram",
    [
        search("urn:schemas-upnp-org:device:MediaServer:1"),
        search("urn:schemas-upnp-org:service:WANIPConnection:3"),
        search("upnp:rootdevice", man="ssdp:discover"),
        search("upnp:rootdevice", first="NOTIFY * HTTP/1.1"),
        search("upnp:rootdevice", first="M-SEARCH / HTTP/1.1"),
        search("upnp:rootdevice")[:-2],
        b"",
        b"\xff" * 100,
    ],
)
def test_other_datagrams_are_not_answered(datagram: bytes) -> None:
    assert Ssdp(GATEWAY, 5000).answers(datagram) == []


# -- HTTP and descriptions --------------------------------------------------------------------------------------------


def get(target: str, lab: Lab | None = None) -> tuple[int, bytes]:
    data = (lab or Lab()).upnp.answer(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), SOURCE, s(1000))
    status, headers, body = http_answer(data)
    assert headers["connection"] == "close"
    return status, body


def test_the_description_leads_to_every_service_and_its_actions() -> None:
    status, body = get("/description.xml")
    assert status == 200
    names = {"d": "urn:schemas-upnp-org:device-1-0", "s": "urn:schemas-upnp-org:service-1-0"}
    root = ElementTree.fromstring(body)
    devices = [device.text for device in root.iterfind(".//d:deviceType", names)]
    assert devices == [kind.urn() for kind in igd.DEVICES]
    assert len({udn.text for udn in root.iterfind(".//d:UDN", names)}) == 3
    actions = {}
    for service in root.iterfind(".//d:service", names):
        path, control = (service.findtext(f"d:{tag}", "", names) for tag in ("SCPDURL", "controlURL"))
        assert urlsplit(path).path == path
        status, page = get(path)
        assert status == 200
        scpd = ElementTree.fromstring(page)
        actions[service.findtext("d:serviceType", "", names)] = [
            action.text for action in scpd.iterfind("s:actionList/s:action/s:name", names)
        ]
        variables = {variable.text for variable in scpd.iterfind("s:serviceStateTable/s:stateVariable/s:name", names)}
        related = {variable.text for variable in scpd.iterfind(".//s:relatedStateVariable", names)}
        assert related == variables
        assert get(control)[0] == 405
    assert actions[SERVICE + "2"][:3] == ["AddPortMapping", "AddAnyPortMapping", "DeletePortMapping"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"POST /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"PUT /description.xml HTTP/1.1\r\n\r\n", 405),
        (b"SUBSCRIBE /control/WANIPConnection HTTP/1.1\r\n\r\n", 405),
        (b"", 400),
        (b"\r\n\r\n", 400),
        (b"GET /description.xml\r\n\r\n", 400),
        (b"GET /description.xml SPDY/1\r\n\r\n", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: 5\r\n\r\n1234", 400),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /control/WANIPConnection HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"GET /" + b"x" * 70_000, 413),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_requests_that_make_no_sense_get_their_status(request_: bytes, status: int) -> None:
    assert http_answer(Lab().upnp.answer(request_, SOURCE, s(1000)))[0] == status


def test_what_follows_a_request_is_not_read() -> None:
    request = post("/control/WANIPConnection", soap("GetStatusInfo", {}))
    assert http_answer(Lab().upnp.answer(request + b"GET / HTTP/1.1\r\n\r\n", SOURCE, s(1000)))[0] == 200


def test_a_request_is_complete_with_its_last_byte_or_when_more_would_not_help() -> None:
    request = post("/control/WANIPConnection", soap("GetStatusInfo", {}))
    assert [web.is_complete(request[:length]) for length in range(len(request))] == [False] * len(request)
    assert web.is_complete(request)
    assert web.is_complete(b"x" * (web.LARGEST + 1))
    assert web.is_complete(b"nonsense\r\n\r\n")


# -- XML from strangers -----------------------------------------------------------------------------------------------

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE s [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<s>&c;</s>"""


@pytest.mark.parametrize(
    "document",
    [
        BOMB,
        BOMB.decode().encode("utf-16"),
        b'<!DOCTYPE s SYSTEM "file:///etc/passwd"><s/>',
        b"<!DOCTYPE s><s/>",
        b"<s>&undefined;</s>",
        b"<s",
        b"",
        b"<s/><s/>",
        b'<?xml version="1.0" encoding="klingon"?><s/>',
        b'<?xml version="1.0" encoding="utf-7"?><s/>',
        b"<s>\x00</s>",
    ],
)
def test_no_document_types_and_no_rubbish(document: bytes) -> None:
    with pytest.raises(BadXml):
        parse(document)
    _, _, body = http_answer(Lab().upnp.answer(post("/control/WANIPConnection", document), SOURCE, s(1000)))
    assert b"<errorCode>402<" in body


def test_texts_go_out_as_they_came_in() -> None:
    lab = Lab()
    called(lab, "AddPortMapping", add(NewPortMappingDescription="a &lt;b&gt; &amp; &quot;c&quot; \u00e4"))
    entry: Any = called(lab, "GetSpecificPortMappingEntry", named())
    assert entry["NewPortMappingDescription"] == 'a <b> & "c" \u00e4'


# -- Actions ----------------------------------------------------------------------------------------------------------


def test_a_mapping_is_added_listed_and_deleted() -> None:
    lab = Lab()
    assert called(lab, "AddPortMapping", add()) == {}
    assert lab.lets_in("tcp", 8080) == Endpoint(ALICE, 80)
    entry = {
        "NewInternalPort": "80",
        "NewInternalClient": ALICE,
        "NewEnabled": "1",
        "NewPortMappingDescription": "a web server",
        "NewLeaseDuration": "3590",
    }
    by_name = {"NewRemoteHost": "", "NewExternalPort": "8080", "NewProtocol": "TCP"}
    assert called(lab, "GetSpecificPortMappingEntry", named(), now=10) == entry
    assert called(lab, "GetGenericPortMappingEntry", {"NewPortMappingIndex": 0}, now=10) == by_name | entry
    assert called(lab, "DeletePortMapping", named()) == {}
    assert lab.lets_in("tcp", 8080, Endpoint("203.0.113.1", 1)) is None
    assert called(lab, "GetSpecificPortMappingEntry", named()) == 714
    assert called(lab, "DeletePortMapping", named()) == 714


def test_what_the_router_says_of_itself() -> None:
    lab = Lab()
    assert called(lab, "GetExternalIPAddress") == {"NewExternalIPAddress": OUTSIDE}
    status = {"NewConnectionStatus": "Connected", "NewLastConnectionError": "ERROR_NONE", "NewUptime": "12"}
    assert called(lab, "GetStatusInfo", now=12) == status
    kind = {"NewConnectionType": "IP_Routed", "NewPossibleConnectionTypes": "IP_Routed"}
    assert called(lab, "GetConnectionTypeInfo") == kind
    offline = Lab(outside="0.0.0.0")
    assert called(offline, "GetExternalIPAddress") == {"NewExternalIPAddress": ""}
    assert called(offline, "GetStatusInfo") == status | {"NewConnectionStatus": "Disconnected", "NewUptime": "0"}
    assert called(offline, "AddPortMapping", add()) == 501


def test_the_common_interface_is_a_service_of_its_own() -> None:
    link = "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1"
    request = post("/control/WANCommonInterfaceConfig", soap("GetCommonLinkProperties", {}, link))
    status, _, body = http_answer(Lab().upnp.answer(request, SOURCE, s(1000)))
    assert status == 200
    assert b"<NewPhysicalLinkStatus>Up<" in body
    elsewhere = post("/control/WANIPConnection", soap("GetCommonLinkProperties", {}, link))
    assert b"<errorCode>401<" in Lab().upnp.answer(elsewhere, SOURCE, s(1000))


@pytest.mark.parametrize(
    ("version", "wanted", "granted"),
    [(1, 0, 0), (2, 0, WEEK), (1, 60, 60), (2, 60, 60), (2, 2**32 - 1, WEEK), (1, 2**32 - 1, 2**32 - 1)],
)
def test_lease_durations(version: int, wanted: int, granted: int) -> None:
    lab = Lab()
    assert called(lab, "AddPortMapping", add(NewLeaseDuration=wanted), version=version) == {}
    entry: Any = called(lab, "GetSpecificPortMappingEntry", named())
    assert entry["NewLeaseDuration"] == str(granted)
    assert lab.lets_in("tcp", 8080, now=granted - 1 if granted else 10**9) == Endpoint(ALICE, 80)
    if granted:
        assert lab.lets_in("tcp", 8080, Endpoint("203.0.113.1", 1), now=granted) is None


def test_adding_again_renews_and_may_change_the_inside_port() -> None:
    lab = Lab()
    called(lab, "AddPortMapping", add(NewLeaseDuration=100))
    assert called(lab, "AddPortMapping", add(NewLeaseDuration=100, NewPortMappingDescription="b"), now=99) == {}
    entry: Any = called(lab, "GetSpecificPortMappingEntry", named(), now=198)
    assert (entry["NewPortMappingDescription"], entry["NewLeaseDuration"]) == ("b", "1")
    assert called(lab, "AddPortMapping", add(NewInternalPort=81), now=198) == {}
    assert lab.lets_in("tcp", 8080, now=199) == Endpoint(ALICE, 81)
    assert called(lab, "AddPortMapping", add(NewInternalPort=82), now=199) == 718, "somebody talks through it"
    assert lab.lets_in("tcp", 8080, Endpoint("203.0.113.1", 1), now=200) == Endpoint(ALICE, 81), "and it stays"
    assert len(lab.gateway.leases(s(1200))) == 1


def test_one_inside_port_may_have_several_outside_ports() -> None:
    lab = Lab()
    for port in (8080, 8081):
        assert called(lab, "AddPortMapping", add(port)) == {}
    assert lab.lets_in("tcp", 8080) == lab.lets_in("tcp", 8081) == Endpoint(ALICE, 80)


def test_a_port_that_another_host_has_is_a_conflict_and_any_port_is_not() -> None:
    lab = Lab()
    assert called(lab, "AddPortMapping", add(client=BOB), host=BOB) == {}
    assert called(lab, "AddPortMapping", add()) == 718
    assert called(lab, "AddAnyPortMapping", add()) == {"NewReservedPort": "80"}
    assert called(lab, "AddAnyPortMapping", add(8081)) == {"NewReservedPort": "8081"}
    assert called(lab, "AddAnyPortMapping", add(0, NewInternalPort=90)) == {"NewReservedPort": "90"}
    assert called(lab, "AddAnyPortMapping", add(), version=1) == 401, "it is new in version 2"


def test_only_the_host_itself_may_map_ports_to_itself() -> None:
    for action in ("AddPortMapping", "AddAnyPortMapping"):
        lab = Lab()
        assert called(lab, action, add(client=BOB)) == 606
        assert not lab.gateway.leases(0)
    assert called(Lab(), "AddPortMapping", add(client=BOB), version=1) == 718
    assert called(Lab(trusted={ALICE}), "AddPortMapping", add(client=BOB)) == {}
    lab = Lab()
    called(lab, "AddPortMapping", add())
    assert called(lab, "DeletePortMapping", named(), host=BOB) == 606
    assert lab.lets_in("tcp", 8080) == Endpoint(ALICE, 80)


def test_a_trusted_host_may_end_what_others_have_mapped() -> None:
    lab = Lab(trusted={ALICE})
    called(lab, "AddPortMapping", add(client=BOB), host=BOB)
    assert called(lab, "DeletePortMapping", named()) == {}
    assert lab.gateway.leases(0) == []


def test_on_a_firewall_every_host_has_its_own_address_and_ports() -> None:
    lab = Lab(NatBehavior(translate=False))
    first, second = "192.0.2.18", "192.0.2.19"
    for host in (first, second):
        assert called(lab, "GetExternalIPAddress", host=host) == {"NewExternalIPAddress": host}
        assert called(lab, "AddPortMapping", add(80, client=host), host=host) == {}
        assert called(lab, "AddPortMapping", add(8080, client=host), host=host) == 718, "it cannot be another port"
    assert called(lab, "DeletePortMapping", named(80), host=first) == {}
    assert [str(lease.external) for lease in lab.gateway.leases(0)] == [f"{second}:80"]


def test_a_remote_host_is_the_only_one_let_in() -> None:
    lab = Lab()
    assert called(lab, "AddPortMapping", add(NewRemoteHost=STRANGER.address)) == {}
    assert lab.lets_in("tcp", 8080, STRANGER._replace(port=9)) == Endpoint(ALICE, 80)
    assert lab.lets_in("tcp", 8080, Endpoint("203.0.113.98", 9)) is None
    assert called(lab, "GetSpecificPortMappingEntry", named()) == 714, "the remote host is part of the name"
    entry: Any = called(lab, "GetGenericPortMappingEntry", {"NewPortMappingIndex": 0})
    assert entry["NewRemoteHost"] == STRANGER.address
    assert called(lab, "DeletePortMapping", named(remote=STRANGER.address)) == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"NewExternalPort": 0}, 716),
        ({"NewInternalPort": 0}, 732),
        ({"NewEnabled": 0}, 501),
        ({"NewEnabled": "maybe"}, 402),
        ({"NewProtocol": "SCTP"}, 402),
        ({"NewProtocol": ""}, 402),
        ({"NewExternalPort": 65_536}, 402),
        ({"NewExternalPort": -1}, 402),
        ({"NewExternalPort": "http"}, 402),
        ({"NewExternalPort": "\u0661"}, 402),
        ({"NewExternalPort": "9" * 5000}, 402),
        ({"NewInternalClient": "alice"}, 402),
        ({"NewInternalClient": ""}, 402),
        ({"NewRemoteHost": "example.org"}, 402),
        ({"NewLeaseDuration": 2**32}, 402),
        ({"NewLeaseDuration": ""}, 402),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, object], code: int) -> None:
    lab = Lab()
    assert called(lab, "AddPortMapping", add(**arguments)) == code
    assert not lab.gateway.leases(0)


def test_arguments_that_are_missing_actions_that_do_not_exist_and_indexes_beyond_the_end() -> None:
    lab = Lab()
    for missing in add():
        arguments = add()
        del arguments[missing]
        assert called(lab, "AddPortMapping", arguments) == 402
    assert called(lab, "SetConnectionType") == 401
    assert called(lab, "GetGenericPortMappingEntry", {"NewPortMappingIndex": 0}) == 713
    assert called(lab, "GetStatusInfo", version=3) == 401
    letter = soap("GetStatusInfo", {}).replace("s:Envelope", "s:Letter")
    assert b"<errorCode>402<" in lab.upnp.answer(post("/control/WANIPConnection", letter), SOURCE, s(1000))
    two_calls = soap("GetStatusInfo", {}).replace("</s:Body>", f'<u:GetStatusInfo xmlns:u="{SERVICE}2"/></s:Body>')
    assert b"<errorCode>402<" in lab.upnp.answer(post("/control/WANIPConnection", two_calls), SOURCE, s(1000))


def test_words_for_yes_and_protocols_in_any_case() -> None:
    assert called(Lab(), "AddPortMapping", add(NewEnabled="True", NewProtocol="udp")) == {}


def test_a_host_has_a_quota() -> None:
    lab = Lab()
    for port in range(8000, 8000 + MOST_PER_HOST):
        assert called(lab, "AddPortMapping", add(port)) == {}
    assert called(lab, "AddPortMapping", add(9000)) == 728
    assert called(lab, "AddPortMapping", add(9000), version=1) == 501
    assert called(lab, "AddPortMapping", add(8000)) == {}


# -- One list for all three protocols ---------------------------------------------------------------------------------


def test_upnp_lists_what_the_others_have_mapped() -> None:
    lab = Lab()
    lab.ask(natpmp_map(5000))
    pcp_answer(lab.ask(pcp_map(5001, pcp_filter("203.0.113.0", 96 + 24), client=BOB), BOB))
    two_filters = pcp_filter("203.0.113.1"), pcp_filter("203.0.113.2")
    pcp_answer(lab.ask(pcp_map(5002, *two_filters, client=BOB), BOB))
    rows: list[Any] = [called(lab, "GetGenericPortMappingEntry", {"NewPortMappingIndex": n}) for n in range(3)]
    shown = [(row["NewInternalClient"], row["NewExternalPort"], row["NewPortMappingDescription"]) for row in rows]
    assert shown == [(ALICE, "5000", "NAT-PMP"), (BOB, "5001", "PCP"), (BOB, "5002", "PCP")]
    assert [row["NewRemoteHost"] for row in rows] == ["", "", ""], "what UPnP has no words for"
    assert called(lab, "DeletePortMapping", named(5000, "UDP")) == {}, "it is alice's own"


def test_what_pcp_protects_by_a_nonce_upnp_cannot_touch() -> None:
    lab = Lab()
    pcp_answer(lab.ask(pcp_map(5000, nonce=NONCE)))
    arguments = add(5000, NewProtocol="UDP", NewInternalPort=5000)
    assert called(lab, "AddPortMapping", arguments) == 606
    assert called(lab, "AddAnyPortMapping", arguments) == 606
    assert called(lab, "DeletePortMapping", named(5000, "UDP")) == 606
    assert lab.lets_in("udp", 5000) == Endpoint(ALICE, 5000)
