"""Where hosts, NATs and the internet stand in a picture of the topology, and the way of a packet across it.

The same net gives the same picture: the columns of the ladder from left to right, the server raised in the middle, the
internet as a cloud between the sites.  Pure functions of an `Internet`; `topology_svg.py` draws this, and `player.py`
moves packets along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .columns import SERVER, Columns

if TYPE_CHECKING:
    from ..internet import Host, Internet, Nat

Point = tuple[float, float]

#: Pixels: between two columns, the margin, and the heights of the server, the cloud and the sites.
SPACE, MARGIN = 150.0, 80.0
TOP, CLOUD, BASE = 46.0, 132.0, 132.0
HEIGHT = 196.0


@dataclass(frozen=True)
class Spot:
    """A node and where it stands."""

    name: str
    is_nat: bool
    address: str
    x: float
    y: float


class Topology:
    """`spots` by name, `links` between them (None is the cloud), and `way` from one column to another."""

    def __init__(self, net: Internet, columns: Columns) -> None:
        self.columns = columns
        self.width = 2 * MARGIN + SPACE * max(columns.last, 1)
        self.cloud: Point = (MARGIN + SPACE * columns.middle, CLOUD)
        self.spots: dict[str, Spot] = {}
        for place, column in enumerate(columns.all):
            raised = column.name == SERVER and place == columns.middle
            x, y = MARGIN + SPACE * place, TOP if raised else BASE
            self.spots[column.name] = Spot(column.name, column.is_nat, column.address, x, y)
        nodes: list[Host | Nat] = [*net.hosts.values(), *net.nats.values()]
        self._above: dict[str, str | None] = {node.name: node.behind.name if node.behind else None for node in nodes}
        self.links: list[tuple[Point, Point]] = [
            (self._point(name), self.cloud if above is None else self._point(above))
            for name, above in self._above.items()
        ]

    def way(self, start: float, end: float) -> list[Point]:
        """The line along which a packet goes from one column to another; halves lie in the cloud.

        Siblings and parents are joined directly, all others by way of the internet.
        """
        one, other = self._place(start), self._place(end)
        if one is None or other is None:
            return [self._where(one), self._where(other)]
        if one == other or self._above[one] == other or self._above[other] == one:
            return [self._point(one), self._point(other)]
        above = self._above[one]
        if above is not None and above == self._above[other]:
            return [self._point(one), self._point(above), self._point(other)]
        return [self._point(one), self.cloud, self._point(other)]

    def _place(self, place: float) -> str | None:
        return self.columns.all[int(place)].name if place == int(place) else None

    def _where(self, name: str | None) -> Point:
        return self.cloud if name is None else self._point(name)

    def _point(self, name: str) -> Point:
        spot = self.spots[name]
        return spot.x, spot.y
