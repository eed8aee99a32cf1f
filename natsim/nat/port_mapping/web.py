"""As much of HTTP/1.1 (RFC 9112) as UPnP needs: one request, one answer, and the connection is closed.

SSDP's messages have the same heads, in datagrams.  Nothing that comes in is trusted: what is too large or no HTTP gets
its status, never an exception that `upnp.py` does not know.  No sockets here, and no clock.
"""

from __future__ import annotations

import http.client
import io
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus

#: The largest request, head and body, in bytes.
LARGEST = 64 * 1024

#: What this router calls itself in SERVER headers (UPnP Device Architecture 2.0, section 1.3.3).
SERVER = "natsim/1.0 UPnP/2.0 IGD/2.0"

END_OF_HEAD = b"\r\n\r\n"


class HttpError(Exception):
    """A request that gets an answer with this status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@dataclass(frozen=True)
class HttpRequest:
    """A request, taken apart.  Header names are found in any spelling."""

    method: str
    target: str
    headers: Message
    body: bytes


def is_complete(data: bytes) -> bool:
    """Is this a whole request, or so wrong that more of it would not help?"""
    if len(data) > LARGEST:
        return True
    if END_OF_HEAD not in data:
        return False
    try:
        read(data)
    except _TooShort:
        return False
    except HttpError:
        return True
    return True


def read(data: bytes) -> HttpRequest:
    """Take a request apart.  Raises `HttpError`."""
    if len(data) > LARGEST:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    head, end, body = data.partition(END_OF_HEAD)
    if not end:
        raise HttpError(HTTPStatus.BAD_REQUEST)
    line, _, rest = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError(HTTPStatus.BAD_REQUEST)
    try:
        headers = http.client.parse_headers(io.BytesIO(rest + END_OF_HEAD))
    except http.client.HTTPException as exc:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from exc
    return HttpRequest(words[0], words[1], headers, _body(headers, body))


def _body(headers: Message, body: bytes) -> bytes:
    if "Transfer-Encoding" in headers:
        raise HttpError(HTTPStatus.LENGTH_REQUIRED)
    length = str(headers.get("Content-Length", "0")).strip()
    if not (length.isascii() and length.isdigit()) or len(length) > 9:
        raise HttpError(HTTPStatus.BAD_REQUEST)
    if int(length) > LARGEST:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if len(body) < int(length):
        raise _TooShort(HTTPStatus.BAD_REQUEST)
    return body[: int(length)]


class _TooShort(HttpError):
    """The body is not all there yet."""


def answer(status: HTTPStatus, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer; a body is XML."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Server: {SERVER}",
        *(['Content-Type: text/xml; charset="utf-8"'] if body else []),
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + END_OF_HEAD + body
