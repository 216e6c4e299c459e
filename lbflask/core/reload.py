"""The result of a reload, recorded by the master and shown by the admin API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """The result of the reload that began at `began` (seconds of the steady clock, which all processes share).

    `version` is the version of the configuration in effect now. `refused` is the reason if that is the old one;
    otherwise the changed keys are listed. If a key needs new workers, these take over the whole configuration.
    `warnings` are lines about what does not prevent the reload, such as an expired certificate.
    """

    began: float
    version: str
    refused: str = ""
    in_place: tuple[str, ...] = ()
    by_new_workers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ReloadUnavailable(Exception):
    """A reload could not be requested, or its result is unknown; the message gives the reason."""
