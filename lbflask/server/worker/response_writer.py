"""A response as the client gets it: framed, dated, its head sent with the first piece, cut when it is too short."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from lbflask.server.worker.name_cache import HeaderNameCache

if TYPE_CHECKING:
    from lbflask.server.worker.http_exchange import HttpExchange
    from lbflask.server.worker.request_parser import ParsedRequest


class ShortResponse(Exception):
    """The application gave fewer bytes than its Content-Length."""


def _watched(name: str) -> str:
    """Which of the two fields that matter here a name means, in whatever case; empty for all others."""
    lower = name.lower()
    return lower if lower in ("content-length", "date") else ""


_WATCHED = HeaderNameCache(_watched, 4096)
#: RFC 9112 §6.3, rule 1.
_WITHOUT_BODY = frozenset({"204", "304", *(f"1{digits:02}" for digits in range(100))})


class ResponseWriter:
    """Writes one response: frames it, dates it, and sends the head with the first piece."""

    __slots__ = (
        "_chunked",
        "_exchange",
        "_fields",
        "_left",
        "_omit",
        "_request",
        "_send",
        "closes",
        "head_sent",
        "status",
    )

    def __init__(self, send: Callable[[bytes], None], request: ParsedRequest, exchange: HttpExchange) -> None:
        self._send = send
        self._request = request
        self._exchange = exchange
        self._fields: list[tuple[str, str]] = []
        self._chunked = False
        self._omit = False
        self._left: int | None = None
        self.status = ""
        self.closes = request.should_close()
        self.head_sent = False

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

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Write the application's result, in one go when it is in one piece. Raises ShortResponse, OSError.

        What the result has as `trailers` when it is exhausted follows a body in chunks (RFC 9112 §7.1.2).
        """
        try:
            single = len(pieces) == 1  # type: ignore[arg-type]
        except TypeError:
            single = False
        if single:
            data = next(iter(pieces), b"")
            head = self._head()
            self._send(head + self._framed(data) + self._end(pieces))
        else:
            for piece in pieces:
                self.write(piece)
            rest = (b"" if self.head_sent else self._head()) + self._end(pieces)
            if rest:
                self._send(rest)
        if self._left:
            raise ShortResponse

    def write(self, piece: bytes) -> None:
        """Write a piece of the body, after the head if that was not sent."""
        if self.head_sent:
            if piece and not self._omit:
                self._send(self._framed(piece))
        else:
            head = self._head()
            self._send(head + self._framed(piece) if piece else head)

    def _head(self) -> bytes:
        code, watched = self.status[:3], _WATCHED
        dated, lines = False, 1
        text = f"HTTP/1.1 {self.status}\r\n"
        self._omit = self._request.method == "HEAD" or code in _WITHOUT_BODY
        for name, value in self._fields:
            kind = watched[name]
            if kind:
                if kind == "date":
                    dated = True
                elif code == "204":
                    continue  # RFC 9110 §8.6
                else:
                    self._left = int(value)
            text += f"{name}: {value}\r\n"
            lines += 1
        if text.count("\n") != lines:
            raise ValueError(f"a header field of the response has a line break in it: {self._fields!r}")
        if not dated:
            text += f"Date: {http_date()}\r\n"
        self.head_sent = True
        return (text + self._framing() + "\r\n").encode("latin-1")

    def _framing(self) -> str:
        """The fields that say where the body ends, and whether the connection does (RFC 9112 §6 and §9.3)."""
        old = self._request.version < (1, 1)
        text = ""
        if self._omit:
            self._left = None
        elif self._left is None:
            self._chunked = not old
            if old:
                self.closes = True
            else:
                text = "Transfer-Encoding: chunked\r\n"
        if not self._exchange.complete:
            self.closes = True  # the rest of the request stands where the next one would
        if self.closes:
            return text + "Connection: close\r\n"
        return text + ("Connection: keep-alive\r\n" if old else "")

    def _framed(self, piece: bytes) -> bytes:
        if self._omit or not piece:
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    def _end(self, result: Iterable[bytes]) -> bytes:
        if not self._chunked:
            return b""
        lines = "".join([f"{name}: {value}\r\n" for name, value in getattr(result, "trailers", ())])
        return f"0\r\n{lines}\r\n".encode("latin-1")


_date_second = 0
_date_text = ""


def http_date() -> str:
    """The current date as a header field has it, formatted once a second (RFC 9110 §5.6.7)."""
    global _date_second, _date_text
    second = int(time.time())
    if second != _date_second:
        _date_second, _date_text = second, formatdate(second, usegmt=True)
    return _date_text
