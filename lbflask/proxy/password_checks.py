"""Verifies users and passwords: beside the requests of a worker, each once, and a bounded number at a time."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from lbflask.core.expiring_cache import ExpiringCache
from lbflask.core.http.credentials import BasicCredentials
from lbflask.core.password_file import PasswordHash

#: Credentials that a worker verifies or has waiting; those beyond are refused for now. Each takes memory and a tenth of
#: a second of a core.
MAX_PENDING: Final = 64
#: Verified credentials that a worker remembers.
MAX_CACHED: Final = 10_000
#: Seconds that a request waits for the verification of the same credentials by another one.
MAX_WAIT: Final = 30.0

Verify = Callable[[bytes, PasswordHash], bool]
#: Calls a verification where it does not hold up requests.
Beside = Callable[[Verify, bytes, PasswordHash], bool]


class Verdict(StrEnum):
    """What became of credentials."""

    VALID = "valid"
    KNOWN = "known"  #: valid, as found before
    INVALID = "invalid"
    BUSY = "busy"  #: too many others are being verified


class _Verification:
    """A verification under way. `valid` is None until it has ended, and if it failed."""

    __slots__ = ("done", "valid")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.valid: bool | None = None


class PasswordChecks:
    """Passwords by the hashes of their users. Threads and greenlets may share it.

    Valid credentials are remembered for `cache` seconds of the clock, by a digest with a key of this process: nothing
    that is compared depends on what a stranger could choose. An unknown user takes as long as a wrong password.
    """

    def __init__(
        self,
        hashes: Mapping[str, PasswordHash],
        verify: Verify,
        beside: Beside,
        cache: float,
        clock: Callable[[], float],
    ) -> None:
        self._hashes = hashes
        self._decoys = list(hashes.values())
        self._verify = verify
        self._beside = beside
        self._lasts = cache
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._valid: ExpiringCache[bool] = ExpiringCache(MAX_CACHED)
        self._pending: dict[bytes, _Verification] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PasswordChecks({len(self._hashes)} users, {self._valid!r})"

    def verdict(self, given: BasicCredentials) -> Verdict:
        """Whether the password is the one of the user."""
        user = given.user.encode()
        key = hashlib.blake2b(user + b":" + given.password, key=self._key, digest_size=32).digest()
        if self._valid.find(key, self._clock()):
            return Verdict.KNOWN
        with self._lock:
            other = self._pending.get(key)
            if other is None:
                if len(self._pending) >= MAX_PENDING:
                    return Verdict.BUSY
                mine = self._pending[key] = _Verification()
        if other is not None:
            other.done.wait(MAX_WAIT)
            return Verdict.BUSY if other.valid is None else Verdict.KNOWN if other.valid else Verdict.INVALID
        try:
            mine.valid = self._is_valid(given)
            if mine.valid and self._lasts:
                self._valid.put(key, True, self._clock() + self._lasts)
        finally:
            with self._lock:
                self._pending.pop(key, None)
            mine.done.set()
        return Verdict.VALID if mine.valid else Verdict.INVALID

    def _is_valid(self, given: BasicCredentials) -> bool:
        hashed = self._hashes.get(given.user)
        if hashed is not None:
            return self._beside(self._verify, given.password, hashed)
        # The same hash for each time that a stranger asks for this name, or its cost would show that it is unknown.
        digest = hashlib.blake2b(given.user.encode(), key=self._key, digest_size=8).digest()
        decoy = self._decoys[int.from_bytes(digest, "big") % len(self._decoys)]
        self._beside(self._verify, given.password, decoy)
        return False
