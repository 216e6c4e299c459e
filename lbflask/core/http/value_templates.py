"""Values of header fields with variables, such as `{scheme}://{host}`: parsed once, filled for each request.

A value that a peer states cannot leave its place: it is a part of one field value, without control characters and
within MAX_VALUE characters (RFC 9110 §5.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields

#: Characters of one variable in a value; longer ones are cut.
MAX_VALUE: Final = 8190
#: `{{name}}`, `{name}`, and the variables of nginx, which are likely mistakes. Other braces are text, as those of JSON.
_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,255}"
_FOREIGN = (
    r"\$(?:\{)?(?:host|hostname|remote_addr|remote_user|scheme|request_uri|request_id|request_method|uri|args|is_args|status"
    r"|server_name|server_port|proxy_\w+|upstream_\w+|http_\w+|sent_http_\w+|cookie_\w+|arg_\w+|ssl_\w+)\b"
)
_VARIABLE = re.compile(rf"\{{\{{(?P<text>{_NAME})\}}\}}|(?<!\$)\{{(?P<name>{_NAME})\}}|(?P<foreign>{_FOREIGN})")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(slots=True)
class RequestFacts:
    """What the variables of a request stand for. `backend` is empty until one has responded."""

    client: str
    scheme: str
    host: str  #: as the client asked for it, with its port
    method: str
    target: str  #: in origin-form
    request_id: str
    fields: Fields  #: as received
    backend: str = ""
    pool: str = ""
    route: str = ""


def _path(facts: RequestFacts) -> str:
    return facts.target.partition("?")[0]


def _query(facts: RequestFacts) -> str:
    """With its question mark; empty without a query."""
    _, mark, query = facts.target.partition("?")
    return mark + query


#: Each variable of a request, and its value.
VARIABLES: Final[Mapping[str, Callable[[RequestFacts], str]]] = {
    "client": lambda facts: facts.client,
    "scheme": lambda facts: facts.scheme,
    "host": lambda facts: host_of(facts.host),
    "authority": lambda facts: facts.host,
    "method": lambda facts: facts.method,
    "path": _path,
    "query": _query,
    "request_id": lambda facts: facts.request_id,
    "pool": lambda facts: facts.pool,
    "route": lambda facts: facts.route,
    "backend": lambda facts: facts.backend,
}
#: The prefix of a field of the request, and of a variable of the environment.
_FIELD, _ENVIRONMENT = "header.", "env."


class UnknownVariable(ValueError):
    """A name in braces stands for nothing here."""


class ValueTemplate:
    """A value with variables. Its parts are texts, each followed by the name of a variable or by ''."""

    __slots__ = ("_parts", "_text")

    def __init__(self, text: str, parts: tuple[tuple[str, str], ...]) -> None:
        self._text = text
        self._parts = parts

    def __repr__(self) -> str:
        return f"ValueTemplate({[name for _, name in self._parts if name]})"  # the text may have a secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueTemplate) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def filled(self, facts: RequestFacts) -> str:
        """The value for a request, without blanks at its ends."""
        pieces = []
        for text, name in self._parts:
            pieces.append(text)
            if name:
                pieces.append(_value(name, facts))
        return "".join(pieces).strip(" \t")


def _value(name: str, facts: RequestFacts) -> str:
    if name.startswith(_FIELD):
        wanted = name[len(_FIELD) :]
        value = ", ".join(text for field, text in facts.fields if field.lower() == wanted)
    else:
        value = VARIABLES[name](facts)
    return _UNSAFE.sub("", value[:MAX_VALUE])


def parsed_value(
    text: str, environ: Mapping[str, str], *, without: frozenset[str] = frozenset()
) -> str | ValueTemplate:
    """The value: a template if it has variables, else a text. `{{name}}` stands for `{name}`.

    Variables of the environment are filled here. Raises UnknownVariable, with the reason: for a name that does not
    exist or is in `without`, and for a variable of another proxy.
    """
    parts: list[tuple[str, str]] = []
    literal, end = "", 0
    for found in _VARIABLE.finditer(text):
        literal += text[end : found.start()]
        end = found.end()
        if found["text"]:
            literal += f"{{{found['text']}}}"
        elif found["foreign"]:
            raise UnknownVariable(f"{found['foreign']!r} is no variable here: {_listed(without)}")
        elif found["name"].startswith(_ENVIRONMENT) and len(found["name"]) > len(_ENVIRONMENT):
            variable = found["name"][len(_ENVIRONMENT) :]
            if variable not in environ:
                raise UnknownVariable(f"the variable {variable} of the environment is not set")
            literal += environ[variable]
        else:
            parts.append((literal, _known(found["name"], without)))
            literal = ""
    literal += text[end:]
    return ValueTemplate(text, (*parts, (literal, ""))) if parts else literal


def foreign_variable(text: str) -> str:
    """The first variable of nginx in a text, which has none; empty without one."""
    found = re.search(_FOREIGN, text)
    return found[0] if found else ""


def _known(name: str, without: frozenset[str]) -> str:
    """The name of a variable; that of a field in small letters. Raises UnknownVariable."""
    if name.startswith(_FIELD) and len(name) > len(_FIELD):
        return name.lower()
    if name not in VARIABLES:
        raise UnknownVariable(f"there is no {{{name}}}: {_listed(without)}")
    if name in without:
        raise UnknownVariable(f"{{{name}}} is not known yet when this is sent: {_listed(without)}")
    return name


def _listed(without: frozenset[str]) -> str:
    names = [f"{{{name}}}" for name in VARIABLES if name not in without]
    return f"there are {', '.join(names)}, {{header.NAME}} and {{env.NAME}}"
