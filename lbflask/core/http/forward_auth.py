"""The request to an authentication service about a request, and what its response decides."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from lbflask.core.http.field_names import decimal, members
from lbflask.core.http.fields import client_response, with_one_cookie
from lbflask.core.http.request_origin import RequestOrigin
from lbflask.core.http.types import Fields

#: Fields of the client that the service gets, in small letters.
_SENT: Final = frozenset({"accept", "accept-language", "authorization", "cookie", "user-agent", "x-requested-with"})
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})
#: Fields that name the user, the most telling first.
_USERS: Final = ("remote-user", "x-forwarded-user", "x-auth-request-user", "x-forwarded-preferred-username")
#: The field by which a request to a service is known again, if it comes back here (RFC 8586).
_LOOP: Final = "CDN-Loop"
#: Seconds of the longest max-age that is read.
_MOST_SECONDS: Final = 1 << 31


class ServiceVerdict(StrEnum):
    """What a response of the service means for the request."""

    ALLOWED = "allowed"
    REFUSED = "refused"  #: the client gets the response
    UNUSABLE = "unusable"  #: nothing is known of the request


def service_fields(received: Fields, method: str, target: str, origin: RequestOrigin, mark: str) -> Fields:
    """The fields of the request to the service, without Host. What clients state of other hops is not among them.
    `mark`, a token, is that of the service.
    """
    kept = [field for field in received if field[0].lower() in _SENT]
    if sum(name.lower() == "cookie" for name, _ in kept) > 1:
        kept = with_one_cookie(kept)
    return [
        *kept,
        ("X-Forwarded-Method", method),
        ("X-Forwarded-Proto", origin.scheme),
        ("X-Forwarded-Host", origin.host),
        ("X-Forwarded-Uri", target),
        ("X-Forwarded-For", origin.client),
        (_LOOP, mark),
    ]


def is_of_service(received: Fields, mark: str) -> bool:
    """Whether the request is itself one to the service with this mark: to ask it about that would have no end."""
    return any(name.lower() == "cdn-loop" and mark in list(members([value])) for name, value in received)


def service_verdict(status: int, fields: Fields) -> ServiceVerdict:
    """2xx allows; 401, 403 and redirections are the response for the client; nothing else decides."""
    if 200 <= status <= 299:
        return ServiceVerdict.ALLOWED
    is_redirection = status in _REDIRECTIONS and any(name.lower() == "location" for name, _ in fields)
    return ServiceVerdict.REFUSED if is_redirection or status in (401, 403) else ServiceVerdict.UNUSABLE


def cache_seconds(fields: Fields, most: float) -> float:
    """Seconds for which a response that allows a request may be used again: at most `most`, by its Cache-Control
    (RFC 9111 §5.2.2); 0 if it sets a cookie, which is for one client.
    """
    seconds = most
    for name, value in fields:
        lower = name.lower()
        if lower == "set-cookie" or (lower == "vary" and "*" in value):
            return 0.0
        if lower == "cache-control":
            for member in members([value]):
                directive, _, argument = member.lower().partition("=")
                if directive in ("no-store", "no-cache"):
                    return 0.0
                if directive == "max-age":
                    age = decimal(argument.strip('"'), _MOST_SECONDS)
                    seconds = 0.0 if age is None else min(seconds, float(age))
    return seconds


def refusal_fields(fields: Fields) -> Fields:
    """The fields of a refusal as the client gets it, without those of framing."""
    return [field for field in client_response(fields, None) if field[0].lower() != "content-length"]


def user_of(granted: Fields) -> str:
    """The user that granted fields name; empty for none."""
    values = {name.lower(): value for name, value in reversed(granted)}
    return next((values[name] for name in _USERS if values.get(name)), "")
