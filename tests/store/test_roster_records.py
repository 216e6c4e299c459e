from __future__ import annotations

import pytest

from lbflask.store import roster_records
from tests.support.changes import property_test

test_any_beats_and_reports_are_within_their_bounds_or_ignored = property_test("beats")


@pytest.mark.parametrize("count", [b"-1", b"x", b"", b"1.5", b"9" * 17])
def test_an_invalid_counter_of_attempts_is_left_out(count: bytes) -> None:
    assert roster_records.roster(1.0, "", [], {}, [("a", count), ("b", b"7")]).attempts == {"b": 7}


def test_places_that_are_over_or_too_long_are_no_checkers() -> None:
    places = [("over", b"1000"), ("now", b"3000"), ("long", b"99999999999"), ("invalid", b"x")]
    assert roster_records.parse_checkers(places, 2.0) == ("now",)


def test_names_of_workers_and_checkers_are_printable_and_bounded() -> None:
    found = roster_records.roster(1.0, "", [("vm\x1b[2J:1:a" + "x" * 2000, b"1000:{}")], {})
    (worker,) = found.workers
    assert worker.id.startswith("vm?[2J:1:a")
    assert len(worker.id) == 1000
    assert roster_records.parse_checkers([("a\x1b]0;b", b"3000")], 2.0) == ("a?]0;b",)
