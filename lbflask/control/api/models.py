"""Request and response bodies of the admin API; the OpenAPI document has their schemas."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lbflask.core.admin_tokens import Role
from lbflask.core.explain import PlanView
from lbflask.core.fleet_events import Kind
from lbflask.core.instance_drain import DEFAULT_DURATION as DEFAULT_DRAIN
from lbflask.core.instance_drain import MAX_DURATION as MAX_DRAIN
from lbflask.core.model import MOST_WEIGHT, Health, Mode
from lbflask.telemetry.debug import DEFAULT_DURATION, MAX_DURATION

#: Format of event ids in the store.
EVENT_ID = r"^[0-9]{1,19}-[0-9]{1,19}$"


def _integral(value: Any) -> Any:
    """JSON has one number type: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Weight = Annotated[int, BeforeValidator(_integral), Field(ge=0, le=MOST_WEIGHT)]


class Model(BaseModel):
    """A value of the API. Durations are in seconds, times in seconds since the epoch by the store's clock."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, from_attributes=True, use_attribute_docstrings=True, serialize_by_alias=True
    )


class DebugRequest(Model):
    """For how long the steps of requests are to be logged."""

    seconds: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_DURATION)] = DEFAULT_DURATION
    """From now on."""


class DebugView(Model):
    """Whether an instance logs the steps of requests, in all of its workers."""

    instance: str
    """The gunicorn that answers."""
    enabled: bool
    """Whether it does."""
    seconds_left: float | None
    """Seconds until it ends; null if it lasts until the instance ends or it is switched off."""


class Status(StrEnum):
    """The status of the balancer, as in `GET /health`."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING_OPEN = "failing_open"
    PARTLY_DOWN = "partly_down"
    DOWN = "down"


class State(StrEnum):
    """The state of a backend."""

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
    """The origin of a backend."""

    CONFIGURED = "configured"
    DISCOVERED = "discovered"
    ADDED = "added"


class Checked(Model):
    """The result of active health checks."""

    state: Health
    reason: str
    since: float | None
    """Time of the last change; null if unknown."""
    streak: int
    """Consecutive checks that contradict the state."""


class Ejected(Model):
    """An ejection after failed requests."""

    since: float
    until: float
    """Time from which a request may probe the backend."""
    times: int
    """Consecutive ejections."""


class BackendView(Model):
    """A backend of a pool. Request figures are of the whole fleet and the last ten seconds."""

    pool: str
    id: str
    url: str
    origin: Origin
    state: State
    reason: str
    """The reason for the state."""
    serving: bool
    """Whether it is eligible for new requests."""
    mode: Mode
    weight: int
    """The weight in effect."""
    usual_weight: int
    """The weight without overrides."""
    backup: bool
    overridden: bool
    """Whether an operator has set an override."""
    etag: str
    """Entity tag of the override, for `If-Match`."""
    health: Checked
    ejection: Ejected | None
    in_flight: int
    requests_per_second: float
    error_share: float | None
    """Share of failed attempts; null without attempts."""
    p50: float | None
    """Seconds until the response head; an estimate from a sample, null without one."""
    p99: float | None


class CheckerView(Model):
    """The health checker of a pool."""

    leader: str
    """The leading checker; empty if none leads."""
    heartbeat: float | None
    """Seconds since its latest heartbeat; null if there was none."""
    silent: bool
    """Whether its results are too old: all backends then count as healthy until requests fail."""


class PoolView(Model):
    """A pool."""

    name: str
    strategy: str
    serving: int
    """Number of serving backends."""
    overlooks: str
    """What the pool ignores to fail open: empty, `ejected` or `all`."""
    removed: list[str]
    """Configured or discovered backends that an operator has removed."""
    checker: CheckerView
    backends: list[BackendView]


class WorkerView(Model):
    """A worker process."""

    id: str
    pid: int
    heartbeat: float
    """Seconds since its latest heartbeat."""
    started: float | None
    in_flight: int
    requests_per_second: float
    clock_ahead: float | None
    """Approximate seconds by which its clock is ahead of the store's; null if unknown."""


class DrainView(Model):
    """An operator's drain of an instance, whose `GET /health` responds 503."""

    until: float
    """Time at which it ends by itself."""
    actor: Annotated[str, Field(serialization_alias="who")]


class InstanceView(Model):
    """A gunicorn with its workers. One without workers is drained, and does not run."""

    name: str
    host: str
    version: list[str]
    """Versions of lbflask; several during an upgrade."""
    config: list[str]
    """Hashes of its configuration; several during a reload."""
    drain: DrainView | None
    """null unless an operator drains it."""
    workers: list[WorkerView]


class StoreView(Model):
    """The shared store."""

    connected: bool
    why: str
    """Why it is unreachable; else empty."""


class FleetView(Model):
    """A summary of the fleet."""

    status: Status
    at: float
    """Time of reading."""
    stale: bool
    """Whether this is the last known state because the store is unreachable."""
    answered_by: str
    """The instance that answered."""
    store: StoreView
    in_flight: int
    requests_per_second: float
    instances: list[InstanceView]


class StateView(Model):
    """The whole state, as on the dashboard."""

    fleet: FleetView
    pools: list[PoolView]


class PoolList(Model):
    """The pools."""

    pools: list[PoolView]


class BackendList(Model):
    """The backends of a pool."""

    backends: list[BackendView]


class InstanceList(Model):
    """The instances."""

    instances: list[InstanceView]


class EventView(Model):
    """An event in the fleet."""

    id: str
    at: float
    kind: Kind
    what: str
    pool: str
    backend: str
    reason: str
    actor: Annotated[str, Field(serialization_alias="who")]


class EventPage(Model):
    """Events, latest first."""

    events: list[EventView]
    before: str | None
    """Value of `before` for the next page of earlier events; null at the end."""


class EventQuery(Model):
    """The selection of events."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """Maximum number of events."""
    before: Annotated[str, Field(pattern=EVENT_ID)] | None = None
    """Only events before the one with this id."""


class ConfigurationView(Model):
    """The configuration in effect. Secrets are `***`."""

    version: str
    """Hash of the configuration."""
    instance: str
    """The instance that runs it."""
    settings: dict[str, Any]


class ExplanationView(Model):
    """Where a request would go, and why. Nothing is sent and no ticket is used."""

    route: str
    """The matching route; empty for none."""
    answer: str
    """What answers instead of a backend; empty if a backend would."""
    target: str
    """The request target for the backend."""
    split_key: str | None
    pools: tuple[PlanView, ...]
    """Several where chance decides."""
    store_error: str | None
    """Why health and tickets are the last known ones; null while the store is reachable."""


class Level(StrEnum):
    """The severity of a finding."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Finding(Model):
    """The result of one check."""

    check: str
    level: Level
    finding: str
    advice: str
    """What to do; empty for nothing."""


class Diagnosis(Model):
    """The findings of `lbflask doctor`."""

    findings: list[Finding]


class SessionView(Model):
    """The authenticated client."""

    name: str
    role: Role
    csrf: str | None
    """Required as `X-CSRF-Token` with every change; null unless a session cookie authenticates."""


class Body(Model):
    """A request body. Values must have the right JSON type; nothing is converted."""

    model_config = ConfigDict(strict=True)


class Login(Body):
    """The token for a session."""

    token: Annotated[str, Field(max_length=400)]


class NewWeight(Body):
    """A weight to set."""

    weight: Weight | None
    """null restores the configured weight."""


class NewBackend(Body):
    """A backend to add."""

    url: Annotated[str, Field(max_length=400)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,64}$")] | None = None
    weight: Weight = 1
    backup: bool = False


class InstanceName(Body):
    """An instance."""

    instance: Annotated[str, Field(min_length=1, max_length=400)]
    """Its name, as in `GET /instances`."""


class InstanceToDrain(InstanceName):
    """An instance to drain."""

    seconds: Annotated[int, BeforeValidator(_integral), Field(ge=1, le=MAX_DRAIN)] = DEFAULT_DRAIN
    """For how long, unless it is ended earlier."""


class RequestToExplain(Body):
    """The request to explain."""

    method: Annotated[str, Field(max_length=64)]
    url: Annotated[str, Field(max_length=4096)]
    """Absolute, or from its path on."""
    headers: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []
    """Header fields, each as `Name: value`."""
    client: Annotated[str, Field(max_length=64)] = "127.0.0.1"
    """The address of the client."""


class Done(Model):
    """The result of an action."""

    changed: bool
    """False if there was nothing to change."""
    backend: BackendView | None
    """The backend now; null if it is not in the pool."""


class InstanceDone(Model):
    """The result of an action on an instance."""

    changed: bool
    """False if there was nothing to change."""
    instance: InstanceView | None
    """The instance now; null if it does not run and is not drained."""


class ReloadView(Model):
    """The result of a reload."""

    config_version: str
    """Hash of the new configuration."""
    in_place: tuple[str, ...]
    """Changed keys that apply in place."""
    by_new_workers: tuple[str, ...]
    """Changed keys that need new workers, which then apply all changes."""


class Problem(Model):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
