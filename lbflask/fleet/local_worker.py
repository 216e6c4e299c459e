"""The worker that a process is to the fleet."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lbflask.core.fleet_stats import Waits, WorkerIdentity
from lbflask.core.reserves import Reserves
from lbflask.core.slow_uploads import Uploads
from lbflask.fleet.recent_answers import RecentAnswers
from lbflask.fleet.shared_turns import SharedTurns

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LocalWorker:
    """The id of the worker in the store, its identity for operators, its steady `clock` in seconds, and `wake`, which
    is set when there is something to report at once. `stopping` is whether its server is about to end. `answers` counts
    what its clients got. `waits` gives the long waits for a first byte in a pool, by backend; `end_waits` ends those at
    some backends of a pool. `handshakes` gives the recent TLS handshakes with clients at this time of the clock, by
    result, `reserves` what it may run out of, `expected` the number of workers that its server is to run now, 0 if
    unknown, and `uploads` the uploads in a pool, by backend. `turns` are those that the workers of its machine
    share; None if each has its own.
    """

    def __init__(  # noqa: PLR0913 - the sources of one report
        self,
        identity: WorkerIdentity | None = None,
        *,
        id: str = "",  # noqa: A002 - as in Worker
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
        waits: Callable[[str], Mapping[str, Waits]] = lambda _: {},
        end_waits: Callable[[str, Collection[str]], None] = lambda _pool, _backends: None,
        handshakes: Callable[[float], Mapping[str, int]] = lambda _: {},
        expected: Callable[[], int] = lambda: 0,
        reserves: Callable[[float], Reserves] = lambda _: Reserves(),
        uploads: Callable[[str], Mapping[str, Uploads]] = lambda _: {},
        turns: SharedTurns | None = None,
    ) -> None:
        self.id = id
        self._identity = identity or WorkerIdentity()
        self.clock = clock
        self.stopping = stopping
        self.waits = waits
        self.end_waits = end_waits
        self.handshakes = handshakes
        self._expected = expected
        self.reserves = reserves
        self.uploads = uploads
        self.turns = turns
        self.settings = ""  #: in effect, as JSON without secrets; empty if unknown
        self.wake = threading.Event()
        self.answers = RecentAnswers(clock)

    def __repr__(self) -> str:
        return f"<LocalWorker {self.id} config={self.identity.config}>"

    @property
    def identity(self) -> WorkerIdentity:
        """Its identity now."""
        return replace(self._identity, expected=self._expected())

    def start(self) -> None:
        """Become the worker of this process, with a new id."""
        host, pid = os.uname().nodename, os.getpid()
        self.id = f"{host}:{pid}:{secrets.token_hex(4)}"
        master = os.getppid() if self._expected() else 0  # else another server runs it
        self._identity = replace(self._identity, host=host, pid=pid, started=time.time(), boot=_boot(), master=master)

    def set_config(self, config: str, settings: str = "") -> None:
        """The version of the configuration in effect, for operators, and its settings as JSON, without secrets."""
        self.settings = settings
        self._identity = replace(self._identity, config=config)


def _boot() -> str:
    """The beginning of the id of this boot of the machine (random(4)); empty where there is none."""
    with suppress(OSError):
        return _BOOT.read_text("ascii")[:8]
    return ""
