"""Rules of buffering: which bodies are stored here on their way, and how a stored body is framed.

A buffer stands between a slow client and a backend that has few workers. It never delays what can be sent, and what
does not fit into it streams, as without a buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.framing import CHUNKED, Framing
from lbflask.core.http.media_types import EVENT_STREAM, bare_type
from lbflask.core.http.types import Fields


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """The bytes of one body that a buffer holds: `memory` in memory, and behind them `spool` in a file."""

    memory: int
    spool: int = 0

    @property
    def total(self) -> int:
        """The bytes of one body in memory and in the file together."""
        return self.memory + self.spool


@dataclass(frozen=True, slots=True)
class BodyRates:
    """Bytes per second that clients must at least send of a request body, and take of a response; 0 for no least rate.
    A body has `grace` seconds of waiting for the client before its rate counts.
    """

    request: float = 0.0
    response: float = 0.0
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class BufferingPolicy:
    """What is buffered of requests and of responses, and the least rates of both; None for nothing. A pool without any
    of them needs no policy.
    """

    requests: BufferLimits | None = None
    responses: BufferLimits | None = None
    rates: BodyRates | None = None


def is_storable(limits: BufferLimits, framing: Framing) -> bool:
    """Whether the body of a request may fit into the buffer. One whose length says that it will not fit streams from
    its first byte on: to wait until the buffer is full would only delay it.
    """
    return framing.length is None or framing.length <= limits.total


def stored_framing(size: int, trailers: Fields) -> Framing:
    """The framing of a body that is stored whole.

    Its length is known now, and many servers of applications take a length only. Chunks remain for a body with trailer
    fields, which can follow nothing else (RFC 9112 §7.1.2).
    """
    return CHUNKED if trailers else Framing(size)


def is_buffered(fields: Fields) -> bool:
    """Whether a response with these fields may be buffered: not a stream of events, and nothing
    that the backend sends with `X-Accel-Buffering: no`, the field by which applications turn buffering off in nginx.
    """
    for name, value in fields:
        lower = name.lower()
        if lower == "x-accel-buffering" and value.strip().lower() == "no":
            return False
        if lower == "content-type" and bare_type(value) == EVENT_STREAM:
            return False
    return True


class BufferBudget:
    """The bytes that all buffers of a worker hold, and the most that they may. It has no lock: callers have one.

    Memory and file are two counts. A claim is granted whole, or not at all.
    """

    def __init__(self, memory: int, spool: int) -> None:
        self.most_memory, self.most_spool = memory, spool
        self.memory = 0  #: bytes in memory
        self.spool = 0  #: bytes of spool files

    def __repr__(self) -> str:
        return f"BufferBudget(memory {self.memory} of {self.most_memory}, spool {self.spool} of {self.most_spool})"

    def set_limits(self, memory: int, spool: int) -> None:
        """Grant up to so many bytes from now on. What is held stays held."""
        self.most_memory, self.most_spool = memory, spool

    def claim_memory(self, size: int) -> bool:
        """Count so many more bytes in memory, if they may be there."""
        if self.memory + size > self.most_memory:
            return False
        self.memory += size
        return True

    def claim_spool(self, size: int) -> bool:
        """Count so many more bytes of spool files, if they may be there."""
        if self.spool + size > self.most_spool:
            return False
        self.spool += size
        return True

    def add_memory(self, size: int) -> None:
        """Count bytes in memory that must be there in any case: the piece that is on its way, of a full buffer."""
        self.memory += size

    def release(self, memory: int, spool: int) -> None:
        """So many bytes are no longer held."""
        self.memory -= memory
        self.spool -= spool
