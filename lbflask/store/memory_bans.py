"""The bans of a MemoryStore, and the answers that rules of bans count, in the memory of one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from lbflask.core.bans import MAX_BANS, Ban, BanRule
from lbflask.store.ports import BAN_CHANGES_KEPT, CONVICTED_FOR, BanChanges

#: Limit of the clients whose answers are counted. Above it the oldest half is dropped.
MAX_CLIENTS = 10_000
_MICROS = 1_000_000


class MemoryBans:
    """Threads may share it. `clock` gives seconds since the epoch; `announce` is called after a change."""

    def __init__(self, clock: Callable[[], float], announce: Callable[[], None]) -> None:
        self._clock = clock
        self._announce = announce
        self._lock = threading.Lock()
        self._bans: dict[str, tuple[int, Ban]] = {}  # with the moment of the change, in its order
        self._offences = MemoryOffences()

    def __repr__(self) -> str:
        return f"<MemoryBans {len(self._bans)}>"

    def clear(self) -> None:
        """Delete everything."""
        with self._lock:
            self._bans.clear()
            self._offences = MemoryOffences()

    def read(self, known: int) -> BanChanges:
        """See `read_bans` of ports.py."""
        with self._lock:
            moment = int(self._clock() * _MICROS)
            whole = not known or not 0 <= moment - known <= BAN_CHANGES_KEPT * _MICROS / 2
            found = [ban for changed, ban in self._bans.values() if whole or changed >= known]
            return BanChanges(moment, whole, found)

    def write(self, ban: Ban, seconds: int) -> bool:
        """See `write_ban` of ports.py."""
        with self._lock:
            changed = self._write(ban, seconds, self._clock())
        self._announce()
        return changed

    def count(self, rule: BanRule, client: str) -> bool:
        """See `count_offence` of ports.py."""
        return self._offences.count(rule, client, self._clock())

    def _write(self, ban: Ban, seconds: int, now: float) -> bool:
        before = self._bans.get(ban.network)
        active = before is not None and before[1].until > now
        if ban.rule and active:
            return False
        self._bans.pop(ban.network, None)
        self._bans[ban.network] = int(now * _MICROS), replace(ban, until=now + seconds if seconds else 0.0, since=now)
        for network, (_, one) in list(self._bans.items()):
            if one.until <= now and one.since + BAN_CHANGES_KEPT <= now:
                del self._bans[network]
        if len(self._bans) > MAX_BANS:
            oldest = next((network for network, (_, one) in self._bans.items() if one.rule), next(iter(self._bans)))
            del self._bans[oldest]
        return seconds > 0 or active


class MemoryOffences:
    """Threads may share it; `now` is in seconds of any clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[tuple[str, str], deque[float]] = {}
        self._convicted: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<MemoryOffences of {len(self._moments)} clients>"

    def count(self, rule: BanRule, client: str, now: float) -> bool:
        """See `count_offence` of ports.py."""
        with self._lock:
            key = rule.name, client
            if self._convicted.get(key, now) > now:
                return True
            self._convicted.pop(key, None)
            moments = self._moments.pop(key, None) or deque(maxlen=rule.count)
            moments.append(now)
            if len(moments) >= rule.count and now - moments[-rule.count] <= rule.within:
                if len(self._convicted) >= MAX_CLIENTS:
                    self._convicted.clear()
                self._convicted[key] = now + CONVICTED_FOR
                return True
            if len(self._moments) >= MAX_CLIENTS:
                for oldest in list(self._moments)[: MAX_CLIENTS // 2]:
                    del self._moments[oldest]
            self._moments[key] = deque(moments, maxlen=rule.count)
            return False
