"""Configuration of health checks: of a pool in `[health]`, and of one backend in its own table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lbflask.config.field_types import Seconds, Section, checked_by, comma_separated, is_host, is_method, required
from lbflask.config.redaction import HeaderLine, ServiceURL
from lbflask.config.units import SECONDS
from lbflask.core import checks
from lbflask.core.bounded_expression import BadExpression, BoundedExpression
from lbflask.core.health import Thresholds
from lbflask.core.http.field_names import is_token

#: The settings that only checks by HTTP use.
_OF_HTTP = frozenset({"path", "method", "host", "headers", "expect_status", "expect_body"})
#: Fields that each check sets itself, since they define framing and the end of the connection.
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"})
_VALUE = re.compile(r"[\t -~\x80-\ud7ff\ue000-\U0010ffff]*")


def _statuses(value: Any) -> Any:
    """A status may be a number, and several a list."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_pattern(value: str) -> None:
    try:
        BoundedExpression(value)
    except BadExpression as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _lines(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [f"{name}: {text}" for name, text in value.items()]
    return comma_separated(value)


def _header(value: HeaderLine) -> HeaderLine:
    name, colon, text = value.partition(":")
    if not colon or not is_token(name) or not _VALUE.fullmatch(text):
        raise ValueError("must be a header as in `X-Probe: yes`")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is written by the check itself" + (": use `host`" if name.lower() == "host" else ""))
    return HeaderLine(f"{name}: {text.strip()}")


Header = Annotated[HeaderLine, AfterValidator(_header)]
CheckPath = Annotated[
    ServiceURL,
    required(re.compile(r"/[!-\"$-~]*").fullmatch, "must be a path that begins with /, without blanks and without #"),
]
CheckMethod = Annotated[str, required(is_method, "must be a method such as GET, HEAD or OPTIONS")]
CheckHost = Annotated[
    str, required(lambda host: not host or is_host(host), "must be a name or address, with a port or without")
]


class HealthCheckConfig(Section):
    """The health check of one backend."""

    kind: Literal["tcp", "http", "https"] | None = None
    """`tcp` connects; `http` and `https` send a request. Unset: `http` if a key of requests is set, else `tcp`."""
    interval: Seconds = 10.0
    """Seconds between two checks of a backend."""
    fast_interval: Seconds | None = None
    """Seconds between checks while the outcome contradicts the known state; a fifth of `interval` unless set."""
    jitter: float = Field(default=10.0, ge=0, le=50)
    """Percent by which each interval varies, so that checks spread out."""
    timeout: Seconds = 2.0
    """Maximum seconds of a check."""
    rise: int = Field(default=2, ge=1, le=100)
    """Consecutive successes until a backend is up."""
    fall: int = Field(default=3, ge=1, le=100)
    """Consecutive failures until it is down."""
    path: CheckPath = ServiceURL("/")
    """Path and query of the request. Redirects are not followed."""
    method: CheckMethod = "GET"
    """Method of the request."""
    host: CheckHost = ""
    """Host of the request; that of the backend unless set."""
    headers: Annotated[tuple[Header, ...], BeforeValidator(_lines)] = ()
    """Further header fields, each as `Name: value`; in the file also a table."""
    expect_status: Annotated[
        str, AfterValidator(lambda text: str(checks.StatusSet.parse(text))), BeforeValidator(_statuses)
    ] = "200-399"
    """Statuses of a successful check: numbers and ranges, separated by commas."""
    expect_body: Annotated[str, checked_by(_check_pattern)] = ""
    """A Python regular expression that the first 256 KiB of the body must match, within 0.25 s; empty for any body."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the check; that of the backend unless set."""

    @property
    def soon(self) -> float:
        """Seconds to the next check while in transition."""
        return self.fast_interval if self.fast_interval is not None else self.interval / 5

    @property
    def effective_kind(self) -> str:
        """The kind that is set, or that the other keys imply."""
        return self.kind or ("http" if _OF_HTTP & self.model_fields_set else "tcp")

    def under(self, specific: HealthCheckConfig | None) -> HealthCheckConfig:
        """The check with the settings of a single backend applied."""
        if specific is None:
            return self
        changed = {key: getattr(specific, key) for key in specific.model_fields_set}
        if specific.kind is None and _OF_HTTP & specific.model_fields_set and self.effective_kind == "tcp":
            changed["kind"] = "http"
        return self.model_copy(update=changed)

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting, for a setting without effect."""
        if self.kind == "tcp":
            self.check_unused(where, sorted(_OF_HTTP), "a check of kind 'tcp' does not use it")

    def to_model(self, where: str, *, unix: bool = False) -> checks.HealthCheck:
        """The check as a value of the core; `unix` for a unix socket.

        Raises ValueError, which names the setting, for settings that exclude each other.
        """
        if self.expect_body and self.effective_kind != "tcp" and self.method == "HEAD":
            raise ValueError(f"{where}.expect_body: the answer to HEAD has no body (RFC 9110 section 9.3.2)")
        if unix and self.port:
            raise ValueError(f"{where}.port: a unix socket has no other port")
        if unix and self.kind == "https":
            raise ValueError(f"{where}.kind: a unix socket is checked by tcp or http")
        parts = (line.reveal().partition(": ") for line in self.headers)
        headers = tuple((name, text) for name, _, text in parts)
        body = BoundedExpression(self.expect_body) if self.expect_body else None
        expected = (checks.StatusSet.parse(self.expect_status), body)
        request = (self.path.reveal(), self.method, self.host, headers, *expected, self.port or 0)
        kind, soon, thresholds = self.effective_kind, min(self.soon, self.interval), Thresholds(self.rise, self.fall)
        return checks.HealthCheck(kind, self.interval, soon, self.jitter, self.timeout, thresholds, *request)


class HealthConfig(HealthCheckConfig):
    """Active health checks by `python -m lbflask.healthcheck`. Backends can have all keys but `lease` too."""

    lease: Annotated[float, SECONDS] = Field(default=3.0, ge=0.5, le=60)
    """Seconds after the last heartbeat of the leading checker until another one replaces it."""
    long_connections: Literal["keep", "close"] = "keep"
    """`close`: tunnels and event streams of a backend that checks find down end, spread over ten seconds."""
    end_waits: bool = True
    """Whether waits for a first byte end, or go to another backend, when checks without an answer find theirs down."""

    @model_validator(mode="before")
    @classmethod
    def _settle_kind(cls, value: Any) -> Any:
        """Sets the kind of the pool, so that the effective configuration means the same when it is loaded again."""
        if isinstance(value, Mapping) and value.get("kind") is None:
            return {**value, "kind": "http" if _OF_HTTP & value.keys() else "tcp"}
        return value
