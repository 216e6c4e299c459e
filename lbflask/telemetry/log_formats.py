"""Formats of the access log: text for people, JSON, or a template of the operator.

A line contains the request line, the client and the outcome, but no header field: neither `Authorization` nor
`Cookie`. Parameters of the target with the usual names of secrets are masked. Text from clients is escaped, so that it
can neither break nor forge a line.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from lbflask.core.faults import Fault
from lbflask.core.log_fields import parsed
from lbflask.core.redaction import masked_target
from lbflask.telemetry.events import AttemptEvent, RequestEvent

_NOTHING_TO_ESCAPE = re.compile(r"[ !#-\[\]-~]*").fullmatch
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}


class Format(Protocol):
    """Turns events into lines."""

    def line(self, event: RequestEvent, now: float) -> str:
        """The line for an event that ended at `now` (seconds since the epoch), with its newline."""
        ...

    def loss(self, count: int) -> str:
        """The line that says that `count` lines are missing here, with its newline."""
        ...


def text_line(event: RequestEvent, now: float) -> str:
    """The event as text: the common fields first, then `key=value`."""
    attempts = event.attempts
    last = attempts[-1] if attempts else None
    served = last is not None and last.fault is None
    backend = last.backend if last is not None and served else "-"
    upstream = f"{last.seconds * 1000:.1f}ms" if last is not None and served else "-"
    tail = "" if not attempts or (served and len(attempts) == 1) else f" tried={','.join(map(_tried, attempts))}"
    if event.cut:
        tail += f' cut="{_escaped(event.cut)}"'
    return (
        f"{_moment(now)} {event.client} "
        f'"{event.method} {_shown(event.target)} {event.protocol}" {event.status} {event.sent} '
        f"backend={backend} upstream={upstream} total={event.seconds * 1000:.1f}ms attempts={len(attempts)} "
        f"id={event.request_id}{tail}\n"
    )


class Text:
    """The default format."""

    line: Callable[[RequestEvent, float], str] = staticmethod(text_line)

    @staticmethod
    def loss(count: int) -> str:
        """See Format."""
        return f"# {count} lines were dropped: the log could not be written fast enough\n"


TEXT = Text()


def _escaped(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_ESCAPES)


def _shown(target: str) -> str:
    """The target, masked and escaped."""
    return _escaped(masked_target(target))


def _moment(now: float) -> str:
    return f"{_to_the_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _tried(attempt: AttemptEvent) -> str:
    if attempt.fault is None:
        return f"{attempt.backend}:ok"
    return f"{attempt.backend}:{getattr(attempt.fault, 'stage', 'fault')}"


def _server(event: RequestEvent) -> AttemptEvent | None:
    """The attempt whose response was passed on; None if there is none."""
    last = event.attempts[-1] if event.attempts else None
    return last if last is not None and last.fault is None else None


def _why(event: RequestEvent) -> str:
    return "retry" if len(event.attempts) > 1 and _server(event) is not None else event.why


_encoded = json.JSONEncoder().encode


def _document(event: RequestEvent, now: float) -> dict[str, Any]:
    """The JSON document; fields without a value are omitted. Spelled out because it is made for each request."""
    server = _server(event)
    document: dict[str, Any] = {
        "time": _moment(now),
        "id": event.request_id,
        "client": event.client,
        "method": event.method,
        "target": masked_target(event.target),
        "protocol": event.protocol,
        "status": event.status,
        "sent": event.sent,
        "received": event.received,
        "seconds": round(event.seconds, 6),
        "pool": event.pool,
        "attempts": [_attempt(attempt) for attempt in event.attempts],
    }
    if server is not None:
        document["backend"] = server.backend
        document["upstream"] = round(server.seconds, 6)
    if why := _why(event):
        document["why"] = why
    if event.route:
        document["route"] = event.route
    if event.cut:
        document["cut"] = event.cut
    return document


#: The value of each name that a template may use.
_VALUES: dict[str, Callable[[RequestEvent, float], Any]] = {
    "time": lambda _, now: _moment(now),
    "id": lambda event, _: event.request_id,
    "client": lambda event, _: event.client,
    "method": lambda event, _: event.method,
    "target": lambda event, _: masked_target(event.target),
    "protocol": lambda event, _: event.protocol,
    "status": lambda event, _: event.status,
    "sent": lambda event, _: event.sent,
    "received": lambda event, _: event.received,
    "seconds": lambda event, _: f"{event.seconds:.6f}",
    "route": lambda event, _: event.route,
    "pool": lambda event, _: event.pool,
    "backend": lambda event, _: server.backend if (server := _server(event)) else None,
    "why": lambda event, _: _why(event),
    "upstream": lambda event, _: f"{server.seconds:.6f}" if (server := _server(event)) else None,
    "attempts": lambda event, _: len(event.attempts),
    "tried": lambda event, _: ",".join(map(_tried, event.attempts)),
    "cut": lambda event, _: event.cut,
}


def _attempt(attempt: AttemptEvent) -> dict[str, Any]:
    document: dict[str, Any] = {
        "backend": attempt.backend,
        "at": round(attempt.at, 6),
        "seconds": round(attempt.seconds, 6),
    }
    fault = attempt.fault
    if isinstance(fault, Fault):
        document |= {"fault": fault.stage.value, "blame": fault.blame.value, "reason": fault.reason}
    elif fault is not None:
        document |= {"fault": "fault", "blame": "self", "reason": repr(fault)}
    return document


class JSON:
    """One JSON object in ASCII for each line; docs/logging.md lists its keys."""

    @staticmethod
    def line(event: RequestEvent, now: float) -> str:
        """See Format."""
        return _encoded(_document(event, now)) + "\n"

    @staticmethod
    def loss(count: int) -> str:
        """See Format."""
        return json.dumps({"dropped_lines": count}) + "\n"


class Template:
    """A template of the operator. Raises ValueError for an unknown name."""

    def __init__(self, form: str) -> None:
        self._parts = [(text, _VALUES[name] if name else None) for text, name in parsed(form)]

    def line(self, event: RequestEvent, now: float) -> str:
        """See Format."""
        pieces = []
        for literal, value in self._parts:
            pieces.append(literal)
            if value is not None:
                text = value(event, now)
                pieces.append("-" if text in (None, "") else _escaped(str(text)))
        return "".join(pieces) + "\n"

    @staticmethod
    def loss(count: int) -> str:
        """See Format."""
        return Text.loss(count)


def format_of(form: str) -> Format:
    """The format for the setting `access_log_format`. Raises ValueError."""
    return TEXT if form == "text" else JSON() if form == "json" else Template(form)
