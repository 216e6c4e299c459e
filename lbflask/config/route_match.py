"""Configuration of what a route matches, and the name that a route has by it (docs/routing.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    WrapSerializer,
    model_validator,
)

from lbflask.config.field_types import (
    FieldName,
    Item,
    Listed,
    Network,
    Section,
    checked_by,
    is_host,
    is_method,
    required,
)
from lbflask.config.paths import LISTENER
from lbflask.config.redaction import FieldTable, Secret
from lbflask.core.http.addresses import plain_network
from lbflask.core.http.field_names import is_token
from lbflask.core.http.paths import is_odd, plain_path
from lbflask.core.http.target import host_of
from lbflask.core.linear_expression import LinearExpression
from lbflask.core.route_match import RouteMatch
from lbflask.core.route_match import Wanted as WantedValue

_PATH = re.compile(r"/[!-\"$->@-~]*")
_SUFFIX = re.compile(r"[!-\"$->@-~]+")
#: What expressions have, and paths hardly ever.
_EXPRESSION = re.compile(r"^[\^~]|\\|\[|\]|\(\?|[.)][*+?]|[|{}]|\$$")
#: Characters of the name of a route.
MOST_NAMED = 64
#: Methods that are likely meant by the same word in small letters (RFC 9110 §9.1 tells them apart).
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, Mapping)) else value


def _shown(items: Any, serialize: Callable[[Any], Any]) -> Any:
    shown = serialize(items)
    return shown[0] if len(shown) == 1 else shown


#: A list, or the only item of one, as which it is shown.
OneOrMore = Annotated[tuple[Item, ...], BeforeValidator(_as_list), WrapSerializer(_shown, when_used="json")]


def _host(value: str) -> str:
    if value in ("_", "*"):
        raise ValueError("leave host out for all names")
    name = value.removeprefix("*.")
    host = host_of(name) if is_host(name) else ""
    if not host or "*" in host or (":" in name and not name.endswith("]")):
        raise ValueError("must be a name or an address without a port, or *. and a name")
    return "*." + host if value.startswith("*.") else host


def _check_path(value: str, form: re.Pattern[str], expected: str) -> None:
    """Raises ValueError for a text that is no path, or none that can be compared."""
    if _EXPRESSION.search(value):
        raise ValueError("is compared as it is; `regex` is for regular expressions")
    if "*" in value:
        plain = value.partition("*")[0].rstrip("/") or "/"
        instead = f"write {plain}" if value.startswith("/") else f"write {value.replace('*', '')}"
        raise ValueError(f"is compared as it is, without wildcards: {instead}, or %2A for the character itself")
    if "?" in value:
        raise ValueError("is a path without its query; `query` is for that: { path = …, query = { NAME = VALUE } }")
    if not form.fullmatch(value):
        missing = "" if value.startswith("/") or form is _SUFFIX else f"; write /{value}"
        raise ValueError(f"{expected}{missing}")
    plain = plain_path(value)
    if is_odd(plain.replace("%", "")) or any(sign >= "\ue000" for sign in plain):
        raise ValueError(
            "can be read in two ways: it has //, a segment . or .., ; or \\, or an encoded one of / ; \\ ? #"
        )


def path_prefix(value: str) -> str:
    """A prefix without a slash at its end. Empty for any path. Raises ValueError."""
    if value:
        _check_path(value, _PATH, "must be a path that begins with /, without blanks, ? and #")
    return value.rstrip("/") or "/"


def _exact_path(value: str) -> str:
    _check_path(value, _PATH, "must be a path that begins with /, without blanks, ? and #")
    return value


def _suffix(value: str) -> str:
    _check_path(value, _SUFFIX, "must be the end of a path, such as .php, without blanks, ? and #")
    return value


def _check_method(value: str) -> None:
    if value != value.upper() and value.upper() in _METHODS:
        raise ValueError(f"methods are compared as they are written: write {value.upper()}")


def _check_expression(value: str) -> None:
    if not value.isascii() or not value.isprintable():
        raise ValueError("must be of printable ASCII")
    LinearExpression(value)


def _check_secret_expression(value: Secret) -> None:
    """The same, without a part of it in the error."""
    try:
        _check_expression(value.reveal())
    except ValueError as error:
        raise ValueError(str(error).partition(": ")[0]) from None


def _wanted(value: Any) -> Any:
    if value is not True and not isinstance(value, (str, Mapping, ExpressionConfig)):
        raise ValueError("must be the value as a string, true for any value, or { regex = … }")
    return value


def _form(value: Any) -> str:
    """The tag of the type that a value is of. Errors have no step for a tag in brackets."""
    return "[any]" if value is True else "[text]" if isinstance(value, str) else "[expression]"


MatchedName = Annotated[FieldName, required(lambda name: name.lower() != "host", "is what match.host is for")]
CookieToken = Annotated[str, required(is_token, "must be the name of a cookie")]
Parameter = Annotated[str, required(bool, "must be the name of a parameter")]
Method = Annotated[str, required(is_method, "must be a method such as GET or POST"), checked_by(_check_method)]
PathPrefix = Annotated[str, AfterValidator(path_prefix)]
ExpressionText = Annotated[str, checked_by(_check_expression)]


class ExpressionConfig(Section):
    """An expression for a value."""

    regex: Annotated[Secret, checked_by(_check_secret_expression)]
    """A regular expression in RE2's syntax, which is found anywhere in the value; `^` and `$` are its ends."""


Wanted = Annotated[
    Annotated[Secret, Tag("[text]")]
    | Annotated[Literal[True], Tag("[any]")]
    | Annotated[ExpressionConfig, Tag("[expression]")],
    Discriminator(_form),
    BeforeValidator(_wanted),
]
ListenerText = Annotated[str, LISTENER, required(bool, "must be the name or the address of a listener, or :port")]


class ConditionsConfig(Section):
    """Requests that are left out: those that match each key that is set."""

    host: Listed[Annotated[str, AfterValidator(_host)]] = ()
    """Names or addresses, without port; `*.example.com` matches every name under example.com, at any depth."""
    path: OneOrMore[PathPrefix] = ()
    """Prefixes in whole segments, one or several: `/api` matches /api and /api/x, not /apix."""
    exact: OneOrMore[Annotated[str, AfterValidator(_exact_path)]] = ()
    """Whole paths, one or several; a slash at the end counts. Not together with `path`."""
    suffix: OneOrMore[Annotated[str, AfterValidator(_suffix)]] = ()
    """Ends of paths, one or several, such as `.php`."""
    regex: ExpressionText | None = None
    """A regular expression for the path, in RE2's syntax: `^/v[0-9]+/`. It needs `lbflask[re2]`."""
    methods: Listed[Method] = ()
    """Methods, in capitals."""
    headers: Annotated[dict[MatchedName, Wanted], FieldTable()] = Field(default_factory=dict)
    """Header fields by name: the value of one of their lines, true for any value, or `{ regex = … }`."""
    query: Annotated[dict[Parameter, Wanted], FieldTable()] = Field(default_factory=dict)
    """Parameters of the query by name: the decoded value of one of them, true for any, or `{ regex = … }`."""
    cookies: Annotated[dict[CookieToken, Wanted], FieldTable()] = Field(default_factory=dict)
    """Cookies by name: the value, true for any, or `{ regex = … }`."""
    client: Listed[Network] = ()
    """Networks of the client's address, which is the one that trusted proxies name."""
    scheme: Literal["http", "https"] | None = None
    """The scheme that the client uses: that of the connection, or the one that a trusted proxy names."""
    listener: OneOrMore[ListenerText] = ()
    """Listeners by which requests come: their names or addresses, or `:80` for all with the port."""
    _labels: frozenset[str] = PrivateAttr(default_factory=frozenset)

    @model_validator(mode="after")
    def _check_together(self) -> ConditionsConfig:
        if self.exact and (self.path or self.suffix or self.regex):
            key = "path" if self.path else "suffix" if self.suffix else "regex"
            raise ValueError(f"exact and {key} exclude each other: write two routes, or only one of them")
        return self

    def to_model(self) -> RouteMatch:
        """The match as a value of the core."""
        return RouteMatch(
            self.host,
            tuple([plain_path(path.rstrip("/")) for path in self.path]),
            frozenset(self.methods),
            _wanted_values({name.lower(): value for name, value in self.headers.items()}),
            tuple(map(plain_path, self.exact)),
            tuple(map(plain_path, self.suffix)),
            LinearExpression(self.regex) if self.regex is not None else None,
            _wanted_values(self.query),
            _wanted_values(self.cookies),
            tuple(map(plain_network, self.client)),
            self.scheme or "",
            self._labels or frozenset(self.listener),
        )

    def check_listeners(self, where: str, labels: Mapping[str, str]) -> None:
        """Raises ValueError, which names the setting, for a listener that does not exist. `labels` are those of the
        listeners, by address.
        """
        found: set[str] = set()
        for number, text in enumerate(self.listener):
            named = [label for bind, label in labels.items() if text in (bind, label, f":{bind.rpartition(':')[2]}")]
            if not named:
                raise ValueError(f"{where}.listener[{number}]: {text!r} is no listener; there are {', '.join(labels)}")
            found.update(named)
        self._labels = frozenset(found)

    def derived_name(self) -> str:
        """A name by what matches, the same for the same match. It may be cut."""
        places = [f"={path}" for path in self.exact] or list(self.path) or ["/"]
        kinds = {"header": self.headers, "query": self.query, "cookie": self.cookies}
        conditions = ["|".join(self.methods), *(f"{kind}:{name}" for kind, names in kinds.items() for name in names)]
        conditions += [*map(str, self.client), self.scheme or "", *self.listener]
        text = ",".join(self.host) + ",".join(places) + ",".join(f"*{each}" for each in self.suffix)
        shown = ",".join(filter(None, conditions))
        text += (f"~{self.regex}" if self.regex else "") + (f"[{shown}]" if shown else "")
        return text.replace(" ", "%20")[:MOST_NAMED]


class MatchConfig(ConditionsConfig):
    """The requests that a route matches: those that match each key that is set."""

    #: Its name in the file is a keyword of Python.
    not_: OneOrMore[ConditionsConfig] = Field(default=(), alias="not")
    """Requests that are left out: a table with the same keys, or several of which none may match."""

    def to_model(self) -> RouteMatch:
        """The match as a value of the core."""
        return replace(super().to_model(), excluded=tuple(inner.to_model() for inner in self.not_))

    def check_listeners(self, where: str, labels: Mapping[str, str]) -> None:
        """As of the other conditions."""
        super().check_listeners(where, labels)
        for number, inner in enumerate(self.not_):
            inner.check_listeners(f"{where}.not[{number}]", labels)

    def derived_name(self) -> str:
        """A name by what matches, the same for the same match. It may be cut."""
        left_out = "".join(f"!{inner.derived_name()}" for inner in self.not_)
        return (super().derived_name() + left_out)[:MOST_NAMED]


def _wanted_values(table: Mapping[str, Secret | bool | ExpressionConfig]) -> tuple[tuple[str, WantedValue], ...]:
    return tuple(sorted(((name, _wanted_value(value)) for name, value in table.items()), key=lambda pair: pair[0]))


def _wanted_value(value: Secret | bool | ExpressionConfig) -> WantedValue:
    if isinstance(value, ExpressionConfig):
        return LinearExpression(value.regex.reveal())
    return value.reveal() if isinstance(value, Secret) else None
