"""Settings that belong to pools and routes: a default at the top level, overridden per pool, overridden per route, key
by key (docs/inheritance.md).

Three classes hold them, so that the type of a table says which keys it has:

- `TrafficConfig` has the keys that the top level, pools and routes have, `PoolTrafficConfig` those that only the top
  level and pools have. Each key is None, or a table of such keys, where it is unset.
- `GlobalTrafficConfig` narrows each key to a type without None, and gives the default. Effective values have this type.

To add a key: declare it in `TrafficConfig` (or in a table of its own) as `X | None = None` with its docstring, and in
`GlobalTrafficConfig` (or in the narrowed table) as `X = default`, without one. A new table needs two classes, such as
`TrafficTimeoutsConfig` and `TimeoutsConfig`. Keys of mappings are merged; lists are replaced. A rule that combines the
levels in another way, as edits of header fields that apply one after the other, uses `Config.traffic_levels`. Consumers
read `Config.traffic(pool, route)`: `proxy_settings` in `lbflask/wiring/` is the place where it becomes a value of the
data plane.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PrivateAttr

from lbflask.config.access import AccessConfig, TrafficAccessConfig
from lbflask.config.buffering import BufferingConfig, TrafficBufferingConfig
from lbflask.config.compression import CompressionConfig, TrafficCompressionConfig
from lbflask.config.cors import CorsConfig, TrafficCorsConfig
from lbflask.config.error_pages import read_page
from lbflask.config.field_types import Listed, Seconds, SecondsOrZero, Section, is_host, required
from lbflask.config.header_edits import HeaderEditsConfig, ResponseEditsConfig
from lbflask.config.paths import FilePath
from lbflask.config.static_files import check_root
from lbflask.config.tls import BackendTLSConfig, TrafficBackendTLSConfig
from lbflask.config.units import Bytes
from lbflask.core.access_list import NetworkList
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.retry import RetryPolicy

RetriedStatus = Annotated[int, Field(ge=400, le=599)]
HostName = Annotated[
    str, required(lambda host: not host or is_host(host), "must be a name or address, with a port or without")
]


def _by_key(value: Any) -> Any:
    """A table may be written as one string, `502=bad.html,503=down.html`, as in the environment."""
    if isinstance(value, str):
        parts = (part.partition("=") for part in value.split(",") if part.strip())
        return {key.strip(): path.strip() for key, _, path in parts}
    return value


InternalPrefix = Annotated[
    str,
    required(
        re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,:@-]+/)*[A-Za-z0-9._~!$&'()*+,:@-]*").fullmatch,
        "must be a path that begins with /, such as /protected/; its value is the directory",
    ),
]


class TrafficTimeoutsConfig(Section):
    """Time limits of the steps of a request to a backend."""

    connect: Seconds | None = None
    """Seconds to connect to a backend: resolution of its name, all of its addresses, and TLS together."""
    first_byte: Seconds | None = None
    """Seconds from the last byte of the request to the first byte of the response."""
    between_bytes: Seconds | None = None
    """Seconds without a byte of a backend's response, or without progress of a request to it."""
    request: SecondsOrZero | None = None
    """Seconds for a whole request, until the last byte of its response; 0 or unset sets no limit."""
    per_attempt: SecondsOrZero | None = None
    """Seconds of an attempt until the response's head; then another backend is tried where possible. 0, unset: none."""
    tunnel_idle: Seconds | None = None
    """Seconds without a byte in either direction until an upgraded connection (WebSocket) is closed."""


class TimeoutsConfig(TrafficTimeoutsConfig):
    """Time limits of the steps of a request."""

    connect: Seconds = 3.0
    first_byte: Seconds = 60.0
    between_bytes: Seconds = 60.0
    tunnel_idle: Seconds = 3600.0
    client_head: Seconds = 10.0
    """Seconds for the request line and the header fields of a client, from their first byte."""
    client_body: Seconds = 30.0
    """Seconds without a byte of a client's body, or without progress of a response to it."""
    graceful: Seconds = 30.0
    """Seconds for requests in flight to finish at a stop or reload."""
    shutdown_delay: SecondsOrZero = 0.0
    """Seconds after SIGTERM in which `/health` responds 503 and requests are accepted (docs/stopping.md)."""


class TrafficRetriesConfig(Section):
    """Retries of requests, on other backends."""

    attempts: Annotated[int, Field(ge=0, le=10)] | None = None
    """Maximum retries of one request."""
    budget_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """Maximum extra attempts of all workers, in percent of the requests to the pool; ten per second always may be."""
    statuses: Listed[RetriedStatus] | None = None
    """Statuses of responses, such as 503, after which another backend is tried if the request can be repeated. The
    response stays the client's unless another backend has a better one."""
    hedge: Literal["off", "p90", "p95", "p99"] | None = None
    """`p95`: a request without a body that waits longer for a first byte than 95 % of the latest ones goes to another
    backend too, and the first good response is passed on. These are at most 2 % of the requests (docs/hedging.md)."""


class RetriesConfig(TrafficRetriesConfig):
    """Retries of requests, on other backends."""

    attempts: int = Field(default=2, ge=0, le=10)
    budget_percent: float = Field(default=20.0, ge=0, le=100)
    statuses: Listed[RetriedStatus] = ()
    hedge: Literal["off", "p90", "p95", "p99"] = "off"

    def policy(self) -> RetryPolicy:
        """The policy as a value of the core."""
        hedge = 0.0 if self.hedge == "off" else int(self.hedge[1:]) / 100
        return RetryPolicy(self.attempts, self.budget_percent, statuses=frozenset(self.statuses), hedge=hedge)


class TrafficLimitsConfig(Section):
    """Limits of requests."""

    body: Annotated[Bytes, Field(ge=0)] | None = None
    """Maximum bytes of a request body (413). 0 for no limit."""


class LimitsConfig(TrafficLimitsConfig):
    """Limits for clients, which protect backends and workers."""

    body: Bytes = Field(default=0, ge=0)
    line: Bytes = Field(default=8190, ge=256, le=8190)
    """Maximum bytes of the request line (414)."""
    fields: int = Field(default=100, ge=1, le=32_768)
    """Maximum header fields of a request (431)."""
    field_size: Bytes = Field(default=8190, ge=256, le=65_536)
    """Maximum bytes of one header field (431)."""
    tunnels: int = Field(default=1000, ge=0, le=100_000)
    """Maximum upgraded connections (WebSocket) of a worker; 0 for no upgrades."""
    per_client: int = Field(default=0, ge=0, le=1_000_000)
    """Maximum requests and tunnels in flight of a client address (IPv6: its /64) at a worker (429); 0 for no limit."""
    unsent: Bytes = Field(default=262_144, ge=0, le=1 << 30)
    """Bytes that the kernel takes for a client before it can send them; 0 for as many as its buffers hold."""


class TrafficConfig(Section):
    """The settings that the top level, pools and routes have. An unset one is inherited."""

    preserve_host: bool | None = None
    """Whether backends get the client's Host instead of their own address."""
    host: HostName | None = None
    """The Host that backends get, whatever `preserve_host` says; empty for none."""
    error_pages: Annotated[dict[Annotated[int, Field(ge=400, le=599)], FilePath], BeforeValidator(_by_key)] = Field(
        default_factory=dict
    )
    """Files with the bodies of local replies, by status: `{ 503 = "down.html" }`."""
    error_pages_for: Literal["local_replies", "all"] | None = None
    """`all`: responses of backends with these statuses get the pages too, unless the client accepts JSON."""
    internal_files: Annotated[dict[InternalPrefix, FilePath], BeforeValidator(_by_key)] = Field(default_factory=dict)
    """Directories whose files backends may name instead of a body, by prefixes: `{ "/protected/" = "private" }`."""
    timeouts: TrafficTimeoutsConfig = TrafficTimeoutsConfig()
    retries: TrafficRetriesConfig = TrafficRetriesConfig()
    limits: TrafficLimitsConfig = TrafficLimitsConfig()
    access: TrafficAccessConfig = TrafficAccessConfig()
    buffering: TrafficBufferingConfig = TrafficBufferingConfig()
    compression: TrafficCompressionConfig = TrafficCompressionConfig()
    cors: TrafficCorsConfig = TrafficCorsConfig()
    request_headers: HeaderEditsConfig = HeaderEditsConfig()
    response_headers: ResponseEditsConfig = ResponseEditsConfig()
    _pages: Mapping[int, ErrorPage] = PrivateAttr(default_factory=dict)
    _networks: Mapping[str, NetworkList] = PrivateAttr(default_factory=dict)

    @property
    def pages(self) -> Mapping[int, ErrorPage]:
        """The error pages, as read during validation; those of an effective value are of all levels."""
        return self._pages

    @property
    def networks(self) -> Mapping[str, NetworkList]:
        """The networks of the files that `access` names, by their texts there, in the same way."""
        return self._networks

    def check_traffic(self, where: str) -> None:
        """Raises ValueError, which names the setting after `where` (empty, or ending in a dot)."""
        self._pages = {
            status: read_page(f"{where}error_pages.{status}", path) for status, path in self.error_pages.items()
        }
        self._networks = self.access.read_lists(f"{where}access")
        for prefix, path in self.internal_files.items():
            check_root(f"{where}internal_files.{prefix}", path)
        self.request_headers.check(f"{where}request_headers")
        self.response_headers.check(f"{where}response_headers")

    def set_traffic(self) -> list[str]:
        """The keys of TrafficConfig that are set here."""
        return [key for key in TrafficConfig.model_fields if is_set(getattr(self, key))]


class PoolTrafficConfig(TrafficConfig):
    """The settings that the top level and pools have. An unset one is inherited."""

    backend_keepalive: Seconds | None = None
    """Seconds for which a connection to a backend is kept for reuse without a request (docs/sizing.md)."""
    max_idle_connections: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Maximum connections without a request that a worker keeps to one backend; 0 for a connection per request."""
    backend_max_age: Seconds | None = None
    """Seconds after which a connection to a backend is not reused, so that changes of its name in DNS take effect."""
    backend_max_requests: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """Requests after which a connection to a backend is closed; 0 for no limit."""
    backend_tls: TrafficBackendTLSConfig = TrafficBackendTLSConfig()


class GlobalTrafficConfig(PoolTrafficConfig):
    """The same settings with their defaults: those of the top level, and effective ones."""

    preserve_host: bool = True
    host: HostName = ""
    error_pages_for: Literal["local_replies", "all"] = "local_replies"
    backend_keepalive: Seconds = 60.0
    max_idle_connections: int = Field(default=512, ge=0, le=100_000)
    backend_max_age: Seconds = 3600.0
    backend_max_requests: int = Field(default=0, ge=0, le=1_000_000_000)
    timeouts: TimeoutsConfig = TimeoutsConfig()
    retries: RetriesConfig = RetriesConfig()
    limits: LimitsConfig = LimitsConfig()
    access: AccessConfig = AccessConfig()
    buffering: BufferingConfig = BufferingConfig()
    compression: CompressionConfig = CompressionConfig()
    cors: CorsConfig = CorsConfig()
    backend_tls: BackendTLSConfig = BackendTLSConfig()

    def check_effective(self, where: str) -> None:
        """Raises ValueError, which names the setting after `where`, for settings of several levels that exclude each
        other.
        """
        self.cors.check(f"{where}cors")
        self.compression.check(f"{where}compression")

    def check_pool(self, where: str) -> None:
        """The same, for settings that only pools have."""
        self.check_effective(where)
        self.backend_tls.check(f"{where}backend_tls")


class TrafficLevel(NamedTuple):
    """A table that sets some of these settings: "top level", `pools.NAME` or `routes.NAME`."""

    origin: str
    table: TrafficConfig


class EffectiveSetting(NamedTuple):
    """The value of a key such as `timeouts.connect`, with the origin of it: that of a level, or "default"."""

    key: str
    value: Any
    origin: str


def effective_traffic(levels: Sequence[TrafficLevel]) -> GlobalTrafficConfig:
    """The settings under these levels, of which the first is the top level. Each key has the value of the last level
    that sets it.
    """
    top = levels[0].table
    values = {key: getattr(top, key) for key in GlobalTrafficConfig.model_fields}
    for _, table in levels[1:]:
        for key in PoolTrafficConfig.model_fields.keys() & type(table).model_fields.keys():
            values[key] = _merged(values[key], getattr(table, key))
    found = GlobalTrafficConfig.model_construct(**values)
    found._pages = {status: page for level in levels for status, page in level.table.pages.items()}
    found._networks = {text: found for level in levels for text, found in level.table.networks.items()}
    return found


def effective_settings(levels: Sequence[TrafficLevel], *, of_pool: bool = True) -> Iterator[EffectiveSetting]:
    """The settings under these levels, each with its origin; with `of_pool` also those that only pools have."""
    kind = PoolTrafficConfig if of_pool else TrafficConfig
    return _with_origins("", kind, effective_traffic(levels), levels)


def settings_of(table: Section, origin: str) -> Iterator[EffectiveSetting]:
    """The settings of a table that inherits nothing; `origin` is that of those which are set."""
    return _with_origins("", type(table), table, [(origin, table)])


def is_set(value: Any) -> bool:
    """Whether a setting, or one of those in a table of them, is not inherited."""
    if isinstance(value, Section):
        return any(is_set(getattr(value, key)) for key in type(value).model_fields)
    return bool(value) if isinstance(value, Mapping) else value is not None


def _merged(inherited: Any, specific: Any) -> Any:
    if not is_set(specific):
        return inherited
    if isinstance(specific, Section):
        changes = {key: _merged(getattr(inherited, key), getattr(specific, key)) for key in type(specific).model_fields}
        return inherited.model_copy(update=changes)
    return {**inherited, **specific} if isinstance(specific, Mapping) else specific


def _with_origins(
    where: str, kind: type[Section], found: Any, given: Sequence[tuple[str, Section]]
) -> Iterator[EffectiveSetting]:
    """The effective settings of a table, whose keys are those of `kind`; `given` are the tables of the levels."""
    for name, field in kind.model_fields.items():
        key, value = f"{where}{name}", getattr(found, name)
        inner = [(origin, getattr(table, name)) for origin, table in given if name in table.model_fields_set]
        if isinstance(value, HeaderEditsConfig):
            yield from _every_edit(f"{key}.", value, inner)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _with_origins(f"{key}.", field.annotation, value, inner)
        elif isinstance(value, Mapping) and value:
            for one, item in value.items():
                yield EffectiveSetting(f"{key}.{one}", item, _last(origin for origin, table in inner if one in table))
        else:
            yield EffectiveSetting(key, value, _last(origin for origin, one in inner if one is not None))


def _every_edit(where: str, found: Section, given: Sequence[tuple[str, Section]]) -> Iterator[EffectiveSetting]:
    """The changes to header fields of all levels, which apply in this order: a key may be there several times."""
    for name in type(found).model_fields:
        values = [(origin, getattr(table, name)) for origin, table in given if is_set(getattr(table, name))]
        if not values:
            yield EffectiveSetting(f"{where}{name}", getattr(found, name), "default")
        for origin, value in values:
            items = value.items() if isinstance(value, Mapping) else ()
            yield from (EffectiveSetting(f"{where}{name}.{one}", item, origin) for one, item in items)
            if not isinstance(value, Mapping):
                yield EffectiveSetting(f"{where}{name}", value, origin)


def _last(origins: Iterable[str]) -> str:
    found = "default"
    for origin in origins:
        found = origin
    return found
