"""A worker's telemetry, joined: who reads what happens, and their beginning and end."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import lbflask
from lbflask.config.load import ConfigError
from lbflask.config.schema import Config
from lbflask.config.show import as_toml
from lbflask.proxy.exchange import Occupancy
from lbflask.state.fleet import Fleet
from lbflask.telemetry import exposition, metrics
from lbflask.telemetry.access_log import AccessLog
from lbflask.telemetry.counting import Counting, Sample
from lbflask.telemetry.events import Listener
from lbflask.telemetry.hooks import Hooks
from lbflask.telemetry.journal import Journal, Reader
from lbflask.telemetry.lines import format_of
from lbflask.telemetry.tracing import NoOpenTelemetry, Tracing
from lbflask.upstream.pool import ConnectionPool
from lbflask.wiring.hooks import hooks_of

log = logging.getLogger("lbflask")


class Telemetry:
    """What of a worker's doings is told to whom. What is not configured is not there.

    `watch` says what to look at now and then, before `start`. Metrics are counted in `directory`, which the workers of
    a gunicorn share; without one, in one of our own.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._access_log = _access_log(config)
        self._sources: list[Callable[[], Iterable[Sample]]] = []
        self._counting = Counting(self._samples) if config.metrics and config.admin_bind else None
        self._always: tuple[Sample, ...] = (
            (metrics.BUILD, (lbflask.__version__,), 1),
            (metrics.CONFIG, (fingerprint(config),), 1),
        )
        self._hooks = hooks_of(config)
        if self._hooks is not None:
            self.watch(self._hooks.samples)
        self.tracing = _tracing(config)
        readers = self._readers()
        self._journal = Journal(readers) if readers else None
        self.directory: Path | None = None
        self._private: Path | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who is to be told of each request."""
        return (self._journal,) if self._journal is not None and self._journal.readers else ()

    @property
    def hooks(self) -> Hooks | None:
        """Who is to be asked on the way of a request."""
        return self._hooks if self._hooks is not None and self._hooks.on_the_way else None

    @property
    def trip(self) -> Callable[[str, float, bool], None] | None:
        """Who is to be told of each trip to the store."""
        return None if self._counting is None else self._counting.trip

    @property
    def counts(self) -> bool:
        """Whether there are metrics."""
        return self._counting is not None

    def watch(self, source: Callable[[], Iterable[Sample]]) -> None:
        """Look there for numbers that no event tells."""
        self._sources.append(source)

    def page(self, samples: Iterable[Sample]) -> bytes:
        """The answer to a scrape. Raises Busy, OSError."""
        if self._journal is None or self._counting is None or self.directory is None:
            raise OSError("this worker has not begun to count")
        self._journal.flush()
        self._counting.sample()
        return exposition.page(exposition.gathered(self.directory), [*self._always, *samples])

    def start(self) -> None:
        """Begin. Raises OSError when a log can't be opened."""
        self.reopen_logs()
        if self._counting is not None:
            self._start_counting(self._counting)
        if self.tracing is not None:
            self.tracing.start()
        if self._journal is not None:
            self._journal.start()

    def apply(self, config: Config) -> None:
        """Take up what may change while requests go on: where the access log goes, and its format. Raises OSError, and
        goes on as before, when the new one can't be opened.

        Listeners may be others then. Hooks, metrics and tracing begin with a worker and end with it.
        """
        before, old = self._config, self._access_log
        same = (config.access_log, config.access_log_format) == (before.access_log, before.access_log_format)
        new = old if same else _access_log(config)
        if not same and new is not None:
            new.open()
        self._config, self._access_log = config, new
        self._always = self._always[0], (metrics.CONFIG, (fingerprint(config),), 1)
        if same:
            return
        readers = self._readers()
        if self._journal is None:
            self._journal = Journal(readers)
            self._journal.start()
        else:
            self._journal.flush()
            self._journal.readers = readers
        if old is not None:
            old.close()

    def reopen_logs(self) -> None:
        """Follow a rotated log. Raises OSError, and goes on with the old one, when it can't."""
        if self._access_log is not None:
            self._access_log.open()

    def stop(self) -> None:
        """Tell what is left, and close the logs."""
        if self._journal is not None:
            self._journal.stop()
        if self._hooks is not None:
            self._hooks.stop()
        if self.tracing is not None:
            self.tracing.stop()
        if self._access_log is not None:
            self._access_log.close()
        if self._counting is not None:
            self._counting.stop()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _start_counting(self, counting: Counting) -> None:
        try:
            if self.directory is None:
                self.directory = self._private = Path(tempfile.mkdtemp(prefix="lbflask-metrics-"))
            counting.start(self.directory)
        except OSError as error:
            log.warning("requests are not counted: %s", error)

    def _readers(self) -> tuple[Reader, ...]:
        told = self._hooks if self._hooks is not None and self._hooks.wants_responses else None
        readers = (self._access_log, self._counting, told, self.tracing)
        return tuple(reader for reader in readers if reader is not None)

    def _samples(self) -> Iterator[Sample]:
        for source in self._sources:
            yield from source()


def of_the_worker(fleet: Fleet, connections: ConnectionPool, occupancy: Occupancy) -> Callable[[], Iterator[Sample]]:
    """What a worker knows of itself, whenever it is asked."""
    degraded_since: float | None = None
    degraded = 0.0

    def samples() -> Iterator[Sample]:
        nonlocal degraded_since, degraded
        now = time.monotonic()
        if degraded_since is not None:
            degraded += now - degraded_since
        degraded_since = now if fleet.degraded else None
        yield metrics.DEGRADED, (), fleet.degraded
        yield metrics.DEGRADED_SECONDS, (), degraded
        yield metrics.IN_FLIGHT, (), occupancy.active - occupancy.tunnels
        yield metrics.TUNNELS, (), occupancy.tunnels
        yield metrics.OPENED, (), connections.opened
        yield metrics.REUSED, (), connections.reused
        yield metrics.IDLE, (), connections.idle
        for pool in fleet.pools:
            taken = fleet.tickets_taken(pool)
            yield metrics.TICKETS, (pool,), taken.tickets
            yield metrics.LEASES, (pool,), taken.leases
            yield metrics.LOCAL_TICKETS, (pool,), taken.local
            yield metrics.FAILING_OPEN, (pool,), fleet.resorted(pool)
            loads = fleet.traffic(pool).own_loads()
            for backend in loads.keys() | known[pool]:
                yield metrics.BACKEND_IN_FLIGHT, (pool, backend), loads.get(backend, 0)
            known[pool] |= loads.keys()

    known: dict[str, set[str]] = {pool: set() for pool in fleet.pools}
    return samples


def fingerprint(config: Config) -> str:
    """The same for two configurations that are the same in effect."""
    return hashlib.sha256(as_toml(config).encode()).hexdigest()[:12]


def _tracing(config: Config) -> Tracing | None:
    ours = config.tracing
    try:
        return Tracing(ours.endpoint, ours.service, ours.sample_percent / 100) if ours.endpoint else None
    except NoOpenTelemetry as error:
        raise ConfigError(f"tracing.endpoint: {error}") from None


def _access_log(config: Config) -> AccessLog | None:
    return AccessLog(config.access_log, format_of(config.access_log_format)) if config.access_log else None
