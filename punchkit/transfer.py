"""One file over a link, from one who is trusted by nobody to one who wants to keep their disk.

    sender     u32 length, {"name": "talk.pdf", "size": 1048576}       then that many bytes of the file, then
               u32 length, {"sha256": "..."}                           or {"error": "..."}
    receiver   u32 length, {"sha256": "..."}                           once the file is safe on the disk; or, at any
                                                                       time, {"error": "..."}

Then both say goodbye (`part`).  The receiver believes nothing: the name is cut down to one that stays in the
directory and harms nobody there (`safe_name`), nothing is ever overwritten, and until the hash is right the bytes lie
in a file of another name, which goes away if anything goes wrong.

May use files and a link, prints nothing.  Next: `commands/files.py`, which does the talking.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from punchkit.errors import ProtocolError, PunchkitError, TransferError

#: The longest message around the file, in bytes.
MAX_MESSAGE = 4096

#: How much of a file is read, hashed and written at a time, in bytes.
PIECE = 1 << 18

#: The longest file name that is kept, in bytes; file systems take 255, and " (1)" or ".part" is added to it.
MAX_NAME = 200

#: Seconds for the peer to hear our last word.
GOODBYE = 5.0

#: Called with the number of bytes so far, after each piece.
Progress = Callable[[int], object]


class Stream(Protocol):
    """What is needed of a link."""

    async def read(self, limit: int = ...) -> bytes: ...

    async def write(self, data: bytes | memoryview) -> None: ...

    def write_eof(self) -> None: ...

    async def finish(self) -> None: ...


@dataclass(frozen=True)
class Transferred:
    """A file that both sides have, the same to the last bit.  `path` is where it lies here."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Offer:
    """What the sender says of its file before sending it, checked: `name` is safe to use here."""

    name: str
    size: int


# -- Sending -----------------------------------------------------------------------------------------------------------


async def send_file(link: Stream, path: Path, progress: Progress | None = None) -> Transferred:
    """Send a file; returns when the receiver has confirmed that it is on its disk.

    Raises TransferError (it cannot be read, it changes meanwhile, the receiver refuses), and what the link raises.
    """
    try:
        file = path.open("rb")
    except OSError as exc:
        raise TransferError(f"{path} cannot be read: {exc.strerror}") from None
    with file:
        sending = asyncio.create_task(_send_all(link, file, path, progress or _ignore), name="send the file")
        answering = asyncio.create_task(_Reader(link).message(), name="await the confirmation")
        try:
            # The receiver may refuse while we are sending, and then it reads no more: so listen meanwhile.
            await asyncio.wait([sending, answering], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(sending.exception(), TransferError):
                await asyncio.wait([answering], timeout=GOODBYE)
            sent = sending.result() if sending.done() else None
            answer = await answering
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
    if "error" in answer:
        raise TransferError(f"the other side refused it: {_quote(answer['error'])}")
    if sent is None or answer.get("sha256") != sent.sha256:
        raise ProtocolError("the other side confirmed something that was not sent")
    return sent


async def _send_all(link: Stream, file: BinaryIO, path: Path, progress: Progress) -> Transferred:
    size = os.fstat(file.fileno()).st_size
    await link.write(_message(name=path.name, size=size))
    digest, done = hashlib.sha256(), 0
    while done < size:
        piece = _read(file, min(PIECE, size - done), path)
        if not piece:
            link.write_eof()
            raise TransferError(f"{path} changed while it was sent: it had {size} bytes, and now it has {done}")
        digest.update(piece)
        await link.write(piece)
        done += len(piece)
        progress(done)
    if _read(file, 1, path):
        await link.write(_message(error="the file grew while it was sent"))
        raise TransferError(f"{path} changed while it was sent: it had {size} bytes, and now it has more")
    await link.write(_message(sha256=digest.hexdigest()))
    return Transferred(path, size, digest.hexdigest())


def _read(file: BinaryIO, limit: int, path: Path) -> bytes:
    try:
        return file.read(limit)
    except OSError as exc:
        raise TransferError(f"{path} cannot be read: {exc.strerror}") from None


# -- Receiving ---------------------------------------------------------------------------------------------------------


async def receive_file(
    link: Stream,
    directory: Path,
    progress: Progress | None = None,
    on_offer: Callable[[Offer], object] | None = None,
) -> Transferred:
    """Receive a file into a directory; returns when it is on the disk and the sender has been told.

    The file gets the sender's name, made safe, and with a number if there is such a file already.  Raises
    TransferError (the name, the size, the disk, the hash, the sender gave up), and what the link raises.
    """
    try:
        return await _receive_all(_Reader(link), link, directory, progress or _ignore, on_offer or _ignore)
    except (TransferError, ProtocolError) as exc:
        await _refuse(link, exc.detail)
        raise
    except OSError as exc:
        await _refuse(link, exc.strerror or "its disk does not work")
        raise TransferError(f"it cannot be written to {directory}: {exc.strerror or exc}") from None


async def _receive_all(
    reader: _Reader, link: Stream, directory: Path, progress: Progress, on_offer: Callable[[Offer], object]
) -> Transferred:
    offer = parse_offer(await reader.message())
    on_offer(offer)
    free = shutil.disk_usage(directory).free
    if offer.size > free:
        raise TransferError(f"it has {offer.size} bytes, and the receiver's disk has room for {free}")
    digest, done = hashlib.sha256(), 0
    with _part_file(directory, offer.name) as (file, part):
        while done < offer.size:
            piece = await link.read(min(PIECE, offer.size - done))
            if not piece:
                raise TransferError(f"the sender stopped after {done} of {offer.size} bytes: did its file change?")
            digest.update(piece)
            file.write(piece)
            done += len(piece)
            progress(done)
        trailer = await reader.message()
        if "error" in trailer:
            raise TransferError(f"the sender gave up: {_quote(trailer['error'])}")
        if trailer.get("sha256") != digest.hexdigest():
            raise TransferError("what arrived is not what the sender read: the hashes differ")
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())  # it may take seconds, and the link must not fall silent
        file.close()  # Windows renames no open file
        path = _keep(part, directory, offer.name)
    await link.write(_message(sha256=digest.hexdigest()))
    return Transferred(path, done, digest.hexdigest())


def parse_offer(fields: dict[str, Any]) -> Offer:
    """What the sender says of its file.  Raises ProtocolError, or TransferError for a name that is of no use.

    >>> parse_offer({"name": "../../etc/passwd", "size": 5})
    Offer(name='passwd', size=5)
    """
    name, size = fields.get("name"), fields.get("size")
    if not isinstance(name, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ProtocolError("an offer of a file without name and size")
    return Offer(safe_name(name), size)


_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + number for port in ("COM", "LPT") for number in "123456789¹²³"
}


def safe_name(name: str, *, windows: bool = os.name == "nt") -> str:
    """A name from the network, as one that can only mean a new, harmless file in the directory.  Raises TransferError.

    Directories go.  What cannot be seen becomes "_": a character that turns the direction of writing makes
    "gpj.exe" look like "exe.jpg".  A dot or hyphen at the beginning gets a "_" before it, since ".bash_profile" would
    be run and "--help" be taken for an option.  On Windows, so do the names of devices.

    >>> safe_name(r"C:\\Users\\ada\\talk.pdf"), safe_name(".bashrc"), safe_name("nul.txt", windows=True)
    ('talk.pdf', '_.bashrc', '_nul.txt')
    """
    last = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])
    if any(unicodedata.category(character) == "Cc" for character in last):
        raise TransferError("its name has control characters in it; rename it, and send it again")
    last = "".join(character if character.isprintable() else "_" for character in last).strip()
    if windows:
        last = "".join("_" if character in '<>:"|?*' else character for character in last).rstrip(". ")
        if last.partition(".")[0].rstrip().upper() in _RESERVED:
            last = "_" + last
    if last in ("", ".", ".."):
        raise TransferError(f"{_quote(name)} is no name for a file")
    return _shortened("_" + last if last[0] in ".-" else last)


def _shortened(name: str) -> str:
    """Cut a name that is too long, and leave it its ending."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 20:
        stem, dot, ending = name, "", ""
    while len(f"{stem}{dot}{ending}".encode()) > MAX_NAME:
        stem = stem[:-1]
    return f"{stem}{dot}{ending}"


@contextlib.contextmanager
def _part_file(directory: Path, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file for what has not been checked yet; on leaving it is gone, unless it has got its name."""
    part = directory / f"{name}.{secrets.token_hex(4)}.part"
    file = part.open("xb")
    try:
        with file:
            yield file, part
    finally:
        part.unlink(missing_ok=True)


def _keep(part: Path, directory: Path, name: str) -> Path:
    """Give a complete file its name, or the first like "name (1).ext" that is free."""
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in itertools.count():
        path = directory / (f"{stem} ({number}){suffix}" if number else name)
        try:
            path.open("xb").close()  # takes the name, and fails if anybody has it
        except FileExistsError:
            continue
        try:
            part.replace(path)
            _sync_directory(directory)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path
    raise AssertionError("numbers do not end")


def _sync_directory(directory: Path) -> None:
    """See to it that the name survives a power cut too, where the system lets us."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- Both --------------------------------------------------------------------------------------------------------------


async def part(link: Stream) -> bool:
    """End a link over which everything has been said.  False if the other side left without a goodbye."""
    try:
        async with asyncio.timeout(GOODBYE):
            await link.finish()
    except (PunchkitError, TimeoutError):
        return False
    return True


async def _refuse(link: Stream, reason: str) -> None:
    """Tell the sender why, and let it hang up."""
    try:
        async with asyncio.timeout(GOODBYE):
            await link.write(_message(error=reason[:500]))
            link.write_eof()
            while await link.read(PIECE):
                pass
    except (PunchkitError, TimeoutError):
        pass  # it has gone already


class _Reader:
    """Messages, from a stream that has no boundaries."""

    def __init__(self, link: Stream) -> None:
        self._link = link

    async def message(self) -> dict[str, Any]:
        """The next message.  Raises ProtocolError, or TransferError at the end of the stream."""
        size = int.from_bytes(await self._exactly(4))
        if size > MAX_MESSAGE:
            raise ProtocolError(f"a message of {size} bytes around a file")
        try:
            fields = json.loads(await self._exactly(size))
        except (ValueError, RecursionError):
            raise ProtocolError("a message around a file that is no JSON") from None
        if not isinstance(fields, dict):
            raise ProtocolError("a message around a file that is no JSON object")
        return fields

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await self._link.read(size - len(data))
            if not piece:
                raise TransferError("the other side stopped in the middle")
            data += piece
        return data


def _message(**fields: object) -> bytes:
    body = json.dumps(fields, separators=(",", ":")).encode()
    return len(body).to_bytes(4) + body


def _quote(text: object) -> str:
    """Words of the peer, fit to be shown."""
    return "".join(character if character.isprintable() else "?" for character in str(text)[:200])


def _ignore(_: object) -> None:
    pass
