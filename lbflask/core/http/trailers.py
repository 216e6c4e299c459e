"""Which fields may follow a body (RFC 9110 §6.5). A recipient may merge them into the head."""

from __future__ import annotations

from lbflask.core.http.field_names import NameTable
from lbflask.core.http.fields import HOP_BY_HOP
from lbflask.core.http.proxy_fields import is_claim, is_disguised_claim
from lbflask.core.http.types import Fields

#: RFC 9110 §6.5.1, beside hop-by-hop fields.
_NOT_IN_TRAILERS = (
    *("content-length", "host", "via", "alt-svc", "http2-settings"),  # framing and routing
    *("expect", "max-forwards", "cache-control", "pragma", "prefer"),  # controls (§10.1)
    *("x-http-method", "x-http-method-override", "x-method-override"),  # methods that are not the request line's
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),  # conditions (§13.1)
    *("range", "content-range"),  # ranges (§14)
    *("authorization", "www-authenticate", "cookie", "set-cookie"),  # credentials (§11)
    *("age", "date", "expires", "location", "retry-after", "vary", "warning"),  # control of the response (§10.2)
    *("content-encoding", "content-type", "content-location", "content-language"),  # format of the content (§8)
    "x-request-id",  # a name that proxies give to requests
)
_FORBIDDEN: NameTable[bool] = NameTable(dict.fromkeys([*HOP_BY_HOP, *_NOT_IN_TRAILERS], True))


def passable_trailers(fields: Fields) -> Fields:
    """Those of the fields that may stand in a trailer section, as they are and in order.

    Statements of proxies belong into the head (proxy_fields.py). A name with an underscore is dropped as in the head of
    a request: many backends cannot distinguish it from one with a hyphen.
    """
    return [field for field in fields if not _FORBIDDEN[field[0]] and not _from_a_proxy(field[0])]


def _from_a_proxy(name: str) -> bool:
    return "_" in name or is_claim(name) or is_disguised_claim(name)
