"""gunicorn's own log, as the host wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from gunicorn.glogging import Logger


def without_quotes(error: Exception) -> str:
    """What an error of gunicorn's parser says, without the bytes of the request that it quotes behind a colon: they may
    be a secret, with or without a name.
    """
    return str(error).partition(":")[0]


class ServerLog(Logger):  # type: ignore[misc]
    """As gunicorn's, and then changed by `changes`, which may be set before gunicorn begins, and before it reloads."""

    changes: ClassVar[tuple[Callable[[], None], ...]] = ()

    def setup(self, cfg: Any) -> None:
        """See Logger; done again at each reload."""
        super().setup(cfg)
        for change in self.changes:
            change()
