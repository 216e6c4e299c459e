"""Responses of backends: heads, informational responses, bodies, framing, and the answers to health checks."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import Executor
from functools import cache
from types import SimpleNamespace
from typing import Any

import h11

from lbflask.core.checks import HealthCheck
from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.field_names import decimal
from lbflask.core.http.fields import client_response
from lbflask.core.http.framing import MAX_LENGTH, BadFraming, content_length, response_framing
from lbflask.core.http.interim import InterimFilter
from lbflask.core.http.response_head import plain_head
from lbflask.core.http.types import Fields
from lbflask.upstream.exchange_state import ExchangeEvent
from lbflask.upstream.health_probe import _Exchange
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.stream import ExchangeTimeouts

#: Bytes of an input that is also read byte by byte.
SHORT = 300
#: Digits of a number that Python converts by default.
_MOST_DIGITS = 4300


class Given:
    """A source of these pieces, and then of the end. It keeps the latest event."""

    request_sent = True
    event: ExchangeEvent | None = None

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces, b""]

    def receive(self, timeout: float, stage: Stage, size: int = 0) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def receive_within(self, seconds: float) -> bytes | None:
        return None

    def fault(self, stage: Stage, reason: str) -> Fault:
        return Fault(Blame.BACKEND, stage, 502, reason)

    def advance(self, event: ExchangeEvent) -> None:
        self.event = event


def outcome(method: str, *pieces: bytes) -> dict[str, Any]:
    """All that a client gets of a response, and whether its connection can serve another request."""
    source: Any = Given(*pieces)
    asked: Any = SimpleNamespace(method=method, upgrade="", on_interim=None)
    reader = ResponseReader(source, asked, ExchangeTimeouts())
    try:
        reader.read_head()
        body = b"".join(reader.pieces())
    except Fault as fault:
        return {"fault": (fault.blame, fault.stage, fault.status)}
    return {
        "line": (reader.status, reader.reason),
        "fields": reader.fields if reader.lines is not None else client_response(reader.fields, None),
        "framing": reader.framing,
        "body": body,
        "reusable": source.event is ExchangeEvent.RESPONSE_ENDED,
    }


def response(data: bytes) -> None:
    """Read alike in one piece, in two and in many, and as h11 does where both accept it."""
    for method in ("GET", "HEAD"):
        found, split = outcome(method, data), outcome(method, data[:1], data[1:])
        assert _content(split) == _content(found)
        # The full parser skips line ends behind a response, where the plain form takes any byte for excess.
        assert split == found or (data[-1:] in b"\r\n" and _content(outcome(method, data[:-1])) == _content(found))
        if len(data) <= SHORT:
            assert _content(outcome(method, *(data[at : at + 1] for at in range(len(data))))) == _content(found)
        other = _by_h11(method, data)
        if "line" in found and other is not None:
            assert (found["line"][0], found["body"]) == other
        if (head := plain_head(method, data)) is not None:
            assert head[0] == found["line"][0] if "line" in found else found["fault"][1] is Stage.BODY


def _content(found: dict[str, Any]) -> dict[str, Any]:
    """All but whether the connection can serve another request: excess bytes that arrive later are seen later."""
    return {name: value for name, value in found.items() if name != "reusable"}


def _by_h11(method: str, data: bytes) -> tuple[int, bytes] | None:
    """Status and body as h11 reads them; None for what it rejects."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while isinstance(head := connection.next_event(), h11.InformationalResponse):
            pass
        if not isinstance(head, h11.Response):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    return (head.status_code, body) if isinstance(event, h11.EndOfMessage) else None


def interim(data: bytes) -> None:
    """What passes does not depend on the pieces, and only bytes of framing fields are missing."""
    whole, piecewise = InterimFilter(1 << 20), InterimFilter(1 << 20)
    passed = whole(data)
    assert b"".join(piecewise(data[at : at + 1]) for at in range(len(data))) == passed
    rest = iter(data)
    assert all(byte in rest for byte in passed)  # a subsequence
    if not re.match(rb"HTTP/1\.[0-9] 1", data):
        assert data.startswith(passed)


def framing(text: str) -> None:
    """Lines of fields: BadFraming, or one length that is a number, or chunks."""
    fields: Fields = [(name, value) for name, _, value in (line.partition(":") for line in text.split("\n"))]
    for _, value in fields:
        _length(value)
    for method, status in (("GET", 200), ("HEAD", 200), ("GET", 304), ("GET", 204)):
        try:
            found = response_framing(method, status, fields)
        except BadFraming:
            continue
        lengths = [value for name, value in fields if name.lower() == "content-length"]
        if found.chunked:
            assert not lengths
        elif found.length:
            assert [int(value) for value in lengths] == [found.length]


def _length(value: str) -> None:
    digits = re.fullmatch(r"[ \t]*([0-9]+)[ \t]*", value)
    found = content_length(value)
    if digits is None:
        assert found is decimal(value, 9) is None
    elif len(digits[1]) < _MOST_DIGITS:
        number = int(digits[1])
        assert found == (number if number <= MAX_LENGTH else None)
        assert decimal(value, 999) == number or (number > 999 and (decimal(value, 999) or 0) > 999)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def probe(data: bytes) -> None:
    """An answer to a health check: one verdict at most, the same for one piece as for many."""
    verdicts = [_loop().run_until_complete(_verdict([data]))]
    if len(data) <= SHORT:
        verdicts.append(_loop().run_until_complete(_verdict([data[at : at + 1] for at in range(len(data))])))
    assert len(set(verdicts)) == 1


async def _verdict(pieces: list[bytes]) -> bool:
    no_searches: Any = Executor()
    exchange = _Exchange(HealthCheck("http"), no_searches)
    for piece in pieces:
        exchange.data_received(piece)
    exchange.connection_lost(None)
    return (await exchange.verdict).ok
