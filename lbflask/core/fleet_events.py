"""Events of the fleet, for operators. The process that makes a change records it, once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The subject of an event."""

    HEALTH = "health"  #: active checks changed the state of a backend
    EJECTION = "ejection"  #: requests that failed took a backend out, or a probe brought it back
    OPERATOR = "operator"  #: an operator used the admin API
    LEADER = "leader"  #: a checker became the leader of a pool
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
        """When it was recorded, in seconds of the store's clock."""
        return int(self.id.partition("-")[0] or 0) / 1000
