"""Sticky sessions: a signed cookie says which backend has the session, in a way that only the fleet can read.

The cookie is `mark.moment.signature`. The mark is a keyed digest of the backend's id, so it gives neither name nor
address away, nobody can make one up, and it means nothing in another pool. Whatever is not ours, has expired or names
a backend that is not there is no cookie at all.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256

from itsdangerous import BadSignature, Signer

#: Characters of a cookie; a longer one is not ours.
MOST_CHARACTERS = 128
#: Cookies that are remembered as ours, so that each is verified once by a worker.
MOST_REMEMBERED = 4096
#: Cookies of one request that are looked at: each forged one costs the verifying of a signature.
MOST_TRIED = 4
_MARK_BYTES = 12


class Affinity:
    """The cookies of one pool. The first of the secrets signs, all are accepted.

    Moments are seconds of the store's clock; a cookie older than `max_age` seconds has expired. The same backend and
    second give the same cookie to all clients: it tells no client from another.
    """

    __slots__ = ("_homes", "_mark_keys", "_marks", "_max_age", "_read", "_signed", "_signer")

    def __init__(self, pool: str, secrets: Sequence[str], max_age: float | None = None) -> None:
        keys = [_derived(secret, pool, "signature") for secret in reversed(secrets)]  # the last one signs
        self._signer = Signer(keys, key_derivation="none", digest_method=sha256)
        self._mark_keys = [_derived(secret, pool, "mark") for secret in secrets]
        self._max_age = max_age
        self._marks: dict[str, list[str]] = {}
        self._homes: dict[str, str] = {}
        self._read: dict[str, tuple[str, int]] = {}
        self._signed: dict[str, tuple[int, str]] = {}

    def know(self, backends: Iterable[str]) -> None:
        """From now on cookies may name these backends, by id, and no others."""
        self._marks = {id_: self._marks.get(id_) or self._marks_of(id_) for id_ in backends}
        self._homes = {mark: id_ for id_, marks in self._marks.items() for mark in marks}
        self._signed = {}

    def cookie(self, backend: str, now: float) -> str:
        """The cookie of a session that begins at the backend."""
        moment = int(now)
        signed = self._signed.get(backend)
        if signed is None or signed[0] != moment:
            marks = self._marks.get(backend) or self._marks_of(backend)
            signed = moment, self._signer.sign(f"{marks[0]}.{moment:x}").decode()
            self._signed[backend] = signed
        return signed[1]

    def home(self, cookies: Sequence[str], now: float) -> str:
        """The id of the backend that the first cookie of ours names; empty if there is none."""
        for cookie in cookies[:MOST_TRIED]:
            read = self._read.get(cookie) or self._verified(cookie)
            if read is not None and (self._max_age is None or now - read[1] <= self._max_age):
                found = self._homes.get(read[0])
                if found is not None:
                    return found
        return ""

    def _verified(self, cookie: str) -> tuple[str, int] | None:
        """Mark and moment of a cookie of ours. Signatures are compared in constant time."""
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
