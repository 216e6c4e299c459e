"""What the variables of header values stand for in a request."""

from __future__ import annotations

from lbflask.core.distinguished_names import line_of
from lbflask.core.http.value_templates import RequestFacts
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.services import HopCache


def facts_of(request: ClientRequest, hops: HopCache, found: tuple[str, str, str, str]) -> RequestFacts:
    """The facts of a request; client, scheme and host as trusted proxies state them. `found` are its id, the backend
    that has responded, its pool and its route.
    """
    origin = hops.origin(request)
    request_id, backend, pool, route = found
    exchange = request.server_exchange
    tls_version, subject = ("", ()) if exchange is None else exchange.tls_facts
    return RequestFacts(
        client=origin.client,
        scheme=origin.scheme,
        host=origin.host,
        method=request.method,
        target=request.target.text,
        request_id=request_id,
        fields=request.fields,
        backend=backend,
        pool=pool,
        route=route,
        tls_version=tls_version,
        tls_client_subject=line_of(subject) if subject else "",
        user=request.user,
    )
