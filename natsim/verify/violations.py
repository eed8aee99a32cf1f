"""Who is known to break which requirement, and what is then measured.

A row belongs to a device and to one of the claims that it makes (`natsim/nat/devices/`): the claim is the source of the
violation.  What a device is only remembered to do is not here.  Nor is this all that a device breaks: what it does not
claim, nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..nat.devices import Behavior, Device, find
from . import rfc4787, rfc5382, rfc5508, rfc6888, rfc7857
from .check import Check

REQUIREMENTS = {
    requirement.name: requirement
    for rfc in (rfc4787, rfc5382, rfc5508, rfc6888, rfc7857)
    for requirement in rfc.REQUIREMENTS
}

#: What is measured, by requirement.
Measured = dict[str, str]

NO_HAIRPIN: Measured = {
    "RFC 4787 REQ-9": "does not arrive",
    "RFC 4787 REQ-9a": "does not arrive",
    "RFC 5382 REQ-8": "they do not connect",
    "RFC 5382 REQ-8a": "they do not connect",
    "RFC 5508 REQ-7": "udp: she does not hear of it",
    "RFC 5508 REQ-7a": "nobody",
    "RFC 7857 section 12": "udp: type 3 code 0 does not arrive",
}
REFUSES_AT_ONCE: Measured = {
    "RFC 5382 REQ-4": "a RST after 0 s",
    "RFC 5382 REQ-4 matched": "it was answered before",
    "RFC 5382 REQ-4 unmatched": "a RST",
}
STRICTEST_FILTER: Measured = {"RFC 4787 REQ-8": "the same endpoint", "RFC 5382 REQ-3": "the same endpoint"}


def maps(number: int) -> Measured:
    """So many mappings where there should be one."""
    return {
        "RFC 4787 REQ-1": f"{number} endpoints for 4 destinations",
        "RFC 5382 REQ-1": f"{number} endpoints for 4 destinations",
        "RFC 5508 REQ-1a": "2 identifiers for 2 destinations",
    }


#: By device and by the claim that says so.
KNOWN: dict[str, dict[str, Measured]] = {
    # -- Definitions ---------------------------------------------------------------------------------------------------
    "eim-apdf": {"filtering": STRICTEST_FILTER, "hairpin": NO_HAIRPIN},
    "adm-apdf": {"mapping": maps(2)},
    "apdm-apdf": {"mapping": maps(4)},
    "apdm-sequential": {"mapping": maps(4), "ports": {"RFC 7857 section 9": "easy to guess"}},
    "eim-apdf-rst": {"unsolicited_syn": REFUSES_AT_ONCE},
    "home-overload": {
        "overloading": {
            "RFC 4787 REQ-3": "1 endpoint for 2 hosts",
            "RFC 5382 REQ-7": "1 endpoint for 2 hosts",
            "RFC 5508 REQ-1": "192.168.1.2 gets no answer",
        },
        "ports": {"RFC 7857 section 9": "always kept"},
    },
    # -- Linux ---------------------------------------------------------------------------------------------------------
    "linux": {
        "filtering": STRICTEST_FILTER,
        "hairpin": NO_HAIRPIN,
        "unsolicited_syn": {"RFC 5382 REQ-4 unmatched": "no answer"},
        "timeouts": {
            "RFC 4787 REQ-5": "30 s",
            "RFC 4787 REQ-5c": "120 s",
            "RFC 5382 REQ-5 opening": "120 s",
            "RFC 5382 REQ-5 closing": "120 s",
            "RFC 5508 REQ-2": "30 s",
            "RFC 7857 section 2: ESTABLISHED, C FIN": "120 s",
            "RFC 7857 section 2: TRANS, S data": "10 s",
            "RFC 7857 section 2.1 default": "120 s",
            "RFC 7857 section 2.2 wait": "10 s",
            "RFC 7857 section 2.2 revival": "the session is gone",
        },
    },
    "linux-random": {"mapping": maps(4)},
    "linux-reject": {"unsolicited_syn": REFUSES_AT_ONCE},
    "linux-open": {"unsolicited_syn": REFUSES_AT_ONCE},
    "openwrt": {
        "unsolicited_syn": REFUSES_AT_ONCE,
        "timeouts": {"RFC 4787 REQ-5": "60 s", "RFC 4787 REQ-5c": "180 s", "RFC 7857 section 2.2 wait": "10 s"},
    },
    # -- Routers -------------------------------------------------------------------------------------------------------
    "pf": {
        "mapping": maps(4),
        "filtering": STRICTEST_FILTER,
        "timeouts": {
            "RFC 4787 REQ-5": "60 s",
            "RFC 4787 REQ-5c": "60 s",
            "RFC 5382 REQ-5 opening": "120 s",
            "RFC 5382 REQ-5 closing": "45 s",
            "RFC 5508 REQ-2": "20 s",
            "RFC 7857 section 2.2 wait": "90 s",
        },
    },
    "pf-static-port": {"ports": {"RFC 7857 section 9": "always kept"}},
    "cisco-ios": {
        "ports": {"RFC 7857 section 9": "easy to guess"},
        "timeouts": {
            "RFC 5382 REQ-5 opening": "60 s",
            "RFC 5382 REQ-5 closing": "60 s",
            "RFC 7857 section 2.2 wait": "60 s",
        },
    },
    "fortigate": {
        "filtering": STRICTEST_FILTER,
        "ports": {"RFC 7857 section 9": "easy to guess"},
        "timeouts": {"RFC 4787 REQ-5c": "180 s", "RFC 5382 REQ-5 established": "3600 s"},
    },
    "juniper-srx": {"timeouts": {"RFC 4787 REQ-5": "60 s", "RFC 5382 REQ-5 opening": "20 s"}},
    "vpp": {"filtering": STRICTEST_FILTER, "hairpin": NO_HAIRPIN},
    # -- Desktops ------------------------------------------------------------------------------------------------------
    "winnat": {
        "timeouts": {
            "RFC 4787 REQ-5c": "120 s",
            "RFC 5382 REQ-5 established": "1800 s",
            "RFC 5382 REQ-5 opening": "120 s",
            "RFC 5382 REQ-5 closing": "120 s",
            "RFC 5508 REQ-2": "30 s",
        }
    },
    "libslirp": {"tcp": {"RFC 5382 REQ-1": "4 endpoints for 4 destinations"}, "timeouts": {"RFC 4787 REQ-5c": "240 s"}},
    "docker-desktop": {
        "vpnkit tcp": {"RFC 5382 REQ-1": "4 endpoints for 4 destinations"},
        "vpnkit timeouts": {"RFC 4787 REQ-5": "60 s"},
    },
    "vmware": {"timeouts": {"RFC 4787 REQ-5": "60 s", "RFC 5382 REQ-5 closing": "30 s"}},
    # -- Clouds and carriers -------------------------------------------------------------------------------------------
    "aws-nat": {"timeouts": {"RFC 5382 REQ-5 established": "350 s"}},
    "azure-nat": {
        "mapping": maps(4),
        "timeouts": {
            "RFC 4787 REQ-5c": "240 s",
            "RFC 5382 REQ-5 established": "240 s",
            "RFC 5382 REQ-5 opening": "30 s",
        },
    },
    "gcp-nat": {
        "timeouts": {
            "RFC 4787 REQ-5": "30 s",
            "RFC 5382 REQ-5 established": "1200 s",
            "RFC 5382 REQ-5 opening": "30 s",
            "RFC 5382 REQ-5 closing": "120 s",
            "RFC 5508 REQ-2": "30 s",
        }
    },
    "carrier-blocks": {"carrier timeouts": {"RFC 4787 REQ-5": "35 s"}},
    "carrier-symmetric": {
        "mapping": maps(4),
        "pooling": {
            "RFC 4787 REQ-2": "4 addresses for 16 sockets of one host",
            "RFC 6888 REQ-2": "4 addresses for UDP, TCP and ICMP",
            "RFC 7857 section 4": "2 of 8 sockets",
        },
        "timeouts": {"RFC 4787 REQ-5": "65 s"},
    },
}


def _checks() -> Iterator[Check]:
    for name, claims in KNOWN.items():
        device = find(name)
        for claim, measured in claims.items():
            for requirement, expected in measured.items():
                check = REQUIREMENTS[requirement].of(name, _layer(device, claim), expected)
                yield replace(check, source=f"{name}: {device.claims[claim]}", rule=f"known to break {check.rule}")


def _layer(device: Device, claim: str) -> Behavior:
    """The layer of a device that a claim is about."""
    return next(layer for prefix, layer in device.named_layers() if claim.startswith(prefix))


CHECKS = list(_checks())
