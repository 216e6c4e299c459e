"""The only module that uses `requests`: a Session for forwarding, and its transport adapter.

A forwarding session changes nothing: no cookie jar, no environment, no redirects, no decoding, no default headers. The
hot path keeps the transport of the adapter that `session.get_adapter(url)` returns, the same for every URL: a message
needs no PreparedRequest to be sent, and no Response to be received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from lbflask.core.model import DEFAULT_PORTS, Address
from lbflask.upstream.backend_request import BackendRequest
from lbflask.upstream.backend_transport import BackendResponse, BackendTransport
from lbflask.upstream.connection_pool import MAX_AGE, MAX_IDLE, MAX_KEPT, UNLIMITED, ConnectionPool
from lbflask.upstream.stream import NEVER


@dataclass(frozen=True, slots=True)
class PreparedBody:
    """The body of a PreparedRequest: in one piece, or as an iterable."""

    whole: bytes | None
    pieces: Iterable[bytes]
    concurrent: bool = False
    trailers: Fields = field(default_factory=list)

    @property
    def repeatable(self) -> bool:
        """As of RequestBody."""
        return self.whole is not None

    def __iter__(self) -> Iterator[bytes]:
        return filter(None, self.pieces)  # an empty chunk would end the body (RFC 9112 §7.1)


class PreparedResponse(requests.Response):
    """The response to a PreparedRequest, whose body has not been read."""

    def __init__(self, request: requests.PreparedRequest, response: BackendResponse) -> None:
        super().__init__()
        answer = response.answer
        self.headers = CaseInsensitiveDict(answer.fields)
        self.request = request
        self.url = request.url or ""
        self.raw = answer
        self.status_code = answer.status
        self.reason = answer.reason
        self._response = response

    def close(self) -> None:
        """As of BackendResponse."""
        self._response.close()

    def iter_content(
        self,
        chunk_size: int | None = 1,  # noqa: ARG002 - pieces are passed as they arrive
        decode_unicode: bool = False,  # noqa: ARG002
    ) -> Iterator[Any]:
        """The body as it arrives, not decoded; the basis of `content` and `text` in `requests`."""
        try:
            yield from self._response.answer.pieces()
        except Fault:
            self.close()
            raise
        self._content_consumed = True
        self._response.release()


class BackendAdapter(BaseAdapter):
    """Sends the requests of a Session by `transport`. Every failure is a Fault."""

    def __init__(self, transport: BackendTransport) -> None:
        super().__init__()
        self.transport = transport

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 - bodies are always streamed
        timeout: Any = None,
        verify: Any = True,  # noqa: ARG002
        cert: Any = None,  # noqa: ARG002
        proxies: Any = None,  # noqa: ARG002
    ) -> PreparedResponse:
        """The response, once its head has arrived. `timeout` is (connect, first byte) in seconds."""
        timeouts = timeout if isinstance(timeout, tuple) else (timeout or 3.0, timeout or 60.0)
        return PreparedResponse(request, self.transport.send(_outgoing(request), timeouts))

    def close(self) -> None:
        """Close the idle connections."""
        self.transport.close()


def forwarding_session(
    pool: ConnectionPool,
    *,
    between_bytes: float,
    max_idle: float = MAX_IDLE,
    max_kept: int = MAX_KEPT,
    per_attempt: float = NEVER,
    max_age: float = MAX_AGE,
    max_requests: int = UNLIMITED,
) -> requests.Session:
    """A Session that forwards, and adds nothing. The settings are those of its BackendTransport."""
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.max_redirects = 0
    session.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    adapter = BackendAdapter(
        BackendTransport(
            pool,
            between_bytes=between_bytes,
            max_idle=max_idle,
            max_kept=max_kept,
            per_attempt=per_attempt,
            max_age=max_age,
            max_requests=max_requests,
        )
    )
    for scheme in ("http://", "https://", "unix:"):
        session.mount(scheme, adapter)
    return session


def _outgoing(prepared: requests.PreparedRequest) -> BackendRequest:
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
    request = BackendRequest(prepared.method or "GET", target, fields, framing, given)
    host = split.netloc.rpartition("@")[2] or "localhost"
    request.set_destination(f"unix:{address.path}" if unix else f"{split.scheme}://{host}", address, host)
    return request


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
