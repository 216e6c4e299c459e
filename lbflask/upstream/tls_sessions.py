"""TLS sessions of backends: what a new connection needs to resume one, which spares both sides most of a handshake."""

from __future__ import annotations

import ssl
import threading

#: Sessions of one backend, and of all: each holds a certificate, some kilobytes.
MAX_KEPT = 8
MAX_SESSIONS = 1024


class TLSSessions:
    """Sessions by the URL of their backend, the latest first. Threads and greenlets may share it.

    All must belong to one context, so that each was verified by the present settings.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[ssl.SSLSession]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<TLSSessions {self._count} of {len(self._kept)} backends>"

    def take(self, origin: str) -> ssl.SSLSession | None:
        """A session for a new connection to that backend. It is not kept: a ticket is used once, since an observer
        could recognize a client by it (RFC 8446 §C.4).
        """
        with self._lock:
            sessions = self._kept.get(origin)
            if not sessions:
                return None
            self._count -= 1
            session = sessions.pop()
            if not sessions:
                del self._kept[origin]
            return session

    def keep(self, origin: str, session: ssl.SSLSession) -> None:
        """Keep a session. The oldest one of this backend gives way, or those of the backend that came first."""
        with self._lock:
            sessions = self._kept.setdefault(origin, [])
            sessions.append(session)
            self._count += 1
            if len(sessions) > MAX_KEPT:
                sessions.pop(0)
                self._count -= 1
            elif self._count > MAX_SESSIONS:
                first = next(iter(self._kept))
                self._count -= len(self._kept.pop(first))
