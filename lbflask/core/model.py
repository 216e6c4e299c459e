"""The words of the project as frozen values. No behaviour beyond what a value says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Health(StrEnum):
    """What active checks say of a backend."""

    CHECKING = "checking"  #: configured, but no check has finished yet
    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  #: nobody checks, or the checker has fallen silent


class Mode(StrEnum):
    """What operators want of a backend."""

    SERVING = "serving"
    DRAINING = "draining"  #: it gets no new requests, but keeps those of its sticky sessions
    OFF = "off"


class Address(NamedTuple):
    """Where and how a backend is reached: `host` and `port` by `http` or `https`, or the socket at `path` by `unix`."""

    scheme: str
    host: str
    port: int
    path: str = ""


#: The largest weight of a backend.
MOST_WEIGHT = 256
#: Characters of a secret that signs cookies: less could be guessed, and then anybody could sign.
LEAST_SECRET = 16

#: The port that a scheme implies.
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Backend:
    """One server. Its identity is `id` (a name, `host:port`, or the name of a socket) and never depends on its weight.

    `authority` is what stands in Host when the backend is called by its own name: without the port that its scheme
    implies (RFC 9110 §4.2.3), and `localhost` for a unix socket. A `backup` serves when no other backend can.
    `slow_start` is for how many seconds it warms up, where that differs from its pool.
    `max_connections` requests may be at it at once, from the whole fleet; 0 sets no bound.
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
        """Work out once what each request asks for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        implied = self.scheme == "unix" or self.port == DEFAULT_PORTS.get(self.scheme)
        object.__setattr__(self, "address", Address(self.scheme, self.host, self.port, self.path))
        object.__setattr__(self, "authority", host if implied else f"{host}:{self.port}")


@dataclass(frozen=True, slots=True)
class ActiveHealth:
    """The `active` column of a backend's status; the leading checker is its only writer.

    `streak` counts the latest observations that contradict `health`; `since` is when `health` last changed, in
    seconds of the store's clock.
    """

    health: Health = Health.CHECKING
    streak: int = 0
    reason: str = ""
    since: float = 0.0


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


@dataclass(frozen=True, slots=True)
class Override:
    """What operators have set for one backend at run time, over the configuration; it survives restarts.

    `weight` is None where the configured one holds. `added` is a backend that is not configured; `removed` takes out
    one that is. `since` is when it last came into service by an operator's word, in seconds of the store's clock; 0 for
    never.
    """

    mode: Mode = Mode.SERVING
    weight: int | None = None
    added: Backend | None = None
    removed: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the fleet knows of a pool at one version: the statuses of its backends, and which there are besides those
    that are configured.

    `heartbeat` is the age in seconds of the checker's latest word when the snapshot was read (None: never a word),
    and `interval` the seconds it had promised between words. `now` is when it was read, by the store's clock.
    `secret` is what the fleet signs the cookies of sticky sessions with, where it has to agree on one.
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


NOTHING_KNOWN = Snapshot()

#: Requests in flight by backend, where nobody has counted any.
NO_LOADS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Candidate:
    """An eligible backend with the weight it has now; `rank` is its place in the configuration."""

    backend: Backend
    weight: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class StickyCookie:
    """The cookie by which a session keeps its backend: its name, and its attributes (RFC 6265 §4.1.2).

    With `max_age`, in seconds, a choice of backend holds for so long; without, as long as the client keeps the cookie.
    `secure` None is for requests that came by https. Of the secrets the first signs; without any it is the one that
    the fleet shares through the store.
    """

    name: str
    path: str = "/"
    domain: str = ""
    max_age: float | None = None
    secure: bool | None = None
    http_only: bool = True
    same_site: str = "lax"
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of backends with one strategy. `fails_open` tells what happens when active checks find all down.

    `hash_key` names what of a request a strategy that hashes goes by (core/http/request_key.py). With a `load_factor`
    no backend gets more than so many times its share of the requests in flight. A backend that comes into service warms
    up for `slow_start` seconds (core/slow_start.py). With a `sticky` cookie sessions keep their backend
    (core/sticky_cookie.py).
    """

    name: str
    backends: tuple[Backend, ...]
    strategy: str = "round_robin"
    fails_open: bool = False
    hash_key: str = "client"
    load_factor: float | None = None
    slow_start: float = 0.0
    sticky: StickyCookie | None = None
