"""Reads the head of a client request: plain ones here, all others by gunicorn's parser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lbflask.server.worker.plain_head import plain_head
from lbflask.server.worker.received_head import NAMES, ReceivedHead
from lbflask.server.worker.request_parser import ParsedRequest

with suppress(ImportError):  # the extra `fast`; gunicorn and `freeze` choose the parser in Python without it
    import gunicorn_h1c

if TYPE_CHECKING:
    from lbflask.server.worker.client_connection import ClientConnection

_CR: Final = 0x0D


def read_request(settings: Any, client: ClientConnection) -> ReceivedHead:
    """The head of the request whose first bytes have arrived, by frozen settings. Raises what gunicorn raises."""
    data = client.take_first()
    head: Any = None
    if settings.lean:
        try:
            head = gunicorn_h1c.parse_request_fast(data, 0, *settings.parser_limits)
        except Exception:  # noqa: BLE001, S110 - incomplete or rejected; the module does not export its exceptions
            pass
    elif settings.plain:
        head = plain_head(data, *settings.parser_limits[:3])
    if head is not None and data[0] != _CR:
        found = _plain_request(head.method, head.path, head.minor_version, head.headers)
        if found is not None:
            consumed: int = head.consumed
            if consumed != len(data):
                client.reader.unread(data[consumed:])
            return found
    message = ParsedRequest(settings, client.reader, client.addr, client.served + 1, data, head)
    return ReceivedHead(message.method, message.uri, message.version, message.fields, message.headers, message)


def _plain_request(
    method: bytes, target: bytes, minor_version: int, lines: Sequence[tuple[bytes, bytes]]
) -> ReceivedHead | None:
    """The request; None if gunicorn's checks would do more than to keep its fields, or if it may have a body."""
    uri = target.decode("latin-1")
    if not uri or not uri.isascii() or not uri.isprintable() or " " in uri:
        return None
    fields: list[tuple[str, str]] = []
    special: list[tuple[str, str]] = []
    names, has_host, has_type = NAMES, False, False
    for raw_name, raw_value in lines:
        name, canonical = names[raw_name]
        if canonical is None:
            fields.append((name, raw_value.decode("latin-1")))
            continue
        if not canonical:
            continue  # dropped
        value = raw_value.decode("latin-1")
        if canonical == "HOST" and not has_host:
            has_host = True
        elif canonical == "CONTENT-TYPE" and not has_type:
            has_type = True
        elif canonical != "CONNECTION":
            return None
        fields.append((name, value))
        special.append((canonical, value))
    return ReceivedHead(method.decode("ascii"), uri, (1, minor_version), fields, special)
