"""The `requests` Session that forwards, and its transport adapter: the only rooms that know `requests`.

A forwarding session has no opinions: no cookie jar, no environment, no redirects, no decoding, no default headers. The
hot path keeps what `session.get_adapter(url)` gives, the same for every URL, and has it `send` a BackendRequest, which
carries the message as it is to appear on the wire; a plain PreparedRequest is understood as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from lbflask.core.faults import Fault
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.model import DEFAULT_PORTS, Address, Backend
from lbflask.core.retry import IDEMPOTENT
from lbflask.upstream.connection import NEVER, ExchangeTimeouts
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.request_body import RequestBody
from lbflask.upstream.response_reader import ResponseReader


class BackendRequest(requests.PreparedRequest):
    """A request as it will stand on the wire: raw target, fields in order and with repeats, and one framing.

    `fresh` asks for a new connection, `deadline` is when all of it must be over (seconds of the steady clock). For the
    rest see `Outgoing`.
    """

    url: str  #: the backend's own, without a path
    address: Address
    host: str
    fresh: bool

    def __init__(  # noqa: PLR0913 - the parts of a message
        self,
        method: str,
        target: str,
        fields: Fields,
        framing: Framing = NO_BODY,
        body: RequestBody | None = None,
        *,
        deadline: float = NEVER,
        expects_continue: bool = False,
        upgrade: str = "",
        on_interim: Callable[[int, str, Fields], None] | None = None,
        on_gone: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        # The base class would only set what is set here, and three things that only a Session would read.
        self.method = method
        self.target = target
        self.fields = fields
        self.framing = framing
        self.body = body  # type: ignore[assignment]
        self.deadline = deadline
        self.expects_continue = expects_continue
        self.upgrade = upgrade
        self.on_interim = on_interim
        self.on_gone = on_gone

    def to(self, backend: Backend, host: str, *, fresh: bool = False, fields: Fields | None = None) -> BackendRequest:
        """The same request, addressed to a backend, which is to be called `host`; `fields` replace those before."""
        if fields is not None:
            self.fields = fields
        self.url = backend.url
        self.address = backend.address
        self.host = host
        self.fresh = fresh
        return self

    @classmethod
    def of(cls, prepared: requests.PreparedRequest) -> BackendRequest:
        """A request that a Session prepared. One to a unix socket asks for `/`: its URL has no room for a target."""
        split = urlsplit(prepared.url or "")
        unix = split.scheme == "unix"
        port = split.port or DEFAULT_PORTS.get(split.scheme, 0)
        address = Address(split.scheme, split.hostname or "localhost", port, split.path if unix else "")
        fields = [(_text(name), _text(value)) for name, value in (prepared.headers or {}).items()]
        fields = [field for field in fields if field[0].lower() not in ("content-length", "transfer-encoding", "host")]
        body: Any = prepared.body
        given: PreparedBody | None = None
        framing = NO_BODY
        if isinstance(body, (str, bytes)):
            encoded = body.encode() if isinstance(body, str) else body
            framing, given = Framing(len(encoded)), PreparedBody(encoded, ())
        elif body is not None:
            framing, given = CHUNKED, PreparedBody(None, body)
        target = "/" if unix else prepared.path_url
        request = cls(prepared.method or "GET", target, fields, framing, given)
        request.address, request.fresh = address, False
        request.host = split.netloc.rpartition("@")[2] or "localhost"
        request.url = f"unix:{address.path}" if unix else f"{split.scheme}://{request.host}"
        return request

    def head(self) -> bytes:
        """The request line and the fields, Host first (RFC 9110 §7.2) and framing last."""
        text = f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.host}\r\n"
        text += "".join([f"{name}: {value}\r\n" for name, value in self.fields])
        if self.framing.chunked:
            text += "Transfer-Encoding: chunked\r\n\r\n"
        elif self.body is not None:
            text += f"Content-Length: {self.framing.length}\r\n\r\n"
        else:
            text += "\r\n"
        return text.encode("latin-1")


@dataclass(frozen=True, slots=True)
class PreparedBody:
    """The body of a request that a program made: all of it, or in pieces."""

    whole: bytes | None
    pieces: Iterable[bytes]
    concurrent: bool = False
    trailers: Fields = field(default_factory=list)

    def __iter__(self) -> Iterator[bytes]:
        return filter(None, self.pieces)  # an empty chunk would end the body (RFC 9112 §7.1)


class BackendResponse(requests.Response):
    """A response whose body has not been read. The first `release` or `close` ends it; another does nothing."""

    def __init__(
        self, request: requests.PreparedRequest, answer: ResponseReader, pool: ConnectionPool, origin: str
    ) -> None:
        if isinstance(request, BackendRequest):
            # What the base class would set for a Session's sake (a cookie jar above all) costs more than the rest.
            self._content = False  # type: ignore[assignment]
            self._content_consumed = False
        else:
            super().__init__()
            self.headers = CaseInsensitiveDict(answer.fields)
        self.request = request
        self.url = request.url or ""
        self.raw = answer
        #: The response as it came: status, reason, fields with repeats, and the pieces of the body.
        self.answer = answer
        self.status_code = answer.status
        self.reason = answer.reason
        self._pool = pool
        self._origin = origin
        self._over = False

    def release(self) -> None:
        """The body has been read: keep the connection if it is fit for another request."""
        if self._over:
            return
        self._over = True
        answer = self.answer
        answer.over = True
        if answer.reusable:
            self._pool.give_back(self._origin, answer.connection)
        else:
            answer.connection.close()

    def close(self) -> None:
        """Nobody wants the rest: close the connection, since draining it could take for ever."""
        if self.answer.complete:
            self.release()
        else:
            self._over = self.answer.over = True
            self.answer.connection.abort()

    def iter_content(
        self,
        chunk_size: int | None = 1,  # noqa: ARG002 - pieces come as the backend sends them
        decode_unicode: bool = False,  # noqa: ARG002
    ) -> Iterator[Any]:
        """The body as it arrives, undecoded; `requests` builds `content` and `text` on this."""
        try:
            yield from self.answer.pieces()
        except Fault:
            self.close()
            raise
        self._content_consumed = True
        self.release()


class BackendAdapter(BaseAdapter):
    """Sends requests over pooled connections. Raises Fault, and nothing else, for what goes wrong on the way."""

    def __init__(self, pool: ConnectionPool, *, between_bytes: float) -> None:
        super().__init__()
        self._pool = pool
        self._between_bytes = between_bytes
        self._timing = ExchangeTimeouts(between_bytes=between_bytes)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 - bodies are always streamed
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002
        cert: Any = None,  # noqa: ARG002
        proxies: Any = None,  # noqa: ARG002
    ) -> BackendResponse:
        """The response once its head is here. `timeout` is (connect, first byte) in seconds."""
        out = request if isinstance(request, BackendRequest) else BackendRequest.of(request)
        connect, first_byte = timeout if isinstance(timeout, tuple) else (timeout or 3.0, timeout or 60.0)
        pool, method = self._pool, out.method or "GET"
        # What can't be sent twice must not meet a closed connection: no other attempt would be allowed.
        body: RequestBody | None = out.body  # type: ignore[assignment]
        careful = method not in IDEMPOTENT or (body is not None and body.whole is None)
        connection = None if out.fresh else pool.take(out.url, careful)
        if out.trace is not None:
            out.trace("connection", reused=connection is not None, to=out.url)
        if connection is None:
            connection = pool.open(out.address, connect)
        timing = self._timing
        if timing.first_byte != first_byte or timing.deadline != out.deadline:
            timing = self._timing = ExchangeTimeouts(first_byte, self._between_bytes, out.deadline)
        try:
            answer = connection.exchange(out, timing)  # type: ignore[arg-type]
        except BaseException:
            connection.close()
            raise
        return BackendResponse(request, answer, pool, out.url)

    def close(self) -> None:
        """Close what is idle."""
        self._pool.close()


def forwarding_session(pool: ConnectionPool, *, between_bytes: float) -> requests.Session:
    """A Session that forwards and adds nothing of its own."""
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.max_redirects = 0
    session.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    adapter = BackendAdapter(pool, between_bytes=between_bytes)
    for scheme in ("http://", "https://", "unix:"):
        session.mount(scheme, adapter)
    return session


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
