"""Rules of which the first that matches counts, as routes of which the most specific one counts (docs/routing.md).

Where a later rule is more specific than an earlier one, requests that match both get a route of their own with the
action of the earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbflask.importers.site import ImportedRoute, Site, UnreadableConfiguration

#: Parts of rules, with those that overlaps add.
_MOST_PARTS = 3000
_NAMED = ("headers", "query", "cookies")
_PLACES = ("host", "path", "exact")


@dataclass(frozen=True, slots=True)
class _RulePart:
    """A rule for one host and one place; `rule` is its number."""

    rule: int
    host: str
    exact: bool
    path: str
    conditions: Mapping[str, Any]

    def rank(self) -> tuple[int, int, int, int]:
        """A lower one comes first in lbflask, before the order."""
        wild = self.host.startswith("*.")
        host = (0, 0) if self.host and not wild else (1, -len(self.host)) if wild else (2, 0)
        place = -1_000_000 if self.exact else -len(self.path)
        return (*host, place, -_count(self.conditions))

    def covers(self, other: _RulePart) -> bool:
        """Whether it matches each request that the other matches."""
        return (
            (not self.host or self.host == other.host or _is_wild(self.host, other.host))
            and self._covers_place(other)
            and all(_covers_condition(key, value, other.conditions.get(key)) for key, value in self.conditions.items())
        )

    def _covers_place(self, other: _RulePart) -> bool:
        if self.exact:
            return other.exact and other.path == self.path
        return not self.path or _is_below(other.path, self.path)


def ordered(rules: Sequence[ImportedRoute], site: Site) -> list[ImportedRoute]:
    """Routes that do what the rules do in their order. Raises UnreadableConfiguration if that takes too many."""
    parts: list[_RulePart] = []
    for number, rule in enumerate(rules):
        for part in _parts(number, rule.match):
            _add(parts, part, rules, site)
    reached = {part.rule for part in parts}
    for number, rule in enumerate(rules):
        if number not in reached:
            site.differ(rule.place, rule.title, "no request reaches it: rules before it match all of them")
    parts.sort(key=lambda part: part.rule)
    return [
        replace(rules[number], match=match)
        for number in dict.fromkeys(part.rule for part in parts)
        for match in _joined([part for part in parts if part.rule == number])
    ]


def _add(
    parts: list[_RulePart], part: _RulePart, rules: Sequence[ImportedRoute], site: Site, *, is_overlap: bool = False
) -> None:
    """Add a part unless earlier rules match all of its requests, and what it would take of them."""
    earlier = [one for one in parts if one.rule <= part.rule]
    if part in earlier or any(one.covers(part) for one in earlier if not is_overlap or one.rule < part.rule):
        return
    parts.append(part)
    if len(parts) > _MOST_PARTS:
        raise UnreadableConfiguration(f"its rules overlap in more than {_MOST_PARTS} ways; import its parts")
    for one in earlier:
        if one.rule == part.rule or part.rank() >= one.rank():
            continue
        both = _both(one, part)
        if both is _UNKNOWN:
            rule = rules[part.rule]
            site.differ(rule.place, rule.title, f"comes before {rules[one.rule].title} where both match")
        elif isinstance(both, _RulePart):
            _add(parts, both, rules, site, is_overlap=True)


_UNKNOWN = object()


def intersection(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The matches of the requests that two matches have in common, maybe none; None where no match states them."""
    found: list[_RulePart] = []
    for first in _parts(0, one):
        for second in _parts(0, other):
            both = _both(first, second)
            if both is _UNKNOWN:
                return None
            if isinstance(both, _RulePart) and both not in found:
                found.append(both)
    return list(_joined(found))


def is_within(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether each request that the first match has, has the other one too."""
    outer = list(_parts(0, other))
    return all(any(part.covers(inner) for part in outer) for inner in _parts(0, one))


def _both(one: _RulePart, other: _RulePart) -> object:
    """The requests that both match; None for none, _UNKNOWN where no match states them."""
    hosts = _narrower(one.host, other.host, _is_wild)
    if hosts is None or not (one.exact or other.exact or _touch(one.path, other.path)):
        return None
    inner, outer = (one, other) if one.exact or (not other.exact and len(one.path) > len(other.path)) else (other, one)
    if not outer._covers_place(inner):
        return None
    conditions = _joined_conditions(one.conditions, other.conditions)
    if conditions is None or conditions is _UNKNOWN:
        return conditions
    both = _RulePart(one.rule, hosts, inner.exact, inner.path, conditions)  # type: ignore[arg-type]
    return None if _excludes_itself(both) else both


def _excludes_itself(part: _RulePart) -> bool:
    """Whether `not` has all of its requests."""
    return any(outer.covers(part) for table in part.conditions.get("not", ()) for outer in _parts(part.rule, table))


def _joined_conditions(one: Mapping[str, Any], other: Mapping[str, Any]) -> object:
    found = dict(one)
    for key, value in other.items():
        mine = found.get(key)
        if mine is None or mine == value:
            found[key] = value
        elif key in ("methods", "listener"):
            found[key] = [item for item in mine if item in value]
            if not found[key]:
                return None
        elif key == "scheme":
            return None
        elif key in _NAMED:
            if any(name in mine and isinstance(mine[name], str) and mine[name] != item for name, item in value.items()):
                return None
            found[key] = {**mine, **value}
        elif key == "not":
            found[key] = [*mine, *(table for table in value if table not in mine)]
        else:
            return _UNKNOWN
    return found


def _parts(number: int, match: Mapping[str, Any]) -> Iterator[_RulePart]:
    conditions = {key: _as_list(value) if key == "not" else value for key, value in match.items() if key not in _PLACES}
    places = [(True, path) for path in _as_list(match.get("exact"))] + [
        (False, path.rstrip("/")) for path in _as_list(match.get("path"))
    ]
    for host in _as_list(match.get("host")) or [""]:
        for exact, path in places or [(False, "")]:
            yield _RulePart(number, host.lower(), exact, path, conditions)


def _joined(parts: Sequence[_RulePart]) -> Iterator[dict[str, Any]]:
    """The matches of the parts of one rule, those that differ in one key only as one."""
    by_place: dict[str, tuple[_RulePart, list[str]]] = {}
    for part in parts:
        key = repr((part.host, part.exact, bool(part.path), part.conditions))
        by_place.setdefault(key, (part, []))[1].append(part.path)
    by_host: dict[str, tuple[_RulePart, list[str], list[str]]] = {}
    for part, paths in by_place.values():
        key = repr((paths, part.exact, bool(part.host), part.conditions))
        by_host.setdefault(key, (part, paths, []))[2].append(part.host)
    for part, paths, hosts in by_host.values():
        match: dict[str, Any] = {}
        if part.host:
            match["host"] = _listed(list(dict.fromkeys(hosts)))
        if part.path:
            match["exact" if part.exact else "path"] = _listed(list(dict.fromkeys(paths)))
        yield {**match, **part.conditions}


def _count(conditions: Mapping[str, Any]) -> int:
    return sum(len(value) if key in (*_NAMED, "not") else 1 for key, value in conditions.items())


def _covers_condition(key: str, value: Any, other: Any) -> bool:
    if other is None:
        return False
    if key in ("methods", "listener", "client"):
        return set(_as_list(other)) <= set(_as_list(value))
    if key in _NAMED:
        return all(name in other and item in (True, other[name]) for name, item in value.items())
    if key == "not":
        return all(table in other for table in value)
    return bool(value == other)


def _narrower(one: str, other: str, includes: Any) -> str | None:
    if not one or not other or one == other:
        return one or other
    return other if includes(one, other) else one if includes(other, one) else None


def _is_wild(wide: str, host: str) -> bool:
    return wide.startswith("*.") and host.removeprefix("*").endswith(wide[1:]) and host != wide


def _touch(one: str, other: str) -> bool:
    return not one or not other or _is_below(one, other) or _is_below(other, one)


def _is_below(path: str, prefix: str) -> bool:
    return prefix in ("", "/") or path == prefix or path.rstrip("/") == prefix or path.startswith(prefix + "/")


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _listed(values: Sequence[str]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def escaped(text: str) -> str:
    """A text as an expression that matches it."""
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)
