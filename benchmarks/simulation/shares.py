"""How evenly tickets fall on backends: runs of tickets are counted as runs, with the result of each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies.round_robin import RoundRobin


class Shares:
    """How many requests each of some backends has served, by the schedule that workers use."""

    def __init__(self, weights: Sequence[int]) -> None:
        backends = [Backend(f"b{number:03}", "h", number, f"http://h:{number}") for number in range(len(weights))]
        candidates = [Candidate(*each) for each in zip(backends, weights, strict=True)]
        schedule = RoundRobin(candidates)
        self.weights = tuple(weights)
        #: Which backend serves the ticket, for each ticket of a cycle. Its length divides the sum of the weights.
        self._cycle = [backends.index(next(schedule.order(ticket))) for ticket in range(sum(weights))]
        self._rounds = 0
        self._steps = [0] * (len(self._cycle) + 1)  # how many more runs hold this turn than the one before

    def add(self, first: int, count: int) -> None:
        """The tickets from `first` on have been used."""
        length = len(self._cycle)
        rounds, rest = divmod(count, length)
        self._rounds += rounds
        begin = first % length
        end = begin + rest
        self._steps[begin] += 1
        if end <= length:
            self._steps[end] -= 1
        else:
            self._steps[0] += 1
            self._steps[length] -= 1
            self._steps[end - length] -= 1

    def served(self) -> list[int]:
        """Requests of each backend."""
        counts = [0] * len(self.weights)
        held = 0
        for backend, step in zip(self._cycle, self._steps, strict=False):
            held += step
            counts[backend] += self._rounds + held
        return counts

    @property
    def imbalance(self) -> float:
        """Most less fewest requests, each divided by its backend's weight; for equal weights a number of requests."""
        each = [served / weight for served, weight in zip(self.served(), self.weights, strict=True)]
        return max(each) - min(each)
