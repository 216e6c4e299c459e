"""gunicorn's error log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn.glogging import Logger


class ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's log, with a change of its handlers after each `setup`."""

    _changes: ClassVar[tuple[Callable[[], None], ...]] = ()

    @classmethod
    def set_change(cls, change: Callable[[], None]) -> None:
        """Call this after each `setup` from now on: gunicorn makes the log itself, at its start and at each reload."""
        cls._changes = (change,)

    def setup(self, cfg: Any) -> None:
        """See Logger."""
        super().setup(cfg)
        for change in self._changes:
            change()
