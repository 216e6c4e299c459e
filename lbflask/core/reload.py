"""The result of a reload, as the master records it and the admin API shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """How a reload ended that began at `began` (seconds of the steady clock, the same in all processes).

    `version` is the configuration in effect now. `refused` says why that is the old one; else the keys are listed that
    have changed, and where a key needs new workers, these take over all of it.
    """

    began: float
    version: str
    refused: str = ""
    in_place: tuple[str, ...] = ()
    by_new_workers: tuple[str, ...] = ()


class ReloadUnavailable(Exception):
    """Nobody could be asked for a reload, or nobody said how it ended; the message says why."""
