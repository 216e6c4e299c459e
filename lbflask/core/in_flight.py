"""Requests in flight by backend, with a log of changes for readers that derive state from them.

A scan of all backends for each request costs time in their number. With the log a reader processes only what has
changed since its last request, mostly a single backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from mypy_extensions import mypyc_attr

#: Changes that are kept. A reader that has missed some rebuilds its state, so it may be arbitrarily slow.
MOST_CHANGES = 4096


class Loads(dict[str, int]):
    """The backends with requests in flight. One thread writes at a time; any number may read concurrently."""

    __slots__ = ("_page",)

    def __init__(self, loads: Mapping[str, int]) -> None:
        super().__init__(loads)
        self._page: tuple[int, list[str]] = 0, []  # how many changes came before these

    def add(self, backend: str, count: int) -> None:
        """Add a count, possibly negative, to the requests in flight at the backend."""
        load = self.get(backend, 0) + count
        if load:
            self[backend] = load
        else:
            self.pop(backend, None)
        # The log follows the change: a reader that finds an entry finds the new value.
        before, changed = self._page
        if len(changed) < MOST_CHANGES:
            changed.append(backend)
        else:
            self._page = before + len(changed), [backend]

    def since(self, mark: int) -> tuple[int, list[str] | None]:
        """A new mark, and the backends whose loads have changed since the old one; None if the log has lost some.

        Marks are at least 0; a reader without one passes -1.
        """
        before, changed = self._page
        return before + len(changed), changed[mark - before :] if mark >= before else None


@mypyc_attr(allow_interpreted_subclasses=True)
class LoadListener(ABC):
    """State that is derived from loads, and updated incrementally rather than computed for each request.

    One user at a time.
    """

    __slots__ = ("_loads", "_mark")
    _mark: int  # of `_loads`

    def __init__(self) -> None:
        self._loads: Mapping[str, int] | None = None

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
