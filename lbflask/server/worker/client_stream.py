"""The part of a stream that a client's connection uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class ClientStream(Protocol):
    """What a client's connection needs of its stream; see Stream."""

    sock: Any
    gone: bool

    @property
    def tls_facts(self) -> tuple[str, tuple[tuple[tuple[str, str], ...], ...]]:
        """The version of TLS, and the subject of the client's certificate."""
        ...

    @property
    def client_certificates(self) -> tuple[bytes, ...]:
        """The client's certificate in DER, followed by those that vouch for it."""
        ...

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes; empty at the end."""
        ...

    def recv_at_once(self, size: int, /) -> bytes:
        """Bytes that have arrived."""
        ...

    def peek(self, size: int, /) -> bytes:
        """The next bytes below any TLS, which stay unread; empty at the end."""
        ...

    def take_raw(self, size: int, /) -> None:
        """Discard bytes that were peeked at."""
        ...

    def send(self, data: bytes | memoryview, /) -> int:
        """Send a part of the data; its length."""
        ...

    def send_file(self, fd: int, offset: int, count: int, /) -> int:
        """Send a part of the file; its length, 0 at the end of the file."""
        ...

    def unread(self) -> bool:
        """Whether something has arrived that was not read."""
        ...

    def set_on_gone(self, callback: Callable[[], None] | None, /) -> None:
        """Call it once when the peer closes."""
        ...

    def set_on_blocked(self, callback: Callable[[], None] | None, /) -> None:
        """Call it once when a write is about to wait."""
        ...

    def interrupt(self) -> None:
        """End all waits."""
        ...

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        """As of a socket."""
        ...

    def shutdown(self, how: int, /) -> None:
        """As of a socket."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...
