"""Operators' actions: each done twice is the same as done once, and nothing is kept of what says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core import overrides
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Closing, Mode, Override, Pool, Snapshot
from lbflask.core.operator_note import OperatorNote

A, B = Backend("a", "a", 1, "http://a:1", 3), Backend("b", "b", 1, "http://b:1", 2)
POOL = Pool("web", (A,))

any_override = st.none() | st.builds(
    Override,
    st.sampled_from(Mode),
    st.none() | st.integers(0, 9),
    st.sampled_from([None, A]),
    st.booleans(),
    st.sampled_from([0.0, 5.0]),
)
Change = Callable[[Override | None, float], Override | None]
NOW = 1000.0
CHANGES: dict[str, Change] = {
    "drain": lambda before, _: overrides.in_mode(before, Mode.DRAINING),
    "off": lambda before, _: overrides.in_mode(before, Mode.OFF),
    "drain and close": lambda before, now: overrides.in_mode(before, Mode.DRAINING, now, 300.0),
    "enable": overrides.enabled,
    "weight": lambda before, _: overrides.weighed(before, 7),
    "usual weight": lambda before, _: overrides.weighed(before, None),
    "remove": lambda before, _: overrides.removed(before, known=True),
    "remove an added one": lambda before, _: overrides.removed(before, known=False),
    "add": lambda before, now: overrides.added(before, B, now, known=False),
    "add a configured one": lambda before, now: overrides.added(before, A, now, known=True),
}


def after(override: Override | None, id_: str = "a") -> Snapshot:
    return Snapshot(overrides={} if override is None else {id_: override})


@pytest.mark.parametrize("name", CHANGES)
@given(before=any_override)
def test_an_action_done_twice_is_done_once(name: str, before: Override | None) -> None:
    once = CHANGES[name](before, NOW)
    assert CHANGES[name](once, NOW + 1) == once


@pytest.mark.parametrize("name", CHANGES)
@given(before=any_override)
def test_what_says_nothing_is_not_kept(name: str, before: Override | None) -> None:
    assert CHANGES[name](before, NOW) != Override()


def test_long_connections_end_from_the_latest_order_on_and_stay_after_a_return() -> None:
    drained = overrides.in_mode(None, Mode.DRAINING)
    closing = overrides.in_mode(drained, Mode.DRAINING, NOW, 300.0)
    assert closing == Override(Mode.DRAINING, closing=Closing(NOW, 300.0))
    assert overrides.in_mode(closing, Mode.DRAINING, NOW + 9, 60.0) == Override(
        Mode.DRAINING, closing=Closing(NOW + 9, 60.0)
    )
    assert overrides.in_mode(closing, Mode.DRAINING) == drained
    assert overrides.in_mode(closing, Mode.OFF, NOW + 9, 300.0) == Override(Mode.OFF, closing=Closing(NOW + 9, 300.0))
    back = overrides.enabled(closing, NOW + 10)
    assert back is not None
    assert back.closing is None


def test_modes_and_weights_are_kept_apart() -> None:
    drained = overrides.in_mode(overrides.weighed(None, 7), Mode.DRAINING)
    assert drained == Override(Mode.DRAINING, 7)
    assert overrides.enabled(drained, NOW) == Override(weight=7, since=NOW)
    assert overrides.weighed(drained, None) == Override(Mode.DRAINING)


def test_a_removed_backend_is_gone_and_comes_back_when_it_is_enabled_or_added_again() -> None:
    gone = overrides.removed(overrides.weighed(None, 7), known=True)
    assert members(POOL, after(gone)) == ()
    for back in (overrides.enabled(gone, NOW), overrides.added(gone, A, NOW, known=True)):
        assert [(backend.id, backend.weight) for backend in members(POOL, after(back))] == [("a", 7)]


def test_an_added_backend_is_in_the_pool_until_it_is_removed_and_then_forgotten() -> None:
    added = overrides.added(None, B, NOW, known=False)
    assert members(POOL, after(added, "b")) == (A, B)
    assert mode_of(B, after(added, "b")) is Mode.SERVING
    assert overrides.removed(added, known=False) is None


def test_a_backend_that_is_added_again_stays_in_its_mode() -> None:
    drained = overrides.in_mode(overrides.added(None, B, NOW, known=False), Mode.DRAINING)
    assert overrides.added(drained, B, NOW + 1, known=False) == drained


GONE = Override(removed=True, since=5.0)
COMES_BACK = {
    "drain, enable": (Override(Mode.DRAINING, since=5.0), "enable"),
    "off, enable": (Override(Mode.OFF, since=5.0), "enable"),
    "remove, enable": (GONE, "enable"),
    "remove, add": (GONE, "add a configured one"),
    "add": (None, "add"),
}
STAYS = {
    "enable what serves": (Override(weight=2, since=5.0), "enable"),
    "add what is there": (Override(added=B, since=5.0), "add"),
    "weight": (Override(weight=2, since=5.0), "weight"),
    "weight from nothing": (Override(weight=0, since=5.0), "weight"),
    "usual weight": (Override(weight=2, since=5.0), "usual weight"),
    "drain": (Override(since=5.0), "drain"),
}


@pytest.mark.parametrize("case", COMES_BACK)
def test_what_comes_back_into_service_keeps_the_moment(case: str) -> None:
    before, change = COMES_BACK[case]
    after = CHANGES[change](before, NOW)
    assert after is not None
    assert (after.mode, after.removed, after.since) == (Mode.SERVING, False, NOW)


@pytest.mark.parametrize("case", STAYS)
def test_what_stays_in_service_keeps_the_moment_from_before(case: str) -> None:
    before, change = STAYS[case]
    after = CHANGES[change](before, NOW)
    assert after is not None
    assert after.since == 5.0


@given(before=any_override)
def test_the_moment_alone_makes_a_backend_no_other(before: Override | None) -> None:
    assert overrides.deviates(before) == (before is not None and replace(before, since=0.0) != Override())
    assert not overrides.deviates(Override(since=5.0))


ALICE, BOB = OperatorNote("alice", 1.0, "ticket"), OperatorNote("bob", 2.0)
#: Override before, override after, the new note, and the notes on mode, weight and membership that result.
SIGNED = {
    "a mode": (None, Override(Mode.OFF), BOB, (BOB, None, None)),
    "a weight beside a mode": (Override(Mode.OFF, mode_note=ALICE), Override(Mode.OFF, 5), BOB, (ALICE, BOB, None)),
    "a removal": (Override(weight=5, weight_note=ALICE), Override(weight=5, removed=True), BOB, (None, ALICE, BOB)),
    "an addition": (None, Override(added=B), BOB, (None, None, BOB)),
    "what is as configured": (Override(Mode.OFF, mode_note=ALICE), Override(since=9.0), BOB, (None, None, None)),
    "the same again": (Override(Mode.OFF, mode_note=ALICE), Override(Mode.OFF), BOB, (ALICE, None, None)),
    "the same with a reason": (Override(Mode.OFF, mode_note=BOB), Override(Mode.OFF), ALICE, (ALICE, None, None)),
    "the same reason": (
        Override(Mode.OFF, mode_note=ALICE), Override(Mode.OFF), replace(ALICE, at=9.0), (ALICE, None, None),
    ),
    "a reason for one without a note": (Override(Mode.OFF), Override(Mode.OFF), ALICE, (ALICE, None, None)),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNED)
def test_each_difference_has_the_note_of_its_author(case: str) -> None:
    before, after, note, expected = SIGNED[case]
    signed = overrides.signed(before, after, note)
    assert signed is not None
    assert (signed.mode_note, signed.weight_note, signed.member_note) == expected
    assert overrides.unsigned(signed) == overrides.unsigned(after)


def test_no_override_has_no_note() -> None:
    assert overrides.signed(Override(Mode.OFF, mode_note=ALICE), None, BOB) is None


def test_notes_make_a_backend_no_other() -> None:
    assert not overrides.deviates(Override(mode_note=ALICE))
    assert overrides.weighed(Override(weight=5, weight_note=ALICE), None) is None


def test_the_override_of_a_backend_that_is_not_known_ends_with_its_removal() -> None:
    assert overrides.removed(Override(added=B, mode=Mode.DRAINING), known=False) is None
    assert overrides.removed(None, known=True) == Override(removed=True)
