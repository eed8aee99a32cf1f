"""SOAP 1.1 as UPnP uses it: a call of an action, its results, or its fault (UPnP Device Architecture, section 3).

A call is an XML element named after the action, in the namespace of a service type, with the arguments in it.
To and from bytes; what an action does is in `upnp.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from xml.etree.ElementTree import Element

from . import web
from .xml_trees import BadXml, document, element, parse

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
CONTROL = "urn:schemas-upnp-org:control-1-0"

#: Error codes and their names (UPnP Device Architecture section 3.2.2; WANIPConnection:1 and :2).
ERRORS = {
    401: "Invalid Action",
    402: "Invalid Args",
    501: "Action Failed",
    606: "Action not authorized",
    713: "SpecifiedArrayIndexInvalid",
    714: "NoSuchEntryInArray",
    716: "WildCardNotPermittedInExtPort",
    718: "ConflictInMappingEntry",
    728: "NoPortMapsAvailable",
    732: "WildCardNotPermittedInIntPort",
}


class UpnpError(Exception):
    """An action that failed, with one of `ERRORS`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code} {ERRORS[code]}")
        self.code = code


@dataclass(frozen=True)
class Call:
    """What a control point wants: an action of a service type, with arguments as text."""

    service: str
    action: str
    arguments: Mapping[str, str]


def read_call(body: bytes) -> Call:
    """The call in the body of a request.  Raises `UpnpError`."""
    try:
        envelope = parse(body)
    except BadXml as exc:
        raise UpnpError(402) from exc
    calls = envelope.findall(f"{{{ENVELOPE}}}Body/*")
    if envelope.tag != f"{{{ENVELOPE}}}Envelope" or len(calls) != 1:
        raise UpnpError(402)
    namespace, _, action = calls[0].tag.rpartition("}")
    arguments = {argument.tag: argument.text or "" for argument in calls[0]}
    return Call(namespace.removeprefix("{"), action, arguments)


def success(call: Call, results: Mapping[str, object]) -> bytes:
    """The answer to a call that went well, as a whole HTTP answer."""
    arguments = [element(name, str(value)) for name, value in results.items()]
    response = element(f"u:{call.action}Response", *arguments, **{"xmlns:u": call.service})
    return web.answer(HTTPStatus.OK, _in_envelope(response), "EXT:")


def fault(error: UpnpError) -> bytes:
    """The answer to one that did not."""
    detail = element(
        "UPnPError",
        element("errorCode", str(error.code)),
        element("errorDescription", ERRORS[error.code]),
        xmlns=CONTROL,
    )
    response = element(
        "s:Fault",
        element("faultcode", "s:Client"),
        element("faultstring", "UPnPError"),
        element("detail", detail),
    )
    return web.answer(HTTPStatus.INTERNAL_SERVER_ERROR, _in_envelope(response), "EXT:")


def _in_envelope(content: Element) -> bytes:
    attributes = {"xmlns:s": ENVELOPE, "s:encodingStyle": ENCODING}
    return document(element("s:Envelope", element("s:Body", content), **attributes))
