"""State derived from the loads of all candidates, updated incrementally rather than computed for each request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from lbflask.core.in_flight import Loads


class LoadListener(ABC):
    """State derived from loads. One user at a time."""

    __slots__ = ("_loads", "_mark")

    def __init__(self) -> None:
        self._loads: Mapping[str, int] | None = None
        self._mark = -1

    def follow(self, loads: Mapping[str, int]) -> None:
        """Update the derived state: incrementally if `loads` is the same Loads as before, else from scratch."""
        if not isinstance(loads, Loads):
            self._loads = None
            self._rebuild(loads)
            return
        if loads is not self._loads:
            self._loads, self._mark = loads, -1
        self._mark, changed = loads.since(self._mark)
        if changed is None:
            self._rebuild(loads)
            return
        for backend in changed:
            self._update(backend, loads.get(backend, 0))

    @abstractmethod
    def _rebuild(self, loads: Mapping[str, int]) -> None:
        """Start from these loads."""

    @abstractmethod
    def _update(self, backend: str, load: int) -> None:
        """Set the requests in flight of the backend, which may be unchanged, and may be unknown."""
