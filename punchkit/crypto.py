"""From a pairing code to sealed records: PAKE, key confirmation, one pair of keys per path.

The chain, top to bottom:

    code --SPAKE2--> Master secret --HKDF--> confirmation, greeting keys, and for each path and direction
                                             one ChaCha20-Poly1305 key with its own counter

A code has 16 bits. That is enough because SPAKE2 (RFC 9382) gives whoever stands in the middle one guess per run, and
`Master.check` notices a wrong one. Rules of this file: a key serves one direction of one path, a counter never goes
back, and whatever does not verify is an exception, never a value. The Python SPAKE2 arithmetic is not constant-time,
which is acceptable for a secret that is used once. Nothing here touches sockets or clocks; randomness is the system's.
Go to `messages.py` for what records hold.
"""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_Symmetric

from punchkit.code import normalise
from punchkit.errors import ProtocolError, WrongCode

PAKE_SIZE = 33  # bytes: a side mark and an Ed25519 group element
MAGIC = b"PKP1"
NONCE_SIZE = 16
MAC_SIZE = 16
GREETING_SIZE = len(MAGIC) + NONCE_SIZE + MAC_SIZE
LENGTH_SIZE = 4  # the prefix of a framed record
MAX_RECORD = 64 * 1024  # bytes of plaintext in one record
OVERHEAD = 16  # bytes that sealing adds


def other(role: str) -> str:
    """The role of the other side: there are "leader" and "follower"."""
    return "follower" if role == "leader" else "leader"


class Pake:
    """One run of SPAKE2 over a code: send `message`, hand the peer's to `finish`. For one use only."""

    def __init__(self, code_text: str) -> None:
        self._spake = SPAKE2_Symmetric(normalise(code_text).encode(), idSymmetric=b"punchkit 1")
        self.message: bytes = self._spake.start()

    def finish(self, peer_message: bytes) -> "Master":
        """The shared secret, if the peer used the same code: only `Master.check` tells.

        Raises ProtocolError for a message that is malformed, or our own one reflected.
        """
        if len(peer_message) != PAKE_SIZE:
            raise ProtocolError(f"a PAKE message of {len(peer_message)} bytes instead of {PAKE_SIZE}")
        if peer_message == self.message:
            raise ProtocolError("our own PAKE message came back")
        try:
            return Master(self._spake.finish(peer_message))
        except Exception as error:  # spake2 says no with AssertionError, ValueError, SPAKEError and bare Exceptions
            raise ProtocolError(f"a PAKE message that is no group element ({type(error).__name__})") from error


class Master:
    """What both sides know after the PAKE, and everything that follows from it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def confirmation(self, role: str) -> bytes:
        """32 bytes by which the side in `role` proves that it knows the secret."""
        return self._derive(b"confirm", role.encode())

    def check(self, role: str, confirmation: bytes) -> None:
        """Verify, in constant time, the confirmation of the side in `role`. Raises WrongCode."""
        if not hmac.compare_digest(self.confirmation(role), confirmation):
            raise WrongCode("the other side could not prove that it has the same one")

    def path(self, context: bytes, role: str) -> tuple["Sealer", "Opener"]:
        """The keys of one path for the side in `role`. `context` must never be the same for two paths."""
        return (
            Sealer(self._derive(b"path", context, role.encode())),
            Opener(self._derive(b"path", context, other(role).encode())),
        )

    def greeting(self, role: str, nonce: bytes) -> bytes:
        """16 bytes that authenticate the nonce with which the side in `role` opens a path."""
        return hmac.digest(self._derive(b"greeting", role.encode()), nonce, "sha256")[:MAC_SIZE]

    def check_greeting(self, role: str, nonce: bytes, mac: bytes) -> None:
        """Verify, in constant time, a greeting of the side in `role`. Raises ProtocolError."""
        if not hmac.compare_digest(self.greeting(role, nonce), mac):
            raise ProtocolError("a greeting from somebody who does not have our keys")

    def _derive(self, *labels: bytes) -> bytes:
        """A 32-byte key (HKDF, RFC 5869). Labels carry their lengths, so that no two lists of labels look alike."""
        info = b"".join(len(label).to_bytes(2, "big") + label for label in (b"punchkit 1", *labels))
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)


class Sealer:
    """Seals the records of one direction of one path. The nonce is the record's number, as in TLS 1.3."""

    def __init__(self, key: bytes) -> None:
        self._aead, self._count = ChaCha20Poly1305(key), 0

    def seal(self, plaintext: bytes) -> bytes:
        """The next record, OVERHEAD bytes longer. ValueError if the plaintext exceeds MAX_RECORD bytes."""
        if len(plaintext) > MAX_RECORD:
            raise ValueError(f"a record of {len(plaintext)} bytes; the most is {MAX_RECORD}")
        nonce = self._count.to_bytes(12, "big")  # 96 bits: it cannot wrap, and would raise if it did
        self._count += 1
        return self._aead.encrypt(nonce, plaintext, None)


class Opener:
    """Opens the records of one direction of one path, in the order in which they were sealed."""

    def __init__(self, key: bytes) -> None:
        self._aead, self._count = ChaCha20Poly1305(key), 0

    def open(self, ciphertext: bytes) -> bytes:
        """The next plaintext. Raises ProtocolError if it was changed, repeated or moved: give up the path then."""
        try:
            plaintext = self._aead.decrypt(self._count.to_bytes(12, "big"), ciphertext, None)
        except InvalidTag as error:
            raise ProtocolError(f"record {self._count} of the path does not open") from error
        self._count += 1
        return plaintext


class PathHandshake:
    """How two sides recognise each other on a new path, each before it trusts the other with anything.

    Each side sends `greeting` in the clear: magic, a fresh nonce, a MAC over it. Both nonces make the path's keys. Then
    each seals one RESPONSE, and the path is validated when the peer's RESPONSE opens: a greeting recorded earlier and
    played back brings a stranger this far and no further, since its keys would be others.
    """

    def __init__(self, master: Master, role: str, nonce: bytes | None = None) -> None:
        self._master, self._role = master, role
        self._nonce = os.urandom(NONCE_SIZE) if nonce is None else nonce
        self._done = False
        self.greeting = MAGIC + self._nonce + master.greeting(role, self._nonce)

    def receive_greeting(self, data: bytes) -> tuple[Sealer, Opener]:
        """The keys of this path, from the peer's GREETING_SIZE bytes. Raises ProtocolError for strangers.

        ValueError the second time: the same keys with fresh counters would use nonces twice.
        """
        if self._done:
            raise ValueError("this handshake is done; make a new one for a new path")
        if len(data) != GREETING_SIZE or not data.startswith(MAGIC):
            raise ProtocolError(f"no punchkit greeting but {data[:8]!r}")
        nonce, mac = data[len(MAGIC) : -MAC_SIZE], data[-MAC_SIZE:]
        self._master.check_greeting(other(self._role), nonce, mac)
        self._done = True
        leader_first = (self._nonce, nonce) if self._role == "leader" else (nonce, self._nonce)
        return self._master.path(b"".join(leader_first), self._role)


def frame(body: bytes) -> bytes:
    """A sealed record as it goes over a stream: its length, 32 bits big-endian, then itself."""
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


class Deframer:
    """Cuts a stream into sealed records again. Holds at most one unfinished record."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The records that `data` completes. Raises ProtocolError for a length that no sealed record can have."""
        self._buffer += data
        records: list[bytes] = []
        start = 0
        while (body := start + LENGTH_SIZE) <= len(self._buffer):
            length = int.from_bytes(self._buffer[start:body], "big")
            if not OVERHEAD < length <= MAX_RECORD + OVERHEAD:
                raise ProtocolError(f"a record of {length} bytes")
            if body + length > len(self._buffer):
                break
            records.append(bytes(self._buffer[body : body + length]))
            start = body + length
        del self._buffer[:start]
        return records
