"""The frequent items of a stream in bounded memory, by Misra and Gries, "Finding Repeated Elements" (1982).

It has the bound of Space-Saving (Metwally et al. 2005), with counts that are never too high rather than never too low
(Agarwal et al., "Mergeable Summaries", 2012): no client is accused of more than it did. Counts of several streams can
be added. Counters are pruned together rather than one for each item, which costs a constant time per item.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

#: An item with 1/CAPACITY of a stream is always among the frequent ones.
CAPACITY = 32
#: Items from which on the rare ones are forgotten, and how many are kept then.
PRUNED_FROM, KEPT = 1024, 256


class HeavyHitters:
    """Counts of strings. `total` is the number of all items."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.total = 0

    def __repr__(self) -> str:
        return f"<HeavyHitters {len(self._counts)} of {self.total}>"

    def update(self, items: Sequence[str]) -> None:
        """Count each of the items once more."""
        self._counts.update(items)
        self.total += len(items)
        if len(self._counts) >= PRUNED_FROM:
            self._prune()

    def frequent(self) -> dict[str, int]:
        """All items with total/CAPACITY or more, and perhaps a few with less: fewer than 40. A count is never too high,
        and too low by less than total/CAPACITY, also that of a missing item, 0.
        """
        least = self.total / CAPACITY - self.total / (KEPT + 1)
        return {item: count for item, count in self._counts.items() if count >= least}

    def _prune(self) -> None:
        """Take the count of the first item that is not kept from all items, which forgets those that reach 0. Each unit
        is taken from more than KEPT items, so one item loses at most total/(KEPT + 1) by all calls together.
        """
        cut = sorted(self._counts.values(), reverse=True)[KEPT]
        self._counts = Counter({item: count - cut for item, count in self._counts.items() if count > cut})


def frequent(streams: Iterable[HeavyHitters]) -> tuple[int, dict[str, int]]:
    """The total of several streams, and their at most CAPACITY most frequent items. A count is never too high, and too
    low by less than total/CAPACITY.
    """
    total, counts = 0, Counter[str]()
    for one in streams:
        total += one.total
        counts.update(one.frequent())
    return total, dict(counts.most_common(CAPACITY))
