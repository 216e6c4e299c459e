"""A backend's response: its head, and then its body as pieces, as they arrive.

Reading is strict: a response whose end can't be told for certain is a fault of the backend's. A head in its plain form
is read by `core/http/response_head.py`, and a body of known length passes as it is; all else goes through the parser.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httptools

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import NO_BODY, BadFraming, Framing, response_framing
from lbflask.core.http.interim import InterimFilter
from lbflask.core.http.response_head import MAX_FIELDS, plain_head
from lbflask.core.http.upgrade import accepted_upgrade

if TYPE_CHECKING:
    from lbflask.upstream.connection import ExchangeTimeouts, UpstreamConnection, UpstreamRequest

#: Bytes of a response head (and of the interim heads before it); nginx and HAProxy allow 4 to 32 KiB.
MAX_HEAD = 65_536
#: What no reason phrase may hold (RFC 9112 §4); the parser lets it pass.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Bytes to ask for at once of a long body.
BULK = 1 << 18


class ResponseReader:
    """The response to one request."""

    __slots__ = (
        "_connection",
        "_filter",
        "_head_size",
        "_interims",
        "_keep_alive",
        "_left",
        "_method",
        "_parser",
        "_pieces",
        "_request",
        "_started",
        "_timing",
        "begun",
        "cleared",
        "complete",
        "continued",
        "early",
        "fields",
        "framing",
        "junk",
        "over",
        "reason",
        "request_cut",
        "status",
        "trailers",
    )

    def __init__(self, connection: UpstreamConnection, request: UpstreamRequest, timing: ExchangeTimeouts) -> None:
        self._connection = connection
        self._request = request
        self._method = request.method or "GET"
        self._timing = timing
        self._parser: httptools.HttpResponseParser | None = None
        self._pieces: deque[bytes] = deque()
        self._interims: list[tuple[int, str, Fields]] = []
        self._head_size = 0
        self._left = 0  # bytes of a plain body that have not come
        self._keep_alive = False
        self._started = False
        self.begun = False  #: at least one byte came
        self.complete = False
        self.cleared = False  #: no hop-by-hop field is among the fields
        self.continued = False  #: the backend asked for the body
        self.over = False  #: nobody waits for more of it
        self.junk = False  #: more came than the response
        self.request_cut = False  #: the backend closed before it had read the request
        self.early = b""  #: what came behind a 101, in the new protocol
        self.status = 0
        self.reason = ""
        self.fields: Fields = []
        self.trailers: Fields = []
        self.framing: Framing = NO_BODY

    def abandon(self) -> None:
        """The client has gone, who alone wanted this response."""
        if not self.over:
            self._connection.abandon()

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self.complete and self._keep_alive and not self.junk and not self.request_cut and self._connection.sent

    @property
    def connection(self) -> UpstreamConnection:
        """The connection it came over."""
        return self._connection

    @property
    def between_bytes(self) -> float:
        """Seconds that the backend may do nothing."""
        return self._timing.between_bytes

    def read_head(self) -> None:
        """Read until the head of the final response is known. Raises Fault."""
        read = 0
        timeout = self._timing.first_byte
        while not self._started:
            data = self._connection.receive(self, timeout, Stage.WAIT)
            if not data:
                raise self._fault("closed the connection before its response" + (" was complete" if read else ""))
            timeout = self._timing.between_bytes
            read += len(data)
            self._take(data)
            if not self._started and read > MAX_HEAD:
                raise self._fault(f"the response head is longer than {MAX_HEAD} bytes")

    def comes_within(self, seconds: float) -> bool:
        """Whether the final response comes within so many seconds, or before the backend asks for the body.

        Raises Fault. Time out only here means that the backend has nothing to say yet.
        """
        until = time.monotonic() + seconds
        while not self._started and not self.continued and (left := until - time.monotonic()) > 0:
            data = self._connection.receive_within(self, left)
            if data is None:
                break
            if not data:
                raise self._fault("closed the connection before its response")
            self._take(data)
        return self._started

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Fault at stage BODY when it ends too early.

        The first piece is empty when none came with the head, which then need not wait for one.
        """
        if not self._pieces and not self.complete:
            yield b""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self.complete:
                return
            size = BULK if self._left > BULK else 65_536
            data = self._connection.receive(self, self._timing.between_bytes, Stage.BODY, size)
            if data:
                self._take(data)
            elif self.framing.length is None and not self.framing.chunked:
                self.complete = True  # RFC 9112 §6.3: its end is the connection's
            else:
                raise Fault(Blame.BACKEND, Stage.BODY, 502, "closed the connection within its response", answered=True)

    def whole(self) -> bytes | None:
        """The body, when all of it is here already; else None."""
        if not self.complete:
            return None
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take(self, data: bytes) -> None:
        if self._left:
            self._take_plain(data)
            return
        if not self.begun:
            self.begun = True
            head = plain_head(self._method, data)
            if head is not None:
                self.status, self.reason, self.fields, self.framing, end = head
                self.cleared = True
                self._started = self._keep_alive = True
                self._left = self.framing.length or 0
                if len(data) > end or not self._left:
                    self._take_plain(data[end:])
                return
            self._parser = httptools.HttpResponseParser(self)
            self._filter = InterimFilter(MAX_HEAD)
        self._feed(data if self._started else self._filter(data))
        if self._interims:
            self._pass_interims()

    def _take_plain(self, data: bytes) -> None:
        if len(data) > self._left:
            self.junk = True
            data = data[: self._left]
        if data:
            self._left -= len(data)
            self._pieces.append(data)
        self.complete = self._left == 0

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self.junk = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch_protocols(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                raise self._fault(str(cause)) from None
            if not self.complete:
                raise self._fault(f"not an HTTP response: {error}") from None
            self.junk = True
        if self.complete:
            self._parser = None  # it refers to us: without this each response would wait for the garbage collector

    def _switch_protocols(self, early: bytes) -> None:
        """RFC 9110 §15.2.2: after a 101 the connection carries the agreed protocol; never within a request (§7.8)."""
        if not self._request.upgrade:
            raise self._fault("switched protocols, which it was not asked to do")
        if not accepted_upgrade(self.fields, self._request.upgrade):
            raise self._fault("switched to a protocol that it was not asked for")
        if not self._connection.sent:
            raise self._fault("switched protocols before it had all of the request")
        self.status = 101
        self.early = early
        self._started = self.complete = True

    def _pass_interims(self) -> None:
        interims, self._interims = self._interims, []
        for status, reason, fields in interims:
            if status == 100:
                self.continued = True
            elif self._request.on_interim is not None:
                self._request.on_interim(status, reason, fields)

    def _fault(self, reason: str) -> Fault:
        stage = Stage.BODY if self._started else Stage.WAIT
        reused = self._connection.served > 0
        return Fault(Blame.BACKEND, stage, 502, reason, reused=reused, answered=self.begun)

    # What httptools calls.

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, if the backend sent one, or a part of it."""
        if self.complete:
            return  # of what comes behind the response
        self.reason += reason.decode("latin-1")  # in parts, when it came in parts

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field line of the head, or of the trailers behind the body."""
        if self.complete:
            return  # of what comes behind the response, and is nobody's
        fields = self.trailers if self._started else self.fields
        fields.append((name.decode("latin-1"), value.decode("latin-1")))
        self._head_size += len(name) + len(value)
        if len(fields) > MAX_FIELDS:
            raise _Refused(f"the response has more than {MAX_FIELDS} fields")
        if self._head_size > MAX_HEAD:
            raise _Refused(f"the response head is longer than {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """The end of a head: an interim one is set apart, the final one decides the framing."""
        parser = self._parser
        if self.complete or parser is None:
            self.junk = True
            return
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise _Refused("not a response of HTTP/1.1 or 1.0")
        if _CONTROL.search(self.reason):
            raise _Refused("a control character in the reason")
        status = parser.get_status_code()
        if status < 200:
            self._interim(status, parser)
            return
        self.status = status
        try:
            self.framing = response_framing(self._method, status, self.fields)
        except BadFraming as error:
            raise _Refused(str(error)) from None
        self._started = True
        self._keep_alive = parser.should_keep_alive()
        if self._method == "HEAD":
            # llhttp does not know what was asked, and waits for a body that will not come (RFC 9112 §6.3, rule 1).
            self.complete = True
            self._keep_alive = parser.get_http_version() == "1.1" and not _closes(self.fields)

    def _interim(self, status: int, parser: httptools.HttpResponseParser) -> None:
        if status == 101:
            if not parser.should_upgrade():
                raise _Refused("switched protocols without naming one")
            return  # the parser stops behind it
        if status < 100:
            raise _Refused(f"not an HTTP response: the status {status:03d}")
        self._interims.append((status, self.reason, self.fields))
        self.fields = []
        self.reason = ""

    def on_body(self, data: bytes) -> None:
        """Some of the body, without its chunk framing."""
        if self.complete:
            self.junk = True
        else:
            self._pieces.append(data)

    def on_message_begin(self) -> None:
        """Something begins after the response has ended: nothing that was asked for."""
        if self.complete:
            self.junk = True

    def on_message_complete(self) -> None:
        """The end of an interim or of the final response."""
        if self._started:
            self.complete = True


class _Refused(Exception):
    """The response must not be passed on; raised within a parser's callback."""


def _closes(fields: Fields) -> bool:
    return any(name.lower() == "connection" and "close" in value.lower() for name, value in fields)
