"""The sticky sessions of one pool: which backend has a request's session, and how the client is told of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lbflask.core.http.cookies import attributes, kept_from_shared_caches
from lbflask.core.http.fields import Fields
from lbflask.core.model import Backend, StickyCookie
from lbflask.core.sticky_cookie import Affinity

#: A cookie that a shared cache hands to many clients would send them all to one backend.
_PRIVATE = ("Cache-Control", "private")


class Sticky:
    """Reads and writes the cookies of a pool. Threads and greenlets may share it. `now` is the store's clock.

    Without a secret, which comes from the store unless it is configured, no cookie is believed and none is set.
    """

    def __init__(self, pool: str, cookie: StickyCookie, now: Callable[[], float]) -> None:
        self.name = cookie.name
        self._pool = pool
        self._cookie = cookie
        self._now = now
        self._secrets: tuple[str, ...] = ()
        self._affinity: Affinity | None = None
        self._homes: dict[str, Backend] = {}
        self._attributes = {secure: attributes(cookie, secure=secure) for secure in (False, True)}

    def revise(self, shared_secret: str, homes: Iterable[Backend]) -> None:
        """These backends may have sessions from now on, and this is the secret in the store."""
        secrets = self._cookie.secrets or ((shared_secret,) if shared_secret else ())
        homes_by_id = {backend.id: backend for backend in homes}
        affinity = self._affinity
        if secrets != self._secrets:
            self._secrets = secrets
            affinity = Affinity(self._pool, secrets, self._cookie.max_age) if secrets else None
        elif homes_by_id == self._homes:
            return
        if affinity is not None:
            affinity.know(homes_by_id)
        self._homes, self._affinity = homes_by_id, affinity

    def home(self, cookies: Sequence[str]) -> Backend | None:
        """The backend that has the session, if it may go on with it."""
        if not cookies or self._affinity is None:
            return None
        return self._homes.get(self._affinity.home(cookies, self._now()))

    def told(self, backend: str, method: str, fields: Fields, *, secure: bool) -> Fields:
        """The fields that tell the client which backend has its session now, for a response with `fields`.

        `secure` is whether the client speaks TLS, which counts unless it is configured.
        """
        if self._affinity is None:
            return []
        if self._cookie.secure is not None:
            secure = self._cookie.secure
        value = self._affinity.cookie(backend, self._now())
        told = [("Set-Cookie", f"{self.name}={value}{self._attributes[secure]}")]
        if method in ("GET", "HEAD") and not kept_from_shared_caches(fields):
            told.append(_PRIVATE)
        return told
