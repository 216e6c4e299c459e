"""Backups behind all others: one schedule for the usual backends, one for the backups when these are used up.

Backups are in the plan of a request whose usual backends all failed, so that it does not wait for a health check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from lbflask.core.model import NO_LOADS, Backend, Candidate
from lbflask.core.strategies.schedule import Compile, Schedule


class Backups:
    """Two schedules, one after the other."""

    __slots__ = ("_backups", "_usual")

    def __init__(self, usual: Schedule, backups: Schedule) -> None:
        self._usual = usual
        self._backups = backups

    def __repr__(self) -> str:
        return f"Backups({self._usual!r}, {self._backups!r})"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The order of the usual backends, then that of the backups."""
        return chain(self._usual.order(ticket, key, loads), self._backups.order(ticket, key, loads))


def with_backups(inner: Compile, candidates: Sequence[Candidate]) -> Schedule:
    """A schedule over the candidates, of which backups come last; `inner` orders each of the two groups."""
    usual = [candidate for candidate in candidates if not candidate.backend.backup]
    backups = [candidate for candidate in candidates if candidate.backend.backup]
    return Backups(inner(usual), inner(backups)) if usual and backups else inner(candidates)
