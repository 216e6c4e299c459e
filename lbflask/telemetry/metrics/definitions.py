"""The declarations of all metrics; the table in `docs/metrics.md` is generated from them.

Labels have few values: pools and backends come from the configuration, discovery and operators, methods from RFC 9110
and PATCH, all others are `other`. Text from clients never becomes a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

#: Upper bounds of the buckets of durations, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The same for commands to the store, which are short.
SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"})
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name without `lbflask_`, its labels and its help text. `buckets` are for histograms.

    A gauge is the sum of its values in all workers, or the `largest` of them.
    """

    name: str
    labels: tuple[str, ...]
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    buckets: tuple[float, ...] = ()
    largest: bool = False

    @property
    def full_name(self) -> str:
        """The name in the exposition, without `_total`."""
        return f"lbflask_{self.name}"

    @property
    def size(self) -> int:
        """The number of values of a series; a histogram has its buckets, the overflow bucket and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


_BACKEND = ("pool", "backend")


_counter = partial(Metric, kind="counter")
_gauge = partial(Metric, kind="gauge")
_histogram = partial(Metric, kind="histogram")

# Recorded from events of requests.

REQUESTS = _counter(
    "requests",
    (*_BACKEND, "method", "code"),
    "Requests that have ended, by the backend whose response was passed on (empty for none), and by class of status.",
)
RESPONSES = _counter(
    "responses",
    ("status", "cause", "route"),
    "Answers to clients: each request once. `status` is exact where the balancer responded by itself (`503`), and a "
    "class where a backend did (`2xx`).",
)
RATE_LIMITED = _counter("rate_limited", ("limit",), "Requests beyond a rate limit.")
QUEUE_REFUSED = _counter(
    "queue_refused", ("pool",), "Requests that got no slot: the queue was full, or none became free in time."
)
DURATION = _histogram(
    "request_duration_seconds",
    ("pool", "route"),
    "From a request's head to the last byte of its response.",
    buckets=SECONDS,
)
QUEUE_WAIT = _histogram(
    "queue_wait_seconds",
    ("pool",),
    "Waits of requests for a slot of a backend (`max_connections`), also of those that got none; without a wait none.",
    buckets=SECONDS,
)
UPSTREAM = _histogram(
    "upstream_duration_seconds", _BACKEND, "From the start of an attempt to the head of its response.", buckets=SECONDS
)
ATTEMPTS = _counter(
    "attempts",
    (*_BACKEND, "outcome"),
    "Attempts at a backend: `answered`, `failed` without a response, or `outpaced` by one at another backend.",
)
RETRIES = _counter("retries", ("pool",), "Attempts beyond a request's first.")
FAULTS = _counter(
    "faults",
    (*_BACKEND, "blame", "stage"),
    "Faults of attempts, by the blamed side and by the stage that the request had reached.",
)
SHORTAGES = _counter(
    "shortages",
    ("resource",),
    "Attempts that failed because the worker itself lacked `descriptors`, `ports`, `memory`, `threads`, "
    "`network` or `disk`.",
)
SENT = _counter("sent_bytes", ("pool",), "Bytes of response bodies sent to clients, tunnels included.")
RECEIVED = _counter("received_bytes", ("pool",), "Bytes of request bodies received from clients.")

# Sampled in each worker; gauges are summed over the running workers, but for those with the largest value.

OPEN_FDS = _gauge("process_open_fds", ("pid",), "Open file descriptors of a worker.")
MAX_FDS = _gauge("process_max_fds", ("pid",), "The limit of open file descriptors of a worker.")
IN_FLIGHT = _gauge("requests_in_flight", (), "Requests in flight, without tunnels.")
TUNNELS = _gauge("tunnels", (), "Upgraded connections.")
BACKEND_IN_FLIGHT = _gauge("backend_requests_in_flight", _BACKEND, "Attempts and responses in flight at a backend.")
OLDEST_WAIT = _gauge(
    "backend_oldest_wait_seconds",
    _BACKEND,
    "Seconds of the request that waits longest for a backend's first byte, from one second on; 0 for none.",
    largest=True,
)
SLOW_UPLOADS = _gauge(
    "backend_slow_uploads",
    _BACKEND,
    "Requests at a backend whose clients have sent less than 10,000 bytes per second of the body for five seconds.",
)
QUEUED = _gauge("queued_requests", ("pool",), "Requests that wait for a free slot of a backend (`max_connections`).")
SLOTS = _gauge("backend_slots_used", _BACKEND, "Slots in use, of a backend with `max_connections`.")
BUFFERED = _gauge("buffered_bytes", ("place",), "Bytes of buffered bodies, in `memory` and in a `file`.")
SPOOL_FAILURES = _counter("spool_failures", (), "Writes of buffered bodies to a file that failed.")
OPENED = _counter("connections_opened", (), "Connections opened to backends.")
REUSED = _counter("connections_reused", (), "Requests sent over a reused connection.")
IDLE = _gauge("connections_idle", (), "Idle connections to backends.")
TICKETS = _counter("tickets", ("pool",), "Tickets taken from the store.")
LEASES = _counter("ticket_leases", ("pool",), "Commands to the store that took tickets.")
LOCAL_TICKETS = _counter("local_tickets", ("pool",), "Tickets made without the store, while it was unreachable.")
FAILING_OPEN = _counter(
    "failing_open", ("pool",), "Times a pool began to use unhealthy backends, since no other was left."
)
STICKY_REFUSED = _counter(
    "sticky_refused",
    ("pool", "reason"),
    "Sticky cookies that named no backend: signed by none of the secrets (`signature`), older than `sticky.max_age` "
    "(`expired`), or of a backend that may not serve sessions now (`backend`).",
)
STORE_DURATION = _histogram("store_duration_seconds", ("command",), "Successful commands to the store.", buckets=SHORT)
STORE_FAILURES = _counter("store_failures", ("command",), "Failed commands to the store.")
DEGRADED = _gauge("workers_degraded", (), "Workers that cannot reach the store now.")
DEGRADED_SECONDS = _counter("degraded_seconds", (), "Seconds without the store, summed over workers.")
HANDSHAKES = _counter("tls_handshakes", (), "TLS handshakes with clients that were completed.")
HANDSHAKES_RESUMED = _counter(
    "tls_handshakes_resumed", (), "Completed TLS handshakes with clients that resumed the session of an earlier one."
)
HANDSHAKES_FAILED = _counter(
    "tls_handshakes_failed",
    ("reason",),
    "TLS handshakes with clients that failed after their first byte: `certificate_expired` and `certificate_rejected` "
    "by an alert of the client, `client_certificate` for one of the client that is missing or not valid, `protocol`, "
    "`cipher`, `timeout`, `plain_http`, `client_left`, `other`.",
)
EVENTS_DROPPED = _counter(
    "events_dropped", (), "Requests missing in metrics and logs, since the queue of events was full."
)
LOG_LINES_DROPPED = _counter(
    "log_lines_dropped", (), "Lines of the access log that were lost: the disk was full, or the reader too slow."
)
SERIES_DROPPED = _counter("series_dropped", (), "Values not recorded, since there are too many series.")
HOOK_CALLS = _counter("hook_calls", ("hook", "point", "outcome"), "Calls of hooks: ok, failed, late, skipped.")
AUTH_CHECKS = _counter(
    "auth_checks",
    ("kind", "outcome"),
    "Checks of credentials: `allowed` after a verification, `cached` by one before, `refused`, `failed` where they "
    "could not be checked.",
)
WORKERS = _gauge("workers", (), "Workers that record metrics.")

# State of the fleet, as known to the worker that answers the scrape.

BACKEND_UP = _gauge(
    "backend_up", _BACKEND, "1 while active checks find the backend up; 0 otherwise, also without checks."
)
BACKEND_HEALTH = _gauge(
    "backend_health", (*_BACKEND, "health"), "1 for the health that active checks report, 0 for the others."
)
BACKEND_EJECTED = _gauge("backend_ejected", _BACKEND, "1 while the backend is ejected because requests failed.")
BACKEND_SERVING = _gauge("backend_serving", _BACKEND, "1 while the backend may get requests.")
BACKEND_WEIGHT = _gauge("backend_weight", _BACKEND, "The current weight of the backend.")
CHECKER_LEADS = _gauge(
    "checker_leads", ("pool",), "1 while a checker leads: its last report is at most three intervals old."
)
CHECKER_SILENCE = _gauge("checker_silence_seconds", ("pool",), "Seconds since the last report of the leading checker.")
BANS = _gauge("bans", ("giver",), "Bans of addresses and networks that hold, given by an `operator` or by a `rule`.")
INSTANCE_WORKERS = _gauge(
    "instance_workers",
    ("instance", "state"),
    "Workers by their heartbeats: `serving`, `silent`, and as many as are `expected` by gunicorn's setting.",
)
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds",
    ("certificate",),
    "When the certificate of this setting expires, in seconds since the epoch: a chain with its first certificate, "
    "`backend_tls.ca_file` with its last one.",
)
CERTIFICATE_UNUSABLE = _gauge(
    "certificate_unusable",
    ("certificate",),
    "1 while the file of this setting has changed and cannot be used, so that the certificate from before is in use.",
)
ACME_FAILED_ORDERS = _gauge(
    "acme_failed_orders",
    ("name",),
    "Orders in a row that failed to get a certificate for this name (tls.acme); 0 while they succeed.",
)
ACME_ON_DEMAND = _gauge(
    "acme_on_demand_names",
    ("state",),
    "Names that clients asked for (tls.acme.on_demand): `issued` with a certificate, `failed` without one.",
)
ACME_ISSUED = _gauge("acme_issued", ("name",), "1 while there is an automatic certificate for this name.")
BACKEND_CERTIFICATE_EXPIRY = _gauge(
    "backend_certificate_expiry_timestamp_seconds",
    _BACKEND,
    "When the certificate expires that the backend presented last, to a check by HTTPS, else to the worker that "
    "answers; absent before.",
)
BUILD = _gauge("build_info", ("version",), "Always 1.")
CONFIG = _gauge("config_info", ("version",), "Always 1: the version of the configuration in effect.")

ALL: tuple[Metric, ...] = tuple(value for value in vars().copy().values() if isinstance(value, Metric))
BY_NAME = {metric.name: metric for metric in ALL}
