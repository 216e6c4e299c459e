"""TLS handshakes with clients: their results, totals, and recent ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from lbflask.core.recent_totals import RecentTotals

#: Seconds that recent handshakes cover.
WINDOW = 10.0


class Handshake(StrEnum):
    """The result of a handshake: completed, or why it failed.

    A client that rejects the certificate sends an alert, or closes the connection (`client_left`).
    """

    COMPLETED = "completed"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_REJECTED = "certificate_rejected"
    CLIENT_CERTIFICATE = "client_certificate"  #: there is none where one is required, or it is not valid
    PROTOCOL = "protocol"
    CIPHER = "cipher"
    TIMEOUT = "timeout"
    PLAIN_HTTP = "plain_http"
    CLIENT_LEFT = "client_left"
    OTHER = "other"


#: Parts of OpenSSL's reasons, the first that is found counts. Alerts of clients are those of RFC 8446 §6.2.
_BY_REASON = {
    "EOF": Handshake.CLIENT_LEFT,
    "CLOSE_NOTIFY": Handshake.CLIENT_LEFT,
    "USER_CANCELLED": Handshake.CLIENT_LEFT,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Handshake.CLIENT_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": Handshake.CLIENT_CERTIFICATE,
    "CERTIFICATE_EXPIRED": Handshake.CERTIFICATE_EXPIRED,
    "CERTIFICATE": Handshake.CERTIFICATE_REJECTED,
    "UNKNOWN_CA": Handshake.CERTIFICATE_REJECTED,
    "CIPHER": Handshake.CIPHER,
    "HANDSHAKE_FAILURE": Handshake.CIPHER,
    "INSUFFICIENT_SECURITY": Handshake.CIPHER,
    "PROTOCOL": Handshake.PROTOCOL,
    "VERSION": Handshake.PROTOCOL,
}


def failure_of(error: Exception) -> Handshake:
    """The result for the error of a handshake: of OpenSSL, whose reason is one word, or of the socket."""
    if isinstance(error, TimeoutError):
        return Handshake.TIMEOUT
    if isinstance(error, ConnectionError):
        return Handshake.CLIENT_LEFT
    reason = str(getattr(error, "reason", None) or error).upper()
    return next((result for part, result in _BY_REASON.items() if part in reason), Handshake.OTHER)


class Handshakes:
    """Counts the handshakes of a worker by result. `now` is of a steady clock, in seconds."""

    __slots__ = ("_earlier", "resumed", "totals")

    def __init__(self) -> None:
        self.totals: Counter[Handshake] = Counter()  #: since the start
        self.resumed = 0  #: of those that were completed: with a session of an earlier connection
        self._earlier: RecentTotals[Mapping[Handshake, int]] = RecentTotals(WINDOW, {})

    def __repr__(self) -> str:
        return f"Handshakes({dict(self.totals)})"

    def count(self, result: Handshake, *, resumed: bool = False) -> None:
        """Count a handshake that has ended."""
        self.totals[result] += 1
        self.resumed += resumed

    def recent(self, now: float) -> dict[str, int]:
        """The handshakes of the last WINDOW seconds, or since the last call before, by result; without zeros."""
        totals = dict(self.totals)  # one step: handshakes are counted meanwhile
        before = self._earlier.before(now, totals)
        counts = {result.value: count - before.get(result, 0) for result, count in totals.items()}
        return {result: count for result, count in counts.items() if count}
