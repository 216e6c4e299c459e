"""The retry table: whether another attempt may follow a fault (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

| fault                                                   | another attempt                             |
| ------------------------------------------------------- | ------------------------------------------- |
| the client's                                            | never                                       |
| this process's: a shortage, or files it can't read      | never: another backend needs the same       |
| while connecting: no byte was sent                      | any method, body untouched                  |
| while sending or waiting                                | idempotent methods, body untouched          |
| the same, on a reused connection, no byte of an answer  | as above, and first on the same backend     |
| while waiting, at a backend found down by its checks    | idempotent methods, body untouched          |
| a time-out waiting for the response                     | never: the deadline is spent                |
| the time of one attempt, `per_attempt`                  | idempotent methods, body untouched          |
| a response with one of `statuses`                       | idempotent methods, body untouched          |
| after the response had begun                            | never                                       |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lbflask.core.faults import AttemptTimeout, Blame, Fault, FoundDown, Stage

#: RFC 9110 §9.2.2: a proxy must not retry a method that is not idempotent once it may have been acted on.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` extra ones for a request. Those that cost budget are at most `budget_percent` of the fleet's requests,
    or `budget_floor` per second (core/retry_budget.py). `statuses` are those of responses after which there is another
    attempt. A request that waits longer for a first byte than `hedge` of the latest ones gets a second attempt beside
    the first one; 0 for never.
    """

    attempts: int = 2
    budget_percent: float = 20.0
    budget_floor: float = 10.0
    statuses: frozenset[int] = frozenset()
    hedge: float = 0.0


def replayable(fault: Fault, method: str, body_touched: bool) -> bool:
    """Whether the request may be sent again after this fault.

    `body_touched` means that some of the client's body was read, and is gone.
    """
    if fault.blame is not Blame.BACKEND or body_touched:
        return False
    if fault.stage is Stage.CONNECT:
        return True
    if fault.stage not in (Stage.SEND, Stage.WAIT) or (fault.status == 504 and not isinstance(fault, AttemptTimeout)):
        return False
    return method in IDEMPOTENT


def went_stale(fault: Fault) -> bool:
    """Whether the backend closed an idle connection at the moment of its reuse (RFC 9112 §9.3.1).

    The next attempt is then a new connection to the same backend, which is not to blame.
    """
    if fault.blame is not Blame.BACKEND or fault.status == 504:
        return False
    return fault.reused and not fault.answered and fault.stage in (Stage.SEND, Stage.WAIT)


def costs_budget(fault: Fault) -> bool:
    """Whether another attempt after this fault adds load to backends that may be overloaded.

    After a failed connection it does not, since no backend has received the request: when a backend dies, all requests
    that were about to be sent to it may go to the others. The same holds for those that hang at one found down.
    """
    return fault.stage is not Stage.CONNECT and not isinstance(fault, FoundDown)


def is_better(status: int, policy: RetryPolicy) -> bool:
    """Whether a response serves a client better than one with one of the policy's statuses that came before it."""
    return status < 500 and status not in policy.statuses
