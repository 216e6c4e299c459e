from __future__ import annotations

from lbflask.core.model import Candidate
from lbflask.core.strategies.first import First
from tests.support.orders import names
from tests.support.pools import backend


def test_no_candidates_have_no_order() -> None:
    assert names(First([])) == []


def test_the_first_that_can_serve_as_they_are_configured_serves_all() -> None:
    configured = (Candidate(backend("z"), 1, 0), Candidate(backend("a", 9), 9, 1), Candidate(backend("m"), 1, 2))
    by_id = sorted(configured, key=lambda candidate: candidate.backend.id)
    schedule = First(by_id)
    assert [names(schedule, ticket) for ticket in range(5)] == [["z", "a", "m"]] * 5
    assert names(First(by_id[:2])) == ["a", "m"]


def test_a_repr_shows_the_number_of_backends() -> None:
    assert repr(First([Candidate(backend("a"), 1), Candidate(backend("b"), 1)])) == "First(2 backends)"
