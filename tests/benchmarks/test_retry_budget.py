"""The simulation of retry budgets: the targets hold in small, and the figures add up."""

from __future__ import annotations

import pytest

from benchmarks.retry_budget import PHASES, Figures, judge, simulated


@pytest.mark.parametrize("workers", [1, 100])
def test_a_fleet_serves_what_one_backend_fails_and_multiplies_no_outage(workers: int) -> None:
    found = simulated(workers, 20.0)
    assert all(check.met for check in judge({workers: found})), found
    assert found["well"].amplification == 1.0
    assert found["all fail"].failed > 0
    assert 1.1 < found["all fail"].amplification < 1.4, "the share of the present, and what the last seconds have left"


def test_a_503_and_a_storm_miss_the_targets() -> None:
    good = {name: Figures(100, 100) for name in PHASES}
    assert all(check.met for check in judge({1: good}))
    assert not all(check.met for check in judge({1: good | {"one fails a third": Figures(100, 110, 1)}}))
    assert not all(check.met for check in judge({1: good | {"all fail": Figures(100, 300)}}))
