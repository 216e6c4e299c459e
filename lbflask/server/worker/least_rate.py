"""The least rate at which a client must send or take a body."""

from __future__ import annotations


class LeastRate:
    """Bytes per second of the time for which the client is waited for, on average, once that exceeds `grace` seconds.

    Time in which nobody waits for the client does not count: a backend that reads slowly is not the client's fault.
    """

    def __init__(self, rate: float, grace: float) -> None:
        self._rate = rate
        self._grace = grace
        self._bytes = 0
        self._waited = 0.0

    def __repr__(self) -> str:
        return f"LeastRate({self._rate:g} bytes/s, {self._bytes} in {self._waited:.1f} s)"

    def left(self) -> float:
        """Seconds for which the client may be waited for now, if it sends or takes nothing."""
        return max(0.0, max(self._grace, self._bytes / self._rate) - self._waited)

    def add(self, size: int, seconds: float) -> None:
        """The client was waited for so long, and has sent or taken so many bytes."""
        self._bytes += size
        self._waited += seconds
