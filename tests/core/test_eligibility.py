from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations, permutations, product
from math import inf

import pytest

from lbflask.core.eligibility import Fallback, active_health, newly_unresponsive, select, selects_alike
from lbflask.core.failure_causes import FailureCause
from lbflask.core.model import NOTHING_KNOWN, ActiveHealth, Backend, Ejection, Health, Mode, Override, Pool, Snapshot
from tests.support.pools import candidates

A, B, C = (Backend(name, name, 80, f"http://{name}:80") for name in "abc")
IDLE = Backend("idle", "idle", 80, "http://idle:80", weight=0)


def snapshot(heartbeat: float | None = 0.0, interval: float = 2.0, **active: Health) -> Snapshot:
    return Snapshot(1, {name: ActiveHealth(health) for name, health in active.items()}, heartbeat, interval)


def powerset(names: str) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, count) for count in range(len(names) + 1)))


def serving(pool: Pool, known: Snapshot) -> list[str]:
    return [candidate.backend.id for candidate in candidates(pool, known)]


@pytest.mark.parametrize(
    ("health", "may_serve"),
    [(Health.UP, True), (Health.UNKNOWN, True), (Health.CHECKING, False), (Health.DOWN, False)],
)
def test_a_backend_serves_beside_others_when_it_is_up_or_unknown(health: Health, may_serve: bool) -> None:
    assert serving(Pool("p", (A, B)), snapshot(a=health, b=Health.UP)) == (["a", "b"] if may_serve else ["b"])


@pytest.mark.parametrize("fails_open", [False, True])
@pytest.mark.parametrize("rest", [Health.DOWN, Health.CHECKING])
def test_unchecked_backends_serve_while_no_other_can(rest: Health, fails_open: bool) -> None:
    pool = Pool("p", (A, B, IDLE), fails_open=fails_open)
    chosen = select(pool, snapshot(a=Health.CHECKING, b=rest, idle=Health.CHECKING))
    unchecked = ["a"] if rest is Health.DOWN else ["a", "b"]
    assert ([one.backend.id for one in chosen.candidates], chosen.resort) == (unchecked, Fallback.UNCHECKED)


def test_ejected_backends_that_pass_checks_serve_before_unchecked_ones() -> None:
    known = known_with(out("a"), a=UP, b=ActiveHealth(Health.CHECKING))
    chosen = select(Pool("p", (A, B)), known)
    assert ([one.backend.id for one in chosen.candidates], chosen.resort) == (["a"], Fallback.EJECTED)


def test_an_unchecked_backend_that_drains_serves_nothing() -> None:
    known = replace(snapshot(a=Health.CHECKING, b=Health.DOWN), overrides={"a": Override(Mode.DRAINING)})
    assert select(Pool("p", (A, B)), known).candidates == ()


def test_every_health_is_decided() -> None:
    for health in Health:
        assert len(candidates(Pool("p", (A,)), snapshot(a=health))) in (0, 1)
    serves = {health for health in Health if serving(Pool("p", (A,)), snapshot(a=health))}
    assert serves == {Health.UP, Health.UNKNOWN, Health.CHECKING}


def test_a_backend_the_checker_has_not_spoken_of_waits_for_its_first_check() -> None:
    known = snapshot(a=Health.UP)
    assert active_health(B, known) == ActiveHealth(Health.CHECKING, reason="no check has ended yet")
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
    [(0.0, True), (6.0, True), (6.001, False), (1e9, False)],
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


def test_weights_are_those_of_the_snapshot_unless_another_time_is_given() -> None:
    up = {name: ActiveHealth(Health.UP, since=since) for name, since in (("a", 1000.0), ("b", 1.0))}
    pool, known = Pool("p", (A, B), slow_start=10.0), Snapshot(1, up, 0.0, 2.0, now=1005.5)
    weights = [[one.weight for one in select(pool, known, now).candidates] for now in (None, 1005.5, 1000.0)]
    assert weights == [[3, 5], [3, 5], [1, 10]]


def test_a_fallback_is_shown_as_the_admin_api_documents() -> None:
    assert [fallback.value for fallback in Fallback] == ["", "ejected", "unchecked", "all"]


def test_what_the_snapshot_knows_of_strangers_changes_nothing() -> None:
    assert serving(Pool("p", (A,)), snapshot(a=Health.UP, removed=Health.UP)) == ["a"]


def out(*names: str, since: float = 10.0) -> dict[str, Ejection]:
    return {name: Ejection(True, 1, since, since + 30) for name in names}


def known_with(ejected: dict[str, Ejection], **active: ActiveHealth) -> Snapshot:
    return Snapshot(1, active, 0.0, 2.0, ejected)


UP, DOWN = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN)
OPEN = Pool("p", (A, B, C), fails_open=True)
SHUT = Pool("p", (A, B, C))


@pytest.mark.parametrize("pool", [OPEN, SHUT])
@pytest.mark.parametrize("ejected", powerset("abc"))
@pytest.mark.parametrize("up", powerset("abc"))
def test_every_state_of_three_backends_is_decided(pool: Pool, ejected: tuple[str, ...], up: tuple[str, ...]) -> None:
    known = known_with(out(*ejected), **{name: UP if name in up else DOWN for name in "abc"})
    chosen, resort, keeping, until = select(pool, known)
    assert (keeping, until) == ((), inf)
    sound = [name for name in "abc" if name in up and name not in ejected]
    expected = (sound, Fallback.NONE)
    if not sound and up:
        expected = (list(up), Fallback.EJECTED)
    elif not sound and pool.fails_open:
        expected = (["a", "b", "c"], Fallback.ALL)
    assert ([candidate.backend.id for candidate in chosen], resort) == expected


def test_an_ejected_backend_serves_again_once_checks_have_seen_it_come_up() -> None:
    known = known_with(out("a"), a=ActiveHealth(Health.UP, since=10.5), b=UP)
    assert [candidate.backend.id for candidate in candidates(SHUT, known)] == ["a", "b"]


def test_ejection_holds_without_a_checker() -> None:
    known = Snapshot(ejected=out("a"))
    assert [candidate.backend.id for candidate in candidates(SHUT, known)] == ["b", "c"]


def test_weight_zero_takes_no_request_even_when_a_pool_fails_open() -> None:
    chosen = select(Pool("p", (IDLE,), fails_open=True), known_with({}, idle=DOWN))
    assert (chosen.candidates, chosen.resort) == ((), Fallback.NONE)


@pytest.mark.parametrize("pool", [OPEN, SHUT])
@pytest.mark.parametrize("modes", list(product(Mode, repeat=3)))
def test_every_mode_of_three_backends_is_decided_whatever_else_is_known(pool: Pool, modes: tuple[Mode, ...]) -> None:
    """Of those in service it is decided as if there were no others; draining ones keep sessions while they are fit."""
    wanted = dict(zip("abc", modes, strict=True))
    in_service = replace(pool, backends=tuple(one for one in pool.backends if wanted[one.id] is Mode.SERVING))
    overrides = {id_: Override(mode) for id_, mode in wanted.items()}
    for ejected, up in product(powerset("abc"), powerset("abc")):
        known = known_with(out(*ejected), **{name: UP if name in up else DOWN for name in "abc"})
        alone = select(in_service, known)
        found = select(pool, replace(known, overrides=overrides))
        assert [one.backend for one in found.candidates] == [one.backend for one in alone.candidates]
        assert found.resort is alone.resort
        fit = [name for name in up if name not in ejected and wanted[name] is Mode.DRAINING]
        assert [one.id for one in found.keeping] == fit


def test_a_draining_backend_without_weight_keeps_nothing() -> None:
    known = Snapshot(overrides={"a": Override(Mode.DRAINING, weight=0), "b": Override(Mode.DRAINING)})
    assert select(SHUT, known).keeping == (B,)


def found(**states: ActiveHealth) -> Snapshot:
    return Snapshot(1, states, heartbeat=0.0, interval=1.0)


@pytest.mark.parametrize("cause", FailureCause)
@pytest.mark.parametrize("before", Health)
def test_a_backend_is_unresponsive_from_when_checks_without_an_answer_find_it_down(
    cause: FailureCause, before: Health
) -> None:
    up, down = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN, cause=cause)
    expected = {"a"} if cause in ("timed_out", "no_answer") and before is not Health.DOWN else set()
    assert newly_unresponsive(found(a=ActiveHealth(before), b=up), found(a=down, b=up)) == expected


def test_none_is_unresponsive_while_it_is_up_or_if_all_are_down_or_without_news() -> None:
    up, down = ActiveHealth(Health.UP), ActiveHealth(Health.DOWN, cause=FailureCause.NO_ANSWER)
    failing = ActiveHealth(Health.UP, 1, cause=FailureCause.NO_ANSWER)
    assert newly_unresponsive(found(a=up, b=up), found(a=failing, b=up)) == set()
    assert newly_unresponsive(found(a=up, b=up), found(a=down, b=down)) == set()
    after = found(a=down, b=up)
    assert newly_unresponsive(after, replace(after, heartbeat=0.5)) == set()
    assert newly_unresponsive(NOTHING_KNOWN, after) == {"a"}


class TestSelectsAlike:
    """Whether a selection of an earlier snapshot still holds."""

    KNOWN = replace(snapshot(a=Health.UP, b=Health.DOWN), now=1000.0, overrides={}, ejected={}, secret="s" * 16)

    def test_a_heartbeat_and_the_time_change_nothing(self) -> None:
        later = replace(self.KNOWN, now=1001.0, heartbeat=1.0)
        assert selects_alike(self.KNOWN, later)
        assert select(Pool("p", (A, B)), self.KNOWN).candidates == select(Pool("p", (A, B)), later).candidates

    @pytest.mark.parametrize(
        "change",
        [
            {"active": {"a": ActiveHealth(Health.DOWN)}},
            {"ejected": {"a": Ejection(True, 1, 1000.0, 1030.0)}},
            {"overrides": {"a": Override(Mode.OFF)}},
            {"discovered": (C,)},
            {"secret": "t" * 16},
            {"heartbeat": 6.001},
            {"heartbeat": None},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_anything_else_may(self, change: dict[str, object]) -> None:
        after = replace(self.KNOWN, **change)  # type: ignore[arg-type]
        assert not selects_alike(self.KNOWN, after)
        assert not selects_alike(after, self.KNOWN)
