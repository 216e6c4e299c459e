from __future__ import annotations

from collections.abc import Mapping

import pytest

from lbflask.core.in_flight import MOST_CHANGES, LoadListener, Loads


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


class Copy(LoadListener):
    """The loads as a reader follows them, and how it got each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: dict[str, int] = {}
        self.steps: list[str] = []

    def _rebuild(self, loads: Mapping[str, int]) -> None:
        self.loads = dict(loads)
        self.steps.append("all")

    def _update(self, backend: str, load: int) -> None:
        self.loads[backend] = load
        self.steps.append(backend)


def test_a_listener_reads_only_what_has_changed() -> None:
    copy, loads = Copy(), Loads({"a": 1})
    copy.follow(loads)
    loads.add("b", 2)
    loads.add("a", -1)
    copy.follow(loads)
    copy.follow(loads)
    assert copy.steps == ["all", "b", "a"]
    assert copy.loads == {"a": 0, "b": 2}


def test_a_listener_starts_anew_after_loads_without_a_log() -> None:
    copy, loads = Copy(), Loads({"a": 1})
    copy.follow(loads)
    copy.follow({"c": 1})
    copy.follow(loads)
    assert copy.loads == {"a": 1}


def test_a_listener_starts_anew_with_other_loads_and_when_it_has_missed_changes() -> None:
    copy, loads = Copy(), Loads({"a": 1})
    copy.follow(loads)
    copy.follow(Loads({"b": 1}))
    copy.follow({"c": 1})
    copy.follow(loads)
    assert (copy.steps, copy.loads) == (["all"] * 4, {"a": 1})
    for _ in range(MOST_CHANGES + 1):
        loads.add("b", 1)
    copy.follow(loads)
    assert (copy.steps, copy.loads) == (["all"] * 5, loads)
