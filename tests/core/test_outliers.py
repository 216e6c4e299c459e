from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.outliers import BackendFigures, Deviation, Outlier, _median_without, outliers

USUAL = BackendFigures("a", 1, 10.0, 0.0, 0.020)


def pool(*others: BackendFigures) -> list[BackendFigures]:
    return [replace(USUAL, id=f"peer{number}") for number in range(3)] + list(others)


def test_backends_that_are_alike_have_no_outlier() -> None:
    assert outliers(pool()) == []
    assert outliers([]) == []


def test_one_that_is_five_times_as_slow_is_one() -> None:
    assert outliers(pool(replace(USUAL, id="b", p50=0.100))) == [Outlier("b", Deviation.SLOW, 0.100, 0.020)]
    assert outliers(pool(replace(USUAL, id="b", p50=0.099))) == []


def test_of_two_backends_the_slow_one_is_the_outlier() -> None:
    slow = replace(USUAL, id="b", p50=0.5)
    assert outliers([USUAL, slow]) == [Outlier("b", Deviation.SLOW, 0.5, 0.020)]


@pytest.mark.parametrize("p50", [0.0001, 0.049])
def test_a_few_milliseconds_are_never_slow(p50: float) -> None:
    fast = [replace(USUAL, id=f"peer{number}", p50=0.0001) for number in range(3)]
    assert outliers([*fast, replace(USUAL, id="b", p50=p50)]) == []


def test_one_that_fails_more_than_its_peers_is_one_though_it_is_slow_too() -> None:
    failing = replace(USUAL, id="b", error_share=0.5, p50=1.0)
    assert outliers(pool(failing)) == [Outlier("b", Deviation.FAILING, 0.5, 0.0)]


def test_one_that_fails_like_its_peers_may_be_slow() -> None:
    failing = [replace(USUAL, id=name, error_share=0.5) for name in "acd"]
    slow = replace(USUAL, id="b", error_share=0.5, p50=1.0)
    assert outliers([*failing, slow]) == [Outlier("b", Deviation.SLOW, 1.0, 0.020)]


def test_a_small_share_of_errors_or_one_that_all_have_is_none() -> None:
    assert outliers(pool(replace(USUAL, id="b", error_share=0.049))) == []
    assert outliers([replace(USUAL, id=name, error_share=0.5) for name in "abc"]) == []


def test_waiting_requests_without_a_response_are_one_though_no_attempt_was_counted() -> None:
    silent = BackendFigures("b", 7, 0.0, None, None)
    assert outliers(pool(silent)) == [Outlier("b", Deviation.SILENT, 7, 0.020)]
    assert outliers(pool(replace(silent, waiting=2))) == []
    assert outliers([silent]) == [], "a pool that begins to serve"


def test_a_backend_with_few_requests_says_nothing() -> None:
    assert outliers(pool(replace(USUAL, id="b", requests_per_second=0.4, p50=9.0))) == []


def test_a_backend_alone_has_no_peers() -> None:
    assert outliers([replace(USUAL, p50=9.0, error_share=1.0)]) == []


def test_without_latencies_errors_are_compared_all_the_same() -> None:
    dead = replace(USUAL, id="b", waiting=0, error_share=1.0, p50=None)
    assert outliers(pool(dead)) == [Outlier("b", Deviation.FAILING, 1.0, 0.0)]
    assert outliers(pool(replace(dead, error_share=None))) == []


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), st.data())
def test_the_median_of_the_others_is_that_of_the_list_without_one(figures: list[float], data: st.DataObject) -> None:
    figure = data.draw(st.sampled_from(figures))
    others = sorted(figures)
    others.remove(figure)
    assert _median_without(sorted(figures), figure) == median(others)
