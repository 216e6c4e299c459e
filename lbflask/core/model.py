"""The words of the project as frozen values. No behaviour beyond what a value says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """What active checks say of a backend."""

    CHECKING = "checking"  #: configured, but no check has finished yet
    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  #: nobody checks, or the checker has fallen silent


@dataclass(frozen=True, slots=True)
class Backend:
    """One server. Its identity is `id` (a name, or `host:port`) and never depends on its weight."""

    id: str
    host: str
    port: int
    url: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class ActiveHealth:
    """The `active` column of a backend's status; the leading checker is its only writer.

    `streak` counts the latest observations that contradict `health`; `since` is when `health` last changed, in
    seconds of the store's clock.
    """

    health: Health = Health.CHECKING
    streak: int = 0
    reason: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The statuses of a pool at one version.

    `heartbeat` is the age in seconds of the checker's latest word when the snapshot was read (None: never a word),
    and `interval` the seconds it had promised between words.
    """

    version: int = 0
    active: Mapping[str, ActiveHealth] = field(default_factory=dict)
    heartbeat: float | None = None
    interval: float = 0.0


NOTHING_KNOWN = Snapshot()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An eligible backend with the weight it has now."""

    backend: Backend
    weight: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of backends with one strategy."""

    name: str
    backends: tuple[Backend, ...]
    strategy: str = "round_robin"
