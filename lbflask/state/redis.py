"""The store in Redis or Valkey: one round trip for each method, none of which waits longer than a few tens of ms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any, TypeVar

import redis
from redis.commands.core import Script

from lbflask.core.ejection import MIN_PERCENT, Report, Rule
from lbflask.core.fleet_events import FleetEvent
from lbflask.core.model import ActiveHealth, Backend, Override, Snapshot
from lbflask.core.rate_limit import Allowance, RateLimit, allowance
from lbflask.core.slots import TOLERANCE, Demand, Grant
from lbflask.core.workers import Roster, WorkerReport
from lbflask.state import records, reports
from lbflask.state.client import OPERATION_TIMEOUT, Client, connect
from lbflask.state.keys import FleetKeys, PoolKeys, bucket
from lbflask.state.ports import DEAD_AFTER, MOST_EVENTS, Lease, Others, StoreUnavailable

__all__ = ["OPERATION_TIMEOUT", "RedisStore", "RedisWatch", "connect"]


Record = TypeVar("Record")


class RedisStore:
    """All ports, over one client. Threads and greenlets may share it."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._fleet = FleetKeys(namespace)
        self._keys: dict[str, PoolKeys] = {}
        self._events = self._fleet.events
        self._read_snapshot = self._script("read_snapshot")
        self._hold_lease = self._script("hold_lease")
        self._drop_lease = self._script("drop_lease")
        self._write_active = self._script("write_active")
        self._count_failures = self._script("count_failures")
        self._hold_probe = self._script("hold_probe")
        self._settle_ejection = self._script("settle_ejection")
        self._beat = self._script("beat")
        self._write_override = self._script("write_override")
        self._write_discovered = self._script("write_discovered")
        self._read_roster = self._script("read_roster")
        self._agree_on_secret = self._script("agree_on_secret")
        self._hold_slots = self._script("hold_slots")
        self._take_token = self._script("take_token")

    def take_tickets(self, pool: str, count: int) -> int:
        """See WorkerStore."""
        keys = self._of(pool)
        last: int = _asked(lambda: self._client.incrby(keys.ticket, count))
        return last - count

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See WorkerStore."""
        keys = self._of(pool)
        read = [keys.version, keys.heartbeat, keys.active, keys.ejected, keys.overrides, keys.discovered, keys.secret]
        version, silence, interval, seconds, micros, *news = _asked(
            lambda: self._read_snapshot(keys=read, args=[known.version])
        )
        heartbeat = None if silence < 0 else silence / 1000
        now = int(seconds) + int(micros) / 1_000_000
        if not news:
            return replace(known, heartbeat=heartbeat, interval=interval / 1000, now=now)
        active = {id_: records.parse(record) for id_, record in _pairs(news[0])}
        ejected = _readable((id_, records.parse_ejection(record)) for id_, record in _pairs(news[1]))
        overrides = _readable((id_, records.parse_override(record)) for id_, record in _pairs(news[2]))
        discovered = records.parse_backends(news[3]) if news[3] else ()
        secret = news[4].decode(errors="replace")
        return Snapshot(int(version), active, heartbeat, interval / 1000, ejected, now, overrides, discovered, secret)

    def agree_on_secret(self, pool: str, proposed: str) -> str:
        """See WorkerStore."""
        keys = self._of(pool)
        agreed: bytes = _asked(lambda: self._agree_on_secret(keys=[keys.secret], args=[proposed]))
        return agreed.decode(errors="replace")

    def watch_changes(self, pools: Collection[str]) -> RedisWatch:
        """See WorkerStore."""
        channels = {self._of(pool).changes.encode(): pool for pool in pools}
        return RedisWatch(self._client, list(channels), lambda channel, _: channels[channel])

    def report_suspect(self, pool: str, backend: str) -> None:
        """See WorkerStore."""
        keys = self._of(pool)
        _asked(lambda: self._client.publish(keys.suspects, backend))

    def announce_reload(self) -> None:
        """See WorkerStore."""
        _asked(lambda: self._client.publish(self._fleet.reloads, "reload"))

    def count_failures(self, pool: str, backend: str, report: Report, rule: Rule) -> bool:
        """See WorkerStore."""
        keys = self._of(pool)
        seen = [report.attempts, report.failures, report.weight]
        judged_by = [rule.failures, MIN_PERCENT, int(rule.window * 1000), rule.duration, rule.max_duration, rule.quota]
        return bool(
            _asked(
                lambda: self._count_failures(
                    keys=[keys.failures, keys.attempts, keys.ejected, keys.version],
                    args=[backend, *seen, *judged_by, keys.changes, *rule.members],
                )
            )
        )

    def hold_probe(self, pool: str, holder: str, seconds: float) -> bool:
        """See WorkerStore."""
        keys = self._of(pool)
        return bool(_asked(lambda: self._hold_probe(keys=[keys.probe], args=[holder, int(seconds * 1000)])))

    def settle_ejection(self, pool: str, backend: str, since: float, *, back: bool, rule: Rule) -> bool:
        """See WorkerStore."""
        keys = self._of(pool)
        verdict = [f"{since:.3f}", "back" if back else "out", rule.duration, rule.max_duration]
        return bool(
            _asked(
                lambda: self._settle_ejection(
                    keys=[keys.ejected, keys.probe, keys.version], args=[backend, *verdict, keys.changes]
                )
            )
        )

    def beat(
        self,
        pool: str,
        worker: str,
        loads: Mapping[str, int],
        attempts: Mapping[str, int],
        *,
        read: bool,
        report: WorkerReport | None = None,
    ) -> Others:
        """See WorkerStore."""
        keys = self._of(pool)
        pairs = [part for pair in attempts.items() for part in pair]
        told = "" if report is None else reports.dump(report)
        about = [worker, records.dump_loads(loads), int(DEAD_AFTER * 1000), "read" if read else "", told]
        of = [keys.workers, keys.attempts, keys.reports]
        workers, *others = _asked(lambda: self._beat(keys=of, args=[*about, *pairs]))
        return Others(records.sum_loads(others), workers)

    def leave(self, pool: str, worker: str) -> None:
        """See WorkerStore."""
        keys = self._of(pool)
        _asked(lambda: self._client.hdel(keys.workers, worker))
        _asked(lambda: self._client.hdel(keys.reports, worker))

    def read_roster(self, pool: str) -> Roster:
        """See OperatorStore."""
        keys = self._of(pool)
        seconds, micros, leader, beats, told = _asked(
            lambda: self._read_roster(keys=[keys.leader, keys.workers, keys.reports], args=[])
        )
        found = dict(_pairs(told))
        now = int(seconds) + int(micros) / 1_000_000
        return reports.roster(now, leader.decode(errors="replace"), _pairs(beats), found)

    def record(self, events: Sequence[FleetEvent]) -> None:
        """See WorkerStore."""
        pipeline = _asked(lambda: self._client.pipeline(transaction=False))
        for event in events:
            pipeline.xadd(self._events, records.event_fields(event), maxlen=MOST_EVENTS, approximate=True)
        _asked(pipeline.execute)

    def read_events(self, count: int, *, before: str = "") -> list[FleetEvent]:
        """See OperatorStore."""
        until = f"({records.event_id(before)}" if before else "+"
        found = _asked(lambda: self._client.xrevrange(self._events, until, "-", count))
        return records.parse_events(found)

    def follow_events(self, after: str, count: int) -> list[FleetEvent]:
        """See OperatorStore."""
        since = f"({records.event_id(after)}" if after else "-"
        found = _asked(lambda: self._client.xrange(self._events, since, "+", count))
        return records.parse_events(found)

    def hold_slots(self, pool: str, worker: str, demand: Demand) -> Grant:
        """See WorkerStore."""
        keys = self._of(pool)
        wants = [demand.extra, demand.waiting, int(demand.waited * 1000), demand.room, int(TOLERANCE * 1000)]
        places = [part for place in demand.places for part in place]
        about = [worker, int(DEAD_AFTER * 1000), *wants, demand.before, keys.free_slots, "call" if demand.call else ""]
        elsewhere, *held = _asked(lambda: self._hold_slots(keys=[keys.slots], args=[*about, *places]))
        return Grant(held, elsewhere)

    def watch_slots(self, pools: Collection[str]) -> RedisWatch:
        """See WorkerStore."""
        channels = {self._of(pool).free_slots.encode(): pool for pool in pools}
        return RedisWatch(self._client, list(channels), lambda channel, _: channels[channel])

    def take_token(self, limit: RateLimit, key: str) -> Allowance:
        """See WorkerStore."""
        units = [limit.count, limit.token, limit.burst * limit.token]
        name = bucket(self._namespace, limit, key)
        passed, missing = _asked(lambda: self._take_token(keys=[name], args=units))
        return allowance(limit, int(missing), passed=bool(passed))

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """See CheckerStore."""
        keys = self._of(pool)
        held = _asked(lambda: self._hold_lease(keys=[keys.leader, keys.epoch], args=[holder, int(seconds * 1000)]))
        if held is None:
            return None
        epoch, whole, micros = held
        return Lease(int(epoch), int(whole) + int(micros) / 1_000_000)

    def drop_lease(self, pool: str, holder: str) -> None:
        """See CheckerStore."""
        keys = self._of(pool)
        _asked(lambda: self._drop_lease(keys=[keys.leader], args=[holder]))

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
        """See CheckerStore."""
        keys = self._of(pool)
        pairs = [part for backend, state in states.items() for part in (backend, records.dump(state))]
        written = _asked(
            lambda: self._write_active(
                keys=[keys.epoch, keys.active, keys.heartbeat, keys.version],
                args=[
                    epoch,
                    int(interval * 1000),
                    "replace" if replace else "keep",
                    keys.changes if announce else "",
                    *pairs,
                ],
            )
        )
        return bool(written)

    def write_discovered(self, pool: str, epoch: int, backends: Collection[Backend]) -> bool:
        """See CheckerStore."""
        keys = self._of(pool)
        written = _asked(
            lambda: self._write_discovered(
                keys=[keys.epoch, keys.discovered, keys.version],
                args=[epoch, records.dump_backends(backends), keys.changes],
            )
        )
        return bool(written)

    def write_override(self, pool: str, backend: str, before: Override | None, after: Override | None) -> bool:
        """See OperatorStore."""
        keys = self._of(pool)
        dumped = ["" if override is None else records.dump_override(override) for override in (before, after)]
        written = _asked(
            lambda: self._write_override(keys=[keys.overrides, keys.version], args=[backend, *dumped, keys.changes])
        )
        return bool(written)

    def watch_suspects(self, pools: Collection[str]) -> RedisWatch:
        """See CheckerStore."""
        channels = {self._of(pool).suspects.encode(): pool for pool in pools}
        return RedisWatch(
            self._client,
            list(channels),
            lambda channel, backend: f"{channels[channel]}/{backend.decode(errors='replace')}",
        )

    def watch_reloads(self) -> RedisWatch:
        """See CheckerStore."""
        return RedisWatch(self._client, [self._fleet.reloads.encode()], lambda _, message: message.decode())

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def _script(self, name: str) -> Any:
        # As bytes: redis-py would ask a client for its encoding, and a cluster's client would have to connect for it.
        text = resources.files("lbflask.state").joinpath("lua", f"{name}.lua").read_bytes()
        return Script(self._client, text)  # type: ignore[arg-type]

    def _of(self, pool: str) -> PoolKeys:
        keys = self._keys.get(pool)
        if keys is None:
            keys = self._keys[pool] = PoolKeys(self._namespace, pool)
        return keys


class RedisWatch:
    """A subscription over a connection of its own."""

    def __init__(self, client: Client, channels: list[bytes], told: Callable[[bytes, bytes], str]) -> None:
        self._told = told
        self._pubsub = _asked(lambda: client.pubsub(ignore_subscribe_messages=True))
        try:
            _asked(lambda: self._pubsub.subscribe(*channels))
        except StoreUnavailable:
            self._pubsub.close()
            raise

    def wait(self, timeout: float) -> Collection[str]:
        """See Watch."""
        messages: set[str] = set()
        message = _asked(lambda: self._pubsub.get_message(timeout=max(0.0, timeout)))
        while message is not None:
            messages.add(self._told(message["channel"], message["data"]))
            message = _asked(lambda: self._pubsub.get_message(timeout=0.0))
        return messages

    def close(self) -> None:
        """See Watch."""
        try:
            self._pubsub.close()
        except (redis.RedisError, OSError):
            return  # the connection was lost already


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """The fields and values of a hash, as Redis lists them."""
    return ((flat[i].decode(errors="replace"), flat[i + 1]) for i in range(0, len(flat), 2))


def _readable(found: Iterable[tuple[str, Record | None]]) -> dict[str, Record]:
    return {id_: record for id_, record in found if record is not None}


def _asked(ask: Callable[[], Any]) -> Any:
    """Redis's answer; whatever keeps it from us becomes StoreUnavailable."""
    try:
        return ask()
    except (
        redis.RedisError, redis.exceptions.RedisClusterException, OSError, ValueError, AttributeError
    ) as error:  # fmt: skip
        # The last two are what redis-py's reader comes to when `close` takes its connection away while it waits.
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
