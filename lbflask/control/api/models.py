"""What the admin API says and takes. These models make the answers, and the schemas of the OpenAPI document."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lbflask.core.admin_tokens import Role
from lbflask.core.fleet_events import Kind
from lbflask.core.model import MOST_WEIGHT, Health, Mode

#: Ids of events, as the store makes them.
EVENT_ID = r"^[0-9]{1,19}-[0-9]{1,19}$"


def _integral(value: Any) -> Any:
    """JSON has one kind of numbers: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Weight = Annotated[int, BeforeValidator(_integral), Field(ge=0, le=MOST_WEIGHT)]


class Model(BaseModel):
    """A value of the API. Times are in seconds, moments in seconds since the epoch by the store's clock."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)


class Status(StrEnum):
    """How the balancer is, as `GET /health` has it."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING_OPEN = "failing_open"
    PARTLY_DOWN = "partly_down"
    DOWN = "down"


class State(StrEnum):
    """How a backend is, in one word."""

    UP = "up"
    STANDBY = "standby"
    IDLE = "idle"
    CHECKING = "checking"
    UNKNOWN = "unknown"
    DOWN = "down"
    EJECTED = "ejected"
    DRAINING = "draining"
    OFF = "off"


class Origin(StrEnum):
    """Where a backend comes from."""

    CONFIGURED = "configured"
    DISCOVERED = "discovered"
    ADDED = "added"


class Checked(Model):
    """What active checks say."""

    state: Health
    reason: str
    since: float | None
    """When it last changed; null if it is not known."""
    streak: int
    """Checks in a row that contradict the state."""


class Ejected(Model):
    """An ejection by requests that failed."""

    since: float
    until: float
    """When a request may probe the backend."""
    times: int
    """Ejections in a row."""


class BackendView(Model):
    """A backend of a pool. Numbers of requests are the fleet's, of the last ten seconds."""

    pool: str
    id: str
    url: str
    origin: Origin
    state: State
    reason: str
    """Why it is in that state."""
    serving: bool
    """Whether it gets new requests, or would if it were its turn."""
    mode: Mode
    weight: int
    """The weight in effect."""
    usual_weight: int
    """The weight without what operators have set."""
    backup: bool
    overridden: bool
    """Whether operators have set anything."""
    etag: str
    """Of what operators have set; for `If-Match`."""
    health: Checked
    ejection: Ejected | None
    in_flight: int
    requests_per_second: float
    error_share: float | None
    """Of the attempts; null without any."""
    p50: float | None
    """Seconds until a response's head had come; an estimate from a sample, null without one."""
    p99: float | None


class CheckerView(Model):
    """The checks of a pool."""

    leader: str
    """The checker that leads; empty if none does."""
    heartbeat: float | None
    """Seconds since its latest word; null if it has never spoken."""
    silent: bool
    """Whether it no longer counts: all backends are then taken for healthy, until requests fail."""


class PoolView(Model):
    """A pool."""

    name: str
    strategy: str
    serving: int
    """Backends that serve."""
    overlooks: str
    """What is overlooked for any backend to serve: empty, `ejected` or `all`."""
    removed: list[str]
    """Configured or discovered backends that operators have removed."""
    checker: CheckerView
    backends: list[BackendView]


class WorkerView(Model):
    """A worker process."""

    id: str
    pid: int
    heartbeat: float
    """Seconds since its latest beat."""
    started: float | None
    in_flight: int
    requests_per_second: float
    clock_ahead: float | None
    """Seconds by which its clock is ahead of the store's, about; null while it is not known."""


class InstanceView(Model):
    """A gunicorn with its workers."""

    name: str
    host: str
    version: list[str]
    """Of lbflask; more than one during an upgrade."""
    config: list[str]
    """What its configuration hashes to; more than one during a reload."""
    workers: list[WorkerView]


class StoreView(Model):
    """The store that all share."""

    connected: bool
    why: str
    """Why it is out of reach."""


class FleetView(Model):
    """The fleet at a glance."""

    status: Status
    at: float
    """When this was read."""
    stale: bool
    """Whether this is what was last known, since the store is out of reach."""
    answered_by: str
    """The instance that answered."""
    store: StoreView
    in_flight: int
    requests_per_second: float
    instances: list[InstanceView]


class StateView(Model):
    """All of it: what the dashboard shows."""

    fleet: FleetView
    pools: list[PoolView]


class PoolList(Model):
    """The pools."""

    pools: list[PoolView]


class BackendList(Model):
    """The backends of a pool."""

    backends: list[BackendView]


class EventView(Model):
    """Something that happened in the fleet."""

    id: str
    at: float
    kind: Kind
    what: str
    pool: str
    backend: str
    reason: str
    actor: Annotated[str, Field(serialization_alias="who")]


class EventPage(Model):
    """Events, the latest first."""

    events: list[EventView]
    before: str | None
    """What to ask for next, to see earlier ones; null at the end."""


class EventQuery(Model):
    """Which events."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """How many at most."""
    before: Annotated[str, Field(pattern=EVENT_ID)] | None = None
    """Only those before the one with this id."""


class ConfigurationView(Model):
    """The configuration in effect. Secrets are `***`."""

    version: str
    """What it hashes to."""
    instance: str
    """The instance that has it."""
    settings: dict[str, Any]


class StandingView(Model):
    """A backend that may serve."""

    backend: str
    url: str
    weight: int
    warm_percent: int
    """Of its weight it has so many percent while it warms up."""
    backup: bool


class LeftOutView(Model):
    """A backend that can't serve."""

    backend: str
    why: str


class PlanView(Model):
    """What a pool would do with the request."""

    pool: str
    strategy: str
    share: float
    """Percent of the route's requests that the pool gets, where chance decides."""
    key: str | None
    """What it hashes by; null for a turn."""
    home: str
    """The backend that has the session of the request; empty if none has."""
    overlooked: str
    """What is overlooked for any backend to serve: empty, `ejected` or `all`."""
    candidates: list[StandingView]
    left_out: list[LeftOutView]
    plans: list[list[str]]
    """Orders of backends, best first; several where requests take turns."""


class ExplanationView(Model):
    """Where a request would go, and why. Nothing is sent, and no turn is taken."""

    route: str
    """Empty for none."""
    answer: str
    """What answers without a backend; empty if a backend would."""
    target: str
    """What backends would be asked for."""
    split_key: str | None
    pools: list[PlanView]
    """Several where chance decides between them."""
    store_error: str | None
    """Why health and turns are those that were last known; null while the store answers."""


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Finding(Model):
    """One thing that was looked at."""

    check: str
    level: Level
    finding: str
    advice: str
    """What to do; empty if nothing."""


class Diagnosis(Model):
    """What `lbflask doctor` says."""

    findings: list[Finding]


class SessionView(Model):
    """Who is asking."""

    name: str
    role: Role
    csrf: str | None
    """To be sent as `X-CSRF-Token` with every change; null unless a cookie says who is asking."""


class Body(Model):
    """What is sent to the API: of the right types, not only to be understood so."""

    model_config = ConfigDict(strict=True)


class Login(Body):
    """A token, for a session."""

    token: Annotated[str, Field(max_length=400)]


class NewWeight(Body):
    """A weight to set."""

    weight: Weight | None
    """null is the usual one."""


class NewBackend(Body):
    """A backend to add."""

    url: Annotated[str, Field(max_length=400)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,64}$")] | None = None
    weight: Weight = 1
    backup: bool = False


class RequestToExplain(Body):
    """A request."""

    method: Annotated[str, Field(max_length=64)]
    url: Annotated[str, Field(max_length=4096)]
    """Whole, or from its path on."""
    headers: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []
    """Header fields, each as `Name: value`."""
    client: Annotated[str, Field(max_length=64)] = "127.0.0.1"
    """The address that it comes from."""


class Done(Model):
    """What an action has done."""

    changed: bool
    """False if it was so already."""
    backend: BackendView | None
    """null if it is no longer in the pool."""


class ReloadView(Model):
    """What came of a reload."""

    config_version: str
    """Of the configuration in effect now, or soon."""
    in_place: list[str]
    """Keys that have changed where everything runs."""
    by_new_workers: list[str]
    """Keys for whose sake new workers take over; then they take over all of it."""


class Problem(Model):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
