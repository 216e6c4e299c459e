"""Which backends of a pool differ from their peers by far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

#: A backend is an outlier from so many times the usual figure of its peers on.
FACTOR = 5.0
#: Seconds below which no p50 is slow.
LEAST_P50 = 0.05
#: Share of failed attempts below which no backend fails.
LEAST_ERROR_SHARE = 0.05
#: Attempts per second below which the figures of a backend prove nothing.
LEAST_RATE = 0.5
#: Requests that wait for a first byte from which on it means something that no response has begun.
LEAST_WAITING = 3


class Deviation(StrEnum):
    """In what a backend differs."""

    SLOW = "slow"
    FAILING = "failing"
    SILENT = "silent"  #: requests wait for a first byte, and in the latest seconds no response has begun


@dataclass(frozen=True, slots=True)
class BackendFigures:
    """The latest figures of a backend; as of RecentStats. Responses that have begun, as of downloads, do not wait."""

    id: str
    waiting: int
    requests_per_second: float
    error_share: float | None
    p50: float | None


@dataclass(frozen=True, slots=True)
class Outlier:
    """A backend, with its figure and the median of its peers: seconds, a share, or waiting requests and the p50."""

    id: str
    deviation: Deviation
    figure: float
    usual: float


def outliers(pool: Sequence[BackendFigures]) -> list[Outlier]:
    """The outliers among the backends of a pool; at most one deviation of each. O(n log n) for n backends."""
    busy = [one for one in pool if one.requests_per_second >= LEAST_RATE]
    latencies = sorted(one.p50 for one in busy if one.p50 is not None)
    shares = sorted(one.error_share for one in busy if one.error_share is not None)
    found = []
    for one in pool:
        if one.p50 is None and one.waiting >= LEAST_WAITING and latencies:
            found.append(Outlier(one.id, Deviation.SILENT, one.waiting, median(latencies)))
        elif one.requests_per_second < LEAST_RATE:
            continue
        elif (failing := _outlier(one.id, Deviation.FAILING, one.error_share, shares, LEAST_ERROR_SHARE)) is not None:
            found.append(failing)
        elif (slow := _outlier(one.id, Deviation.SLOW, one.p50, latencies, LEAST_P50)) is not None:
            found.append(slow)
    return found


def _outlier(
    id_: str, deviation: Deviation, figure: float | None, figures: Sequence[float], least: float
) -> Outlier | None:
    """The outlier, if its figure is not below `least` and FACTOR times the median of the others; `figures` has all."""
    if figure is None or figure < least or len(figures) < 2:
        return None
    usual = _median_without(figures, figure)
    return Outlier(id_, deviation, figure, usual) if figure >= FACTOR * usual else None


def _median_without(ordered: Sequence[float], figure: float) -> float:
    """The median of the others: without one that has this figure. O(log n)."""
    count = len(ordered) - 1

    def other(index: int) -> float:
        """The figure at this index when one of those that equal `figure` is left out."""
        return ordered[index] if ordered[index] < figure else ordered[index + 1]

    middle = count // 2
    return other(middle) if count % 2 else (other(middle - 1) + other(middle)) / 2
