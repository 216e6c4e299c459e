"""The changes that a route makes to requests and responses."""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.header_edits import Edits
from lbflask.core.http.paths import with_prefix
from lbflask.core.http.types import Fields
from lbflask.proxy.mirroring import Mirroring


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteActions:
    """The changes of the route `name`. `prefix` replaces the first `segments` path segments; None keeps the path."""

    name: str
    segments: int = 0
    prefix: str | None = None
    request_edits: Edits | None = None
    response_edits: Edits | None = None
    mirror: Mirroring | None = None

    def edit_request(self, target: str, fields: Fields) -> tuple[str, Fields]:
        """The target and the fields that backends get."""
        if self.prefix is not None:
            target = with_prefix(target, self.segments, self.prefix)
        return target, fields if self.request_edits is None else self.request_edits.of(fields)

    def edit_response(self, fields: Fields) -> Fields:
        """The fields that clients get."""
        return fields if self.response_edits is None else self.response_edits.of(fields)
