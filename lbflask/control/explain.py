"""Explanations (core/explain.py) for operators: parsing of the request, local endpoints, and the JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any

from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.core.explain import Explanation, RequestQuery, explain
from lbflask.core.http.target import BadTarget, request_target
from lbflask.core.http.types import Fields
from lbflask.core.model import Pool, Snapshot


def parse_query(method: str, url: str, headers: Sequence[str], client: str) -> RequestQuery:
    """The request to explain: an absolute or origin-form `url`, `headers` as `Name: value`. Raises ValueError."""
    fields: Fields = []
    for line in headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"{line!r} is not `Name: value`")
        fields.append((name.strip(), value.strip()))
    try:
        ip_address(client)
    except ValueError:
        raise ValueError(f"{client!r} is not an address") from None
    try:
        target = request_target(method, url.partition("#")[0])
    except BadTarget as bad:
        raise ValueError(f"{url!r}: {bad.reason}") from None
    host = next((value for name, value in fields if name.lower() == "host"), "")
    return RequestQuery(method, target.authority or host, target.text, fields, client)


def explained(
    config: Config, pools: Mapping[str, Pool], query: RequestQuery, facts: Callable[[str], tuple[Snapshot, int]]
) -> Explanation:
    """The explanation under the configuration. `facts` gives the snapshot of a pool and its next ticket."""
    path = query.target.partition("?")[0]
    local_replies = {config.health_path: "the health of the balancer itself (health_path)"}
    local_replies[config.live_path] = "whether the balancer itself serves (live_path)"
    if path and path in local_replies:
        return Explanation("", local_replies[path], query.target, None, ())
    routes = [route.to_model() for route in config.routes]
    # Without routes there is one pool, whatever its name.
    default = DEFAULT_POOL if DEFAULT_POOL in pools else None if routes else next(iter(pools))
    return explain(query, routes, pools, default, facts)


def document(explanation: Explanation, why: str) -> dict[str, Any]:
    """The explanation as JSON. `why` is the error of the store, empty for none."""
    return {**asdict(explanation), "store_error": why or None}
