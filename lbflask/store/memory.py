"""The store in the memory of one process, with an injected clock: the reference of the tests; used in degraded mode."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from lbflask.core import clock_skew, ejection, slots
from lbflask.core.discovery import SourceFailure
from lbflask.core.ejection import EjectionPolicy, FailureReport, FailureWindow
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster, WorkerReport
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.model import ActiveHealth, Backend, Ejection, Override, Snapshot
from lbflask.core.rate_limit import Allowance, RateLimit
from lbflask.core.slots import Grant, SlotDemand, WorkerHolding
from lbflask.store import fleet_records, ports
from lbflask.store.memory_bans import MemoryBans
from lbflask.store.memory_buckets import MemoryBuckets
from lbflask.store.memory_certificates import MemoryCertificates
from lbflask.store.memory_events import MemoryEvents
from lbflask.store.memory_roster import corrected, reporting
from lbflask.store.memory_watch import MemoryWatch
from lbflask.store.ports import FLEET, Beat, CertificateRecords, HealthWrite, Lease, OtherWorkers, StoreMemory


@dataclass(slots=True)
class _PoolState:
    tickets: int = 0
    active: dict[str, ActiveHealth] = field(default_factory=dict)
    version: int = 0
    heartbeat_at: float | None = None
    interval: float = 0.0
    leader: str = ""
    lease_end: float = 0.0
    checkers: dict[str, float] = field(default_factory=dict)
    epoch: int = 0
    attempts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    windows: dict[str, FailureWindow] = field(default_factory=dict)
    ejected: dict[str, Ejection] = field(default_factory=dict)
    prober: str = ""
    probe_end: float = 0.0
    beats: dict[str, tuple[float, dict[str, int]]] = field(default_factory=dict)
    reports: dict[str, tuple[float, WorkerReport]] = field(default_factory=dict)
    holdings: dict[str, WorkerHolding] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)
    discovered: tuple[Backend, ...] = ()
    source_failure: tuple[float, SourceFailure] | None = None  # and when it was written
    secret: str = ""


class MemoryStore:
    """All ports. Threads may share it; `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: defaultdict[str, _PoolState] = defaultdict(_PoolState)
        self._events = MemoryEvents()
        self._changed = threading.Condition()
        self._watches: list[MemoryWatch] = []
        self._drains: dict[str, InstanceDrain] = {}
        self._certificates = MemoryCertificates()
        self._configurations: dict[str, tuple[float, str]] = {}  # by version: when they are forgotten, the settings
        self._buckets = MemoryBuckets()
        self._bans = MemoryBans(clock, lambda: self._publish(f"changes:{FLEET}", FLEET))
        #: See ports.py.
        self.read_events, self.follow_events = self._events.latest, self._events.following
        self.read_bans, self.write_ban, self.count_offence = self._bans.read, self._bans.write, self._bans.count
        self._numbers = count(1)  # epochs, versions, ids of events: unique, also after `empty`

    def __repr__(self) -> str:
        return f"<MemoryStore pools={list(self._pools)} events={self._events!r} watches={len(self._watches)}>"

    def take_tickets(self, pool: str, count: int) -> int:
        """See ports.py."""
        with self._at(pool) as (state, _):
            state.tickets += count
            return state.tickets - count

    def return_tickets(self, pool: str, first: int, count: int) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, _):
            if state.tickets != first + count:
                return False
            state.tickets = first
            return True

    def prove(self, pool: str) -> None:
        """See ports.py."""

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See ports.py."""
        with self._at(pool) as (state, now):
            if state.heartbeat_at is not None:
                state.heartbeat_at = corrected(state.heartbeat_at, now, state.interval)
            heartbeat = None if state.heartbeat_at is None else max(0.0, now - state.heartbeat_at)
            if state.version == known.version and not clock_skew.set_back(known.now, now):
                return replace(known, heartbeat=heartbeat, interval=state.interval, now=now)
            read = Snapshot(
                state.version, state.active, heartbeat, state.interval, state.ejected, now,
                state.overrides, state.discovered, state.secret,
            )  # fmt: skip
            return clock_skew.believed(read)

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        """See ports.py."""
        with self._at(pool) as (state, _):
            state.secret = state.secret or proposed
            return state.secret

    def watch_changes(self, pools: Collection[str]) -> MemoryWatch:
        """See ports.py."""
        return self._watch(f"changes:{pool}" for pool in pools)

    def report_suspect(self, pool: str, backend: str) -> None:
        """See ports.py."""
        self._publish(f"suspects:{pool}", f"{pool}/{backend}")

    def announce_reload(self) -> None:
        """See ports.py."""
        self._publish("reloads", "reload")

    def write_configuration(self, version: str, settings: str) -> None:
        """See ports.py."""
        self._configurations[version] = self._clock() + ports.CONFIGURATION_FORGOTTEN_AFTER, settings

    def read_configuration(self, version: str) -> Mapping[str, Any] | None:
        """See ports.py."""
        until, settings = self._configurations.get(version, (0.0, ""))
        return fleet_records.parse_configuration(settings.encode()) if self._clock() < until else None

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            state.attempts[backend] += report.attempts
            before = state.ejected.get(backend)
            if before is not None and before.out:
                return False
            total = state.attempts[backend]
            window = ejection.counted(state.windows.get(backend), report, total, rule, now)
            state.windows[backend] = window
            if not ejection.convicts(window, total, rule) or not ejection.has_room(state.ejected, rule):
                return False
            state.ejected[backend] = ejection.ejected(before, rule, now)
            del state.windows[backend]
            self._change(pool)
            return True

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            if state.prober not in ("", holder) and now < state.probe_end <= now + seconds:
                return False
            state.prober, state.probe_end = holder, now + seconds
            return True

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            before = state.ejected.get(backend)
            if before is None or not before.out or before.since != since:
                return False
            state.ejected[backend] = ejection.returned(before, now) if back else ejection.ejected(before, rule, now)
            state.prober = ""
            self._change(pool)
            return True

    def beat(self, pool: str, worker: str, beat: Beat, *, read: bool) -> OtherWorkers:
        """See ports.py."""
        with self._at(pool) as (state, now):
            state.beats[worker] = now, dict(beat.loads)
            is_new = beat.report is not None and worker not in state.reports
            if beat.report is not None:
                state.reports[worker] = now, beat.report
            for backend, made in beat.attempts.items():
                state.attempts[backend] += made
            total: defaultdict[str, int] = defaultdict(int)
            for other, (at, theirs) in list(state.beats.items()) if read else ():
                state.beats[other] = corrected(at, now), theirs
                if now - at > ports.DEAD_AFTER:
                    del state.beats[other]
                elif other != worker:
                    for backend, load in theirs.items():
                        total[backend] += load
            if read:
                late = {other for other, (at, _) in state.reports.items() if now - at > ports.FORGOTTEN_AFTER}
                for other in late - state.beats.keys():
                    del state.reports[other]
            return OtherWorkers(dict(total), len(state.beats), is_new)

    def leave(self, pool: str, worker: str) -> None:
        """See ports.py."""
        with self._changed:
            self._pools[pool].beats.pop(worker, None)
            self._pools[pool].reports.pop(worker, None)

    def read_memory(self) -> StoreMemory | None:
        """See ports.py."""
        return None

    def read_roster(self, pool: str) -> Roster:
        """See ports.py."""
        with self._at(pool) as (state, now):
            leader = state.leader if state.lease_end > now else ""
            workers, silent = reporting(state.beats, state.reports, now)
            checkers = tuple(sorted(name for name, until in state.checkers.items() if until > now))
            written, failure = state.source_failure or (now, None)
            failure = failure if now - written < ports.SOURCE_FORGOTTEN_AFTER else None
            return Roster(now, leader, workers, silent, dict(state.attempts), checkers, failure)

    def read_certificates(self, known: int) -> CertificateRecords | None:
        """See ports.py."""
        return self._certificates.read(known)

    def write_certificates(self, epoch: int, records: Mapping[str, bytes]) -> bool:
        """See ports.py."""
        with self._at(FLEET) as (state, _):
            if not state.epoch or epoch != state.epoch:
                return False
            self._certificates.write(records, next(self._numbers))
            self._publish(f"changes:{FLEET}", FLEET)
            return True

    def wish_certificates(self, names: Collection[str]) -> None:
        """See ports.py."""
        with self._at(FLEET) as (_, now):
            self._certificates.wish(names, now)

    def take_wishes(self, epoch: int, most: int) -> Sequence[str]:
        """See ports.py."""
        with self._at(FLEET) as (state, now):
            return self._certificates.take_wishes(most, now) if state.epoch and epoch == state.epoch else []

    def record(self, events: Sequence[FleetEvent]) -> None:
        """See ports.py."""
        self._events.add(events, int(self._clock() * 1000), self._numbers)

    def hold_slots(self, pool: str, worker: str, demand: SlotDemand) -> Grant:
        """See ports.py."""
        with self._changed:
            holdings, now = self._pools[pool].holdings, self._clock()
            for other, holding in list(holdings.items()):
                holdings[other] = holding._replace(at=corrected(holding.at, now))
                if now - holding.at > ports.DEAD_AFTER:
                    del holdings[other]
            others = [holding for other, holding in holdings.items() if other != worker]
            granted, holding_after = slots.grant(demand, others, now)
            holdings.pop(worker, None)
            if holding_after is not None:
                holdings[worker] = holding_after
        if demand.call or (sum(granted.held) < demand.before and granted.elsewhere):
            self._publish(f"slots:{pool}", pool)
        return granted

    def watch_slots(self, pools: Collection[str]) -> MemoryWatch:
        """See ports.py."""
        return self._watch(f"slots:{pool}" for pool in pools)

    def take_token(self, limit: RateLimit, key: str) -> Allowance:
        """See ports.py."""
        return self._buckets.take(limit, key, self._clock())

    def adopt(self, pool: str, ejected: Mapping[str, Ejection]) -> None:
        """Replace the state of the pool by these ejections."""
        with self._changed:
            self._pools[pool] = _PoolState(version=next(self._numbers), ejected=dict(ejected))

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """See ports.py."""
        with self._at(pool) as (state, now):
            state.checkers[holder] = now + seconds
            free = not state.leader or state.lease_end <= now
            if not free and state.leader != holder and state.lease_end <= now + seconds:
                return None
            if free or state.leader != holder:
                state.epoch = next(self._numbers)
            state.leader, state.lease_end = holder, now + seconds
            return Lease(state.epoch, now)

    def drop_lease(self, pool: str, holder: str) -> None:
        """See ports.py."""
        with self._changed:
            self._pools[pool].checkers.pop(holder, None)
            if self._pools[pool].leader == holder:
                self._pools[pool].leader = ""

    def write_active(self, pool: str, write: HealthWrite) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            if not state.epoch or write.epoch != state.epoch:
                return False
            state.heartbeat_at, state.interval = now, write.interval
            state.active = dict(write.states) if write.replace else state.active | write.states
            if write.announce:
                self._change(pool)
            return True

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, _):
            if not state.epoch or epoch != state.epoch:
                return False
            if state.discovered == tuple(backends):
                return True
            state.discovered = tuple(backends)
            self._change(pool)
            return True

    def write_source(self, pool: str, epoch: int, failure: SourceFailure | None) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            if not state.epoch or epoch != state.epoch:
                return False
            state.source_failure = None if failure is None else (now, failure)
            return True

    def write_override(
        self, pool: str, backend: str, before: Override | None, after: Override | None, *, version: int = 0
    ) -> bool:
        """See ports.py."""
        with self._at(pool) as (state, now):
            current = state.overrides.get(backend)
            is_other = (None if current is None else clock_skew.override(current, now)) != before
            if is_other or (version and state.version and version != state.version):
                return False
            if after is None:
                state.overrides.pop(backend, None)
            else:
                state.overrides[backend] = after
            self._change(pool)
            return True

    def read_drains(self) -> dict[str, InstanceDrain]:
        """See ports.py."""
        with self._changed:
            return {instance: drain for instance, drain in self._drains.items() if drain.until > self._clock()}

    def write_drain(self, instance: str, actor: str, seconds: int, reason: str = "") -> None:
        """See ports.py."""
        with self._changed:
            self._drains = {name: drain for name, drain in self.read_drains().items() if name != instance}
            if seconds:
                self._drains[instance] = InstanceDrain(self._clock() + seconds, actor, self._clock(), reason)
            self._publish(f"changes:{FLEET}", FLEET)

    def watch_suspects(self, pools: Collection[str]) -> MemoryWatch:
        """See ports.py."""
        return self._watch(f"suspects:{pool}" for pool in pools)

    def watch_reloads(self) -> MemoryWatch:
        """See ports.py."""
        return self._watch(["reloads"])

    def close(self) -> None:
        """Nothing to close."""

    def empty(self) -> None:
        """Delete everything, as FLUSHALL or a restart of a server does. Subscriptions stay."""
        with self._changed:
            self._pools.clear()
            self._events.clear()
            self._drains.clear()
            self._certificates = MemoryCertificates()
            self._buckets = MemoryBuckets()
            self._bans.clear()

    @contextmanager
    def _at(self, pool: str) -> Iterator[tuple[_PoolState, float]]:
        """The state of the pool and the time, under the lock."""
        with self._changed:
            yield self._pools[pool], self._clock()

    def _watch(self, channels: Iterable[str]) -> MemoryWatch:
        return MemoryWatch(self._changed, self._watches, set(channels))

    def _change(self, pool: str) -> None:
        """Announce a new version of the pool."""
        self._pools[pool].version = next(self._numbers)
        self._publish(f"changes:{pool}", pool)

    def _publish(self, channel: str, message: str) -> None:
        with self._changed:
            for watch in self._watches:
                watch.receive(channel, message)
            self._changed.notify_all()
