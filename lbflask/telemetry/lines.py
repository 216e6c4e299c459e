"""How a request is written down: as text, which is what people read, as JSON, or in a form of the operator's own.

A line holds nothing of a request but what is named here: its line, its client, what was done with it. No header field
is in it, so no `Authorization`, no `Cookie`; and what a target says of a secret by its usual name is masked. Whatever
a client wrote is escaped, so that it can neither break a line nor forge one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from lbflask.telemetry.events import AttemptEvent, RequestEvent

_NOTHING_TO_ESCAPE = re.compile(r"[ !#-\[\]-~]*").fullmatch
#: Parameters whose values are for nobody's eyes, by their usual names.
_SECRET = re.compile(
    r"([?&;][^=&;?]*(?:token|secret|passw|pwd|api_?key|access_?key|auth|credential|session_?id|signature|jwt|otp)"
    r"[^=&;]*=)[^&;#]+",
    re.IGNORECASE,
)
MASK = "***"
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))}


class Format(Protocol):
    """A way to write events down."""

    def line(self, event: RequestEvent, now: float) -> str:
        """The event, told at `now` (seconds since the epoch), as a line with its end."""
        ...

    def loss(self, count: int) -> str:
        """That so many lines are missing here, as a line with its end."""
        ...


def text_line(event: RequestEvent, now: float) -> str:
    """The event as text: what everybody looks for first, then `key=value`."""
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
    """The default."""

    line: Callable[[RequestEvent, float], str] = staticmethod(text_line)

    @staticmethod
    def loss(count: int) -> str:
        """See Format."""
        return f"# {count} lines were dropped: the log could not be written fast enough\n"


TEXT = Text()


def _escaped(text: str) -> str:
    return text if _NOTHING_TO_ESCAPE(text) else text.translate(_ESCAPES)


def _shown(target: str) -> str:
    """The target as it may be told."""
    if "?" in target:
        path, mark, query = target.partition("?")
        target = path + _SECRET.sub(rf"\1{MASK}", mark + query)
    return target if _NOTHING_TO_ESCAPE(target) else target.translate(_ESCAPES)


def _moment(now: float) -> str:
    return f"{_to_the_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _tried(attempt: AttemptEvent) -> str:
    if attempt.fault is None:
        return f"{attempt.backend}:ok"
    return f"{attempt.backend}:{getattr(attempt.fault, 'stage', 'fault')}"
