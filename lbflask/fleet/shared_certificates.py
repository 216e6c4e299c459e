"""The automatic certificates of the fleet as one process knows them: from the store, and from the copy of this machine
while the store is out of reach.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from lbflask.background import BackgroundTask
from lbflask.core.certificate_orders import CertificateState, ChallengeKind, is_read, merged
from lbflask.fleet.certificate_wishes import CertificateWishes
from lbflask.store.ports import FLEET, FactStore, StoreUnavailable

#: Seconds between two readings of the store without a message: the longest delay that a lost message causes.
POLL_EVERY = 1.0
#: Seconds between attempts to reach a store that is out of reach.
RETRY_EVERY = 0.5
#: The records of pending orders have no use without their store.
_ORDER = "order:"

log = logging.getLogger("lbflask")


class RecordCopy(Protocol):
    """The copy of the records on this machine."""

    def read(self) -> dict[str, bytes]:
        """The records by name."""
        ...

    def write(self, records: Mapping[str, bytes]) -> None:
        """Replace the records. Raises OSError."""
        ...


class SharedCertificates:
    """Follows the records in the background, once started. `parse` reads records; `on_change` gets each new state, in
    the thread that has read it. `wishes` passes on names without a certificate, if there are some on demand.
    """

    def __init__(
        self,
        store: FactStore,
        copy: RecordCopy,
        parse: Callable[[Mapping[str, bytes]], CertificateState],
        on_change: Callable[[CertificateState], None],
        wishes: CertificateWishes | None = None,
    ) -> None:
        self._store = store
        self._copy = copy
        self._parse = parse
        self._on_change = on_change
        self._wishes = wishes
        self._version = -1
        self._copied = copy.read()
        self._unwritable = False
        self._reading = threading.Lock()
        self._authorizations: dict[str, str] = {}
        #: The latest state.
        self.state = parse(self._copied)
        self._task = BackgroundTask("certificates", self._follow)

    def __repr__(self) -> str:
        return f"<SharedCertificates {len(self.state.names)} names, version {self._version}>"

    def start(self) -> None:
        """Read the store now, if it is in reach, and follow it."""
        self._on_change(self.state)
        try:
            self.refresh()
        except StoreUnavailable:
            pass  # the copy serves; the task tries again
        self._task.start()
        if self._wishes is not None:
            self._wishes.start()

    def stop(self) -> None:
        """Stop following, and close the store."""
        self._task.stop()
        if self._wishes is not None:
            self._wishes.stop()
        self._store.close()

    def wish(self, name: str) -> None:
        """Note that a client asked for a name without a certificate. Returns at once."""
        if self._wishes is not None:
            self._wishes.add(name)

    def authorization(self, token: str) -> str | None:
        """What to show at the path of this token (RFC 8555 §8.3); None if no order needs it."""
        return self._authorizations.get(token)

    def refresh(self) -> None:
        """Read the store. Raises StoreUnavailable."""
        with self._reading:
            found = self._store.read_certificates(self._version)
            if found is None:
                return
            self._version = found.version
            if not found.records:
                return  # the store was emptied; the leader writes the records again
            read = self._parse(found.records)
            self.state = merged(self.state, read, time.time())
            challenges = self.state.challenges(ChallengeKind.HTTP)
            self._authorizations = {challenge.token: challenge.authorization for challenge in challenges}
            self._on_change(self.state)
            self._write_copy({name: record for name, record in found.records.items() if is_read(name, read)})

    def _write_copy(self, records: Mapping[str, bytes]) -> None:
        kept = {name: record for name, record in records.items() if not name.startswith(_ORDER)}
        still = {name: record for name, record in self._copied.items() if self._is_of_use(name)}
        after = {**still, **kept}
        if after == self._copied:
            return
        try:
            self._copy.write(after)
            self._copied, self._unwritable = after, False
        except OSError as error:
            if not self._unwritable:
                log.warning("certificates: the copy of this machine cannot be written: %s", error)
            self._unwritable = True

    def _is_of_use(self, record: str) -> bool:
        """Whether a record of the copy that the store does not have is of the account, or of a name in the state."""
        _, colon, name = record.partition(":")
        return not colon or name in self.state.names

    def _follow(self) -> None:
        stopping = self._task.stopping
        while not stopping.is_set():
            try:
                self._follow_store(stopping)
            except StoreUnavailable:
                stopping.wait(RETRY_EVERY)

    def _follow_store(self, stopping: threading.Event) -> None:
        watch = self._store.watch_changes([FLEET])
        try:
            while not stopping.is_set():
                self.refresh()
                watch.wait(POLL_EVERY)
        finally:
            watch.close()
