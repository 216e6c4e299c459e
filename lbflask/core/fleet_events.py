"""What happened in the fleet, for people to read: told once, by whoever made the change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an event is about."""

    HEALTH = "health"  #: active checks have changed their mind about a backend
    EJECTION = "ejection"  #: requests that failed took a backend out, or a probe brought it back
    OPERATOR = "operator"  #: somebody set something by the admin API
    LEADER = "leader"  #: a checker took the lead of a pool
    MEMBERS = "members"  #: discovery found other backends
    CONFIGURATION = "configuration"  #: another configuration is in effect


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """One change. `what` is a short word for it (`up`, `down`, `ejected`, `drain` …), `reason` says more, `actor` names
    the operator, checker or worker. `id` is the store's: its time in milliseconds, a dash and a number; unique, rising.
    """

    kind: Kind
    what: str
    pool: str = ""
    backend: str = ""
    reason: str = ""
    actor: str = ""
    id: str = ""

    @property
    def at(self) -> float:
        """When it was told, in seconds of the store's clock."""
        return int(self.id.partition("-")[0] or 0) / 1000
