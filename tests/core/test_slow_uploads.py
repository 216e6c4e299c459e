from __future__ import annotations

import pytest

from lbflask.core.slow_uploads import LEAST_BYTES_PER_SECOND, Mark, Uploads, matter, summed_uploads, uploads_of


def test_an_upload_is_slow_since_the_last_time_it_was_fast() -> None:
    begun = Mark(100.0, 0)
    assert begun.moved(100.5, 0) is begun
    assert begun.moved(130.0, 299_999) is begun
    assert begun.moved(130.0, 300_000) == Mark(130.0, 300_000)
    assert begun.moved(100.5, int(LEAST_BYTES_PER_SECOND / 2)) == Mark(100.5, 5000)


def test_a_fast_upload_that_stalls_becomes_slow_whatever_came_before() -> None:
    fast = Mark(100.0, 0).moved(101.0, 50_000_000)
    stalled = fast.moved(101.5, 50_000_001).moved(110.0, 50_000_010)
    assert stalled == fast == Mark(101.0, 50_000_000)


def test_uploads_are_slow_after_five_seconds_and_counted_by_client() -> None:
    marks = [("a", Mark(62.0, 1)), ("a", Mark(95.0, 1)), ("b", Mark(90.0, 1)), ("b", Mark(95.1, 1))]
    assert uploads_of(marks, 100.0) == Uploads(4, 3, 38.0, {"a": 2, "b": 1})
    assert uploads_of([("a", Mark(99.0, 1))], 100.0) == Uploads(1, 0, 0.0, {})
    assert uploads_of([], 100.0) == Uploads()


def test_the_clients_with_most_are_named() -> None:
    marks = [(str(client), Mark(0.0, 0)) for client in range(9) for _ in range(client + 1)]
    assert uploads_of(marks, 10.0) == Uploads(45, 45, 10.0, {"8": 9, "7": 8, "6": 7, "5": 6, "4": 5})


def test_those_of_all_workers_add_up() -> None:
    one = {"w1": Uploads(5, 3, 38.0, {"a": 2, "b": 1}), "w2": Uploads(1, 0, 0.0, {})}
    two = {"w1": Uploads(7, 4, 12.0, {"b": 4})}
    found = summed_uploads([one, two])
    assert found == {"w1": Uploads(12, 7, 38.0, {"b": 5, "a": 2}), "w2": Uploads(1, 0, 0.0, {})}
    assert next(iter(found["w1"].by_client)) == "b"
    assert summed_uploads([two, one]) == found
    assert summed_uploads([]) == {}


@pytest.mark.parametrize(
    ("slow", "in_flight", "expected"),
    [(3, 3, True), (3, 12, True), (3, 13, False), (2, 2, False), (100, 400, True), (0, 0, False), (3, 0, True)],
)
def test_a_quarter_of_the_requests_in_flight_matters(slow: int, in_flight: int, expected: bool) -> None:
    assert matter(slow, in_flight) is expected
