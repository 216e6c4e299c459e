"""The fields of sticky sessions: taken from requests, and set in responses."""

from __future__ import annotations

from collections.abc import Callable

from lbflask.core.http.cookies import attributes, take_session, with_privacy
from lbflask.core.http.types import Fields
from lbflask.core.planning import SessionTable


class StickyCookies:
    """Writes the cookies of a pool. Threads and greenlets may share it. `now` is the store's clock."""

    def __init__(self, sessions: SessionTable, now: Callable[[], float]) -> None:
        self._sessions = sessions
        self._now = now
        self._attributes = {secure: attributes(sessions.cookie, secure=secure) for secure in (False, True)}

    def take(self, fields: Fields) -> list[str]:
        """Remove what names the session from the fields of a request, in place, and return its values."""
        return take_session(fields, self._sessions.cookie)

    def set_cookie_fields(self, backend: str, method: str, fields: Fields, *, secure: bool) -> Fields:
        """The fields that a response with `fields` needs to start a session at the backend, or to move it there.

        `secure`: the client uses TLS. A configured `secure` takes precedence.
        """
        affinity = self._sessions.affinity
        if affinity is None:
            return []
        configured, value = self._sessions.cookie, affinity.cookie(backend, self._now())
        if configured.secure is not None:
            secure = configured.secure
        cookie = ("Set-Cookie", f"{configured.name}={value}{self._attributes[secure]}")
        if configured.in_header:
            cookie = configured.name, value
        return with_privacy([cookie], method, fields)
