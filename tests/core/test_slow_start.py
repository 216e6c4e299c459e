"""Slow start: who warms up, in which steps, and what the others get meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import islice, product
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core import slow_start
from lbflask.core.eligibility import select
from lbflask.core.model import ActiveHealth, Ejection, Health, Mode, Override, Pool, Snapshot
from lbflask.core.slow_start import STEPS, in_service_since, weights
from lbflask.core.strategies import STRATEGIES, strategy_of
from tests.support.pools import backend

A, B, C = (backend(name) for name in "abc")
POOL = Pool("p", (A, B, C), slow_start=10.0)


def up_since(**since: float) -> Snapshot:
    active = {name: ActiveHealth(Health.UP, since=at) for name, at in since.items()}
    return Snapshot(1, active, 0.0, 2.0)


WARM_B = up_since(a=100.0, b=1000.0, c=100.0)


@pytest.mark.parametrize("tenth", range(STEPS))
def test_each_tenth_of_the_time_gives_a_tenth_of_the_weight(tenth: int) -> None:
    begin, end = 1000.0 + tenth, 1000.0 + tenth + 1
    for now in (begin, begin + 0.5, nextafter(end, 0)):
        found, until = weights(POOL, POOL.backends, WARM_B, now)
        assert Fraction(found[1], found[0]) == Fraction(tenth + 1, STEPS)
        assert found[0] == found[2]
        assert until == (end if tenth < STEPS - 1 else inf)


def test_before_and_after_nobody_warms_up_and_weights_are_as_configured() -> None:
    heavy = replace(POOL, backends=(replace(A, weight=7), replace(B, weight=3)))
    assert weights(heavy, heavy.backends, WARM_B, 1010.0) == ((7, 3), inf)
    assert weights(replace(heavy, slow_start=0.0), heavy.backends, WARM_B, 1000.0) == ((7, 3), inf)


def test_a_clock_that_is_behind_sees_the_first_step() -> None:
    assert weights(POOL, POOL.backends, WARM_B, 990.0) == ((10, 1, 10), 1001.0)


def test_backends_that_warm_up_in_step_share_as_if_none_did() -> None:
    pool = replace(POOL, backends=(replace(A, weight=2), replace(B, weight=3)))
    known = up_since(a=1000.0, b=1000.0)
    for now in (1000.0, 1003.5, 1008.9):
        chosen = select(pool, known, now).candidates
        order = strategy_of(pool).compile(chosen).order
        taken = Counter(next(iter(order(ticket))).id for ticket in range(50))
        assert taken == {"a": 20, "b": 30}


def test_a_backend_alone_takes_all_however_cold_it_is() -> None:
    (only,) = select(Pool("p", (A,), slow_start=10), up_since(a=1000.0), 1000.0).candidates
    assert only.weight > 0


def test_a_backend_may_have_a_time_of_its_own_or_none() -> None:
    slow, quick = replace(A, slow_start=100.0), replace(B, slow_start=0.0)
    known = up_since(a=1000.0, b=1000.0, c=1000.0)
    assert weights(POOL, (slow, quick, C), known, 1005.0) == ((1, 10, 6), 1006.0)
    without = replace(POOL, slow_start=0.0)
    assert weights(without, (slow, B), known, 1005.0) == ((1, 10), 1010.0)


@given(
    st.lists(st.tuples(st.integers(1, 256), st.sampled_from([0.0, 990.0, 995.0, 999.9, 1000.0])), min_size=1),
    st.floats(990, 1015),
)
def test_shares_are_exact_and_whole_and_nobody_is_left_with_nothing(given: list[tuple[int, float]], now: float) -> None:
    backends = tuple(backend(f"b{number}", weight) for number, (weight, _) in enumerate(given))
    known = up_since(**{f"b{number}": since for number, (_, since) in enumerate(given)})
    found, until = weights(Pool("p", backends, slow_start=10.0), backends, known, now)
    tenths = []
    for _, since in given:
        full = not since or now >= since + 10
        tenths.append(STEPS if full else min(STEPS, 1 + int(max(0.0, now - since))))
    shares = [Fraction(weight * tenth) for (weight, _), tenth in zip(given, tenths, strict=True)]
    assert all(weight > 0 for weight in found)
    assert {Fraction(one) / share for one, share in zip(found, shares, strict=True)} == {Fraction(found[0]) / shares[0]}
    assert until > now or min(tenths) < STEPS


def test_a_selection_holds_until_its_next_step() -> None:
    now, moments = 1000.0, []
    while (until := select(POOL, WARM_B, now).until) != inf:
        before = select(POOL, WARM_B, nextafter(until, 0)).candidates
        assert before == select(POOL, WARM_B, now).candidates
        assert before != select(POOL, WARM_B, until).candidates
        moments.append(until)
        now = until
    assert moments == [1000.0 + tenth for tenth in range(1, STEPS)]


# From when a backend is in service


def test_it_counts_from_when_the_backend_came_up() -> None:
    assert in_service_since(B, WARM_B) == 1000.0
    assert in_service_since(B, Snapshot(1, {"b": ActiveHealth(Health.DOWN, since=1000.0)}, 0.0, 2.0)) == 0
    assert in_service_since(B, Snapshot()) == 0
    assert weights(POOL, POOL.backends, Snapshot(), 5.0) == ((1, 1, 1), inf)


def test_a_checker_that_dies_makes_nobody_warmer() -> None:
    assert weights(POOL, POOL.backends, replace(WARM_B, heartbeat=None), 1000.0).weights == (10, 1, 10)


def test_it_counts_from_the_return_of_an_ejected_one() -> None:
    back = replace(WARM_B, ejected={"a": Ejection(False, 1, 1200.0, 1230.0)})
    assert weights(POOL, POOL.backends, back, 1231.0).weights == (1, 5, 5)
    out = replace(WARM_B, ejected={"a": Ejection(True, 1, 1200.0, 1230.0)})
    assert in_service_since(A, out) == 100.0


@pytest.mark.parametrize(("mode", "since"), [(Mode.SERVING, 2000.0), (Mode.DRAINING, 100.0), (Mode.OFF, 100.0)])
def test_it_counts_from_when_an_operator_enabled_it(mode: Mode, since: float) -> None:
    assert in_service_since(A, replace(WARM_B, overrides={"a": Override(mode, since=2000.0)})) == since


def test_operators_are_told_how_warm_it_is() -> None:
    assert [slow_start.percent(POOL, B, WARM_B, now) for now in (1000.0, 1004.2, 1009.0, 2000.0)] == [10, 50, 100, 100]


@pytest.mark.parametrize("strategy", sorted({*STRATEGIES} - {"first"}))
def test_every_strategy_but_first_gives_a_cold_backend_less(strategy: str) -> None:
    pool = replace(POOL, strategy=strategy)
    counts = {}
    for now in (1000.0, 1100.0):
        schedule = strategy_of(pool).compile(select(pool, WARM_B, now).candidates)
        orders = (schedule.order(ticket, f"key {ticket}", {"a": 1, "b": 1, "c": 1}) for ticket in range(2100))
        counts[now] = Counter(next(iter(order)).id for order in orders)["b"]
    assert counts[1000.0] < counts[1100.0] / 4


def test_hashed_keys_only_come_to_a_backend_that_warms_up_and_none_moves_between_the_others() -> None:
    pool = replace(POOL, strategy="consistent_hash")
    homes: list[dict[str, str]] = []
    for tenth in range(STEPS):
        schedule = strategy_of(pool).compile(select(pool, WARM_B, 1000.0 + tenth).candidates)
        homes.append({key: next(iter(schedule.order(0, key))).id for key in map(str, range(500))})
    for (before, after), key in product(zip(homes, islice(homes, 1, None), strict=False), homes[0]):
        assert after[key] in (before[key], "b")
