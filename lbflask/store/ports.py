"""The guarantees of a store, by the process that uses it. One test suite checks every implementation.

Every method may raise StoreUnavailable; nothing has to be undone then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lbflask.core.bans import Ban, BanRule
from lbflask.core.discovery import SourceFailure
from lbflask.core.ejection import EjectionPolicy, FailureReport
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster, WorkerReport
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.model import ActiveHealth, Backend, Override, Snapshot
from lbflask.core.rate_limit import Allowance, RateLimit
from lbflask.core.slots import Grant, SlotDemand

#: Seconds after its last beat when a worker counts as dead. Two beats in a row may be lost; with the beat by which the
#: others read it, the requests in flight of a killed worker are gone within three seconds.
DEAD_AFTER = 2.5
#: Seconds after its last report when a silent worker is forgotten.
FORGOTTEN_AFTER = 60.0

#: Seconds after which the failure of a discovery source is forgotten, unless its checker reports it again.
SOURCE_FORGOTTEN_AFTER = 120.0

#: Seconds after which a configuration is forgotten that no instance publishes any more, and its greatest length.
CONFIGURATION_FORGOTTEN_AFTER = 900.0
MAX_CONFIGURATION = 1 << 20

#: About how many of the latest events are kept.
MAX_EVENTS = 5000


#: Seconds in which the ban of a client reaches all workers: any answer to the client then convicts again.
CONVICTED_FOR = 5.0
#: Seconds for which the end of a ban is a change that readers get.
BAN_CHANGES_KEPT = 60.0


#: Stands for the fleet among the names of pools: its drained instances and certificates among what is watched, and the
#: lead of its certificates among the leases.
FLEET = ""


class StoreUnavailable(Exception):
    """The store did not answer in time or at all, or refused; the text is the reason."""

    def __init__(self, reason: str, cause: FailureCause = FailureCause.UNKNOWN) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker's requests in flight by backend, and its attempts by backend since its last beat.

    A `report` replaces the one before.
    """

    loads: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    report: WorkerReport | None = None


@dataclass(frozen=True, slots=True)
class OtherWorkers:
    """The requests in flight of all other living workers together, and the number of workers with this one, in which
    a dead worker may count for one more minute. `is_new` is whether the store had no report of this worker, although
    one went along.
    """

    loads: Mapping[str, int]
    workers: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a pool's active health. `now` is the store's clock, in seconds since the epoch."""

    epoch: int
    now: float


@dataclass(frozen=True, slots=True)
class HealthWrite:
    """The states of some backends, and a heartbeat: the next one is due within `interval` seconds.

    `replace` deletes all other backends. `announce` makes a new version and sends a message to the workers.
    """

    epoch: int
    states: dict[str, ActiveHealth]
    interval: float
    replace: bool = False
    announce: bool = False


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """Bytes that the store uses, its limit (0 for none), and what it evicts at the limit: `noeviction` for nothing."""

    used: int
    limit: int
    policy: str


@dataclass(frozen=True, slots=True)
class CertificateRecords:
    """The sealed records of automatic certificates by name (acme/records.py), at a version; 0 for none."""

    version: int
    records: Mapping[str, bytes]


#: Wishes for certificates at most, and seconds after the latest one until the store forgets them.
MAX_WISHES, WISHES_FORGOTTEN_AFTER = 200, 600.0


@dataclass(frozen=True, slots=True)
class BanChanges:
    """Bans at a moment, in microseconds of the store's clock. `whole`: they are all that there are; else those that
    were changed since the moment before. One that has ended has an end in the past.
    """

    moment: int
    whole: bool
    bans: Sequence[Ban]


class StoreWatch(Protocol):
    """A subscription. Messages may be lost with the connection, so a reader must also poll."""

    def wait(self, timeout: float) -> Collection[str]:
        """The messages received, at the latest after `timeout` seconds; empty for none."""

    def close(self) -> None:
        """End the subscription."""


class FactStore(Protocol):
    """The operations of every process."""

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """The statuses of the pool, read atomically; `known` with a new heartbeat if none changed.

        An invalid record has its value in `known`. One round trip.
        """

    def read_certificates(self, known: int) -> CertificateRecords | None:
        """The records of automatic certificates; None if their version is `known`. One round trip."""

    def record(self, events: Sequence[FleetEvent]) -> None:
        """Append to the events of the fleet; the store assigns the ids. One round trip."""

    def watch_changes(self, pools: Collection[str]) -> StoreWatch:
        """Subscribe to changes of statuses, with FLEET of drained instances; messages are the names of the pools."""

    def close(self) -> None:
        """Close all connections."""


class TrafficStore(FactStore, Protocol):
    """The operations of processes that serve requests: for them, and for their operators."""

    def take_tickets(self, pool: str, count: int) -> int:
        """Take `count` tickets and return the first: with 0, the next. No ticket is issued twice while the store
        keeps its data. One round trip.
        """

    def return_tickets(self, pool: str, first: int, count: int) -> bool:
        """Return the `count` tickets from `first` on, which are unused, so that they are issued again; False,
        without effect, if later ones have been issued. One round trip.
        """

    def wish_certificates(self, names: Collection[str]) -> None:
        """Add names to the wishes for certificates, of which there are at most MAX_WISHES. One round trip."""

    def prove(self, pool: str) -> None:
        """Check that the pool can be read and written. One round trip.

        Raises StoreUnavailable if the store would refuse any operation of workers.
        """

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        """End the ejection that began at `since`, or prolong it; False, without effect, if it is over already.

        Releases the right to probe, and is announced. One round trip.
        """

    def read_drains(self) -> dict[str, InstanceDrain]:
        """The drained instances by name, without drains that are over. Invalid records are ignored. One round trip."""

    def read_bans(self, known: int) -> BanChanges:
        """The bans that were changed since the moment `known` of an earlier reading, or all if it is 0 or half of
        BAN_CHANGES_KEPT ago. Invalid records are ignored. One round trip.
        """

    def write_ban(self, ban: Ban, seconds: int) -> bool:
        """Ban the network for so many seconds from now on; 0 ends its ban. False if that changes nothing: the network
        was not banned, or, for a ban by a rule, is banned already.

        Beyond MAX_BANS the oldest by a rule goes, else the oldest. Announced as a change of FLEET. One round trip.
        """


class WorkerStore(TrafficStore, Protocol):
    """The operations of a worker."""

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        """The secret of the pool, the same for all callers: the first that was proposed.

        Part of the next snapshot that is read completely. One round trip.
        """

    def report_suspect(self, pool: str, backend: str) -> None:
        """Send the checker a message that the backend could not be reached, so that it probes at once. May be lost."""

    def announce_reload(self) -> None:
        """Send all checkers of the fleet a message to reload their configuration. May be lost."""

    def write_configuration(self, version: str, settings: str) -> None:
        """Publish the settings of this version, without secrets, as a JSON object of at most MAX_CONFIGURATION bytes.

        Forgotten after CONFIGURATION_FORGOTTEN_AFTER seconds. One round trip.
        """

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        """Count a worker's failures at a backend; True if they eject it, which is announced as a change of status.

        Failures of an ejected backend are not counted. One round trip.
        """

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        """Take or renew the right to probe an ejected backend for so many seconds; False while another worker has it.

        One round trip.
        """

    def beat(self, pool: str, worker: str, beat: Beat, *, read: bool) -> OtherWorkers:
        """Write the beat of a worker. The requests in flight of the other workers are returned with `read` only.

        Workers without a beat for DEAD_AFTER seconds are ignored. One round trip.
        """

    def leave(self, pool: str, worker: str) -> None:
        """Delete the worker's beat and its report: it is not silent, but gone. One round trip."""

    def hold_slots(self, pool: str, worker: str, demand: SlotDemand) -> Grant:
        """Keep the slots of backends that the demand names, and lease free ones up to it (core/slots.py).

        Slots that it does not name are released. Leases expire DEAD_AFTER seconds after the last call. One round trip.
        """

    def watch_slots(self, pools: Collection[str]) -> StoreWatch:
        """Subscribe to slots; messages are the names of pools whose slots were released, or are called for."""

    def take_token(self, limit: RateLimit, key: str) -> Allowance:
        """Take a token from the limit's bucket for this key, if there is one (core/rate_limit.py).

        The key may be a secret, so only its digest is stored. A full bucket is not stored. One round trip.
        """

    def count_offence(self, rule: BanRule, client: str) -> bool:
        """Count an answer to the client that the rule is about; True for the last of `rule.count` within `rule.within`
        seconds, which are then forgotten, and for CONVICTED_FOR seconds from then on. One round trip.
        """


class RosterStore(FactStore, Protocol):
    """The operation of processes that read the state of all workers."""

    def read_roster(self, pool: str) -> Roster:
        """The workers of the pool, those that fell silent within the last FORGOTTEN_AFTER seconds, and the checkers.
        One round trip.
        """


class CheckerStore(RosterStore, Protocol):
    """The operations of a checker."""

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """Take or renew the leadership of the pool for so many seconds; None while another checker has it.

        A new leader gets an epoch that exceeds all before. The holder is listed among the checkers for as long, also
        when another one leads. One round trip.
        """

    def drop_lease(self, pool: str, holder: str) -> None:
        """Give up the leadership, if it is the holder's, and its place among the checkers."""

    def write_active(self, pool: str, write: HealthWrite) -> bool:
        """Write health and the heartbeat atomically; False, without effect, if the epoch is over. One round trip."""

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        """Write the complete list of discovered backends; False, without effect, if the epoch is over.

        A change is announced. One round trip.
        """

    def write_source(self, pool: str, epoch: int, failure: SourceFailure | None) -> bool:
        """Write that the discovery source fails, for SOURCE_FORGOTTEN_AFTER seconds, or with None that it does not;
        False, without effect, if the epoch is over. Part of the roster. One round trip.
        """

    def write_certificates(self, epoch: int, records: Mapping[str, bytes]) -> bool:
        """Replace these records of automatic certificates, and delete those that are empty, atomically; False, without
        effect, if the epoch of the lead of FLEET is over. Announced as a change of FLEET. One round trip.
        """

    def take_wishes(self, epoch: int, most: int) -> Sequence[str]:
        """Remove up to `most` wishes for certificates and return them; none if the epoch of the lead of FLEET is over.
        One round trip.
        """

    def watch_suspects(self, pools: Collection[str]) -> StoreWatch:
        """Subscribe to backends that workers could not reach; messages are `pool/backend`."""

    def watch_reloads(self) -> StoreWatch:
        """Subscribe to requests to reload the configuration; the text of a message has no meaning."""


class OperatorStore(TrafficStore, RosterStore, Protocol):
    """The operations of the admin API."""

    def write_override(
        self, pool: str, backend: str, before: Override | None, after: Override | None, *, version: int = 0
    ) -> bool:
        """Replace the override of the backend, with None for no override; False, without effect, if it is not `before`.

        With a version, also False if a status of the pool has changed since the snapshot of that version, unless the
        store has lost the version. An invalid record is overwritten. Announced as a change of status. Two round trips.
        """

    def write_drain(self, instance: str, actor: str, seconds: int, reason: str = "") -> None:
        """Drain the instance for so many seconds; 0 ends its drain. Drains that are over are deleted.

        Announced as a change of FLEET. One round trip.
        """

    def read_memory(self) -> StoreMemory | None:
        """The memory of the store; None if it is unknown, as where INFO is forbidden. One round trip."""

    def read_configuration(self, version: str) -> Mapping[str, Any] | None:
        """The settings of this version, as an instance has published them; None if there are none, or they are invalid.
        One round trip.
        """

    def read_events(self, count: int, *, before: str = "") -> list[FleetEvent]:
        """The latest events, at most `count`, the latest first: of all, or of those before the event with this id.

        One round trip. Raises ValueError for an invalid id.
        """

    def follow_events(self, after: str, count: int) -> list[FleetEvent]:
        """The events after the event with this id, at most `count`, the earliest first. Otherwise as `read_events`."""
