"""Every setting, once. The models check a value as they take it; `load` says where the value came from."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lbflask.core import model
from lbflask.core.health import Thresholds
from lbflask.core.http.target import BadTarget, check_host
from lbflask.core.retry import Policy

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def _comma_separated(value: Any) -> Any:
    """A list may be written as one string with commas, which is how the environment has to."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _listen_address(value: str) -> str:
    """`host:port`, `[v6]:port` or `unix:/path`."""
    if value.startswith("unix:"):
        if len(value) == len("unix:"):
            raise ValueError("a unix socket needs a path: unix:/run/lbflask.sock")
        return value
    host, colon, port = value.rpartition(":")
    try:
        check_host(value)
    except BadTarget:
        host = ""
    if not colon or not host:
        raise ValueError("must be host:port, such as 127.0.0.1:8080, or unix:/path")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"port {port!r} is not a number from 0 to 65535")
    return value


def _redis_url(value: str) -> str:
    """A URL of the kinds that the store understands."""
    if urlsplit(value).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return value


def _namespace(value: str) -> str:
    """Keys hold the namespace between braces and before a colon."""
    if not value or any(sign in value for sign in "{}: \t\r\n"):
        raise ValueError("must be a word without braces, colons or blanks")
    return value


def _url_path(value: str) -> str:
    if value and (not value.startswith("/") or any(sign <= " " or sign > "~" for sign in value)):
        raise ValueError("must be a path that begins with /, or empty")
    return value


def _via(value: str) -> str:
    if not value.isascii() or not all(sign.isalnum() or sign in "!#$%&'*+-.^_`|~" for sign in value):
        raise ValueError("must be a single word (RFC 9110 section 7.6.3), or empty for no Via")
    return value


def _network(value: Any) -> Any:
    """Parsed here, since a union of two types would tell of an IPv6 network that it is not an IPv4 one."""
    return ip_network(value) if isinstance(value, str) else value


ListenAddress = Annotated[str, AfterValidator(_listen_address)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Backend(_Section):
    """One server."""

    url: str
    """Where it listens: `http://host:port`."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:\[\]-]{1,64}$")
    """Its stable name, used in the store, the log and the command line; `host:port` unless set."""
    weight: int = Field(default=1, ge=0, le=256)
    """Its share of the requests, relative to the others; 0 takes none."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_url(self) -> Backend:
        self.to_model()
        return self

    def to_model(self) -> model.Backend:
        """The backend as the core knows it. Raises ValueError for a URL that can't be one."""
        split = urlsplit(self.url)
        if split.scheme != "http":
            raise ValueError(f"url {self.url!r}: the scheme must be http, as in http://10.0.0.1:8000")
        if split.path not in ("", "/") or split.query or split.fragment or split.username is not None:
            raise ValueError(f"url {self.url!r}: only scheme, host and port may be given")
        try:
            host, port = split.hostname, split.port
            check_host(split.netloc)
        except ValueError:
            raise ValueError(f"url {self.url!r}: the port is not a number from 1 to 65535") from None
        except BadTarget:
            raise ValueError(f"url {self.url!r}: the host is not a name or address") from None
        if not host:
            raise ValueError(f"url {self.url!r}: the host is missing")
        if port == 0:
            raise ValueError(f"url {self.url!r}: the port is not a number from 1 to 65535")
        port = port or 80
        shown = f"[{host}]" if ":" in host else host
        identity = f"{shown}:{port}"
        return model.Backend(self.name or identity, host, port, f"http://{identity}", self.weight)


class Health(_Section):
    """Active checks, made by `python -m lbflask.healthcheck`."""

    kind: Literal["tcp"] = "tcp"
    """What is checked: `tcp` is up when a connection can be made."""
    interval: Seconds = 10.0
    """Seconds between two checks of a backend."""
    fast_interval: Seconds | None = None
    """Seconds between checks while the outcome contradicts the known state; a fifth of `interval` unless set."""
    jitter: float = Field(default=10.0, ge=0, le=50)
    """Percent by which each interval varies, so that checks spread out."""
    timeout: Seconds = 2.0
    """Seconds a check may take."""
    rise: int = Field(default=2, ge=1, le=100)
    """Successes in a row that bring a backend up."""
    fall: int = Field(default=3, ge=1, le=100)
    """Failures in a row that take it down."""

    def thresholds(self) -> Thresholds:
        """The thresholds as the health machine takes them."""
        return Thresholds(self.rise, self.fall)

    @property
    def soon(self) -> float:
        """Seconds to the next check while in transition."""
        return self.fast_interval if self.fast_interval is not None else self.interval / 5


class Timeouts(_Section):
    """How long each step of a request may take."""

    connect: Seconds = 3.0
    """Seconds for a connection to a backend."""
    first_byte: Seconds = 60.0
    """Seconds from the request's last byte until the response's first."""
    between_bytes: Seconds = 60.0
    """Seconds of silence allowed within a backend's response, or while a backend takes no byte of a request."""
    client_head: Seconds = 10.0
    """Seconds a client may take for its request line and headers, from their first byte."""
    client_body: Seconds = 30.0
    """Seconds of silence allowed within a client's body, or while a client takes no byte of a response."""
    graceful: Seconds = 30.0
    """Seconds that requests in flight get to finish at a stop or reload."""


class Retries(_Section):
    """When a request is tried again, on another backend."""

    attempts: int = Field(default=2, ge=0, le=10)
    """Extra attempts for one request."""
    budget_percent: float = Field(default=20.0, ge=0, le=100)
    """Percent of a worker's active requests that may be on an extra attempt at once (at least 3 always may)."""

    def policy(self) -> Policy:
        """The policy as the retry table takes it."""
        return Policy(self.attempts, self.budget_percent)


class Limits(_Section):
    """What is refused from clients, to protect backends and workers."""

    body: int = Field(default=0, ge=0)
    """Bytes of a request body; larger ones are answered with 413. 0 sets no limit."""
    line: int = Field(default=8190, ge=256, le=8190)
    """Bytes of the request line (414)."""
    fields: int = Field(default=100, ge=1, le=32_768)
    """Header fields of a request (431)."""
    field_size: int = Field(default=8190, ge=256, le=65_536)
    """Bytes of one header field (431)."""


class Config(_Section):
    """The whole configuration."""

    bind: Annotated[tuple[ListenAddress, ...], BeforeValidator(_comma_separated), Field(min_length=1)] = (
        "0.0.0.0:8080",
    )
    """Where clients connect: one address or several."""
    admin_bind: Annotated[str, AfterValidator(lambda value: _listen_address(value) if value else value)] = (
        "127.0.0.1:8090"
    )
    """Where operators connect; loopback only. Empty opens none."""
    health_path: UrlPath = "/health"
    """Where the public listener answers for the balancer itself; empty leaves the path to the backends."""
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = None
    """The store that all processes share: redis://, rediss:// or unix://. Unset, gunicorn starts a private Valkey."""
    namespace: Annotated[str, AfterValidator(_namespace)] = "lbflask"
    """Prefix of all keys, so that several fleets can share one store."""
    backends: Annotated[tuple[Backend, ...], BeforeValidator(_comma_separated), Field(min_length=1)]
    """The servers of the pool `default`: URLs, or tables of `url`, `name` and `weight`."""
    strategy: Literal["round_robin"] = "round_robin"
    """How a backend is chosen."""
    tickets: Literal["leased", "strict"] = "leased"
    """`strict` makes a trip to the store for each request; `leased` lets a busy worker take several turns at once."""
    preserve_host: bool = True
    """Whether backends get the client's Host, or their own address."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_comma_separated)] = ()
    """Networks whose X-Forwarded-* fields are believed; those of all others are dropped."""
    via: Annotated[str, AfterValidator(_via)] = "lbflask"
    """The name written into Via, both ways (RFC 9110 section 7.6.3); empty writes none."""
    access_log: str = "-"
    """Where the access log goes: a file, `-` for standard output, empty for nowhere."""
    health: Health = Health()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
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
        if self.admin_bind and not _is_loopback(self.admin_bind):
            raise ValueError(f"admin_bind: {self.admin_bind!r} is not a loopback address (127.0.0.1, [::1], unix:)")
        if self.admin_bind in self.bind:
            raise ValueError(f"admin_bind: {self.admin_bind!r} is the public listener's address too")
        return self

    def pool(self) -> model.Pool:
        """The pool `default`."""
        return model.Pool("default", tuple(backend.to_model() for backend in self.backends), self.strategy)


def tables_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables within a table, by key."""
    return {
        name: field.annotation
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _is_loopback(address: str) -> bool:
    """Whether only this machine can reach it. A name is not, since it may come to mean another address."""
    if address.startswith("unix:"):
        return True
    try:
        return ip_address(address.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False
