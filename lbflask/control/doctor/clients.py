"""Findings about clients that use most of what all clients share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from lbflask.control.api.models import ClientsView, Finding, PoolView
from lbflask.control.client_views import uploads_text
from lbflask.control.doctor.findings import warning
from lbflask.core.client_shares import ClientRates, dominant
from lbflask.core.slow_uploads import matter

#: The advised limit for each client: so many times what the next one needs, which holds the first one back (FACTOR in
#: core/client_shares.py), and at least so many requests per second.
_ROOM, _LEAST_LIMIT = 1.5, 5
#: Seconds of the advised limit of a whole request.
_REQUEST_SECONDS = 60
#: Share of the refused requests from which on a limit refuses one client.
_REFUSED_SHARE = 0.9


def held_back(clients: ClientsView | None, refused: ClientsView | None) -> str:
    """The client to which a rate limit rightly refuses requests: it would make most of them, and gets nearly all
    refusals. Empty if there is none.
    """
    if clients is None or refused is None or not refused.busiest:
        return ""
    first, asked = refused.busiest[0], Counter[str]()
    for view in (clients, refused):
        asked.update({one.client: one.per_second for one in view.busiest})
    rates = ClientRates(clients.per_second + refused.per_second, dict(asked.most_common()))
    rightly = first.per_second >= _REFUSED_SHARE * refused.per_second and dominant(rates) == first.client
    return first.client if rightly else ""


def client_findings(clients: ClientsView | None) -> Iterator[Finding]:
    """The client that makes most of the requests, beside others."""
    if clients is None:
        return
    by_client = {one.client: one.per_second for one in clients.busiest}
    total, client = clients.per_second, dominant(ClientRates(clients.per_second, by_client))
    if client is None:
        return
    rate, *others = by_client.values()
    following = max(others, default=0.0)
    limit = max(_LEAST_LIMIT, math.ceil(_ROOM * following))
    yield warning(
        "clients",
        f"{client} makes {rate / total:.0%} of the requests ({rate:.0f}/s of {total:.0f}/s), the next client at most "
        f"{following:.1f}/s",
        f"if it should not: `rate_limits.each.rate = {limit}` and `rate_limits.each.everywhere = true` in the "
        "configuration, then `lbflask reload`. If it is a proxy, add it to `trusted_proxies`, so that those behind it "
        "count",
    )  # fmt: skip


def upload_findings(pool: PoolView) -> Iterator[Finding]:
    """Backends that slow uploads hold."""
    for backend in pool.backends:
        uploads = backend.uploads
        if uploads is None or not matter(uploads.slow, backend.in_flight):
            continue
        yield warning(
            f"backend {backend.id}",
            uploads_text(uploads),
            f"`timeouts.request = {_REQUEST_SECONDS}` (longer than any regular request) in the configuration, then "
            "`lbflask reload`, ends those that begin then; `max_connections` keeps room at the backend meanwhile, and "
            '`buffering.requests = "1MiB"` keeps later ones away from it until they have arrived',
        )
