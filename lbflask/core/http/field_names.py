"""Caches and tables keyed by field names, which are not case-sensitive (RFC 9110 §5.1); values of fields that are lists
or numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

Rule = TypeVar("Rule")

#: A character of a token (RFC 9110 §5.6.2), as a pattern.
TCHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
#: A token, such as the name of a field, a method or the name of a cookie.
is_token: Final = re.compile(f"{TCHAR}+").fullmatch

#: Spellings that are cached. Clients choose the names, so the cache needs a bound.
MAX_SPELLINGS: Final = 4096


class NameCache(dict[str, Rule], Generic[Rule]):
    """Bounded cache of the results of `judge`, keyed by the exact spelling of a name."""

    def __init__(self, judge: Callable[[str], Rule]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, name: str) -> Rule:
        rule = self._judge(name)
        if len(self) < MAX_SPELLINGS:
            self[name] = rule
        return rule


class NameTable(NameCache[Rule | None], Generic[Rule]):
    """The rule for a name in any case, or None."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        by_name = dict(rules)
        super().__init__(lambda name: by_name.get(name.lower()))


def members(values: Iterable[str]) -> Iterator[str]:
    """The members of a list in one or several field lines, without empty ones (RFC 9110 §5.6.1)."""
    for value in values:
        for member in value.split(","):
            stripped = member.strip(" \t")
            if stripped:
                yield stripped


def decimal(value: str, most: int) -> int | None:
    """The number that a field states, with blanks around it (RFC 9112 §5); None for any other text.

    Above `most` it is a number greater than `most`: a long number takes no more time than a short one.
    """
    digits = value.strip(" \t")
    if not (digits.isascii() and digits.isdigit()):
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(most)) else most + 1
