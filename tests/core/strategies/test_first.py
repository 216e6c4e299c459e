from __future__ import annotations

from lbflask.core.model import Backend, Candidate
from lbflask.core.strategies.first import First


def candidate(name: str, rank: int) -> Candidate:
    return Candidate(Backend(name, name, 80, f"http://{name}:80"), 1, rank)


def test_the_order_is_that_of_the_configuration_for_each_request() -> None:
    schedule = First([candidate("a", 1), candidate("b", 0), candidate("c", 2)])
    for ticket in range(3):
        assert [backend.id for backend in schedule.order(ticket)] == ["b", "a", "c"]


def test_no_candidates_have_no_order() -> None:
    assert list(First([]).order(0)) == []
