"""A client that sends exact bytes and returns the exact bytes of the response."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import Self

from devtools.wait import PATIENCE


@dataclass(frozen=True)
class RawResponse:
    """A response: its status line and fields as bytes, its body without the framing of chunks, and its trailers."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        """The values of the fields with this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def names(self) -> list[bytes]:
        return [key.lower() for key, _ in self.fields]


class ConnectionCut(Exception):
    """The connection ended within the response: by a `reset`, or in order. `got` is what had been received."""

    def __init__(self, got: bytes, reset: bool) -> None:
        super().__init__(f"{'reset' if reset else 'closed'} after {got!r}")
        self.got = got
        self.reset = reset


class RawClient:
    """One connection, to a port of 127.0.0.1, from an address of loopback, or to the unix socket at a path."""

    def __init__(self, where: int | str, patience: float = PATIENCE, source: str = "127.0.0.1") -> None:
        if isinstance(where, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(patience)
            self.sock.connect(where)
        else:
            self.sock = socket.create_connection(("127.0.0.1", where), patience, (source, 0))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def trickle(self, byte: bytes) -> None:
        """Send this byte repeatedly, until a response arrives."""
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.sock], [], [], 0.02)[0]:
            assert time.monotonic() < deadline, "no response"
            self.send(byte)

    def read_until(self, mark: bytes) -> bytes:
        """Receive up to and including the mark. Raises ConnectionCut."""
        while mark not in self._unread:
            self._more()
        end = self._unread.index(mark) + len(mark)
        return self._take(end)

    def read(self, count: int) -> bytes:
        """Receive so many bytes. Raises ConnectionCut."""
        while len(self._unread) < count:
            self._more()
        return self._take(count)

    def head(self) -> RawResponse:
        """Receive the next head, without a body. Raises ConnectionCut."""
        line, *rest = self.read_until(b"\r\n\r\n")[:-4].split(b"\r\n")
        pairs = [field.partition(b": ") for field in rest]
        return RawResponse(line, [(name, value) for name, _, value in pairs], b"")

    def answer(self, to: str = "GET") -> RawResponse:
        """Receive the next response with its body. Raises ConnectionCut."""
        head = self.head()
        if to == "HEAD" or head.status in (204, 304) or head.status < 200:
            return head
        lengths = head.values(b"content-length")
        if head.values(b"transfer-encoding"):
            return RawResponse(head.line, head.fields, *self.chunks())
        if lengths:
            return RawResponse(head.line, head.fields, self.read(int(lengths[0])))
        return RawResponse(head.line, head.fields, self.rest())

    def ask(self, request: bytes) -> RawResponse:
        """Send a request and receive its response."""
        self.send(request)
        return self.answer(request.split(b" ")[0].decode("latin-1"))

    def finish(self) -> None:
        """Shut down sending; receiving goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Receive up to an orderly end. Raises ConnectionCut for a reset."""
        try:
            while True:
                self._more()
        except ConnectionCut as cut:
            if cut.reset:
                raise
            return self._take(len(self._unread))

    def chunks(self) -> tuple[bytes, list[bytes]]:
        """Receive a chunked body; returns it with the lines of its trailers. Raises ConnectionCut."""
        body, trailers = b"", []
        while size := int(self.read_until(b"\r\n"), 16):
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        while line := self.read_until(b"\r\n")[:-2]:
            trailers.append(line)
        return body, trailers

    def _more(self) -> None:
        try:
            data = self.sock.recv(65_536)
        except ConnectionResetError:
            raise ConnectionCut(self._unread, reset=True) from None
        if not data:
            raise ConnectionCut(self._unread, reset=False)
        self._unread += data

    def _take(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken
