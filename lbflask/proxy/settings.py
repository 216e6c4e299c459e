"""The settings by which requests are forwarded to a pool, by a route or by none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbflask.core.buffering import BufferingPolicy
from lbflask.core.http.cors import CorsPolicy
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.retry import RetryPolicy
from lbflask.proxy.compression import Compression
from lbflask.proxy.internal_files import InternalFiles
from lbflask.upstream.connection_pool import MAX_AGE, MAX_IDLE, MAX_KEPT, UNLIMITED
from lbflask.upstream.stream import NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The settings of the data plane for one pool and one route. Timeouts are in seconds.

    `retry_after` is for responses with 503. `max_idle` is for how long a connection to a backend is kept for reuse,
    without a request.
    `request` limits the duration of a request with its response, `tunnels` the upgraded connections of a worker,
    `body_limit` the bytes of a request body, 0 for no limit.
    `internal_files` are those that backends may name.
    `max_idle_connections` are those of a worker to one backend. Connections to backends end when they are `max_age`
    old or have carried `max_requests`. `host` is the Host for backends; without one it is that
    of the client, or of the backend. `per_attempt` limits an attempt until the head of its response.
    `pages` are the error pages by status, with `pages_for_all` also for responses of backends. `end_waits`: a wait for
    the first byte of a backend ends when checks that get no answer find it down. `closes_when_down`: its tunnels and
    event streams end too. `buffering` is None if bodies stream
    at any rate. `request_edits` change the fields for backends, `response_edits` those of all final responses.
    `proxy_version` is that of the PROXY protocol towards backends, 0 for none. `passes_certificates`: backends get the
    certificates of clients.
    """

    retries: RetryPolicy = field(default_factory=RetryPolicy)
    connect: float = 3.0
    first_byte: float = 60.0
    between_bytes: float = 60.0
    max_idle: float = MAX_IDLE
    max_idle_connections: int = MAX_KEPT
    max_age: float = MAX_AGE
    max_requests: int = UNLIMITED
    per_attempt: float = NEVER
    preserve_host: bool = True
    host: str = ""
    via: str | None = "lbflask"
    retry_after: int = 2
    is_trusted: TrustedProxies = field(default_factory=TrustedProxies)
    request: float = NEVER
    tunnel_idle: float = 3600.0
    tunnels: int = 1000
    body_limit: int = 0
    pages: Mapping[int, ErrorPage] = field(default_factory=dict)
    pages_for_all: bool = False
    cors: CorsPolicy | None = None
    end_waits: bool = True
    closes_when_down: bool = False
    buffering: BufferingPolicy | None = None
    internal_files: InternalFiles | None = None
    compression: Compression | None = None
    request_edits: Edits | None = None
    response_edits: Edits | None = None
    proxy_version: int = 0
    passes_certificates: bool = False
