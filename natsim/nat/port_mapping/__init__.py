"""What hosts behind a router ask it for ports with: NAT-PMP (RFC 6886), PCP (RFC 6887) and UPnP IGD.

    gateway.py       what all three want of the NAT: leases
    natpmp.py, pcp.py (pcp_messages.py), control_port.py     datagrams in, datagrams out; both on UDP port 5351
    ssdp.py, upnp.py (igd.py, soap.py, web.py, xml_trees.py)     how a UPnP router is found, and what it can be asked
    daemon.py        the sockets

The leases themselves are in `natsim/nat/leases.py`, and what they mean for packets in the engines.
"""

from .daemon import serve
from .gateway import Gateway

__all__ = ["Gateway", "serve"]
