"""Timestamps ahead of the store's clock, which exist after the clock was set back, are ignored.

Otherwise every duration that starts at such a timestamp would stand still for as long as the clock was set back.
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import ActiveHealth, Ejection, Override, Snapshot

#: Seconds by which the clock of a writer may differ from the store's.
SLACK = 5.0


def set_back(before: float, now: float) -> bool:
    """Whether the clock was set back after it showed `before`."""
    return now < before - SLACK


def health(state: ActiveHealth, now: float) -> ActiveHealth:
    """The state; with `since` 0 if that is ahead of the clock."""
    return replace(state, since=0.0) if set_back(state.since, now) else state


def override(set_: Override, now: float) -> Override:
    """The override; with `since` 0 if that is ahead of the clock."""
    return replace(set_, since=0.0) if set_back(set_.since, now) else set_


def ejection(state: Ejection, now: float) -> Ejection:
    """The ejection; with `until` 0 if the backend returned at a time ahead of the clock. A current ejection is
    identified by `since`, and stays as it is.
    """
    return replace(state, until=0.0) if not state.out and set_back(state.until, now) else state


def believed(snapshot: Snapshot) -> Snapshot:
    """The snapshot without timestamps that are ahead of its own."""
    now = snapshot.now
    return replace(
        snapshot,
        active={id_: health(state, now) for id_, state in snapshot.active.items()},
        ejected={id_: ejection(state, now) for id_, state in snapshot.ejected.items()},
        overrides={id_: override(set_, now) for id_, set_ in snapshot.overrides.items()},
    )
