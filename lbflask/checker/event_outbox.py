"""Fleet events of a checker, which wait until what they report is written, and are then recorded once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from lbflask.core.answer_shares import ShareChange, concerns_pool
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.model import ActiveHealth, Backend

#: Events that are kept until they are recorded; of those beyond, only the number is kept.
MAX_EVENTS = 200


class EventOutbox:
    """Pending events of one pool. `holder` is the name of the checker."""

    def __init__(self, pool: str, holder: str) -> None:
        self._pool = pool
        self._holder = holder
        self._epoch = 0
        self._events: list[FleetEvent] = []
        self._overflow = 0

    def __repr__(self) -> str:
        return f"<EventOutbox {self._pool}: {len(self._events)} pending, {self._overflow} more>"

    def lead_began(self, epoch: int) -> None:
        """The checker leads in this epoch. Pending events of an earlier epoch are discarded."""
        if epoch != self._epoch:
            self._epoch, self._overflow = epoch, 0
            self._events = [self._event(Kind.LEADER, "leads")]

    def health_changed(self, backend: str, before: ActiveHealth, after: ActiveHealth) -> None:
        """Add the change of a backend's health."""
        self._add(Kind.HEALTH, after.health, backend, f"{after.reason} (was {before.health})")

    def members_discovered(self, before: Sequence[Backend], after: Sequence[Backend]) -> None:
        """Add the differences between two results of discovery."""
        if before is after:
            return
        old, new = ({backend.id: backend for backend in backends} for backends in (before, after))
        for id_ in sorted(old.keys() ^ new.keys()):
            self._add(Kind.MEMBERS, "found" if id_ in new else "gone", id_, (new.get(id_) or old[id_]).url)

    def answers_changed(self, change: ShareChange) -> None:
        """Add that a share of errors of clients has become unusual, or usual again."""
        what, pool = "unusual" if change.unusual else "usual", concerns_pool(change.key)
        self._append(FleetEvent(Kind.ANSWERS, what, pool, "", str(change), self._holder))

    async def flush(self, record: Callable[[Sequence[FleetEvent]], Awaitable[None]]) -> None:
        """Record all pending events. Exceptions of `record` are raised; the events then stay pending."""
        count, overflow = len(self._events), self._overflow
        events = list(self._events)
        if overflow:
            events.append(self._event(Kind.HEALTH, "more", reason=f"{overflow} more changes at the same time"))
        if events:
            await record(events)
            del self._events[:count]
            self._overflow -= overflow

    def _add(self, kind: Kind, change: str, backend: str, reason: str) -> None:
        self._append(self._event(kind, change, backend, reason))

    def _append(self, event: FleetEvent) -> None:
        if len(self._events) < MAX_EVENTS:
            self._events.append(event)
        else:
            self._overflow += 1

    def _event(self, kind: Kind, change: str, backend: str = "", reason: str = "") -> FleetEvent:
        return FleetEvent(kind, change, self._pool, backend, reason, self._holder)
