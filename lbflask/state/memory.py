"""The store in one process's memory, with the clock handed in: for tests, and the measure of the others."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from lbflask.core.model import ActiveHealth, Snapshot
from lbflask.state.ports import Lease


@dataclass(slots=True)
class _PoolState:
    tickets: int = 0
    active: dict[str, ActiveHealth] = field(default_factory=dict)
    version: int = 0
    spoken_at: float | None = None
    interval: float = 0.0
    leader: str = ""
    lease_end: float = 0.0
    epoch: int = 0


class MemoryStore:
    """Both ports. Threads may share it; `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: defaultdict[str, _PoolState] = defaultdict(_PoolState)
        self._changed = threading.Condition()
        self._watches: list[MemoryWatch] = []
        self._moments = count(1)  # epochs and versions: none comes twice, even after the store was emptied

    def take_tickets(self, pool: str, count: int) -> int:
        """See WorkerStore."""
        with self._changed:
            state = self._pools[pool]
            first = state.tickets
            state.tickets += count
            return first

    def read_snapshot(self, pool: str, known: Snapshot) -> Snapshot:
        """See WorkerStore."""
        with self._changed:
            state = self._pools[pool]
            heartbeat = None if state.spoken_at is None else max(0.0, self._clock() - state.spoken_at)
            if state.version == known.version:
                return replace(known, heartbeat=heartbeat, interval=state.interval)
            return Snapshot(state.version, dict(state.active), heartbeat, state.interval)

    def watch_changes(self, pools: Collection[str]) -> MemoryWatch:
        """See WorkerStore."""
        return MemoryWatch(self._changed, self._watches, {f"changes:{pool}" for pool in pools})

    def report_suspect(self, pool: str, backend: str) -> None:
        """See WorkerStore."""
        self._tell(f"suspects:{pool}", f"{pool}/{backend}")

    def hold_lease(self, pool: str, holder: str, seconds: float) -> Lease | None:
        """See CheckerStore."""
        with self._changed:
            state, now = self._pools[pool], self._clock()
            free = not state.leader or state.lease_end <= now
            if not free and state.leader != holder:
                return None
            if free:
                state.epoch = next(self._moments)
            state.leader, state.lease_end = holder, now + seconds
            return Lease(state.epoch, now)

    def drop_lease(self, pool: str, holder: str) -> None:
        """See CheckerStore."""
        with self._changed:
            if self._pools[pool].leader == holder:
                self._pools[pool].leader = ""

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
        with self._changed:
            state = self._pools[pool]
            if not state.epoch or epoch != state.epoch:
                return False
            state.spoken_at, state.interval = self._clock(), interval
            state.active = dict(states) if replace else state.active | dict(states)
            if announce:
                state.version = next(self._moments)
        if announce:
            self._tell(f"changes:{pool}", pool)
        return True

    def watch_suspects(self, pools: Collection[str]) -> MemoryWatch:
        """See CheckerStore."""
        return MemoryWatch(self._changed, self._watches, {f"suspects:{pool}" for pool in pools})

    def close(self) -> None:
        """Nothing to let go of."""

    def empty(self) -> None:
        """Forget everything, as a server does that was flushed or restarted. Subscriptions stay."""
        with self._changed:
            self._pools.clear()

    def _tell(self, channel: str, message: str) -> None:
        with self._changed:
            for watch in self._watches:
                watch.hear(channel, message)
            self._changed.notify_all()


class MemoryWatch:
    """A subscription within the process."""

    def __init__(self, changed: threading.Condition, watches: list[MemoryWatch], channels: set[str]) -> None:
        self._changed = changed
        self._watches = watches
        self._channels = channels
        self._heard: set[str] = set()
        with changed:
            watches.append(self)

    def hear(self, channel: str, message: str) -> None:
        """Note a message; called with the lock held."""
        if channel in self._channels:
            self._heard.add(message)

    def wait(self, timeout: float) -> Collection[str]:
        """See Watch."""
        with self._changed:
            self._changed.wait_for(lambda: self._heard, timeout)
            heard, self._heard = self._heard, set()
            return heard

    def close(self) -> None:
        """See Watch."""
        with self._changed:
            if self in self._watches:
                self._watches.remove(self)
