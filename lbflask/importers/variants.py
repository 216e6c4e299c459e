"""Settings for some of the requests of a route: routes of their own, before the one for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbflask.importers.precedence import intersection, is_within
from lbflask.importers.site import ImportedRoute, Place, Site, merged

#: Settings that keep requests out. Where their requests cannot be stated, all requests of a route have them.
_CHECKS = frozenset({"auth", "access", "client_certificate"})
#: Routes that one route may become.
_MOST = 64


@dataclass(frozen=True, slots=True)
class PartialSettings:
    """Settings for the requests that `match` has."""

    place: Place
    title: str
    match: Mapping[str, Any]
    settings: Mapping[str, Any]


def with_partial(route: ImportedRoute, partial: Sequence[PartialSettings], site: Site) -> list[ImportedRoute]:
    """The route, after those for its requests that have more settings. The settings of the route come last, so that
    they replace partial ones of the same key; later ones replace earlier ones.
    """
    found: list[tuple[dict[str, Any], dict[str, Any]]] = [(dict(route.match), {})]
    for one in partial:
        kept: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for match, settings in found:
            both = intersection(match, one.match)
            more = merged(settings, one.settings)
            is_all = is_within(match, one.match)
            if both is None and not is_all and _CHECKS & one.settings.keys():
                site.differ(one.place, one.title, f"for all requests of {route.title}")
                is_all = True
            elif not is_all and (both is None or len(found) + len(kept) + len(both) > _MOST):
                site.lose(one.place, one.title, f"no match states its requests of {route.title}")
                both = []
            narrower = [] if is_all else both or []
            kept += [(inner, more) for inner in narrower if not any(is_within(inner, outer) for outer, _ in kept)]
            kept.append((match, more if is_all else settings))
        found = kept
    return [replace(route, match=match, settings=merged(settings, route.settings)) for match, settings in found]
