"""Operators' actions: each done twice is the same as done once, and nothing is kept of what says nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core import steering
from lbflask.core.membership import members, mode_of
from lbflask.core.model import Backend, Mode, Override, Pool, Snapshot

A, B = Backend("a", "a", 1, "http://a:1", 3), Backend("b", "b", 1, "http://b:1", 2)
POOL = Pool("web", (A,))

overrides = st.none() | st.builds(
    Override, st.sampled_from(Mode), st.none() | st.integers(0, 9), st.sampled_from([None, A]), st.booleans()
)
Change = Callable[[Override | None], Override | None]
CHANGES: dict[str, Change] = {
    "drain": lambda before: steering.in_mode(before, Mode.DRAINING),
    "off": lambda before: steering.in_mode(before, Mode.OFF),
    "enable": steering.enabled,
    "weight": lambda before: steering.weighed(before, 7),
    "usual weight": lambda before: steering.weighed(before, None),
    "remove": lambda before: steering.removed(before, known=True),
    "remove an added one": lambda before: steering.removed(before, known=False),
    "add": lambda before: steering.added(before, B, known=False),
    "add a configured one": lambda before: steering.added(before, A, known=True),
}


def after(override: Override | None, id_: str = "a") -> Snapshot:
    return Snapshot(overrides={} if override is None else {id_: override})


@pytest.mark.parametrize("name", CHANGES)
@given(before=overrides)
def test_an_action_done_twice_is_done_once(name: str, before: Override | None) -> None:
    once = CHANGES[name](before)
    assert CHANGES[name](once) == once


@pytest.mark.parametrize("name", CHANGES)
@given(before=overrides)
def test_what_says_nothing_is_not_kept(name: str, before: Override | None) -> None:
    assert CHANGES[name](before) != Override()


def test_modes_and_weights_are_kept_apart() -> None:
    drained = steering.in_mode(steering.weighed(None, 7), Mode.DRAINING)
    assert drained == Override(Mode.DRAINING, 7)
    assert steering.enabled(drained) == Override(weight=7)
    assert steering.weighed(drained, None) == Override(Mode.DRAINING)


def test_a_removed_backend_is_gone_and_comes_back_when_it_is_enabled_or_added_again() -> None:
    gone = steering.removed(steering.weighed(None, 7), known=True)
    assert members(POOL, after(gone)) == ()
    for back in (steering.enabled(gone), steering.added(gone, A, known=True)):
        assert [(backend.id, backend.weight) for backend in members(POOL, after(back))] == [("a", 7)]


def test_an_added_backend_is_in_the_pool_until_it_is_removed_and_then_forgotten() -> None:
    added = steering.added(None, B, known=False)
    assert members(POOL, after(added, "b")) == (A, B)
    assert mode_of(B, after(added, "b")) is Mode.SERVING
    assert steering.removed(added, known=False) is None


def test_a_backend_that_is_added_again_stays_in_its_mode() -> None:
    drained = steering.in_mode(steering.added(None, B, known=False), Mode.DRAINING)
    assert steering.added(drained, B, known=False) == drained
