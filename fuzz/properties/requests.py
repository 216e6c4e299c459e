"""Client requests: heads, bodies and targets."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

import h11
from gunicorn.config import Config
from gunicorn.http import errors

from devtools.parsers import PARSERS
from lbflask.core.http import paths
from lbflask.core.http.target import BadTarget, check_host, host_of, request_target
from lbflask.core.route_match import RouteMatch
from lbflask.core.routing import MOST_READINGS, AmbiguousPath, Route, RouteTable
from lbflask.server.worker.client_connection import ClientConnection, ClientTimeouts
from lbflask.server.worker.request_reader import read_request
from lbflask.server.worker.settings import freeze

#: The fields that gunicorn checks. Its parser in Python keeps all others beside them.
CHECKED = {"CONTENT-LENGTH", "TRANSFER-ENCODING", "CONNECTION", "EXPECT", "HOST", "CONTENT-TYPE"}
#: Bytes of an input that is also read byte by byte.
SHORT = 300
#: Fields that h11 writes anew.
_FRAMING = {"content-length", "transfer-encoding"}
_ORDINARY = re.compile(r"[!-~]+").fullmatch
_ROUTES = RouteTable(
    [
        Route("all", RouteMatch()),
        Route("api", RouteMatch(paths=("/api",))),
        Route("admin", RouteMatch(("*.example.com",), ("/api/admin",), frozenset({"GET"}), (("x-a", None),))),
    ]
)


class Pieces:
    """A stream on which these pieces have arrived, and then the end."""

    gone = False

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)
        self.sock = self

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return self.left.pop(0) if self.left else b""

    def getsockname(self) -> str:
        return "/run/unix.sock"

    def set_on_gone(self, callback: Callable[[], None] | None) -> None:
        """Nobody leaves."""


@cache
def limits(parser: str, *, any_method: bool = False) -> Any:
    """gunicorn's settings for one of its parsers."""
    config = Config()
    config.set("http_parser", parser)
    config.set("permit_unconventional_http_method", any_method)
    return freeze(config)


def outcome(settings: Any, *pieces: bytes) -> object:
    """All that is known of a request, with the bytes behind it; None for one that is rejected."""
    stream = Pieces(*pieces)
    client = ClientConnection(stream, ("127.0.0.1", 5555), ClientTimeouts())
    client.await_request(1)
    try:
        request = read_request(settings, client)
        body = request.message.body.read() if request.has_body else b""
    except (errors.ParseException, errors.NoMoreData, StopIteration):
        return None
    trailers = [] if request.message is None else list(request.message.trailers)
    checked = [field for field in request.special if field[0] in CHECKED]
    return (
        (request.method, request.target, request.version, request.fields, checked),
        (request.closes, request.has_body, body, trailers),
        client.reader.take_buffered() + b"".join(stream.left),
    )


def request(data: bytes) -> None:
    """Each parser reads it alike in one piece, in two and in many, and as h11 does where both accept it."""
    if not data:
        return
    settings = [limits(parser) for parser in PARSERS] + [limits("python", any_method=True)]
    for each in settings:
        found: Any = outcome(each, data)
        assert outcome(each, data[:1], data[1:]) == found
        if len(data) <= SHORT:
            assert outcome(each, *(data[at : at + 1] for at in range(len(data)))) == found
        other = _by_h11(data)
        if found is not None and other is not None:
            (method, target, _, fields, _), (_, _, body, trailers), rest = found
            assert (method, target, _comparable(fields), body, _comparable(trailers), rest) == other


def _comparable(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields without differences that are intended: case, framing fields, and names with underscores."""
    lower = ((name.lower(), value.strip(" \t")) for name, value in fields)
    return [field for field in lower if field[0] not in _FRAMING and "_" not in field[0]]


def _by_h11(data: bytes) -> object:
    """The same as h11 reads it; None for what it rejects, and for a request whose end is missing."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        head = connection.next_event()
        if not isinstance(head, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    fields, trailers = (
        [(name.decode(), value.decode("latin-1")) for name, value in part.headers] for part in (head, event)
    )
    method, target = head.method.decode(), head.target.decode("latin-1")
    return method, target, _comparable(fields), body, _comparable(trailers), connection.trailing_data[0]


def target(text: str) -> None:
    """Method and target, with a blank between: rejected, or a part of it, as urllib splits it."""
    method, _, raw = text.partition(" ")
    try:
        found = request_target(method, raw)
    except BadTarget as bad:
        assert bad.status in (400, 501)
        return
    assert found.text == "*" or found.text.startswith("/")
    assert raw.endswith((found.text, found.text[1:]))
    if found.authority:
        check_host(found.authority)
        try:
            split = urlsplit(raw) if _ORDINARY(raw) else None
        except ValueError:
            split = None  # an address in brackets that is none: IPv6 of later versions
        if split is not None:
            assert split.netloc == found.authority
            assert split.path + "?" * ("?" in raw) + split.query in (found.text, found.text[1:], "")
    if found.text != "*":
        _path(found.text.partition("?")[0])


def _path(path: str) -> None:
    """Readings are bounded where they are used, an ordinary path has one, and dots resolve as posixpath does it."""
    readings = list(islice(paths.readings(path), MOST_READINGS + 1))
    assert paths.is_odd(path) or readings == [path]
    plain = paths.without_dots(path)
    assert "/../" not in plain
    assert "/./" not in plain
    if "//" not in path:
        assert (plain.rstrip("/") or "/") == posixpath.normpath(path)
    if not re.search(r"%(?:2F|5C|3B|3F|23|00)", path, re.IGNORECASE):
        assert paths.plain_path(path) == unquote(path, "latin-1")
    assert paths.with_prefix(path, 0, "") == path
    assert paths.with_prefix(path, 1, "/x").startswith("/x")
    try:
        number = _ROUTES.find("a.example.com", path, "GET", [("X-A", "b")])
    except AmbiguousPath:
        assert paths.is_odd(path)
    else:
        assert number in (0, 1, 2)


def host(text: str) -> None:
    """The value of Host: rejected, or one host in any case, with a port or without."""
    try:
        check_host(text)
    except BadTarget as bad:
        assert bad.status == 400
        return
    found = host_of(text)
    assert host_of(text.upper()) == host_of(text.lower()) == found
    if ":" not in text.rpartition("]")[2]:
        assert host_of(f"{text}:80") == found
