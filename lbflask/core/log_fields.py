"""The fields of the access log: the keys of JSON lines, and the names in a custom format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from lbflask.core.braced_names import foreign_variable, parts
from lbflask.core.http.field_names import is_token
from lbflask.core.http.value_templates import environment_value
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
    "queued": "seconds that it waited for a slot of a backend (`max_connections`); without a wait none",
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


#: Names of custom lines besides, each with its meaning: variables of header values (docs/variables.md).
OF_LINES = {
    "scheme": "`http` or `https`, as the client used it",
    "host": "the name that the client asked for",
    "authority": "the same with its port",
    "path": "of the target, with masked secrets",
    "query": "the same, from its `?` on",
    "request_id": "the same as `id`",
    "tls.version": "of the connection",
    "tls.client_subject": "the subject of the client's certificate",
}
#: Before the name of a header field of the request, of one of the response, and of a variable of the environment.
HEADER, RESPONSE_HEADER, _ENVIRONMENT = "header.", "response_header.", "env."
#: The names whose values only the facts of the request have.
_OF_FACTS = frozenset({"scheme", "host", "authority", "tls.version", "tls.client_subject"})
#: The formats with names of their own.
_NAMED_FORMATS = frozenset({"text", "json", "combined"})
_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})
#: What other templates have behind a name: a form of the value.
_CONVERSION = re.compile(r"[!:]")


def parsed(form: str, environ: Mapping[str, str] = _NO_ENVIRONMENT) -> tuple[tuple[str, str], ...]:
    """The parts of a custom line: literal text, each followed by a name, the last one by ''. `{{` and `}}` are braces.

    A name is one of FIELDS or of OF_LINES, or HEADER or RESPONSE_HEADER with a field in small letters; variables of the
    environment are filled in. Raises ValueError with the reason.
    """
    found: list[tuple[str, str]] = []
    literal = ""
    for text, name in parts(form, every_brace=True):
        if other := foreign_variable(text, any_name=True):
            raise ValueError(f"{other!r} is no name here: names are in braces, such as {{client}} or {{target}}")
        literal += text
        if name.startswith(_ENVIRONMENT):
            literal += environment_value(name, environ)
        elif name:
            found.append((literal, _known(name)))
            literal = ""
    found.append((literal, ""))
    if any("\n" in text or "\r" in text for text, _ in found):
        raise ValueError("a request is one line")
    return tuple(found)


def needs_facts(form: str, environ: Mapping[str, str] = _NO_ENVIRONMENT) -> bool:
    """Whether lines of a format, which is valid, have header fields of the request or other facts of it."""
    if form in _NAMED_FORMATS:
        return form == "combined"
    return any(name in _OF_FACTS or name.startswith(HEADER) for _, name in parsed(form, environ))


def check_field(name: str) -> None:
    """Raises ValueError for what is no name of a header field, and for one whose values are secrets."""
    if not is_token(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if is_secret(name):
        raise ValueError(f"{name!r}: its values are secrets, which are in no log")


def _known(name: str) -> str:
    """The name in a line, with that of a header field in small letters. Raises ValueError."""
    for prefix in (HEADER, RESPONSE_HEADER):
        if name.startswith(prefix):
            check_field(name[len(prefix) :])
            return name.lower()
    if name in FIELDS or name in OF_LINES:
        return name
    plain = _CONVERSION.split(name, maxsplit=1)[0]
    if plain in FIELDS or plain in OF_LINES:
        raise ValueError(f"{{{plain}}} takes no conversion")
    names = [*FIELDS, *OF_LINES]
    nearest = "".join(f"; {{{one}}} is near" for one in get_close_matches(plain[:64], names, 1))
    listed = ", ".join([*names, f"{HEADER}NAME", f"{RESPONSE_HEADER}NAME", f"{_ENVIRONMENT}NAME"])
    raise ValueError(f"there is no {{{plain}}}; there are {listed}{nearest}")
