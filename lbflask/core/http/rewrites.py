"""Rewrites of the path that backends get: another prefix, or an expression with its groups. The query is unchanged."""

from __future__ import annotations

import re
from typing import Protocol

from lbflask.core.http.paths import with_prefix
from lbflask.core.linear_expression import LinearExpression

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
#: Encoded characters that mean the same when they are not (RFC 3986 §2.3).
_UNRESERVED = re.compile(r"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")


class Rewrite(Protocol):
    """A rule for the target of a request."""

    def of(self, target: str) -> str:
        """The target (origin-form) that backends get."""
        ...


class PrefixRewrite:
    """Replaces the first segments of a path, as many as the prefix of the route has; the rest is unchanged."""

    __slots__ = ("_prefix", "_segments")

    def __init__(self, segments: int, prefix: str) -> None:
        self._segments = segments
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"PrefixRewrite({self._segments}, {self._prefix!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrefixRewrite) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def of(self, target: str) -> str:
        """As of Rewrite."""
        return with_prefix(target, self._segments, self._prefix)


class ExpressionRewrite:
    """Replaces the whole path by `to`, in which `{1}` or `{name}` is a group of the expression, as the client sent it.

    A path without a match is unchanged. `to` begins with a slash, so that the result is a path for any groups. Encoded
    letters, digits and `-._~` are decoded before the expression is applied, as they mean the same (RFC 3986 §6.2.2.2).
    """

    __slots__ = ("_expression", "_to")

    def __init__(self, expression: LinearExpression, to: str) -> None:
        self._expression = expression
        self._to = to

    def __repr__(self) -> str:
        return f"ExpressionRewrite({self._expression.pattern!r}, {self._to!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExpressionRewrite) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def of(self, target: str) -> str:
        """As of Rewrite."""
        path, mark, query = target.partition("?")
        if not path.startswith("/"):
            return target
        groups = self._expression.groups_of(_UNRESERVED.sub(lambda found: chr(int(found[1], 16)), path))
        if groups is None:
            return target
        return _PLACEHOLDER.sub(lambda found: groups[found[1]], self._to) + mark + query


def unknown_groups(text: str, expression: LinearExpression) -> list[str]:
    """The names in braces that are no group of the expression; without any, unpaired braces."""
    found = [name for name in _PLACEHOLDER.findall(text) if name not in expression.groups]
    return found or re.findall(r"[{}]", _PLACEHOLDER.sub("", text))
