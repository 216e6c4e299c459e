"""What a source of backends promises, and the loop that follows one.

Whatever fails, the last answer holds: a source that cannot be asked says nothing about the backends, and active checks
go on to see which of them are there. Only an answer that says in words that there are none empties a pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from lbflask.core.discovery import DiscoveredBackend
from lbflask.core.model import Backend

#: Seconds until a source is asked again after its first failure; with each further one they double.
RETRY_FIRST = 1.0
#: Backends that one line of the log names.
NAMED = 10

log = logging.getLogger("lbflask.discovery")

Pause = Callable[[float], Awaitable[None]]


class DiscoveryFailure(Exception):
    """The source does not know which backends there are now; the message says why, in one line. `is_missing` says that
    there is nothing at its place yet, which is no mistake in it.
    """

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.is_missing = is_missing


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """The backends now, good for so many seconds. A `doubt` says what of it is from an earlier answer, and why."""

    found: tuple[DiscoveredBackend, ...]
    good_for: float
    doubt: str = ""


class DiscoverySource(Protocol):
    """Something that knows backends. `str` of it is its URL; `patience` how many seconds it is left alone at most when
    it fails.
    """

    @property
    def patience(self) -> float:
        """See above."""
        ...

    async def ask(self) -> DiscoveryResult:
        """The backends now. Raises NoAnswer."""
        ...


class Screened:
    """A source without the backends that `refuses` names a reason against; the log has each of them once.

    `refuses` may take its time, and is asked again only about another answer.
    """

    def __init__(self, source: DiscoverySource, pool: str, refuses: Callable[[Backend], str]) -> None:
        self._source = source
        self._pool = pool
        self._refuses = refuses
        self._judged: tuple[tuple[DiscoveredBackend, ...], tuple[DiscoveredBackend, ...]] = ((), ())
        self._refused: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        return str(self._source)

    @property
    def patience(self) -> float:
        """See Source."""
        return self._source.patience

    async def ask(self) -> DiscoveryResult:
        """See Source."""
        answer = await self._source.ask()
        if answer.found != self._judged[0]:
            self._judged = answer.found, await asyncio.to_thread(self._passed, answer.found)
        return replace(answer, found=self._judged[1])

    def _passed(self, found: tuple[DiscoveredBackend, ...]) -> tuple[DiscoveredBackend, ...]:
        reasons = {(one.backend.url, reason) for one in found if (reason := self._refuses(one.backend))}
        for url, reason in sorted(reasons - self._refused):
            log.warning("pool %s: %s: %s %s, and is ignored", self._pool, self, url, reason)
        self._refused = frozenset(reasons)
        refused = {url for url, _ in reasons}
        return tuple(one for one in found if one.backend.url not in refused)


async def follow(
    source: DiscoverySource, pool: str, *, pause: Pause = asyncio.sleep
) -> AsyncIterator[tuple[DiscoveredBackend, ...]]:
    """The backends as soon as they are known, and whenever they have changed. Never ends.

    A source that fails is asked again after a second, and then less and less often. The log tells of changes, of each
    reason for a failure once, and of the end of it.
    """
    known: tuple[DiscoveredBackend, ...] | None = None
    reported, failures = "", 0
    while True:
        try:
            answer = await source.ask()
        except DiscoveryFailure as reason:
            trouble, wait = str(reason), source.patience
        else:
            if answer.found != known:
                log.info("pool %s: %s: %s", pool, source, difference(known or (), answer.found))
                known = answer.found
                yield known
            trouble, wait = answer.doubt, answer.good_for
        if trouble and trouble != reported:
            log.warning("pool %s: %s: %s; what was known of it holds", pool, source, trouble)
        elif reported and not trouble:
            log.info("pool %s: %s: answers again", pool, source)
        reported = trouble
        failures = failures + 1 if trouble else 0
        if failures:
            wait = min(wait, source.patience, RETRY_FIRST * 2.0 ** min(failures - 1, 16))
        await pause(wait)


def difference(before: tuple[DiscoveredBackend, ...], after: tuple[DiscoveredBackend, ...]) -> str:
    """What has changed, in words."""
    was, now = ({found.backend.id: None for found in one} for one in (before, after))
    new, gone = ([name for name in one if name not in other] for one, other in ((now, was), (was, now)))
    if not was and not now:
        return "no backends"
    reported = [f"{what} {_listed(names)}" for what, names in (("new", new), ("gone", gone)) if names]
    return f"{len(now)} in all: {', '.join(reported) or 'the same, with other settings'}"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return " ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
