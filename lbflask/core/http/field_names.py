"""Tables keyed by field name, in whatever case the name comes (RFC 9110 §5.1); and lists as fields hold them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

Rule = TypeVar("Rule")

#: A character of a token (RFC 9110 §5.6.2), as a pattern.
TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
#: A token, such as the name of a field, a method or the name of a cookie.
is_token = re.compile(f"{TCHAR}+").fullmatch

#: Spellings that a table remembers. Clients choose the names, so there must be a bound.
MAX_SPELLINGS = 4096


class NameCache(dict[str, Rule], Generic[Rule]):
    """What `judge` says of a name. A spelling costs one look-up once it has been asked for."""

    def __init__(self, judge: Callable[[str], Rule]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, name: str) -> Rule:
        rule = self._judge(name)
        if len(self) < MAX_SPELLINGS:
            self[name] = rule
        return rule


class NameTable(NameCache[Rule | None], Generic[Rule]):
    """The rule for a name in whatever case it comes, or None."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        by_name = dict(rules)
        super().__init__(lambda name: by_name.get(name.lower()))


def members(values: Iterable[str]) -> Iterator[str]:
    """The members of a list that stands in one field line or several; empty ones are none (RFC 9110 §5.6.1)."""
    for value in values:
        for member in value.split(","):
            stripped = member.strip(" \t")
            if stripped:
                yield stripped
