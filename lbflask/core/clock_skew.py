"""Moments by the store's clock that are ahead of it, as they are after it was set back: nothing is concluded from them.

Else whatever is counted from such a moment would stand still for as long as the clock was set back.
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import ActiveHealth, Ejection, Override, Snapshot

#: Seconds by which a writer may have been wrong about the store's clock.
SLACK = 5.0


def set_back(before: float, now: float) -> bool:
    """Whether the clock that showed `before` earlier has been set back since."""
    return now < before - SLACK


def health(state: ActiveHealth, now: float) -> ActiveHealth:
    """The state, with the beginning of it that can be believed."""
    return replace(state, since=0.0) if set_back(state.since, now) else state


def override(set_: Override, now: float) -> Override:
    """The override, with the return into service that can be believed."""
    return replace(set_, since=0.0) if set_back(set_.since, now) else set_


def ejection(state: Ejection, now: float) -> Ejection:
    """The ejection, with the return from it that can be believed. One that lasts is known by its beginning, and so is
    left as it is.
    """
    return replace(state, until=0.0) if not state.out and set_back(state.until, now) else state


def believed(snapshot: Snapshot) -> Snapshot:
    """The snapshot, with those moments that can be believed at its own."""
    now = snapshot.now
    return replace(
        snapshot,
        active={id_: health(state, now) for id_, state in snapshot.active.items()},
        ejected={id_: ejection(state, now) for id_, state in snapshot.ejected.items()},
        overrides={id_: override(set_, now) for id_, set_ in snapshot.overrides.items()},
    )
