"""Max-Forwards (RFC 9110 §7.6.2): how many hops an OPTIONS or TRACE may still go, and the answer where it ends."""

from __future__ import annotations

from lbflask.core.http.field_names import decimal
from lbflask.core.http.types import Fields

#: The largest count that is passed on; a larger one is cut to it, as the section allows.
MOST = 999_999_999

#: What a TRACE must not show to scripts that can make a browser send one (RFC 9110 §9.3.8).
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


class BadMaxForwards(Exception):
    """The field is not a number or is repeated: where the request ends is ambiguous (400)."""


def with_one_hop_less(method: str, fields: Fields) -> Fields | None:
    """The fields to pass on, with the count one lower; None when the request ends here and we are to answer it.

    Other methods than OPTIONS and TRACE, and requests without the field, keep what they have. Raises BadMaxForwards.
    """
    if method not in ("OPTIONS", "TRACE"):
        return fields
    found = [index for index, (name, _) in enumerate(fields) if name.lower() == "max-forwards"]
    if not found:
        return fields
    count = decimal(fields[found[0]][1], MOST)
    if count is None or len(found) > 1:
        raise BadMaxForwards("Max-Forwards is repeated or not a number")
    if count == 0:
        return None
    place = found[0]
    return [*fields[:place], (fields[place][0], str(count - 1)), *fields[place + 1 :]]


def final_answer(
    method: str, target: str, protocol: str, fields: Fields, via: str | None = None
) -> tuple[str, Fields, bytes]:
    """Status line, fields and body of the answer to a request that ends here.

    `target`, `protocol` and `fields` are those of the request as it was received: a TRACE is answered with them, but
    for credentials (RFC 9110 §9.3.8). What a backend allows is not ours to say, so OPTIONS is answered without Allow.
    """
    fields_added: Fields = [] if via is None else [("Via", "1.1 " + via)]
    if method != "TRACE":
        return "204 No Content", fields_added, b""
    lines = [f"{name}: {value}\r\n" for name, value in fields if name.lower() not in _SECRET]
    body = f"{method} {target} {protocol}\r\n{''.join(lines)}\r\n".encode("latin-1")
    return "200 OK", [("Content-Type", "message/http"), ("Content-Length", str(len(body))), *fields_added], body
