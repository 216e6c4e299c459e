"""What a route does with requests beside the settings of traffic."""

from __future__ import annotations

from dataclasses import dataclass

from lbflask.core.http.rewrites import Rewrite
from lbflask.proxy.mirroring import Mirroring


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteActions:
    """The actions of the route `name`. Without a `rewrite` the path is kept."""

    name: str
    rewrite: Rewrite | None = None
    mirror: Mirroring | None = None

    def target(self, target: str) -> str:
        """The target that backends get."""
        return target if self.rewrite is None else self.rewrite.of(target)
