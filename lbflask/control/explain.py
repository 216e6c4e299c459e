"""Explanations (core/explain.py) for operators: parsing of the request, local endpoints, and the JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from ipaddress import ip_address
from typing import Any

from lbflask.config.listeners import https_redirect
from lbflask.config.routes import models_of
from lbflask.config.schema import DEFAULT_POOL, Config
from lbflask.control.explained_checks import FindBan, with_checks
from lbflask.core.explain import Explanation, RequestQuery, explain, names
from lbflask.core.http.challenge_target import is_challenge
from lbflask.core.http.target import BadTarget, request_target
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts
from lbflask.core.model import Pool, Snapshot


def parse_query(method: str, url: str, headers: Sequence[str], client: str, listener: str = "") -> RequestQuery:
    """The request to explain: an absolute or origin-form `url`, `headers` as `Name: value`. `listener` is the name or
    the address of one; empty for the first. Raises ValueError.
    """
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
        lacks_scheme = method != "CONNECT" and "://" not in url and not url.startswith("/")
        hint = f"; write http://{url} or a path that begins with /" if lacks_scheme else ""
        raise ValueError(f"{url!r}: {bad.reason}{hint}") from None
    host = next((value for name, value in fields if name.lower() == "host"), "")
    scheme = "https" if url[:8].lower() == "https://" else "http"
    return RequestQuery(method, target.authority or host, target.text, fields, client, scheme, listener)


def explained(
    config: Config,
    pools: Mapping[str, Pool],
    query: RequestQuery,
    facts: Callable[[str], tuple[Snapshot, int]],
    find_ban: FindBan,
) -> Explanation:
    """The explanation under the configuration. `facts` gives the snapshot of a pool and its next ticket, `find_ban` the
    ban of an address. Raises ValueError for a listener that does not exist.
    """
    query = replace(query, listener=_label(config, query))
    path = query.target.partition("?")[0]
    local_replies = {config.health_path: "the health of the balancer itself (health_path)"}
    local_replies[config.live_path] = "whether the balancer itself serves (live_path)"
    routes = models_of(config.routes)
    redirects = any(one.redirect for one in config.listeners if one.label == query.listener)
    if path and path in local_replies and not names(query, routes):
        return Explanation("", local_replies[path], query.target, None, ())
    if redirects and not is_challenge(query.target):
        facts_of_query = RequestFacts(
            query.client, query.scheme, query.host, query.method, query.target, "", query.fields
        )
        answer = https_redirect(config.listeners).summary(facts_of_query)
        return with_checks(config, query, Explanation("", answer, query.target, None, ()), find_ban)
    # Without routes there is one pool, whatever its name.
    default = DEFAULT_POOL if DEFAULT_POOL in pools else None if routes else next(iter(pools))
    return with_checks(config, query, explain(query, routes, pools, default, facts), find_ban)


def _label(config: Config, query: RequestQuery) -> str:
    """The label of the named listener; without a name of the first one for the scheme, else of the first one."""
    listeners = config.every_listener()
    if not query.listener:
        with_http = [one for one in listeners if not one.passes_on] or listeners
        return next((one for one in with_http if one.tls == (query.scheme == "https")), with_http[0]).label
    for one in listeners:
        if query.listener in (one.name, one.bind):
            return one.label
    raise ValueError(f"there is no listener {query.listener!r}; there are {', '.join(one.label for one in listeners)}")


def document(explanation: Explanation, why: str) -> dict[str, Any]:
    """The explanation as JSON. `why` is the error of the store, empty for none."""
    return {**asdict(explanation), "store_error": why or None}
