"""HAProxy's ACLs and conditions as matches of routes (HAProxy Configuration Manual, section 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.precedence import escaped
from lbflask.importers.site import merged

Matches = list[dict[str, Any]]
#: Criteria, any of which is enough, and whether none may be.
Term = tuple[list[tuple[str, ...]], bool]
#: Fetches of fields, parameters and cookies, by the key of a match.
_NAMED = re.compile(
    r"(?:(?P<headers>(?:req\.)?f?hdr)|(?P<query>urlp|url_param)|(?P<cookies>(?:req\.)?cook))(?:_(?P<how>\w+))?\((?P<name>[^,)]+).*\)"
)
_PATH = re.compile(r"(?:req\.)?path(?:_(?P<how>\w+))?")
_MOST = 64


class UnknownCondition(ValueError):
    """A condition without an equal; the message is its text."""


class Conditions:
    """The ACLs of a section; several lines of a name are alternatives."""

    def __init__(self, section: Directive) -> None:
        self._acls: dict[str, list[tuple[str, ...]]] = {}
        for one in section.named("acl"):
            if one.args:
                self._acls.setdefault(one.args[0], []).append(one.args[1:])

    def matches(self, words: Sequence[str]) -> Matches:
        """The matches of `if …` or `unless …`, any of which is enough; [{}] without a condition. Raises
        UnknownCondition.
        """
        if not words:
            return [{}]
        alternatives = self.terms(words)
        if words[0] == "unless" and (len(alternatives) > 1 or len(alternatives[0]) > 1):
            raise UnknownCondition(" ".join(words))
        return [match for terms in alternatives for match in _product([_matches(*term) for term in terms])]

    def terms(self, words: Sequence[str]) -> list[list[Term]]:
        """The alternatives of a condition, each with its terms. For `unless` with one term it is negated; with several
        they are those of `if`. Raises UnknownCondition.
        """
        alternatives = [self._terms(alternative) for alternative in _split(words[1:], ("||", "or"))]
        inverted = tuple(words[:1]) == ("unless",) and len(alternatives) == 1 and len(alternatives[0]) == 1
        return [
            [(self._criteria(term), negated != inverted) for term, negated in alternative]
            for alternative in alternatives
        ]

    def without(
        self, words: Sequence[str], is_check: Callable[[Sequence[str]], bool]
    ) -> tuple[list[tuple[str, ...]], Matches] | None:
        """A condition that holds where a check fails: the criteria of the check, any of which is enough, and the
        matches of all else that must hold. None if it is not about a check. Raises UnknownCondition.
        """
        alternatives = self.terms(words)
        terms = [term for alternative in alternatives for term in alternative]
        checks = [term for term in terms if all(map(is_check, term[0]))]
        if not checks:
            return None
        (criteria, negated), others = checks[0], [term for term in terms if term is not checks[0]]
        if len(alternatives) > 1:  # unless check or a or b: no check, and neither a nor b
            negated = negated != (words[0] == "unless")
            others = [(of, not inverted) for of, inverted in others]
            if words[0] != "unless" or len(alternatives) != len(terms):
                raise UnknownCondition(" ".join(words))
        elif words[0] == "unless" and others:
            raise UnknownCondition(" ".join(words))
        if len(checks) > 1 or not negated:
            raise UnknownCondition(" ".join(words))
        return criteria, _product([_matches(*term) for term in others])

    def checks(self, words: Sequence[str], is_check: Callable[[Sequence[str]], bool]) -> list[tuple[str, ...]]:
        """The criteria of checks whose failure is a part of the condition, whatever else is."""
        alternatives = self.terms(words)
        terms = [term for alternative in alternatives for term in alternative]
        fails = tuple(words[:1]) != ("unless",) or len(terms) == 1  # `terms` negates a single one itself
        return [
            one for criteria, negated in terms if negated is fails and all(map(is_check, criteria)) for one in criteria
        ]

    def prefixes(self, words: Sequence[str]) -> list[str]:
        """The values of `path_beg` in a condition that end within a segment, where `match.path` has whole ones."""
        criteria = [one for terms in self.terms(words) for term in terms for one in term[0]]
        return [value for one in criteria if _begins(one) for value in _flags(one)[3] if not value.endswith("/")]

    def _criteria(self, term: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The criteria of a term: those of the lines of an ACL."""
        return self._acls.get(term[0], [term]) if len(term) == 1 else [term]

    def _terms(self, words: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
        terms: list[tuple[tuple[str, ...], bool]] = []
        at, negated = 0, False
        while at < len(words):
            part = words[at]
            at += 1
            if part == "!":
                negated = not negated
                continue
            if part.startswith("!"):
                negated, part = not negated, part[1:]
            if part == "{":
                end = next((place for place in range(at, len(words)) if words[place] == "}"), len(words))
                terms.append((tuple(words[at:end]), negated))
                at = end + 1
            else:
                terms.append(((part,), negated))
            negated = False
        return terms


def _begins(words: Sequence[str]) -> bool:
    found = _PATH.fullmatch(words[0]) if words else None
    return found is not None and (found["how"] == "beg" or tuple(words[1:3]) == ("-m", "beg"))


def _matches(criteria: Sequence[tuple[str, ...]], negated: bool) -> Matches:
    """The matches of criteria, any of which is enough, or of none of them. Raises UnknownCondition."""
    matches = _alternatives([match for one in criteria for match in criterion(one)])
    if not negated:
        return matches
    if matches == [{"scheme": "https"}]:
        return [{"scheme": "http"}]
    return [{"not": matches}] if all(matches) else []


def criterion(words: Sequence[str]) -> Matches:
    """The match of an ACL's criterion, with its flags and values. Raises UnknownCondition."""
    text = " ".join(words)
    name, how, ignores_case, values = _flags(words)
    if name in ("TRUE", "always_true", "HTTP"):
        return [{}]
    if name in ("FALSE", "always_false"):
        return []
    if name in ("ssl_fc", "ssl_fc,bool"):
        return [{"scheme": "http" if values[:1] in (["0"], ["false"]) else "https"}]
    if name in ("method", "METH_GET", "METH_POST"):
        return [{"methods": values or [name.removeprefix("METH_"), *(["HEAD"] if name == "METH_GET" else [])]}]
    if name == "src" and values and not how:
        return [{"client": values}]
    if name == "dst_port" and values:
        return [{"listener": [f":{value}" for value in values]}]
    if found := _PATH.fullmatch(name):
        return _path_match(how or found["how"] or "str", values, ignores_case, text)
    if found := _NAMED.fullmatch(name):
        key = next(key for key in ("headers", "query", "cookies") if found[key])
        return _named_match(key, found["name"], how or found["how"] or "str", (values, ignores_case), text)
    raise UnknownCondition(text)


def _flags(words: Sequence[str]) -> tuple[str, str, bool, list[str]]:
    name, how, ignores_case, values = words[0] if words else "", "", False, list(words[1:])
    while values and values[0].startswith("-") and len(values[0]) == 2:
        flag = values.pop(0)
        if flag == "-i":
            ignores_case = True
        elif flag == "-m" and values:
            how = values.pop(0)
        elif flag == "--":
            break
        else:
            raise UnknownCondition(" ".join(words))
    return name, how, ignores_case, values


def _path_match(how: str, values: list[str], ignores_case: bool, text: str) -> Matches:
    if not values or how not in ("str", "beg", "dir", "end", "reg", "sub", "m"):
        raise UnknownCondition(text)
    if how == "reg" or ignores_case or how == "sub":
        return [{"regex": _expression(how, values, ignores_case)}]
    if how == "end":
        return [{"suffix": values}]
    if not all(value.startswith("/") for value in values):
        raise UnknownCondition(text)
    return [{"path" if how in ("beg", "dir") else "exact": values}]


def _named_match(key: str, name: str, how: str, given: tuple[list[str], bool], text: str) -> Matches:
    values, ignores_case = given
    if key == "headers" and name.lower() == "host":
        return _host_match(how, values, text)
    if how == "found":
        return [{key: {name: True}}]
    if how not in ("str", "beg", "end", "reg", "sub") or not values:
        raise UnknownCondition(text)
    if how == "str" and len(values) == 1 and not ignores_case:
        return [{key: {name: values[0]}}]
    return [{key: {name: {"regex": _expression(how, values, ignores_case)}}}]


def _host_match(how: str, values: list[str], text: str) -> Matches:
    hosts = [value.lower().rpartition(":")[0] or value.lower() for value in values]
    if how == "str" and hosts:
        return [{"host": hosts}]
    if how == "end" and hosts and all(host.startswith(".") for host in hosts):
        return [{"host": [f"*{host}" for host in hosts]}]
    raise UnknownCondition(text)


def _expression(how: str, values: Sequence[str], ignores_case: bool) -> str:
    begin, end = {"str": ("^", "$"), "beg": ("^", ""), "end": ("", "$"), "m": ("^", "$")}.get(how, ("", ""))
    parts = [value if how == "reg" else f"{begin}{escaped(value)}{end}" for value in values]
    return ("(?i)" if ignores_case else "") + (parts[0] if len(parts) == 1 else "|".join(f"(?:{one})" for one in parts))


def _alternatives(matches: Matches) -> Matches:
    """Alternatives with the same single key as one match."""
    keys = {tuple(match) for match in matches}
    if len(keys) == 1 and keys <= {("host",), ("path",), ("exact",), ("suffix",), ("methods",), ("client",)}:
        key = next(iter(keys))[0]
        return [{key: [value for match in matches for value in match[key]]}]
    return matches


def _product(terms: Sequence[Matches]) -> Matches:
    found: Matches = [{}]
    for term in terms:
        found = [both for one in found for other in term if (both := _and(one, other)) is not None]
        if len(found) > _MOST:
            raise UnknownCondition("too many alternatives")
    return found


def _and(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    if "not" in one and "not" in other:
        return {**merged(one, other), "not": [*one["not"], *other["not"]]}
    for key in one.keys() & other.keys() - {"headers", "query", "cookies"}:
        if one[key] == other[key]:
            continue
        if key in ("host", "methods", "exact"):
            both = [value for value in one[key] if value in other[key]]
            return None if not both else {**merged(one, other), key: both}
        if key == "scheme":
            return None
        raise UnknownCondition(f"{key} twice")
    if {"path", "exact"} <= one.keys() | other.keys():
        raise UnknownCondition("path and path_beg together")
    return merged(one, other)


def _split(words: Sequence[str], separators: Sequence[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for part in words:
        if part in separators:
            found.append([])
        else:
            found[-1].append(part)
    return found
