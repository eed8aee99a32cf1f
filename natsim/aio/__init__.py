"""asyncio on virtual time: unmodified asyncio programs on simulated hosts.

`current.py` says which host a piece of code runs on, `sockets.py` makes sockets of that host, `loop.py` is an
asyncio event loop whose clock is the simulator's, and `nesting.py` runs it inside a loop that already runs
(Jupyter).  The private corners of CPython that this needs are in `loop.py` and `nesting.py`, and nowhere else.
"""
