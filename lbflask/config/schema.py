"""Every setting, once. The models check a value as they take it; `load` says where the value came from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from lbflask.config.backends import Backend
from lbflask.config.health import Health
from lbflask.config.tls import TLS, BackendTLS
from lbflask.config.types import (
    HashKeyName,
    ListenAddress,
    Namespace,
    Network,
    OptionalListenAddress,
    RedisURL,
    Seconds,
    Section,
    UrlPath,
    ViaName,
    comma_separated,
    is_loopback,
)
from lbflask.core import model
from lbflask.core.checks import Check
from lbflask.core.ejection import Rule
from lbflask.core.retry import Policy


class Timeouts(Section):
    """How long each step of a request may take."""

    connect: Seconds = 3.0
    """Seconds for a connection to a backend."""
    first_byte: Seconds = 60.0
    """Seconds from the request's last byte until the response's first."""
    between_bytes: Seconds = 60.0
    """Seconds of silence allowed within a backend's response, or while a backend takes no byte of a request."""
    request: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    """Seconds for a whole request, until the last byte of its response; 0 or unset sets no limit."""
    client_head: Seconds = 10.0
    """Seconds a client may take for its request line and headers, from their first byte."""
    client_body: Seconds = 30.0
    """Seconds of silence allowed within a client's body, or while a client takes no byte of a response."""
    tunnel_idle: Seconds = 3600.0
    """Seconds of silence both ways after which an upgraded connection (WebSocket) is closed."""
    graceful: Seconds = 30.0
    """Seconds that requests in flight get to finish at a stop or reload."""


class Hash(Section):
    """What the strategy `consistent_hash` goes by."""

    key: HashKeyName = "client"
    """`client` (address), `uri` (path and query), `header:NAME`, `cookie:NAME` or `query:NAME`; without it, in turn."""
    load_factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] | None = None
    """How many times its share of the requests in flight a backend may have, such as 1.25; unset sets no bound."""


class Retries(Section):
    """When a request is tried again, on another backend."""

    attempts: int = Field(default=2, ge=0, le=10)
    """Extra attempts for one request."""
    budget_percent: float = Field(default=20.0, ge=0, le=100)
    """Percent of a worker's active requests that may be on an extra attempt at once (at least 3 always may)."""

    def policy(self) -> Policy:
        """The policy as the retry table takes it."""
        return Policy(self.attempts, self.budget_percent)


class Ejection(Section):
    """When requests that fail take a backend out of service, for the whole fleet, without waiting for a check."""

    failures: int = Field(default=5, ge=0, le=1000)
    """Failures, and half of all attempts, that eject a backend; a failed connection counts as two. 0 ejects none."""
    window: Seconds = 10.0
    """Seconds, from a first failure, in which failures are counted."""
    duration: Seconds = 30.0
    """Seconds until an ejected backend is tried again, by one request; times the number of ejections in a row."""
    max_duration: Seconds = 300.0
    """Seconds that an ejection lasts at most; after as many in service earlier ejections are forgotten."""
    max_percent: float = Field(default=50.0, ge=0, le=100)
    """Percent of the backends that may be ejected at once: of two one may be, the last one never."""


class Limits(Section):
    """What is refused from clients, to protect backends and workers."""

    body: int = Field(default=0, ge=0)
    """Bytes of a request body; larger ones are answered with 413. 0 sets no limit."""
    line: int = Field(default=8190, ge=256, le=8190)
    """Bytes of the request line (414)."""
    fields: int = Field(default=100, ge=1, le=32_768)
    """Header fields of a request (431)."""
    field_size: int = Field(default=8190, ge=256, le=65_536)
    """Bytes of one header field (431)."""
    tunnels: int = Field(default=1000, ge=0, le=100_000)
    """Upgraded connections (WebSocket) that a worker holds at once; 0 forwards no upgrade."""


class Config(Section):
    """The whole configuration."""

    bind: Annotated[tuple[ListenAddress, ...], BeforeValidator(comma_separated), Field(min_length=1)] = (
        "0.0.0.0:8080",
    )
    """Where clients connect: one address or several."""
    admin_bind: OptionalListenAddress = "127.0.0.1:8090"
    """Where operators connect; loopback only. Empty opens none."""
    health_path: UrlPath = "/health"
    """Where the public listener answers for the balancer itself; empty leaves the path to the backends."""
    redis_url: RedisURL | None = None
    """The store that all processes share (docs/shared-state.md). Unset, gunicorn starts a private Valkey."""
    namespace: Namespace = "lbflask"
    """Prefix of all keys, so that several fleets can share one store."""
    backends: Annotated[tuple[Backend, ...], BeforeValidator(comma_separated), Field(min_length=1)]
    """The servers of the pool `default`: URLs, or tables of `url`, `name`, `weight`, `backup`, `health`."""
    strategy: Literal["round_robin", "least_connections", "random_two", "consistent_hash", "first"] = "round_robin"
    """How a backend is chosen (docs/strategies.md)."""
    when_all_down: Literal["reject", "fail_open"] | None = None
    """When checks leave no backend: answer 503, or try all nevertheless. Unset, the first with `tcp` checks only."""
    tickets: Literal["leased", "strict"] = "leased"
    """`strict` makes a trip to the store for each request; `leased` lets a busy worker take several turns at once."""
    preserve_host: bool = True
    """Whether backends get the client's Host, or their own address."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(comma_separated)] = ()
    """Networks whose X-Forwarded-* fields are believed; those of all others are dropped."""
    forwarded: bool = False
    """Whether backends get a `Forwarded` field (RFC 7239) besides X-Forwarded-*."""
    via: ViaName = "lbflask"
    """The name written into Via, both ways (RFC 9110 section 7.6.3); empty writes none."""
    access_log: str = "-"
    """Where the access log goes: a file, `-` for standard output, empty for nowhere."""
    tls: TLS = TLS()
    backend_tls: BackendTLS = BackendTLS()
    health: Health = Health()
    timeouts: Timeouts = Timeouts()
    hash: Hash = Hash()
    retries: Retries = Retries()
    ejection: Ejection = Ejection()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        seen: dict[str, str] = {}
        places: dict[str, str] = {}
        for backend in self.pool().backends:
            if backend.id in seen:
                raise ValueError(f"backends: duplicate backend {backend.id!r}")
            if backend.url in places:
                raise ValueError(f"backends: duplicate backend {backend.url!r}, as {places[backend.url]!r} already")
            seen[backend.id] = places[backend.url] = backend.id
        if self.admin_bind and not is_loopback(self.admin_bind):
            raise ValueError(f"admin_bind: {self.admin_bind!r} is not a loopback address (127.0.0.1, [::1], unix:)")
        if self.admin_bind in self.bind:
            raise ValueError(f"admin_bind: {self.admin_bind!r} is the public listener's address too")
        idle = next((key for key in Hash.model_fields if getattr(self.hash, key) != getattr(Hash(), key)), None)
        if idle and self.strategy != "consistent_hash":
            raise ValueError(f"hash.{idle}: the strategy {self.strategy!r} has no use for it")
        self.tls.check("tls")
        self.backend_tls.check("backend_tls")
        self.checks()
        return self

    def pool(self) -> model.Pool:
        """The pool `default`."""
        backends = tuple(backend.to_model() for backend in self.backends)
        usual = "reject" if self.health.effective_kind == "tcp" else "fail_open"
        fails_open = (self.when_all_down or usual) == "fail_open"
        return model.Pool("default", backends, self.strategy, fails_open, self.hash.key, self.hash.load_factor)

    def ejection_rule(self) -> Rule:
        """The rule of passive ejection for the pool `default`."""
        ours = self.ejection
        members = tuple(sorted(backend.id for backend in self.pool().backends if backend.weight > 0))
        return Rule(members, ours.failures, ours.window, ours.duration, ours.max_duration, ours.max_percent)

    def checks(self) -> dict[str, Check]:
        """How each backend of the pool `default` is checked, by its id. Raises ValueError."""
        self.health.check("health")
        common = self.health.to_model("health")
        found = {}
        for number, backend in enumerate(self.backends):
            known = backend.to_model()
            where = "health" if backend.health is None else f"backends[{number}].health"
            if backend.health is not None:
                backend.health.check(where)
            special = backend.health is not None or known.scheme == "unix"
            own = self.health.under(backend.health) if special else self.health
            found[known.id] = own.to_model(where, unix=known.scheme == "unix") if special else common
        return found


def tables_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables within a table, by key."""
    return {
        name: field.annotation
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
