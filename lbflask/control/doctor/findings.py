"""Findings by their level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbflask.config.store_command import UNKNOWN
from lbflask.control.api.models import Finding, Level
from lbflask.store.ports import StoreMemory


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What the commands and settings of an advice need. `redis_cli` is the command line of the store, `rates` has the
    requests per second that each rate limit allows, and `memory` is that of the store, if it is known.
    """

    redis_cli: str = UNKNOWN
    rates: Mapping[str, float] = field(default_factory=dict)
    memory: StoreMemory | None = None


def good(check: str, finding: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, level=Level.GOOD, finding=finding, advice="")


def warning(check: str, finding: str, advice: str) -> Finding:
    """Clients get no errors by it now, or it is normal for a time."""
    return Finding(check=check, level=Level.WARNING, finding=finding, advice=advice)


def bad(check: str, finding: str, advice: str) -> Finding:
    """Clients get errors, or will get them soon."""
    return Finding(check=check, level=Level.BAD, finding=finding, advice=advice)
