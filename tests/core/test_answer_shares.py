"""When errors of clients are unusual: simulated over minutes, with shares that rise, fall and waver."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answer_shares import CALM_FOR, LEAST, AnswerShares, ShareChange, concerns_pool
from lbflask.core.answers import AnswerKey

OK = AnswerKey("2xx", "backend")
DOWN = AnswerKey("503", "no_backend", "web")
LIMITED = AnswerKey("429", "rate_limit", "each")
STEP = 5.0


class Fleet:
    """A fleet whose answers are observed every STEP seconds."""

    def __init__(self, rate: float = 100.0) -> None:
        self.shares, self.now, self.rate = AnswerShares(), 1000.0, rate
        self.changes: list[tuple[float, ShareChange]] = []

    def run(self, seconds: float, *shares: float, key: AnswerKey = DOWN) -> list[bool]:
        """Whether each change in this time is to the unusual; the shares of the key take turns."""
        before = len(self.changes)
        for number in range(int(seconds / STEP)):
            self.now += STEP
            share = shares[number % len(shares)]
            observed = {OK: self.rate * (1 - share), key: self.rate * share} if share else {OK: self.rate}
            self.changes += [(self.now, change) for change in self.shares.judge(observed, self.now)]
        return [change.unusual for _, change in self.changes[before:]]


def test_a_share_that_rises_is_unusual_once_and_usual_again_after_a_while() -> None:
    fleet = Fleet()
    assert fleet.run(600, 0.0) == []
    assert fleet.run(600, 0.2) == [True]
    assert fleet.changes[0][0] == 1000.0 + 600 + STEP, "at the first observation"
    assert fleet.run(CALM_FOR, 0.0) == []
    assert fleet.run(600, 0.0) == [False]
    assert "AnswerShares()" in repr(fleet.shares)


def test_a_change_says_what_and_how_much() -> None:
    fleet = Fleet()
    fleet.run(600, 0.0)
    fleet.run(5, 0.25)
    (_, change), = fleet.changes  # fmt: skip
    assert str(change) == "503 no backend (web): 25.0 % of the answers, 25.0/s; usually 0.0 %"
    assert "no_backend" in repr(fleet.shares)
    assert str(ShareChange(AnswerKey("5xx", "backend"), True, 0.1, 0.01, 2.0)).startswith("5xx backend: 10.0 % of")


def test_a_share_that_is_usual_makes_no_event_and_five_times_of_it_makes_one() -> None:
    fleet = Fleet()
    assert fleet.run(1800, 0.03, 0.05) == []
    assert fleet.run(300, 0.1) == []
    assert fleet.run(300, 0.5) == [True]


def test_a_new_leader_takes_what_it_finds_for_usual_unless_it_is_most_of_the_answers() -> None:
    assert Fleet().run(600, 0.08) == []
    assert Fleet().run(600, 0.6) == [True]


def test_the_first_observation_is_not_the_whole_average() -> None:
    fleet = Fleet()
    assert fleet.run(10, 0.3) == []
    assert fleet.run(5, 0.6) == [True]


def test_a_time_without_answers_does_not_count_for_the_average() -> None:
    fleet = Fleet()
    fleet.run(600, 0.0)
    fleet.now += 3600
    assert fleet.run(5, 0.008) == []
    assert fleet.run(5, 0.03) == [True]


def test_few_answers_prove_nothing() -> None:
    fleet = Fleet(rate=1.0)
    assert fleet.run(600, 0.0) + fleet.run(600, 1.0) == [], "ten in the window"
    assert AnswerShares().judge({}, 1.0) == []


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.0, 0.0, 0.2), (0.2, 0.001)])
def test_a_share_that_wavers_makes_one_event(shares: tuple[float, ...]) -> None:
    fleet = Fleet()
    fleet.run(600, 0.0)
    assert fleet.run(1800, *shares) == [True]


def test_each_cause_is_judged_by_itself() -> None:
    fleet = Fleet()
    fleet.run(600, 0.0)
    assert fleet.run(60, 0.3) == [True]
    assert fleet.run(25, 0.3, key=LIMITED) == [True]
    assert [concerns_pool(change.key) for _, change in fleet.changes] == ["web", ""]


def test_of_a_cause_the_most_frequent_key_is_named_and_all_count() -> None:
    shares = AnswerShares()
    shares.judge({OK: 100.0}, 0.0)
    other = DOWN._replace(name="api")
    (change,) = shares.judge({OK: 90.0, DOWN: 4.0, other: 6.0}, 5.0)
    assert (change.key, change.per_second, change.share) == (other, 10.0, 0.1)


@given(st.lists(st.sampled_from([0.0, 0.005, 0.02, 0.1, 0.5, 1.0]), min_size=1, max_size=200), st.integers(0, 2**32))
def test_events_of_a_cause_alternate_and_their_rate_has_a_bound(shares: list[float], seed: int) -> None:
    fleet, chance = Fleet(), random.Random(seed)
    for share in shares:
        fleet.run(STEP * chance.randint(1, 20), share)
    kinds = [change.unusual for _, change in fleet.changes]
    assert kinds == [number % 2 == 0 for number in range(len(kinds))]
    assert all(change.share >= LEAST for _, change in fleet.changes if change.unusual)
    for (began, _), (ended, _) in zip(fleet.changes[::2], fleet.changes[1::2], strict=False):
        assert ended - began >= CALM_FOR
