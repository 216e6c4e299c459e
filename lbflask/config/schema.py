"""All settings. The models validate the values; `load` adds the source of a value to an error."""

from __future__ import annotations

from typing import Annotated, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from lbflask.config import field_types
from lbflask.config.admin import AdminConfig
from lbflask.config.admin_address import AdminAddress
from lbflask.config.field_types import Seconds, Section, comma_separated
from lbflask.config.paths import OutputPath
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.routes import RouteConfig, check_routes
from lbflask.config.tls import BackendTLSConfig, TLSConfig
from lbflask.config.tracing import TracingConfig
from lbflask.core.retry import RetryPolicy

#: The pool that the top level of the file configures.
DEFAULT_POOL = "default"


class TimeoutsConfig(Section):
    """How long each step of a request may take."""

    connect: Seconds = 3.0
    """Seconds for a connection to a backend: the lookup of its name, all of its addresses, and TLS together."""
    first_byte: Seconds = 60.0
    """Seconds from the request's last byte until the response's first."""
    between_bytes: Seconds = 60.0
    """Seconds of silence allowed within a backend's response, or while a backend takes no byte of a request."""
    request: field_types.SecondsOrZero | None = None
    """Seconds for a whole request, until the last byte of its response; 0 or unset sets no limit."""
    client_head: Seconds = 10.0
    """Seconds a client may take for its request line and headers, from their first byte."""
    client_body: Seconds = 30.0
    """Seconds of silence allowed within a client's body, or while a client takes no byte of a response."""
    tunnel_idle: Seconds = 3600.0
    """Seconds of silence both ways after which an upgraded connection (WebSocket) is closed."""
    graceful: Seconds = 30.0
    """Seconds that requests in flight get to finish at a stop or reload."""


class RetriesConfig(Section):
    """When a request is tried again, on another backend."""

    attempts: int = Field(default=2, ge=0, le=10)
    """Extra attempts for one request."""
    budget_percent: float = Field(default=20.0, ge=0, le=100)
    """Percent of a worker's active requests that may be on an extra attempt at once (at least 3 always may)."""

    def policy(self) -> RetryPolicy:
        """The policy as the retry table takes it."""
        return RetryPolicy(self.attempts, self.budget_percent)


class LimitsConfig(Section):
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


class Config(PoolConfig):
    """The whole configuration. Its own settings of a pool are those of the pool `default`."""

    bind: Annotated[tuple[field_types.ListenAddress, ...], BeforeValidator(comma_separated), Field(min_length=1)] = (
        "0.0.0.0:8080",
    )
    """Where clients connect: one address or several."""
    admin_bind: field_types.OptionalListenAddress = "127.0.0.1:8090"
    """Where operators connect. An address that other machines can reach needs `admin.tokens`. Empty opens none."""
    health_path: field_types.UrlPath = "/health"
    """Where the public listener answers for the balancer itself; empty leaves the path to the backends."""
    live_path: field_types.UrlPath = "/live"
    """Where it answers whether the process serves, whatever the backends; empty leaves the path to the backends."""
    redis_url: field_types.RedisURL | None = None
    """The store that all processes share (docs/shared-state.md). Unset, gunicorn starts a private Valkey."""
    namespace: field_types.Namespace = "lbflask"
    """Prefix of all keys, so that several fleets can share one store."""
    tickets: Literal["leased", "strict"] = "leased"
    """`strict` makes a trip to the store for each request; `leased` lets a busy worker take several turns at once."""
    trusted_proxies: Annotated[tuple[field_types.Network, ...], BeforeValidator(comma_separated)] = ()
    """Networks whose X-Forwarded-*, Forwarded, X-Real-IP … count (docs/forwarding.md); those of others are dropped."""
    keep_forwarded: Annotated[tuple[field_types.ClaimName, ...], BeforeValidator(comma_separated)] = ()
    """Fields that pass from all peers although they are among those that are dropped, such as `X-Forwarded-User`."""
    forwarded: bool = False
    """Whether backends get a `Forwarded` field (RFC 7239) besides X-Forwarded-*."""
    via: field_types.ViaName = "lbflask"
    """The name written into Via, both ways (RFC 9110 section 7.6.3); empty writes none."""
    access_log: OutputPath = "-"
    """Where the access log goes: a file, `-` for standard output, empty for nowhere."""
    access_log_format: field_types.LogFormat = "text"
    """`text`, `json`, or a line of one's own with `{status}` and other names in braces (docs/logging.md)."""
    hooks: Annotated[tuple[str, ...], BeforeValidator(comma_separated)] = ()
    """Code of one's own (docs/hooks.md): `module:object`, an entry point's name in `lbflask.hooks`, or `*` for all."""
    hook_budget: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.05
    """Seconds that a request waits for a hook at most."""
    metrics: bool = True
    """Whether `/metrics` of the admin listener tells what was counted (docs/metrics.md)."""
    error_log_format: Literal["text", "json"] = "text"
    """How the error log is written, which goes where gunicorn's `--error-logfile` says: standard error."""
    admin: AdminConfig = AdminConfig()
    tls: TLSConfig = TLSConfig()
    backend_tls: BackendTLSConfig = BackendTLSConfig()
    tracing: TracingConfig = TracingConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    limits: LimitsConfig = LimitsConfig()
    pools: dict[field_types.PoolName, PoolConfig] = Field(default_factory=dict)
    """Further pools, each a table `[pools.NAME]`."""
    routes: tuple[RouteConfig, ...] = ()
    """Which requests go where, each a table `[[routes]]`. Without any, all go to the pool `default`."""
    rate_limits: dict[field_types.RateLimitName, RateLimitConfig] = Field(default_factory=dict)
    """Rate limits, each a table `[rate_limits.NAME]` (docs/limits.md)."""

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        if not field_types.is_address(self.admin_bind):
            raise ValueError(
                f"admin_bind: {self.admin_bind!r} is a name; it must be an address such as 127.0.0.1, or unix:"
            )
        exposed = bool(self.admin_bind) and not field_types.is_loopback(self.admin_bind)
        self.admin.check("admin", exposed=self.admin_bind if exposed else "")
        if any(field_types.same_listener(self.admin_bind, bind) for bind in self.bind):
            raise ValueError(f"admin_bind: {self.admin_bind!r} is the public listener's address too")
        if self.live_path and self.live_path == self.health_path:
            raise ValueError(f"live_path: {self.live_path!r} is health_path too")
        self.tls.check("tls")
        self.backend_tls.check("backend_tls")
        admin = AdminAddress(self.admin_bind)
        for name, table in self.every_pool().items():
            where = "" if table is self else f"pools.{name}."
            table.check(where)
            for number, backend in enumerate(table.backends):
                if admin.is_backend(backend.to_model()):
                    raise ValueError(
                        f"{where}backends[{number}]: {backend.url!r} is the admin listener, {self.admin_bind!r}"
                    )
        check_routes(self.routes, self.every_pool(), self.rate_limits)
        in_use = {route.rate_limit for route in self.routes}
        for name, limit in self.rate_limits.items():
            if not limit.everywhere and name not in in_use:
                raise ValueError(f"rate_limits.{name}: no route refers to it; `everywhere = true` applies it to all")
        return self

    def every_pool(self) -> dict[str, PoolConfig]:
        """The pools by name. The top level is one unless it has no backends and there are others."""
        default = {} if self.pools and not self.has_backends else {DEFAULT_POOL: self}
        return {**default, **self.pools}


def tables_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables within a table, by key."""
    return {
        name: field.annotation
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def tables_by_name(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """What the tables within a table are whose names are free, by key."""
    values = {
        name: get_args(field.annotation)[1]
        for name, field in kind.model_fields.items()
        if get_origin(field.annotation) is dict
    }
    return {name: value for name, value in values.items() if isinstance(value, type) and issubclass(value, BaseModel)}
