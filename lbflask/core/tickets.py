"""How many tickets a machine takes from the store at a time, depending on its request rate.

The workers of a machine share its tickets: each request has a turn, a number that the machine counts up, and a block
maps turns to tickets. A round trip to the store for every ticket keeps the order exact for the fleet; a block saves
round trips. A quiet machine of a small fleet can afford the first. A busy one needs the second, and so does a large
fleet, in which quiet machines add up. With blocks, backends of equal weight differ by at most one request for each
machine, for any block size: the tickets used are one run of the counter less the rest of the newest block of each
machine, and no run of a cycle is out of balance by more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

#: Below this many requests a second a machine of a small fleet takes tickets one by one (ADR 0003) ...
LEASE_FROM: Final = 200
#: ... and in a large fleet below its part of so many round trips a second, of all workers (ADR 0028).
FLEET_TRIPS: Final = 2000
#: A block is worth this many seconds of the machine's traffic.
BLOCK_SECONDS: Final = 0.75
MAX_BLOCK: Final = 1 << 16
#: The next block is due when this part of the present one is left.
REFILL_AT: Final = 4
#: Seconds without a lease after which a machine returns the rest of its block, so that one that becomes idle is exact
#: again.
RETURN_AFTER: Final = 2.0


@dataclass(slots=True)
class RateEstimator:
    """The requests of a machine a second: in the last full interval of a second or more, and since then.

    `since` is the begin of the present interval, in seconds of a steady clock, `turn` the latest turn before it.
    """

    since: float = 0.0
    turn: int = 0
    before: float = 0.0

    def sample(self, now: float, turn: int) -> float:
        """The requests a second at this moment, at which `turn` is the latest."""
        elapsed = now - self.since
        if elapsed >= 1.0:
            self.before = (turn - self.turn) / elapsed
            self.since, self.turn = now, turn
        return max(self.before, float(turn - self.turn))


def block_size(rate: float, workers: int) -> int:
    """How many tickets a machine with this rate takes at a time, in a fleet of so many workers."""
    if rate < min(LEASE_FROM, FLEET_TRIPS / workers):
        return 1
    return min(MAX_BLOCK, ceil(rate * BLOCK_SECONDS))


@dataclass(slots=True)
class TicketBlock:
    """Tickets for the turns from `first` to the one before `end`: each ticket is its turn plus `offset`.

    At the turn `refill` the next block is due; 0 for a block that needs none.
    """

    first: int
    end: int
    offset: int
    refill: int = 0

    def extended(self, count: int, offset: int, *, refills: bool) -> TicketBlock:
        """The block with tickets for the next `count` turns, which starts anew unless they continue its tickets."""
        end = self.end + count
        first = self.first if offset == self.offset else self.end
        return TicketBlock(first, end, offset, end - ceil(count / REFILL_AT) if refills else 0)


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

    def count_local(self, count: int = 1) -> None:
        """Note tickets taken without the store."""
        self.local += count
