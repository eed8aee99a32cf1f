"""Multicast on a LAN (RFC 1112, RFC 4291 section 2.7): which addresses are groups, and which of them a host listens to.

Only what port mapping needs: a router announces that it has restarted, a UPnP control point asks who is a router.  No
router passes a group's datagrams on.  Used by `host.py` and `router.py`.
"""

from __future__ import annotations

#: The group to which every host belongs.
ALL_HOSTS = "224.0.0.1"

#: How the addresses of groups begin, as text: 224.0.0.0/4 and ff00::/8.
_BEGINNINGS = (*(f"{octet}." for octet in range(224, 240)), "ff")


def is_multicast(address: str) -> bool:
    """Is this the address of a group?

    >>> is_multicast("239.255.255.250"), is_multicast("22.4.0.1"), is_multicast("ff02::1")
    (True, False, True)
    """
    return address.startswith(_BEGINNINGS)


class Groups:
    """The groups of one host: a group is joined as often as sockets have joined it."""

    def __init__(self) -> None:
        self._joined = [ALL_HOSTS]

    def join(self, group: str) -> None:
        """One socket more listens to the group."""
        self._joined.append(group)

    def leave(self, group: str) -> None:
        """One less."""
        self._joined.remove(group)

    def __contains__(self, group: str) -> bool:
        return group in self._joined
