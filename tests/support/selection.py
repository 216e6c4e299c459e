"""Which tests run: the quick ones by default, with --long those that CI runs, with --all every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Protocol

import hypothesis
import pytest

#: Examples of a property in the quick tests; else as many as Hypothesis makes by default.
QUICK_EXAMPLES = 30


class Extent(IntEnum):
    """How much of the suite runs."""

    QUICK = 0
    LONG = 1
    ALL = 2


class Marked(Protocol):
    """What is read of a collected test."""

    @property
    def nodeid(self) -> str: ...

    def get_closest_marker(self, name: str) -> pytest.Mark | None: ...


def left_out(tests: Iterable[Marked], extent: Extent) -> set[Marked]:
    """The tests that do not run. Of a sampled test runs one member in so many, in their order, beginning with the first
    one that runs at all.
    """
    out: set[Marked] = set()
    seen: Counter[str] = Counter()
    for test in tests:
        if _needs(test) > extent:
            out.add(test)
            continue
        sampled = test.get_closest_marker("sampled")
        if sampled is not None and extent < Extent.ALL:
            name, every = test.nodeid.partition("[")[0], sampled.args
            if seen[name] % every[min(extent, len(every) - 1)]:
                out.add(test)
            seen[name] += 1
    return out


def _needs(test: Marked) -> Extent:
    """The least extent with which the test runs."""
    if test.get_closest_marker("thorough") is not None:
        return Extent.ALL
    return Extent.LONG if test.get_closest_marker("long") is not None else Extent.QUICK


def examples(count: int) -> int:
    """So many examples of a property that needs more or fewer than others, in proportion in the quick tests."""
    quick = hypothesis.settings().max_examples == QUICK_EXAMPLES
    return max(1, count * QUICK_EXAMPLES // 100) if quick else count


def first_of(members: Iterable[Any], quick: int = 1) -> Sequence[Any]:
    """Parameters of a fixture or of a test: the first members run always, the others with --long."""
    return [
        member if number < quick else pytest.param(member, marks=pytest.mark.long)
        for number, member in enumerate(members)
    ]
