"""The request of a client, from a ServerExchange of our worker or from the WSGI environ of another one.

`lbflask.worker.ProxyWorker` adds the key `lbflask.exchange` to the environ, a ServerExchange with what WSGI lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing, content_length
from lbflask.core.http.target import BadTarget, Target, check_host, request_target
from lbflask.core.http.trailers import passable_trailers
from lbflask.core.http.types import Fields
from lbflask.upstream.shortage import shortage
from lbflask.upstream.spool import StoredBody
from lbflask.upstream.tunnel import TunnelEnd


class ServerExchange(Protocol):
    """A request on its connection, as our worker has it, with what WSGI lacks."""

    method: str
    target: str  #: as received
    fields: Fields  #: header fields as received: order, case, repeats

    @property
    def protocol(self) -> str:
        """The protocol of the request, such as `HTTP/1.1`."""
        ...

    @property
    def peer(self) -> tuple[str, str]:
        """The client's address (empty on a unix socket), and the scheme."""
        ...

    @property
    def peer_port(self) -> str:
        """The client's port; empty on a unix socket."""
        ...

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """The client's certificate in DER, which is verified, followed by those that vouch for it; empty without."""
        ...

    @property
    def local(self) -> object:
        """The local address of the connection: host and port, or a path."""
        ...

    @property
    def listener(self) -> str:
        """The name of the listener of the connection; empty if the configuration does not know it."""
        ...

    @property
    def special(self) -> Fields:
        """Host and the framing fields, with names in capitals. The framing is checked (RFC 9112 §6.3)."""
        ...

    @property
    def tls_facts(self) -> tuple[str, tuple[tuple[tuple[str, str], ...], ...]]:
        """The version of TLS of the connection, and the subject of the client's certificate, as `ssl` has it; both are
        empty without one.
        """
        ...

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends its body (RFC 9110 §10.1.1); reading the body sends it."""
        ...

    @property
    def trailers(self) -> Fields:
        """The fields after a chunked body, once it has been read."""
        ...

    def read_body(self) -> bytes:
        """The next piece, once one arrives; empty at the end. Another greenlet may be in it when the exchange ends."""
        ...

    def body_at_hand(self) -> bytes | None:
        """All of a body of known length, if it has arrived already."""
        ...

    def on_blocked(self, callback: Callable[[], None]) -> None:
        """Set the function that is called, once, when a write of the response has to wait for the client. It must not
        block.
        """
        ...

    def limit_upload(self, until: float) -> None:
        """Reads of the body end by then, in seconds of the monotonic clock: they raise TimeoutError with the reason."""
        ...

    def limit_rates(self, request: float, response: float, grace: float) -> None:
        """The client must send its body, and take the response, at these bytes per second on average, of the time for
        which it is waited for; 0 for no least rate. The first `grace` seconds of waiting are free.
        """
        ...

    def interim(self, status: str, fields: Fields) -> None:
        """Send an informational response. Raises OSError."""
        ...

    def on_gone(self, callback: Callable[[], None] | None) -> None:
        """Set the function that is called, once, when the client hangs up; None removes it."""
        ...

    def upgrade(self, status: str, fields: Fields) -> tuple[TunnelEnd, bytes]:
        """Send the head of a 101. The caller then owns the connection, with the bytes that arrived early on it."""
        ...


Environ = dict[str, Any]

#: Bytes of a read. Stock workers wait until they have all of them, so it is the size of one good write.
_READ_SIZE: Final = 65_536
_LOST: Final = "a part of the client's body was lost with another attempt"


@dataclass(slots=True, init=False)
class ClientRequest:
    """A request as it arrived. Nobody changes it; it is not frozen, since that would triple its cost.

    `peer` is the address of the connection's other end, `unix:` for a unix socket. `listener` is the label of the
    listener of the connection (config/listeners.py).
    """

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
    server_exchange: ServerExchange | None
    listener: str

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a request
        self,
        method: str,
        raw_target: str,
        target: Target,
        protocol: str,
        fields: Fields,
        host: str,
        peer: str,
        scheme: str,
        framing: Framing,
        body: ClientBody | None,
        server_exchange: ServerExchange | None = None,
        listener: str = "",
    ) -> None:
        self.method = method
        self.raw_target = raw_target
        self.target = target
        self.protocol = protocol
        self.fields = fields
        self.host = host
        self.peer = peer
        self.scheme = scheme
        self.framing = framing
        self.body = body
        self.server_exchange = server_exchange
        self.listener = listener

    def with_fields(self, fields: Fields) -> ClientRequest:
        """The same request, with its body, and with these fields. Host and framing stay as they arrived."""
        return ClientRequest(
            self.method, self.raw_target, self.target, self.protocol, fields, self.host, self.peer, self.scheme,
            self.framing, self.body, self.server_exchange, self.listener,
        )  # fmt: skip

    @property
    def received_fields(self) -> Fields:
        """The fields that the client has sent, without those that a check of credentials has added for backends."""
        return self.fields

    @property
    def user(self) -> str:
        """The name of the user, as a check of credentials has found it; empty without one."""
        return ""

    def __repr__(self) -> str:
        return f"ClientRequest({self.method} {self.target.text.partition('?')[0]} from {self.peer}, {self.body!r})"


def from_environ(environ: Environ) -> ClientRequest:
    """The request of a WSGI environ. Raises Fault, with blame CLIENT, for one that must not be forwarded."""
    exchange: ServerExchange | None = environ.get("lbflask.exchange")
    method, raw, protocol = environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"]
    target, host = _target_and_host(method, raw, protocol, environ.get("HTTP_HOST"))
    framing = _framing(environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH"))
    body: ClientBody | None = None
    if exchange is not None:
        body = _body(exchange, framing)
    elif framing is not NO_BODY:
        stream = environ["wsgi.input"]
        body = ClientBody(lambda: bytes(stream.read(_READ_SIZE)), framing.length)
    return ClientRequest(
        method=method,
        raw_target=raw,
        target=target,
        protocol=protocol,
        fields=_fields(environ) if exchange is None else exchange.fields,
        host=host,
        peer=environ.get("REMOTE_ADDR") or "unix:",
        scheme=environ["wsgi.url_scheme"],
        framing=framing,
        body=body,
        server_exchange=exchange,
        listener=environ.get("lbflask.listener", "") if exchange is None else exchange.listener,
    )


def from_exchange(exchange: ServerExchange) -> ClientRequest:
    """The request of an exchange of our worker. Raises Fault, with blame CLIENT, for one that must not be forwarded."""
    host_field = coding = length = None
    for name, value in exchange.special:
        if name == "HOST":
            host_field = value
        elif name == "CONTENT-LENGTH":
            length = value
        elif name == "TRANSFER-ENCODING":
            coding = value if coding is None else f"{coding},{value}"
    method, raw, protocol = exchange.method, exchange.target, exchange.protocol
    target, host = _target_and_host(method, raw, protocol, host_field)
    framing = NO_BODY if length is None and coding is None else _framing(coding, length)
    peer, scheme = exchange.peer
    body = None if framing is NO_BODY else _body(exchange, framing)
    # By position: keywords would cost a hundredth of the whole request.
    return ClientRequest(
        method, raw, target, protocol, exchange.fields, host, peer or "unix:", scheme, framing, body, exchange,
        exchange.listener,
    )  # fmt: skip


def _target_and_host(method: str, raw: str, protocol: str, host: str | None) -> tuple[Target, str]:
    """The target for the backend, and the host that the client asks for. Raises Fault."""
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
    """The body of a client request: non-empty pieces, once. Iterating raises Fault with blame CLIENT.

    `whole` is a body of known length that is in memory, since it arrived with the head or was stored; it may be sent
    more than once. So may a body that was stored whole in a file.
    """

    __slots__ = (
        "_exchange", "_is_stored", "_length", "_limit", "_read", "_stored", "_trailer_rule", "_unstored", "complete",
        "count", "whole",
    )  # fmt: skip

    def __init__(
        self,
        read: Callable[[], bytes],
        length: int | None,
        exchange: ServerExchange | None = None,
        whole: bytes | None = None,
    ) -> None:
        self._read = read
        self._length = length
        self._limit = 0
        self._exchange = exchange
        self.whole = whole
        self.count = 0  #: bytes read
        self.complete = whole is not None
        self._stored: StoredBody | None = None
        self._is_stored = False  # all of it
        self._unstored: Iterator[bytes] | None = None  # what has not been stored
        self._trailer_rule: Callable[[Fields], Fields] | None = None

    def set_limit(self, limit: int) -> None:
        """Allow at most so many bytes. Raises Fault, with status 413, for a body that is known to be longer."""
        self._limit = limit
        if self._length is not None and self._length > limit:
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 413, f"the body is larger than {limit} bytes")

    def set_trailer_rule(self, passable: Callable[[Fields], Fields]) -> None:
        """Pass on only those trailer fields that `passable` returns."""
        self._trailer_rule = passable

    @property
    def touched(self) -> bool:
        """Whether part of it has been read and is gone, so that it can't be sent again."""
        return self.count > 0 and not self._is_stored and self._unstored is None

    @property
    def repeatable(self) -> bool:
        """Whether all of it is here, so that it may be sent more than once."""
        return self.whole is not None or self._is_stored

    @property
    def received(self) -> int:
        """Bytes that have arrived from the client."""
        return self.count if self.whole is None else len(self.whole)

    @property
    def concurrent(self) -> bool:
        """Whether it may be read while the response is awaited: only our worker can interrupt a read of the client."""
        return self._exchange is not None or self.repeatable

    @property
    def trailers(self) -> Fields:
        """The trailer fields that may be passed on, once it has been read."""
        found = [] if self._exchange is None else passable_trailers(self._exchange.trailers)
        return found if self._trailer_rule is None else self._trailer_rule(found)

    def __repr__(self) -> str:
        length = "chunked" if self._length is None else f"{self._length} bytes"
        return f"ClientBody({length}, {self.received} received)"

    def store(self, stored: StoredBody, late: Callable[[], bool]) -> bool:
        """Read it into `stored` until it is there whole, which is returned, or until there is no room for more. What is
        stored may be sent more than once; the rest is then read as it arrives.

        Raises Fault as iterating does, and when the request is `late` for its deadline.
        """
        self._stored = stored
        pieces = self._arriving()
        for piece in pieces:
            if late():
                raise Fault(Blame.CLIENT, Stage.SEND, 408, "the request took too long to arrive")
            if not stored.add(piece):
                self._unstored = chain((piece,), pieces)
                return False
        self._is_stored = True
        if not self.trailers:
            self.whole = stored.whole()
        return True

    def release(self) -> None:
        """Nobody sends it any more: give back what it was stored in."""
        if self._stored is not None:
            self._stored.close()

    def __iter__(self) -> Iterator[bytes]:
        return self._arriving() if self._stored is None else self._from_start(self._stored)

    def _from_start(self, stored: StoredBody) -> Iterator[bytes]:
        yield from stored.pieces()
        if not self._is_stored:
            rest, self._unstored = self._unstored, None
            if rest is None:
                raise Fault(Blame.SELF, Stage.SEND, 502, _LOST)
            yield from rest

    def _arriving(self) -> Iterator[bytes]:
        if self.count:  # a failed attempt has read a part of it after the retry was decided
            raise Fault(Blame.SELF, Stage.SEND, 502, _LOST)
        while self.count != self._length:
            try:
                piece = self._read()
            except TimeoutError as error:
                reason = str(error) or "the client stopped sending its body"
                raise Fault(Blame.CLIENT, Stage.SEND, 408, reason) from None
            except Exception as error:  # noqa: BLE001 - each server has exceptions of its own for wsgi.input
                if (lack := shortage(error, Stage.SEND)) is not None:
                    raise lack from None
                # The text after the colon has bytes of the body, which no log may contain.
                summary = str(error).partition(":")[0]
                reason = f"the client's body is not well-formed or broke off: {summary}"
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


def _framing(coding: str | None, length: str | None) -> Framing:
    """The framing of a request whose ambiguous framing the server has refused before (RFC 9112 §6.3).

    NO_BODY means that the client sent no length: a length of 0 is forwarded, since some backends answer 411 without one
    (RFC 9110 §8.6). Raises Fault for an invalid length, and for a transfer coding besides chunked, which no
    one would decode (RFC 9112 §6.1).
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
    return Framing(size)


def _body(exchange: ServerExchange, framing: Framing) -> ClientBody | None:
    if framing is NO_BODY:
        return None
    whole = None if framing.chunked else exchange.body_at_hand()
    return ClientBody(exchange.read_body, framing.length, exchange, whole)


def _fields(environ: Environ) -> Fields:
    """The header fields of a WSGI environ: repeats joined, case and order lost (PEP 3333)."""
    fields: Fields = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            fields.append((key[5:].replace("_", "-").title(), value))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            fields.append((key.replace("_", "-").title(), value))
    return fields
