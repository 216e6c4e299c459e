"""Texts with variables, such as `{scheme}://{host}`, for header fields, redirections and bodies: parsed once, and
filled for each request.

A value that a peer states cannot leave its place: it has no control characters and at most MAX_VALUE characters
(RFC 9110 §5.5), and is encoded for a place with a syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lbflask.core.braced_names import foreign_variable, parts
from lbflask.core.http.field_names import is_token
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields

#: Characters of one variable in a value; longer ones are cut.
MAX_VALUE: Final = 8190
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: What the configuration may not put into the value of a header field.
_UNSENDABLE = re.compile(r"[^\t -~]")


@dataclass(slots=True)
class RequestFacts:
    """What the variables of a request stand for. `backend` is empty until one has responded, `tls_version` without TLS,
    and `tls_client_subject` without a certificate of the client.
    """

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
    tls_version: str = ""
    tls_client_subject: str = ""
    user: str = ""


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
    "tls.version": lambda facts: facts.tls_version,
    "tls.client_subject": lambda facts: facts.tls_client_subject,
    "user": lambda facts: facts.user,
}
#: The prefix of a field of the request, and of a variable of the environment.
_FIELD, _ENVIRONMENT = "header.", "env."


class UnknownVariable(ValueError):
    """A name in braces stands for nothing here."""


class ValueTemplate:
    """A text with variables. Its parts are texts, each followed by the name of a variable or by ''."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[tuple[str, str], ...]) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"ValueTemplate({sorted(self.names)})"  # the text may have a secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueTemplate) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def names(self) -> frozenset[str]:
        """The names of its variables, those of fields in small letters."""
        return frozenset(name for _, name in self.parts if name)

    def filled(self, facts: RequestFacts) -> str:
        """The value of a header field for a request, without blanks at its ends."""
        pieces = []
        for text, name in self.parts:
            pieces.append(text)
            if name:
                pieces.append(value_of(name, facts))
        return "".join(pieces).strip(" \t")

    def encoded(self, facts: RequestFacts, encode: Callable[[str, str], str]) -> str:
        """The text for a request. `encode` is called with the name of a variable and with its value."""
        pieces = []
        for text, name in self.parts:
            pieces.append(text)
            if name:
                pieces.append(encode(name, value_of(name, facts)))
        return "".join(pieces)


def value_of(name: str, facts: RequestFacts) -> str:
    """What a variable stands for: one of VARIABLES, or `header.` and the name of a field in small letters."""
    if name.startswith(_FIELD):
        wanted = name[len(_FIELD) :]
        value = ", ".join([text for field, text in facts.fields if field.lower() == wanted])
    else:
        value = VARIABLES[name](facts)
    return _UNSAFE.sub("", value[:MAX_VALUE])


def parsed_value(
    text: str, environ: Mapping[str, str], *, without: frozenset[str] = frozenset(), every_brace: bool = False
) -> str | ValueTemplate:
    """The text: a template if it has variables. `{{name}}` stands for `{name}`; for `every_brace` see `braced_names`.

    Variables of the environment are filled here. Raises UnknownVariable, with the reason: for a name that does not
    exist or is in `without`, and for a variable of another proxy.
    """
    if foreign := foreign_variable(text):
        raise UnknownVariable(f"{foreign!r} is no variable here: {_listed(without)}")
    found: list[tuple[str, str]] = []
    literal = ""
    for piece, name in parts(text, every_brace=every_brace):
        literal += piece
        if name.startswith(_ENVIRONMENT) and len(name) > len(_ENVIRONMENT):
            literal += environment_value(name, environ)
        elif name:
            found.append((literal, _known(name, without)))
            literal = ""
    return ValueTemplate((*found, (literal, ""))) if found else literal


def field_value(text: str, environ: Mapping[str, str], *, without: frozenset[str] = frozenset()) -> str | ValueTemplate:
    """As `parsed_value`, for the value of a header field: a variable of the environment has nothing in it that ends the
    field, such as the line break that files with secrets end in (RFC 9110 §5.5). Raises UnknownVariable.
    """
    found = parsed_value(text, environ, without=without)
    for _, name in parts(text):
        if name.startswith(_ENVIRONMENT) and _UNSENDABLE.search(value := environment_value(name, environ)):
            variable = name[len(_ENVIRONMENT) :]
            ends = not _UNSENDABLE.search(value.rstrip("\r\n"))
            reason = "ends in a line break" if ends else "is not of printable ASCII"
            raise UnknownVariable(f"the variable {variable} of the environment {reason}, which no field may have")
    return found


def environment_value(name: str, environ: Mapping[str, str]) -> str:
    """The value of a variable of the environment, `env.NAME`. Raises UnknownVariable."""
    variable = name[len(_ENVIRONMENT) :]
    if variable not in environ:
        raise UnknownVariable(f"the variable {variable} of the environment is not set")
    value = environ[variable]
    try:
        value.encode()
    except UnicodeEncodeError:  # Python has a surrogate for each byte that is no text
        raise UnknownVariable(f"the variable {variable} of the environment is not UTF-8 text") from None
    return value


def _known(name: str, without: frozenset[str]) -> str:
    """The name of a variable; that of a field in small letters. Raises UnknownVariable."""
    if name.startswith(_FIELD) and is_token(name[len(_FIELD) :]):
        return name.lower()
    if name not in VARIABLES:
        raise UnknownVariable(f"there is no {{{name}}}: {_listed(without)}")
    if name in without:
        raise UnknownVariable(f"{{{name}}} is not known yet when this is sent: {_listed(without)}")
    return name


def _listed(without: frozenset[str]) -> str:
    names = [f"{{{name}}}" for name in VARIABLES if name not in without]
    return f"there are {', '.join(names)}, {{header.NAME}} and {{env.NAME}}"
