"""How long something goes on, found with a NAT's own packets: the NAT is asked again and again, each time anew.

Used for every timer of the RFCs, so that what is measured is when packets stop passing and not what a table says.
"""

from __future__ import annotations

from collections.abc import Callable

from ..scheduler import SECOND

#: Nobody waits longer than this: more than a hundred days, in seconds.
FOREVER = 10_000_000.0


def limit(holds: Callable[[float], bool], longest: float = FOREVER) -> float:
    """How long something holds, in seconds, to the nanosecond; `holds` is asked with a delay in seconds.

    >>> limit(lambda delay: delay < 7440)
    7440.0
    """
    last, first = (
        -1,
        round(longest * SECOND),
    )  # the last nanosecond at which it is known to hold, the first at which not
    if holds(longest):
        return longest
    while first - last > 1:
        middle = (last + first) // 2
        if holds(middle / SECOND):
            last = middle
        else:
            first = middle
    return first / SECOND
