"""Error responses of the balancer itself: JSON, a configured page, or a line of text."""

from __future__ import annotations

import json

from lbflask.core.faults import Blame, Fault
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.types import Fields
from lbflask.proxy.settings import ProxySettings

#: Details for the client of faults that are not its own: enough to act on, nothing about the backends.
_DETAILS = {
    502: "the backend could not be reached or gave no valid response",
    503: "no backend can take the request now",
    504: "the backend did not respond in time",
}


#: Fields that describe the body of a response, or the resource that it represents.
_OF_BODY = frozenset(
    {"content-type", "content-length", "content-encoding", "content-language", "content-location", "content-range"}
    | {"content-disposition", "content-digest", "repr-digest", "digest", "etag", "last-modified", "accept-ranges"}
    | {"transfer-encoding", "trailer"}
)


def accepts_json(accept: str) -> bool:
    """Whether a client that sends this Accept field gets errors as JSON."""
    return "application/json" in accept or "+json" in accept


def with_page(fields: Fields, page: ErrorPage) -> Fields:
    """The fields of a backend's response whose body the page replaces."""
    kept = [field for field in fields if field[0].lower() not in _OF_BODY]
    return [*kept, ("Content-Type", page.content_type), ("Content-Length", str(len(page.body)))]


def accept_of(fields: Fields) -> str:
    """The Accept field of a request; empty for none."""
    return next((value for name, value in fields if name.lower() == "accept"), "")


def error_response(
    fault: Fault, accept: str, settings: ProxySettings, retry_after: int | None = None
) -> tuple[str, Fields, bytes]:
    """Status line, fields and body of the response to a fault.

    The body is JSON for a client that accepts it, else the configured page of the status, else a line of text.
    """
    phrase = reason_phrase(fault.status)
    detail = fault.reason if fault.blame is Blame.CLIENT else _DETAILS.get(fault.status, phrase)
    page = settings.pages.get(fault.status)
    if accepts_json(accept):
        content_type = "application/json"
        body = json.dumps({"status": fault.status, "error": phrase, "detail": detail}).encode() + b"\n"
    elif page is not None:
        content_type, body = page.content_type, page.body
    else:
        content_type = "text/plain; charset=utf-8"
        body = f"{fault.status} {phrase}: {detail}\n".encode()
    fields: Fields = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if retry_after is not None:
        fields.append(("Retry-After", str(retry_after)))
    if settings.via is not None:
        fields.append(("Via", "1.1 " + settings.via))
    return f"{fault.status} {phrase}", fields, body
