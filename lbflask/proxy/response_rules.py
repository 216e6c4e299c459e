"""The rules for responses of one pool and one route: their fields for clients, and the pages that replace them."""

from __future__ import annotations

from collections.abc import Callable

from lbflask.core.http.cors import value_of
from lbflask.core.http.direct_response import ErrorPage
from lbflask.core.http.fields import bodiless_response, client_response
from lbflask.core.http.types import Fields
from lbflask.core.http.value_templates import RequestFacts
from lbflask.proxy.client_request import ClientRequest
from lbflask.proxy.error_response import accept_of, accepts_json, with_page
from lbflask.proxy.settings import ProxySettings
from lbflask.upstream.stream import BackendAnswer


class ResponseRules:
    """Threads and greenlets may share it. `changes_nothing`: responses of backends pass as they are, but for Via.
    `has_pages`: some responses of backends are replaced.
    """

    def __init__(self, settings: ProxySettings) -> None:
        self._via = settings.via
        self._cors = settings.cors
        self._edits = settings.response_edits
        self._compression = settings.compression
        self._pages = settings.pages if settings.pages_for_all else {}
        self.has_pages = bool(self._pages)
        self.changes_nothing = (
            self._cors is None and self._edits is None and settings.internal_files is None and self._compression is None
        )

    def __repr__(self) -> str:
        return f"ResponseRules({len(self._pages)} pages, cors {self._cors})"

    def passed_fields(self, request: ClientRequest, answer: BackendAnswer, facts: Callable[[], RequestFacts]) -> Fields:
        """The fields of a backend's final response for the client."""
        if answer.status == 204:
            fields = bodiless_response(answer.fields, self._via)
        elif answer.lines is None:
            fields = client_response(answer.fields, self._via)
        else:
            fields = answer.fields if self._via is None else [*answer.fields, ("Via", "1.1 " + self._via)]
        return self.edited(request, answer.status, fields, facts)

    def edited(self, request: ClientRequest, status: int, fields: Fields, facts: Callable[[], RequestFacts]) -> Fields:
        """The fields of any final response with this status by the rules for other origins, and then by the edits."""
        if self._cors is not None:
            fields = self._cors.edited(fields, value_of(request.fields, "origin"))
        if self._edits is None:
            return fields
        return self._edits.of(fields, facts() if self._edits.needs_facts else None, status)

    def with_page(self, request: ClientRequest, status: int, fields: Fields, page: ErrorPage) -> tuple[Fields, bytes]:
        """The fields and the body of a backend's response with these fields, whose body the page replaces."""
        fields, body = with_page(fields, page), page.body
        if self._compression is None:
            return fields, body
        return self._compression.whole(request, status, fields, body)

    def page_for(self, request: ClientRequest, status: int) -> ErrorPage | None:
        """The page that replaces the body of a backend's response; None to pass it on, as for clients of JSON."""
        page = self._pages.get(status)
        return None if page is None or accepts_json(accept_of(request.fields)) else page
