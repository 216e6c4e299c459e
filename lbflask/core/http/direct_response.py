"""Direct responses: configured responses of a route without a backend, fixed or redirects (RFC 9110 §15.4).

What a client sends never leaves its place: it is percent-encoded in a URL, and escaped in a body by the body's type.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts, ValueTemplate, parsed_value
from lbflask.core.redaction import masked_url

#: What is not known where no backend responds.
OF_BACKENDS: Final = frozenset({"backend", "pool"})
#: What values that are parts of a URL may have beside letters and digits (RFC 3986 §3), with `%` as it came, and what
#: clients send although they should encode it. In values of all other variables all of it is encoded.
_HOST, _TARGET = "[]:!$&'()*+,;=%", "/:?@[]!$&'()*+,;=%{}|^`\"<>\\"
_URL_PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {"host": _HOST, "authority": _HOST, "path": _TARGET, "query": _TARGET}
)
_NO_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A body and its content type."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """The same response for all requests, but for the variables of its `text`, which replaces the body of the page."""

    status: int
    page: ErrorPage
    text: ValueTemplate | None = None

    @property
    def varies(self) -> bool:
        """Whether it has variables."""
        return self.text is not None

    def parts(self, facts: RequestFacts) -> tuple[Fields, bytes]:
        """The fields and the body. Raises ValueError for variables in a body of a type without an escape."""
        if self.text is None:
            return _whole(self.page)
        escaped = escape_of(self.page.content_type)
        if escaped is None:
            raise ValueError(f"{self.page.content_type!r} has no variables")
        body = self.text.encoded(facts, lambda _, value: escaped(value))
        return _whole(ErrorPage(self.page.content_type, body.encode()))

    def summary(self, facts: RequestFacts) -> str:  # noqa: ARG002 - the same to all
        """One-line summary for `explain`."""
        return f"{self.status}"


class Redirect:
    """Sends the client to the URL `to`, in which variables stand for facts of the request; `{path}` is a path also for
    `OPTIONS *`. Raises ValueError, with the reason, for a text that is no such URL.
    """

    __slots__ = ("status", "template", "to")
    varies: Final = True

    def __init__(self, status: int, to: str, environ: Mapping[str, str] = _NO_ENVIRONMENT) -> None:
        self.status = status
        self.to = to
        found = parsed_value(to, environ, without=OF_BACKENDS, every_brace=True)
        self.template = found if isinstance(found, ValueTemplate) else ValueTemplate(((found, ""),))

    def __repr__(self) -> str:
        return f"Redirect({self.status}, {masked_url(self.to)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redirect) and (other.status, other.template) == (self.status, self.template)

    def __hash__(self) -> int:
        return hash((self.status, self.template))

    def location(self, facts: RequestFacts) -> str:
        """The URL for a request. `{host}` is without its port, which is that of the listener that the client leaves."""
        return self.template.encoded(facts, _url_part)

    def parts(self, facts: RequestFacts) -> tuple[Fields, bytes]:
        """The fields, and a body with the URL for clients that do not follow redirects (RFC 9110 §15.4)."""
        location = self.location(facts)
        fields, body = _whole(
            ErrorPage("text/plain; charset=utf-8", f"{reason_phrase(self.status)}: {location}\n".encode())
        )
        return [("Location", location), *fields], body

    def summary(self, facts: RequestFacts) -> str:
        """One-line summary for `explain`, without secrets of the URL."""
        return f"{self.status} to {masked_url(self.location(facts))}"


def escape_of(content_type: str) -> Callable[[str], str] | None:
    """How the value of a variable is escaped in a body of this type; None for a type in which no escape is safe."""
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind == "text/plain":
        return str
    if kind in ("text/html", "text/xml") or kind.endswith(("/xml", "+xml")):
        return html.escape
    if kind.endswith(("/json", "+json")):
        return _json_characters
    return None


def _json_characters(value: str) -> str:
    """The value within a string of JSON (RFC 8259 §7)."""
    return json.dumps(value)[1:-1]


def _url_part(name: str, value: str) -> str:
    if name == "path" and value == "*":
        return "/"
    return quote(value, safe=_URL_PARTS.get(name, ""), encoding="latin-1", errors="replace")


def _whole(page: ErrorPage) -> tuple[Fields, bytes]:
    length = ("Content-Length", str(len(page.body)))
    return [("Content-Type", page.content_type), length] if page.body else [length], page.body
