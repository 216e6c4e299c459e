"""Whatever follows from the loads of all candidates is kept up with them rather than worked out for each request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from lbflask.core.in_flight import Loads


class LoadListener(ABC):
    """Something that follows from loads. Who uses it has it alone meanwhile."""

    __slots__ = ("_loads", "_mark")

    def __init__(self) -> None:
        self._loads: Mapping[str, int] | None = None
        self._mark = -1

    def follow(self, loads: Mapping[str, int]) -> None:
        """Be as it is for these loads: at the cost of what has changed in them since, if they are those followed before
        and tell of their changes, else at the cost of all.
        """
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
        """The backend has so many in flight now; maybe it had so before, and maybe it is a stranger."""
