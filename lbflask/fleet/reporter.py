"""Reports to the store what a worker has to report, in the background: traffic, unreachable backends, reloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from lbflask.background import BackgroundTask
from lbflask.fleet.local_pool import LocalPool
from lbflask.fleet.store_link import StoreLink
from lbflask.store.ports import StoreUnavailable

#: Seconds within which a worker reports a backend as unreachable at most once.
UNREACHABLE_EVERY = 1.0
#: What happens within so many seconds is reported together, so that a storm of failures makes few trips.
COALESCE_FOR = 0.01
#: Seconds that `stop` waits for the last report.
STOP_WITHIN = 1.0


class FleetReporter:
    """Threads and greenlets may share it. `wake` is set when there is something to report at once.

    `pools` gives the pools, also retired ones. `publish` publishes what else is due, and may raise StoreUnavailable.
    """

    def __init__(
        self,
        link: StoreLink,
        pools: Callable[[], Collection[LocalPool]],
        wake: threading.Event,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._pools = pools
        self._wake = wake
        self._publish = publish
        self._reported: dict[tuple[str, str], float] = {}  # when each backend was last reported as unreachable
        self._unreachable: set[tuple[str, str]] = set()
        self._reload_pending = False
        self._task = BackgroundTask("fleet-reporter", self._run)

    def __repr__(self) -> str:
        return f"<FleetReporter unreachable={len(self._unreachable)} reload={self._reload_pending}>"

    def start(self) -> None:
        """Report in the background."""
        self._task.start()

    def stop(self) -> None:
        """Stop, and wait for the end of the last report."""
        self._task.stopping.set()
        self._wake.set()
        self._task.stop(within=STOP_WITHIN)

    def report_unreachable(self, pool: str, backend: str) -> None:
        """Report to the checker that the backend could not be reached."""
        now = time.monotonic()
        if now - self._reported.get((pool, backend), -UNREACHABLE_EVERY) >= UNREACHABLE_EVERY:
            self._reported[pool, backend] = now
            self._unreachable.add((pool, backend))
            self._wake.set()

    def announce_reload(self) -> None:
        """Ask the checkers to read their configuration, which may have changed like this worker's."""
        self._reload_pending = True
        self._wake.set()

    def flush(self) -> None:
        """Report all that is due now."""
        try:
            while self._unreachable:
                unreachable = self._unreachable.pop()
                if not self._link.degraded:
                    self._link.store.report_suspect(*unreachable)
            self._publish()  # before a heartbeat names the version of the settings
            for pool in self._pools():
                pool.report()
            if self._reload_pending and not self._link.degraded:
                self._link.store.announce_reload()
                self._reload_pending = False
        except StoreUnavailable as error:
            self._link.lost(error)

    def _run(self) -> None:
        stopping = self._task.stopping
        while not stopping.is_set():
            self._wake.wait(min(pool.traffic.heartbeat.interval for pool in self._pools()))
            self._wake.clear()
            self.flush()
            stopping.wait(COALESCE_FOR)
