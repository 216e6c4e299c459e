"""What a route changes of the requests and responses that it lets pass."""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.fields import Fields
from lbflask.core.http.header_edits import Edits
from lbflask.core.http.paths import with_prefix
from lbflask.proxy.mirroring import Mirroring
from lbflask.upstream.requests_adapter import BackendRequest


@dataclass(frozen=True, slots=True)
class RouteActions:
    """The changes of the route `name`. `prefix` stands instead of the first `segments` of the path, None keeps them."""

    name: str
    segments: int = 0
    prefix: str | None = None
    request_edits: Edits | None = None
    response_edits: Edits | None = None
    mirror: Mirroring | None = None

    def change(self, request: BackendRequest) -> None:
        """Make it the request that backends of the route are to get."""
        if self.prefix is not None:
            request.target = with_prefix(request.target, self.segments, self.prefix)
        if self.request_edits is not None:
            request.fields = self.request_edits.of(request.fields)

    def of_response(self, fields: Fields) -> Fields:
        """The fields that clients of the route get."""
        return fields if self.response_edits is None else self.response_edits.of(fields)
