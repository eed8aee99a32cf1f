"""A row of a NAT's table in the columns that every kind of NAT has, for whoever shows it.

The two keys are what the names of RFC 4787 come down to.  The *mapping key* says for which remotes the row serves when
somebody inside sends: anybody (endpoint-independent), one address, or one endpoint.  The *filter key* says who may come
in by it.  `NatEngine`'s rows have what its rules returned; conntrack's flows have the whole remote endpoint in both.

Plain values; nothing is formatted here.  Next: `../row_log.py`, which remembers how rows looked while a story ran.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ..packet import Endpoint

#: In a key: whoever it may be.
ANYBODY: Hashable = ()


class TableRow(NamedTuple):
    """How a row looks at one moment.

    `inside` and `outside` are the two names of one socket; `inside` is None where the NAT itself is the one who
    answers.  `mapping_key` and `filter_keys` are `ANYBODY`, an address, an endpoint, or what a learner's own rule
    returned.  `state` is that of TCP, or how much has been seen; `expires` is in nanoseconds.
    """

    protocol: str
    inside: Endpoint | None
    outside: Endpoint
    mapping_key: Hashable
    filter_keys: tuple[Hashable, ...]
    state: str
    expires: int

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """All columns but the last, as text."""
        inside = str(self.inside) if self.inside is not None else "the NAT itself"
        admits = ", ".join(map(key_text, self.filter_keys)) or "nobody"
        return self.protocol, inside, str(self.outside), key_text(self.mapping_key), admits, self.state


COLUMNS = ("protocol", "inside", "outside", "for packets to", "lets in", "state")


def key_text(key: Hashable) -> str:
    """A key in words.

    >>> key_text(()), key_text("203.0.113.7"), key_text(Endpoint("203.0.113.7", 80))
    ('anybody', '203.0.113.7', '203.0.113.7:80')
    """
    return "anybody" if key == ANYBODY else str(key)


def rows_of(engine: object, now: int) -> list[TableRow]:
    """The table of an engine as it is now; nothing of one that keeps its table in its own way."""
    table = getattr(engine, "table", None)
    rows = table(now) if table is not None else []
    return [row.as_row() for row in rows if hasattr(row, "as_row")]
