"""Threads of gevent's hub for name lookups. By default there are ten, shared with all other blocking calls."""

from __future__ import annotations

from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


def allow_lookups(worker: Any, count: int) -> None:
    """Allow a gevent worker `count` concurrent lookups, beside other blocking calls. Threads start when needed."""
    if isinstance(worker, GeventWorker):
        gevent.get_hub().threadpool.maxsize += count
