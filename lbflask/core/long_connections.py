"""When long connections end that a backend still has when it leaves service: tunnels and event streams.

They end one after another within a time, each at a moment of its own, so that their clients do not all come back at
once.
"""

from __future__ import annotations

from collections.abc import Mapping

from lbflask.core.eligibility import checker_speaks
from lbflask.core.model import Closing, Health, Mode, Snapshot
from lbflask.core.strategies.hashing import hash_of

#: Seconds within which the connections of a backend end that checks have found down.
DOWN_WITHIN = 10.0


def closings(snapshot: Snapshot, *, when_down: bool) -> Mapping[str, Closing]:
    """The backends whose long connections end: those that operators drain with a time for it and, with `when_down`,
    those that checks find down.
    """
    found = {
        backend: override.closing
        for backend, override in snapshot.overrides.items()
        if override.closing is not None and override.mode is not Mode.SERVING
    }
    if when_down and checker_speaks(snapshot):
        down = {backend: state for backend, state in snapshot.active.items() if state.health is Health.DOWN}
        found.update({backend: Closing(state.since, DOWN_WITHIN) for backend, state in down.items()})
    return found


def is_over(closing: Closing, name: str, now: float) -> bool:
    """Whether the connection of this name ends at `now`, in seconds of the store's clock, or has ended before."""
    return now >= closing.since + closing.seconds * (hash_of(name) / (1 << 64))
