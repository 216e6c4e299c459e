"""Which failures the documentation announces, decided by the process that was killed, the time, and the access log.

docs/soak.md has the rules in words. A failure that no rule explains is a fault of the balancer. Without I/O; times are
of the monotonic clock.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: A client connection: the port of the instance, and the port of the client.
Link = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed exchange. `status` is 0 before the head of the response."""

    number: int
    kind: str
    port: int
    local: int
    began: float
    ended: float
    status: int
    reused: bool
    answered: bool
    text: str

    @property
    def link(self) -> Link:
        """The client connection."""
        return self.port, self.local

    def under_way(self, since: float, until: float) -> bool:
        """Whether it was under way at any time of this interval."""
        return self.began <= until and self.ended >= since


@dataclass(frozen=True, slots=True)
class Move:
    """A session changed its backend between the response at `since` and the one at `until`, or its backend lost it:
    then both are the same. Backends are ids.
    """

    number: int
    before: str
    after: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """What the access log has of a request: the backend of its last attempt, and the stage of the fault or nothing."""

    backend: str
    fault: str


@dataclass(frozen=True, slots=True)
class WorkerKilled:
    """A worker with these client connections was killed at `since`, and had ended at `until`."""

    since: float
    until: float
    links: frozenset[Link]

    def explains(self, failure: Failure, _: LogLine | None) -> str:
        """Requests and tunnels on its connections end with it."""
        if failure.link in self.links and failure.under_way(self.since, self.until):
            return "on a connection of the killed worker"
        return ""


@dataclass(frozen=True, slots=True)
class BackendKilled:
    """A backend, by its id, was killed at `since`, and had ended at `until`."""

    since: float
    until: float
    backend: str

    def explains(self, failure: Failure, line: LogLine | None) -> str:
        """What it was serving ends with it, unless the request can be repeated at another backend: a POST cannot, a
        response that has begun cannot, a tunnel cannot.
        """
        if line is None or line.backend != self.backend or not failure.under_way(self.since, self.until):
            return ""
        if failure.kind in ("post", "upload") and failure.status in (0, 502) and line.fault in ("send", "wait"):
            return "a POST that the killed backend had"
        if failure.status == 101:
            return "a WebSocket to the killed backend"
        if failure.status == 200 and failure.answered and line.fault == "body":
            return "a response that the killed backend had begun"
        return ""


@dataclass(frozen=True, slots=True)
class BackendBroken:
    """A backend responded 500 to all requests in this interval."""

    since: float
    until: float
    backend: str

    def explains(self, failure: Failure, line: LogLine | None) -> str:
        """A response of a backend is forwarded, whatever its status."""
        theirs = line is not None and line.backend == self.backend and not line.fault
        if theirs and failure.status == 500 and failure.under_way(self.since, self.until):
            return "a 500 of the broken backend"
        return ""


@dataclass(frozen=True, slots=True)
class WorkersEnded:
    """Workers with these client connections were ended in order: by a signal at `since`, until `until`."""

    since: float
    until: float
    links: frozenset[Link]

    def explains(self, failure: Failure, line: LogLine | None) -> str:
        """A worker closes idle connections. It never receives a request that is sent at this moment, so its log has no
        line of it, and the client has to repeat it (RFC 9112 §9.3.1).
        """
        idle = failure.reused and not failure.answered and line is None
        if idle and failure.link in self.links and self.since <= failure.ended <= self.until:
            return "on an idle connection that its worker closed at this moment"
        return ""


@dataclass(frozen=True, slots=True)
class BackendFrozen:
    """A backend was stopped in this interval, and went on."""

    since: float
    until: float
    backend: str

    def explains(self, _: Failure, __: LogLine | None) -> str:
        """Nothing: requests to it wait, and its sessions move."""
        return ""


Loss = WorkerKilled | WorkersEnded | BackendKilled | BackendFrozen | BackendBroken


@dataclass(frozen=True, slots=True)
class Injection:
    """What was done to the fleet, from `since` until all had recovered, or `error` has the reason why not."""

    name: str
    since: float
    until: float
    losses: tuple[Loss, ...] = ()
    error: str = ""

    def explains(self, move: Move) -> bool:
        """Whether the backend could not serve at some time of the move; it loses sessions only with its process."""
        if move.since > self.until or move.until < self.since:
            return False
        kinds = BackendKilled if move.before == move.after else (BackendKilled, BackendFrozen, BackendBroken)
        return any(isinstance(loss, kinds) and loss.backend == move.before for loss in self.losses)


CALM = "none"


def explanation(failure: Failure, injections: Iterable[Injection], log: Mapping[int, LogLine]) -> str:
    """Why the failure was unavoidable; empty if nothing explains it."""
    line = log.get(failure.number)
    found = (loss.explains(failure, line) for injection in injections for loss in injection.losses)
    return next(filter(None, found), "")


def unexplained_moves(moves: Iterable[Move], injections: Sequence[Injection]) -> list[Move]:
    """The moves of sessions whose backend could serve all the time between the two responses."""
    return [move for move in moves if not any(injection.explains(move) for injection in injections)]


def injection_at(moment: float, injections: Iterable[Injection]) -> str:
    """The name of the injection at this time."""
    return next((one.name for one in injections if one.since <= moment <= one.until), CALM)


_TARGET = re.compile(r'"target": ?"/\w+/(\d+)[/"]')


def read_log(lines: Iterable[str], numbers: Iterable[int]) -> dict[int, LogLine]:
    """The lines of an access log (JSON) about exchanges with these numbers."""
    wanted, found = set(numbers), {}
    for line in lines:
        match = _TARGET.search(line)
        if match is None or int(match[1]) not in wanted:
            continue
        last: dict[str, str] = (json.loads(line)["attempts"] or [{}])[-1]
        found[int(match[1])] = LogLine(last.get("backend", ""), last.get("fault", ""))
    return found


@dataclass(frozen=True, slots=True)
class MemorySample:
    """A process at a moment: its role, bytes of memory, unique and proportional, and descriptors."""

    moment: float
    role: str
    pid: int
    unique: int
    proportional: int
    descriptors: int


def median(samples: Sequence[MemorySample], role: str, name: str, since: float, until: float) -> float:
    """The median of a value over the processes of a role in an interval; NaN without any. A short peak, such as the
    requests that wait for a frozen backend, does not change it.
    """
    values = [getattr(sample, name) for sample in samples if sample.role == role and since <= sample.moment < until]
    return statistics.median(values) if values else math.nan


def growth(samples: Sequence[MemorySample], role: str, name: str, slack: float = 0) -> float:
    """The median of the last third of the time as a multiple of that of the first third; NaN without samples.

    One that is larger by no more than `slack` counts as equal.
    """
    if not samples:
        return math.nan
    first, last = samples[0].moment, samples[-1].moment
    third = (last - first) / 3
    before = median(samples, role, name, first, first + third)
    after = median(samples, role, name, last - third, math.inf)
    if 0 < after - before <= slack:
        return 1.0
    return after / before if before else math.nan
