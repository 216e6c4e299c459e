"""A client's request, read out of the WSGI environ: as it came on our own worker, as well as WSGI tells on others.

Keys that `lbflask.worker.ProxyWorker` adds: `lbflask.fields` (header fields as received: order, case, repeats),
`lbflask.read_body` (the next piece of the body as soon as there is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.fields import Fields
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.target import BadTarget, Target, check_host, request_target

Environ = dict[str, Any]

#: Stock workers wait until they have as many bytes as they are asked for: as many as one would like to send at once.
_READ_SIZE = 65_536


@dataclass(slots=True)
class Inbound:
    """A request as it is to be forwarded, before anything of it was changed."""

    method: str
    raw_target: str
    target: Target
    protocol: str
    fields: Fields
    host: str
    peer: str
    port: str
    scheme: str
    framing: Framing
    body: ClientBody | None


def read(environ: Environ, body_limit: int) -> Inbound:
    """The request. Raises Fault, with blame CLIENT, for one that must not be forwarded."""
    fields = environ.get("lbflask.fields")
    if fields is None:
        fields = _fields(environ)
    method, raw = environ["REQUEST_METHOD"], environ["RAW_URI"]
    host = environ.get("HTTP_HOST")
    protocol = environ["SERVER_PROTOCOL"]
    try:
        target = request_target(method, raw)
        if target.authority:
            host = target.authority  # RFC 9112 §3.2.2: the target's authority replaces the Host
        elif host is not None:
            check_host(host)
        elif protocol != "HTTP/1.0":
            raise BadTarget(400, "the Host is missing")
    except BadTarget as bad:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, bad.status, bad.reason) from None
    framing = _framing(environ)
    if body_limit and (framing.length or 0) > body_limit:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 413, f"the body is larger than {body_limit} bytes")
    return Inbound(
        method,
        raw,
        target,
        protocol,
        fields,
        host or "",
        environ.get("REMOTE_ADDR") or "unix:",
        environ.get("SERVER_PORT") or "",
        environ["wsgi.url_scheme"],
        framing,
        None if framing is NO_BODY else ClientBody(_reader(environ), framing.length, body_limit),
    )


class ClientBody:
    """The body as the client delivers it: non-empty pieces, once. Iterating raises Fault with blame CLIENT."""

    __slots__ = ("_length", "_limit", "_read", "complete", "count")

    def __init__(self, read: Callable[[], bytes], length: int | None, limit: int) -> None:
        self._read = read
        self._length = length
        self._limit = limit
        self.count = 0  #: bytes read
        self.complete = False

    @property
    def touched(self) -> bool:
        """Whether some of it was read, and could not be sent a second time."""
        return self.count > 0

    def __iter__(self) -> Iterator[bytes]:
        while self.count != self._length:
            try:
                piece = self._read()
            except TimeoutError:
                raise Fault(Blame.CLIENT, Stage.SEND, 408, "the client stopped sending its body") from None
            except Exception as error:  # noqa: BLE001 - each server has exceptions of its own for wsgi.input
                reason = f"the client's body is not well-formed or broke off: {error}"
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


def _framing(environ: Environ) -> Framing:
    """The server has refused ambiguous framing (RFC 9112 §6.3) before it built the environ.

    NO_BODY itself says that the client named no length: a length of 0 is told to the backend, since some answer 411
    without one (RFC 9110 §8.6). Raises Fault for a coding under the chunks, which nobody would undo (RFC 9112 §6.1).
    """
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding:
        if coding.strip(" \t").lower() != "chunked":
            raise Fault(Blame.CLIENT, Stage.CHOOSE, 501, "chunked is the only transfer coding supported")
        return CHUNKED
    length = environ.get("CONTENT_LENGTH")
    return Framing(int(length)) if length else NO_BODY


def _reader(environ: Environ) -> Callable[[], bytes]:
    read = environ.get("lbflask.read_body")
    if read is not None:
        reader: Callable[[], bytes] = read
        return reader
    stream = environ["wsgi.input"]
    return lambda: bytes(stream.read(_READ_SIZE))


def _fields(environ: Environ) -> Fields:
    """The header fields as WSGI leaves them: repeats joined, case and order lost (PEP 3333)."""
    fields: Fields = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            fields.append((key[5:].replace("_", "-").title(), value))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            fields.append((key.replace("_", "-").title(), value))
    return fields
