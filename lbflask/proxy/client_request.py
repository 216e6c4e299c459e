"""A client's request, read out of the WSGI environ: as it came on our own worker, as well as WSGI tells on others.

`lbflask.worker.ProxyWorker` adds the key `lbflask.exchange`, which has what WSGI has no words for; see HostExchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing, content_length
from lbflask.core.http.target import BadTarget, Target, check_host, request_target
from lbflask.core.http.trailers import passable_trailers
from lbflask.upstream.shortage import shortage
from lbflask.upstream.tunnel import TunnelEnd


class ServerExchange(Protocol):
    """What our own worker offers of a request beyond WSGI."""

    method: str
    target: str  #: as it came
    fields: Fields  #: header fields as received: order, case, repeats

    @property
    def protocol(self) -> str:
        """`HTTP/1.1`, or whatever else the client speaks."""
        ...

    @property
    def peer(self) -> tuple[str, str]:
        """The client's address (empty on a unix socket), and the scheme it uses."""
        ...

    @property
    def local(self) -> object:
        """The listener's end of the connection: host and port, or a path."""
        ...

    @property
    def special(self) -> Fields:
        """Host and the framing fields, by their names in capitals, checked as far as one request can be told from the
        next (RFC 9112 §6.3).
        """
        ...

    @property
    def expects_continue(self) -> bool:
        """The client waits for leave to send its body (RFC 9110 §10.1.1); asking for the body gives it."""
        ...

    @property
    def trailers(self) -> Fields:
        """The fields behind a body in chunks, once it was read."""
        ...

    def read_body(self) -> bytes:
        """The next piece as soon as there is one; empty at the end. Another greenlet may be in it when all is over."""
        ...

    def body_at_hand(self) -> bytes | None:
        """All of a body of known length, if it is here already."""
        ...

    def interim(self, status: str, fields: Fields) -> None:
        """Send an interim response. Raises OSError."""
        ...

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Whom to call, once, when the client is seen to have hung up."""
        ...

    def upgrade(self, status: str, fields: Fields) -> tuple[TunnelEnd, bytes]:
        """Send the head of a 101; the connection, and what came early on it, is then the caller's."""
        ...


Environ = dict[str, Any]

#: Stock workers wait until they have as many bytes as they are asked for: as many as one would like to send at once.
_READ_SIZE = 65_536


@dataclass(slots=True)
class ClientRequest:
    """A request as it is to be forwarded, before anything of it was changed."""

    method: str
    raw_target: str
    target: Target
    protocol: str
    fields: Fields
    host: str
    peer: str
    scheme: str
    framing: Framing
    body: ClientBody | None
    host_exchange: ServerExchange | None = None


def read(environ: Environ, body_limit: int) -> ClientRequest:
    """The request as WSGI has it. Raises Fault, with blame CLIENT, for one that must not be forwarded."""
    exchange: ServerExchange | None = environ.get("lbflask.exchange")
    method, raw, protocol = environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"]
    target, host = _whereto(method, raw, protocol, environ.get("HTTP_HOST"))
    framing = _framing(environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH"), body_limit)
    body: ClientBody | None = None
    if exchange is not None:
        body = _body(exchange, framing, body_limit)
    elif framing is not NO_BODY:
        stream = environ["wsgi.input"]
        body = ClientBody(lambda: bytes(stream.read(_READ_SIZE)), framing.length, body_limit)
    return ClientRequest(
        method,
        raw,
        target,
        protocol,
        _fields(environ) if exchange is None else exchange.fields,
        host,
        environ.get("REMOTE_ADDR") or "unix:",
        environ["wsgi.url_scheme"],
        framing,
        body,
        exchange,
    )


def of(exchange: ServerExchange, body_limit: int) -> ClientRequest:
    """The request as our own worker has it. Raises Fault, with blame CLIENT, for one that must not be forwarded."""
    named_host = coding = length = None
    for name, value in exchange.special:
        if name == "HOST":
            named_host = value
        elif name == "CONTENT-LENGTH":
            length = value
        elif name == "TRANSFER-ENCODING":
            coding = value if coding is None else f"{coding},{value}"
    method, raw, protocol = exchange.method, exchange.target, exchange.protocol
    target, host = _whereto(method, raw, protocol, named_host)
    framing = NO_BODY if length is None and coding is None else _framing(coding, length, body_limit)
    peer, scheme = exchange.peer
    body = None if framing is NO_BODY else _body(exchange, framing, body_limit)
    fields = exchange.fields
    return ClientRequest(method, raw, target, protocol, fields, host, peer or "unix:", scheme, framing, body, exchange)


def _whereto(method: str, raw: str, protocol: str, host: str | None) -> tuple[Target, str]:
    """The target for the backend, and the host that the client asked for. Raises Fault."""
    try:
        target = request_target(method, raw)
        if target.authority:
            return target, target.authority  # RFC 9112 §3.2.2: the target's authority replaces the Host
        if host is not None:
            check_host(host)
        elif protocol != "HTTP/1.0":
            raise BadTarget(400, "the Host is missing")
    except BadTarget as bad:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, bad.status, bad.reason) from None
    return target, host or ""


class ClientBody:
    """The body as the client delivers it: non-empty pieces, once. Iterating raises Fault with blame CLIENT.

    `whole` is the body of a known length that was here with the head, and may be sent as often as need be.
    """

    __slots__ = ("_exchange", "_length", "_limit", "_read", "complete", "count", "whole")

    def __init__(
        self,
        read: Callable[[], bytes],
        length: int | None,
        limit: int,
        exchange: ServerExchange | None = None,
        whole: bytes | None = None,
    ) -> None:
        self._read = read
        self._length = length
        self._limit = limit
        self._exchange = exchange
        self.whole = whole
        self.count = 0  #: bytes read
        self.complete = whole is not None

    @property
    def touched(self) -> bool:
        """Whether some of it was read, and could not be sent a second time."""
        return self.count > 0

    @property
    def taken(self) -> int:
        """Bytes that the client has delivered."""
        return self.count if self.whole is None else len(self.whole)

    @property
    def concurrent(self) -> bool:
        """Whether it may be read beside the wait for the response: only our own worker can end such a read."""
        return self._exchange is not None

    @property
    def trailers(self) -> Fields:
        """What may be passed on of the fields behind it, once it was read."""
        return [] if self._exchange is None else passable_trailers(self._exchange.trailers)

    def __iter__(self) -> Iterator[bytes]:
        if self.count:  # by an attempt that had failed, and was found to have read nothing, a moment ago
            raise Fault(Blame.SELF, Stage.SEND, 502, "a part of the client's body was lost with another attempt")
        while self.count != self._length:
            try:
                piece = self._read()
            except TimeoutError:
                raise Fault(Blame.CLIENT, Stage.SEND, 408, "the client stopped sending its body") from None
            except Exception as error:  # noqa: BLE001 - each server has exceptions of its own for wsgi.input
                if (lack := shortage(error, Stage.SEND)) is not None:
                    raise lack from None
                # What stands behind the colon are bytes of the body, which no log may hold.
                what = str(error).partition(":")[0]
                reason = f"the client's body is not well-formed or broke off: {what}"
                raise Fault(Blame.CLIENT, Stage.SEND, 400, reason) from None
            if not piece:
                break
            self.count += len(piece)
            if self._limit and self.count > self._limit:
                reason = f"the body is larger than {self._limit} bytes"
                raise Fault(Blame.CLIENT, Stage.SEND, 413, reason)
            yield piece
        if self._length is not None and self.count != self._length:
            raise Fault(Blame.CLIENT, Stage.SEND, 400, "the client hung up within its body")
        self.complete = True


def _framing(coding: str | None, length: str | None, limit: int) -> Framing:
    """The server has refused ambiguous framing (RFC 9112 §6.3) before.

    NO_BODY itself says that the client named no length: a length of 0 is told to the backend, since some answer 411
    without one (RFC 9110 §8.6). Raises Fault for what is no length, for one beyond the limit, and for a coding under
    the chunks, which nobody would undo (RFC 9112 §6.1).
    """
    if coding:
        if coding.strip(" \t").lower() != "chunked":
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 501, "chunked is the only transfer coding supported")
        return CHUNKED
    if not length:
        return NO_BODY
    size = content_length(length)
    if size is None:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, "the Content-Length is not a number of bytes below 2^63")
    if limit and size > limit:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 413, f"the body is larger than {limit} bytes")
    return Framing(size)


def _body(exchange: ServerExchange, framing: Framing, limit: int) -> ClientBody | None:
    if framing is NO_BODY:
        return None
    whole = None if framing.chunked else exchange.body_at_hand()
    return ClientBody(exchange.read_body, framing.length, limit, exchange, whole)


def _fields(environ: Environ) -> Fields:
    """The header fields as WSGI leaves them: repeats joined, case and order lost (PEP 3333)."""
    fields: Fields = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            fields.append((key[5:].replace("_", "-").title(), value))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            fields.append((key.replace("_", "-").title(), value))
    return fields
