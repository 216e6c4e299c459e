"""Reads a backend's response: its head, and then its body in pieces, as they arrive.

Reading is strict: a response whose end is ambiguous is a fault of the backend. A head in its plain form is read by
`core/http/response_head.py`, and a body of known length passes unparsed; the parser reads everything else.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, Final

import httptools

from lbflask.core.faults import Fault, Stage
from lbflask.core.http.field_lines import FieldLines, field_pairs
from lbflask.core.http.framing import NO_BODY, BadFraming, Framing, response_framing
from lbflask.core.http.interim import InterimFilter
from lbflask.core.http.response_head import MAX_FIELDS, ResponseHead, plain_head
from lbflask.core.http.types import Fields
from lbflask.core.http.upgrade import accepted_upgrade
from lbflask.upstream.exchange_state import ExchangeEvent
from lbflask.upstream.stream import READ_SIZE, ByteSource, ExchangeTimeouts, UpstreamRequest

#: Bytes of a response head, with the informational ones before it; nginx and HAProxy allow 4 to 32 KiB.
MAX_HEAD: Final = 65_536
#: Characters that a reason phrase may not contain (RFC 9112 §4); the parser accepts them.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Bytes of one read of a long body.
BULK_READ_SIZE: Final = 1 << 18


#: Shared by all readers, and never changed: only the parser adds to lists, which are its own.
_NOTHING: Final[list[Any]] = []
_NO_PIECES: Final[deque[bytes]] = deque()


class ResponsePhase(Enum):
    """How far a response was read."""

    HEAD = auto()  #: the head of the final response is incomplete
    BODY = auto()
    COMPLETE = auto()


# Members as globals: to look one up in its class takes ten times as long, in Python 3.11.
_HEAD: Final = ResponsePhase.HEAD
_BODY: Final = ResponsePhase.BODY
_COMPLETE: Final = ResponsePhase.COMPLETE
_RESPONSE_STARTED: Final = ExchangeEvent.RESPONSE_STARTED
_RESPONSE_ENDED: Final = ExchangeEvent.RESPONSE_ENDED
_LAST_RESPONSE_ENDED: Final = ExchangeEvent.LAST_RESPONSE_ENDED
_WAIT: Final = Stage.WAIT


class ResponseReader:
    """The response to one request, which is the exchange of this number at its source."""

    # Not in the constructor: most responses are plain, and need few of these.
    _phase: ResponsePhase = _HEAD
    _parser: httptools.HttpResponseParser | None = None
    _filter: InterimFilter | None = None
    _pieces: deque[bytes] = _NO_PIECES
    _whole: bytes | None = None  # the body, if it came with the head
    _interims: list[tuple[int, str, Fields]] = _NOTHING
    _pairs: Fields = _NOTHING
    _head_size = 0
    _body_left = 0  # bytes of a body of known length that have not arrived
    _keep_alive = False
    _excess_data = False  # more arrived than the response
    continue_received = False  #: a `100 Continue` arrived
    early = b""  #: bytes of the new protocol that arrived behind a 101
    status = 0
    reason = ""
    trailers: Fields = _NOTHING
    framing: Framing = NO_BODY
    lines: FieldLines | None = None  #: of a plain head, without hop-by-hop fields

    def __init__(
        self, source: ByteSource, request: UpstreamRequest, timeouts: ExchangeTimeouts, exchange: int = 0
    ) -> None:
        self._source = source
        self._request = request
        self._method = request.method
        self._timeouts = timeouts
        self._exchange = exchange

    def __repr__(self) -> str:
        return f"<ResponseReader {self.status or '-'} {self._phase.name} from {self._source!r}>"

    @property
    def complete(self) -> bool:
        """Whether all of the response was read."""
        return self._phase is _COMPLETE

    @property
    def fields(self) -> Fields:
        """The fields in order, with repeats; those of a plain head without hop-by-hop ones."""
        return self._pairs if self.lines is None else field_pairs(self.lines)

    def read_head(self) -> None:
        """Read until the head of the final response is complete. Raises Fault."""
        read = 0
        timeout = self._timeouts.first_byte
        while self._phase is _HEAD:
            data = self._source.receive(timeout, _WAIT)
            if not data:
                raise self._fault("closed the connection before its response" + (" was complete" if read else ""))
            timeout = self._timeouts.between_bytes
            read += len(data)
            self._consume(data)
            if self._phase is _HEAD and read > MAX_HEAD:
                raise self._fault(f"the response head is longer than {MAX_HEAD} bytes")

    def abandon(self) -> None:
        """End the exchange, because its client has gone. Does nothing once it is complete."""
        self._source.abandon(self._exchange)

    def responds_within(self, seconds: float) -> bool:
        """Whether the final response arrives within so many seconds and before a `100 Continue`. Raises Fault."""
        until = time.monotonic() + seconds
        while self._phase is _HEAD and not self.continue_received and (left := until - time.monotonic()) > 0:
            data = self._source.receive_within(left)
            if data is None:
                break
            if not data:
                raise self._fault("closed the connection before its response")
            self._consume(data)
        return self._phase is not _HEAD

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Fault at stage BODY when it ends too early.

        The first piece is empty when none arrived with the head, so that the head can be passed on at once.
        """
        if self._whole is not None:
            if self._whole:
                yield self._whole
            return
        if not self._pieces and not self.complete:
            yield b""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self.complete:
                return
            self._receive_body()

    def _receive_body(self) -> None:
        size = BULK_READ_SIZE if self._body_left > BULK_READ_SIZE else READ_SIZE
        self._take_body(self._source.receive(self._timeouts.between_bytes, Stage.BODY, size))

    def arrives_within(self, seconds: float) -> bool:
        """Whether the next piece or the end of the body is here within so many seconds. Raises Fault at stage BODY."""
        if not self._pieces and not self.complete:
            data = self._source.receive_within(seconds, Stage.BODY)
            if data is None:
                return False
            self._take_body(data)
        return bool(self._pieces) or self.complete

    def _take_body(self, data: bytes) -> None:
        """Read the data, which are empty at the end of the stream."""
        if data:
            self._consume(data)
        elif self.framing.length is None and not self.framing.chunked:
            self._phase = _COMPLETE  # the end of the connection ends the body (RFC 9112 §6.3)
            self._source.advance(_LAST_RESPONSE_ENDED)
        else:
            raise self._fault("closed the connection within its response")

    def buffer(self, most: int) -> bool:
        """Wait until all of the body has arrived, or more than `most` bytes of it; whether it is all. `pieces` still
        yields each byte. Raises Fault at stage BODY.
        """
        while not self.complete and self._body_left <= most and sum(map(len, self._pieces)) <= most:
            self._receive_body()
        return self.complete

    def whole(self) -> bytes | None:
        """The body, if all of it has arrived; else None."""
        if self._phase is not _COMPLETE or self._whole is not None:
            return self._whole
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _consume(self, data: bytes) -> None:
        """Read the data, and report progress to the source."""
        before = self._phase
        if before is _HEAD and self._parser is None:
            head = plain_head(self._method, data)
            if head is not None:
                self._consume_plain(head, data)
                return
            self._parser = httptools.HttpResponseParser(self)
            self._filter = InterimFilter(MAX_HEAD)
            self._pieces = deque()
            self._interims, self._pairs, self.trailers = [], [], []
        if self._body_left:
            self._consume_body(data)
        else:
            self._feed(data if before is _BODY or self._filter is None else self._filter(data))
        if self._interims:
            self._pass_interims()
        if self._phase is not before:
            self._report()

    def _report(self) -> None:
        if self._phase is _BODY:
            event = _RESPONSE_STARTED
        elif self.status == 101:
            event = ExchangeEvent.PROTOCOL_SWITCHED
        else:
            event = _RESPONSE_ENDED if self._keep_alive and not self._excess_data else _LAST_RESPONSE_ENDED
        self._source.advance(event)

    def _consume_plain(self, head: ResponseHead, data: bytes) -> None:
        self.status, self.reason, self.lines, self.framing, end = head
        self._keep_alive = True
        length = self.framing.length or 0
        if len(data) == end + length:  # as most responses arrive: all at once
            self._phase = _COMPLETE
            self._whole = data[end:]
            self._source.advance(_RESPONSE_ENDED)
        else:
            self._phase, self._body_left, self._pieces = _BODY, length, deque()
            self._consume_body(data[end:])
            self._report()

    def _consume_body(self, data: bytes) -> None:
        if len(data) > self._body_left:
            self._excess_data = True
            data = data[: self._body_left]
        if data:
            self._body_left -= len(data)
            self._pieces.append(data)
        if not self._body_left:
            self._phase = _COMPLETE

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self._excess_data = True
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
            self._excess_data = True
        if self.complete:
            self._parser = None  # it refers to the reader: a cycle, which only the garbage collector would free

    def _switch_protocols(self, early: bytes) -> None:
        """RFC 9110 §15.2.2: after a 101 the connection carries the agreed protocol; never within a request (§7.8)."""
        if not self._request.upgrade:
            raise self._fault("switched protocols, which it was not asked to do")
        if not accepted_upgrade(self.fields, self._request.upgrade):
            raise self._fault("switched to a protocol that it was not asked for")
        if not self._source.request_sent:
            raise self._fault("switched protocols before it had all of the request")
        self.status = 101
        self.early = early
        self._phase = _COMPLETE

    def _pass_interims(self) -> None:
        interims, self._interims = self._interims, []
        for status, reason, fields in interims:
            if status == 100:
                self.continue_received = True
            elif self._request.on_interim is not None:
                self._request.on_interim(status, reason, fields)

    def _fault(self, reason: str) -> Fault:
        return self._source.fault(Stage.WAIT if self._phase is _HEAD else Stage.BODY, reason)

    # The callbacks of httptools.

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, or a part of it."""
        if self.complete:
            return  # excess data
        self.reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field line of a head or of the trailers."""
        if self.complete:
            return  # excess data
        fields = self._pairs if self._phase is _HEAD else self.trailers
        fields.append((name.decode("latin-1"), value.decode("latin-1")))
        self._head_size += len(name) + len(value)
        if len(fields) > MAX_FIELDS:
            raise _Refused(f"the response has more than {MAX_FIELDS} fields")
        if self._head_size > MAX_HEAD:
            raise _Refused(f"the response head is longer than {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """The end of a head: an informational one is kept for later, the final one determines the framing."""
        parser = self._parser
        if self.complete or parser is None:
            self._excess_data = True
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
        self._phase = _BODY
        self._keep_alive = parser.should_keep_alive()
        if self._method == "HEAD":
            # llhttp does not know the method, and expects a body (RFC 9112 §6.3, rule 1).
            self._phase = _COMPLETE
            self._keep_alive = parser.get_http_version() == "1.1" and not _closes(self.fields)

    def _interim(self, status: int, parser: httptools.HttpResponseParser) -> None:
        if status == 101:
            if not parser.should_upgrade():
                raise _Refused("switched protocols without naming one")
            return  # the parser stops behind this head
        if status < 100:
            raise _Refused(f"not an HTTP response: the status {status:03d}")
        self._interims.append((status, self.reason, self.fields))
        self._pairs = []
        self.reason = ""

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its chunk framing."""
        if self.complete:
            self._excess_data = True
        else:
            self._pieces.append(data)

    def on_message_begin(self) -> None:
        """A message starts. Only one was asked for."""
        if self.complete:
            self._excess_data = True

    def on_message_complete(self) -> None:
        """The end of an informational or of the final response."""
        if self._phase is _BODY:
            self._phase = _COMPLETE


class _Refused(Exception):
    """The response must not be passed on. Raised in a callback of the parser."""


def _closes(fields: Fields) -> bool:
    return any(name.lower() == "connection" and "close" in value.lower() for name, value in fields)
