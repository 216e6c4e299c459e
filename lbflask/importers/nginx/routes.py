"""nginx's servers and locations as routes, in lbflask's order of precedence (docs/routing.md).

Exact locations and the longest prefix come first here as there. An expression comes before a prefix in nginx, unless
the longest prefix has `^~`: so its route names all prefixes before which it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbflask.importers.directives import Directive, Scope
from lbflask.importers.literals import literal
from lbflask.importers.nginx.actions import Actions, RouteAction
from lbflask.importers.nginx.authentication import asked_paths, restrictions, without_restrictions
from lbflask.importers.nginx.conditions import condition_of
from lbflask.importers.nginx.settings import is_certificate_check
from lbflask.importers.site import ImportedRoute, Place, Site


@dataclass(frozen=True, slots=True)
class _Location:
    """A location: `kind` is "", "=", "^~", "~" or "~*"."""

    kind: str
    path: str
    block: Directive
    scope: Scope

    @property
    def place(self) -> str:
        """Its path as a prefix of whole segments."""
        return self.path.rstrip("/") or "/"


class ServerRoutes:
    """The routes of one `server`, for requests that meet `base`."""

    def __init__(self, site: Site, actions: Actions, scope: Scope, place: Place, constants: Mapping[str, str]) -> None:
        self._site, self._actions, self._scope, self._place = site, actions, scope, place
        self._constants = {**constants, **_set_in(scope)}
        self._locations = list(_locations(scope, site))
        self._asked = frozenset(asked_paths(scope.blocks[-1]))

    def routes(self, base: Mapping[str, Any]) -> list[ImportedRoute]:
        """Its routes."""
        if returned := [one for one in self._scope.blocks[-1] if one.name == "return"]:
            found = [self._route(returned[0].place, "return", {}, self._action(self._scope, "/"))]
            self._lose_unreachable()
        else:
            found = [*self._exact(), *self._expressions(), *self._prefixes()]
        found = [*self._conditions(found), *found]
        return [replace(route, match={**base, **route.match}) for route in found]

    def _lose_unreachable(self) -> None:
        for one in self._locations:
            self._scope.ledger.use([one.block])
            self._site.skip(one.block.place, one.block.text, "`return` of the server comes before it")

    def _action(self, scope: Scope, prefix: str, regex: str = "") -> RouteAction:
        if prefix.lstrip("=") in self._asked and any(one.name == "internal" for one in scope.blocks[-1]):
            scope.ledger.use(scope.blocks[-1])  # they are about the request to the service of auth_request
            return RouteAction({"respond": {"status": 404}})
        constants = {**self._constants, **_set_in(scope)}
        return self._actions.action_of(scope, constants, prefix, regex)

    def _route(self, place: Place, title: str, match: Mapping[str, Any], action: RouteAction) -> ImportedRoute:
        return ImportedRoute(place, title, match, action.action, action.settings)

    def _exact(self) -> Iterator[ImportedRoute]:
        for one in self._of("="):
            action = self._action(one.scope, f"={one.path}")
            yield from self._limited(one, {"exact": literal(one.path)}, action)

    def _expressions(self) -> Iterator[ImportedRoute]:
        places = list(dict.fromkeys(["/", *(one.place for one in self._of(""))]))
        for one in self._of("~", "~*"):
            regex = literal(one.path if one.kind == "~" else f"(?i){one.path}")
            action = self._action(one.scope, "/", regex)
            wanted = [place for place in places if _may_have(place, one.path)] or ["/"]
            yield from self._limited(one, {"path": _listed(wanted), "regex": regex}, action)

    def _prefixes(self) -> Iterator[ImportedRoute]:
        found = sorted(self._of("", "^~"), key=lambda one: one.path.count("/"))
        actions = [(one, self._action(one.scope, one.path)) for one in found]
        exact = {one.path for one in self._of("=")} | {one.path for one in found}
        if all(one.place != "/" for one in found):
            inner = self._scope.inner(())
            title, action = "all other paths", self._action(inner, "/")
            yield from self._unrestricted(inner, self._place, title, {"path": "/"}, action)
        for one, action in actions:
            if one.path != "/" and not one.path.endswith("/"):
                reason = f"whole segments: {one.path}x does not match, and {one.path}/x does"
                self._site.differ(one.block.place, one.block.text, reason)
            elif one.path != "/" and one.place not in exact:
                yield from self._without_slash(one, action, actions)
            yield from self._limited(one, {"path": literal(one.place)}, action)

    def _without_slash(
        self, one: _Location, action: RouteAction, others: Sequence[tuple[_Location, RouteAction]]
    ) -> Iterator[ImportedRoute]:
        """`location /x/` does not match /x: nginx adds the slash before a backend, else another location has it."""
        if action.proxied:
            redirect = RouteAction(
                {"redirect": {"to": literal(one.path) + "{query}", "status": 301}}, _fields_of(action)
            )
            yield self._route(
                one.block.place, f"adds the slash to {one.place}", {"exact": literal(one.place)}, redirect
            )
            return
        outer = [pair for pair in others if pair[0] is not one and _is_below(one.place, pair[0].path)]
        if not outer:
            respond = RouteAction({"respond": {"status": 404}})
            yield self._route(one.block.place, f"{one.place} without a slash", {"exact": literal(one.place)}, respond)
            return
        parent, same = max(outer, key=lambda pair: len(pair[0].path))
        changed = dict(same.action)
        if "strip_prefix" in changed or "replace_prefix" in changed:
            self._site.differ(one.block.place, one.block.text, f"it has {one.place} too")
            return
        if "files" in changed:
            changed["files"] = {**changed["files"], "keep_prefix": True}
        title = f"{one.place} without a slash, as {parent.block.text}"
        yield self._route(one.block.place, title, {"exact": literal(one.place)}, replace(same, action=changed))

    def _limited(self, one: _Location, match: Mapping[str, Any], action: RouteAction) -> Iterator[ImportedRoute]:
        """The route of a location, after those of its `if` and `limit_except`."""
        for found in one.scope.here("limit_except"):
            methods = [*found.args, *(["HEAD"] if "GET" in found.args else [])]
            self._scope.ledger.use(found.block or ())
            limited = restrictions(one.scope.inner(found.block or ()), self._site)
            settings = {**without_restrictions(action.settings), **limited}
            yield self._route(
                found.place, found.text, {**match, "not": {"methods": methods}}, replace(action, settings=settings)
            )
        for condition, inner in self._ifs(one.scope):
            yield self._route(inner.place, inner.text, {**match, **condition}, self._if_action(one.scope, inner))
        if one.scope.here("internal"):
            action = self._internal(one, action)
        yield from self._unrestricted(one.scope, one.block.place, one.block.text, match, action)

    def _unrestricted(
        self, scope: Scope, place: Place, title: str, match: Mapping[str, Any], action: RouteAction
    ) -> Iterator[ImportedRoute]:
        """The route, and with `satisfy any` before it one for the networks that need no password."""
        any_of = scope.last("satisfy")
        if any_of and any_of.args == ("any",) and {"auth", "access"} <= action.settings.keys():
            access = action.settings["access"]
            if access.keys() == {"allow"} and "all" not in access["allow"]:
                free = replace(action, settings=without_restrictions(action.settings))
                yield self._route(place, f"{title}, {any_of.text}", {**match, "client": access["allow"]}, free)
                others = {key: value for key, value in action.settings.items() if key != "access"}
                action = replace(action, settings=others)
            else:
                self._site.lose(
                    any_of.place, any_of.text, "both are needed here: a route with match.client for the networks"
                )
        yield self._route(place, title, match, action)

    def _internal(self, one: _Location, action: RouteAction) -> RouteAction:
        """Files that backends name, which no client reaches."""
        files = action.action.get("files")
        if one.kind in ("", "^~") and files:
            root = files["root"].rstrip("/") + (one.path if files.get("keep_prefix") else "")
            self._site.settings.setdefault("internal_files", {})[one.path] = root
        elif one.kind != "=" and one.path not in self._asked:
            self._site.lose(one.block.place, one.block.text, "internal_files has prefixes and directories")
        return RouteAction({"respond": {"status": 404}})

    def _ifs(self, scope: Scope) -> Iterator[tuple[dict[str, Any], Directive]]:
        for one in scope.here("if"):
            if is_certificate_check(one):
                self._scope.ledger.use(one.block or ())
                continue
            condition = condition_of(one.args)
            inner = [directive for directive in one.block or () if directive.name == "return"]
            if condition is None or not inner:
                self._site.lose(one.place, one.text, "write a route with match, or match.not")
                self._scope.ledger.use(one.block or ())
                continue
            yield condition, one

    def _if_action(self, scope: Scope, one: Directive) -> RouteAction:
        return self._action(scope.inner(one.block or ()), "/")

    def _conditions(self, others: Sequence[ImportedRoute]) -> list[ImportedRoute]:
        """`if` of the server comes before all locations: a route for each place that has one."""
        found: list[ImportedRoute] = []
        paths = list(dict.fromkeys(["/", *(path for route in others for path in _texts(route.match.get("path")))]))
        exact = list(dict.fromkeys(path for route in others for path in _texts(route.match.get("exact"))))
        for condition, one in self._ifs(self._scope):
            action = self._if_action(self._scope, one)
            found.append(self._route(one.place, one.text, {"path": _listed(paths), **condition}, action))
            if exact:
                found.append(self._route(one.place, one.text, {"exact": _listed(exact), **condition}, action))
        return found

    def _of(self, *kinds: str) -> list[_Location]:
        return [one for one in self._locations if one.kind in kinds]


def _locations(scope: Scope, site: Site) -> Iterator[_Location]:
    """The locations of a block, and of locations in it."""
    for one in scope.here("location"):
        inner = scope.inner(one.block or ())
        if one.args and one.args[0].startswith("@"):
            continue
        kind, path = one.args if len(one.args) == 2 else ("", "".join(one.args))
        if kind == "" and path[:1] == "~":
            kind, path = ("~*", path[2:]) if path.startswith("~*") else ("~", path[1:])
        elif kind == "" and path[:1] == "=":
            kind, path = "=", path[1:]
        if kind not in ("", "=", "^~", "~", "~*") or (kind[:1] != "~" and not path.startswith("/")):
            site.lose(one.place, one.text, "no path")
            continue
        yield _Location(kind, path, one, inner)
        yield from _locations(inner, site)


def _set_in(scope: Scope) -> dict[str, str]:
    """Variables of `set` with a constant value."""
    found: dict[str, str] = {}
    for one in scope.here("set"):
        if len(one.args) == 2 and "$" not in one.args[1]:
            found[one.args[0].lstrip("$")] = one.args[1]
    return found


def _may_have(place: str, regex: str) -> bool:
    """Whether a path below the place may begin as the expression does."""
    found = re.match(r"\^([A-Za-z0-9_/-]*)(.?)", regex)
    if found is None or "|" in regex:
        return True
    literally = found[1][:-1] if found[2] in ("*", "?", "{") else found[1]
    return place == "/" or place.startswith(literally) or literally.startswith(place)


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix.rstrip("/") or path.startswith(prefix.rstrip("/") + "/")


def _fields_of(action: RouteAction) -> dict[str, Any]:
    return {key: value for key, value in action.settings.items() if key == "response_headers"}


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _listed(values: Sequence[str]) -> Any:
    return values[0] if len(values) == 1 else list(values)
