"""The stage of OPTIONS and TRACE requests that end here: preflight requests, and those whose Max-Forwards is 0
(RFC 9110 §7.6.2). No backend gets them.
"""

from __future__ import annotations

from lbflask.core.faults import Blame, Fault, Stage
from lbflask.core.http.cors import CorsPolicy, is_preflight, value_of
from lbflask.core.http.max_forwards import BadMaxForwards, final_answer, with_one_hop_less
from lbflask.core.http.types import Fields
from lbflask.proxy.client_request import ClientRequest


def final_response(
    request: ClientRequest, fields: Fields, cors: CorsPolicy | None, via: str | None
) -> tuple[tuple[str, Fields, bytes] | None, Fields]:
    """Status line, fields and body of the response; else None, and the fields for backends, with one hop less. Raises
    Fault for an invalid Max-Forwards.
    """
    if cors is not None and is_preflight(request.method, request.fields):
        return _preflight_response(cors, request.fields, via), fields
    try:
        forwarded = with_one_hop_less(request.method, fields)
    except BadMaxForwards as bad:
        raise Fault(Blame.CLIENT, Stage.CHOOSE, 400, str(bad)) from None
    if forwarded is None:
        return final_answer(request.method, request.raw_target, request.protocol, request.received_fields, via), fields
    return None, forwarded


def _preflight_response(cors: CorsPolicy, fields: Fields, via: str | None) -> tuple[str, Fields, bytes]:
    method, names = (value_of(fields, f"access-control-request-{part}") for part in ("method", "headers"))
    answer = cors.preflight(value_of(fields, "origin"), method, names)
    return "204 No Content", answer if via is None else [*answer, ("Via", "1.1 " + via)], b""
