"""Health checks: the request, the interval, and the verdict on the response. The probes carry them out.

Every verdict is an Observation with a reason that an operator can act on. Reasons are stable per outcome, so that an
unchanged state is never rewritten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from lbflask.core.bounded_expression import BoundedExpression
from lbflask.core.failure_causes import FailureCause
from lbflask.core.health import Observation, Thresholds, in_transition
from lbflask.core.http.uwsgi_packet import uwsgi_packet
from lbflask.core.model import ActiveHealth, Backend

#: Bytes of a body that are read and searched for `expect_body`.
BODY_LIMIT = 262_144
#: Methods whose requests state the length of an empty body (RFC 9110 §8.6).
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_RANGE = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class StatusSet:
    """The statuses of a healthy response, as inclusive ranges."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> StatusSet:
        """Parse statuses and ranges separated by commas: `200-399`, `200,204`. Raises ValueError for other texts."""
        ranges = []
        for part in text.split(","):
            found = _RANGE.fullmatch(part.strip())
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            if first > last:
                raise ValueError("must be statuses from 100 to 599 and ranges of them, as in 200-399 or 200,204")
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, status: int) -> bool:
        return any(first <= status <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{first}-{last}" if first < last else str(first) for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a backend is checked. Times are in seconds, `jitter` in percent.

    `kind` is `tcp`, `http` or `https`; `http` to an https backend uses TLS. An empty `host` stands for the name of
    the backend, `port` 0 for the port that it serves at. `headers` replace default fields of the same name.
    """

    kind: str = "tcp"
    interval: float = 10.0
    soon: float = 2.0
    jitter: float = 10.0
    timeout: float = 2.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    path: str = "/"
    method: str = "GET"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    expect_status: StatusSet = StatusSet(((200, 399),))
    expect_body: BoundedExpression | None = None
    port: int = 0

    def pause(self, state: ActiveHealth, chance: float) -> float:
        """Seconds until the next check: fewer while the backend is in transition.

        `chance` is a random number from -1 to 1, which scales the jitter.
        """
        base = self.soon if in_transition(state) else self.interval
        return base * (1 + chance * self.jitter / 100)

    def target(self, backend: Backend) -> Backend:
        """The backend with the scheme and the port of the check."""
        port = self.port or backend.port
        scheme = "https" if self.kind == "https" else backend.scheme
        return replace(backend, port=port, scheme=scheme)

    def request(self, target: Backend) -> bytes:
        """The request to the backend that `target` describes. Its connection is not reused."""
        fields = {"host": ("Host", self.host or target.authority)}
        fields |= {"user-agent": ("User-Agent", "lbflask-check"), "accept": ("Accept", "*/*")}
        if self.method in _WITH_LENGTH:
            fields["content-length"] = ("Content-Length", "0")
        configured = {name.lower() for name, _ in self.headers}
        sent = [field for key, field in fields.items() if key not in configured] + [*self.headers]
        if target.scheme == "uwsgi":
            host = next((value for name, value in sent if name.lower() == "host"), "")
            length = 0 if self.method in _WITH_LENGTH else None
            return uwsgi_packet(self.method, self.path, host, sent, length)
        lines = [f"{name}: {value}" for name, value in sent]
        return "\r\n".join([f"{self.method} {self.path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode()

    def verdict_of_status(self, status: int) -> Observation:
        """The verdict on the status of the response."""
        if status in self.expect_status:
            return Observation(True, f"status {status}")
        return Observation(False, f"status {status}, expected {self.expect_status}", FailureCause.STATUS)

    def verdict_of_body(self, status: int, body: bytes) -> Observation:
        """The verdict on a body whose status was expected. Only its first 256 KiB are searched."""
        if self.expect_body is None:
            return Observation(True, f"status {status}")
        text = body[:BODY_LIMIT].decode("utf-8", "replace")
        try:
            found = self.expect_body.search(text)
        except TimeoutError:
            wanted = self.expect_body.pattern
            return Observation(
                False, f"status {status}, but the search of its body for {wanted!r} takes too long", FailureCause.BODY
            )
        if found:
            return Observation(True, f"status {status}, body as expected")
        where = "the first 256 KiB of its body" if len(body) >= BODY_LIMIT else "its body"
        missing = f"status {status}, but {where} has no match for {self.expect_body.pattern!r}"
        return Observation(False, missing, FailureCause.BODY)
