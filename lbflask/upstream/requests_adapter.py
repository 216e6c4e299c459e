"""The only module that uses `requests`: a Session for forwarding, and its transport adapter.

A forwarding session changes nothing: no cookie jar, no environment, no redirects, no decoding, no default headers. The
hot path keeps the adapter that `session.get_adapter(url)` returns, the same for every URL, and calls its `send` with a
BackendRequest, which holds the message as it is sent; a plain PreparedRequest is accepted too.
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
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.types import Fields
from lbflask.core.model import DEFAULT_PORTS, Address, Backend
from lbflask.core.retry import IDEMPOTENT
from lbflask.upstream.connection import UpstreamConnection
from lbflask.upstream.connection_pool import ConnectionPool
from lbflask.upstream.response_reader import ResponseReader
from lbflask.upstream.stream import NEVER, ExchangeTimeouts, NetworkStream, RequestBody


class BackendRequest(requests.PreparedRequest):
    """A request as it is sent: raw target, fields in order and with repeats, and one framing.

    `fresh` asks for a new connection; `deadline` is the end of the whole request, in seconds of the monotonic clock.
    For the rest see `UpstreamRequest`.
    """

    url: str  #: of the backend, without a path
    address: Address
    host: str
    fresh: bool

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a message
        self,
        method: str,
        target: str,
        fields: Fields,
        framing: Framing = NO_BODY,
        body: RequestBody | None = None,
        deadline: float = NEVER,
        expects_continue: bool = False,
        upgrade: str = "",
        on_interim: Callable[[int, str, Fields], None] | None = None,
        on_gone: Callable[[Callable[[], None]], None] | None = None,
        on_step: Callable[..., None] | None = None,
    ) -> None:
        # Not the base class, which would also set three attributes that only a Session reads.
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
        self.on_step = on_step

    def to(self, backend: Backend, host: str, fresh: bool = False, fields: Fields | None = None) -> BackendRequest:
        """The same request, addressed to a backend, with `host` in its Host field; `fields` replace those before."""
        if fields is not None:
            self.fields = fields
        self.url = backend.url
        self.address = backend.address
        self.host = host
        self.fresh = fresh
        return self

    @classmethod
    def of(cls, prepared: requests.PreparedRequest) -> BackendRequest:
        """A request that a Session prepared. The target for a unix socket is `/`: its URL cannot contain one."""
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
        lines = [f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.host}", *map(": ".join, self.fields)]
        if self.framing.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body is not None:
            lines.append(f"Content-Length: {self.framing.length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True, slots=True)
class PreparedBody:
    """The body of a PreparedRequest: in one piece, or as an iterable."""

    whole: bytes | None
    pieces: Iterable[bytes]
    concurrent: bool = False
    trailers: Fields = field(default_factory=list)

    def __iter__(self) -> Iterator[bytes]:
        return filter(None, self.pieces)  # an empty chunk would end the body (RFC 9112 §7.1)


class BackendResponse(requests.Response):
    """A response whose body has not been read. The first `release` or `close` ends it; later calls do nothing."""

    # What the base class sets in each instance.
    _content: Any = False
    _content_consumed = False
    _released = False

    def __init__(
        self,
        request: requests.PreparedRequest,
        answer: ResponseReader,
        connection: UpstreamConnection,
        pool: ConnectionPool,
        origin: str,
    ) -> None:
        # Without the attributes for a Session, above all a cookie jar, which cost more than all others.
        if not isinstance(request, BackendRequest):
            super().__init__()
            self.headers = CaseInsensitiveDict(answer.fields)
        self.request = request
        self.url = request.url or ""
        self.raw = answer
        #: The response as it arrived: status, reason, fields with repeats, and the pieces of the body.
        self.answer = answer
        self._connection = connection
        self.status_code = answer.status
        self.reason = answer.reason
        self._pool = pool
        self._origin = origin

    @property
    def network_stream(self) -> NetworkStream:
        """The stream of the connection, for a tunnel."""
        return self._connection.stream

    def release(self) -> None:
        """The body was read: keep the connection if it may carry another request."""
        if self._released:
            return
        self._released = True
        self._pool.give_back(self._origin, self._connection)

    def close(self) -> None:
        """End the response. An unread rest is not drained, which could take for ever: the connection is closed."""
        if self.answer.complete:
            self.release()
        else:
            self._released = True
            self._connection.abort()

    def iter_content(
        self,
        chunk_size: int | None = 1,  # noqa: ARG002 - pieces are passed as they arrive
        decode_unicode: bool = False,  # noqa: ARG002
    ) -> Iterator[Any]:
        """The body as it arrives, not decoded; the basis of `content` and `text` in `requests`."""
        try:
            yield from self.answer.pieces()
        except Fault:
            self.close()
            raise
        self._content_consumed = True
        self.release()


class BackendAdapter(BaseAdapter):
    """Sends requests over pooled connections. Every failure is a Fault."""

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
        """The response, once its head has arrived. `timeout` is (connect, first byte) in seconds."""
        out = request if isinstance(request, BackendRequest) else BackendRequest.of(request)
        connect, first_byte = timeout if isinstance(timeout, tuple) else (timeout or 3.0, timeout or 60.0)
        pool = self._pool
        # A request that may not be retried must not use a connection that the backend has closed.
        body: RequestBody | None = out.body  # type: ignore[assignment]
        check_alive = out.method not in IDEMPOTENT or (body is not None and body.whole is None)
        connection = None if out.fresh else pool.take(out.url, check_alive)
        if out.on_step is not None:
            out.on_step("connection", reused=connection is not None, to=out.url)
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
        return BackendResponse(request, answer, connection, pool, out.url)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


def forwarding_session(pool: ConnectionPool, *, between_bytes: float) -> requests.Session:
    """A Session that forwards, and adds nothing."""
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
