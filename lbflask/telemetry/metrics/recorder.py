"""Records metrics in the background, in shared memory that the other workers can read.

Recording takes about a microsecond for each request, whatever the number of backends; no request waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lbflask.core.answers import AnswerCause
from lbflask.core.faults import Blame, Fault, Outpaced, Shortage, Stage
from lbflask.telemetry.event_queue import TimedEvent
from lbflask.telemetry.events import RequestEvent
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.definitions import METHODS, OTHER, Metric
from lbflask.telemetry.metrics.mmap_values import MmapValues

#: Seconds between samples of values that events do not carry, such as gauges.
SAMPLE_INTERVAL = 0.5
#: Limit of series in a worker; more would be a mistake or an attack.
MAX_SERIES = 20_000

#: Causes of local replies for which nothing more is counted.
_COUNTED_ALIKE = frozenset({AnswerCause.DIRECT_RESPONSE, AnswerCause.FILE, AnswerCause.NO_ROUTE})

#: A current value: of a gauge, or of a counter that another object maintains.
Sample = tuple[Metric, tuple[str, ...], float]


class MetricsRecorder:
    """An event sink. `samples` returns values that events do not carry; it is called every `SAMPLE_INTERVAL`."""

    def __init__(self, samples: Callable[[], Iterable[Sample]] = lambda: ()) -> None:
        self._samples = samples
        self._file: MmapValues | None = None
        # For requests answered at the first attempt, by pool, backend, method, class of status and route: the offsets
        # of the series of requests, of answers, of answered attempts, and of the first bucket of the latencies.
        self._offsets: dict[tuple[str, str, str, int, str], tuple[int, int, int, int]] = {}
        # For answers without an attempt, by pool, method, status, route and cause: the offsets of requests and answers.
        self._local_offsets: dict[tuple[str, str, int, str, AnswerCause], tuple[int, int]] = {}
        self._path: Path | None = None
        self._sampled = float("-inf")
        self._sampling = threading.Lock()  # sources remember what they returned last
        self._counted: dict[tuple[Metric, tuple[str, ...]], float] = {}
        self._trips: deque[tuple[str, float, bool]] = deque(maxlen=10_000)

    def __repr__(self) -> str:
        return f"<MetricsRecorder {self._path} series={0 if self._file is None else len(self._file)}>"

    def start(self, directory: Path) -> None:
        """Create the file of this worker in the directory. Raises OSError."""
        self._path = directory / f"{os.getpid()}-{time.monotonic_ns()}.cells"
        self._file = MmapValues(self._path)
        self._offsets, self._local_offsets = {}, {}

    def stop(self) -> None:
        """Close the file, which stays for later scrapes."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def trip(self, command: str, seconds: float, ok: bool) -> None:
        """Record a command to the store. Thread-safe; never blocks."""
        self._trips.append((command, seconds, ok))

    def consume(self, batch: Sequence[TimedEvent]) -> None:
        """See EventSink."""
        file = self._file
        if file is None:
            return
        if batch:
            self._count(file, batch)
        if self._trips:
            self._count_trips()
        now = time.monotonic()
        if now - self._sampled >= SAMPLE_INTERVAL:
            self._sampled = now
            self.sample()

    def dropped(self, count: int) -> None:
        """See EventSink."""
        self.add(definitions.EVENTS_DROPPED, (), count)

    def sample(self) -> None:
        """Record the values that events do not carry."""
        with self._sampling:
            self._record(self._samples())

    def _record(self, samples: Iterable[Sample]) -> None:
        for metric, labels, value in samples:
            if metric.kind == "counter":
                # The object that maintains the counter may have been replaced by one that starts from zero.
                before = self._counted.get((metric, labels), 0.0)
                self._counted[metric, labels] = value
                self.add(metric, labels, value - before if value >= before else value)
                continue
            file = self._file
            if file is not None and (at := self._offset(file, metric, labels)) is not None:
                file.values[at] = value

    def add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        """Add `amount` to a counter."""
        file = self._file
        if file is not None and (at := self._offset(file, metric, labels)) is not None:
            file.values[at] += amount

    def _count(self, file: MmapValues, batch: Sequence[TimedEvent]) -> None:
        """Most requests are answered at the first attempt by a backend that has answered such requests before: the
        offsets of their series are cached.
        """
        offsets, bounds, total = self._offsets, definitions.UPSTREAM.buckets, len(definitions.UPSTREAM.buckets) + 1
        local_offsets = self._local_offsets
        durations: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        sent_bytes: defaultdict[str, int] = defaultdict(int)
        received_bytes: defaultdict[str, int] = defaultdict(int)
        for event, _ in batch:
            pool, attempts = event.pool, event.attempts
            durations[pool, event.route].append(event.seconds)
            sent_bytes[pool] += event.sent
            if event.received:
                received_bytes[pool] += event.received
            if event.queued:
                self._observe(definitions.QUEUE_WAIT, (pool,), [event.queued])
            if not attempts:
                local = local_offsets.get((pool, event.method, event.status, event.route, event.cause))
                if local is not None:
                    file.values[local[0]] += 1
                    file.values[local[1]] += 1
                    continue
            cached = None
            if event.cause is AnswerCause.BACKEND and len(attempts) == 1 and (attempt := attempts[0]).fault is None:
                cached = offsets.get((pool, attempt.backend, event.method, event.status // 100, event.route))
            if cached is None:
                self._count_by_name(file, event)
                continue
            values, (ended, responses, answered, upstream) = file.values, cached
            took = attempts[0].seconds
            values[ended] += 1
            values[responses] += 1
            values[answered] += 1
            values[upstream + bisect_left(bounds, took)] += 1
            values[upstream + total] += took
        for labels, seconds in durations.items():
            self._observe(definitions.DURATION, labels, seconds)
        for metric, counted in ((definitions.SENT, sent_bytes), (definitions.RECEIVED, received_bytes)):
            for pool, count in counted.items():
                self.add(metric, (pool,), count)

    def _count_by_name(self, file: MmapValues, event: RequestEvent) -> None:
        """Slow path: a request with a fault or several attempts, or the first of its kind."""
        pool, attempts = event.pool, event.attempts
        for attempt in attempts:
            backend, fault = attempt.backend, attempt.fault
            if isinstance(fault, Outpaced):
                self.add(definitions.ATTEMPTS, (pool, backend, "outpaced"), 1)
                continue
            if isinstance(fault, Fault):
                self.add(definitions.FAULTS, (pool, backend, fault.blame.value, fault.stage.value), 1)
                if isinstance(fault, Shortage):
                    self.add(definitions.SHORTAGES, (fault.resource.value,), 1)
            elif fault is not None:
                self.add(definitions.FAULTS, (pool, backend, Blame.SELF.value, Stage.SEND.value), 1)
            if attempt.answered:
                self._observe(definitions.UPSTREAM, (pool, backend), [attempt.seconds])
            self.add(definitions.ATTEMPTS, (pool, backend, "answered" if attempt.answered else "failed"), 1)
        self._count_answer(event)
        if attempts:
            self.add(definitions.RETRIES, (pool,), len(attempts) - 1)
        served = event.served
        backend = "" if served is None else served.backend
        method = event.method if event.method in METHODS else OTHER
        requests = (pool, backend, method, f"{event.status // 100}xx")
        self.add(definitions.REQUESTS, requests, 1)
        if method is not OTHER:  # clients may invent any number of methods
            self._keep_offsets(file, event, requests)

    def _keep_offsets(self, file: MmapValues, event: RequestEvent, requests: tuple[str, str, str, str]) -> None:
        """Keep the offsets for the next request of this kind, if nothing more than these series counts it."""
        pool, backend, method, _ = requests
        ended = file.find((definitions.REQUESTS.name, *requests))
        responses = file.find((definitions.RESPONSES.name, *event.answer[:2], event.route))
        if ended is None or responses is None:
            return
        if not event.attempts and event.cause in _COUNTED_ALIKE:
            self._local_offsets[pool, method, event.status, event.route, event.cause] = ended, responses
        elif event.served is not None and event.cause is AnswerCause.BACKEND:
            answered = file.find((definitions.ATTEMPTS.name, pool, backend, "answered"))
            upstream = file.find((definitions.UPSTREAM.name, pool, backend))
            if answered is not None and upstream is not None:
                key = pool, backend, method, event.status // 100, event.route
                self._offsets[key] = ended, responses, answered, upstream

    def _count_answer(self, event: RequestEvent) -> None:
        self.add(definitions.RESPONSES, (*event.answer[:2], event.route), 1)
        if event.cause is AnswerCause.RATE_LIMIT:
            self.add(definitions.RATE_LIMITED, (event.limit,), 1)
        elif event.cause in (AnswerCause.QUEUE_FULL, AnswerCause.QUEUE_TIMEOUT):
            self.add(definitions.QUEUE_REFUSED, (event.pool,), 1)

    def _count_trips(self) -> None:
        durations: defaultdict[str, list[float]] = defaultdict(list)
        while self._trips:
            command, seconds, ok = self._trips.popleft()
            if ok:
                durations[command].append(seconds)
            else:
                self.add(definitions.STORE_FAILURES, (command,), 1)
        for command, seconds_of_command in durations.items():
            self._observe(definitions.STORE_DURATION, (command,), seconds_of_command)

    def _observe(self, metric: Metric, labels: tuple[str, ...], durations: list[float]) -> None:
        file = self._file
        if file is None or (at := self._offset(file, metric, labels)) is None:
            return
        bounds, values = metric.buckets, file.values
        for seconds in durations:
            values[at + bisect_left(bounds, seconds)] += 1
        values[at + len(bounds) + 1] += sum(durations)

    def _offset(self, file: MmapValues, metric: Metric, labels: tuple[str, ...]) -> int | None:
        """The offset of a series in the file; None beyond the limit of series."""
        name = (metric.name, *labels)
        offset = file.find(name)
        if offset is not None:
            return offset
        if len(file) < MAX_SERIES:
            return file.row(name, metric.size)
        dropped = file.row((definitions.SERIES_DROPPED.name,), 1)
        file.values[dropped] += 1
        return None
