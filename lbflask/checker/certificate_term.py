"""The records of automatic certificates while a checker leads: read once, then written through under its epoch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lbflask.acme.last_good_copy import LastGoodCopy
from lbflask.acme.records import ACCOUNT, ATTEMPTS, CERTIFICATE, ORDER, SealedRecords
from lbflask.checker.leadership import Leadership, LeaseLost
from lbflask.checker.store_calls import StoreCalls
from lbflask.core.certificate_orders import CertificateAccount, CertificateState, ChallengeKind, NameState, is_read
from lbflask.core.fleet_events import FleetEvent, Kind
from lbflask.store.ports import CheckerStore, StoreUnavailable

log = logging.getLogger("lbflask.checker")


@dataclass(frozen=True, slots=True)
class WantedCertificates:
    """The names to have certificates for, from the authority with this directory, and the kind of challenge."""

    names: tuple[str, ...]
    directory: str
    kind: ChallengeKind


@dataclass(frozen=True, slots=True)
class CertificateStorage:
    """Where records are: sealed by `records`, in the store and, on this machine, in `copy`."""

    records: SealedRecords
    copy: LastGoodCopy


class CertificateTerm:
    """The state of the names in one term of a leader. Every write may raise LeaseLost and StoreUnavailable."""

    def __init__(
        self,
        epoch: int,
        store: CheckerStore,
        call: StoreCalls,
        storage: CertificateStorage,
        leadership: Leadership,
    ) -> None:
        self._epoch = epoch
        self._store = store
        self._call = call
        self._storage = storage
        self._leadership = leadership
        self._records: dict[str, bytes] = {}
        self._writing = asyncio.Lock()
        self.sealed = storage.records
        self.account: CertificateAccount | None = None
        self.names: dict[str, NameState] = {}

    def __repr__(self) -> str:
        return f"<CertificateTerm {self._epoch}, {len(self.names)} names>"

    def now(self) -> float:
        """The time by the store's clock, in seconds since the epoch."""
        return self._leadership.store_time()

    def state(self) -> CertificateState:
        """What the fleet knows."""
        return CertificateState(self.account, self.names)

    async def take_over(self) -> None:
        """Start from the store, and from the copy of this machine where the store has lost a record, or has one that
        another fleet has written.
        """
        found = await self._call(self._store.read_certificates, -1)
        stored = {} if found is None else dict(found.records)
        copied = await self._call(self._storage.copy.read)
        read, of_copy = self.sealed.state(stored), self.sealed.state(copied)
        lost = {
            name: record
            for name, record in copied.items()
            if not name.startswith(ORDER) and (name not in stored or not is_read(name, read)) and is_read(name, of_copy)
        }
        self._records = stored
        state = self.sealed.state({**stored, **lost})
        self.account, self.names = state.account, dict(state.names)
        if lost:
            log.info("certificates: the store has lost %d records, which are written again", len(lost))
            await self.write(lost)

    async def set_account(self, account: CertificateAccount) -> None:
        """Replace the account of the fleet."""
        self.account = account
        await self.write({ACCOUNT: self.sealed.account(account)})

    async def set_name(self, name: str, after: NameState) -> None:
        """Write what has changed. Raises LeaseLost, StoreUnavailable."""
        before, changes = self.names.get(name, NameState()), dict[str, bytes]()
        if after.certificate is not None and after.certificate != before.certificate:
            changes[CERTIFICATE + name] = self.sealed.certificate(name, after.certificate)
        if after.order != before.order:
            changes[ORDER + name] = b"" if after.order is None else self.sealed.order(name, after.order)
        if after.attempts != before.attempts:
            changes[ATTEMPTS + name] = self.sealed.attempts(name, after.attempts)
        if changes:
            await self.write(changes)
        self.names[name] = after

    async def forget(self, name: str) -> None:
        """Delete all records of the name. Raises LeaseLost, StoreUnavailable."""
        await self.write({kind + name: b"" for kind in (CERTIFICATE, ORDER, ATTEMPTS)})
        self.names.pop(name, None)

    async def take_wishes(self, most: int) -> Sequence[str]:
        """Names that workers want certificates for, which the store forgets with this. Raises StoreUnavailable."""
        return await self._call(self._store.take_wishes, self._epoch, most)

    async def write(self, changes: Mapping[str, bytes]) -> None:
        """Write to the store, then to the copy of this machine. Raises LeaseLost, StoreUnavailable."""
        async with self._writing:
            if not await self._call(self._store.write_certificates, self._epoch, changes):
                raise LeaseLost("another checker leads")
            self._records = {name: record for name, record in {**self._records, **changes}.items() if record}
            try:
                await self._call(self._storage.copy.write, self._records)
            except OSError as error:
                log.warning("certificates: %s cannot be written: %s", self._storage.copy.path, error.strerror)

    async def record(self, what: str, reason: str) -> None:
        """Record an event, if the store is in reach."""
        event = FleetEvent(Kind.CERTIFICATE, what, "", "", reason, self._leadership.settings.holder)
        with suppress(StoreUnavailable):
            await self._call(self._store.record, [event])
