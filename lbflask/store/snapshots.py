"""Builds snapshots from replies of Redis. An invalid record keeps its value of the snapshot before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lbflask.core.clock_skew import believed
from lbflask.core.model import LEAST_SECRET, ActiveHealth, Backend, Health, Snapshot
from lbflask.store import records
from lbflask.store.keys import PoolKeys

#: The health of a backend whose record was never valid: the backend stays in service.
UNREADABLE = ActiveHealth(Health.UNKNOWN, reason="its record in the store can't be read")

Record = TypeVar("Record")


class SnapshotReader:
    """Builds one snapshot from the reply of `read_snapshot.lua`. `unreadable` lists the keys of invalid records."""

    def __init__(self, reply: Sequence[Any], known: Snapshot, keys: PoolKeys) -> None:
        self._reply = reply
        self._known = known
        self._keys = keys
        self.unreadable: list[str] = []

    @property
    def now(self) -> float:
        """The store's clock at the reading."""
        return moment_of(*self._reply[3:5])

    @property
    def is_complete(self) -> bool:
        """Whether the reply has more than the heartbeat."""
        return len(self._reply) > 5

    def snapshot(self) -> Snapshot:
        """The snapshot. Timestamps ahead of the clock are corrected."""
        known, now = self._known, self.now
        silence, interval = self._reply[1:3]
        heartbeat, interval = None if silence < 0 else silence / 1000, interval / 1000
        if silence == -2 and known.heartbeat is not None:
            heartbeat, interval = known.heartbeat + max(0.0, now - known.now), known.interval
        if not self.is_complete:
            return replace(known, heartbeat=heartbeat, interval=interval, now=now)
        keys, (active, ejected, overrides, discovered, secret) = self._keys, self._reply[5:]
        if active is None and not known.active:
            heartbeat = None  # without any valid record, it is unknown whether backends were checked
        healths = self._records(keys.active, active, known.active, lambda record, _: records.parse_active(record))
        healths |= {id_: UNREADABLE for id_, _ in pairs(active or ()) if id_ not in healths}
        return believed(
            Snapshot(
                int(self._reply[0]),
                healths,
                heartbeat,
                interval,
                self._records(keys.ejected, ejected, known.ejected, lambda record, _: records.parse_ejection(record)),
                now,
                self._records(keys.overrides, overrides, known.overrides, records.parse_override),
                self._discovered(discovered),
                self._secret(secret),
            )
        )

    def _records(
        self,
        key: str,
        flat: Sequence[bytes] | None,
        known: Mapping[str, Record],
        parse: Callable[[bytes, str], Record | None],
    ) -> dict[str, Record]:
        """The records of a hash, which is None if the key is invalid."""
        if flat is None:
            return dict(known)
        read: dict[str, Record] = {}
        for id_, record in pairs(flat):
            parsed = parse(record, id_)
            if parsed is None:
                self.unreadable.append(f"{key} {id_}")
                parsed = known.get(id_)
            if parsed is not None:
                read[id_] = parsed
        return read

    def _discovered(self, record: bytes | None) -> tuple[Backend, ...]:
        if record == b"":
            return ()
        parsed = None if record is None else records.parse_backends(record)
        if record is not None and (parsed is None or parsed[1]):
            self.unreadable.append(self._keys.discovered)
        return self._known.discovered if parsed is None else parsed[0]

    def _secret(self, secret: bytes | None) -> str:
        """The secret; empty without a valid one, so that the fleet agrees on one."""
        if secret is None or len(secret) < LEAST_SECRET:
            if secret:
                self.unreadable.append(self._keys.secret)
            return ""
        return secret.decode("ascii")


def remembered(before: Snapshot, read: Snapshot) -> Snapshot:
    """The snapshot that was read; that of an emptied store, which has no version, with the members from before.

    The members are the first to be written again.
    """
    if read.version or not before.version:
        return read
    return replace(read, overrides=before.overrides, discovered=before.discovered)


def pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """The fields and values of a hash in the flat list of Redis."""
    return ((flat[i].decode(errors="replace"), flat[i + 1]) for i in range(0, len(flat), 2))


def moment_of(seconds: int, micros: int) -> float:
    """The reply of TIME, in seconds since the epoch."""
    return int(seconds) + int(micros) / 1_000_000
