"""Wishes for certificates: names that clients of this worker ask for, and that have none yet. They are passed to the
leading checker through the store, in the background: no handshake waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from lbflask.background import BackgroundTask
from lbflask.core.certificate_demand import DemandRule
from lbflask.store.ports import StoreUnavailable

#: Seconds between two reads of the names that were asked for.
EVERY: Final = 0.25
#: Names that wait for their turn, and those that are judged at each turn.
MAX_WAITING: Final = 50
BATCH: Final = 5
#: Names that are remembered, and for how many seconds nothing is done for one that was passed on or refused.
MAX_REMEMBERED: Final = 1000
PAUSE_AFTER_WISH: Final = 30.0
PAUSE_AFTER_REFUSAL: Final = 300.0


class WishStore(Protocol):
    """What wishes need of a store."""

    def wish_certificates(self, names: Collection[str]) -> None:
        """Pass the names on. Raises StoreUnavailable."""
        ...


class CertificateWishes:
    """`permits` is asked for each name that matches the rule; it may block."""

    def __init__(
        self,
        store: WishStore,
        rule: DemandRule,
        permits: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._rule = rule
        self._permits = permits
        self._clock = clock
        self._waiting: dict[str, None] = {}
        self._paused: dict[str, float] = {}  # until when nothing is done for a name, the oldest first
        self._task = BackgroundTask("certificate wishes", self.pass_on, every=EVERY)

    def __repr__(self) -> str:
        return f"<CertificateWishes {len(self._waiting)} waiting>"

    def start(self) -> None:
        """Pass wishes on in the background."""
        self._task.start()

    def stop(self) -> None:
        """End it; what waits is lost, and comes again with the client."""
        self._task.stop()

    def add(self, name: str) -> None:
        """Note that a client asked for the name. Returns at once; a name that does not match leaves no trace."""
        if len(name) > 254 or len(self._waiting) >= MAX_WAITING:
            return
        name = name.lower().removesuffix(".")
        if self._rule.matches(name) and self._paused.get(name, 0.0) <= self._clock():
            self._waiting[name] = None

    def pass_on(self) -> None:
        """Judge some of the names, and pass on those that are permitted."""
        names = list(self._waiting)[:BATCH]
        if not names:
            return
        permitted = []
        for name in names:
            is_permitted = self._permits(name)
            if is_permitted:
                permitted.append(name)
            self._pause(name, PAUSE_AFTER_WISH if is_permitted else PAUSE_AFTER_REFUSAL)
            self._waiting.pop(name, None)
        if permitted:
            try:
                self._store.wish_certificates(permitted)
            except StoreUnavailable:
                for name in permitted:
                    self._paused.pop(name, None)  # the next handshake tries again

    def _pause(self, name: str, seconds: float) -> None:
        self._paused.pop(name, None)
        while len(self._paused) >= MAX_REMEMBERED:
            del self._paused[next(iter(self._paused))]
        self._paused[name] = self._clock() + seconds
