"""Totals before a window, with reads at any times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.recent_totals import STEP, RecentTotals


def test_the_total_before_the_window_is_that_of_the_latest_read_before_it() -> None:
    totals = RecentTotals(10.0, 0)
    assert [totals.before(at, total) for at, total in [(0.0, 1), (5.0, 2), (9.9, 3)]] == [0, 0, 0]
    assert totals.before(10.0, 4) == 1
    assert totals.before(14.9, 5) == 1
    assert totals.before(100.0, 6) == 5, "or at the last call before"
    assert repr(totals) == "<RecentTotals of 10 s: 6>"


def test_reads_in_quick_succession_are_kept_once() -> None:
    totals = RecentTotals(1.0, 0)
    assert [totals.before(at, total) for at, total in [(0.0, 1), (STEP / 2, 2), (1.0, 3), (1.4, 4)]] == [0, 0, 1, 1]


@given(st.lists(st.floats(0.0, 30.0), max_size=60))
def test_the_total_is_of_the_latest_read_before_the_window_but_for_a_step(gaps: list[float]) -> None:
    now, totals, reads = 0.0, RecentTotals(10.0, float("-inf")), list[float]()
    for gap in gaps:
        now += gap
        before = totals.before(now, now)
        assert before <= now - 10.0
        assert all(at - before < STEP or at <= before or at > now - 10.0 for at in reads)
        reads.append(now)
