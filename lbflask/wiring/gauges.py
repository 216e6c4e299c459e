"""The gauges of a worker: sources of samples, which are read at intervals and before each scrape."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from lbflask.fleet.fleet import Fleet
from lbflask.fleet.slot_renewer import Slots
from lbflask.proxy.services import InFlight
from lbflask.telemetry.metrics import definitions
from lbflask.telemetry.metrics.recorder import Sample
from lbflask.upstream.connection_pool import ConnectionPool


def worker_gauges(
    fleet: Fleet, connections: Callable[[], ConnectionPool], occupancy: InFlight
) -> Callable[[], Iterator[Sample]]:
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
        yield definitions.OPENED, (), connections().opened
        yield definitions.REUSED, (), connections().reused
        yield definitions.IDLE, (), connections().idle
        for pool, local in fleet.pools.items():
            taken = local.tickets.counts
            yield definitions.TICKETS, (pool,), taken.tickets
            yield definitions.LEASES, (pool,), taken.leases
            yield definitions.LOCAL_TICKETS, (pool,), taken.local
            yield definitions.FAILING_OPEN, (pool,), local.fallback_count
            in_flight = local.traffic.in_flight.local()
            yield from _by_backend(definitions.BACKEND_IN_FLIGHT, pool, in_flight, known[pool])

    known: defaultdict[str, set[str]] = defaultdict(set)
    return samples


def slot_gauges(slots: Slots) -> Callable[[], Iterator[Sample]]:
    """A source of the gauges of slot queues, for backends with `max_connections`."""
    known: defaultdict[str, set[str]] = defaultdict(set)

    def samples() -> Iterator[Sample]:
        for pool, those in slots.pools.items():
            yield definitions.QUEUED, (pool,), those.waiting
            yield from _by_backend(definitions.SLOTS, pool, those.used, known[pool])

    return samples


def _by_backend(metric: definitions.Metric, pool: str, counts: Mapping[str, int], known: set[str]) -> Iterator[Sample]:
    """The counts, and 0 for backends that had one before: a gauge that is no longer set would keep its last value."""
    known.update(counts)
    for backend in known:
        yield metric, (pool, backend), counts.get(backend, 0)
