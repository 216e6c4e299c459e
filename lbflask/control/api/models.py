"""Response bodies and queries of the admin API; the OpenAPI document has their schemas."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from lbflask.control.api.ban_models import BanSummary
from lbflask.control.api.base_model import Model
from lbflask.core.admin_tokens import Role
from lbflask.core.discovery import SourceCause
from lbflask.core.explain import CheckView, PlanView
from lbflask.core.failure_causes import FailureCause
from lbflask.core.fleet_events import EventSelection, Kind
from lbflask.core.model import Health, Mode
from lbflask.core.reserves import LossCause, Use

#: The latest time: the end of the year 9999.
MAX_TIME = 253_402_300_799
#: Format of event ids in the store.
EVENT_ID = r"^[0-9]{1,19}-[0-9]{1,19}$"


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


class NoteView(Model):
    """The author, the time and the reason of a change."""

    actor: Annotated[str, Field(serialization_alias="who")]
    at: float
    reason: str
    """Empty if none was given."""


class Checked(Model):
    """The result of active health checks."""

    state: Health
    reason: str
    since: float | None
    """Time of the last change; null if unknown."""
    streak: int
    """Consecutive checks that contradict the state."""
    cause: FailureCause
    """The cause of the reason, by which `doctor` advises; empty after a success, or if it is unknown."""
    certificate_expires: float | None
    """When the certificate expires that the backend presented last to checks; null if unknown."""


class Ejected(Model):
    """An ejection after failed requests."""

    since: float
    until: float
    """Time from which a request may probe the backend."""
    times: int
    """Consecutive ejections."""


class UploadsView(Model):
    """The uploads that hold a backend while bytes of their clients are awaited. Slow are those that have brought less
    than 10,000 bytes per second for five seconds.
    """

    receiving: int
    """All of them."""
    slow: int
    oldest: float
    """Seconds for which the oldest slow one is slow; 0 without one."""
    client: str
    """The address with the most slow ones; empty without one."""
    of_client: int
    """Its slow ones."""


class BackendView(Model):
    """A backend of a pool. Request figures are of the whole fleet and the last ten seconds; while the store is
    unreachable, of the worker that answers.
    """

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
    mode_note: NoteView | None
    """The author of its mode; null if it is as configured, or if the record has none."""
    weight_note: NoteView | None
    """The author of its weight; null as above."""
    etag: str
    """Entity tag of the override, for `If-Match`."""
    health: Checked
    ejection: Ejected | None
    in_flight: int
    attempts: int
    """Attempts of the fleet so far; only differences mean anything."""
    requests_per_second: float
    """Attempts per second."""
    error_share: float | None
    """Share of failed attempts; null without attempts."""
    p50: float | None
    """Seconds until the response head; an estimate from a sample, null without one."""
    p99: float | None
    waiting: int
    """Requests that have waited for the first byte of its response for a second or longer."""
    oldest_wait: float | None
    """Seconds of the oldest of these; null for none."""
    uploads: UploadsView | None
    """null without any."""


class CheckerView(Model):
    """The health checker of a pool."""

    leader: str
    """The leading checker; empty if none leads."""
    heartbeat: float | None
    """Seconds since its latest heartbeat; null if there was none."""
    standby: list[str]
    """The checkers that would lead if it ended."""
    silent: bool
    """Whether its results are too old: all backends then count as healthy until requests fail."""


class SourceFailureView(Model):
    """Why the discovery source of a pool fails. The backends that it gave before stay in force."""

    source: str
    """Its URL."""
    reason: str
    since: float
    cause: SourceCause
    """The cause of the reason, by which `doctor` advises; empty if it is another one."""


class ForgottenView(Model):
    """What operators had set for backends of a pool, and an emptied store has lost."""

    at: float
    """Time of the loss."""
    backends: list[str]
    """The backends that no operator has set again."""
    commands: list[str]
    """Command lines that set it again."""


class PoolView(Model):
    """A pool."""

    name: str
    strategy: str
    sticky: bool
    """Whether sessions keep their backend."""
    serving: int
    """Number of serving backends."""
    overlooks: str
    """What the pool ignores so that a backend can serve: empty, `ejected`, `unchecked` or `all`."""
    removed: list[str]
    """Configured or discovered backends that an operator has removed."""
    removal_notes: dict[str, NoteView]
    """The authors of the removals, by backend, as far as the records have them."""
    forgotten: ForgottenView | None
    """null unless the store was emptied a short time ago, and something that operators had set is missing."""
    checker: CheckerView
    source_failure: SourceFailureView | None
    """null while its discovery source answers, or without one."""
    backends: list[BackendView]


class WorkerView(Model):
    """A worker process."""

    id: str
    pid: int
    heartbeat: float
    """Seconds since its latest heartbeat."""
    started: float | None
    in_flight: int | None
    """null while the store is unreachable."""
    attempts: int
    """Its attempts at backends so far; 0 if it does not report them."""
    requests_per_second: float | None
    """Answers to clients per second; null while the store is unreachable."""
    clock_ahead: float | None
    """Approximate seconds by which its clock is ahead of the store's; null if unknown."""
    descriptors: int | None
    """File descriptors that it has open; null if unknown."""
    host: str
    boot: str
    """Differs between machines, and after a restart of the machine; empty if unknown."""
    lineage: str
    """Differs between gunicorns, but not between both of an upgrade by SIGUSR2; empty if unknown."""
    stopping: bool
    """Whether it is in the delay before its stop."""
    descriptor_limit: int | None


class SilentWorkerView(Model):
    """A worker process that has sent no heartbeat for a while, and has not left: frozen, killed or cut off."""

    id: str
    pid: int
    silent: float
    """Seconds since its latest heartbeat."""
    master: int | None
    """The pid of its gunicorn master; null if unknown."""


class DrainView(Model):
    """An operator's drain of an instance, whose `GET /health` responds 503."""

    until: float
    """Time at which it ends by itself."""
    actor: Annotated[str, Field(serialization_alias="who")]
    since: float
    """Time at which it began; 0 if the record has none."""
    reason: str
    """Empty if none was given."""


class LostLinesView(Model):
    """Lines of the access log that an instance has lost in the last minute."""

    count: int
    path: str
    """Of the log; `-` for standard output."""
    reason: str
    cause: LossCause
    """The cause of the reason, by which `doctor` advises; empty if it is another one."""


class FileSystemView(Model):
    """A file system of an instance that is nearly full."""

    use: Use
    """What the instance writes there: `log`, or `shared` for what its workers share."""
    path: str
    free: int
    """Bytes."""
    size: int


class InstanceView(Model):
    """A gunicorn with its workers. One without workers is drained and does not run, or all its workers are silent."""

    name: str
    host: str
    version: list[str]
    """Versions of lbflask; several during an upgrade."""
    config: list[str]
    """Hashes of its configuration; several during a reload."""
    drain: DrainView | None
    """null unless an operator drains it."""
    stopping: bool
    """Whether it is in the delay before its stop, and its `GET /health` responds 503."""
    handshakes: dict[str, int]
    """TLS handshakes with clients in the last ten seconds: `completed`, and failed ones by reason."""
    workers: list[WorkerView]
    expected_workers: int | None
    """The number of workers that its gunicorn is configured to run; null if unknown."""
    masters: list[int]
    """The pids of the gunicorn masters whose workers serve, the oldest first; two of them during an upgrade."""
    silent_workers: list[SilentWorkerView]
    """Workers that count as serving no longer, since their heartbeats have stopped."""
    lost_log_lines: LostLinesView | None
    """null if none were lost."""
    nearly_full: list[FileSystemView]
    """File systems with less than 5 % and less than 256 MiB free in which it writes."""


class StoreView(Model):
    """The shared store."""

    connected: bool
    why: str
    """Why it is unreachable; else empty."""
    cause: FailureCause
    """The cause of `why`, by which `doctor` advises; empty if it is unknown."""


class CauseView(Model):
    """Answers of one status and cause."""

    status: str
    """Exact for the balancer's own, as `503`; a class for those of backends, as `5xx`."""
    cause: str
    """Why clients got them: `backend`, `rate_limit`, `no_backend` and others."""
    name: str
    """The limit of `rate_limit`, else the pool; empty for none."""
    per_second: float


class AnswersView(Model):
    """What clients got in the last ten seconds, added up."""

    per_second: float
    error_share: float | None
    """Share of answers above 499, and of those that are neither a backend's nor a direct response; null without any."""
    by_class: dict[str, float]
    """Answers per second by class of status, as `2xx`."""
    causes: list[CauseView]
    """The most frequent first, without responses of backends below 500."""


class ClientView(Model):
    """A client with many requests."""

    client: str
    """Its address, as in the access log."""
    per_second: float
    """Its requests per second; too low by less than 1/32 of those of all clients, and never too high."""


class ClientsView(Model):
    """Requests of the last five seconds by client."""

    per_second: float
    """Requests per second of all clients."""
    busiest: list[ClientView]
    """The at most five clients with the most requests, the busiest first."""


class LocalView(Model):
    """The figures of the worker that answers, in all pools."""

    worker: str
    """Its id."""
    in_flight: int
    requests_per_second: float
    """Answers to clients per second."""
    answers: AnswersView


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
    as_of: float | None
    """Time of the latest figures of the fleet: the past while the store is unreachable; null if there are none."""
    in_flight: int | None
    """null while the store is unreachable: then it is unknown."""
    requests_per_second: float | None
    """Answers to clients per second; null while the store is unreachable: then it is unknown."""
    answers: AnswersView | None
    """null while the store is unreachable: then they are unknown."""
    clients: ClientsView | None
    """The requests that no rate limit refused; null while the store is unreachable: then they are unknown."""
    refused_clients: ClientsView | None
    """The requests that rate limits refused; null as above."""
    local: LocalView | None
    """What is known while the store is unreachable; else null."""
    instances: list[InstanceView]


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


class StateView(Model):
    """The whole state, as on the dashboard."""

    fleet: FleetView
    pools: list[PoolView]
    bans: BanSummary
    findings: list[Finding] = []  # noqa: RUF012 - pydantic copies it
    """What `doctor` finds wrong without connects to backends; what is bad first."""


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


class EventFilter(Model):
    """The selection of events."""

    kind: Kind | None = None
    """Only events of this kind."""
    actor: Annotated[str, Field(alias="who", max_length=100)] = ""
    """Only events of operators, checkers or workers whose name contains this."""
    backend: Annotated[str, Field(max_length=400)] = ""
    """Only events of the backend with this id."""
    since: Annotated[float, Field(ge=0, le=MAX_TIME, allow_inf_nan=False)] = 0.0
    """Only events from this time on, in seconds since the epoch."""

    def selection(self) -> EventSelection:
        """The selection as a value of the core."""
        return EventSelection(self.kind, self.actor, self.backend, self.since)


class EventQuery(EventFilter):
    """The selection of a page of events."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """Maximum number of events."""
    before: Annotated[str, Field(pattern=EVENT_ID)] | None = None
    """Only events before the one with this id."""


class PublishedConfiguration(Model):
    """A configuration that an instance of the fleet runs by, as that has published it. Secrets are `***`."""

    version: str
    settings: dict[str, Any]


class ConfigurationView(Model):
    """The configuration in effect. Secrets are `***`."""

    version: str
    """Hash of the configuration."""
    instance: str
    """The instance that runs it."""
    settings: dict[str, Any]


class SettingOrigin(Model):
    """A setting in effect, and the table that sets it."""

    key: str
    value: Any
    """Null if it is unset; secrets are `***`."""
    origin: str
    """`top level`, `pools.NAME`, `routes.NAME`, `listeners[N]` or `default`."""


class EffectiveSettings(Model):
    """What is in effect for the requests of a route to a pool, or for the connections of a listener."""

    route: str
    """Empty for requests without a route."""
    pool: str
    """Empty for a route without a pool."""
    listener: str
    """The name or the address of the listener; else empty."""
    settings: list[SettingOrigin]


class ConfigurationOrigins(Model):
    """The settings in effect for each pool, each route and each listener, with their origins."""

    version: str
    """Hash of the configuration."""
    instance: str
    """The instance that runs it."""
    explanations: list[EffectiveSettings]


class ExplanationView(Model):
    """Where a request would go, and why. Nothing is sent and no ticket is used."""

    route: str
    """The matching route; empty for none."""
    match: str
    """What the route matches, in words; empty without one."""
    answer: str
    """What answers instead of a backend; empty if a backend would."""
    target: str
    """The request target for the backend."""
    split_key: str | None
    pools: tuple[PlanView, ...]
    """Several where chance decides."""
    checks: tuple[CheckView, ...]
    """What bans, access, authentication and limits of the client do to it, up to the first refusal."""
    store_error: str | None
    """Why health and tickets are the last known ones; null while the store is reachable."""


class Diagnosis(Model):
    """The findings of `lbflask doctor`."""

    findings: list[Finding]


class SessionView(Model):
    """The authenticated client."""

    name: str
    role: Role
    csrf: str | None
    """Required as `X-CSRF-Token` with every change; null unless a session cookie authenticates."""


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
    warnings: tuple[str, ...]
    """What is wrong with the new configuration and does not prevent it, such as an expired certificate."""


class Problem(Model):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
