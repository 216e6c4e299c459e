"""Whether the share of a cause of errors among all answers has left its usual range, and whether it is back.

The usual share is a slow average. A share is unusual from five times that on, at least one per cent, if enough answers
have it; it is usual again once it has stayed below half of that for a while. So a share near the limit makes few
events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lbflask.core.answers import AnswerCause, AnswerKey
from lbflask.core.fleet_stats import WINDOW

#: Times the usual share, and the least share, from which on a share is unusual.
FACTOR, LEAST = 5.0, 0.01
#: Answers with a cause, in the window of the reports, below which its share proves nothing.
FEWEST = 20.0
#: The highest share that counts as usual at the first sight of a cause.
MOST_USUAL = 0.1
#: Seconds of the average, and seconds below half of the limit after which a share is usual again.
AVERAGE_OVER, CALM_FOR = 300.0, 30.0


@dataclass(frozen=True, slots=True)
class ShareChange:
    """The share of a cause has become unusual, or usual again. `key` is the most frequent one of the cause, or that of
    the beginning.
    """

    key: AnswerKey
    unusual: bool
    share: float
    usual: float
    per_second: float

    def __str__(self) -> str:
        cause = self.key.cause.replace("_", " ")
        about = f"{self.key.status} {cause}" + (f" ({self.key.name})" if self.key.name else "")
        now = f"{self.share * 100:.1f} % of the answers, {self.per_second:.1f}/s"
        return f"{about}: {now}; usually {self.usual * 100:.1f} %"


@dataclass(slots=True)
class _Cause:
    usual: float
    limit: float = 0.0  #: from which on it was unusual; 0 while it is usual
    key: AnswerKey | None = None  #: by which it became unusual
    calm_since: float | None = None


class AnswerShares:
    """Judges the answers of a fleet, one observation after another. Times are in seconds of any steady clock."""

    def __init__(self) -> None:
        self._causes: dict[str, _Cause] = {}
        self._judged = 0.0
        self._is_first = True

    def __repr__(self) -> str:
        return f"AnswerShares({', '.join(cause for cause, known in self._causes.items() if known.limit)})"

    def judge(self, per_second: Mapping[AnswerKey, float], now: float) -> list[ShareChange]:
        """The changes that this observation of answers per second, by key, makes. Without answers nothing changes."""
        total = sum(per_second.values())
        if not total:
            return []
        # An observation stands for no more than its window: the first one, or one after a time without any, must not
        # replace the average.
        elapsed, self._judged = min(now - self._judged, WINDOW), now
        found: dict[str, tuple[float, AnswerKey]] = {}
        for key, rate in sorted(per_second.items(), key=lambda item: -item[1]):
            if key.is_error:
                rates, most = found.get(key.cause, (0.0, key))
                found[key.cause] = rates + rate, most
        changes = [
            change
            for cause in sorted({*self._causes, *found})
            for change in self._judged_cause(cause, *found.get(cause, (0.0, AnswerKey("", cause))), total, now, elapsed)
        ]
        self._is_first = False
        return changes

    def _judged_cause(
        self, cause: str, rate: float, key: AnswerKey, total: float, now: float, elapsed: float
    ) -> Iterator[ShareChange]:
        share = rate / total
        known = self._causes.get(cause)
        if known is None:
            # What was so before this process began to observe may be usual.
            known = self._causes[cause] = _Cause(min(share, MOST_USUAL) if self._is_first else 0.0)
        if not known.limit:
            limit = max(LEAST, FACTOR * known.usual)
            if share >= limit and rate * WINDOW >= FEWEST:
                known.limit, known.key, known.calm_since = limit, key, None
                yield ShareChange(key, True, share, known.usual, rate)
            else:
                known.usual += (share - known.usual) * (1 - math.exp(-max(0.0, elapsed) / AVERAGE_OVER))
        elif share >= known.limit / 2:
            known.calm_since = None
        elif known.calm_since is None:
            known.calm_since = now
        elif now - known.calm_since >= CALM_FOR:
            known.limit = 0.0
            yield ShareChange(known.key or key, False, share, known.usual, rate)


def concerns_pool(key: AnswerKey) -> str:
    """The pool that the key names; empty for a rate limit."""
    return "" if key.cause == AnswerCause.RATE_LIMIT else key.name
