"""The worker that a process is to the fleet."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from lbflask.core.fleet_stats import WorkerIdentity


class LocalWorker:
    """The id of the worker in the store, its identity for operators, its steady `clock` in seconds, and `wake`, which
    is set when there is something to report at once.
    """

    def __init__(
        self,
        identity: WorkerIdentity | None = None,
        *,
        id: str = "",  # noqa: A002 - as in Worker
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self.identity = identity or WorkerIdentity()
        self.clock = clock
        self.wake = threading.Event()

    def __repr__(self) -> str:
        return f"<LocalWorker {self.id} config={self.identity.config}>"

    def start(self) -> None:
        """Become the worker of this process, with a new id."""
        host, pid = os.uname().nodename, os.getpid()
        self.id = f"{host}:{pid}:{secrets.token_hex(4)}"
        self.identity = replace(self.identity, host=host, pid=pid, started=time.time())

    def set_config(self, config: str) -> None:
        """The version of the configuration in effect, for operators."""
        self.identity = replace(self.identity, config=config)
