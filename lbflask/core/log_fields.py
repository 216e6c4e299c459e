"""The fields of the access log: the keys of JSON lines, and the names in a custom format."""

from __future__ import annotations

import re
from difflib import get_close_matches

from lbflask.core.braced_names import foreign_variable, parts
from lbflask.core.http.field_names import is_token
from lbflask.core.redaction import is_secret

#: Each name and its meaning. A missing value is `-`, and is left out of JSON.
FIELDS = {
    "time": "when the request ended, in UTC to the millisecond",
    "id": "its `X-Request-ID`",
    "client": "the client's address, behind trusted proxies",
    "method": "",
    "target": "path and query as they came; the values of secrets are masked",
    "protocol": "`HTTP/1.1` or `HTTP/1.0`",
    "status": "the status that was sent to the client",
    "sent": "bytes of the response's body passed on; of a tunnel, those to the client",
    "received": "bytes of the request's body taken from the client",
    "seconds": "from the request's head to the last byte of its response",
    "route": "the route that it took; without routes none",
    "pool": "",
    "backend": "the backend whose response was passed on",
    "why": "why that one: `turn`, `least`, `random`, `hash`, `first`, `sticky`, `probe` (of one that was ejected), "
    "`hook` or `retry`",
    "upstream": "seconds until the head of its response had come",
    "attempts": "each try: in JSON a list of `backend`, `at` and `seconds`, and `fault`, `blame`, `reason` where it "
    "failed; else how many",
    "tried": "each try in short, as `web-2:connect,web-1:ok`; not in JSON",
    "cause": "why the client got this answer: `backend`, or what the balancer responded to by itself "
    "([metrics.md](metrics.md))",
    "limit": "the rate limit that the request exceeded",
    "user": "the user, where the route has `auth`",
    "type": "the `Content-Type` of the response",
    "instance": "the gunicorn that served it",
    "cut": "why the response broke off, or why the request was refused",
}


#: Before the name of a header field of the request.
HEADER = "header."
#: What other templates have behind a name: a form of the value.
_CONVERSION = re.compile(r"[!:]")


def parsed(form: str) -> tuple[tuple[str, str], ...]:
    """The parts of a format: literal text, each followed by a name, the last one by ''. `{{` and `}}` are braces.

    A name is one of FIELDS, or HEADER with a header field of the request, in small letters. Raises ValueError with the
    reason.
    """
    found = parts(form, every_brace=True)
    for text, name in found:
        if other := foreign_variable(text, any_name=True):
            raise ValueError(f"{other!r} is no name here: names are in braces, such as {{client}} or {{target}}")
        if "\n" in text or "\r" in text:
            raise ValueError("a request is one line")
        _check_name(name)
    return tuple((text, _checked_header(name) if name.startswith(HEADER) else name) for text, name in found)


def names_headers(form: str) -> bool:
    """Whether a format, which is valid, names a header field of the request."""
    return form not in ("text", "json") and any(name.startswith(HEADER) for _, name in parsed(form))


def _check_name(name: str) -> None:
    plain = _CONVERSION.split(name, maxsplit=1)[0]
    if plain and plain not in FIELDS and not plain.startswith(HEADER):
        nearest = "".join(f"; {{{one}}} is near" for one in get_close_matches(plain[:64], FIELDS, 1))
        raise ValueError(f"there is no {{{plain}}}; there are {', '.join(FIELDS)}, {HEADER}NAME{nearest}")
    if plain != name:
        raise ValueError(f"{{{plain}}} takes no conversion")


def _checked_header(name: str) -> str:
    field = name.removeprefix(HEADER)
    if not is_token(field):
        raise ValueError(f"{{{name}}}: {field!r} is not the name of a header field")
    if is_secret(field):
        raise ValueError(f"{{{name}}}: its values are secrets, which are in no log")
    return name.lower()
