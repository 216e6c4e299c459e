"""Sticky sessions: a signed cookie names the backend of a session, readable for the fleet only.

The cookie is `mark.moment.signature`. The mark is a keyed digest of the backend's id: it reveals neither name nor
address, cannot be forged, and is invalid in another pool. A cookie that is not ours, has expired or names an unknown
backend is ignored.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from hashlib import sha256

from itsdangerous import BadSignature, Signer

#: Characters of a cookie; a longer one is not ours.
MOST_CHARACTERS = 128
#: Verified cookies that are cached, so that a worker verifies each once.
MOST_REMEMBERED = 4096
#: Cookies of one request that are verified: each forged one costs a signature check.
MOST_TRIED = 4
_MARK_BYTES = 12


class CookieRefusal(StrEnum):
    """Why a cookie names no backend: no secret signed it, it is too old, or its backend may not serve sessions."""

    SIGNATURE = "signature"
    EXPIRED = "expired"
    BACKEND = "backend"


def _uncounted(_refusal: CookieRefusal) -> None:
    pass


class Affinity:
    """The cookies of one pool. The first of the secrets signs, all are accepted.

    Moments are seconds of the store's clock; a cookie older than `max_age` seconds has expired. The same backend and
    second give the same cookie to all clients: it tells no client from another.
    """

    __slots__ = ("_cookies", "_homes", "_mark_keys", "_marks", "_max_age", "_read", "_signer")

    def __init__(self, pool: str, secrets: Sequence[str], max_age: float | None = None) -> None:
        keys = [_derived(secret, pool, "signature") for secret in reversed(secrets)]  # the last one signs
        self._signer = Signer(keys, key_derivation="none", digest_method=sha256)
        self._mark_keys = [_derived(secret, pool, "mark") for secret in secrets]
        self._max_age = max_age
        self._marks: dict[str, list[str]] = {}
        self._homes: dict[str, str] = {}
        self._read: dict[str, tuple[str, int]] = {}
        self._cookies: dict[str, tuple[int, str]] = {}

    def __repr__(self) -> str:
        return f"Affinity({len(self._marks)} backends, {len(self._mark_keys)} secrets)"

    def know(self, backends: Iterable[str]) -> None:
        """Set the backends, by id, that cookies may name."""
        self._marks = {id_: self._marks.get(id_) or self._marks_of(id_) for id_ in backends}
        self._homes = {mark: id_ for id_, marks in self._marks.items() for mark in marks}
        self._cookies = {}

    def cookie(self, backend: str, now: float) -> str:
        """The cookie of a session that begins at the backend."""
        moment = int(now)
        signed = self._cookies.get(backend)
        if signed is None or signed[0] != moment:
            marks = self._marks.get(backend) or self._marks_of(backend)
            signed = moment, self._signer.sign(f"{marks[0]}.{moment:x}").decode()
            self._cookies[backend] = signed
        return signed[1]

    def home(self, cookies: Sequence[str], now: float, refused: Callable[[CookieRefusal], object] = _uncounted) -> str:
        """The id of the backend that the first cookie of ours names; empty if there is none.

        `refused` is called for each cookie that is tried in vain before it.
        """
        for cookie in cookies[:MOST_TRIED]:
            read = self._read.get(cookie) or self._verified(cookie)
            if read is None:
                refused(CookieRefusal.SIGNATURE)
            elif self._max_age is not None and now - read[1] > self._max_age:
                refused(CookieRefusal.EXPIRED)
            else:
                found = self._homes.get(read[0])
                if found is not None:
                    return found
                refused(CookieRefusal.BACKEND)
        return ""

    def _verified(self, cookie: str) -> tuple[str, int] | None:
        """Mark and timestamp of a valid cookie, else None. Signatures are compared in constant time."""
        if len(cookie) > MOST_CHARACTERS:
            return None
        try:
            mark, _, moment = self._signer.unsign(cookie).decode().partition(".")
            read = mark, int(moment, 16)
        except (BadSignature, ValueError):
            return None
        if len(self._read) >= MOST_REMEMBERED:
            self._read.clear()
        self._read[cookie] = read
        return read

    def _marks_of(self, backend: str) -> list[str]:
        digests = (hmac.digest(key, backend.encode(), sha256) for key in self._mark_keys)
        return [urlsafe_b64encode(digest[:_MARK_BYTES]).decode() for digest in digests]


def _derived(secret: str, pool: str, purpose: str) -> bytes:
    """A key for one purpose in one pool: what is signed with it is valid for nothing else."""
    return hmac.digest(secret.encode(), f"lbflask sticky {purpose} {pool}".encode(), sha256)
