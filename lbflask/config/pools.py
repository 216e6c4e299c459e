"""Configuration of pools: the top level of the file is the pool `default`, `[pools.NAME]` are further ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lbflask.config.backends import BackendConfig, check_distinct
from lbflask.config.discovery import DiscoveryConfig
from lbflask.config.field_types import HashKeys, Listed, Seconds, SecondsOrZero, Section
from lbflask.config.health import HealthConfig
from lbflask.config.sticky import StickyConfig
from lbflask.config.traffic import PoolTrafficConfig, RetriedStatus
from lbflask.core import model, slots
from lbflask.core.checks import HealthCheck
from lbflask.core.ejection import FAILURES, EjectionPolicy
from lbflask.core.proxy_protocol import header_without_client


class HashConfig(Section):
    """Settings of the strategy `consistent_hash`."""

    key: HashKeys = "client"
    """`client` (address), `uri` (path and query), `header:NAME`, `cookie:NAME`, `query:NAME`, or a list of them (or
    a text, `client + uri`), of which a request may lack some; rotates without any."""
    load_factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] | None = None
    """Bound of a backend's requests in flight, as a multiple of its share, such as 1.25; unset for no bound."""


class EjectionConfig(Section):
    """Ejection of backends after failed requests, for the whole fleet, without waiting for a check."""

    failures: int = Field(default=5, ge=0, le=1000)
    """Failures, less successes since the first, that eject a backend; a failed connection counts twice. 0: none."""
    window: Seconds = 10.0
    """Seconds from the first failure in which failures are counted."""
    duration: Seconds = 30.0
    """Seconds until one request probes an ejected backend, times the number of consecutive ejections."""
    max_duration: Seconds = 300.0
    """Maximum seconds of an ejection. After as many seconds in service, earlier ejections no longer count."""
    max_percent: float = Field(default=50.0, ge=0, le=100)
    """Maximum percentage of ejected backends: one of two may be ejected, the last one never."""
    silence: SecondsOrZero = 0.0
    """Seconds without a first byte after which a client that leaves counts as a failure of the backend; 0 for never."""
    statuses: Listed[RetriedStatus] = ()
    """Statuses of responses that are failures, such as 429, 502; unless set, 500 to 599 without 501 and 505."""


class QueueConfig(Section):
    """The queue of requests while all backends have `max_connections` requests."""

    length: int = Field(default=1000, ge=0, le=1_000_000)
    """Maximum waiting requests of the whole fleet; further ones get 503. 0 for no queue."""
    timeout: Seconds = 5.0
    """Maximum seconds of waiting; then the request gets 503."""

    def to_model(self) -> slots.QueuePolicy:
        """The queue as a value of the core."""
        return slots.QueuePolicy(self.length, self.timeout)


class PoolConfig(PoolTrafficConfig):
    """A pool of backends, with its own strategy and checks."""

    backends: Listed[BackendConfig] = ()
    """The servers of the pool: URLs, or tables (see "A backend")."""
    strategy: Literal["round_robin", "least_connections", "random_two", "consistent_hash", "first"] = "round_robin"
    """The rule that chooses a backend (docs/strategies.md)."""
    when_all_down: Literal["reject", "fail_open"] | None = None
    """If checks find all backends down: 503, or all are tried. Unset: `reject` with `tcp` checks, else `fail_open`."""
    proxy_protocol: Literal["", "v1", "v2"] = ""
    """The version of the PROXY protocol by which connections to backends state the client's address; empty for none.
    Each request then has a connection of its own (docs/how-to/proxy-protocol.md).
    """
    slow_start: SecondsOrZero = 0.0
    """Seconds in which a new backend reaches its full share, in ten steps; 0 for its full share at once."""
    health: HealthConfig = HealthConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    hash: HashConfig = HashConfig()
    ejection: EjectionConfig = EjectionConfig()
    sticky: StickyConfig = StickyConfig()
    queue: QueueConfig = QueueConfig()

    @property
    def proxy_version(self) -> int:
        """The version of the PROXY protocol towards backends; 0 for none."""
        return int(self.proxy_protocol[1:] or 0)

    @property
    def opening(self) -> bytes:
        """The first bytes of a connection without a client, as of a health check."""
        return header_without_client(self.proxy_version) if self.proxy_version else b""

    @property
    def has_backends(self) -> bool:
        """Whether there are backends or a discovery source."""
        return bool(self.backends) or self.discovery.source is not None

    def to_model(self, name: str) -> model.Pool:
        """The pool as a value of the core."""
        backends = tuple(backend.to_model() for backend in self.backends)
        usual = "reject" if self.health.effective_kind == "tcp" else "fail_open"
        fails_open = (self.when_all_down or usual) == "fail_open"
        hashing = (self.hash.key, self.hash.load_factor)
        return model.Pool(name, backends, self.strategy, fails_open, *hashing, self.slow_start, self.sticky.to_model())

    def has_bounds(self) -> bool:
        """Whether a backend of the pool may have `max_connections`: a configured one, or one that a file names."""
        where = self.discovery.where()
        return any(backend.max_connections for backend in self.backends) or (where is not None and where.kind == "file")

    def ejection_rule(self) -> EjectionPolicy:
        """The rule of passive ejection, for the backends that are configured."""
        ours = self.ejection
        members = tuple(sorted(backend.id for backend in self.to_model("").backends if backend.weight > 0))
        times = ours.window, ours.duration, ours.max_duration
        statuses = frozenset(ours.statuses) or FAILURES
        return EjectionPolicy(members, ours.failures, *times, ours.max_percent, ours.silence, statuses)

    def checks(self, where: str = "") -> dict[str, HealthCheck]:
        """The checks of the configured backends, by id. Raises ValueError, which names the setting."""
        found = {}
        for number, backend in enumerate(self.backends):
            place = f"{where}health" if backend.health is None else f"{where}backends[{number}].health"
            found[backend.to_model().id] = self.check_of(backend, place)
        return found

    def check_of(self, backend: BackendConfig, place: str) -> HealthCheck:
        """The check of this backend, with its own settings. Raises ValueError, which begins with the place."""
        if backend.health is not None:
            backend.health.check(place)
        unix = bool(backend.to_model().path)
        return self.health.under(backend.health).to_model(place, unix=unix)

    def usual_check(self, backend: model.Backend) -> HealthCheck:
        """The check of a backend that is not in the file: a discovered one, or one that an operator has added."""
        unix = bool(backend.path)
        usual = self.health.model_copy(update={"port": None}) if unix else self.health
        return usual.to_model("health", unix=unix)

    def check(self, where: str) -> None:
        """Raises ValueError, which names the setting after `where` (empty, or `pools.NAME.`), for settings that exclude
        each other.
        """
        if not self.has_backends:
            raise ValueError(f"{where}backends: there are none, and no `discovery.source` to find any")
        check_distinct(self.to_model("").backends, where)
        self.discovery.check(f"{where}discovery")
        if self.strategy != "consistent_hash":
            reason = f"the strategy {self.strategy!r} does not use it, as 'consistent_hash' does"
            self.hash.check_unused(f"{where}hash", HashConfig.model_fields, reason)
        self.sticky.check(f"{where}sticky")
        self.health.check(f"{where}health")
        self.health.to_model(f"{where}health")
        self.checks(where)
