"""Threads of the system beside the greenlets of a worker, for what computes long and leaves the interpreter free."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from gevent.threadpool import ThreadPool

#: Threads of a worker. Each may need the memory and the core that one verification of a password takes.
MOST = 2


class SideThreads:
    """Calls functions in threads; the greenlet that calls waits, while others go on. A process that was forked has its
    own threads.
    """

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<SideThreads of {self._pid or '-'}>"

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the function, or its exception."""
        if self._pool is None or self._pid != os.getpid():
            self._pool, self._pid = ThreadPool(MOST), os.getpid()
        return self._pool.apply(function, arguments)
