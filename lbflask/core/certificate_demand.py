"""Names that get a certificate when a client asks for them: which may, how many, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lbflask.core.certificate_orders import CertificateState, NameState, is_name
from lbflask.core.certificate_renewal import HOUR

#: Names with a certificate on demand, and those that wait for one: all records are read by each worker at a change.
MAX_DEMANDED: Final = 300
#: Orders in a row that may fail for a name without a certificate, until a client asks for it again.
MAX_FAILURES: Final = 3
#: Seconds after the latest order of a name without a certificate until the fleet forgets it.
FORGOTTEN_AFTER: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class DemandRule:
    """`patterns` are names, exact or `*.` and a domain for one label before it; without any, each name matches but the
    `listed` ones, which have certificates anyway. At most `per_hour` first orders begin within an hour.
    """

    patterns: frozenset[str]
    listed: frozenset[str]
    per_hour: int

    def matches(self, name: str) -> bool:
        """Whether the name, in small letters, may have a certificate on demand, as far as patterns decide it."""
        if name in self.listed or name.startswith("*") or not is_name(name):
            return False
        return not self.patterns or name in self.patterns or "*." + name.partition(".")[2] in self.patterns


def demanded_names(state: CertificateState, rule: DemandRule) -> tuple[str, ...]:
    """The names of which the fleet knows by demand."""
    return tuple(sorted(name for name in state.names if rule.matches(name)))


def is_given_up(state: NameState) -> bool:
    """Whether a name is not ordered again until a client asks for it."""
    return state.certificate is None and state.attempts.failures >= MAX_FAILURES


def is_forgotten(state: NameState, now: float) -> bool:
    """Whether nothing of a name is of use any more: its certificate is over, or its orders failed long ago."""
    if state.certificate is not None:
        return state.certificate.validity.ends <= now
    latest = max(state.attempts.tries, default=0.0)
    return state.order is None and max(latest + FORGOTTEN_AFTER, state.attempts.resumes) <= now


def has_room(begun: Iterable[float], per_hour: int, now: float) -> bool:
    """Whether one more order may begin, after those that began at these times."""
    return sum(now - HOUR < at <= now for at in begun) < per_hour
