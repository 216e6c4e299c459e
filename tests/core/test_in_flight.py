from __future__ import annotations

import pytest

from lbflask.core.in_flight import MOST_CHANGES, Loads


def test_backends_without_requests_are_not_in_it() -> None:
    loads = Loads({"a": 1})
    loads.add("b", 2)
    loads.add("a", -1)
    loads.add("c", 0)
    assert loads == {"b": 2}


def test_a_reader_without_a_mark_has_to_start_from_all() -> None:
    assert Loads({"a": 1}).since(-1) == (0, None)


def test_a_reader_gets_the_changes_since_its_mark() -> None:
    loads = Loads({})
    loads.add("a", 1)
    loads.add("b", 1)
    assert loads.since(1) == (2, ["b"])
    assert loads.since(2) == (2, [])


@pytest.mark.parametrize("missed", [0, MOST_CHANGES - 1])
def test_a_reader_that_has_missed_changes_has_to_start_from_all(missed: int) -> None:
    loads = Loads({})
    for _ in range(MOST_CHANGES + 1):
        loads.add("a", 1)
    assert loads.since(missed) == (MOST_CHANGES + 1, None)
    assert loads.since(MOST_CHANGES) == (MOST_CHANGES + 1, ["a"])
