"""The domain model as frozen values, without behaviour beyond derived attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from lbflask.core.failure_causes import FailureCause
from lbflask.core.operator_note import OperatorNote


class Health(StrEnum):
    """The state of a backend by active checks."""

    CHECKING = "checking"  #: configured, but no check has finished yet
    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  #: no checker runs, or its heartbeat has stopped


class Mode(StrEnum):
    """The mode that operators set for a backend."""

    SERVING = "serving"
    DRAINING = "draining"  #: it gets no new requests, but keeps those of its sticky sessions
    OFF = "off"


class Address(NamedTuple):
    """Where and how a backend is reached: `host` and `port` by `http`, `https` or `tcp`, or the socket at `path` by
    `unix`; `uwsgi` by either.
    """

    scheme: str
    host: str
    port: int
    path: str = ""


#: The largest weight of a backend.
MOST_WEIGHT = 256
#: Characters of a secret that signs cookies: a shorter one could be guessed.
LEAST_SECRET = 16

#: The port that a scheme implies.
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Backend:
    """One server. Its identity is `id` (a name, `host:port`, or the name of a socket) and never depends on its weight.

    `authority` is the value of Host with the backend's own name: without the default port of its scheme (RFC 9110
    §4.2.3), and `localhost` for a unix socket. The `scheme` is http, https, unix (HTTP over the socket at `path`),
    uwsgi, by host or by path, or tcp, without HTTP. A `backup` serves if no other backend can. `slow_start` is the
    duration of its slow start in seconds, if that differs from its pool. `max_connections` bounds the requests of the
    whole fleet to it at once; 0 sets no bound.
    """

    id: str
    host: str
    port: int
    url: str
    weight: int = 1
    scheme: str = "http"
    path: str = ""
    backup: bool = False
    slow_start: float | None = None
    max_connections: int = 0
    address: Address = field(init=False, repr=False, compare=False)
    authority: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute once what each request needs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        implied = bool(self.path) or self.port == DEFAULT_PORTS.get(self.scheme)
        object.__setattr__(self, "address", Address(self.scheme, self.host, self.port, self.path))
        object.__setattr__(self, "authority", host if implied else f"{host}:{self.port}")


@dataclass(frozen=True, slots=True)
class ActiveHealth:
    """The `active` column of a backend's status; the leading checker is its only writer.

    `streak` counts the latest observations that contradict `health`; `since` is when `health` last changed, in
    seconds of the store's clock. `cause` belongs to the reason, that of the latest failure. `certificate_expires` is
    that of the certificate which the backend presented last to checks, in seconds since the epoch; 0 if unknown.
    """

    health: Health = Health.CHECKING
    streak: int = 0
    reason: str = ""
    since: float = 0.0
    cause: FailureCause = FailureCause.UNKNOWN
    certificate_expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Ejection:
    """The `ejected` column of a backend's status; workers write it, through scripts. Seconds of the store's clock.

    While `out`, it has been ejected since `since`, and may be probed from `until` on; else it came back at `until`.
    `times` counts its ejections in a row.
    """

    out: bool
    times: int
    since: float
    until: float


#: Seconds of a closing: a day.
MAX_CLOSING: Final = 86_400


@dataclass(frozen=True, slots=True)
class Closing:
    """Long connections to a backend end from `since` on, within so many seconds, by the store's clock."""

    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Override:
    """What operators have set for one backend at run time, over the configuration; it survives restarts.

    `weight` is None if the configured one holds. `added` is a backend that is not configured; `removed` takes out one
    that is. `since` is when an operator last put it into service, in seconds of the store's clock; 0 for never. Each
    note is about what differs from the configuration: the mode, the weight, the membership. With `closing` the tunnels
    and event streams of a backend out of service end.
    """

    mode: Mode = Mode.SERVING
    weight: int | None = None
    added: Backend | None = None
    removed: bool = False
    since: float = 0.0
    mode_note: OperatorNote | None = None
    weight_note: OperatorNote | None = None
    member_note: OperatorNote | None = None
    closing: Closing | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The shared facts of a pool at one version: the states of its backends, and the backends that are not configured.

    `heartbeat` is the age in seconds of the checker's last heartbeat when the snapshot was read (None: no heartbeat
    yet), `interval` the announced seconds between heartbeats. `now` is the time of the read, by the store's clock.
    `secret` signs the cookies of sticky sessions, if no secret is configured.
    """

    version: int = 0
    active: Mapping[str, ActiveHealth] = field(default_factory=dict)
    heartbeat: float | None = None
    interval: float = 0.0
    ejected: Mapping[str, Ejection] = field(default_factory=dict)
    now: float = field(default=0.0, compare=False)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    discovered: tuple[Backend, ...] = ()
    secret: str = field(default="", repr=False)


NOTHING_KNOWN: Final = Snapshot()

#: Requests in flight by backend, where none are counted.
NO_LOADS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Candidate:
    """An eligible backend with its current weight; `rank` is its position in the configuration."""

    backend: Backend
    weight: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class StickyCookie:
    """The cookie by which a session keeps its backend: its name, and its attributes (RFC 6265 §4.1.2).

    A session keeps its backend for `max_age` seconds; without it, as long as the client keeps the cookie. `secure` None
    sets Secure for requests that came by https. The first of the secrets signs; without secrets the fleet shares one
    through the store. `in_header`: requests and responses have it in a header field of that name instead.
    """

    name: str
    path: str = "/"
    domain: str = ""
    max_age: float | None = None
    secure: bool | None = None
    http_only: bool = True
    same_site: str = "lax"
    secrets: tuple[str, ...] = field(default=(), repr=False)
    in_header: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of backends with one strategy. `fails_open`: if active checks find all backends down, all serve.

    `hash_key` has the request keys of strategies that hash (core/http/request_key.py). `load_factor` limits a backend
    to that multiple of its share of the requests in flight. `slow_start` is the duration in seconds
    (core/slow_start.py). With a `sticky` cookie sessions keep their backend (core/sticky_cookie.py).
    """

    name: str
    backends: tuple[Backend, ...]
    strategy: str = "round_robin"
    fails_open: bool = False
    hash_key: str = "client"
    load_factor: float | None = None
    slow_start: float = 0.0
    sticky: StickyCookie | None = None
