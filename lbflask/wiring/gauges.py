"""The gauges of a worker: sources of samples, which are read at intervals and before each scrape."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from lbflask.core.handshakes import Handshake, Handshakes
from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.auth_counts import AuthCounts
from lbflask.proxy.first_byte_waits import FirstByteWaits
from lbflask.proxy.services import InFlight
from lbflask.proxy.upload_watch import UploadWatch
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.recorder import Sample
from lbflask.wiring import descriptor_limit
from lbflask.wiring.backend_connections import BackendConnections


def worker_gauges(fleet: Fleet, connections: BackendConnections, occupancy: InFlight) -> Callable[[], Iterator[Sample]]:
    """A source of the worker's gauges."""
    degraded_since: float | None = None
    degraded = 0.0

    def samples() -> Iterator[Sample]:
        nonlocal degraded_since, degraded
        now = time.monotonic()
        if degraded_since is not None:
            degraded += now - degraded_since
        degraded_since = now if fleet.degraded else None
        yield definitions.DEGRADED, (), fleet.degraded
        yield definitions.DEGRADED_SECONDS, (), degraded
        yield definitions.IN_FLIGHT, (), len(occupancy.active) - len(occupancy.tunnels)
        yield definitions.TUNNELS, (), len(occupancy.tunnels)
        yield definitions.OPENED, (), connections.opened
        yield definitions.REUSED, (), connections.reused
        yield definitions.IDLE, (), connections.idle
        for pool, local in fleet.pools.items():
            taken = local.tickets.counts
            yield definitions.TICKETS, (pool,), taken.tickets
            yield definitions.LEASES, (pool,), taken.leases
            yield definitions.LOCAL_TICKETS, (pool,), taken.local
            yield definitions.FAILING_OPEN, (pool,), local.fallback_count
            for refusal, count in tuple(local.refused_cookies.items()):
                yield definitions.STICKY_REFUSED, (pool, refusal.value), count
            in_flight = local.traffic.in_flight.local()
            yield from _by_backend(definitions.BACKEND_IN_FLIGHT, pool, in_flight, known[pool])

    known: defaultdict[str, set[str]] = defaultdict(set)
    return samples


def auth_counters(counts: AuthCounts) -> Iterator[Sample]:
    """The checks of credentials of this worker."""
    for labels, count in counts.items():
        yield definitions.AUTH_CHECKS, labels, count


def descriptor_gauges() -> Iterator[Sample]:
    """The open descriptors of this worker and their limit; nothing where the system does not count them."""
    with suppress(OSError):
        pid = (str(os.getpid()),)
        yield definitions.OPEN_FDS, pid, descriptor_limit.used()
        yield definitions.MAX_FDS, pid, descriptor_limit.limit()


def slot_gauges(slots: Slots) -> Callable[[], Iterator[Sample]]:
    """A source of the gauges of slot queues, for backends with `max_connections`."""
    known: defaultdict[str, set[str]] = defaultdict(set)

    def samples() -> Iterator[Sample]:
        for pool, those in slots.pools.items():
            yield definitions.QUEUED, (pool,), those.waiting
            yield from _by_backend(definitions.SLOTS, pool, those.used, known[pool])

    return samples


def handshake_counters(handshakes: Handshakes) -> Iterator[Sample]:
    """The TLS handshakes with clients."""
    if handshakes.resumed:
        yield definitions.HANDSHAKES_RESUMED, (), handshakes.resumed
    for result, count in tuple(handshakes.totals.items()):
        if result is Handshake.COMPLETED:
            yield definitions.HANDSHAKES, (), count
        else:
            yield definitions.HANDSHAKES_FAILED, (result.value,), count


def wait_gauges(fleet: Fleet, waits: FirstByteWaits) -> Callable[[], Iterator[Sample]]:
    """A source of the gauges of waits for the first byte of a backend."""
    return _backend_gauges(
        fleet, definitions.OLDEST_WAIT, lambda pool: {id_: wait.oldest for id_, wait in waits.of_pool(pool).items()}
    )


def upload_gauges(fleet: Fleet, uploads: UploadWatch) -> Callable[[], Iterator[Sample]]:
    """A source of the gauges of slow uploads."""
    return _backend_gauges(
        fleet, definitions.SLOW_UPLOADS, lambda pool: {id_: found.slow for id_, found in uploads.of_pool(pool).items()}
    )


def _backend_gauges(
    fleet: Fleet, metric: definitions.Metric, figures: Callable[[str], Mapping[str, float]]
) -> Callable[[], Iterator[Sample]]:
    """A source of one gauge for each backend; `figures` gives those of a pool."""
    known: defaultdict[str, set[str]] = defaultdict(set)

    def samples() -> Iterator[Sample]:
        for pool in fleet.pools:
            yield from _by_backend(metric, pool, figures(pool), known[pool])

    return samples


def _by_backend(
    metric: definitions.Metric, pool: str, counts: Mapping[str, float], known: set[str]
) -> Iterator[Sample]:
    """The counts, and once 0 for each backend that had one at the last call: a gauge keeps its last value."""
    ended = known.difference(counts)
    known.clear()
    known.update(counts)
    for backend, count in counts.items():
        yield metric, (pool, backend), count
    for backend in ended:
        yield metric, (pool, backend), 0
