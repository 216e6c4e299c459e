"""Slow start: a backend that comes into service gets its weight in ten steps, from a tenth to all of it.

The step is a function of the store's clock, so that all workers take it at the same time. Weights stay integers: during
a slow start all are multiplied by the factor that makes each tenth an integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, gcd, inf
from typing import NamedTuple

from lbflask.core.model import Backend, Health, Mode, Pool, Snapshot

STEPS = 10


class Ramp(NamedTuple):
    """Weights, in the order of the backends, and the time until which they are valid, by the store's clock."""

    weights: tuple[int, ...]
    until: float


def weights(pool: Pool, backends: Sequence[Backend], snapshot: Snapshot, now: float) -> Ramp:
    """The weight of each backend at `now`.

    Without a slow start the weights are as configured. Backends in the same step share as without slow start.
    """
    configured = tuple([backend.weight for backend in backends])
    if not pool.slow_start and not any(backend.slow_start for backend in backends):
        return Ramp(configured, inf)
    steps, until = [], inf
    for backend in backends:
        step, end = _step(pool, backend, snapshot, now)
        steps.append(step)
        until = min(until, end)
    if until == inf:
        return Ramp(configured, until)
    common = STEPS // gcd(STEPS, *(weight * step for weight, step in zip(configured, steps, strict=True)))
    return Ramp(tuple(weight * step * common // STEPS for weight, step in zip(configured, steps, strict=True)), until)


def in_service_since(backend: Backend, snapshot: Snapshot) -> float:
    """When the backend last came into service: up by checks, back from an ejection, or enabled; 0 if unknown.

    The last result of the checker counts even without a recent heartbeat.
    """
    active = snapshot.active.get(backend.id)
    ejection = snapshot.ejected.get(backend.id)
    override = snapshot.overrides.get(backend.id)
    return max(
        active.since if active is not None and active.health is Health.UP else 0.0,
        ejection.until if ejection is not None and not ejection.out else 0.0,
        override.since if override is not None and override.mode is Mode.SERVING else 0.0,
    )


def percent(pool: Pool, backend: Backend, snapshot: Snapshot, now: float) -> int:
    """The percentage of its weight that the backend has at `now`, if it serves; for operators."""
    return _step(pool, backend, snapshot, now)[0] * 100 // STEPS


def _step(pool: Pool, backend: Backend, snapshot: Snapshot, now: float) -> tuple[int, float]:
    """How many tenths of its weight a backend has, and until when.

    A start that is ahead of `now` by more than the duration was written before the clock was set back.
    """
    seconds = pool.slow_start if backend.slow_start is None else backend.slow_start
    since = in_service_since(backend, snapshot) if seconds else 0.0
    if not since or not since - seconds <= now < since + seconds:
        return STEPS, inf
    step = min(STEPS, 1 + floor(max(0.0, now - since) * STEPS / seconds))
    return (step, since + step * seconds / STEPS) if step < STEPS else (STEPS, inf)
