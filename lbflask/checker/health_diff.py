"""Whether the store holds the health that was written there: others may have written over it, or damaged it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbflask.core.clock_skew import set_back
from lbflask.core.model import ActiveHealth, Health


def differs(ours: Mapping[str, ActiveHealth], held: Mapping[str, ActiveHealth]) -> bool:
    """Whether the store does not hold these states, of which it may lack those that no check has ended for yet."""
    checked = {id_: state for id_, state in ours.items() if state.health is not Health.CHECKING}
    return bool(held.keys() - ours.keys()) or any(not _same(state, held.get(id_)) for id_, state in checked.items())


def rebased(states: Mapping[str, ActiveHealth], now: float) -> dict[str, ActiveHealth]:
    """The states, where those that begin ahead of the store's clock, as after it was set back, begin now."""
    return {id_: replace(one, since=now) if set_back(one.since, now) else one for id_, one in states.items()}


def _same(ours: ActiveHealth, held: ActiveHealth | None) -> bool:
    """The store keeps milliseconds, and the beginning of a long reason."""
    if held is None or (held.health, held.streak) != (ours.health, ours.streak):
        return False
    return abs(held.since - ours.since) < 0.01
