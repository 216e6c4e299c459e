"""The bans as one worker knows them: those of the fleet, and those that it gives by rules.

While the store is out of reach the known bans hold until they are over, and rules count what this worker sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from lbflask.core.bans import Ban, BanList, BanRule
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.core.rate_limit import of_client
from lbflask.fleet.local_worker import LocalWorker
from lbflask.fleet.store_link import StoreLink
from lbflask.store.memory_bans import MemoryOffences

log = logging.getLogger("lbflask")


class FleetBans:
    """Threads and greenlets may share it."""

    def __init__(self, link: StoreLink, worker: LocalWorker) -> None:
        self._link = link
        self._worker = worker
        self._list = BanList()
        self._known = 0
        self._local = MemoryOffences()
        self._on_change: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<FleetBans {len(self._list)}>"

    @property
    def are_there(self) -> bool:
        """Whether there are bans. One that is over counts until the next reading."""
        return len(self._list) > 0

    def set_listener(self, on_change: Callable[[], None]) -> None:
        """Call this function when bans may have come or gone."""
        self._on_change = on_change

    def find(self, address: str, without: Collection[str] = ()) -> Ban | None:
        """The ban that covers the address, `without` those by these rules; None for none. No trip."""
        return self._list.find(address, self._link.now(), without)

    def active(self) -> list[Ban]:
        """The bans that are not over, as last read."""
        return self._list.active(self._link.now())

    def refresh(self) -> None:
        """Read the changes from the store. Raises StoreUnavailable."""
        read = self._link.store.read_bans(self._known)
        now = read.moment / 1_000_000
        if read.whole and self._known and not read.bans:
            pass  # a store that was emptied ends no ban
        elif read.whole:
            self._list.replace(read.bans, now)
        else:
            for ban in read.bans:
                self._list.put(ban, now)
        self._known = read.moment
        self._list.expire(now)
        self._on_change()

    def count(self, rule: BanRule, address: str) -> None:
        """Count an answer to a client that the rule is about; the last one that it takes bans the client. One trip."""
        if self.find(address) is not None:
            return  # the request was in flight when the ban began
        client = of_client(address)
        convicted = self._link.query(lambda store: store.count_offence(rule, client))
        if convicted is None:
            convicted = self._local.count(rule, client, self._link.now())
        if convicted:
            self._ban(rule, client)

    def _ban(self, rule: BanRule, network: str) -> None:
        now = self._link.now()
        statuses = ", ".join(map(str, sorted(rule.statuses)))
        reason = f"{rule.count} answers of {statuses} within {rule.within:g} s"
        ban = Ban(network, now + rule.duration, now, self._worker.identity.instance, reason, rule.name)
        self._list.put(ban, now)
        self._on_change()
        log.warning("%s is banned for %d s by the rule %s: %s", network, rule.duration, rule.name, reason)
        if self._link.query(lambda store: store.write_ban(ban, rule.duration)):
            text = f"{network} for {rule.duration} s by the rule {rule.name}: {reason}"
            event = FleetEvent(Kind.BAN, "ban", reason=text, actor=ban.actor)
            self._link.query(lambda store: store.record([event]))
