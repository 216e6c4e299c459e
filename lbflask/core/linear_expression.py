"""Regular expressions of users that meet each request: any search takes time linear in the length of the text.

The engine is RE2, by the optional package google-re2. Its syntax is that of Python without what needs backtracking:
references to groups, and looking ahead or behind.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Characters of an expression.
MOST_CHARACTERS = 1000
#: Bytes of memory that a compiled expression, and its cache, may take.
MOST_MEMORY = 2 << 20


class BadLinearExpression(ValueError):
    """The text is no expression that RE2 takes, or RE2 is not installed; the message gives the reason."""


class LinearExpression:
    """An expression in RE2's syntax. Equal to any of the same `pattern`. Raises BadLinearExpression."""

    __slots__ = ("_compiled", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._compiled: Any = _compiled(pattern)

    def __repr__(self) -> str:
        return f"LinearExpression({self.pattern!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinearExpression) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    @property
    def groups(self) -> frozenset[str]:
        """The names by which `groups_of` has groups: the numbers from 0 on, and names in the expression."""
        return frozenset([*map(str, range(self._compiled.groups + 1)), *self._compiled.groupindex])

    def search(self, text: str) -> bool:
        """Whether there is a match anywhere in the text."""
        return self._compiled.search(text) is not None

    def groups_of(self, text: str) -> dict[str, str] | None:
        """The texts of the groups of the first match, by number and by name; 0 is the whole match. None for no match.

        A group that takes no part in the match is empty.
        """
        found = self._compiled.search(text)
        if found is None:
            return None
        numbered = {str(number): part or "" for number, part in enumerate((found[0], *found.groups()))}
        return numbered | {name: part or "" for name, part in found.groupdict().items()}


def _compiled(pattern: str) -> Any:
    if len(pattern) > MOST_CHARACTERS:
        raise BadLinearExpression(f"is longer than {MOST_CHARACTERS} characters")
    try:
        re2: Any = import_module("re2")  # optional; a compiled import statement would keep the module of the first one
    except ImportError:
        raise BadLinearExpression(
            "a regular expression needs the package google-re2: pip install 'lbflask[re2]'"
        ) from None
    options = re2.Options()
    options.max_mem = MOST_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        reason = "it is no text"
    raise BadLinearExpression(f"is no regular expression that RE2 takes: {reason}")
