"""Durations and moments on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import click

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds from 1 to a maximum of whole hours, as in `90`, `90s`, `5m`, `1h` or `2d`."""

    name = "duration"

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        parts = re.fullmatch(r"([0-9]{1,9})([smhd]?)", str(value))
        seconds = int(parts[1]) * _SECONDS[parts[2]] if parts else 0
        if not 1 <= seconds <= self._maximum:
            self.fail(f"{value!r} is no duration from 1s to {self._maximum // 3600}h, such as 90s or 5m", param, ctx)
        return seconds


#: The longest time back: ten years.
_LONGEST = 10 * 366 * 86_400


class Since(click.ParamType):  # type: ignore[type-arg]
    """A moment: a duration before now, as in `10m`, or a time as in ISO 8601; local time unless it has a zone."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click.ParamType."""
        text = str(value)
        try:
            if not re.fullmatch(r"[0-9]{1,9}[smhd]?", text):
                datetime.fromisoformat(text).timestamp()
                return text
        except (ValueError, OverflowError, OSError):
            self.fail(f"{text!r} is neither a duration, such as 10m, nor a time, such as 2026-03-01T11:08", param, ctx)
        return str(Duration(_LONGEST).convert(text, param, ctx))

    @staticmethod
    def moment(converted: str, now: Callable[[], float]) -> float:
        """The moment in seconds since the epoch. `now` is read for a duration."""
        return now() - int(converted) if converted.isdigit() else datetime.fromisoformat(converted).timestamp()
