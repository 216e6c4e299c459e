"""How many tickets a worker takes at a time, depending on its request rate.

A round trip to the store for every ticket keeps the order exact for the fleet; a block of tickets saves round trips. An
idle worker can afford the first, a busy one needs the second. With blocks, backends of equal weight differ by at most
one request for each worker, for any block size, and by one for each block whose rest was discarded: the tickets used
are one run of the counter less the rest of each block, no run of a cycle is out of balance by more than one, and the
rest of the newest block only shortens the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Below this many requests a second a worker takes tickets one by one (ADR 0003).
LEASE_FROM = 200
#: A block is worth this many seconds of the worker's traffic.
BLOCK_SECONDS = 0.06
MAX_BLOCK = 256
#: Seconds after which the rest of a block is discarded, so that a worker that becomes idle is exact again.
BLOCK_LIFE = 1.0


@dataclass(slots=True)
class RateEstimator:
    """Counts the requests of a worker in this second and in the previous one."""

    second: int = 0
    taken: int = 0
    before: int = 0

    def count(self, now: float) -> None:
        """Note one request at `now` seconds of any steady clock."""
        second = int(now)
        if second != self.second:
            self.before = self.taken if second == self.second + 1 else 0
            self.second, self.taken = second, 0
        self.taken += 1

    def block(self) -> int:
        """How many tickets to take with the next round trip."""
        rate = max(self.taken, self.before)
        if rate < LEASE_FROM:
            return 1
        return min(MAX_BLOCK, int(rate * BLOCK_SECONDS))


@dataclass(slots=True)
class TicketBlock:
    """Tickets that were fetched at `taken_at`, in seconds of any steady clock. Taking the next one needs no lock."""

    tickets: Iterator[int]
    taken_at: float

    def next(self, now: float) -> int | None:
        """The next ticket; None when all are taken, or are too old."""
        return None if now - self.taken_at > BLOCK_LIFE else next(self.tickets, None)


@dataclass(slots=True)
class TicketCounts:
    """Counts of a worker: tickets from the store, round trips for them, and local tickets without the store."""

    tickets: int = 0
    leases: int = 0
    local: int = 0

    def lease(self, count: int) -> None:
        """Count a round trip."""
        self.tickets += count
        self.leases += 1

    def count_local(self) -> None:
        """Note a ticket taken without the store."""
        self.local += 1
