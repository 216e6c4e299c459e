"""Durations on the command line."""

from __future__ import annotations

import re

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
