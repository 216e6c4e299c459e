"""A request to a backend as tests write it: its head byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.types import Fields
from lbflask.upstream.requests_adapter import PreparedBody
from lbflask.upstream.stream import RequestBody


@dataclass
class RawRequest:
    """What a connection is to send; see `UpstreamRequest`."""

    method: str
    raw: bytes
    body: RequestBody | None = None
    framing: Framing = NO_BODY
    expects_continue: bool = False
    upgrade: str = ""
    on_interim: Callable[[int, str, Fields], None] | None = None
    on_gone: Callable[[Callable[[], None]], None] | None = None
    on_step: Callable[..., None] | None = None

    def head(self) -> bytes:
        return self.raw


def raw_request(method: str, head: bytes, body: Iterable[bytes] | None = None, *, chunked: bool = False) -> RawRequest:
    """A request whose body, if it has one, comes in these pieces."""
    given = None if body is None else PreparedBody(None, body)
    return RawRequest(method, head, given, CHUNKED if chunked else NO_BODY)
