from __future__ import annotations

from itertools import permutations

import pytest

from lbflask.core.eligibility import SILENT_INTERVALS, active_health, candidates
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Health, Pool, Snapshot

A, B, C = (Backend(name, name, 80, f"http://{name}:80") for name in "abc")
IDLE = Backend("idle", "idle", 80, "http://idle:80", weight=0)


def snapshot(heartbeat: float | None = 0.0, interval: float = 2.0, **active: Health) -> Snapshot:
    return Snapshot(1, {name: ActiveHealth(health) for name, health in active.items()}, heartbeat, interval)


def serving(pool: Pool, known: Snapshot) -> list[str]:
    return [candidate.backend.id for candidate in candidates(pool, known)]


@pytest.mark.parametrize(
    ("health", "may_serve"),
    [(Health.UP, True), (Health.UNKNOWN, True), (Health.CHECKING, False), (Health.DOWN, False)],
)
def test_a_backend_serves_when_it_is_up_or_when_nobody_knows(health: Health, may_serve: bool) -> None:
    assert serving(Pool("p", (A,)), snapshot(a=health)) == (["a"] if may_serve else [])


def test_every_health_is_decided() -> None:
    for health in Health:
        assert len(candidates(Pool("p", (A,)), snapshot(a=health))) in (0, 1)
    assert {health for health in Health if serving(Pool("p", (A,)), snapshot(a=health))} == {Health.UP, Health.UNKNOWN}


def test_a_backend_the_checker_has_not_spoken_of_waits_for_its_first_check() -> None:
    known = snapshot(a=Health.UP)
    assert active_health(B, known).health is Health.CHECKING
    assert serving(Pool("p", (A, B)), known) == ["a"]


def test_weight_zero_takes_no_request_even_when_nothing_is_known() -> None:
    assert serving(Pool("p", (A, IDLE)), NOTHING_KNOWN) == ["a"]
    assert serving(Pool("p", (A, IDLE)), snapshot(a=Health.UP, idle=Health.UP)) == ["a"]


def test_all_serve_while_no_checker_has_ever_spoken() -> None:
    known = snapshot(heartbeat=None, a=Health.DOWN, b=Health.CHECKING)
    assert serving(Pool("p", (A, B)), known) == ["a", "b"]
    assert active_health(A, known).reason == "no checker is running"


@pytest.mark.parametrize(
    ("silence", "believed"),
    [(0.0, True), (SILENT_INTERVALS * 2.0, True), (SILENT_INTERVALS * 2.0 + 0.001, False), (1e9, False)],
)
def test_a_checker_is_believed_until_it_was_silent_for_three_of_its_intervals(silence: float, believed: bool) -> None:
    known = snapshot(heartbeat=silence, interval=2.0, a=Health.DOWN)
    assert active_health(A, known).health is (Health.DOWN if believed else Health.UNKNOWN)
    assert serving(Pool("p", (A,)), known) == ([] if believed else ["a"])


def test_candidates_come_in_the_order_of_their_ids_however_they_are_listed() -> None:
    for listed in permutations((A, B, C)):
        assert serving(Pool("p", listed), NOTHING_KNOWN) == ["a", "b", "c"]


def test_a_candidate_has_the_weight_of_its_backend() -> None:
    heavy = Backend("h", "h", 80, "http://h:80", weight=7)
    assert [candidate.weight for candidate in candidates(Pool("p", (heavy, A)), NOTHING_KNOWN)] == [1, 7]


def test_what_the_snapshot_knows_of_strangers_changes_nothing() -> None:
    assert serving(Pool("p", (A,)), snapshot(a=Health.UP, removed=Health.UP)) == ["a"]
