"""Direct responses: configured responses of a route without a backend, fixed or redirects (RFC 9110 §15.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbflask.core.http.reason_phrases import reason_phrase
from lbflask.core.http.target import host_of
from lbflask.core.http.types import Fields
from lbflask.core.redaction import masked_url

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = frozenset({"host", "path", "query"})


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A body and its content type."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """The same response for all requests."""

    status: int
    page: ErrorPage

    def parts(self, host: str, target: str) -> tuple[Fields, bytes]:  # noqa: ARG002 - the same to all
        """The fields and the body."""
        return _whole(self.page)

    def summary(self, host: str, target: str) -> str:  # noqa: ARG002 - the same to all
        """One-line summary for `explain`."""
        return f"{self.status}"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Sends the client to the URL `to`, in which `{host}`, `{path}` and `{query}` (with its `?`) are the request's."""

    status: int
    to: str

    def location(self, host: str, target: str) -> str:
        """The URL for a request. `host` without its port, which is that of the listener that the client leaves."""
        path, mark, query = target.partition("?")
        values = {"host": host_of(host), "path": path if path != "*" else "/", "query": mark + query}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.to)

    def parts(self, host: str, target: str) -> tuple[Fields, bytes]:
        """The fields, and a body with the URL for clients that do not follow redirects (RFC 9110 §15.4)."""
        location = self.location(host, target)
        fields, body = _whole(
            ErrorPage("text/plain; charset=utf-8", f"{reason_phrase(self.status)}: {location}\n".encode())
        )
        return [("Location", location), *fields], body

    def summary(self, host: str, target: str) -> str:
        """One-line summary for `explain`, without secrets of the URL."""
        return f"{self.status} to {masked_url(self.location(host, target))}"


def unknown_placeholders(text: str) -> list[str]:
    """The unknown names in braces; without any, unpaired braces."""
    found = [name for name in _PLACEHOLDER.findall(text) if name not in PLACEHOLDERS]
    return found or re.findall(r"[{}]", _PLACEHOLDER.sub("", text))


def _whole(page: ErrorPage) -> tuple[Fields, bytes]:
    length = ("Content-Length", str(len(page.body)))
    return [("Content-Type", page.content_type), length] if page.body else [length], page.body
