from __future__ import annotations

from dataclasses import astuple

import pytest

from lbflask.core.fleet_events import ALL_EVENTS, EventSelection, FleetEvent, Kind
from tests.support.documentation import public_values


def test_events_have_the_names_that_users_read() -> None:
    assert sorted(Kind) == public_values(Kind)


def test_an_event_concerns_only_what_it_names() -> None:
    assert list(filter(None, astuple(FleetEvent(Kind.HEALTH, "up")))) == [Kind.HEALTH, "up"]


@pytest.mark.parametrize(("id_", "at"), [("1700000000123-4", 1700000000.123), ("1500-0", 1.5), ("", 0.0)])
def test_the_id_of_the_store_holds_the_time_of_an_event(id_: str, at: float) -> None:
    assert FleetEvent(Kind.HEALTH, "up", id=id_).at == at


EVENT = FleetEvent(Kind.OPERATOR, "drain", "default", "web1", "", "alice (::1)", "5000-0")


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (ALL_EVENTS, True),
        (EventSelection(Kind.OPERATOR, "alice", "web1", 5.0), True),
        (EventSelection(kind=Kind.HEALTH), False),
        (EventSelection(actor="bob"), False),
        (EventSelection(backend="web"), False),
        (EventSelection(since=5.001), False),
    ],
)
def test_an_event_is_selected_by_all_that_is_given(selection: EventSelection, selected: bool) -> None:
    assert selection.matches(EVENT) == selected
