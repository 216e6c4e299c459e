"""The sticky cookie: extracted from a request, and set in a response (RFC 6265).

All other cookies keep their bytes and their order.
"""

from __future__ import annotations

from lbflask.core.http.field_names import members
from lbflask.core.http.types import Fields
from lbflask.core.model import StickyCookie


def take_session(fields: Fields, cookie: StickyCookie) -> list[str]:
    """Remove what names the session from the fields, in place, and return its values in order: those of the cookie, or
    of the header field.
    """
    if not cookie.in_header:
        return take(fields, cookie.name)
    name = cookie.name.lower()
    values = [value for field, value in fields if field.lower() == name]
    if values:
        fields[:] = [(field, value) for field, value in fields if field.lower() != name]
    return values


def take(fields: Fields, name: str) -> list[str]:
    """Remove all cookies of this name from the fields, in place, and return their values in order (RFC 6265 §4.2.1).

    A client may have several, for other paths or domains, and third parties can influence their order (§8.6).
    """
    values: list[str] = []
    for index in range(len(fields) - 1, -1, -1):
        field, line = fields[index]
        if name in line and field.lower() == "cookie":
            matching, rest = _split(line, name)
            if matching:
                values[:0] = matching
                fields[index : index + 1] = [(field, rest)] if rest else []
    return values


def _split(line: str, name: str) -> tuple[list[str], str]:
    matching, rest = [], []
    for pair in line.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            matching.append(value.strip(" \t"))
        else:
            rest.append(pair)
    return matching, ";".join(rest).lstrip(" \t")


def attributes(cookie: StickyCookie, *, secure: bool) -> str:
    """The attributes of a Set-Cookie line, after its value (RFC 6265 §4.1.1, SameSite by RFC 6265bis)."""
    attributes = (
        f"Path={cookie.path}",
        cookie.domain and f"Domain={cookie.domain}",
        cookie.max_age is not None and f"Max-Age={max(1, int(cookie.max_age))}",
        secure and "Secure",
        cookie.http_only and "HttpOnly",
        cookie.same_site and f"SameSite={cookie.same_site.capitalize()}",
    )
    return "".join(f"; {attribute}" for attribute in attributes if attribute)


def with_privacy(cookies: Fields, method: str, fields: Fields) -> Fields:
    """Cookies for one client that a response with these fields gets, with what else keeps it from shared caches: they
    would hand the cookies to others.
    """
    if method in ("GET", "HEAD") and not kept_from_shared_caches(fields):
        return [*cookies, ("Cache-Control", "private")]
    return cookies


def kept_from_shared_caches(fields: Fields) -> bool:
    """Whether the response forbids shared caches to store it (RFC 9111 §5.2.2.5, §5.2.2.7): Set-Cookie alone does not
    (§7.3).
    """
    said = members(value for name, value in fields if name.lower() == "cache-control")
    return any(directive.lower() in ("private", "no-store") for directive in said)
