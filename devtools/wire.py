"""Just enough of HTTP/1.1 and WebSocket for test backends and clients: pure, and trusting of what it reads."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

#: RFC 6455 §1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: Opcodes of frames (RFC 6455 §5.2).
TEXT, CLOSE = 1, 8

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or response: its first line in three parts, and its fields with names in lower case."""

    line: tuple[str, str, str]
    fields: dict[str, str]

    @classmethod
    def parse(cls, head: bytes) -> Head:
        """With or without the empty line at the end. Of repeated fields the last one counts."""
        first, *rest = head.decode("latin-1").strip().split("\r\n")
        one, two, three = [*first.split(" ", 2), "", ""][:3]
        pairs = (line.partition(":") for line in rest)
        return cls((one, two, three), {name.lower(): value.strip() for name, _, value in pairs})

    @property
    def length(self) -> int:
        """The Content-Length; 0 without one."""
        return int(self.fields.get("content-length", 0))

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.fields.get("transfer-encoding", "").lower() == "chunked"


class ChunkCounter:
    """Counts the bytes of a chunked body without copying them (RFC 9112 §7.1). Trailers must be absent."""

    def __init__(self) -> None:
        self.count = 0
        self.complete = False
        self._left = 0  #: bytes until the next chunk-size line, its CRLF included
        self._line = b""

    def feed(self, data: memoryview) -> None:
        """The next bytes of the body, however they are cut."""
        at, size = 0, len(data)
        while at < size and not self.complete:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            piece = bytes(data[at : at + 20])
            end = piece.find(b"\n")
            if end < 0:
                self._line += piece
                at += len(piece)
                continue
            self._begin(self._line + piece[: end + 1])
            self._line = b""
            at += end + 1

    def _begin(self, line: bytes) -> None:
        if line == b"\r\n":
            self.complete = True  # the empty line after the last chunk
            return
        length = int(line.split(b";")[0], 16)
        self.count += length
        self._left = length + 2 if length else 0


def event(data: bytes) -> bytes:
    """One event of an event stream, as a chunk."""
    text = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(text), text)


def websocket_request(target: str, key: bytes) -> bytes:
    """A client's opening handshake (RFC 6455 §4.1)."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(key).decode()}\r\n\r\n"
    ).encode()


def websocket_accept(key: str) -> str:
    """What a server answers to a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def frame(payload: bytes, mask: bytes = b"", opcode: int = TEXT) -> bytes:
    """A whole frame of up to 125 bytes; clients must mask theirs (RFC 6455 §5.2)."""
    if len(payload) > 125:
        raise ValueError("only short frames")
    head = struct.pack("!BB", 0x80 | opcode, len(payload) | (0x80 if mask else 0))
    return head + mask + (masked(payload, mask) if mask else payload)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Masks, or takes the mask off (RFC 6455 §5.3)."""
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
