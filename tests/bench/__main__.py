"""How fast it is: `make bench`.  Nothing here is a test, for a figure says as much about the machine as about the code.

What counts are the ratios, between things that were measured in turns in one run (`comparing.py`).
"""

from __future__ import annotations

import platform

from bulk import compare_bulk
from comparing import ROUNDS
from hops import compare_hops
from nats import compare_nats
from punches import compare_punches

print(
    f"Python {platform.python_version()}; the median of {ROUNDS} rounds (the slowest to the fastest), and the ratio to"
)
print("the first line of each table.")
compare_hops()
compare_nats()
compare_bulk()
compare_punches()
