"""What backends send and clients expect in the soak, computed from the number of the exchange.

A target is /KIND/NUMBER, for uploads, downloads and streams followed by a size.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

#: Bytes of a piece of a body, and of the longest body.
PIECE = 32 * 1024
LONGEST = 1024 * 1024
#: Seconds between two pieces of an upload or a download, between two events, and between two frames.
PIECE_INTERVAL = 0.02
EVENT_INTERVAL = 0.25
FRAME_INTERVAL = 0.25

_WORD = struct.Struct(">Q")
#: Every eight bytes are a number, so that no two pieces of it are equal; twice, so that a body can begin anywhere.
_WORDS = b"".join(map(_WORD.pack, range(LONGEST // _WORD.size))) * 2


@dataclass(frozen=True, slots=True)
class Target:
    """A target in its parts."""

    kind: str
    number: int
    size: int = 0

    @classmethod
    def parse(cls, path: str) -> Target:
        """Raises ValueError for a path that is none."""
        kind, number, size = [*path.removeprefix("/").split("/"), "0"][:3]
        return cls(kind, int(number), int(size))

    def __str__(self) -> str:
        return f"/{self.kind}/{self.number}" + (f"/{self.size}" if self.size else "")


def body(number: int, size: int) -> bytes:
    """The body of the exchange: up to LONGEST numbered bytes, which begin elsewhere for each number."""
    start = number * _WORD.size % LONGEST
    return _WORDS[start : start + size]


def pieces(number: int, size: int) -> list[bytes]:
    """The same body in pieces."""
    whole = body(number, size)
    return [whole[start : start + PIECE] for start in range(0, size, PIECE)]


def digest(data: bytes) -> str:
    """What a backend reports of a body that it has received."""
    return f"{hashlib.sha256(data).hexdigest()} {len(data)}"


def event_text(number: int, turn: int) -> bytes:
    """The data of an event."""
    return b"%d of stream %d" % (turn, number)


def frame_text(number: int, turn: int) -> bytes:
    """The payload of a WebSocket frame."""
    return b"%d of socket %d" % (turn, number)


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 §7.1); empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
