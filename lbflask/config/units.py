"""Sizes and times with their units, as texts: `25MiB`, `10m`, `1m30s`. Numbers are bytes and seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

#: As nginx has them (k, m, g) and by IEC 80000-13 (KiB …, and KB … by powers of ten); in any case.
_BYTES = {"": 1, "b": 1} | {
    prefix + suffix: (1000 if suffix == "b" else 1024) ** power
    for power, prefix in enumerate("kmg", 1)
    for suffix in ("", "b", "ib")
}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE = re.compile(r"([0-9]{1,18})([kmg]?(?:ib|b)?)", re.IGNORECASE)
_TIME = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|[smhd])")
_TIMES = re.compile(rf"(?:{_TIME.pattern}){{1,5}}")
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?")


def byte_count(value: Any) -> Any:
    """The bytes that a text states. Other values are returned for the type to reject. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError("must be bytes: a number, or a text such as '512KiB', '25m' or '1GiB'")
    return int(found[1]) * _BYTES[found[2].lower()]


def second_count(value: Any) -> Any:
    """The seconds that a text states. Other values are returned for the type to reject. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value):
        return float(value)
    if not _TIMES.fullmatch(value):
        raise ValueError("must be seconds: a number, or a text such as '250ms', '60s', '1m30s' or '2h'")
    return sum(float(number) * _SECONDS[unit] for number, unit in _TIME.findall(value))


#: Metadata of settings in bytes and in seconds.
BYTES, SECONDS = BeforeValidator(byte_count), BeforeValidator(second_count)
#: Bytes, with bounds by `Field`.
Bytes = Annotated[int, BYTES]
