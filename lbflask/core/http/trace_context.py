"""W3C Trace Context: `traceparent` and `tracestate`.

Without tracing both pass unchanged, like any other field. With tracing a backend gets the span of the attempt as its
parent, and a request without a parent starts a trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from lbflask.core.http.types import Fields

PARENT = "traceparent"
STATE = "tracestate"
#: §3.2: version, trace, parent, flags, and what later versions may add.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class Context(NamedTuple):
    """One span's place in a trace. All zeros is no id."""

    trace: int
    span: int
    sampled: bool

    def as_traceparent(self) -> str:
        """As `traceparent` has it (§3.2.2)."""
        return f"00-{self.trace:032x}-{self.span:016x}-{self.sampled:02x}"


def parsed(value: str) -> Context | None:
    """The context that a `traceparent` tells; None for one that is to be ignored (§3.2.2.5, §4.3)."""
    found = _PARENT.fullmatch(value.strip(" \t"))
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace, span = int(found[2], 16), int(found[3], 16)
    return Context(trace, span, bool(int(found[4], 16) & _SAMPLED)) if trace and span else None


class Trace:
    """A request's place in its trace: `context` is our span, `parent` that of the client, `attempts` are those of the
    attempts. `new_span` gives ids.
    """

    __slots__ = ("_fields", "_new_span", "attempts", "context", "parent")

    def __init__(self, context: Context, parent: Context | None, fields: Fields, new_span: Callable[[], int]) -> None:
        self.context = context
        self.parent = parent
        self.attempts: list[int] = []
        self._fields = fields
        self._new_span = new_span

    def attempt(self) -> Fields:
        """The request's fields for another attempt, whose parent is the request's span."""
        span = self._new_span()
        self.attempts.append(span)
        return [*self._fields, (PARENT, self.context._replace(span=span).as_traceparent())]


def begun(
    fields: Fields, new_trace: Callable[[], int], new_span: Callable[[], int], sampled: Callable[[int], bool]
) -> Trace | None:
    """The trace of a request with these fields; None for one whose parent is not sampled, and so leaves no trace here.

    `sampled` decides for a trace that begins here. A `tracestate` goes on with a valid parent, and else ends (§4.3).
    """
    parents = [value for name, value in fields if name.lower() == PARENT]
    parent = parsed(parents[0]) if len(parents) == 1 else None
    if parent is not None:
        if not parent.sampled:
            return None
        rest = [field for field in fields if field[0].lower() != PARENT]
        return Trace(parent._replace(span=new_span()), parent, rest, new_span)
    rest = [field for field in fields if field[0].lower() not in (PARENT, STATE)]
    trace = new_trace()
    return Trace(Context(trace, new_span(), sampled(trace)), None, rest, new_span)
