"""Counts what happens, in the background, into memory that the other workers can read.

Portions of events are added up in plain dictionaries first, so that a request costs a microsecond or two here, and none
of them is waited for by a request.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.telemetry import metrics
from lbflask.telemetry.cells import Cells
from lbflask.telemetry.events import AttemptEvent
from lbflask.telemetry.journal import Told
from lbflask.telemetry.metrics import METHODS, OTHER, Metric

#: Seconds between two looks at what is not told by events.
SAMPLE_EVERY = 0.5
#: Series that a worker counts; more would be somebody's mistake, or somebody's attack.
MOST_SERIES = 20_000

#: A number as it is now: a gauge, or a counter that somebody else keeps.
Sample = tuple[Metric, tuple[str, ...], float]


class Counting:
    """A reader of a Journal. `samples` tells what events do not, and is asked now and then."""

    def __init__(self, samples: Callable[[], Iterable[Sample]] = lambda: ()) -> None:
        self._samples = samples
        self._cells: Cells | None = None
        self._path: Path | None = None
        self._sampled = float("-inf")
        self._counted: dict[tuple[Metric, tuple[str, ...]], float] = {}
        self._trips: deque[tuple[str, float, bool]] = deque(maxlen=10_000)

    def start(self, directory: Path) -> None:
        """Begin a file in the directory. Raises OSError."""
        self._path = directory / f"{os.getpid()}-{time.monotonic_ns()}.cells"
        self._cells = Cells(self._path)

    def stop(self) -> None:
        """Count no more; what was counted stays."""
        if self._cells is not None:
            self._cells.close()
            self._cells = None

    def trip(self, command: str, seconds: float, ok: bool) -> None:
        """A trip to the store has ended. Any thread may tell it; never waits."""
        self._trips.append((command, seconds, ok))

    def take(self, portion: Sequence[Told]) -> None:
        """See Reader."""
        if self._cells is None:
            return
        if portion:
            self._count(portion)
        if self._trips:
            self._count_trips()
        now = time.monotonic()
        if now - self._sampled >= SAMPLE_EVERY:
            self._sampled = now
            self.sample()

    def missed(self, count: int) -> None:
        """See Reader."""
        self.add(metrics.EVENTS_DROPPED, (), count)

    def sample(self) -> None:
        """Look at what events do not tell."""
        for metric, labels, value in self._samples():
            if metric.kind == "counter":
                # Who keeps it may have been exchanged, and begun anew.
                before = self._counted.get((metric, labels), 0.0)
                self._counted[metric, labels] = value
                self.add(metric, labels, value - before if value >= before else value)
                continue
            cells = self._cells
            if cells is not None and (at := self._place(cells, metric, labels)) is not None:
                cells.values[at] = value

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        """Count so many more."""
        cells = self._cells
        if cells is not None and amount and (at := self._place(cells, metric, labels)) is not None:
            cells.values[at] += amount

    def _count(self, portion: Sequence[Told]) -> None:
        requests: defaultdict[tuple[str, str, str, int], int] = defaultdict(int)
        attempted: defaultdict[tuple[str, str], int] = defaultdict(int)
        whole: defaultdict[str, list[float]] = defaultdict(list)
        upstream: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        moved: defaultdict[tuple[str, bool], int] = defaultdict(int)
        for event, _ in portion:
            _, method, _, _, pool, status, sent, seconds, attempts, _, _, _, received, _, _ = event
            backend = ""
            if len(attempts) == 1 and attempts[0][2] is None:
                backend = attempts[0][0]
                upstream[pool, backend].append(attempts[0][1])
            elif attempts:
                backend = self._count_attempts(pool, attempts, upstream, attempted)
            requests[pool, backend, method, status] += 1
            whole[pool].append(seconds)
            moved[pool, False] += sent
            if received:
                moved[pool, True] += received
        for (pool, backend, method, status), count in requests.items():
            known = method if method in METHODS else OTHER
            self.add(metrics.REQUESTS, (pool, backend, known, f"{status // 100}xx"), count)
        for pool, found in whole.items():
            self._observe(metrics.DURATION, (pool,), found)
        for (pool, backend), found in upstream.items():
            self._observe(metrics.UPSTREAM, (pool, backend), found)
            self.add(metrics.ATTEMPTS, (pool, backend, "answered"), len(found))
        for (pool, backend), count in attempted.items():
            self.add(metrics.ATTEMPTS, (pool, backend, "failed"), count)
        for (pool, inward), count in moved.items():
            self.add(metrics.RECEIVED if inward else metrics.SENT, (pool,), count)

    def _count_attempts(
        self,
        pool: str,
        attempts: Sequence[AttemptEvent],
        upstream: defaultdict[tuple[str, str], list[float]],
        failed: defaultdict[tuple[str, str], int],
    ) -> str:
        """Of a request that did not go smoothly; the backend whose response was passed on."""
        for backend, seconds, fault, _ in attempts:
            if isinstance(fault, Fault):
                self.add(metrics.FAULTS, (pool, backend, fault.blame.value, fault.stage.value), 1)
            elif fault is not None:
                self.add(metrics.FAULTS, (pool, backend, Blame.SELF.value, Stage.SEND.value), 1)
            if fault is None or _answered(fault):
                upstream[pool, backend].append(seconds)
            else:
                failed[pool, backend] += 1
        self.add(metrics.RETRIES, (pool,), len(attempts) - 1)
        last = attempts[-1]
        return last.backend if last.fault is None or _answered(last.fault) else ""

    def _count_trips(self) -> None:
        found: defaultdict[str, list[float]] = defaultdict(list)
        while self._trips:
            command, seconds, ok = self._trips.popleft()
            if ok:
                found[command].append(seconds)
            else:
                self.add(metrics.STORE_FAILURES, (command,), 1)
        for command, durations in found.items():
            self._observe(metrics.STORE_DURATION, (command,), durations)

    def _observe(self, metric: Metric, labels: tuple[str, ...], found: list[float]) -> None:
        cells = self._cells
        if cells is None or (at := self._place(cells, metric, labels)) is None:
            return
        bounds, values = metric.buckets, cells.values
        if len(found) == 1:
            values[at + bisect_left(bounds, found[0])] += 1
        else:
            for bucket, count in Counter([bisect_left(bounds, seconds) for seconds in found]).items():
                values[at + bucket] += count
        values[at + metric.size - 1] += sum(found)

    def _place(self, cells: Cells, metric: Metric, labels: tuple[str, ...]) -> int | None:
        """Where the numbers of a series are; None for one too many."""
        if len(cells) < MOST_SERIES:
            return cells.row((metric.name, *labels), metric.size)
        known = cells.known((metric.name, *labels))
        if known is None:
            dropped = cells.row((metrics.SERIES_DROPPED.name,), 1)
            cells.values[dropped] += 1
        return known


def _answered(fault: Exception) -> bool:
    """Whether the response had begun."""
    return isinstance(fault, Fault) and fault.stage is Stage.BODY
