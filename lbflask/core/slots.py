"""Who may have how many slots of backends with `max_connections`: the rule, apart from where the numbers are kept.

A worker says what it holds and how many of its requests wait, since when; what it is granted depends on what the others
said last. So nothing is ever added up over time, and a worker that dies takes what it held along.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Seconds by which a request may overtake one that waits at another worker. To hand a slot over costs two trips and the
#: way of a message, in which it serves nobody.
TOLERANCE = 0.05


class QueuePolicy(NamedTuple):
    """How many requests may wait for slots of a pool, in the whole fleet, and for how many seconds each."""

    length: int = 1000
    timeout: float = 5.0


class BackendSlots(NamedTuple):
    """A backend of which `most` slots exist, and how many of them a worker keeps in any case."""

    backend: str
    keep: int
    most: int


@dataclass(frozen=True, slots=True)
class SlotDemand:
    """What a worker wants: `extra` slots beyond those that it keeps, of whichever of the places has some.

    `waiting` of its requests wait, the oldest for `waited` seconds; beyond `room` requests that wait in the fleet, the
    latest is not counted, since it is going to be refused. `call` asks whoever holds slots idle to give them back. The
    others are told if the worker holds fewer than `before`.
    """

    places: Sequence[BackendSlots]
    extra: int = 0
    waiting: int = 0
    waited: float = 0.0
    room: int = 1 << 30
    before: int = 0
    call: bool = False


class WorkerHolding(NamedTuple):
    """What a worker said last, `at` a moment: what it holds, how many of its requests wait, and since when."""

    at: float
    waiting: int
    since: float
    held: Mapping[str, int]


class Grant(NamedTuple):
    """How many slots of each place are the worker's now, and how many requests wait at all other workers."""

    held: Sequence[int]
    elsewhere: int


def grant(demand: SlotDemand, others: Collection[WorkerHolding], now: float) -> tuple[Grant, WorkerHolding | None]:
    """What is granted, and what is to be remembered of the worker; None if that is nothing.

    A free slot is left to each worker whose oldest request has waited longer, but for TOLERANCE.
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
