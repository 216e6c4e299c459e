"""What a checker tells the fleet of what it does, for people to read. Told once, and only when it is true for all:
after what it is about was written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend

#: Events that are kept until they are told; of more only how many there were.
MOST_EVENTS = 200


class EventOutbox:
    """The events of one pool's checker. `who` names it."""

    def __init__(self, pool: str, who: str) -> None:
        self._pool = pool
        self._who = who
        self._led = 0
        self._events: list[FleetEvent] = []
        self._more = 0

    def leads(self, epoch: int) -> None:
        """The checker leads; what it saw as an earlier leader is not told any more."""
        if epoch != self._led:
            self._led, self._more = epoch, 0
            self._events = [FleetEvent(Kind.LEADER, "leads", self._pool, who=self._who)]

    def flips(self, backend: str, before: ActiveHealth, after: ActiveHealth) -> None:
        """The backend's health is another."""
        self._note(Kind.HEALTH, after.health, backend, f"{after.reason} (was {before.health})")

    def finds(self, before: Sequence[Backend], after: Sequence[Backend]) -> None:
        """Discovery has found these, where it had found those."""
        if before is after:
            return
        old, new = ({backend.id: backend for backend in found} for found in (before, after))
        for id_ in sorted(old.keys() ^ new.keys()):
            self._note(Kind.MEMBERS, "found" if id_ in new else "gone", id_, (new.get(id_) or old[id_]).url)

    def _note(self, kind: Kind, what: str, backend: str, reason: str) -> None:
        if len(self._events) < MOST_EVENTS:
            self._events.append(FleetEvent(kind, what, self._pool, backend, reason, self._who))
        else:
            self._more += 1

    async def tell(self, record: Callable[[Sequence[FleetEvent]], Awaitable[None]]) -> None:
        """Tell it all. What `record` raises is passed on; then it is told later."""
        events, told, more = list(self._events), len(self._events), self._more
        if more:
            reason = f"so many others changed at the same time: {more}"
            events.append(FleetEvent(Kind.HEALTH, "more", self._pool, reason=reason, who=self._who))
        if events:
            await record(events)
            del self._events[:told]
            self._more -= more
