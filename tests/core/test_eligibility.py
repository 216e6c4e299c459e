from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations, permutations, product
from math import inf

import pytest

from lbflask.core.eligibility import SILENT_INTERVALS, Fallback, active_health, select
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
