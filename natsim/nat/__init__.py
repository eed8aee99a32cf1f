"""NATs and firewalls as engines without I/O: a packet and a time go in, a `Verdict` comes out.

`behavior.py` has the knobs in the RFCs' words, `ports.py` the ways to choose a port, `engine.py` the NAT that the
RFCs describe, `linux.py` the one that Linux is, `devices/` the names, `predict.py` who can meet whom, `port_mapping/`
how hosts ask for a port.  Nothing here knows of links or hosts.
"""
