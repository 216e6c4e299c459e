"""Dates of HTTP (RFC 9110 §5.6.7), in seconds since 1970: the three forms are read, the first one is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME: Final = r"([0-2][0-9]):([0-5][0-9]):([0-6][0-9])"
_DAY_NAME: Final = f"(?:{'|'.join(_DAYS)})"
_MONTH: Final = f"({'|'.join(_MONTHS)})"
_IMF: Final = re.compile(rf"{_DAY_NAME}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_TIME} GMT")
_RFC_850: Final = re.compile(
    rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_TIME} GMT"
)
_ASCTIME: Final = re.compile(rf"{_DAY_NAME} {_MONTH} ([ 0-9][0-9]) {_TIME} ([0-9]{{4}})")


def date_text(seconds: int) -> str:
    """The date as it is written. Raises ValueError or OverflowError for one that has no year of four digits."""
    at = datetime.fromtimestamp(seconds, UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04}"
        f" {at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )


def date_seconds(text: str, now: float) -> int | None:
    """The date of a field; None for a text that is none, which recipients ignore (RFC 9110 §13.1.3).

    A year of two digits that would be more than 50 years after `now` is one of the past.
    """
    if found := _IMF.fullmatch(text):
        day, month, year, *time = found.groups()
    elif found := _RFC_850.fullmatch(text):
        day, month, short, *time = found.groups()
        this = datetime.fromtimestamp(now, UTC).year
        full = this - this % 100 + int(short)
        year = str(full - 100 if full > this + 50 else full)
    elif found := _ASCTIME.fullmatch(text):
        month, day, *time, year = found.groups()
    else:
        return None
    hour, minute, second = map(int, time)
    try:
        at = datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return int(at.timestamp())
