from __future__ import annotations

import pytest

from lbflask.core.fleet_events import FleetEvent, Kind


@pytest.mark.parametrize(("id_", "at"), [("1700000000123-4", 1700000000.123), ("1500-0", 1.5), ("", 0.0)])
def test_the_id_of_the_store_holds_the_time_of_an_event(id_: str, at: float) -> None:
    assert FleetEvent(Kind.HEALTH, "up", id=id_).at == at
