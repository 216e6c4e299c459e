"""Which bodies are buffered, how a stored one is framed, and how much all buffers of a worker may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.buffering import BufferBudget, BufferLimits, is_buffered, is_storable, stored_framing
from lbflask.core.http.framing import CHUNKED, NO_BODY, Framing
from lbflask.core.http.types import Fields

LIMITS = BufferLimits(10, 5)


@pytest.mark.parametrize(
    ("framing", "storable"),
    [(NO_BODY, True), (Framing(10), True), (Framing(15), True), (Framing(16), False), (CHUNKED, True)],
)
def test_a_body_is_stored_unless_its_length_shows_that_it_does_not_fit(framing: Framing, storable: bool) -> None:
    assert is_storable(LIMITS, framing) is storable


def test_a_stored_body_has_a_length_unless_fields_follow_it() -> None:
    assert stored_framing(7, []) == Framing(7)
    assert stored_framing(0, []) == Framing(0)
    assert stored_framing(7, [("X-Checksum", "1")]) == CHUNKED


@pytest.mark.parametrize(
    ("fields", "buffered"),
    [
        ([], True),
        ([("Content-Type", "text/html")], True),
        ([("Content-Type", "text/event-stream")], False),
        ([("content-type", "Text/Event-Stream ; charset=utf-8")], False),
        ([("Content-Type", "text/event-streams")], True),
        ([("X-Other", "text/event-stream")], True),
        ([("X-Accel-Buffering", "no")], False),
        ([("Content-Type", "text/html"), ("x-accel-buffering", " No ")], False),
        ([("X-Accel-Buffering", "yes")], True),
        ([("X-Accel-Buffering", "nothing")], True),
    ],
)
def test_streams_of_events_and_what_a_backend_asks_for_are_not_buffered(fields: Fields, buffered: bool) -> None:
    assert is_buffered(fields) is buffered


def test_a_claim_is_granted_whole_or_not_at_all() -> None:
    budget = BufferBudget(10, 20)
    assert budget.claim_memory(10)
    assert not budget.claim_memory(1)
    assert budget.claim_spool(15)
    assert not budget.claim_spool(6)
    assert (budget.memory, budget.spool) == (10, 15)
    budget.release(4, 15)
    assert budget.claim_memory(4)
    assert budget.claim_spool(20)
    assert repr(budget) == "BufferBudget(memory 10 of 10, spool 20 of 20)"


def test_what_must_be_in_memory_is_counted_beyond_the_limit() -> None:
    budget = BufferBudget(10, 0)
    budget.add_memory(12)
    assert budget.memory == 12
    assert not budget.claim_memory(0)


def test_new_limits_hold_for_claims_and_leave_what_is_held() -> None:
    budget = BufferBudget(10, 10)
    assert budget.claim_memory(10)
    assert budget.claim_spool(10)
    budget.set_limits(5, 11)
    assert (budget.memory, budget.spool) == (10, 10)
    assert not budget.claim_memory(1)
    assert budget.claim_spool(1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=40))
def test_claims_never_exceed_the_limits(claims: list[tuple[bool, int]]) -> None:
    budget = BufferBudget(50, 60)
    held = [0, 0]
    for in_file, size in claims:
        granted = budget.claim_spool(size) if in_file else budget.claim_memory(size)
        assert granted is (held[in_file] + size <= (50, 60)[in_file])
        held[in_file] += size if granted else 0
        assert [budget.memory, budget.spool] == held
