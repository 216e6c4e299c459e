from __future__ import annotations

from lbflask.core.clock_skew import SLACK, believed, set_back
from lbflask.core.model import ActiveHealth, Ejection, Health, Override, Snapshot

NOW = 1000.0
AHEAD = NOW + SLACK + 1


def test_the_clock_was_set_back_if_it_is_behind_by_more_than_the_slack() -> None:
    assert [set_back(NOW - 1, NOW), set_back(NOW + SLACK, NOW), set_back(AHEAD, NOW)] == [False, False, True]


def test_times_ahead_of_the_clock_count_as_none() -> None:
    snapshot = Snapshot(
        now=NOW,
        active={"a": ActiveHealth(Health.UP, since=AHEAD)},
        overrides={"a": Override(since=AHEAD)},
        ejected={"a": Ejection(False, 1, NOW - 9, AHEAD), "b": Ejection(True, 1, NOW - 9, AHEAD)},
    )
    read = believed(snapshot)
    assert (read.active["a"].since, read.overrides["a"].since) == (0.0, 0.0)
    assert read.ejected == {"a": Ejection(False, 1, NOW - 9, 0.0), "b": Ejection(True, 1, NOW - 9, AHEAD)}


def test_other_times_stay() -> None:
    snapshot = Snapshot(
        now=NOW,
        active={"a": ActiveHealth(Health.UP, since=NOW)},
        overrides={"a": Override(since=NOW)},
        ejected={"a": Ejection(False, 1, NOW - 9, NOW)},
    )
    assert believed(snapshot) == snapshot
