"""All settings. The models validate the values; `load` adds the source of a value to an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, get_args, get_origin

from pydantic import BaseModel, Field, field_validator, model_validator

from lbflask.config import field_types
from lbflask.config.access_log import LogFieldsConfig, LogFilterConfig
from lbflask.config.admin import AdminConfig
from lbflask.config.admin_address import AdminAddress
from lbflask.config.auth import Auth, AuthConfig
from lbflask.config.bans import BanRuleConfig
from lbflask.config.error_pages import check_pages_used
from lbflask.config.field_types import Listed
from lbflask.config.listeners import ListenerConfig, check_binds, check_listeners, check_socket_mode
from lbflask.config.paths import OutputPath
from lbflask.config.pools import PoolConfig
from lbflask.config.rate_limits import RateLimitConfig
from lbflask.config.routes import RouteConfig, check_list, check_routes
from lbflask.config.switches import check_switches
from lbflask.config.tcp_pools import check_tcp_pools
from lbflask.config.tls import TLSConfig
from lbflask.config.tracing import TracingConfig
from lbflask.config.traffic import GlobalTrafficConfig, TrafficConfig, TrafficLevel, effective_traffic
from lbflask.config.units import SECONDS
from lbflask.config.unused_pools import check_used

#: The pool that the top level of the file configures.
DEFAULT_POOL = "default"


class Config(GlobalTrafficConfig, PoolConfig):
    """The whole configuration. Its settings of a pool are those of the pool `default`."""

    bind: Annotated[Listed[field_types.ListenAddress], Field(min_length=1)] = ("0.0.0.0:8080",)
    """Public listeners: one address or several. `[[listeners]]` replaces it where they differ."""
    listeners: tuple[ListenerConfig, ...] = ()
    """Public listeners that differ, each a table `[[listeners]]`, instead of `bind`."""
    admin_bind: field_types.OptionalListenAddress = "127.0.0.1:8090"
    """The admin listener. An address that other machines can reach needs `admin.tokens`. Empty for no listener."""
    instance: field_types.InstanceName | None = None
    """Name of this instance, unique in the fleet (docs/stopping.md). Unset, its host and address: web1/0.0.0.0:8080."""
    health_path: field_types.UrlPath = "/health"
    """Path of the balancer's own health on public listeners, unless a route names it; empty for none."""
    live_path: field_types.UrlPath = "/live"
    """Path whose response shows that the process runs, regardless of backends; empty for none."""
    redis_url: field_types.RedisURL | None = None
    """The store that all processes share (docs/shared-state.md). Unset, gunicorn starts a private Valkey."""
    namespace: field_types.Namespace = "lbflask"
    """Prefix of all keys, so that several fleets can share one store."""
    tickets: Literal["leased", "strict"] = "leased"
    """`strict` takes each ticket from the store in one round trip; `leased` takes blocks for busy instances."""
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
    """`text`, `json`, `combined`, or a custom line with `{status}` and other names in braces (docs/logging.md)."""
    hooks: Listed[str] = ()
    """Custom code (docs/hooks.md): `module:object`, the name of an entry point in `lbflask.hooks`, or `*` for all."""
    hook_budget: Annotated[float, SECONDS, Field(gt=0, le=10, allow_inf_nan=False)] = 0.05
    """Maximum seconds of a hook per request."""
    metrics: bool = True
    """Whether the admin listener has `/metrics` (docs/metrics.md)."""
    error_log_format: Literal["text", "json"] = "text"
    """Format of the error log, whose file is `--error-logfile` of gunicorn: standard error by default."""
    auth: Auth = None
    """Who may make requests (docs/how-to/authentication.md): `basic`, `forward` or `jwt`; unset, all. Routes differ."""
    access_log_fields: LogFieldsConfig = LogFieldsConfig()
    access_log_filter: LogFilterConfig = LogFilterConfig()
    admin: AdminConfig = AdminConfig()
    tls: TLSConfig = TLSConfig()
    tracing: TracingConfig = TracingConfig()
    pools: dict[field_types.PoolName, PoolConfig] = Field(default_factory=dict)
    """Further pools, each a table `[pools.NAME]`."""
    routes: tuple[RouteConfig, ...] = ()
    """Routes, each a table `[[routes]]`. Without any, all requests go to the pool `default`."""
    rate_limits: dict[field_types.RateLimitName, RateLimitConfig] = Field(default_factory=dict)
    """Rate limits, each a table `[rate_limits.NAME]` (docs/limits.md)."""

    bans: dict[field_types.RateLimitName, BanRuleConfig] = Field(default_factory=dict)
    """Rules that ban clients, each a table `[bans.NAME]` (docs/how-to/access.md)."""

    _check_list = field_validator("routes", mode="before")(check_list)

    @model_validator(mode="after")
    def _check_auth(self) -> Config:
        if self.auth is not None:
            self.auth.check("auth")
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        if not field_types.is_address(self.admin_bind):
            raise ValueError(
                f"admin_bind: {self.admin_bind!r} is a name; it must be an address such as 127.0.0.1, or unix:"
            )
        exposed = bool(self.admin_bind) and not field_types.is_loopback(self.admin_bind)
        self.admin.check("admin", exposed=self.admin_bind if exposed else "")
        check_socket_mode("admin.socket_mode", self.admin.socket_mode, self.admin_bind)
        self._check_listeners()
        if self.live_path and self.live_path == self.health_path:
            raise ValueError(f"live_path: {self.live_path!r} is health_path too")
        self.access_log_fields.check("access_log_fields", self.access_log_format)
        self.tls.check("tls")
        self.buffering.check("buffering")
        self.tls.acme.check("tls.acme", shared=self.redis_url is not None)
        if self.tls.acme.needs_plain_listener and all(listener.tls for listener in self.every_listener()):
            raise ValueError(
                "tls.acme.challenge: 'http-01' needs a listener without TLS, which clients reach at port 80: add "
                '[[listeners]] bind = "0.0.0.0:80" redirect = "https", and one with tls = true; or set "tls-alpn-01"'
            )
        self.backend_tls.check("backend_tls")
        self.check_traffic("")  # here, since the top level need not be a pool
        admin = AdminAddress(self.admin_bind)
        for name, table in self.every_pool().items():
            where = "" if table is self else f"pools.{name}."
            if table is not self:
                table.check_traffic(where)
            table.check(where)
            self.traffic(name).check_pool(where)
            for number, backend in enumerate(table.backends):
                if admin.is_backend(backend.to_model()):
                    raise ValueError(
                        f"{where}backends[{number}]: {backend.url!r} is the admin listener, {self.admin_bind!r}"
                    )
        labels = {listener.bind: listener.label for listener in self.every_listener()}
        reserved = {self.health_path, self.live_path}
        check_routes(self.routes, self.every_pool(), self.rate_limits, labels, reserved)
        self._check_certified_routes()
        check_used(self.every_listener(), self.every_pool(), self.routes)
        check_tcp_pools(self.listeners, self.every_pool(), self.routes)
        check_pages_used(self._levels_of_pages())
        check_switches(self._levels_by_key())
        for number, route in enumerate(self.routes):
            route.check_body(f"routes[{number}]", (self.response_headers, route.response_headers))
            for name in route.served_by() or ("",):
                self.traffic(name, route).check_effective(f"routes[{number}].")
        in_use = {route.rate_limit for route in self.routes}
        for name, limit in self.rate_limits.items():
            if not limit.everywhere and name not in in_use:
                raise ValueError(f"rate_limits.{name}: no route refers to it; `everywhere = true` applies it to all")
        return self

    def _levels_of_pages(self) -> Iterator[tuple[str, Collection[int], str | None]]:
        yield "", self.error_pages, self.error_pages_for
        for name, table in self.pools.items():
            yield f"pools.{name}.", table.error_pages, table.error_pages_for
        for number, route in enumerate(self.routes):
            yield f"routes[{number}].", route.error_pages, route.error_pages_for

    def _levels_by_key(self) -> Iterator[tuple[str, TrafficConfig]]:
        yield "", self
        yield from ((f"pools.{name}.", table) for name, table in self.pools.items())
        yield from ((f"routes[{number}].", route) for number, route in enumerate(self.routes))

    def _check_listeners(self) -> None:
        if self.listeners and "bind" in self.model_fields_set:
            tables = "".join(f" [[listeners]] bind = {bind!r}" for bind in self.bind)
            raise ValueError(f"bind: there are [[listeners]] too; leave bind out, and write instead:{tables}")
        check_binds(self.addresses, "listeners[{}].bind" if self.listeners else "bind[{}]")
        check_listeners(self.listeners, certificate=next(iter(self.tls.sources), ""))
        if any(field_types.same_listener(self.admin_bind, one.bind) for one in self.every_listener()):
            raise ValueError(f"admin_bind: {self.admin_bind!r} is the public listener's address too")

    def _check_certified_routes(self) -> None:
        if any(listener.client_certificates for listener in self.listeners):
            return
        for number, route in enumerate(self.routes):
            if route.client_certificate:
                raise ValueError(
                    f"routes[{number}].client_certificate: no listener asks clients for certificates; set "
                    'client_certificates = "optional" and client_ca in one of [[listeners]]'
                )

    def every_listener(self) -> tuple[ListenerConfig, ...]:
        """The public listeners: those of `listeners`, else one for each address of `bind`."""
        if self.listeners:
            return self.listeners
        has_tls = bool(self.tls.sources)
        return tuple(ListenerConfig(bind=address, tls=has_tls) for address in self.bind)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the public listeners."""
        return tuple(listener.bind for listener in self.every_listener())

    def every_pool(self) -> dict[str, PoolConfig]:
        """The pools by name. The top level is one unless it has no backends and there are others."""
        default = {} if self.pools and not self.has_backends else {DEFAULT_POOL: self}
        return {**default, **self.pools}

    def traffic_levels(self, pool: str = "", route: RouteConfig | None = None) -> list[TrafficLevel]:
        """The tables that set what belongs to pools and routes, from the top level on. Without a pool: those of a
        request that goes to none.
        """
        levels = [TrafficLevel("top level", self)]
        if pool and pool != DEFAULT_POOL:
            levels.append(TrafficLevel(f"pools.{pool}", self.pools[pool]))
        if route is not None:
            levels.append(TrafficLevel(f"routes.{route.label}", route))
        return levels

    def auth_of(self, route: RouteConfig | None) -> AuthConfig | None:
        """Who may make the requests of the route, or those without one; None for all."""
        found = self.auth if route is None or route.auth is None else route.auth
        return None if found is None or found.open else found

    def traffic(self, pool: str = "", route: RouteConfig | None = None) -> GlobalTrafficConfig:
        """The effective settings for requests by this route to this pool."""
        return effective_traffic(self.traffic_levels(pool, route))


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
