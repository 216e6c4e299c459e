"""Every metric, declared once: `docs/metrics.md` is this table, and nothing else may be counted.

Labels have few values: pools and backends are what the configuration, discovery and operators name, methods those of
RFC 9110 and PATCH, all others `other`; what clients make up never becomes a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Upper bounds of the buckets of durations, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The same for trips to the store, which are short.
SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"})
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Metric:
    """A name without `lbflask_`, its labels, and what it means. `buckets` are those of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus has it, but for `_total`."""
        return f"lbflask_{self.name}"

    @property
    def size(self) -> int:
        """Numbers that one series takes: of a histogram each bucket, what is beyond them, and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


_BACKEND = ("pool", "backend")


def _counter(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, "counter", labels, text)


def _gauge(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, "gauge", labels, text)


# What requests tell.

REQUESTS = _counter(
    "requests",
    (*_BACKEND, "method", "code"),
    "Requests that have ended, by the backend whose response was passed on (empty for none), and by class of status.",
)
DURATION = Metric(
    "request_duration_seconds",
    "histogram",
    ("pool",),
    "From a request's head to the last byte of its response.",
    SECONDS,
)
UPSTREAM = Metric(
    "upstream_duration_seconds", "histogram", _BACKEND, "From an attempt's begin to the head of its response.", SECONDS
)
ATTEMPTS = _counter("attempts", (*_BACKEND, "outcome"), "Tries at a backend: answered, or failed without a response.")
RETRIES = _counter("retries", ("pool",), "Attempts beyond a request's first.")
FAULTS = _counter(
    "faults",
    (*_BACKEND, "blame", "stage"),
    "What went wrong in attempts: whose fault it was, and how far the request had got.",
)
SHORTAGES = _counter(
    "shortages",
    ("resource",),
    "Attempts that failed for want of `descriptors`, `ports`, `memory`, `threads` or `network` in the worker itself.",
)
SENT = _counter("sent_bytes", ("pool",), "Bytes of response bodies passed on; of tunnels, those to clients.")
RECEIVED = _counter("received_bytes", ("pool",), "Bytes of request bodies taken from clients.")

# What a worker knows of itself; summed over those that live.

IN_FLIGHT = _gauge("requests_in_flight", (), "Requests in hand, without those that became tunnels.")
TUNNELS = _gauge("tunnels", (), "Upgraded connections.")
BACKEND_IN_FLIGHT = _gauge("backend_requests_in_flight", _BACKEND, "Attempts and responses under way at a backend.")
QUEUED = _gauge("queued_requests", ("pool",), "Requests that wait for a backend with a free slot (`max_connections`).")
SLOTS = _gauge("backend_slots_used", _BACKEND, "Slots that requests use of a backend with `max_connections`.")
OPENED = _counter("connections_opened", (), "Connections to backends that were opened.")
REUSED = _counter("connections_reused", (), "Requests that went over a connection that had served before.")
IDLE = _gauge("connections_idle", (), "Connections to backends kept for another request.")
TICKETS = _counter("tickets", ("pool",), "Turns taken from the store.")
LEASES = _counter("ticket_leases", ("pool",), "Trips to the store for turns.")
LOCAL_TICKETS = _counter("local_tickets", ("pool",), "Turns without the store, while it was out of reach.")
FAILING_OPEN = _counter("failing_open", ("pool",), "Times a pool began to serve with backends that should not.")
STORE_DURATION = Metric(
    "store_duration_seconds", "histogram", ("command",), "Trips to the store that succeeded.", SHORT
)
STORE_FAILURES = _counter("store_failures", ("command",), "Trips to the store that failed.")
DEGRADED = _gauge("workers_degraded", (), "Workers that can't reach the store now.")
DEGRADED_SECONDS = _counter("degraded_seconds", (), "Seconds that workers were without the store, added up.")
EVENTS_DROPPED = _counter("events_dropped", (), "Requests that are in no metric and no log: too many at once.")
SERIES_DROPPED = _counter("series_dropped", (), "Numbers that found no room, since there are too many series.")
HOOK_CALLS = _counter("hook_calls", ("hook", "point", "outcome"), "Calls of hooks: ok, failed, late, skipped.")
WORKERS = _gauge("workers", (), "Workers that count.")

# What the fleet knows, as the worker sees it that is asked.

BACKEND_UP = _gauge(
    "backend_up", _BACKEND, "1 while active checks find the backend up; 0 else, and when nobody checks."
)
BACKEND_HEALTH = _gauge(
    "backend_health", (*_BACKEND, "health"), "1 for the health that active checks tell, 0 for others."
)
BACKEND_EJECTED = _gauge("backend_ejected", _BACKEND, "1 while failed requests keep the backend out of service.")
BACKEND_SERVING = _gauge("backend_serving", _BACKEND, "1 while the backend may get requests.")
BACKEND_WEIGHT = _gauge("backend_weight", _BACKEND, "The weight that the backend has now.")
CHECKER_LEADS = _gauge("checker_leads", ("pool",), "1 while a checker leads: it has spoken within three intervals.")
CHECKER_SILENCE = _gauge("checker_silence_seconds", ("pool",), "Seconds since the leading checker's latest word.")
BUILD = _gauge("build_info", ("version",), "Always 1.")
CONFIG = _gauge("config_info", ("version",), "Always 1: the version of the configuration in effect.")

ALL: tuple[Metric, ...] = tuple(value for value in vars().copy().values() if isinstance(value, Metric))
BY_NAME = {metric.name: metric for metric in ALL}

_PREFACE = """\
Written by `make docs` from `lbflask/telemetry/metrics/definitions.py`; a test compares the two.

`GET /metrics` on the admin listener (`admin_bind`) answers in Prometheus's text format, for all workers of this
gunicorn; add up over instances. The public listener never answers it. `metrics = false` turns it off, and so does an
empty `admin_bind`.

A request costs no more than an entry in a queue: workers count in the background, twenty times a second, into memory of
the machine (`/dev/shm` where there is one) that all workers share and that outlives each of them. So

- a scrape is at most 0.05 s behind for counters, and 0.5 s for gauges of other workers;
- **counters of workers that have ended stay in the totals, which never go down** until gunicorn itself is restarted; a
  worker that is killed (SIGKILL) takes with it at most what ended in its last 0.05 s. Requests that it had in hand
  never ended, and are not counted;
- gauges of workers that have ended are gone with them, at once;
- a worker that restarts counts from zero beside the sum of those that have ended: nothing is counted twice.

Every request is counted that a public listener has answered, also those whose head was refused (as method `other`),
but for `/health` and `/live`. Requests of the admin listener are not.

Cardinality is bounded: for each backend of each pool at most 9 methods times 5 classes in `lbflask_requests_total` and
18 lines of a histogram, and 20,000 series in a worker; what is beyond is counted in `lbflask_series_dropped_total`.
Series of a backend that is gone stay until gunicorn is restarted.

All names begin with `lbflask_`."""


def as_markdown() -> str:
    """The page `docs/metrics.md`."""
    rows = [
        f"| `{metric.name}{'_total' if metric.kind == 'counter' else ''}` | {metric.kind} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in ALL
    ]
    heading = ["# Metrics", "", _PREFACE, "", "| name | kind | labels | |", "| --- | --- | --- | --- |"]
    return "\n".join([*heading, *rows, ""])
