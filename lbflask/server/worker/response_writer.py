"""Writes a response: framing, Date, head and first piece in one send, and an error if the body is too short."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from lbflask.server.worker.http_date import http_date
from lbflask.server.worker.name_cache import HeaderNameCache

if TYPE_CHECKING:
    from lbflask.server.worker.received_head import ReceivedHead


class RequestBodyState(Protocol):
    """The part of an exchange that decides whether its connection can be used again."""

    @property
    def complete(self) -> bool:
        """Whether the whole body of the request was read."""
        ...


class SendfileRegion(Protocol):
    """A part of an open file: `left` bytes from `offset` on."""

    offset: int
    left: int

    @property
    def fd(self) -> int:
        """The descriptor of the file."""
        ...

    def advance(self, count: int) -> None:
        """So many bytes were sent."""
        ...


class FileSender(Protocol):
    """What sends a part of a file."""

    def send_file(self, region: SendfileRegion) -> None:
        """Send the part, or as much of it as the file still has. Raises OSError."""
        ...


class ShortResponse(Exception):
    """The application returned fewer bytes than its Content-Length."""


def _kind(name: str) -> str:
    """`content-length`, `date` or `strict-transport-security` for these names in any case; empty for all others."""
    lower = name.lower()
    return lower if lower in ("content-length", "date", "strict-transport-security") else ""


_KINDS: Final = HeaderNameCache(_kind, 4096)
#: RFC 9112 §6.3, rule 1.
_NO_BODY_STATUSES: Final = frozenset({"204", "304", *(f"1{digits:02}" for digits in range(100))})


class ResponseWriter:
    """Writes one response. `closes` is whether the connection ends after it. `hsts` is a whole line for responses that
    have no Strict-Transport-Security of their own; empty for none.
    """

    status = ""
    head_sent = False
    _chunked = False
    _omit_body = False
    _bytes_left: int | None = None
    _lines: tuple[bytes, bool, int] | None = None

    def __init__(
        self,
        send: Callable[[bytes], None],
        request: ReceivedHead,
        exchange: RequestBodyState,
        closes: bool = False,
        hsts: str = "",
    ) -> None:
        self._send = send
        self._request = request
        self._exchange = exchange
        self._fields: list[tuple[str, str]] = []
        self.closes = closes or request.closes
        self._hsts = hsts

    def start_response(
        self, status: str, fields: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """PEP 3333."""
        if exc_info is not None and self.head_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self.status:
            raise AssertionError("start_response was called before")
        self.status, self._fields = status, fields
        return self.write

    def start_plain(self, status: str, lines: tuple[bytes, bool, int]) -> None:
        """Start a response whose field lines are sent as they are: lines, whether a Date is among them, and the length
        of a body. They contain nothing for one connection only.
        """
        self.status, self._lines = status, lines

    def write_all(self, pieces: Iterable[bytes], sender: FileSender | None = None) -> None:
        """Write the application's result; a single piece leaves in one send. Raises ShortResponse, OSError.

        The attribute `trailers` of the exhausted result follows a chunked body (RFC 9112 §7.1.2). A result with a
        `region`, which is a part of a file and has the length that its fields state, is left to the sender.
        """
        try:
            single = len(pieces) == 1  # type: ignore[arg-type]
        except TypeError:
            single = False
        if single:
            data = next(iter(pieces), b"")
            head = self._head()
            end = self._end(pieces) if self._chunked else b""
            self._send(head + self._framed(data) + end)
        elif sender is not None and (region := getattr(pieces, "region", None)) is not None:
            self._send(self._head())
            sender.send_file(region)
            self._bytes_left = region.left
        else:
            for piece in pieces:
                self.write(piece)
            rest = b"" if self.head_sent else self._head()
            if self._chunked:
                rest += self._end(pieces)
            if rest:
                self._send(rest)
        if self._bytes_left:
            raise ShortResponse

    def write(self, piece: bytes) -> None:
        """Write a piece of the body, with the head if that was not sent yet."""
        if self.head_sent:
            if piece and not self._omit_body:
                self._send(self._framed(piece))
        else:
            head = self._head()
            self._send(head + self._framed(piece) if piece else head)

    def _head(self) -> bytes:
        code, kinds = self.status[:3], _KINDS
        has_date, fields, lines = False, self._fields, self._lines
        self._omit_body = self._request.method == "HEAD" or code in _NO_BODY_STATUSES
        if lines is not None:
            return self._plain_head(lines)
        if code == "204":  # RFC 9110 §8.6
            fields = [field for field in fields if kinds[field[0]] != "content-length"]
        for name, value in fields:
            if kind := kinds[name]:
                if kind == "date":
                    has_date = True
                elif kind == "content-length":
                    self._bytes_left = int(value)
                else:
                    self._hsts = ""
        text = "\r\n".join([f"HTTP/1.1 {self.status}", *map(": ".join, fields), ""])
        if text.count("\n") != len(fields) + 1:
            raise ValueError(f"a header field of the response has a line break in it: {fields!r}")
        if not has_date:
            text += f"Date: {http_date()}\r\n"
        self.head_sent = True
        return (text + self._framing() + "\r\n").encode("latin-1")

    def _plain_head(self, lines: tuple[bytes, bool, int]) -> bytes:
        text, has_date, self._bytes_left = lines
        self.head_sent = True
        if self._hsts and b"strict-transport-security:" in text.lower():
            self._hsts = ""
        end = "" if has_date else f"Date: {http_date()}\r\n"
        end += self._framing()
        start = f"HTTP/1.1 {self.status}\r\n".encode("latin-1")
        return b"".join([start, text, end.encode("latin-1"), b"\r\n"] if end else [start, text, b"\r\n"])

    def __repr__(self) -> str:
        state = "head sent" if self.head_sent else "not started"
        return f"<ResponseWriter {self.status or '-'} {state} left={self._bytes_left} closes={self.closes}>"

    def _framing(self) -> str:
        """The fields that frame the body, and Connection (RFC 9112 §6 and §9.3), after Strict-Transport-Security."""
        old = self._request.version < (1, 1)
        text = self._hsts
        if self._omit_body:
            self._bytes_left = None
        elif self._bytes_left is None:
            self._chunked = not old
            if old:
                self.closes = True
            else:
                text += "Transfer-Encoding: chunked\r\n"
        if self._request.has_body and not self._exchange.complete:
            self.closes = True  # the unread rest of the body precedes the next request
        if self.closes:
            return text + "Connection: close\r\n"
        return text + ("Connection: keep-alive\r\n" if old else "")

    def _framed(self, piece: bytes) -> bytes:
        if self._omit_body or not piece:
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._bytes_left is not None:
            piece = piece[: self._bytes_left]
            self._bytes_left -= len(piece)
        return piece

    @staticmethod
    def _end(result: Iterable[bytes]) -> bytes:
        """The last chunk, with trailers."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in getattr(result, "trailers", ())])
        return f"0\r\n{lines}\r\n".encode("latin-1")
