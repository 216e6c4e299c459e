"""All settings. The models validate the values; `load` adds the source of a value to an error."""

from __future__ import annotations

from typing import Annotated, Literal, get_args, get_origin

from pydantic import BaseModel, Field, model_validator

from lbflask.config import field_types
from lbflask.config.admin import AdminConfig
from lbflask.config.admin_address import AdminAddress
from lbflask.config.field_types import Listed, Seconds, Section
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
    """Time limits of the steps of a request."""

    connect: Seconds = 3.0
    """Seconds to connect to a backend: resolution of its name, all of its addresses, and TLS together."""
    first_byte: Seconds = 60.0
    """Seconds from the last byte of the request to the first byte of the response."""
    between_bytes: Seconds = 60.0
    """Seconds without a byte of a backend's response, or without progress of a request to it."""
    request: field_types.SecondsOrZero | None = None
    """Seconds for a whole request, until the last byte of its response; 0 or unset sets no limit."""
    client_head: Seconds = 10.0
    """Seconds for the request line and the header fields of a client, from their first byte."""
    client_body: Seconds = 30.0
    """Seconds without a byte of a client's body, or without progress of a response to it."""
    tunnel_idle: Seconds = 3600.0
    """Seconds without a byte in either direction until an upgraded connection (WebSocket) is closed."""
    graceful: Seconds = 30.0
    """Seconds for requests in flight to finish at a stop or reload."""
    shutdown_delay: field_types.SecondsOrZero = 0.0
    """Seconds after SIGTERM in which `/health` responds 503 and requests are accepted (docs/stopping.md)."""


class RetriesConfig(Section):
    """Retries of requests, on other backends."""

    attempts: int = Field(default=2, ge=0, le=10)
    """Maximum retries of one request."""
    budget_percent: float = Field(default=20.0, ge=0, le=100)
    """Maximum percentage of a worker's active requests that are retries (at least 3 always may be)."""

    def policy(self) -> RetryPolicy:
        """The policy as a value of the core."""
        return RetryPolicy(self.attempts, self.budget_percent)


class LimitsConfig(Section):
    """Limits for clients, which protect backends and workers."""

    body: int = Field(default=0, ge=0)
    """Maximum bytes of a request body (413). 0 for no limit."""
    line: int = Field(default=8190, ge=256, le=8190)
    """Maximum bytes of the request line (414)."""
    fields: int = Field(default=100, ge=1, le=32_768)
    """Maximum header fields of a request (431)."""
    field_size: int = Field(default=8190, ge=256, le=65_536)
    """Maximum bytes of one header field (431)."""
    tunnels: int = Field(default=1000, ge=0, le=100_000)
    """Maximum upgraded connections (WebSocket) of a worker; 0 for no upgrades."""


class Config(PoolConfig):
    """The whole configuration. Its settings of a pool are those of the pool `default`."""

    bind: Annotated[Listed[field_types.ListenAddress], Field(min_length=1)] = ("0.0.0.0:8080",)
    """Public listeners: one address or several."""
    admin_bind: field_types.OptionalListenAddress = "127.0.0.1:8090"
    """The admin listener. An address that other machines can reach needs `admin.tokens`. Empty for no listener."""
    health_path: field_types.UrlPath = "/health"
    """Path of the health of the balancer itself on public listeners; empty for none."""
    live_path: field_types.UrlPath = "/live"
    """Path whose response shows that the process runs, regardless of backends; empty for none."""
    redis_url: field_types.RedisURL | None = None
    """The store that all processes share (docs/shared-state.md). Unset, gunicorn starts a private Valkey."""
    namespace: field_types.Namespace = "lbflask"
    """Prefix of all keys, so that several fleets can share one store."""
    tickets: Literal["leased", "strict"] = "leased"
    """`strict` takes each ticket from the store in one round trip; `leased` takes blocks for busy workers."""
    trusted_proxies: Listed[field_types.Network] = ()
    """Networks whose X-Forwarded-*, Forwarded, X-Real-IP … are used (docs/forwarding.md), others are dropped."""
    keep_forwarded: Listed[field_types.ClaimName] = ()
    """Fields such as `X-Forwarded-User` that pass from all peers, although they would be dropped otherwise."""
    forwarded: bool = False
    """Whether backends get a `Forwarded` field (RFC 7239) besides X-Forwarded-*."""
    via: field_types.ViaName = "lbflask"
    """The name in Via, in both directions (RFC 9110 section 7.6.3); empty for no Via."""
    access_log: OutputPath = "-"
    """The access log: a file, `-` for standard output, empty for no log."""
    access_log_format: field_types.LogFormat = "text"
    """`text`, `json`, or a custom line with `{status}` and other names in braces (docs/logging.md)."""
    hooks: Listed[str] = ()
    """Custom code (docs/hooks.md): `module:object`, the name of an entry point in `lbflask.hooks`, or `*` for all."""
    hook_budget: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.05
    """Maximum seconds of a hook per request."""
    metrics: bool = True
    """Whether the admin listener has `/metrics` (docs/metrics.md)."""
    error_log_format: Literal["text", "json"] = "text"
    """Format of the error log, whose file is `--error-logfile` of gunicorn: standard error by default."""
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
    """Routes, each a table `[[routes]]`. Without any, all requests go to the pool `default`."""
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
    """The types of tables with free names within a table, by key."""
    values = {
        name: get_args(field.annotation)[1]
        for name, field in kind.model_fields.items()
        if get_origin(field.annotation) is dict
    }
    return {name: value for name, value in values.items() if isinstance(value, type) and issubclass(value, BaseModel)}
