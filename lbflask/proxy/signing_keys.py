"""The keys that sign tokens: fetched in the background, and held while their source is down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from lbflask.background import BackgroundTask
from lbflask.core.faults import Fault
from lbflask.core.printable import printable
from lbflask.core.web_token import WebToken

#: Seconds between two fetches because of unknown keys, and after a fetch that failed.
LEAST_INTERVAL: Final = 10.0
#: Seconds that a request waits for the first keys, or for those of an unknown identifier.
MAX_WAIT: Final = 3.0

log = logging.getLogger("lbflask")


class VerifyingKeys(Protocol):
    """Keys as `credentials.key_set.KeySet` has them."""

    def knows(self, token: WebToken, /) -> bool:
        """Whether a key may be the one of the token."""
        ...

    def verifies(self, token: WebToken, /) -> bool:
        """Whether a key has made the signature."""
        ...


class SigningKeys:
    """The keys of one source. Threads and greenlets may share it; `start` begins to fetch, every `refresh` seconds.

    `fetch` returns the keys, or raises ValueError, OSError or Fault. `clock` is monotonic, in seconds. Until the first
    fetch has succeeded, the keys are those of `before`, of the same source.
    """

    def __init__(
        self,
        source: str,
        fetch: Callable[[], VerifyingKeys],
        refresh: float,
        clock: Callable[[], float],
        before: SigningKeys | None = None,
    ) -> None:
        self.source = source
        self.error = ""  #: why the latest fetch failed; empty after one that succeeded
        self._fetch = fetch
        self._refresh = refresh
        self._clock = clock
        self._keys: VerifyingKeys | None = None if before is None else before._keys
        self._next = 0.0
        self._asked = float("-inf")
        self._fetched = threading.Condition()
        self._rounds = 0
        self._is_fetching = False  # or about to
        self._wake = threading.Event()
        self._task = BackgroundTask("signing-keys", self._run)

    def __repr__(self) -> str:
        return f"SigningKeys({self.source}, {self._keys!r})"

    @property
    def has_keys(self) -> bool:
        """Whether there are keys, of the latest fetch or of an earlier one."""
        return self._keys is not None

    def start(self) -> None:
        """Begin to fetch in this process."""
        self._task.start()

    def stop(self) -> None:
        """Fetch no more."""
        self._task.stopping.set()
        self._wake.set()

    def of(self, token: WebToken) -> VerifyingKeys | None:
        """The keys, after a new fetch if none of them may be the one of the token; None while there are none. A fetch
        for an unknown key happens once in LEAST_INTERVAL seconds, whatever tokens arrive; all that arrive meanwhile
        wait for it.
        """
        if not self._knows(token):
            with self._fetched:
                now = self._clock()
                for _ in range(2):  # a fetch that is under way may have begun before the key was there
                    if not self._is_fetching:
                        if now - self._asked < LEAST_INTERVAL:
                            break
                        self._asked, self._is_fetching = now, True
                        self._wake.set()
                    self._await_fetch()
                    if self._knows(token):
                        break
        return self._keys

    def _knows(self, token: WebToken) -> bool:
        return self._keys is not None and self._keys.knows(token)

    def _await_fetch(self) -> None:
        before = self._rounds
        self._fetched.wait_for(lambda: self._rounds != before, MAX_WAIT)

    def _run(self) -> None:
        stopping = self._task.stopping
        while not stopping.is_set():
            succeeded = self._fetch_once()
            self._wake.wait(self._refresh if succeeded else min(self._refresh, LEAST_INTERVAL))
            self._wake.clear()

    def _fetch_once(self) -> bool:
        with self._fetched:
            self._is_fetching = True
        try:
            keys = self._fetch()
        except (Fault, OSError, ValueError) as error:
            reason = printable(getattr(error, "reason", "") or str(error))[:300]
            if reason != self.error:
                kept = "the last keys are in use" if self._keys is not None else "tokens can't be checked"
                log.warning("auth.jwt.jwks: %s: %s; %s", self.source, reason, kept)
            self.error = reason
        else:
            if self.error:
                log.info("auth.jwt.jwks: %s: the keys are there again", self.source)
            self._keys, self.error = keys, ""
        finally:
            with self._fetched:
                self._is_fetching = False
                self._rounds += 1
                self._fetched.notify_all()
        return not self.error
