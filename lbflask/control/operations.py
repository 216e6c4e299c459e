"""Reads and actions of operators. Reads come from the store, or from this worker's snapshot while it is unreachable.

An action reads the override of a backend and writes the new one by compare-and-set; after a concurrent change it
retries. So actions are idempotent, and none overwrites a change that it has not seen.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lbflask.config.admin_address import AdminAddress
from lbflask.config.certificates import CertificateFile, certificate_files
from lbflask.config.schema import Config
from lbflask.control.api.problems import Refused
from lbflask.control.doctor.backends import FirstCheck
from lbflask.control.doctor.findings import AuthTrouble
from lbflask.control.explain import document, explained
from lbflask.control.pool_state import PoolState
from lbflask.core import overrides
from lbflask.core.bans import Ban
from lbflask.core.certificate_orders import NO_CERTIFICATES, CertificateState
from lbflask.core.ejection import EjectionPolicy
from lbflask.core.eligibility import active_health
from lbflask.core.explain import RequestQuery
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.fleet_stats import Roster
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.membership import members
from lbflask.core.model import Backend, Health, Mode, Override, Pool, Snapshot
from lbflask.core.operator_note import OperatorNote
from lbflask.fleet.fleet import Fleet
from lbflask.store import records
from lbflask.store.ports import OperatorStore, StoreMemory, StoreUnavailable

log = logging.getLogger("lbflask.admin")

#: Attempts of an action under concurrent changes.
MAX_TRIES = 10

#: Seconds in which a checker notices a new backend of its pool and publishes the result of a check.
CHECKER_DELAY = 3.0
#: Latest events that are searched for the arrival of a backend that is not configured.
EVENTS_SEARCHED = 500

#: The new override, from the old one and the time of the store.
Change = Callable[[Override | None, float], Override | None]


@dataclass(frozen=True, slots=True)
class Running:
    """The configuration in effect, with its pools by name.

    `known_since` has, by pool and backend, the moment on the monotonic clock since when this process has had the
    backend in its configuration. `certificates` are those that it has loaded, `automatic` what is known of those that
    an authority issues. `auth_troubles` returns what is wrong with the services of `auth`.
    """

    config: Config
    pools: Mapping[str, Pool]
    known_since: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    certificates: tuple[CertificateFile, ...] = ()
    automatic: CertificateState = NO_CERTIFICATES
    auth_troubles: Callable[[], Sequence[AuthTrouble]] = tuple

    def __repr__(self) -> str:
        return f"<Running pools {', '.join(self.pools)}>"

    @classmethod
    def from_config(cls, config: Config, before: Running | None = None) -> Running:
        """What a process with this configuration runs that ran `before`."""
        pools = {name: section.to_model(name) for name, section in config.every_pool().items()}
        earlier = before.known_since if before is not None else {}
        now = time.monotonic()
        since = {
            name: {backend.id: earlier.get(name, {}).get(backend.id, now) for backend in pool.backends}
            for name, pool in pools.items()
        }
        automatic = NO_CERTIFICATES if before is None else before.automatic
        return cls(config, pools, since, certificate_files(config), automatic)


@dataclass(frozen=True, slots=True)
class Action:
    """A change of a backend by an operator. `etag` is the override that it expects; None for any. With `force` it may
    leave its pool without a backend that serves.
    """

    name: str
    pool: str
    backend: str
    actor: str
    etag: str | None = None
    reason: str = ""
    force: bool = False


class Operations:
    """Safe for concurrent use by threads and greenlets."""

    def __init__(self, store: OperatorStore, fleet: Fleet, running: Callable[[], Running]) -> None:
        self.store = store
        self.fleet = fleet
        self._running = running
        self._rosters: dict[str, Roster] = {}  # as last read, by pool

    def __repr__(self) -> str:
        return f"<Operations on {self.running!r}, degraded={self.fleet.degraded}>"

    @property
    def running(self) -> Running:
        """The configuration in effect, with its pools."""
        return self._running()

    def pool_states(self) -> list[PoolState]:
        """The state of all pools."""
        return [self.pool_state(name) for name in self.running.pools]

    def pool_state(self, name: str, *, retry_store: bool = False) -> PoolState:
        """The state of a pool. Raises Refused for an unknown name. With `retry_store`, the store is read also while it
        counts as unreachable.
        """
        pool = self.running.pools.get(name)
        if pool is None:
            raise Refused(404, f"no pool {name!r}")
        snapshot = self.fleet.snapshot(name)
        if retry_store or not self.fleet.degraded:
            try:
                read = self.store.read_snapshot(name, snapshot)
                self._rosters[name] = roster = self.store.read_roster(name)
                lost = self.fleet.forgotten(name)
                missing = {} if lost is None else lost.missing(read.overrides, read.now)
                return PoolState(pool, read, roster, None, missing, 0.0 if lost is None else lost.at)
            except StoreUnavailable:
                pass  # the follower of the fleet notices it, too
        return PoolState(pool, snapshot, self._rosters.get(name, Roster(0.0)), self.fleet.local_roster(name))

    def drains(self) -> Mapping[str, InstanceDrain]:
        """The drained instances."""
        if not self.fleet.degraded:
            with suppress(StoreUnavailable):
                return self.store.read_drains()
        return self.fleet.drains

    def explain(self, query: RequestQuery) -> dict[str, Any]:
        """Where the request would go, by this process's configuration and the store's facts. No ticket is used."""
        reason = ""

        def facts(name: str) -> tuple[Snapshot, int]:
            nonlocal reason
            pool_state = self.pool_state(name)
            try:
                if not pool_state.stale:
                    return pool_state.snapshot, self.store.take_tickets(name, 0)
            except StoreUnavailable as error:
                reason = str(error)
            reason = reason or self.fleet.why or "no answer"
            return pool_state.snapshot, 0

        running = self.running
        return document(explained(running.config, running.pools, query, facts, self.fleet.bans.find), reason)

    def first_checks(self, pool_states: Sequence[PoolState]) -> dict[tuple[str, str], FirstCheck]:
        """Since when each backend in state `checking` waits for a result, by pool and backend."""
        running, now = self.running, time.monotonic()
        pool_configs, arrivals, found = running.config.every_pool(), self._arrival_times(), {}
        for pool_state in pool_states:
            pool, snapshot = pool_state.pool.name, pool_state.snapshot
            checks, known_since = pool_configs[pool].checks(), running.known_since.get(pool, {})
            for backend in members(pool_state.pool, snapshot):
                if active_health(backend, snapshot).health is Health.CHECKING:
                    since, at = known_since.get(backend.id), arrivals.get((pool, backend.id))
                    waited = None if at is None else max(0.0, pool_state.now - at)
                    check = checks.get(backend.id) or pool_configs[pool].usual_check(backend)
                    limit = check.timeout + CHECKER_DELAY
                    found[pool, backend.id] = FirstCheck(waited if since is None else now - since, limit)
        return found

    def _arrival_times(self) -> dict[tuple[str, str], float]:
        """When backends were added or discovered by the store's clock, for arrivals among the latest events."""
        try:
            events = self.store.read_events(EVENTS_SEARCHED)
        except StoreUnavailable:
            return {}
        return {(event.pool, event.backend): event.at for event in reversed(events) if event.what in ("add", "found")}

    def ping(self) -> float:
        """Seconds for a read and a write of the store, the mean over pools. Raises StoreUnavailable."""
        started = time.perf_counter()
        for name in self.running.pools:
            self.store.prove(name)
        return (time.perf_counter() - started) / len(self.running.pools)

    def store_memory(self) -> StoreMemory | None:
        """The memory of the store; None if it is unknown."""
        try:
            return self.store.read_memory()
        except StoreUnavailable:
            return None

    def set_mode(self, action: Action, mode: Mode, close_after: float | None = None) -> tuple[PoolState, bool]:
        """Set the mode; long connections end within `close_after` seconds. All actions raise Refused and
        StoreUnavailable.
        """

        def change(before: Override | None, now: float) -> Override | None:
            if mode is Mode.SERVING:
                return overrides.enabled(before, now)
            return overrides.in_mode(before, mode, now, close_after)

        return self._act(action, change, allow_removed=mode is Mode.SERVING)

    def set_weight(self, action: Action, weight: int | None) -> tuple[PoolState, bool]:
        """Set the weight; None restores the configured one."""
        detail = "the configured weight" if weight is None else f"weight {weight}"
        return self._act(action, lambda before, _: overrides.weighed(before, weight), detail)

    def remove(self, action: Action) -> tuple[PoolState, bool]:
        """Remove the backend from the pool. Removing it again changes nothing."""
        known = self.pool_state(action.pool).configured(action.backend) is not None
        return self._act(action, lambda before, _: overrides.removed(before, known=known), allow_removed=True)

    def add(self, action: Action, backend: Backend) -> tuple[PoolState, bool]:
        """Add the backend to the pool."""
        pool_state = self.pool_state(action.pool)
        admin_bind = self.running.config.admin_bind
        if AdminAddress(admin_bind).is_backend(backend):
            raise Refused(422, f"{backend.url!r} is the admin listener, {admin_bind!r}")
        for other in members(pool_state.pool, pool_state.snapshot):
            if (other.id == backend.id) != (other.url == backend.url):
                raise Refused(409, f"the pool has {other.id!r} at {other.url} already")
        configured = pool_state.configured(backend.id)
        if configured is not None and configured.url != backend.url:
            raise Refused(409, f"{backend.id!r} is {configured.url} in the configuration; remove it there")
        return self._act(
            action,
            lambda before, now: overrides.added(before, backend, now, known=configured is not None),
            f"{backend.url}, weight {backend.weight}",
            new=True,
        )

    def uneject(self, action: Action) -> tuple[PoolState, bool]:
        """End the ejection of the backend."""
        pool_state = self.pool_state(action.pool)
        self._check(pool_state, action)
        ejection = pool_state.snapshot.ejected.get(action.backend)
        if ejection is None or not ejection.out:
            return pool_state, False
        rule = EjectionPolicy()  # no matter which: the ejection ends
        done = self.store.settle_ejection(action.pool, action.backend, ejection.since, back=True, rule=rule)
        if done:
            self._announce(action, action.reason)
        return self.pool_state(action.pool), done

    def drain_instance(self, instance: str, seconds: int, actor: str, reason: str = "") -> None:
        """Drain the instance for so many seconds; 0 ends its drain. Raises StoreUnavailable."""
        self.store.write_drain(instance, actor, seconds, reason)
        action = "instance_drain" if seconds else "instance_undrain"
        detail = _joined(f"{instance} for {seconds} s" if seconds else instance, reason)
        self._record(FleetEvent(Kind.OPERATOR, action, reason=detail, actor=actor), f"{action} {detail}")

    def bans(self) -> list[Ban]:
        """The bans that are not over, the latest first; of this worker while the store is unreachable."""
        found = self.fleet.bans.active()
        if not self.fleet.degraded:
            with suppress(StoreUnavailable):
                read = self.store.read_bans(0)
                found = [ban for ban in read.bans if ban.until > read.moment / 1_000_000]
        return sorted(found, key=lambda ban: ban.since, reverse=True)

    def ban(self, network: str, seconds: int, actor: str, reason: str = "") -> bool:
        """Refuse the requests of the network for so many seconds; 0 ends its ban. False if there was none to end.
        Raises StoreUnavailable.
        """
        changed = self.store.write_ban(Ban(network, 0.0, actor=actor, reason=reason), seconds)
        if changed:
            what = "ban" if seconds else "unban"
            detail = _joined(f"{network} for {seconds} s" if seconds else network, reason)
            self._record(FleetEvent(Kind.BAN, what, reason=detail, actor=actor), f"{what} {detail}")
        return changed

    def record_reload(self, changed: str, actor: str, reason: str = "") -> None:
        """Log a reload by an operator and record it as an event."""
        detail = _joined(changed, reason)
        self._record(FleetEvent(Kind.CONFIGURATION, "reload", reason=detail, actor=actor), f"reload: {detail}")

    def record_debug(self, change: str, actor: str, reason: str = "") -> None:
        """Log a switch of request tracing and record it as an event."""
        detail = _joined(change, reason)
        self._record(FleetEvent(Kind.OPERATOR, "debug", reason=detail, actor=actor), f"debug {detail}")

    def _act(
        self, action: Action, change: Change, detail: str = "", *, new: bool = False, allow_removed: bool = False
    ) -> tuple[PoolState, bool]:
        for _ in range(MAX_TRIES):
            pool_state = self.pool_state(action.pool, retry_store=True)
            if pool_state.stale:
                raise StoreUnavailable(self.fleet.why or "no answer", self.fleet.cause)
            self._check(pool_state, action, new=new, allow_removed=allow_removed)
            before = pool_state.snapshot.overrides.get(action.backend)
            note = OperatorNote(action.actor, pool_state.snapshot.now, action.reason)
            after = overrides.signed(before, change(before, pool_state.snapshot.now), note)
            if after == before:
                return pool_state, False
            takes = pool_state.takes_last(action.backend, after)
            if takes and not action.force:
                raise Refused(409, f"no other backend of pool {action.pool!r} {takes}", kind=overrides.LAST_SERVING)
            # The decision that another backend serves holds for this version of the pool only.
            version = 0 if action.force else pool_state.snapshot.version
            if self.store.write_override(action.pool, action.backend, before, after, version=version):
                self._announce(action, _joined(detail, action.reason))
                return self.pool_state(action.pool, retry_store=True), True
        raise Refused(409, "concurrent changes won repeatedly: nothing was changed")

    @staticmethod
    def _check(pool_state: PoolState, action: Action, *, new: bool = False, allow_removed: bool = False) -> None:
        override = pool_state.snapshot.overrides.get(action.backend)
        if action.etag is not None and action.etag != etag_of(override):
            raise Refused(412, f"the override of {action.backend!r} has changed meanwhile")
        present = any(backend.id == action.backend for backend in members(pool_state.pool, pool_state.snapshot))
        found = present or (
            allow_removed and (override is not None or pool_state.configured(action.backend) is not None)
        )
        if not new and not found:
            raise Refused(404, f"the pool {pool_state.pool.name!r} has no backend {action.backend!r}")

    def _announce(self, action: Action, reason: str) -> None:
        """Log the action and record it as an event of the fleet."""
        event = FleetEvent(Kind.OPERATOR, action.name, action.pool, action.backend, reason, action.actor)
        line = f"{action.name} {action.backend} of pool {action.pool}"
        self._record(event, f"{line} {reason}" if reason else line)

    def _record(self, event: FleetEvent, line: str) -> None:
        log.warning("%s: %s", event.actor, line)
        try:
            self.store.record([event])
        except StoreUnavailable as error:
            log.warning("the change is stored, but its event is not: %s", error)


def _joined(detail: str, reason: str) -> str:
    """What was done, and why."""
    return ": ".join(part for part in (detail, reason) if part)


def etag_of(override: Override | None) -> str:
    """The entity tag of an override."""
    return _NO_OVERRIDE if override is None else _digest(records.dump_override(override))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_NO_OVERRIDE = _digest("")
