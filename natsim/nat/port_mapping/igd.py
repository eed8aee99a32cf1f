"""What this router is in UPnP's words: an Internet Gateway Device, version 2, and what it can be asked.

The tables are the program: `ACTIONS` says which actions each service has and which arguments go in and come out;
`upnp.py` checks calls against it, and the XML descriptions that control points read are written from it.  A service
of version 2 also answers to version 1 (UPnP Device Architecture section 2.3).

Next: `upnp.py`, which does what the actions say.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple
from xml.etree.ElementTree import Element

from .xml_trees import document, element

SCHEMAS = "urn:schemas-upnp-org"


class Kind(NamedTuple):
    """A type of device or service, in its highest version."""

    name: str
    version: int
    is_service: bool = False

    def urn(self, version: int | None = None) -> str:
        """Its full name, in that version or the highest."""
        return f"{SCHEMAS}:{'service' if self.is_service else 'device'}:{self.name}:{version or self.version}"

    def urns(self) -> list[str]:
        """Its names in all versions to which it answers."""
        return [self.urn(version) for version in range(1, self.version + 1)]


GATEWAY, WAN, CONNECTION = (
    Kind("InternetGatewayDevice", 2),
    Kind("WANDevice", 2),
    Kind("WANConnectionDevice", 2),
)
LINK = Kind("WANCommonInterfaceConfig", 1, is_service=True)
IP_CONNECTION = Kind("WANIPConnection", 2, is_service=True)

DEVICES = (GATEWAY, WAN, CONNECTION)
SERVICES = (LINK, IP_CONNECTION)


class Action(NamedTuple):
    """The arguments of an action, and the first version of its service that has it."""

    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    since: int = 1


_NAMED_BY = ("NewRemoteHost", "NewExternalPort", "NewProtocol")
_ENTRY = ("NewInternalPort", "NewInternalClient", "NewEnabled", "NewPortMappingDescription", "NewLeaseDuration")

ACTIONS: dict[Kind, dict[str, Action]] = {
    IP_CONNECTION: {
        "AddPortMapping": Action(_NAMED_BY + _ENTRY),
        "AddAnyPortMapping": Action(_NAMED_BY + _ENTRY, ("NewReservedPort",), since=2),
        "DeletePortMapping": Action(_NAMED_BY),
        "GetExternalIPAddress": Action((), ("NewExternalIPAddress",)),
        "GetSpecificPortMappingEntry": Action(_NAMED_BY, _ENTRY),
        "GetGenericPortMappingEntry": Action(("NewPortMappingIndex",), _NAMED_BY + _ENTRY),
        "GetStatusInfo": Action((), ("NewConnectionStatus", "NewLastConnectionError", "NewUptime")),
        "GetConnectionTypeInfo": Action((), ("NewConnectionType", "NewPossibleConnectionTypes")),
    },
    LINK: {
        "GetCommonLinkProperties": Action(
            (),
            (
                "NewWANAccessType",
                "NewLayer1UpstreamMaxBitRate",
                "NewLayer1DownstreamMaxBitRate",
                "NewPhysicalLinkStatus",
            ),
        ),
    },
}

#: Arguments that are not strings.
TYPES = {
    "NewExternalPort": "ui2",
    "NewInternalPort": "ui2",
    "NewReservedPort": "ui2",
    "NewPortMappingIndex": "ui2",
    "NewEnabled": "boolean",
    "NewLeaseDuration": "ui4",
    "NewUptime": "ui4",
    "NewLayer1UpstreamMaxBitRate": "ui4",
    "NewLayer1DownstreamMaxBitRate": "ui4",
}

#: State variables that are not called like their argument.
VARIABLES = {
    "NewProtocol": "PortMappingProtocol",
    "NewEnabled": "PortMappingEnabled",
    "NewLeaseDuration": "PortMappingLeaseDuration",
    "NewPortMappingIndex": "PortMappingNumberOfEntries",
}


def udn(device: Kind, address: str) -> str:
    """The unique name of a device of the router at that address, the same in every run."""
    return f"uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'natsim://{address}/{device.name}')}"


# -- Where things are on the router's web server ----------------------------------------------------------------------

DESCRIPTION_PATH = "/description.xml"


def service_path(service: Kind) -> str:
    """Where the description of a service is."""
    return f"/{service.name}.xml"


def control_path(service: Kind) -> str:
    """Where the actions of a service are called."""
    return f"/control/{service.name}"


# -- Descriptions -----------------------------------------------------------------------------------------------------


def device_description(address: str) -> bytes:
    """The router: three devices, one inside the other, and their services (UPnP Device Architecture section 2.3)."""
    connection = _device(CONNECTION, address, "natsim connection", IP_CONNECTION)
    wan = _device(WAN, address, "natsim WAN", LINK, inside=connection)
    root = _device(GATEWAY, address, "natsim router", inside=wan)
    return document(element("root", _version(), root, xmlns=f"{SCHEMAS}:device-1-0"))


def _device(kind: Kind, address: str, name: str, *services: Kind, inside: Element | None = None) -> Element:
    parts = [
        element("deviceType", kind.urn()),
        element("friendlyName", name),
        element("manufacturer", "natsim"),
        element("modelName", "simulated router"),
        element("UDN", udn(kind, address)),
    ]
    if services:
        parts.append(element("serviceList", *map(_service, services)))
    if inside is not None:
        parts.append(element("deviceList", inside))
    return element("device", *parts)


def _service(kind: Kind) -> Element:
    return element(
        "service",
        element("serviceType", kind.urn()),
        element("serviceId", f"urn:upnp-org:serviceId:{kind.name}"),
        element("SCPDURL", service_path(kind)),
        element("controlURL", control_path(kind)),
        element("eventSubURL"),
    )


def service_description(kind: Kind) -> bytes:
    """A service: its actions, and the variables that stand behind their arguments (same, section 2.5)."""
    actions = ACTIONS[kind]
    arguments = [name for action in actions.values() for name in (*action.takes, *action.gives)]
    variables = {_variable(name): TYPES.get(name, "string") for name in arguments}
    return document(
        element(
            "scpd",
            _version(),
            element("actionList", *(_action(name, action) for name, action in actions.items())),
            element("serviceStateTable", *(_state_variable(*variable) for variable in variables.items())),
            xmlns=f"{SCHEMAS}:service-1-0",
        )
    )


def _action(name: str, action: Action) -> Element:
    arguments = [
        element(
            "argument",
            element("name", argument),
            element("direction", direction),
            element("relatedStateVariable", _variable(argument)),
        )
        for direction, names in (("in", action.takes), ("out", action.gives))
        for argument in names
    ]
    return element("action", element("name", name), element("argumentList", *arguments))


def _variable(argument: str) -> str:
    return VARIABLES.get(argument, argument.removeprefix("New"))


def _state_variable(name: str, data_type: str) -> Element:
    return element("stateVariable", element("name", name), element("dataType", data_type), sendEvents="no")


def _version() -> Element:
    return element("specVersion", element("major", "1"), element("minor", "0"))
