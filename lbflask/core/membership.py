"""The backends of a pool: configured, discovered, and added or removed by operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lbflask.core.model import Backend, Mode, Override, Pool, Snapshot


def members(pool: Pool, snapshot: Snapshot) -> tuple[Backend, ...]:
    """The backends of the pool, with their current weights.

    First the configured ones in their order, then the discovered ones, then those that operators added; without those
    that operators removed. Of two with the same id the first counts; of two with the same URL the configured one.
    """
    overrides = snapshot.overrides
    if not overrides and not snapshot.discovered:
        return pool.backends
    places = {backend.url for backend in pool.backends}
    known = (*pool.backends, *(backend for backend in snapshot.discovered if backend.url not in places))
    found = {backend.id: backend for backend in reversed(known)}
    order = dict.fromkeys(backend.id for backend in known)
    for id_ in sorted(overrides):
        added = overrides[id_].added
        if added is not None:
            found.setdefault(id_, added)
            order[id_] = None
    removed = {id_ for id_, override in overrides.items() if override.removed}
    return tuple(_as_set(found[id_], overrides.get(id_)) for id_ in order if id_ not in removed)


def mode_of(backend: Backend, snapshot: Snapshot) -> Mode:
    """The mode that operators have set for the backend."""
    override = snapshot.overrides.get(backend.id)
    return Mode.SERVING if override is None else override.mode


def takers(known: Iterable[Backend], snapshot: Snapshot) -> tuple[str, ...]:
    """The sorted ids of the backends that get new requests while healthy: in service, with a weight above 0."""
    return tuple(sorted(one.id for one in known if one.weight > 0 and mode_of(one, snapshot) is Mode.SERVING))


def _as_set(backend: Backend, override: Override | None) -> Backend:
    if override is None or override.weight is None or override.weight == backend.weight:
        return backend
    return replace(backend, weight=override.weight)
