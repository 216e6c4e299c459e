"""The worker that a process is to the fleet."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import replace

from lbflask.core.fleet_stats import WorkerIdentity


class LocalWorker:
    """The id of the worker in the store, and its identity for operators."""

    def __init__(self, identity: WorkerIdentity | None = None, *, id: str = "") -> None:  # noqa: A002 - as in Worker
        self.id = id
        self.identity = identity or WorkerIdentity()

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
