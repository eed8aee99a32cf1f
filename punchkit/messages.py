"""What sealed records hold (`Data` ... `Bye`), what a session tells its driver, and the two ends of a byte stream.

The vocabulary is the classes below and the one table under them; `encode` and `decode` follow the table and know no
message by name. The shapes are those of magic-wormhole's dilation (L3/L4), with SELECT, SWITCH and LOST added for
changes of path. Integers are big-endian, offsets and windows count bytes. Everything decoded comes from the peer:
`decode` vouches for its form, `Outgoing` and `Incoming` for its offsets; `session.py` (go there next) judges the rest.
Nothing here touches sockets or clocks.
"""

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields

from punchkit.errors import ProtocolError

CHUNK = 32 * 1024  # the most payload in one DATA, in bytes
INITIAL_WINDOW = 64 * 1024  # bytes that may be sent before the first ACK tells the peer's real window
MAX_GAPS = 64  # an honest peer leaves about one gap per path; more is an attack on our memory


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the stream, the first of them at `offset`."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything before `next_offset` has arrived (an end of stream counts one); `window_end` is the limit for DATA."""

    next_offset: int
    window_end: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with a PONG of the same id, on the same path."""

    id: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING."""

    id: int


@dataclass(frozen=True, slots=True)
class Control:
    """Words between the two drivers (candidates, synchronisation), opaque here."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """The first record on a new path: it opens, so its sender holds the keys, and the path is validated."""


@dataclass(frozen=True, slots=True)
class Select:
    """From the leader, on the path it names: from now on we both send data here."""

    path: int


@dataclass(frozen=True, slots=True)
class Switch:
    """All later data comes on `path`; what came before this record on this path is all there is."""

    path: int


@dataclass(frozen=True, slots=True)
class Lost:
    """`path` is lost to me: drop it too, and repeat what you sent there."""

    path: int


@dataclass(frozen=True, slots=True)
class Close:
    """My stream ends at `final_offset`."""

    final_offset: int


@dataclass(frozen=True, slots=True)
class Bye:
    """Both streams have ended and both ends are acknowledged: nothing is left to say."""


Message = Data | Ack | Ping | Pong | Control | Response | Select | Switch | Lost | Close | Bye

# The registry: type byte, class, struct format of its integers, in the order of its fields. "*": the rest is bytes.
REGISTRY: tuple[tuple[int, type[Message], str], ...] = (
    (0x01, Data, "Q*"),
    (0x02, Ack, "QQ"),
    (0x03, Ping, "I"),
    (0x04, Pong, "I"),
    (0x05, Control, "*"),
    (0x06, Response, ""),
    (0x07, Select, "I"),
    (0x08, Switch, "I"),
    (0x09, Lost, "I"),
    (0x0A, Close, "Q"),
    (0x0B, Bye, ""),
)


class _Codec:
    """One row of the registry, ready for use."""

    def __init__(self, number: int, cls: type[Message], layout: str) -> None:
        self.number, self.has_rest = number, layout.endswith("*")
        self.make: Callable[..., Message] = cls
        self.head = struct.Struct(">B" + layout.rstrip("*"))
        self.name = cls.__name__.upper()
        self.fields = tuple(field.name for field in fields(cls))


_CODECS = {cls: _Codec(number, cls, layout) for number, cls, layout in REGISTRY}
_BY_NUMBER = {codec.number: codec for codec in _CODECS.values()}


def encode(message: Message) -> bytes:
    """The plaintext of a record. Raises struct.error if a number does not fit its field."""
    codec = _CODECS[type(message)]
    values = [getattr(message, name) for name in codec.fields]
    rest = values.pop() if codec.has_rest else b""
    return b"".join((codec.head.pack(codec.number, *values), rest))


def decode(record: bytes) -> Message:
    """The message in the plaintext of a record. Raises ProtocolError if there is none."""
    codec = _BY_NUMBER.get(record[0]) if record else None
    if codec is None:
        raise ProtocolError(f"a record of unknown type {record[:1].hex() or '(empty)'}")
    size = codec.head.size
    if len(record) < size or (len(record) > size and not codec.has_rest):
        raise ProtocolError(f"a {codec.name} record of {len(record)} bytes")
    _, *values = codec.head.unpack_from(record)
    return codec.make(*values, record[size:]) if codec.has_rest else codec.make(*values)


# ---- what a session tells its driver ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PathChanged:
    """From now on we send data on `new`."""

    old: int
    new: int
    reason: str
    now: float


@dataclass(frozen=True, slots=True)
class PathSuspect:
    """A path fell silent. Everything unacknowledged is repeated elsewhere; it is lost unless it speaks soon."""

    path: int
    reason: str


@dataclass(frozen=True, slots=True)
class PathLost:
    """A path is gone for good: close its transport."""

    path: int
    reason: str


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """The peer's driver said something."""

    body: bytes


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A PING was answered."""

    path: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PeerFinished:
    """The peer's stream has arrived to its end (some of it may still wait for `read`)."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Both streams have ended and all of both has arrived: let the paths drain, then close them."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """No path is left. Data waits for `add_path`."""


Event = PathChanged | PathSuspect | PathLost | ControlReceived | RoundTrip | PeerFinished | Finished | Stalled


# ---- the two ends of a stream ----------------------------------------------------------------------------------------


class Outgoing:
    """The sender's end: [acked, next) is on its way, [next, end) waits. The end of the stream counts as one byte.

    Bytes that are not acknowledged are kept in blocks of CHUNK on a fixed grid of offsets, at most `window` of them.
    """

    def __init__(self, window: int) -> None:
        self.acked = self.next = self.end = 0
        self.highest = 0  # everything before it was sent at least once
        self.closed = False
        self._window = window
        self._limit = INITIAL_WINDOW  # the peer takes data up to here
        self._blocks: dict[int, bytearray] = {}

    @property
    def room(self) -> int:
        return 0 if self.closed else self._window - (self.end - self.acked)

    @property
    def has_more(self) -> bool:
        return self.next < min(self.end, self._limit) or (self.closed and self.next == self.end)

    @property
    def finished(self) -> bool:
        """The end of the stream is acknowledged."""
        return self.acked > self.end

    def write(self, data: bytes) -> int:
        """Keep as much as there is room for. ValueError once closed."""
        if self.closed:
            raise ValueError("write after the end: this direction of the stream has ended")
        rest = taken = memoryview(data)[: self.room]
        while rest:
            part = rest[: CHUNK - self.end % CHUNK]
            self._blocks.setdefault(self.end // CHUNK, bytearray()).extend(part)
            self.end += len(part)
            rest = rest[len(part) :]
        return len(taken)

    def take(self) -> Data | Close:
        """What to send next, if `has_more`."""
        offset = self.next
        if offset == self.end:
            self._advance(offset + 1)
            return Close(offset)
        number, skip = divmod(offset, CHUNK)
        with memoryview(self._blocks[number]) as block:
            data = bytes(block[skip : skip + min(self.end, self._limit) - offset])
        self._advance(offset + len(data))
        return Data(offset, data)

    def acknowledge(self, ack: Ack) -> None:
        """Forget what arrived. Raises ProtocolError for an ACK of what was never sent."""
        if ack.next_offset > self.highest:
            raise ProtocolError(f"ACK of offset {ack.next_offset}, but only {self.highest} was sent")
        self._limit = max(self._limit, ack.window_end)
        if ack.next_offset > self.acked:
            for number in range(self.acked // CHUNK, min(ack.next_offset, self.end) // CHUNK):
                del self._blocks[number]
            self.acked = ack.next_offset
            self.next = max(self.next, self.acked)

    def rewind(self) -> None:
        """Send everything unacknowledged again."""
        self.next = self.acked

    def _advance(self, offset: int) -> None:
        self.next = offset
        self.highest = max(self.highest, offset)


class Incoming:
    """The receiver's end: what is in order waits to be read, what came early waits for the gap before it to close.

    At most `window` bytes wait. Early ones are runs (offset, bytes), sorted, never touching: no byte is held twice.
    """

    def __init__(self, window: int) -> None:
        self.next = 0  # everything before it has arrived
        self._taken = 0  # everything before it has been read
        self._final: int | None = None  # where the stream ends, once the peer has said so
        self._window = window
        self._promised = INITIAL_WINDOW  # the limit that the peer knows of
        self._ready: deque[bytes | bytearray] = deque()
        self._skip = 0  # bytes of _ready[0] that have been read
        self._early: list[tuple[int, bytearray]] = []

    @property
    def readable(self) -> int:
        return self.next - self._taken

    @property
    def complete(self) -> bool:
        """All of the stream has arrived."""
        return self.next == self._final

    @property
    def used_up(self) -> bool:
        """The peer may send no more until it hears of a larger window."""
        return self.next >= self._promised

    @property
    def worth_telling(self) -> bool:
        """Enough has been read, since the last ACK, that the peer should know of it."""
        return not self.complete and self._taken + self._window - self._promised >= self._window // 4

    def ack(self) -> Ack:
        self._promised = max(self._promised, self._taken + self._window)
        return Ack(self.next + self.complete, self._promised)

    def merge(self, message: Data) -> None:
        """Take in bytes from anywhere in the stream. Raises ProtocolError if the peer contradicts itself or us."""
        offset, data = message.offset, message.data
        end = offset + len(data)
        if not data:
            raise ProtocolError("DATA without data")
        if end > self._promised:
            raise ProtocolError(f"data up to offset {end}, beyond the window's end at {self._promised}")
        if self._final is not None and end > self._final:
            raise ProtocolError(f"data up to offset {end} in a stream that ended at {self._final}")
        if offset > self.next:
            self._hold(offset, data)
        elif end > self.next:
            self._deliver(data[self.next - offset :])
            while self._early and self._early[0][0] <= self.next:
                start, run = self._early.pop(0)
                self._deliver(run[self.next - start :])

    def close(self, message: Close) -> None:
        """The peer says where its stream ends. Raises ProtocolError if that contradicts what it sent."""
        seen = self._early[-1][0] + len(self._early[-1][1]) if self._early else self.next
        if message.final_offset < seen or self._final not in (None, message.final_offset):
            raise ProtocolError(f"an end of stream at {message.final_offset}, after data or another end beyond it")
        self._final = message.final_offset

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes, in order."""
        parts = []
        while self._ready and limit > 0:
            part = memoryview(self._ready[0])[self._skip : self._skip + limit]
            parts.append(part)
            limit -= len(part)
            self._skip += len(part)
            self._taken += len(part)
            if self._skip == len(self._ready[0]):
                self._ready.popleft()
                self._skip = 0
        return b"".join(parts)

    def _deliver(self, data: bytes | bytearray) -> None:
        """Queue bytes for the reader; small ones share a block, lest a stream of crumbs cost more than it carries."""
        self.next += len(data)
        if not self._ready or len(self._ready[-1]) + len(data) > CHUNK:
            self._ready.append(data)
        else:
            last = bytearray(self._ready[-1]) if isinstance(self._ready[-1], bytes) else self._ready[-1]
            last += data
            self._ready[-1] = last

    def _hold(self, offset: int, data: bytes) -> None:
        """Keep early bytes, joined with every run that they touch."""
        runs = self._early
        first = next((i for i, (start, run) in enumerate(runs) if start + len(run) >= offset), len(runs))
        if first < len(runs) and runs[first][0] <= offset:
            start, run = runs[first]
            run += data[start + len(run) - offset :]
        else:
            start, run = offset, bytearray(data)
            runs.insert(first, (start, run))
        while first + 1 < len(runs) and runs[first + 1][0] <= start + len(run):
            other_start, other = runs.pop(first + 1)
            run += other[start + len(run) - other_start :]
        if len(runs) > MAX_GAPS:
            raise ProtocolError(f"data with more than {MAX_GAPS} gaps")
