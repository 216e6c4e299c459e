"""Findings by their level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lbflask.config.store_command import UNKNOWN
from lbflask.control.api.models import Finding, Level
from lbflask.store.ports import StoreMemory


class AuthTrouble(NamedTuple):
    """A service of `auth` that the worker has asked in vain at last. `refuses`: requests get 503 for it."""

    setting: str
    service: str
    reason: str
    refuses: bool


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """What the commands and settings of an advice need. `redis_cli` is the command line of the store, `rates` has the
    requests per second that each rate limit allows, `memory` is that of the store, if it is known, and `auth` are
    the troubles of authentication in the worker that answers.
    """

    redis_cli: str = UNKNOWN
    rates: Mapping[str, float] = field(default_factory=dict)
    memory: StoreMemory | None = None
    auth: Sequence[AuthTrouble] = ()


def good(check: str, finding: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, level=Level.GOOD, finding=finding, advice="")


def warning(check: str, finding: str, advice: str) -> Finding:
    """Clients get no errors by it now, or it is normal for a time."""
    return Finding(check=check, level=Level.WARNING, finding=finding, advice=advice)


def bad(check: str, finding: str, advice: str) -> Finding:
    """Clients get errors, or will get them soon."""
    return Finding(check=check, level=Level.BAD, finding=finding, advice=advice)
