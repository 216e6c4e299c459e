"""What a store guarantees. Every method may raise StoreUnavailable, and then has done nothing that must be undone.

One suite of tests holds every implementation to these promises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster, WorkerReport
from lbflask.core.model import ActiveHealth, Backend, Override, Snapshot
from lbflask.core.rate_limit import Allowance, RateLimit
from lbflask.core.slots import Grant, SlotDemand

#: Seconds after its last beat when a worker counts as dead. What a killed one had in flight is gone within three, with
#: the beat by which the others hear of it; and two beats in a row may be lost.
DEAD_AFTER = 2.5

#: The latest events that are kept, about.
MOST_EVENTS = 5000


class StoreUnavailable(Exception):
    """The store did not answer in time or at all, or refused; the text says why."""


@dataclass(frozen=True, slots=True)
class OtherWorkers:
    """What all other living workers have in flight together, and how many workers there are, this one included; who
    has died may count for a minute more.
    """

    loads: Mapping[str, int]
    workers: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a pool's active health. `now` is the store's clock, in seconds since the epoch."""

    epoch: int
    now: float


class StoreWatch(Protocol):
    """A subscription. Messages may be lost when the store is; a reader must poll as well."""

    def wait(self, timeout: float) -> Collection[str]:
        """The messages that arrived, at the latest after `timeout` seconds; empty when none did."""
        ...

    def close(self) -> None:
        """End the subscription."""
        ...


class WorkerStore(Protocol):
    """All that a worker may do."""

    def take_tickets(self, pool: str, count: int) -> int:
        """Take `count` tickets and return the first. No ticket is given twice while the store keeps its data.

        One round trip.
        """
        ...

    def prove(self, pool: str) -> None:
        """Show that the pool can be read and written: whoever gets an answer may believe in the store. One round trip.

        Raises StoreUnavailable of a store that would refuse any of what workers do.
        """
        ...

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """The statuses of the pool, read at one moment; `known` again, but for its heartbeat, when none changed.

        What can't be read is as it is `known`. One round trip.
        """
        ...

    def watch_changes(self, pools: Collection[str]) -> StoreWatch:
        """Messages are the names of pools in which a status changed."""
        ...

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        """The secret of the pool that all who ask are given: the first that was proposed.

        Read with the next snapshot that is read as a whole. One round trip.
        """
        ...

    def report_suspect(self, pool: str, backend: str) -> None:
        """Tell the checker that the backend could not be reached, so that it looks at once. May be lost."""
        ...

    def announce_reload(self) -> None:
        """Tell all checkers of the fleet to read their configuration anew. May be lost."""
        ...

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        """Count what a worker saw of a backend; True if that ejects it, which is announced like any change of status.

        Once it is out, failures are counted no more. One round trip.
        """
        ...

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        """Take or keep the right to probe an ejected backend for so many seconds; False while another has it.

        One round trip.
        """
        ...

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        """End the ejection that began at `since`, or prolong it; False, and nothing, if it is over already.

        Frees the right to probe, and is announced. One round trip.
        """
        ...

    def beat(
        self,
        pool: str,
        worker: str,
        loads: Mapping[str, int],
        attempts: Mapping[str, int],
        *,
        read: bool,
        report: WorkerReport | None = None,
    ) -> OtherWorkers:
        """Write what the worker has in flight at each backend, and add the attempts it has made since its last beat.

        Its `report` takes the place of the one before, if there is a new one. What the others have in flight is told
        with `read` only. Who has not beaten for DEAD_AFTER seconds is dead, and counts no more. One round trip.
        """
        ...

    def leave(self, pool: str, worker: str) -> None:
        """Forget the worker's beat and its report. One round trip."""
        ...

    def record(self, events: Sequence[FleetEvent]) -> None:
        """Add these to the events of the fleet; the store gives them their ids. One round trip."""
        ...

    def hold_slots(self, pool: str, worker: str, demand: SlotDemand) -> Grant:
        """Hold as many slots of backends as the worker keeps, and so many more as are free (core/slots.py).

        What it does not name it lets go. Who has not said so again after DEAD_AFTER seconds holds none. One round trip.
        """
        ...

    def watch_slots(self, pools: Collection[str]) -> StoreWatch:
        """Messages are the names of pools in which slots were let go, or are called for."""
        ...

    def take_token(self, limit: RateLimit, key: str) -> Allowance:
        """Take a token out of the limit's bucket for this key, if it has one (core/rate_limit.py).

        The key may be a secret: it is kept as a digest only. A bucket that is full again is gone. One round trip.
        """
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...


class CheckerStore(Protocol):
    """All that a checker may do."""

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """Take or keep the lead of the pool for so many seconds; None while another holds it.

        Whoever takes it gets a higher epoch than all before. One round trip.
        """
        ...

    def drop_lease(self, pool: str, holder: str) -> None:
        """Give up the lead, if it is the holder's."""
        ...

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """As for workers."""
        ...

    def write_active(
        self,
        pool: str,
        epoch: int,
        states: Mapping[str, ActiveHealth],
        *,
        interval: float,
        replace: bool = False,
        announce: bool = False,
    ) -> bool:
        """Write the states of these backends and beat the heart, all at once; False, and nothing, in a later epoch.

        `interval` promises the next word within so many seconds. `replace` forgets all other backends. `announce`
        makes a new version and tells the workers. One round trip.
        """
        ...

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        """Write which backends discovery has found, all of them; False, and nothing, in a later epoch.

        Announced if they are others than before. One round trip.
        """
        ...

    def record(self, events: Sequence[FleetEvent]) -> None:
        """As for workers."""
        ...

    def watch_changes(self, pools: Collection[str]) -> StoreWatch:
        """As for workers."""
        ...

    def watch_suspects(self, pools: Collection[str]) -> StoreWatch:
        """Messages are `pool/backend` of what workers could not reach."""
        ...

    def watch_reloads(self) -> StoreWatch:
        """A message is there when the configuration is to be read anew."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...


class OperatorStore(Protocol):
    """All that the admin API may do for an operator."""

    def take_tickets(self, pool: str, count: int) -> int:
        """As for workers; the admin API takes none, and so learns which is next."""
        ...

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """As for workers."""
        ...

    def write_override(self, pool: str, backend: str, before: Override | None, after: Override | None) -> bool:
        """Set what operators want of the backend, or forget it with None; False, and nothing, if it was not `before`.

        A record that can't be read is overwritten. Announced like any change of status. Two round trips.
        """
        ...

    def prove(self, pool: str) -> None:
        """As for workers."""
        ...

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        """As for workers."""
        ...

    def read_roster(self, pool: str) -> Roster:
        """Who works for the pool. One round trip."""
        ...

    def record(self, events: Sequence[FleetEvent]) -> None:
        """As for workers."""
        ...

    def read_events(self, count: int, *, before: str = "") -> list[FleetEvent]:
        """The latest events, at most `count`, the latest first: of all, or of those before the one with this id.

        One round trip. Raises ValueError for what can't be an id.
        """
        ...

    def follow_events(self, after: str, count: int) -> list[FleetEvent]:
        """The events after the one with this id, at most `count`, the earliest first. As for `read_events`."""
        ...
