"""How many slots of backends with `max_connections` each worker may have: the rule, apart from the storage.

A worker reports the slots that it holds, and how many of its requests wait since when; its grant depends on the last
reports of the others. So nothing is accumulated over time, and the slots of a dead worker become free with its report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Seconds by which a request may overtake one that waits at another worker. The handover of a slot takes two round
#: trips and a message, during which the slot is idle.
TOLERANCE = 0.05


class QueuePolicy(NamedTuple):
    """How many requests of the whole fleet may wait for slots of a pool, and for how many seconds each."""

    length: int = 1000
    timeout: float = 5.0


class BackendSlots(NamedTuple):
    """A backend with `most` slots in all, of which the worker keeps `keep` in any case."""

    backend: str
    keep: int
    most: int


@dataclass(frozen=True, slots=True)
class SlotDemand:
    """The demand of a worker: `extra` slots beyond those that it keeps, of any of the places.

    `waiting` of its requests wait, the oldest for `waited` seconds; if more than `room` requests wait in the fleet, the
    latest is not counted, since it will be rejected. `call` asks other workers to return idle slots. The others are
    notified if the worker holds fewer slots than `before`.
    """

    places: Sequence[BackendSlots]
    extra: int = 0
    waiting: int = 0
    waited: float = 0.0
    room: int = 1 << 30
    before: int = 0
    call: bool = False


class WorkerHolding(NamedTuple):
    """The last report of a worker, made `at` a time: the slots it holds, how many requests wait, and since when."""

    at: float
    waiting: int
    since: float
    held: Mapping[str, int]


class Grant(NamedTuple):
    """How many slots of each place the worker has now, and how many requests wait at all other workers."""

    held: Sequence[int]
    elsewhere: int


def grant(demand: SlotDemand, others: Collection[WorkerHolding], now: float) -> tuple[Grant, WorkerHolding | None]:
    """The grant, and the report of the worker to store; None to store none.

    A free slot is left to each worker whose oldest request has waited longer by more than TOLERANCE.
    """
    since = now - demand.waited
    elsewhere = sum(other.waiting for other in others)
    ahead = sum(1 for other in others if other.waiting and other.since < since - TOLERANCE)
    free = [
        max(0, place.most - place.keep - sum(other.held.get(place.backend, 0) for other in others))
        for place in demand.places
    ]
    left = given = max(0, min(demand.extra, sum(free) - ahead))
    held = []
    for place, some in zip(demand.places, free, strict=True):
        got = min(left, some)
        left -= got
        held.append(place.keep + got)
    refused = demand.waiting + elsewhere > demand.room
    waiting = max(0, demand.waiting - given - refused)
    kept = {place.backend: count for place, count in zip(demand.places, held, strict=True) if count}
    remembered = WorkerHolding(now, waiting, now if given else since, kept) if kept or waiting else None
    return Grant(held, elsewhere), remembered
