"""What can go wrong between two peers, one exception each.

Every message says what happened, why if that is known (`detail`), and what to do. Nothing here touches anything.
Everything derives from `PunchkitError`, so a caller can catch all of it with one clause; a wrong argument from
the caller's own code stays a plain ValueError.
"""


class PunchkitError(Exception):
    """The base of every error that punchkit raises on purpose. `detail` is the particular reason, if one is known."""

    what = "punchkit could not go on"
    todo = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        sentence = f"{self.what}: {self.detail}" if self.detail else self.what
        return f"{sentence}. {self.todo}" if self.todo else sentence


class CodeError(PunchkitError, ValueError):
    """The text is no pairing code."""

    what = "that is not a pairing code"
    todo = "A code is a number and words, such as 7-amber-falcon"


class WrongCode(PunchkitError):
    """Key confirmation failed: the two sides typed different codes, or somebody in the middle guessed."""

    what = "the pairing code was wrong"
    todo = "Ask for a new code and start both sides again: each code is good for one guess"


class CodeUsed(PunchkitError):
    """The server has already seen this code used."""

    what = "this pairing code has been used already"
    todo = "Ask for a new code: each is good for one pairing"


class RoomCrowded(PunchkitError):
    """Two others are already in the room."""

    what = "two others are already using this code's number"
    todo = "Ask for a new code; if you shared this one with only one person, somebody else tried it"


class NobodyCame(PunchkitError):
    """The peer did not come to the room in time."""

    what = "nobody came to meet under this code"
    todo = "Check that the other side uses the same code and the same server, and start again"


class ServerUnreachable(PunchkitError):
    """No connection to the rendezvous server."""

    what = "the server cannot be reached"
    todo = "Check the network, the server's address (--server HOST:PORT) and any firewall in between"


class ServerBusy(PunchkitError):
    """The server has as many connections as it will take."""

    what = "the server takes no more connections"
    todo = "Try again in a few minutes, or use another server"


class ServerGone(PunchkitError):
    """The connection to the rendezvous server ended."""

    what = "the connection to the server was lost"
    todo = "Start again; if it keeps happening, the server may have restarted or dropped idle peers"


class PeerGone(PunchkitError):
    """Every path to the peer ended before the transfer did."""

    what = "the other side is gone"
    todo = "Ask whether it is still running, and start both sides again"


class NoAnswer(PunchkitError):
    """A request was sent as often as its protocol says, and nobody answered."""

    what = "no answer came"
    todo = "Check the address, and that no firewall in between drops UDP"


class ProtocolError(PunchkitError):
    """Somebody sent bytes that do not follow the protocol."""

    what = "the bytes received do not follow the protocol"
    todo = "The connection was tampered with, or the other side runs another version of punchkit"


class NoDirectPath(PunchkitError):
    """Only a direct path was wanted, and none could be made."""

    what = "no direct path between the two sides could be made"
    todo = "Allow the relay (leave out --direct-only), or run `punchkit check` on both sides to learn why"


class TransferError(PunchkitError):
    """Two sides are connected, and yet the file did not get across."""

    what = "the file was not transferred"
    todo = "Nothing of it was kept; when that is put right, start both sides again with a new code"
