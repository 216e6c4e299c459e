"""The simulation of shares of failures, and what it shows about the rule."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.ejection_shares import RATES, SHARES, cell, judge, time_to_ejection


@pytest.mark.parametrize("rate", RATES)
def test_a_backend_that_fails_everything_is_out_with_the_fifth_request(rate: float) -> None:
    times = [time_to_ejection(1.0, rate, 100.0, random.Random(seed)) * rate for seed in range(50)]
    assert 3 < sum(times) / len(times) < 5, "four gaps between five requests"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_one_bad_path_of_five_ejects_nobody_within_minutes(share: float, rate: float) -> None:
    ejected = [seed for seed in range(20) if time_to_ejection(share, rate, 120.0, random.Random(seed)) < math.inf]
    assert len(ejected) <= 1, f"bad luck with the first requests ejects one of 256 at most: {ejected}"


def test_shares_are_judged_over_all_rates_and_a_dead_backend_at_each() -> None:
    good = {share: {rate: [math.inf] * 10 for rate in RATES} for share in SHARES}
    good[100] = {rate: [4 / rate] for rate in RATES}
    assert all(check.met for check in judge(good))
    bad = {**good, 20: {rate: [1.0, math.inf] for rate in RATES}, 100: {**good[100], 50: [9 / 50]}}
    missed = [check.what for check in judge(bad) if not check.met]
    assert missed == ["runs with 20 % of failures that eject", "requests until a dead backend is out at 50/s"]


def test_a_cell_names_the_part_that_was_ejected_and_the_median_time() -> None:
    assert cell([math.inf] * 2) == "never"
    assert cell([1.0, 2.0, 9.0]) == "2 s"
    assert cell([1.0, math.inf, math.inf, math.inf]) == "25 %: 1 s"
