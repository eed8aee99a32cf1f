"""asyncio on virtual time: unmodified asyncio programs on simulated hosts.

`current.py` says which host a piece of code runs on, and puts hosts in charge of `socket.socket`, `socket.getaddrinfo`
and `select.select`.  `loop.py` is an asyncio event loop whose clock is the simulator's, `nesting.py` runs it inside a
loop that already runs (Jupyter).  The private corners of CPython that this needs are in these files, and nowhere else.

A socket has two faces: `sockets.py` is what Python programs see; `calls.py`, `streams.py`, `datagrams.py` and
`options.py` are its system calls, with the manners of Linux.  `names.py` looks up names; `polling.py` and `adapters.py`
are what some libraries ask beside asyncio.
"""
