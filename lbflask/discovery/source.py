"""The protocol of discovery sources, and the loop that polls one.

After a failure the last result stays in force: a failed source proves nothing about the backends, which active checks
go on to probe. Only an explicit empty result empties a pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from lbflask.core.discovery import DiscoveredBackend, SourceCause
from lbflask.core.model import Backend

#: Seconds until the next poll after a first failure; they double with each further one.
RETRY_FIRST = 1.0
#: Backends that one log line names.
NAMED = 10

log = logging.getLogger("lbflask.discovery")

Pause = Callable[[float], Awaitable[None]]
#: Takes the reason of a failure, empty after a success, and its cause.
Report = Callable[[str, SourceCause], Awaitable[None]]


class DiscoveryFailure(Exception):
    """The source has no result; the message is the reason, in one line. A file that is MISSING has no error in it."""

    def __init__(self, reason: str, cause: SourceCause = SourceCause.OTHER) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """The current backends, valid for so many seconds. `doubt` gives the reason if some are from an earlier result, and
    `cause` its cause.
    """

    found: tuple[DiscoveredBackend, ...]
    good_for: float
    doubt: str = ""
    cause: SourceCause = SourceCause.OTHER


class DiscoverySource(Protocol):
    """A source of backends. `str` of it is its URL; `patience` is the longest interval between polls after failures, in
    seconds.
    """

    @property
    def patience(self) -> float:
        """See above."""

    async def ask(self) -> DiscoveryResult:
        """The current backends. Raises DiscoveryFailure."""


class Screened:
    """A source without the backends for which `refuses` returns a reason; each is logged once.

    `refuses` may block, and is called only for a result that has changed.
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
        """See DiscoverySource."""
        return self._source.patience

    async def ask(self) -> DiscoveryResult:
        """See DiscoverySource."""
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


async def _ignore(_reason: str, _cause: SourceCause) -> None:
    pass


async def follow(
    source: DiscoverySource, pool: str, *, pause: Pause = asyncio.sleep, report: Report = _ignore
) -> AsyncIterator[tuple[DiscoveredBackend, ...]]:
    """Yield the backends once they are known, and after each change. Never ends.

    After a failure the source is polled again after a second, then at growing intervals. Changes, each new reason of a
    failure, and the recovery are logged. `report` is called after each poll.
    """
    known: tuple[DiscoveredBackend, ...] | None = None
    reported, failures = "", 0
    while True:
        try:
            answer = await source.ask()
        except DiscoveryFailure as reason:
            trouble, cause, wait = str(reason), reason.cause, source.patience
        else:
            if answer.found != known:
                log.info("pool %s: %s: %s", pool, source, difference(known or (), answer.found))
                known = answer.found
                yield known
            trouble, cause, wait = answer.doubt, answer.cause, answer.good_for
        if trouble and trouble != reported:
            log.warning("pool %s: %s: %s; its last result stays in force", pool, source, trouble)
        elif reported and not trouble:
            log.info("pool %s: %s: answers again", pool, source)
        reported = trouble
        await report(trouble, cause)
        failures = failures + 1 if trouble else 0
        if failures:
            wait = min(wait, source.patience, RETRY_FIRST * 2.0 ** min(failures - 1, 16))
        await pause(wait)


def difference(before: tuple[DiscoveredBackend, ...], after: tuple[DiscoveredBackend, ...]) -> str:
    """A summary of the changes."""
    was, now = ({found.backend.id: None for found in one} for one in (before, after))
    new, gone = ([name for name in one if name not in other] for one, other in ((now, was), (was, now)))
    if not was and not now:
        return "no backends"
    reported = [f"{what} {_listed(names)}" for what, names in (("new", new), ("gone", gone)) if names]
    return f"{len(now)} in all: {', '.join(reported) or 'the same, with other settings'}"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return " ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
