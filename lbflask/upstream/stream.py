"""The contracts of this package: what a connection needs of a socket, of a request and of its body, and what the reader
of a response and the sender of a body need of a connection. No module of the package has to import another for a type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from lbflask.core.faults import Fault, Stage
from lbflask.core.http.field_lines import FieldLines
from lbflask.core.http.framing import Framing
from lbflask.core.http.types import Fields
from lbflask.upstream.exchange_state import ExchangeEvent

NEVER: Final = math.inf
#: Bytes of one read.
READ_SIZE: Final = 65_536


class ExchangeTimeouts(NamedTuple):
    """Seconds until the first byte of the response and between two bytes, and the time of the monotonic clock at which
    the whole request must be over.
    """

    first_byte: float = 60.0
    between_bytes: float = 60.0
    deadline: float = NEVER


class SocketOptions(Protocol):
    """An object with socket options."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        """Set an option, see `socket.setsockopt`."""
        ...


class NetworkStream(SocketOptions, Protocol):
    """The part of a socket that a connection uses. `recv` and `send` block the calling thread or greenlet only."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes; empty at the end of the stream. Raises OSError."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """Send a part of the data; its size. Raises OSError."""
        ...

    def shutdown(self, how: int, /) -> None:
        """End one direction or both, which wakes threads that wait for the socket."""
        ...

    def fileno(self) -> int:
        """The file descriptor."""
        ...

    def setblocking(self, flag: bool, /) -> None:
        """Whether `recv` waits; if not, it raises BlockingIOError instead."""
        ...

    def silent(self) -> bool:
        """Whether no bytes are known to have arrived since the last `recv`. May miss that the peer has closed."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class RequestBody(Protocol):
    """A body to send. Iterating yields non-empty pieces as the client delivers them, and raises the client's Fault."""

    @property
    def whole(self) -> bytes | None:
        """The framed body, if all of it is in memory; it may then be sent more than once."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether all of it is here, so that it may be sent more than once."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether it may be read while another thread or greenlet waits for the response."""
        ...

    @property
    def trailers(self) -> Fields:
        """The trailer fields of a chunked body, once it was read."""
        ...

    def __iter__(self) -> Iterator[bytes]: ...


class BackendAnswer(Protocol):
    """A response as it arrives from a backend."""

    status: int
    reason: str
    trailers: Fields
    framing: Framing
    #: The field lines as they stand in the head, without hop-by-hop ones; None for a head that is not plain.
    lines: FieldLines | None
    early: bytes

    @property
    def complete(self) -> bool:
        """Whether all of the response was read."""
        ...

    @property
    def fields(self) -> Fields:
        """The fields in order, with repeats; those of a plain head without hop-by-hop ones."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Fault at stage BODY when it ends too early."""
        ...

    def arrives_within(self, seconds: float) -> bool:
        """Whether the next piece or the end of the body is here within so many seconds. Raises Fault at stage BODY."""
        ...

    def whole(self) -> bytes | None:
        """The body, if all of it has arrived; else None."""
        ...

    def abandon(self) -> None:
        """End the exchange, because its client has gone. Does nothing once it is complete."""
        ...

    def buffer(self, most: int) -> bool:
        """Wait until all of the body has arrived, or more than `most` bytes of it; whether it is all. `pieces` still
        yields each byte. Raises Fault at stage BODY.
        """
        ...


class UpstreamRequest(Protocol):
    """A request as it is sent to a backend."""

    method: str
    body: RequestBody | None
    framing: Framing
    #: The body is sent after a `100 Continue` (RFC 9110 §10.1.1).
    expects_continue: bool
    #: The Upgrade field of the request; empty for none.
    upgrade: str
    #: Called for each informational response but 100 (RFC 9110 §15.2), with status, reason and fields.
    on_interim: Callable[[int, str, Fields], None] | None
    #: Registers the callback that ends the exchange when the client hangs up.
    on_gone: Callable[[Callable[[], None]], None] | None
    #: Called with the name of each step and its facts, while requests are traced.
    on_step: Callable[..., None] | None

    def head(self) -> bytes:
        """Request line and fields, with the empty line."""
        ...


class ByteSource(Protocol):
    """Where the reader of a response gets its bytes from; it reports the progress of the response there."""

    @property
    def request_sent(self) -> bool:
        """Whether all of the request was sent."""
        ...

    def receive(self, timeout: float, stage: Stage, size: int = READ_SIZE, /) -> bytes:
        """The next bytes, within `timeout` seconds; empty at the end of the stream. Raises Fault at this stage."""
        ...

    def receive_within(self, seconds: float, stage: Stage = Stage.WAIT, /) -> bytes | None:
        """As `receive`, but None when nothing has arrived in time."""
        ...

    def fault(self, stage: Stage, reason: str, /) -> Fault:
        """A Fault of the backend."""
        ...

    def abandon(self, exchange: int, /) -> None:
        """End the exchange of this number, because its client has gone."""
        ...

    def advance(self, event: ExchangeEvent, /) -> None:
        """Record the event."""
        ...


class ByteSink(Protocol):
    """Where the sender of a body sends to."""

    def send_all(self, data: bytes, timeout: float, /) -> None:
        """Send all of the data; the peer must accept some of it every `timeout` seconds. Raises OSError."""
        ...

    def finish_sending(self) -> None:
        """All of the request was sent."""
        ...

    def abort_sending(self, fault: Fault | None, /, *, interrupt: bool) -> None:
        """The rest of the request will not be sent. The exchange fails with the fault, if there is one; `interrupt`
        ends the wait for the response.
        """
        ...
