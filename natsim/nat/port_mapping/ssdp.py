"""SSDP, by which UPnP devices are found (UPnP Device Architecture section 1.3): "who here is a router?"

A control point multicasts M-SEARCH with a search target; whoever is that answers with the address of its description.
A datagram goes in, the answers come out.  Next: `upnp.py`.
"""

from __future__ import annotations

from . import igd, web

#: Where control points ask.
GROUP, PORT = "239.255.255.250", 1900

#: Seconds for which an answer may be believed.
MAX_AGE = 1800


class Ssdp:
    """Answers for the router at `address`, whose web server has the port `http_port`."""

    def __init__(self, address: str, http_port: int) -> None:
        self._location = f"http://{address}:{http_port}{igd.DESCRIPTION_PATH}"
        #: What the router is, and under which unique name, for each search target.
        self._targets = _targets(address)

    def answers(self, datagram: bytes) -> list[bytes]:
        """The answers to a datagram: none, unless it is a search for what this router is."""
        try:
            search = web.read(datagram)
        except web.HttpError:
            return []
        if (search.method, search.target, search.headers.get("MAN")) != ("M-SEARCH", "*", '"ssdp:discover"'):
            return []
        wanted = str(search.headers.get("ST", "")).strip()
        if wanted == "ssdp:all":
            return [self._answer(target, usn) for target, usn in self._targets.items()]
        return [self._answer(wanted, self._targets[wanted])] if wanted in self._targets else []

    def _answer(self, target: str, usn: str) -> bytes:
        lines = [
            "HTTP/1.1 200 OK",
            f"CACHE-CONTROL: max-age={MAX_AGE}",
            "EXT:",
            f"LOCATION: {self._location}",
            f"SERVER: {web.SERVER}",
            f"ST: {target}",
            f"USN: {usn}",
        ]
        return "\r\n".join(lines).encode() + web.END_OF_HEAD


def _targets(address: str) -> dict[str, str]:
    """Every search target that is about this router, with its unique service name."""
    root = igd.udn(igd.GATEWAY, address)
    targets = {"upnp:rootdevice": f"{root}::upnp:rootdevice"}
    hosts = {igd.LINK: igd.WAN, igd.IP_CONNECTION: igd.CONNECTION}
    for kind in (*igd.DEVICES, *igd.SERVICES):
        udn = igd.udn(hosts.get(kind, kind), address)
        if not kind.is_service:
            targets[udn] = udn
        targets |= {urn: f"{udn}::{urn}" for urn in kind.urns()}
    return targets
