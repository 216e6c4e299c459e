"""The checks that a request meets before a pool or a local reply gets it, for `explain`: bans, the limit of its client,
access, certificates, credentials. The rules are those of the data plane; what needs the request itself depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lbflask.config.auth import AuthConfig
from lbflask.config.routes import RouteConfig
from lbflask.config.schema import Config
from lbflask.core.access_list import AccessList
from lbflask.core.bans import Ban
from lbflask.core.explain import CheckOutcome, CheckView, Explanation, RequestQuery
from lbflask.core.http.cors import is_preflight
from lbflask.core.http.credentials import basic_credentials, bearer_token, credentials
from lbflask.core.rate_limit import of_client

#: Returns the ban of an address; None for none.
FindBan = Callable[[str], Ban | None]


def with_checks(config: Config, query: RequestQuery, explanation: Explanation, find_ban: FindBan) -> Explanation:
    """The explanation of a request with its checks, in the order of a worker. A refusal becomes the answer."""
    first = _until_refusal(_of_client(config, query.client, find_ban))
    if _refusal(first):
        return _refused(explanation, first)
    places = _places(config, explanation)
    if places is None:
        return replace(explanation, checks=first)
    route, pools = places
    found = {pool: _until_refusal(_of_place(config, query, pool, route)) for pool in pools}
    lists = list(found.values())
    if all(one == lists[0] for one in lists):
        checks = (*first, *lists[0])
    else:
        checks = (*first, *(replace(check, pool=pool) for pool, those in found.items() for check in those))
    return _refused(explanation, checks) if all(map(_refusal, lists)) else replace(explanation, checks=checks)


def _refused(explanation: Explanation, checks: tuple[CheckView, ...]) -> Explanation:
    return replace(explanation, answer=_refusal(checks), pools=(), checks=checks)


def _until_refusal(checks: Iterator[CheckView]) -> tuple[CheckView, ...]:
    found = []
    for check in checks:
        found.append(check)
        if check.outcome is CheckOutcome.REFUSES:
            break
    return tuple(found)


def _refusal(checks: tuple[CheckView, ...]) -> str:
    """Why the request is refused; empty if it is not."""
    return next((check.why for check in checks if check.outcome is CheckOutcome.REFUSES), "")


def _places(config: Config, explanation: Explanation) -> tuple[RouteConfig | None, list[str]] | None:
    """The route of the request, None for none, and its pools, '' for a local reply; None if it goes nowhere."""
    pools = [view.pool for view in explanation.pools]
    if explanation.route:
        route = next(route for route in config.routes if route.label == explanation.route)
        return route, pools or [""]
    return (None, pools) if pools else None


def _of_client(config: Config, client: str, find_ban: FindBan) -> Iterator[CheckView]:
    """The checks of all requests of a client."""
    ban = find_ban(client)
    if ban is not None:
        yield CheckView("ban", CheckOutcome.REFUSES, f"403: {ban.network} is banned by {ban.giver}")
    if limit := config.limits.per_client:
        why = f"429 if {of_client(client)} has {limit} requests in flight at the same worker"
        yield CheckView("client_limit", CheckOutcome.DEPENDS, why)


def _of_place(config: Config, query: RequestQuery, pool: str, route: RouteConfig | None) -> Iterator[CheckView]:
    """The checks before this pool, or before a local reply, as `wiring.admission` has them."""
    traffic = config.traffic(pool, route)
    if traffic.access.allow or traffic.access.deny:
        access = AccessList(*traffic.access.to_lists(traffic.networks))
        if access.admits(query.client):
            yield CheckView("access", CheckOutcome.PASSES, f"{query.client} is admitted")
        else:
            yield CheckView("access", CheckOutcome.REFUSES, f"403: {query.client} is not admitted")
    if route is not None and route.client_certificate:
        why = "403 without a verified certificate of the client"
        yield CheckView("client_certificate", CheckOutcome.DEPENDS, why)
    table = config.auth_of(route)
    if table is not None:
        answers_preflight = bool(pool) and traffic.cors.to_model() is not None
        if answers_preflight and is_preflight(query.method, query.fields):
            yield CheckView("auth", CheckOutcome.PASSES, "a preflight request needs no credentials")
        else:
            yield _of_credentials(table, query)


def _of_credentials(table: AuthConfig, query: RequestQuery) -> CheckView:
    why, outcome = "", CheckOutcome.DEPENDS
    if table.basic is not None:
        why = f"401 unless the password is that of the user in {table.basic.file}"
        if basic_credentials(query.fields) is None:
            why, outcome = "401: a user and a password are needed", CheckOutcome.REFUSES
    elif table.forward is not None:
        why = f"as the service {table.forward.url} decides"
    elif table.jwt is not None:
        why = "401 unless the token is valid"
        if not bearer_token(query.fields):
            outcome = CheckOutcome.REFUSES
            is_given = bool(credentials(query.fields, "bearer"))
            why = "400: the credentials are no token" if is_given else "401: a token is needed"
    return CheckView("auth", outcome, why)
