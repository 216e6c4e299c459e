"""The author, the time and the reason of a change at run time, the reason in the words of the operator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

#: Characters of a reason.
MAX_REASON = 200
#: A reason: one line without control characters and without marks that change the direction of a text, by which a line
#: of a log could show something else.
REASON = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class OperatorNote:
    """The operator, the time in seconds of the store's clock, and the reason, which may be empty."""

    actor: str
    at: float
    reason: str = ""


def reason_error(reason: str) -> str:
    """Why this is no reason of an action; empty if it is one."""
    if len(reason) > MAX_REASON:
        return f"has {len(reason)} characters; {MAX_REASON} are allowed"
    if not re.fullmatch(REASON, reason) or not reason.isprintable():
        return "must be one line of printable characters"
    return ""


def described(change: str, note: OperatorNote | None, now: float) -> str:
    """The change with its author, as in `drained by alice since 11:08 UTC: ticket 123`. With the date after a day.

    Without a note, as in records of earlier versions, the author is `an operator`.
    """
    if note is None:
        return f"{change} by an operator"
    moment = datetime.fromtimestamp(note.at, UTC)
    since = moment.strftime("%H:%M UTC" if 0 <= now - note.at < _DAY else "%Y-%m-%d %H:%M UTC")
    return f"{change} by {note.actor} since {since}" + (f": {note.reason}" if note.reason else "")
