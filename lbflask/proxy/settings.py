"""The settings by which requests are forwarded to a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.trusted_proxies import TrustedProxies
from lbflask.core.retry import RetryPolicy
from lbflask.upstream.stream import NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The settings of the data plane for one pool. Timeouts are in seconds; `retry_after` is for responses with 503.

    `request` limits the duration of a request with its response, `tunnels` the upgraded connections of a worker.
    `pages` are the error pages by status.
    """

    retries: RetryPolicy = field(default_factory=RetryPolicy)
    connect: float = 3.0
    first_byte: float = 60.0
    preserve_host: bool = True
    via: str | None = "lbflask"
    retry_after: int = 2
    is_trusted: TrustedProxies = field(default_factory=TrustedProxies)
    request: float = NEVER
    tunnel_idle: float = 3600.0
    tunnels: int = 1000
    pages: Mapping[int, ErrorPage] = field(default_factory=dict)
