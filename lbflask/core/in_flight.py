"""Requests in flight by backend as they are now, for readers who keep something that follows from them.

To look through all backends for each request costs time in their number. Who has looked once needs only what has
changed since, which for most requests is the one before.
"""

from __future__ import annotations

from collections.abc import Mapping

#: So many changes are kept. A reader that has missed some starts anew, and so may be as slow as it likes.
MOST_CHANGES = 4096


class Loads(dict[str, int]):
    """The backends that have any requests in flight. One at a time may write; any number may read meanwhile."""

    __slots__ = ("_page",)

    def __init__(self, loads: Mapping[str, int]) -> None:
        super().__init__(loads)
        self._page: tuple[int, list[str]] = 0, []  # how many changes came before these

    def add(self, backend: str, count: int) -> None:
        """So many more, or less, are in flight at the backend."""
        load = self.get(backend, 0) + count
        if load:
            self[backend] = load
        else:
            self.pop(backend, None)
        # The change is told after it was made: a reader that finds it told finds it made.
        before, changed = self._page
        if len(changed) < MOST_CHANGES:
            changed.append(backend)
        else:
            self._page = before + len(changed), [backend]

    def since(self, mark: int) -> tuple[int, list[str] | None]:
        """A new mark, and the backends whose loads have changed since the old one; None if that is too long ago.

        No mark is below 0, so that a reader which has none yet may give -1.
        """
        before, changed = self._page
        return before + len(changed), changed[mark - before :] if mark >= before else None
