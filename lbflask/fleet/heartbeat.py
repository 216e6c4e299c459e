"""The heartbeat of a worker in one pool: its requests in flight, its attempts, and a report of its last seconds."""

from __future__ import annotations

import time

from lbflask.core.fleet_stats import WorkerReport
from lbflask.fleet.ejection_reporter import EjectionReporter
from lbflask.fleet.in_flight_counts import PoolInFlightCounts
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.recent_stats import SlidingStats
from lbflask.store.ports import Beat, StoreUnavailable, WorkerStore

#: Seconds between two beats: without changes, with changes, and while the other workers' counts are read.
BEAT_EVERY = 1.0
BEAT_WITH_NEWS_EVERY = 0.5
BEAT_WHILE_READING_EVERY = 0.1
#: Seconds between two reports. They go along with beats.
REPORT_EVERY = 1.0
#: Expired workers are purged on every read, and by each worker at least once in so many seconds.
PURGE_EVERY = 60.0


class Heartbeat:
    """Called from one thread."""

    def __init__(
        self,
        pool: str,
        worker: LocalWorker,
        in_flight: PoolInFlightCounts,
        ejections: EjectionReporter,
        stats: SlidingStats,
    ) -> None:
        self.workers = 1  #: living workers of the fleet, as last read
        #: Whether the store had a report of this worker before the latest call of `beat`; None if that sent none.
        self.was_known: bool | None = None
        self._pool = pool
        self._worker = worker
        self._clock = worker.clock
        self._in_flight = in_flight
        self._ejections = ejections
        self._stats = stats
        self._purged = self._beaten = self._counted = self._reported = float("-inf")
        self._beaten_with: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Heartbeat of {self._worker.id} in {self._pool}, workers={self.workers}>"

    @property
    def is_registered(self) -> bool:
        """Whether the store holds a beat of this worker, as far as is known here."""
        return self._beaten > float("-inf")

    @property
    def interval(self) -> float:
        """Seconds until the next call of `beat` is due."""
        return BEAT_WHILE_READING_EVERY if self._in_flight.is_read(self._clock()) else BEAT_WITH_NEWS_EVERY

    def beat(self, store: WorkerStore) -> None:
        """Beat if it is time to. Raises StoreUnavailable; attempts that were not reported go along with the next."""
        self.was_known = None
        now, loads = self._clock(), self._in_flight.local()
        reading, purge = self._in_flight.is_read(now), now - self._purged >= PURGE_EVERY
        has_news = loads != self._beaten_with or self._ejections.has_attempts
        every = BEAT_EVERY if not has_news else BEAT_WHILE_READING_EVERY if reading else BEAT_WITH_NEWS_EVERY
        if now - self._beaten < every * 0.9:  # a little early is better than one round late
            return
        # Beats of a tenth of a second have to carry the few that are in flight, not all that were made.
        counting = now - self._counted >= BEAT_WITH_NEWS_EVERY * 0.9
        attempts = self._ejections.take_attempts() if counting else {}
        self._stats.count(attempts)
        try:
            beat = Beat(loads, attempts, self._report(now))
            others = store.beat(self._pool, self._worker.id, beat, read=reading or purge)
        except StoreUnavailable:
            self._ejections.return_attempts(attempts)
            self._stats.count({backend: -count for backend, count in attempts.items()})
            raise
        self._beaten, self._beaten_with = now, loads
        self._counted = now if counting else self._counted
        self.workers = others.workers
        self.was_known = None if beat.report is None else not others.is_new
        if reading or purge:
            self._purged = now
            self._in_flight.set_others(others.loads, now)

    def hasten(self) -> None:
        """The next call of `beat` beats and reports at once, since the identity of the worker has changed."""
        self._beaten = min(self._beaten, self._clock() - BEAT_EVERY)
        self._reported = float("-inf")

    def leave(self, store: WorkerStore) -> None:
        """Remove this worker from the pool. Raises StoreUnavailable."""
        store.leave(self._pool, self._worker.id)
        self._beaten = float("-inf")

    def _report(self, now: float) -> WorkerReport | None:
        """A report of the last seconds; None if the last report is too recent."""
        if now - self._reported < REPORT_EVERY * 0.9:
            return None
        self._reported = now
        seconds, served = self._stats.close(now)
        worker, stats = self._worker, self._stats
        return WorkerReport(
            worker.identity,
            time.time(),
            seconds,
            served,
            worker.stopping(),
            stats.attempts,
            worker.answers.latest(),
            worker.waits(self._pool),
            worker.handshakes(now),
            worker.reserves(now),
            worker.answers.clients,
            worker.uploads(self._pool),
            worker.answers.refused_clients,
        )
