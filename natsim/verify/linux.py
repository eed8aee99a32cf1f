"""What was measured on Linux, against natsim's model of it.

The facts are in `natsim/nat/linux_facts.py`: each says what a real kernel was seen to do, and asks the model for the
same.  The kernel's own tests put them to real NATs, so the model and the kernel are held against one list.
"""

from __future__ import annotations

from ..nat.linux_facts import FACTS
from .check import Check

CHECKS = [
    Check(fact.name, fact.source, fact.expected, fact.measure, ask=None if fact.exact else fact.ask) for fact in FACTS
]
