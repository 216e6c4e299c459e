"""Who may have how many slots of a backend."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbflask.config.pools import QueueConfig
from lbflask.core.slots import TOLERANCE, BackendSlots, QueuePolicy, SlotDemand, WorkerHolding, grant

NOW = 1000.0

backends = st.sampled_from(["a", "b", "c"])
holdings = st.lists(
    st.builds(
        WorkerHolding,
        at=st.just(NOW),
        waiting=st.integers(0, 3),
        since=st.floats(NOW - 1, NOW),
        held=st.dictionaries(backends, st.integers(0, 4)),
    ),
    max_size=4,
)
places = st.lists(
    st.builds(BackendSlots, backends, st.integers(0, 4), st.integers(1, 10)),
    max_size=3,
    unique_by=lambda place: place.backend,
)


def holding(held: dict[str, int], waiting: int = 0, since: float = NOW) -> WorkerHolding:
    return WorkerHolding(NOW, waiting, since, held)


@given(places, st.integers(0, 9), st.integers(0, 5), st.floats(0, 2), holdings)
def test_never_more_than_a_backend_has_nor_less_than_what_is_kept(
    places: list[BackendSlots], extra: int, waiting: int, waited: float, others: list[WorkerHolding]
) -> None:
    granted, remembered = grant(SlotDemand(places, extra, waiting, waited), others, NOW)
    for place, held in zip(places, granted.held, strict=True):
        taken = sum(other.held.get(place.backend, 0) for other in others)
        assert held >= place.keep
        assert held == place.keep or held + taken <= place.most
    assert sum(granted.held) - sum(place.keep for place in places) <= extra
    kept = {place.backend: held for place, held in zip(places, granted.held, strict=True) if held}
    assert (remembered.held if remembered else {}) == kept


def test_all_that_is_free_is_granted_as_far_as_it_is_wanted() -> None:
    demand = SlotDemand([BackendSlots("a", 1, 5), BackendSlots("b", 0, 5)], extra=4)
    granted, _ = grant(demand, [holding({"a": 2, "b": 3})], NOW)
    assert granted.held == [3, 2]
    granted, _ = grant(SlotDemand([BackendSlots("a", 1, 5)], extra=1), [holding({"a": 2})], NOW)
    assert granted.held == [2]


def test_what_is_granted_at_one_backend_is_not_granted_again_at_the_next() -> None:
    two = [BackendSlots("a", 0, 2), BackendSlots("b", 0, 2)]
    assert [grant(SlotDemand(two, extra), [], NOW)[0].held for extra in (1, 2, 3)] == [[1, 0], [2, 0], [2, 1]]


def test_what_others_hold_of_another_backend_takes_nothing_away() -> None:
    granted, _ = grant(SlotDemand([BackendSlots("a", 0, 1)], extra=1), [holding({"b": 9})], NOW)
    assert granted.held == [1]


def test_a_slot_is_left_to_whoever_waits_longer_elsewhere() -> None:
    longer = holding({}, waiting=2, since=NOW - 1)
    demand = SlotDemand([BackendSlots("a", 0, 1)], extra=1, waiting=1, waited=0.5)
    assert grant(demand, [longer], NOW)[0].held == [0]
    assert grant(SlotDemand([BackendSlots("a", 0, 2)], 1, 1, 0.5), [longer], NOW)[0].held == [1]
    assert grant(SlotDemand([BackendSlots("a", 0, 1)], 1, 1, 1.5), [longer], NOW)[0].held == [1]


def test_a_little_overtaking_is_cheaper_than_to_hand_every_slot_over() -> None:
    demand = SlotDemand([BackendSlots("a", 0, 1)], extra=1)
    for longer in (TOLERANCE / 2, TOLERANCE):
        assert grant(demand, [holding({}, waiting=1, since=NOW - longer)], NOW)[0].held == [1]


def test_what_is_remembered_is_who_still_waits_and_since_when() -> None:
    taken = [holding({"a": 1})]
    _, remembered = grant(SlotDemand([BackendSlots("a", 0, 1)], extra=2, waiting=2, waited=3.0), taken, NOW)
    assert remembered == WorkerHolding(NOW, 2, NOW - 3.0, {})
    _, remembered = grant(SlotDemand([BackendSlots("a", 0, 1)], extra=2, waiting=2, waited=3.0), [], NOW)
    assert remembered == WorkerHolding(NOW, 1, NOW, {"a": 1})
    _, remembered = grant(SlotDemand([BackendSlots("a", 0, 1)], waiting=2), taken, NOW)
    assert remembered == WorkerHolding(NOW, 2, NOW, {})


def test_who_holds_nothing_and_waits_for_nothing_is_forgotten() -> None:
    assert grant(SlotDemand([BackendSlots("a", 0, 1)]), [], NOW)[1] is None


def test_a_request_too_many_is_not_counted_among_those_that_wait() -> None:
    others = [holding({"a": 1}, waiting=3)]
    granted, remembered = grant(SlotDemand([BackendSlots("a", 0, 1)], extra=2, waiting=2, room=4), others, NOW)
    assert granted.elsewhere == 3
    assert remembered is not None
    assert remembered.waiting == 1
    _, remembered = grant(SlotDemand([BackendSlots("a", 0, 1)], extra=2, waiting=2, room=5), others, NOW)
    assert remembered is not None
    assert remembered.waiting == 2


def test_a_demand_for_nothing_calls_no_worker() -> None:
    demand = SlotDemand([])
    assert (demand.before, demand.call) == (0, False)


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert QueueConfig().to_model() == QueuePolicy()
