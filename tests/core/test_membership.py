"""Who is in a pool, and what operators want of them."""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.membership import members, mode_of, takers
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Health, Mode, Override, Pool, Snapshot
from tests.support.pools import backend, candidates

A, B, C, D = (backend(name) for name in "abcd")
POOL = Pool("p", (A, B))


def known(**overrides: Override) -> Snapshot:
    return Snapshot(overrides=overrides)


def ids(snapshot: Snapshot) -> list[str]:
    return [one.id for one in members(POOL, snapshot)]


def test_without_a_word_of_others_the_pool_is_as_configured() -> None:
    assert members(POOL, NOTHING_KNOWN) is POOL.backends


def test_the_discovered_come_after_the_configured_and_the_added_last() -> None:
    assert ids(replace(known(d=Override(added=D)), discovered=(C,))) == ["a", "b", "c", "d"]
    assert ids(known(d=Override(added=D), c=Override(added=C))) == ["a", "b", "c", "d"]


def test_of_two_with_one_id_the_configured_one_counts_then_the_discovered() -> None:
    other = replace(A, host="elsewhere", url="http://elsewhere:80")
    found = members(POOL, replace(known(c=Override(added=replace(C, weight=9))), discovered=(other, C)))
    assert found == (A, B, C)


def test_of_two_at_one_place_the_configured_one_counts() -> None:
    other = replace(A, id="a-by-address")
    assert ids(Snapshot(discovered=(other, C))) == ["a", "b", "c"]


def test_the_removed_are_gone_wherever_they_came_from() -> None:
    gone = Override(removed=True)
    assert ids(replace(known(a=gone, c=gone), discovered=(C, D))) == ["b", "d"]


def test_a_weight_set_at_run_time_counts_and_everything_else_stays() -> None:
    assert members(POOL, known(a=Override(weight=0))) == (replace(A, weight=0), B)


def test_an_override_of_nobody_changes_nothing() -> None:
    assert members(POOL, known(nobody=Override(Mode.OFF, 3))) == POOL.backends


def test_only_those_in_service_get_new_requests() -> None:
    up = {id_: ActiveHealth(Health.UP) for id_ in "ab"}
    for mode in Mode:
        snapshot = replace(known(a=Override(mode)), active=up, heartbeat=0.0, interval=1.0)
        serving = [candidate.backend.id for candidate in candidates(POOL, snapshot)]
        assert serving == (["a", "b"] if mode is Mode.SERVING else ["b"])
        assert mode_of(A, snapshot) is mode
        assert mode_of(B, snapshot) is Mode.SERVING


def test_those_that_take_requests_are_in_service_and_have_a_weight() -> None:
    pool = Pool("p", (D, C, B, A))
    snapshot = known(a=Override(Mode.OFF), b=Override(weight=0), c=Override(Mode.DRAINING))
    assert takers(members(pool, snapshot), snapshot) == ("d",)
    assert takers(members(pool, NOTHING_KNOWN), NOTHING_KNOWN) == ("a", "b", "c", "d")


def test_a_pool_all_of_which_is_out_of_service_serves_nobody_even_if_it_fails_open() -> None:
    off = Override(Mode.OFF)
    assert candidates(replace(POOL, fails_open=True), known(a=off, b=off)) == ()
