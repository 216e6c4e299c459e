"""What a source of backends promises, and the loop that follows one.

Whatever fails, the last answer holds: a source that cannot be asked says nothing about the backends, and active checks
go on to see which of them are there. Only an answer that says in words that there are none empties a pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from lbflask.core.discovery import Found

#: Seconds until a source is asked again after its first failure; with each further one they double.
RETRY_FIRST = 1.0

log = logging.getLogger("lbflask.discovery")

Pause = Callable[[float], Awaitable[None]]


class NoAnswer(Exception):
    """The source does not know which backends there are now; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The backends now, good for so many seconds. A `doubt` says what of it is from an earlier answer, and why."""

    found: tuple[Found, ...]
    good_for: float
    doubt: str = ""


class Source(Protocol):
    """Something that knows backends. `str` of it is its URL; `patience` how many seconds it is left alone at most when
    it fails.
    """

    @property
    def patience(self) -> float:
        """See above."""
        ...

    async def ask(self) -> Answer:
        """The backends now. Raises NoAnswer."""
        ...


async def follow(
    source: Source, pool: str, known: tuple[Found, ...] | None = None, *, pause: Pause = asyncio.sleep
) -> AsyncIterator[tuple[Found, ...]]:
    """The backends whenever they have changed; at first, if they are not those that are known already. Never ends.

    A source that fails is asked again after a second, and then less and less often. The log tells of each reason once,
    and of the end of it.
    """
    told, failures = "", 0
    while True:
        try:
            answer = await source.ask()
        except NoAnswer as reason:
            trouble, wait = str(reason), source.patience
        else:
            if answer.found != known:
                known = answer.found
                yield known
            trouble, wait = answer.doubt, answer.good_for
        if trouble and trouble != told:
            kept = "no backend is known from it so far" if known is None else "the last answer holds"
            log.warning("pool %s: %s: %s; %s", pool, source, trouble, kept)
        elif told and not trouble:
            log.info("pool %s: %s: answers again", pool, source)
        told = trouble
        failures = failures + 1 if trouble else 0
        if failures:
            wait = min(wait, source.patience, RETRY_FIRST * 2.0 ** min(failures - 1, 16))
        await pause(wait)
