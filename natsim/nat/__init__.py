"""NATs and firewalls as engines without I/O: a packet and a time go in, a `Verdict` comes out.

`behavior.py` has the knobs in the RFCs' words, `ports.py` the ways to choose a port, `engine.py` the NAT that the
RFCs describe, `linux.py` the one that Linux is, `devices.py` the names.  Nothing here knows of links or hosts.
"""
