"""An explanation (core/explain.py): what is asked for, what answers before any route, and its lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any

from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.core.explain import Explanation, RequestQuery, explain
from lbflask.core.http.fields import Fields
from lbflask.core.http.target import BadTarget, request_target
from lbflask.core.model import Pool, Snapshot


def asked_of(method: str, url: str, headers: Sequence[str], client: str) -> RequestQuery:
    """The request that a user means: `url` whole or from its path on, `headers` as `Name: value`. Raises ValueError."""
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
    named = next((value for name, value in fields if name.lower() == "host"), "")
    return RequestQuery(method, target.authority or named, target.text, fields, client)


def explained(
    config: Config, pools: Mapping[str, Pool], asked: RequestQuery, known: Callable[[str], tuple[Snapshot, int]]
) -> Explanation:
    """The explanation under the configuration. `known` gives the snapshot of a pool, and its next ticket."""
    path = asked.target.partition("?")[0]
    own = {config.health_path: "the health of the balancer itself (health_path)"}
    own[config.live_path] = "whether the balancer itself serves (live_path)"
    if path and path in own:
        return Explanation("", own[path], asked.target, None, ())
    routes = [route.to_model() for route in config.routes]
    # Without routes there is but one way, whatever the pool's name.
    default = DEFAULT_POOL if DEFAULT_POOL in pools else None if routes else next(iter(pools))
    return explain(asked, routes, pools, default, known)


def document(explanation: Explanation, why: str) -> dict[str, Any]:
    """The explanation as JSON has it; `why` the store does not answer, empty while it does."""
    return {**asdict(explanation), "store_error": why or None}


def lines(asked: RequestQuery, told: Mapping[str, Any]) -> Iterator[str]:
    """The document of an explanation, a fact a line."""
    yield f"{asked.method} {asked.target}, Host {asked.host or '(none)'}, from {asked.client}"
    yield f"route       {told['route'] or '(none)'}"
    if told["answer"]:
        yield f"answer      {told['answer']}; no backend is asked"
        return
    if told["target"] != asked.target:
        yield f"target      {told['target']}"
    for view in told["pools"]:
        yield from _of_pool(view, told["split_key"])


def _of_pool(view: Mapping[str, Any], split_key: str | None) -> Iterator[str]:
    by = "" if split_key is None else f", by the key {split_key!r}"
    yield f"pool        {view['pool']}" + (f", for {view['share']:g} % by chance" if view["share"] < 100 else by)
    yield f"strategy    {view['strategy']}" + ("" if view["key"] is None else f", by the key {view['key']!r}")
    if view["home"]:
        yield f"session     at {view['home']}"
    if view["overlooked"]:
        yield f"overlooked  {view['overlooked']}: nobody else could serve"
    for place, one in enumerate(view["candidates"]):
        more = f", warm to {one['warm_percent']} %" if one["warm_percent"] < 100 else ""
        more += ", backup" if one["backup"] else ""
        name = "" if one["url"].endswith(f"/{one['backend']}") else f" {one['url']}"
        yield f"{'' if place else 'candidates':<12}{one['backend']}{name}, weight {one['weight']}{more}"
    if not view["candidates"]:
        yield "candidates  (none): 503"
    for place, left in enumerate(view["left_out"]):
        yield f"{'' if place else 'left out':<12}{left['backend']}: {left['why']}"
    for place, plan in enumerate(view["plans"] if view["candidates"] else ()):
        yield f"{'then' if place else 'order':<12}{', '.join(plan)}"
