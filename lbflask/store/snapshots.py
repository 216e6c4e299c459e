"""What was read of a pool, as a snapshot: what can't be read is as it was known before, where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lbflask.core.clock_skew import believed
from lbflask.core.model import LEAST_SECRET, ActiveHealth, Backend, Health, Snapshot
from lbflask.store import records
from lbflask.store.keys import PoolKeys

#: Of a backend whose health has been unreadable from the first: it stays in service.
UNREADABLE = ActiveHealth(Health.UNKNOWN, reason="its record in the store can't be read")

Record = TypeVar("Record")


class SnapshotReader:
    """Makes one snapshot of the reply to `read_snapshot.lua`. `unreadable` are the places of what could not be read."""

    def __init__(self, reply: Sequence[Any], known: Snapshot, keys: PoolKeys) -> None:
        self._reply = reply
        self._known = known
        self._keys = keys
        self.unreadable: list[str] = []

    @property
    def now(self) -> float:
        """When it was read, by the store's clock."""
        return moment_of(*self._reply[3:5])

    @property
    def whole(self) -> bool:
        """Whether there is more than the heartbeat."""
        return len(self._reply) > 5

    def snapshot(self) -> Snapshot:
        """The snapshot, with the moments in it that can be believed."""
        known, now = self._known, self.now
        silence, interval = self._reply[1:3]
        heartbeat, interval = None if silence < 0 else silence / 1000, interval / 1000
        if silence == -2 and known.heartbeat is not None:
            heartbeat, interval = known.heartbeat + max(0.0, now - known.now), known.interval
        if not self.whole:
            return replace(known, heartbeat=heartbeat, interval=interval, now=now)
        keys, (active, ejected, overrides, discovered, secret) = self._keys, self._reply[5:]
        if active is None and not known.active:
            heartbeat = None  # who has never read of any backend can't tell that none was checked
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
        found: Sequence[bytes] | None,
        known: Mapping[str, Record],
        parse: Callable[[bytes, str], Record | None],
    ) -> dict[str, Record]:
        """What a hash holds; None is one that can't be read."""
        if found is None:
            return dict(known)
        read: dict[str, Record] = {}
        for id_, record in pairs(found):
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
        """Empty where there is none to go by: the fleet then agrees on one."""
        if secret is None or len(secret) < LEAST_SECRET:
            if secret:
                self.unreadable.append(self._keys.secret)
            return ""
        return secret.decode("ascii")


def remembered(before: Snapshot, read: Snapshot) -> Snapshot:
    """What was read; of an emptied store, which has no version, with the members that were known before.

    Whoever refills it writes the members first.
    """
    if read.version or not before.version:
        return read
    return replace(read, overrides=before.overrides, discovered=before.discovered)


def pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """The fields and values of a hash, as Redis lists them."""
    return ((flat[i].decode(errors="replace"), flat[i + 1]) for i in range(0, len(flat), 2))


def moment_of(seconds: int, micros: int) -> float:
    """What Redis says of the time, in seconds since the epoch."""
    return int(seconds) + int(micros) / 1_000_000
