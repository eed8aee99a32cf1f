"""The kernel world: an `Internet` built from Linux network namespaces, with real sockets, real NATs and real time.

    available()              None, or the sentence that says what this machine lacks
    net.run(story, world="kernel")

Everything here is anonymous: no name is left in /run/netns, nothing is made in the namespace of the caller, and what
a run has built is gone when it ends, even after `kill -9`.  Start reading at `world.py`.  Importing this package is
safe everywhere; building needs Linux and root.
"""

from .nftables import KernelCannot
from .requirements import available

__all__ = ["KernelCannot", "available"]
