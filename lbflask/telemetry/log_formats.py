"""Formats of the access log: text for people, JSON, the combined format of Apache, or a template of the operator.

A line contains the request line, the client and the outcome. Header fields are only in it where the configuration names
them (and Referer and User-Agent in the combined format), and never those whose names are of secrets, such as
`Authorization` and `Cookie`. Parameters of the target
with the usual names of secrets are masked, also those of URLs in fields. Text from clients is escaped, so that it
can neither break nor forge a line.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Fault
from lbflask.core.http.field_lines import field_pairs
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import value_of
from lbflask.core.log_fields import HEADER, OF_LINES, RESPONSE_HEADER, parsed
from lbflask.core.redaction import MASK, holds_secret, masked_target
from lbflask.telemetry.events import AttemptEvent, RequestEvent

#: Characters of a header field in a line; what is longer is cut.
MOST_OF_FIELD = 1024
_NOTHING_TO_ESCAPE = re.compile(r"[ !#-\[\]-~]*").fullmatch
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}
_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


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
    if event.queued:
        tail += f" queued={format(event.queued * 1000, '.1f')}ms"
    if event.cut:
        tail += f' cut="{_escaped(event.cut)}"'
    return (
        f"{_moment(now)} {event.client} "
        f'"{event.method} {_escaped(masked_target(event.target))} {event.protocol}" {event.status} {event.sent} '
        f"backend={backend} upstream={upstream} total={format(event.seconds * 1000, '.1f')}ms attempts={len(attempts)} "
        f"id={event.request_id}{tail}\n"
    )


TEXT = Format(text_line)

#: How Apache escapes text in its log (`ap_escape_logitem`), which readers of the combined format expect.
_APACHE_ESCAPES = _ESCAPES | {0x22: '\\"', 0x5C: "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 13: "\\r"}


def combined_line(event: RequestEvent, now: float) -> str:
    """The event in the combined format of Apache and nginx, with the end of the request in UTC as its time."""
    fields = [] if event.facts is None else event.facts.fields
    target, referer, agent = map(
        _escaped_as_apache,
        (masked_target(event.target), _field_value(fields, "referer"), _field_value(fields, "user-agent")),
    )
    user = _escaped_as_apache(event.user).replace(" ", "\\x20") or "-"  # a blank would end it
    return (
        f"{event.client} - {user} [{_clf_time(int(now))}] "
        f'"{event.method} {target} {event.protocol}" {event.status} {event.sent or "-"} '
        f'"{referer or "-"}" "{agent or "-"}"\n'
    )


COMBINED = Format(combined_line)


def _escaped_as_apache(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_APACHE_ESCAPES)


@lru_cache(maxsize=2)
def _clf_time(second: int) -> str:
    """The time of the common log format, whose months are English."""
    moment = time.gmtime(second)
    return time.strftime(f"%d/{_MONTHS[moment.tm_mon - 1]}/%Y:%H:%M:%S +0000", moment)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _escaped(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_ESCAPES)


def _moment(now: float) -> str:
    second = int(now)
    return _to_the_second(second) + _FRACTIONS[int((now - second) * 1000)]


#: The end of a time, by its milliseconds. A look-up costs a fifth of the formatting.
_FRACTIONS = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))


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
    if event.queued:
        values["queued"] = round(event.queued, 6)
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


@dataclass(frozen=True, slots=True)
class LoggedFields:
    """The names of header fields of requests and of responses that are in each line of JSON."""

    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()


NO_FIELDS = LoggedFields()


def json_lines(instance: str = "", logged: LoggedFields = NO_FIELDS) -> Format:
    """A JSON object for each line; with the name of the instance, unless that is empty."""
    named = {"instance": instance} if instance else {}

    def line(event: RequestEvent, now: float) -> str:
        values = _values(event, now) | named
        values["attempts"] = [_attempt(attempt) for attempt in event.attempts]
        if logged.request and event.facts is not None:
            values["request_headers"] = _named_values(event.facts.fields, logged.request)
        if logged.response:
            values["response_headers"] = _named_values(field_pairs(event.fields or []), logged.response)
        return _encoded(values) + "\n"

    return Format(line, lambda count: _encoded({"dropped_lines": count} | named) + "\n")


def _named_values(fields: Fields, names: Iterable[str]) -> dict[str, str]:
    """The values of these fields by name, without those that are not there."""
    found = {name: _field_value(fields, name.lower()) for name in names}
    return {name: value for name, value in found.items() if value}


JSON = json_lines()


def _field_value(fields: Fields, name: str) -> str:
    """The value of a header field, whose name is in small letters, several lines joined; empty for none."""
    value = ", ".join([text for field, text in fields if field.lower() == name])[:MOST_OF_FIELD]
    if "://" in value or value.startswith("/"):
        return masked_target(value)
    return MASK if holds_secret(value) else value


def _value_of_line(event: RequestEvent, name: str) -> str:
    """The value of a name that only custom lines have."""
    if name.startswith(RESPONSE_HEADER):
        return _field_value(field_pairs(event.fields or []), name[len(RESPONSE_HEADER) :])
    if name == "request_id":
        return event.request_id
    if name in ("path", "query"):
        path, mark, query = masked_target(event.target).partition("?")
        return path if name == "path" else mark + query
    if event.facts is None:
        return ""
    return (
        _field_value(event.facts.fields, name[len(HEADER) :])
        if name.startswith(HEADER)
        else value_of(name, event.facts)
    )


def template(form: str, instance: str = "", environ: Mapping[str, str] = _NO_ENVIRONMENT) -> Format:
    """A template of the operator. Raises ValueError for an unknown name."""
    parts = parsed(form, environ)
    names = {name for _, name in parts}
    of_lines = [name for name in names if name in OF_LINES or name.startswith((HEADER, RESPONSE_HEADER))]
    names_tried = "tried" in names

    def line(event: RequestEvent, now: float) -> str:
        values = _values(event, now)
        values["attempts"] = len(event.attempts)
        values["instance"] = instance
        values["tried"] = ",".join(map(_tried, event.attempts)) if names_tried else ""
        for name in of_lines:
            values[name] = _value_of_line(event, name)
        pieces = []
        for literal, name in parts:
            pieces.append(literal)
            if name:
                value = values.get(name, "")
                pieces.append(format(value, ".6f") if isinstance(value, float) else _escaped(str(value)) or "-")
        return "".join(pieces) + "\n"

    return Format(line)


def format_of(
    form: str,
    instance: str = "",
    logged: LoggedFields = NO_FIELDS,
    environ: Mapping[str, str] = _NO_ENVIRONMENT,
) -> Format:
    """The format for the setting `access_log_format`, in the instance of that name. Raises ValueError."""
    if form == "json":
        return json_lines(instance, logged)
    named = {"text": TEXT, "combined": COMBINED}.get(form)
    return template(form, instance, environ) if named is None else named
