"""A bounded cache whose entries end at a time of their own."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ExpiringCache(Generic[Value]):
    """At most `most` values by key; beyond, the oldest one goes. Times are of one clock, in seconds.
    Threads may share it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, tuple[float, Value]] = OrderedDict()

    def __repr__(self) -> str:
        return f"ExpiringCache({len(self._entries)} of {self._most})"

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes, now: float) -> Value | None:
        """The value, unless it has ended."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= now:
            self._entries.pop(key, None)
            return None
        return entry[1]

    def put(self, key: bytes, value: Value, until: float) -> None:
        """Hold the value until that time."""
        entries = self._entries
        entries.pop(key, None)
        while len(entries) >= self._most:
            with suppress(KeyError):  # in one step: other threads may be here
                entries.popitem(last=False)
        entries[key] = (until, value)
