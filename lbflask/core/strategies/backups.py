"""Backups behind all others: a schedule for those that are none, and one for the backups once these are used up.

Backups are in the plan of a request whose backends all failed, so that it need not wait for a check to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from lbflask.core.model import NO_LOADS, Backend, Candidate

if TYPE_CHECKING:
    from lbflask.core.strategies.schedule import Schedule


class Backups:
    """Two schedules, one after the other."""

    __slots__ = ("_backups", "_usual")

    def __init__(self, usual: Schedule, backups: Schedule) -> None:
        self._usual = usual
        self._backups = backups

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:
        """The order of the usual backends, then that of the backups."""
        return chain(self._usual.order(ticket, key, loads), self._backups.order(ticket, key, loads))


def compile(  # noqa: A001 - the strategy's verb
    inner: Callable[[Sequence[Candidate]], Schedule], candidates: Sequence[Candidate]
) -> Schedule:
    """A schedule over the candidates, of which backups come last; `inner` orders each of the two groups."""
    usual = [candidate for candidate in candidates if not candidate.backend.backup]
    backups = [candidate for candidate in candidates if candidate.backend.backup]
    if usual and backups:
        return Backups(inner(usual), inner(backups))
    return inner(candidates)
