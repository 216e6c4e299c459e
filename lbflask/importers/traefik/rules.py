"""Rules of Traefik's routers as matches of routes (doc.traefik.io, "Rules & Priority")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lbflask.importers.site import merged

_TOKEN = re.compile(r"\s*(?:(\|\||&&|!|\(|\))|([A-Za-z]+)\(((?:\s*(?:`[^`]*`|\"[^\"]*\"|'[^']*')\s*,?)*)\))")
_VALUE = re.compile(r"`([^`]*)`|\"([^\"]*)\"|'([^']*)'")
_MOST = 64
_DEEPEST = 30
Matches = list[dict[str, Any]]


class UnknownRule(ValueError):
    """A rule without an equal; the message is the part."""


def matches_of(rule: str) -> Matches:
    """The matches of a rule, any of which is enough. Raises UnknownRule."""
    tokens = []
    at = 0
    while rule[at:].strip():
        found = _TOKEN.match(rule, at)
        if found is None:
            raise UnknownRule(rule[at:].strip())
        tokens.append(
            (
                found[1] or found[2],
                [first or second or third for first, second, third in _VALUE.findall(found[3] or "")],
            )
        )
        at = found.end()
    parser = _RuleParser(tokens)
    matches = parser.either(0)
    if not parser.at_end:
        raise UnknownRule(rule)
    return matches


class _RuleParser:
    def __init__(self, tokens: Sequence[tuple[str, list[str]]]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def _take(self, *names: str) -> bool:
        if not self.at_end and self._tokens[self._at][0] in names:
            self._at += 1
            return True
        return False

    def either(self, depth: int) -> Matches:
        if depth > _DEEPEST:
            raise UnknownRule("too many parentheses")
        found = self._each(depth)
        while self._take("||"):
            found = [*found, *self._each(depth)]
        return _united(found)

    def _each(self, depth: int) -> Matches:
        found = self._one(depth)
        while self._take("&&"):
            other = self._one(depth)
            found = [both for one in found for inner in other if (both := _and(one, inner)) is not None]
            if len(found) > _MOST:
                raise UnknownRule("too many alternatives")
        return found

    def _one(self, depth: int) -> Matches:
        if self._take("!"):
            inner = self._one(depth + 1) if depth < _DEEPEST else []
            if any("not" in match for match in inner):
                raise UnknownRule("! within !")
            return [{"not": inner}]
        if self._take("("):
            found = self.either(depth + 1)
            if not self._take(")"):
                raise UnknownRule("a parenthesis has no end")
            return found
        if self.at_end or self._tokens[self._at][0] in ("&&", "||", ")"):
            raise UnknownRule("a part is missing")
        name, values = self._tokens[self._at]
        self._at += 1
        return [_matcher(name, values)]


def _matcher(name: str, values: list[str]) -> dict[str, Any]:
    text = f"{name}({', '.join(values)})"
    if not values:
        raise UnknownRule(text)
    if name == "Host":
        return {"host": [value.lower() for value in values]}
    if name == "HostRegexp":
        hosts = [_wildcard(value) for value in values]
        if all(hosts):
            return {"host": hosts}
        raise UnknownRule(text)
    if name in ("Path", "PathPrefix"):
        if any("{" in value or not value.startswith("/") for value in values):
            raise UnknownRule(text)
        return {"exact": values} if name == "Path" else {"path": [value.rstrip("/") or "/" for value in values]}
    if name == "PathRegexp":
        return {"regex": values[0]}
    if name == "Method":
        return {"methods": values}
    if name in ("Header", "Headers", "HeaderRegexp", "HeadersRegexp") and len(values) == 2:
        return {"headers": {values[0]: {"regex": values[1]} if "Regexp" in name else values[1]}}
    if name in ("Query", "QueryRegexp"):
        key, _, value = values[0].partition("=") if len(values) == 1 else (values[0], "", values[1])
        return {"query": {key: {"regex": value} if name == "QueryRegexp" else value or True}}
    if name == "ClientIP":
        return {"client": values}
    raise UnknownRule(text)


def _wildcard(value: str) -> str:
    """An expression for all names of a domain as `*.example.com`; empty for others."""
    found = re.fullmatch(
        r"\^?(?:\[\^\.\]\+|\[a-z0-9-\]\+|\.\+|\.\*|\{[a-z]+:[^}]*\}|\[a-zA-Z0-9-\]\+)\\?\.((?:[a-z0-9-]+\\?\.?)+)\$?",
        value,
    )
    return f"*.{found[1].replace(chr(92), '')}" if found else ""


def _united(matches: Matches) -> Matches:
    """Alternatives that differ in the value of one list as one match."""
    found: Matches = []
    for match in matches:
        for number, one in enumerate(found):
            different = [key for key in match if one.get(key) != match[key]]
            if (
                one.keys() == match.keys()
                and len(different) == 1
                and different[0] in ("host", "path", "exact", "methods")
            ):
                key = different[0]
                found[number] = {**one, key: [*one[key], *match[key]]}
                break
        else:
            found.append(match)
    return found


def _and(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    if "not" in one and "not" in other:
        return {**merged(one, other), "not": [*one["not"], *other["not"]]}
    for key in one.keys() & other.keys() - {"headers", "query"}:
        if key in ("host", "methods", "exact"):
            both = [value for value in one[key] if value in other[key]]
            return {**merged(one, other), key: both} if both else None
        raise UnknownRule(f"{key} twice")
    if {"path", "exact"} <= one.keys() | other.keys():
        raise UnknownRule("Path and PathPrefix together")
    return merged(one, other)
