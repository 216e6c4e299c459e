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
    ANSWERS = "answers"  #: the share of an error among the answers to clients left its usual range, or returned
    CERTIFICATE = "certificate"  #: an authority issued a certificate, or an order for one failed
    BAN = "ban"  #: requests of an address or a network are refused, or no longer
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


@dataclass(frozen=True, slots=True)
class EventSelection:
    """The events of a kind, of an actor whose name contains `actor`, of a backend, and not before `since`, in seconds
    of the store's clock. What is empty selects all.
    """

    kind: Kind | None = None
    actor: str = ""
    backend: str = ""
    since: float = 0.0

    def matches(self, event: FleetEvent) -> bool:
        """Whether the event is selected."""
        return (
            (self.kind is None or event.kind is self.kind)
            and self.actor in event.actor
            and (not self.backend or event.backend == self.backend)
            and event.at >= self.since
        )


ALL_EVENTS = EventSelection()
