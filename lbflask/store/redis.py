"""The store in Redis or Valkey: one round trip for each method, with a time-out of a few tens of milliseconds.

Keys may hold anything, since others may write to the server too: an invalid value counts as absent, is logged once, and
is replaced by the next write of that key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from lbflask.core import clock_skew
from lbflask.core.bans import MAX_BANS, Ban, BanRule
from lbflask.core.discovery import SourceFailure
from lbflask.core.ejection import FORGOTTEN_WINDOWS, KEPT_ATTEMPTS, EjectionPolicy, FailureReport
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.fleet_stats import Roster
from lbflask.core.instance_drain import InstanceDrain
from lbflask.core.model import LEAST_SECRET, Backend, Override, Snapshot
from lbflask.core.rate_limit import Allowance, RateLimit, allowance
from lbflask.core.slots import TOLERANCE, Grant, SlotDemand
from lbflask.store import fleet_records, records, roster_records
from lbflask.store.invalid_data import INVALID_DATA, InvalidDataLog
from lbflask.store.keys import FleetKeys, PoolKeys, bucket, configuration, offences
from lbflask.store.ports import (
    BAN_CHANGES_KEPT,
    CONFIGURATION_FORGOTTEN_AFTER,
    CONVICTED_FOR,
    DEAD_AFTER,
    FORGOTTEN_AFTER,
    MAX_EVENTS,
    MAX_WISHES,
    SOURCE_FORGOTTEN_AFTER,
    WISHES_FORGOTTEN_AFTER,
    BanChanges,
    Beat,
    CertificateRecords,
    HealthWrite,
    Lease,
    OtherWorkers,
    StoreMemory,
    StoreUnavailable,
)
from lbflask.store.redis_client import OPERATION_TIMEOUT, Client, connect
from lbflask.store.redis_errors import is_wrong_type, translated
from lbflask.store.redis_watch import RedisWatch
from lbflask.store.scripts import Scripts
from lbflask.store.snapshots import SnapshotReader, moment_of, pairs

__all__ = ["OPERATION_TIMEOUT", "RedisStore", "RedisWatch", "connect"]


class RedisStore:
    """All ports with one client. Threads and greenlets may share it."""

    def __init__(self, client: Client, namespace: str, invalid_data: InvalidDataLog = INVALID_DATA) -> None:
        self._client = client
        self._namespace = namespace
        self._fleet = FleetKeys(namespace)
        self._of = cache(partial(PoolKeys, namespace))
        self._run = Scripts(client, invalid_data).run
        self._invalid_data = invalid_data

    def __repr__(self) -> str:
        return f"<RedisStore namespace={self._namespace!r}>"

    def take_tickets(self, pool: str, count: int) -> int:
        """See ports.py."""
        keys = self._of(pool)
        try:
            last: int = translated(lambda: self._client.incrby(keys.ticket, count))
        except StoreUnavailable as error:
            if not is_wrong_type(error.__cause__):
                raise
            last = self._run("renew_tickets", [keys.ticket], [count])
        return last - count

    def return_tickets(self, pool: str, first: int, count: int) -> bool:
        """See ports.py."""
        return bool(self._run("return_tickets", [self._of(pool).ticket], [first, first + count]))

    def prove(self, pool: str) -> None:
        """See ports.py."""
        keys = self._of(pool)
        self._run("prove", [keys.trial], [keys.trial])

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See ports.py."""
        keys = self._of(pool)
        of = [keys.version, keys.heartbeat, keys.active, keys.ejected, keys.overrides, keys.discovered, keys.secret]
        read = SnapshotReader(self._run("read_snapshot", of, [known.version]), known, keys)
        if not read.is_complete and clock_skew.set_back(known.now, read.now):
            read = SnapshotReader(self._run("read_snapshot", of, [-1]), known, keys)
        snapshot = read.snapshot()
        if read.unreadable:
            self._invalid_data.note(read.unreadable)
        return snapshot

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        """See ports.py."""
        agreed: bytes = self._run("agree_on_secret", [self._of(pool).secret], [proposed, LEAST_SECRET])
        return agreed.decode()

    def watch_changes(self, pools: Collection[str]) -> RedisWatch:
        """See ports.py."""
        return RedisWatch(self._client, {self._of(pool).changes: pool for pool in pools})

    def report_suspect(self, pool: str, backend: str) -> None:
        """See ports.py."""
        keys = self._of(pool)
        translated(lambda: self._client.publish(keys.suspects, backend))

    def announce_reload(self) -> None:
        """See ports.py."""
        translated(lambda: self._client.publish(self._fleet.reloads, "reload"))

    def write_configuration(self, version: str, settings: str) -> None:
        """See ports.py."""
        key, milliseconds = configuration(self._namespace, version), _milliseconds(CONFIGURATION_FORGOTTEN_AFTER)
        translated(lambda: self._client.set(key, settings, px=milliseconds))

    def count_failures(self, pool: str, backend: str, report: FailureReport, rule: EjectionPolicy) -> bool:
        """See ports.py."""
        keys = self._of(pool)
        counts = [report.attempts, report.failures, report.weight]
        window = [_milliseconds(rule.window), _milliseconds(rule.window * FORGOTTEN_WINDOWS), KEPT_ATTEMPTS]
        limits = [rule.failures, *window, rule.duration, rule.max_duration, rule.quota]
        of = [keys.failures, keys.attempts, keys.ejected, keys.version]
        args = [backend, *counts, *limits, keys.changes, *rule.members]
        return bool(self._run("count_failures", of, args))

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        """See ports.py."""
        return bool(self._run("hold_probe", [self._of(pool).probe], [holder, _milliseconds(seconds)]))

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: EjectionPolicy) -> bool:
        """See ports.py."""
        keys = self._of(pool)
        verdict = [f"{since:.3f}", "back" if back else "out", rule.duration, rule.max_duration]
        of = [keys.ejected, keys.probe, keys.version]
        return bool(self._run("settle_ejection", of, [backend, *verdict, keys.changes]))

    def beat(self, pool: str, worker: str, beat: Beat, *, read: bool) -> OtherWorkers:
        """See ports.py."""
        keys = self._of(pool)
        attempts = records.dump_counts(beat.attempts) if beat.attempts else ""
        report = "" if beat.report is None else records.dump_report(beat.report)
        loads, forgotten_after = records.dump_counts(beat.loads), _milliseconds(FORGOTTEN_AFTER)
        args = [worker, loads, _milliseconds(DEAD_AFTER), "read" if read else "", report, forgotten_after, attempts]
        workers, new, *others = self._run("beat", [keys.workers, keys.attempts, keys.reports], args)
        return OtherWorkers(records.sum_loads(others), workers, bool(new))

    def leave(self, pool: str, worker: str) -> None:
        """See ports.py."""
        keys = self._of(pool)
        self._run("leave", [keys.workers, keys.reports], [worker])

    def read_memory(self) -> StoreMemory | None:
        """See ports.py. In a cluster, that of one node at most."""
        try:
            info = translated(lambda: self._client.info("memory"))
        except StoreUnavailable as error:
            if error.cause is FailureCause.PERMISSION:
                return None
            raise
        used, limit, policy = (info.get(name) for name in ("used_memory", "maxmemory", "maxmemory_policy"))
        known = isinstance(used, int) and isinstance(limit, int) and isinstance(policy, str)
        return StoreMemory(used, limit, policy) if known else None

    def read_roster(self, pool: str) -> Roster:
        """See ports.py."""
        keys = self._of(pool)
        of = [keys.leader, keys.workers, keys.reports, keys.attempts, keys.checkers, keys.source]
        seconds, micros, leader, beats, summaries, attempts, checkers, source = self._run("read_roster", of)
        now, found = moment_of(seconds, micros), dict(pairs(summaries))
        roster = roster_records.roster(now, records.text_of(leader), pairs(beats), found, pairs(attempts))
        listed, failure = roster_records.parse_checkers(pairs(checkers), now), records.parse_source(source, now)
        return replace(roster, checkers=listed, source_failure=failure)

    def read_configuration(self, version: str) -> Mapping[str, Any] | None:
        """See ports.py."""
        key = configuration(self._namespace, version)
        try:
            record: bytes | None = translated(lambda: self._client.get(key))
        except StoreUnavailable as error:
            if not is_wrong_type(error.__cause__):
                raise
            self._invalid_data.note([key])
            return None
        return None if record is None else fleet_records.parse_configuration(record)

    def read_certificates(self, known: int) -> CertificateRecords | None:
        """See ports.py."""
        of = [self._fleet.certificate_version, self._fleet.certificates]
        version, *found = self._run("read_certificates", of, [known])
        return CertificateRecords(int(version), dict(pairs(found[0]))) if found else None

    def write_certificates(self, epoch: int, records: Mapping[str, bytes]) -> bool:
        """See ports.py."""
        of = [self._fleet.epoch, self._fleet.certificates, self._fleet.certificate_version]
        parts = [part for item in records.items() for part in item]
        return bool(self._run("write_certificates", of, [epoch, self._fleet.changes, *parts]))

    def wish_certificates(self, names: Collection[str]) -> None:
        """See ports.py."""
        limits = [MAX_WISHES, int(WISHES_FORGOTTEN_AFTER * 1000)]
        self._run("wish_certificates", [self._fleet.wishes], [*limits, *names])

    def take_wishes(self, epoch: int, most: int) -> Sequence[str]:
        """See ports.py."""
        found = self._run("take_wishes", [self._fleet.epoch, self._fleet.wishes], [epoch, most])
        return [name.decode("utf-8", "replace") for name in found]

    def record(self, events: Sequence[FleetEvent]) -> None:
        """See ports.py."""
        values = [value for event in events for value in fleet_records.event_values(event)]
        self._run("record", [self._fleet.events], [MAX_EVENTS, *values])

    def read_events(self, count: int, *, before: str = "") -> list[FleetEvent]:
        """See ports.py."""
        until = f"({fleet_records.event_id(before)}" if before else "+"
        return self._entries(lambda: self._client.xrevrange(self._fleet.events, until, "-", count))

    def follow_events(self, after: str, count: int) -> list[FleetEvent]:
        """See ports.py."""
        since = f"({fleet_records.event_id(after)}" if after else "-"
        return self._entries(lambda: self._client.xrange(self._fleet.events, since, "+", count))

    def hold_slots(self, pool: str, worker: str, demand: SlotDemand) -> Grant:
        """See ports.py."""
        keys = self._of(pool)
        numbers = [demand.extra, demand.waiting, _milliseconds(demand.waited), demand.room, _milliseconds(TOLERANCE)]
        backends = [part for slots in demand.places for part in slots]
        queue = [demand.before, keys.free_slots, "call" if demand.call else ""]
        args = [worker, _milliseconds(DEAD_AFTER), *numbers, *queue]
        elsewhere, *held = self._run("hold_slots", [keys.slots], [*args, *backends])
        return Grant(held, elsewhere)

    def watch_slots(self, pools: Collection[str]) -> RedisWatch:
        """See ports.py."""
        return RedisWatch(self._client, {self._of(pool).free_slots: pool for pool in pools})

    def take_token(self, limit: RateLimit, key: str) -> Allowance:
        """See ports.py."""
        units = [limit.count, limit.token, limit.burst * limit.token]
        name = bucket(self._namespace, limit, key)
        passed, missing = self._run("take_token", [name], units)
        return allowance(limit, int(missing), passed=bool(passed))

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """See ports.py."""
        keys = self._of(pool)
        held = self._run("hold_lease", [keys.leader, keys.epoch, keys.checkers], [holder, _milliseconds(seconds)])
        if held is None:
            return None
        epoch, whole, micros = held
        return Lease(int(epoch), moment_of(whole, micros))

    def drop_lease(self, pool: str, holder: str) -> None:
        """See ports.py."""
        keys = self._of(pool)
        self._run("drop_lease", [keys.leader, keys.checkers], [holder])

    def write_active(self, pool: str, write: HealthWrite) -> bool:
        """See ports.py."""
        keys = self._of(pool)
        states = [part for id_, state in write.states.items() for part in (id_, records.dump_active(state))]
        how = [
            _milliseconds(write.interval),
            "replace" if write.replace else "keep",
            keys.changes if write.announce else "",
        ]
        of = [keys.epoch, keys.active, keys.heartbeat, keys.version]
        return bool(self._run("write_active", of, [write.epoch, *how, *states]))

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        """See ports.py."""
        keys = self._of(pool)
        args = [epoch, records.dump_backends(backends), keys.changes]
        return bool(self._run("write_discovered", [keys.epoch, keys.discovered, keys.version], args))

    def write_source(self, pool: str, epoch: int, failure: SourceFailure | None) -> bool:
        """See ports.py."""
        keys, record = self._of(pool), "" if failure is None else records.dump_source(failure)
        args = [epoch, record, _milliseconds(SOURCE_FORGOTTEN_AFTER)]
        return bool(self._run("write_source", [keys.epoch, keys.source], args))

    def write_override(
        self, pool: str, backend: str, before: Override | None, after: Override | None, *, version: int = 0
    ) -> bool:
        """See ports.py."""
        keys = self._of(pool)
        record, *moment = self._run("read_override", [keys.overrides], [backend])
        current = records.parse_override(record, backend) if record else None
        if current is not None:
            current = clock_skew.override(current, moment_of(*moment))
        if current != before and (current or record == b""):
            return False
        # The script compares the record as read: another version may write the same override differently.
        dumped = "" if after is None else records.dump_override(after)
        args = [backend, record or "", dumped, keys.changes, version or ""]
        return bool(self._run("write_override", [keys.overrides, keys.version], args))

    def read_drains(self) -> dict[str, InstanceDrain]:
        """See ports.py."""
        *moment, drains, notes = self._run("read_drains", [self._fleet.drained, self._fleet.drain_notes])
        return fleet_records.parse_drains(moment_of(*moment), pairs(drains), dict(pairs(notes)))

    def write_drain(self, instance: str, actor: str, seconds: int, reason: str = "") -> None:
        """See ports.py."""
        of = [self._fleet.drained, self._fleet.drain_notes]
        self._run("write_drain", of, [instance, seconds * 1000, actor, self._fleet.changes, reason])

    def read_bans(self, known: int) -> BanChanges:
        """See ports.py."""
        of, kept = [self._fleet.bans, self._fleet.ban_changes], round(BAN_CHANGES_KEPT * 500_000)
        seconds, micros, whole, found = self._run("read_bans", of, [known, kept])
        bans = fleet_records.parse_bans(moment_of(seconds, micros), pairs(found))
        return BanChanges(seconds * 1_000_000 + micros, bool(whole), bans)

    def write_ban(self, ban: Ban, seconds: int) -> bool:
        """See ports.py."""
        of, by = [self._fleet.bans, self._fleet.ban_changes], "a" if ban.rule else "m"
        args = [ban.network, seconds * 1000, by, fleet_records.ban_details(ban), self._fleet.changes]
        return bool(self._run("write_ban", of, [*args, MAX_BANS, _milliseconds(BAN_CHANGES_KEPT)]))

    def count_offence(self, rule: BanRule, client: str) -> bool:
        """See ports.py."""
        key = offences(self._namespace, rule.name, client)
        limits = [rule.count, round(rule.within * 1_000_000), _milliseconds(CONVICTED_FOR)]
        return bool(self._run("count_offence", [key], limits))

    def watch_suspects(self, pools: Collection[str]) -> RedisWatch:
        """See ports.py."""
        return RedisWatch(self._client, {self._of(pool).suspects: f"{pool}/" for pool in pools}, with_payload=True)

    def watch_reloads(self) -> RedisWatch:
        """See ports.py."""
        return RedisWatch(self._client, {self._fleet.reloads: ""}, with_payload=True)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _entries(self, ask: Callable[[], Any]) -> list[FleetEvent]:
        """The events of a range; none if the key holds another type."""
        try:
            return fleet_records.parse_events(translated(ask))
        except StoreUnavailable as error:
            if not is_wrong_type(error.__cause__):
                raise
            self._invalid_data.note([self._fleet.events])
            return []


def _milliseconds(seconds: float) -> int:
    """The nearest number: 1.001 times 1,000 is below 1,001, since binary has no 1.001."""
    return round(seconds * 1000)
