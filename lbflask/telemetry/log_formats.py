"""Formats of the access log: text for people, JSON, or a template of the operator.

A line contains the request line, the client and the outcome. Header fields of the request are only in a template that
names them, and never those whose names are of secrets, such as `Authorization` and `Cookie`. Parameters of the target
with the usual names of secrets are masked, also those of URLs in fields. Text from clients is escaped, so that it
can neither break nor forge a line.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Fault
from lbflask.core.http.field_lines import field_pairs
from lbflask.core.log_fields import HEADER, parsed
from lbflask.core.redaction import MASK, holds_secret, masked_target
from lbflask.telemetry.events import AttemptEvent, RequestEvent

#: Characters of a header field in a line; what is longer is cut.
MOST_OF_FIELD = 1024
_NOTHING_TO_ESCAPE = re.compile(r"[ !#-\[\]-~]*").fullmatch
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}


@dataclass(frozen=True, slots=True)
class Format:
    """Turns events into lines, with their newlines.

    `line` is called with an event and its end, in seconds since the epoch; `loss` with the number of lines that are
    missing at this place.
    """

    line: Callable[[RequestEvent, float], str]
    loss: Callable[[int], str] = "# {} lines were dropped: the log could not be written, or not fast enough\n".format


def text_line(event: RequestEvent, now: float) -> str:
    """The event as text: the common fields first, then `key=value`."""
    # Here and below by format(): compiled, a format within an f-string costs some 0.5 µs.
    attempts = event.attempts
    server = _server(event)
    backend, upstream = ("-", "-") if server is None else (server.backend, format(server.seconds * 1000, ".1f") + "ms")
    tail = "" if not attempts or (server and len(attempts) == 1) else f" tried={','.join(map(_tried, attempts))}"
    if event.cause is not AnswerCause.BACKEND:
        tail += f" cause={event.cause.value}"
    if event.user:
        tail += f' user="{_escaped(event.user)}"'
    if event.cut:
        tail += f' cut="{_escaped(event.cut)}"'
    return (
        f"{_moment(now)} {event.client} "
        f'"{event.method} {_escaped(masked_target(event.target))} {event.protocol}" {event.status} {event.sent} '
        f"backend={backend} upstream={upstream} total={format(event.seconds * 1000, '.1f')}ms attempts={len(attempts)} "
        f"id={event.request_id}{tail}\n"
    )


TEXT = Format(text_line)


def _escaped(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_ESCAPES)


def _moment(now: float) -> str:
    return f"{_to_the_second(int(now))}.{format(int(now % 1 * 1000), '03d')}Z"


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _tried(attempt: AttemptEvent) -> str:
    return f"{attempt.backend}:{'ok' if attempt.fault is None else getattr(attempt.fault, 'stage', 'fault')}"


def _server(event: RequestEvent) -> AttemptEvent | None:
    """The attempt whose response was passed on whole; None if there is none."""
    served = event.served
    return served if served is not None and served.fault is None else None


_encoded = json.JSONEncoder().encode


def _content_type(event: RequestEvent) -> str:
    """The media type of the response as it was sent; empty for none."""
    return next((value for name, value in field_pairs(event.fields or []) if name.lower() == "content-type"), "")


def _values(event: RequestEvent, now: float) -> dict[str, Any]:
    """The values by name, in the order of JSON; those that are missing are omitted. Spelled out because it is called
    for each request. The formats replace `attempts`.
    """
    server = _server(event)
    values: dict[str, Any] = {
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
        "attempts": event.attempts,
        "cause": event.cause.value,
    }
    if server is not None:
        values["backend"] = server.backend
        values["upstream"] = round(server.seconds, 6)
    if why := "retry" if server is not None and len(event.attempts) > 1 else event.why:
        values["why"] = why
    if event.route:
        values["route"] = event.route
    if event.limit:
        values["limit"] = event.limit
    if event.user:
        values["user"] = event.user.encode("latin-1", "replace").decode("utf-8", "replace")
    if content_type := _content_type(event):
        values["type"] = content_type
    if event.cut:
        values["cut"] = event.cut
    return values


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


def json_lines(instance: str = "") -> Format:
    """A JSON object for each line; with the name of the instance, unless that is empty."""
    named = {"instance": instance} if instance else {}

    def line(event: RequestEvent, now: float) -> str:
        values = _values(event, now) | named
        values["attempts"] = [_attempt(attempt) for attempt in event.attempts]
        return _encoded(values) + "\n"

    return Format(line, lambda count: _encoded({"dropped_lines": count} | named) + "\n")


JSON = json_lines()


def _header(event: RequestEvent, name: str) -> str:
    """The value of a header field of the request, several lines joined; empty for none."""
    value = ", ".join([text for field, text in event.request_fields or () if field.lower() == name])[:MOST_OF_FIELD]
    if "://" in value or value.startswith("/"):
        return masked_target(value)
    return MASK if holds_secret(value) else value


def template(form: str, instance: str = "") -> Format:
    """A template of the operator. Raises ValueError for an unknown name."""
    parts = parsed(form)
    names_tried = any(name == "tried" for _, name in parts)
    headers = [(name, name.removeprefix(HEADER)) for _, name in parts if name and name.startswith(HEADER)]

    def line(event: RequestEvent, now: float) -> str:
        values = _values(event, now)
        values["attempts"] = len(event.attempts)
        values["instance"] = instance
        values["tried"] = ",".join(map(_tried, event.attempts)) if names_tried else ""
        for header, field in headers:
            values[header] = _header(event, field)
        pieces = []
        for literal, name in parts:
            pieces.append(literal)
            if name:
                value = values.get(name, "")
                pieces.append(format(value, ".6f") if isinstance(value, float) else _escaped(str(value)) or "-")
        return "".join(pieces) + "\n"

    return Format(line)


def format_of(form: str, instance: str = "") -> Format:
    """The format for the setting `access_log_format`, in the instance of that name. Raises ValueError."""
    return TEXT if form == "text" else json_lines(instance) if form == "json" else template(form, instance)
