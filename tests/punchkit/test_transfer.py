"""The transfer of one file, over a link that is nothing but two queues: so the peer can say whatever it likes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchkit import transfer
from punchkit.errors import PeerGone, ProtocolError, PunchkitError, TransferError
from punchkit.transfer import MAX_MESSAGE, MAX_NAME, Offer, parse_offer, receive_file, safe_name, send_file


class Pipe:
    """One end of a link that is always well."""

    def __init__(self) -> None:
        self.other: Pipe = self
        self.said = bytearray()
        self._arrived = bytearray()
        self._ended = self._gone = False
        self._news = asyncio.Event()

    async def write(self, data: bytes | memoryview) -> None:
        if self._gone:
            raise PeerGone("it left")
        self.said += data
        self.other._arrived += data
        self.other._news.set()
        await asyncio.sleep(0)

    async def read(self, limit: int = 1 << 18) -> bytes:
        while not self._arrived:
            if self._ended:
                return b""
            if self._gone:
                raise PeerGone("it left")
            self._news.clear()
            await self._news.wait()
        data = bytes(self._arrived[:limit])
        del self._arrived[:limit]
        return data

    def write_eof(self) -> None:
        self.other._ended = True
        self.other._news.set()

    async def finish(self) -> None:
        self.write_eof()
        while await self.read():
            pass

    def leave(self) -> None:
        """As when a process is killed."""
        self.other._gone = True
        self.other._news.set()


Script = Callable[[Pipe], Awaitable[Any]]


def meet(one: Script, other: Script) -> list[Any]:
    """What both sides returned or raised.  Whoever has failed leaves, as a command does."""

    async def side(script: Script, pipe: Pipe) -> Any:
        try:
            return await script(pipe)
        except PunchkitError as exc:
            return exc
        finally:
            pipe.leave()

    async def both() -> list[Any]:
        a, b = Pipe(), Pipe()
        a.other, b.other = b, a
        async with asyncio.timeout(10):
            return await asyncio.gather(side(one, a), side(other, b))

    return asyncio.run(both())


def message(**fields: object) -> bytes:
    body = json.dumps(fields).encode()
    return len(body).to_bytes(4) + body


def heard(pipe: Pipe) -> dict[str, Any]:
    """The only message that a side has said."""
    assert int.from_bytes(pipe.said[:4]) == len(pipe.said) - 4
    fields: dict[str, Any] = json.loads(pipe.said[4:])
    return fields


def says(*parts: bytes, ends: bool = True) -> Script:
    """A sender that says just this, and ends properly or just goes."""

    async def script(pipe: Pipe) -> None:
        for part in parts:
            await pipe.write(part)
        if ends:
            pipe.write_eof()
            await pipe.read()

    return script


def receiving(directory: Path) -> Script:
    return lambda pipe: receive_file(pipe, directory)


def sending(path: Path) -> Script:
    return lambda pipe: send_file(pipe, path)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- Names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("talk.pdf", "talk.pdf"),
        ("Käse (2).tar.gz", "Käse (2).tar.gz"),
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a\\b.txt", "b.txt"),
        ("a/b\\c", "c"),
        (".bashrc", "_.bashrc"),
        ("...", "_..."),
        ("-rf", "_-rf"),
        ("  spaces  ", "spaces"),
        ("exe\u202egpj.scr", "exe_gpj.scr"),
        ("lone\udc80surrogate", "lone_surrogate"),
        ("con.txt", "con.txt"),
        ("a:b", "a:b"),
    ],
)
def test_names_are_made_safe(name: str, kept: str) -> None:
    assert safe_name(name, windows=False) == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("con", "_con"),
        ("NUL.tar.gz", "_NUL.tar.gz"),
        ("com1 .txt", "_com1 .txt"),
        ("LPT¹", "_LPT¹"),
        ("console.txt", "console.txt"),
        ("a.txt:stream", "a.txt_stream"),
        ('<>:"|?*', "_______"),
        ("end. . ", "end"),
    ],
)
def test_names_are_made_safe_for_windows(name: str, kept: str) -> None:
    assert safe_name(name, windows=True) == kept


@pytest.mark.parametrize("name", ["", ".", "..", "a/", "a/..", "\\", "  ", "a\0b", "a\nb", "a\x1b[2J", "a\x7f", "\x85"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(TransferError):
        safe_name(name, windows=False)


def test_long_names_keep_their_ending() -> None:
    name = safe_name("ü" * 300 + ".pdf")
    assert len(name.encode()) in (MAX_NAME, MAX_NAME - 1)
    assert name.endswith("ü.pdf")
    assert len(safe_name("." + "a" * 300).encode()) <= MAX_NAME
    assert len(safe_name("a." + "b" * 300).encode()) == MAX_NAME


@given(st.text(st.characters(), max_size=300), st.booleans())
def test_no_name_leads_out_of_the_directory(name: str, windows: bool) -> None:
    try:
        kept = safe_name(name, windows=windows)
    except TransferError:
        return
    assert kept
    assert kept.isprintable()
    assert not set(kept) & set("/\\\0")
    assert kept[0] not in ".-"
    assert len(kept.encode()) <= MAX_NAME
    assert safe_name(kept, windows=windows) == kept


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "a"},
        {"size": 1},
        {"name": 1, "size": 1},
        {"name": "a", "size": -1},
        {"name": "a", "size": 1.5},
        {"name": "a", "size": True},
        {"name": "a", "size": "1"},
    ],
)
def test_offers_that_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_offer(fields)
    assert parse_offer({"name": "a", "size": 0, "colour": "red"}) == Offer("a", 0)


# -- One honest side and another ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, transfer.PIECE, transfer.PIECE + 1, 1_000_000])
def test_a_file_gets_across(tmp_path: Path, size: int) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(data := os.urandom(size))
    (tmp_path / "there").mkdir()
    steps: list[int] = []
    offers: list[Offer] = []
    sent, received = meet(
        lambda pipe: send_file(pipe, source, steps.append),
        lambda pipe: receive_file(pipe, tmp_path / "there", None, offers.append),
    )
    assert (sent.size, sent.sha256) == (received.size, received.sha256) == (size, digest(data))
    assert received.path == tmp_path / "there" / "a.bin"
    assert received.path.read_bytes() == data
    assert steps == [min(end, size) for end in range(transfer.PIECE, size + transfer.PIECE, transfer.PIECE)]
    assert offers == [Offer("a.bin", size)]


def test_existing_files_links_and_directories_are_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("new")
    there = tmp_path / "there"
    (there / "a (1).txt").mkdir(parents=True)
    (there / "a.txt").symlink_to(tmp_path / "elsewhere")  # a link to nothing: writing through it would make a file
    _, received = meet(sending(source), receiving(there))
    assert received.path == there / "a (2).txt"
    assert received.path.read_text() == "new"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(1_000_000))
    there = tmp_path / "there"
    there.mkdir()
    sent, received = meet(lambda p: send_file(p, source, lambda _: os.truncate(source, 400_000)), receiving(there))
    assert isinstance(sent, TransferError)
    assert f"{source} changed while it was sent: it had 1000000 bytes, and now it has 400000" in str(sent)
    assert isinstance(received, TransferError)
    assert "the sender stopped after 400000 of 1000000 bytes" in str(received)
    assert os.listdir(there) == []


def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(5_000_000))
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    sent, received = meet(sending(source), receiving(there))
    assert "the receiver's disk has room for 1000" in str(received)
    assert "the other side refused it" in str(sent)
    assert "the receiver's disk has room for 1000" in str(sent)
    assert os.listdir(there) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="/dev/full is a Unix device")
def test_a_disk_that_fails_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(5_000_000))
    open_file = Path.open
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "open", lambda p, mode: open_file(full, "wb") if mode == "xb" else open_file(p, mode))
    sent, received = meet(sending(source), receiving(tmp_path))
    assert f"it cannot be written to {tmp_path}: No space left on device" in str(received)
    assert "No space left on device" in str(sent)
    assert str(tmp_path) not in str(sent)  # where it would have been is nobody's business
    assert os.listdir(tmp_path) == ["a.bin"]


# -- A sender that lies ------------------------------------------------------------------------------------------------

GOOD = message(name="a.bin", size=5) + b"hello"


@pytest.mark.parametrize(
    ("parts", "kind", "text"),
    [
        ((GOOD, message(sha256=digest(b"other"))), TransferError, "the hashes differ"),
        ((GOOD, message()), TransferError, "the hashes differ"),
        ((GOOD, message(error="the file grew \x1b[2J")), TransferError, "the sender gave up: the file grew ?[2J"),
        ((GOOD,), TransferError, "stopped in the middle"),
        ((GOOD[:-1],), TransferError, "stopped after 4 of 5 bytes"),
        ((message(name="a\0b", size=5),), TransferError, "control characters"),
        ((message(name="..", size=5),), TransferError, "no name for a file"),
        ((message(name="a", size=10**18),), TransferError, "has room for"),
        ((message(name="a", size=-5),), ProtocolError, "without name and size"),
        (((MAX_MESSAGE + 1).to_bytes(4),), ProtocolError, f"a message of {MAX_MESSAGE + 1} bytes"),
        ((b"\0\0\0\2[]",), ProtocolError, "no JSON object"),
        ((b"\0\0\0\2{]",), ProtocolError, "no JSON"),
        ((b"\0\0\x0f\x00" + b"[" * 0xF00,), ProtocolError, "no JSON"),
        ((b"\0\0",), TransferError, "stopped in the middle"),
        ((), TransferError, "stopped in the middle"),
    ],
)
def test_what_a_lying_sender_gets(
    tmp_path: Path, parts: tuple[bytes, ...], kind: type[PunchkitError], text: str
) -> None:
    told: list[dict[str, Any]] = []

    async def receiver(pipe: Pipe) -> None:
        try:
            await receive_file(pipe, tmp_path)
        finally:
            told.append(heard(pipe))

    _, received = meet(says(*parts), receiver)
    assert isinstance(received, kind)
    assert text in str(received)
    assert told == [{"error": received.detail}]
    assert os.listdir(tmp_path) == []


def test_a_sender_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    _, received = meet(says(GOOD[:-1], ends=False), receiving(tmp_path))
    assert isinstance(received, PeerGone)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_receiver_leaves_nothing_behind(tmp_path: Path) -> None:
    async def interrupted(pipe: Pipe) -> str:
        task = asyncio.create_task(receive_file(pipe, tmp_path))
        while not list(tmp_path.glob("a.bin.*.part")):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else "done"

    async def slow(pipe: Pipe) -> None:
        await pipe.write(GOOD[:-1])
        await pipe.read()

    assert meet(slow, interrupted)[1] == "cancelled"
    assert os.listdir(tmp_path) == []


# -- A receiver that lies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "after", "kind", "text"),
    [
        (message(error="no thanks\x07"), 0, TransferError, "the other side refused it: no thanks?"),
        (message(error=["x" * 999]), 3_000_000, TransferError, "the other side refused it: ['xxx"),
        (message(sha256=digest(b"something else")), 3_000_000, ProtocolError, "something that was not sent"),
        (message(sha256=digest(bytes(3_000_000))), 0, ProtocolError, "something that was not sent"),
        (message(), 3_000_000, ProtocolError, "something that was not sent"),
        (b"\xff\xff\xff\xff", 0, ProtocolError, "a message of 4294967295 bytes"),
        (b"", 3_000_000, TransferError, "stopped in the middle"),
    ],
)
def test_what_a_lying_receiver_gets(
    tmp_path: Path, answer: bytes, after: int, kind: type[Exception], text: str
) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(3_000_000))

    async def receiver(pipe: Pipe) -> None:
        got = 0
        while got < after:
            got += len(await pipe.read())
        await pipe.write(answer)
        pipe.write_eof()
        await pipe.finish()

    sent, _ = meet(sending(source), receiver)
    assert isinstance(sent, kind)
    assert text in str(sent)
    assert len(str(sent)) < 500


def test_goodbye_tells_whether_the_other_side_was_there() -> None:
    async def leave(pipe: Pipe) -> None:
        pipe.leave()

    assert meet(transfer.part, transfer.part) == [True, True]
    assert meet(transfer.part, leave)[0] is False
