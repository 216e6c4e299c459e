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
    """A metric: its name without `lbflask_`, its labels and its help text. `buckets` are for histograms."""

    name: str
    labels: tuple[str, ...]
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    buckets: tuple[float, ...] = ()

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
DURATION = _histogram(
    "request_duration_seconds", ("pool",), "From a request's head to the last byte of its response.", buckets=SECONDS
)
UPSTREAM = _histogram(
    "upstream_duration_seconds", _BACKEND, "From the start of an attempt to the head of its response.", buckets=SECONDS
)
ATTEMPTS = _counter(
    "attempts", (*_BACKEND, "outcome"), "Attempts at a backend: answered, or failed without a response."
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
    "Attempts that failed because the worker itself lacked `descriptors`, `ports`, `memory`, `threads` or `network`.",
)
SENT = _counter("sent_bytes", ("pool",), "Bytes of response bodies sent to clients, tunnels included.")
RECEIVED = _counter("received_bytes", ("pool",), "Bytes of request bodies received from clients.")

# Sampled in each worker; gauges are summed over the running workers.

IN_FLIGHT = _gauge("requests_in_flight", (), "Requests in flight, without tunnels.")
TUNNELS = _gauge("tunnels", (), "Upgraded connections.")
BACKEND_IN_FLIGHT = _gauge("backend_requests_in_flight", _BACKEND, "Attempts and responses in flight at a backend.")
QUEUED = _gauge("queued_requests", ("pool",), "Requests that wait for a free slot of a backend (`max_connections`).")
SLOTS = _gauge("backend_slots_used", _BACKEND, "Slots in use, of a backend with `max_connections`.")
OPENED = _counter("connections_opened", (), "Connections opened to backends.")
REUSED = _counter("connections_reused", (), "Requests sent over a reused connection.")
IDLE = _gauge("connections_idle", (), "Idle connections to backends.")
TICKETS = _counter("tickets", ("pool",), "Tickets taken from the store.")
LEASES = _counter("ticket_leases", ("pool",), "Commands to the store that took tickets.")
LOCAL_TICKETS = _counter("local_tickets", ("pool",), "Tickets made without the store, while it was unreachable.")
FAILING_OPEN = _counter(
    "failing_open", ("pool",), "Times a pool began to use unhealthy backends, since no other was left."
)
STORE_DURATION = _histogram("store_duration_seconds", ("command",), "Successful commands to the store.", buckets=SHORT)
STORE_FAILURES = _counter("store_failures", ("command",), "Failed commands to the store.")
DEGRADED = _gauge("workers_degraded", (), "Workers that cannot reach the store now.")
DEGRADED_SECONDS = _counter("degraded_seconds", (), "Seconds without the store, summed over workers.")
EVENTS_DROPPED = _counter(
    "events_dropped", (), "Requests missing in metrics and logs, since the queue of events was full."
)
SERIES_DROPPED = _counter("series_dropped", (), "Values not recorded, since there are too many series.")
HOOK_CALLS = _counter("hook_calls", ("hook", "point", "outcome"), "Calls of hooks: ok, failed, late, skipped.")
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
BUILD = _gauge("build_info", ("version",), "Always 1.")
CONFIG = _gauge("config_info", ("version",), "Always 1: the version of the configuration in effect.")

ALL: tuple[Metric, ...] = tuple(value for value in vars().copy().values() if isinstance(value, Metric))
BY_NAME = {metric.name: metric for metric in ALL}
