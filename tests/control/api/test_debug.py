"""The operations that switch the tracing of requests."""

from __future__ import annotations

from typing import Any

import pytest

from lbflask.telemetry.debug import DebugSwitch
from tests.control.servers import ALICE, GRAFANA, TOKENS, Counter


def test_it_is_switched_on_for_a_time_and_off() -> None:
    counter = Counter()
    assert counter.get("/debug") == {"instance": "one", "enabled": False, "seconds_left": 0.0}
    view = counter.act("PUT", "/debug", json={"seconds": 60})
    assert (view["enabled"], counter.debug.enabled, 50 < view["seconds_left"] <= 60) == (True, True, True)
    assert counter.get("/debug")["enabled"]
    assert counter.act("DELETE", "/debug") == {"instance": "one", "enabled": False, "seconds_left": 0.0}
    assert not counter.debug.enabled


def test_it_lasts_five_minutes_unless_a_time_is_given() -> None:
    assert 290 < Counter().act("PUT", "/debug", json={})["seconds_left"] <= 300


@pytest.mark.parametrize("seconds", [0, -1, 3601, 1.5, "soon", None])
def test_a_time_out_of_bounds_changes_nothing(seconds: Any) -> None:
    counter = Counter()
    counter.act("PUT", "/debug", 422, json={"seconds": seconds})
    assert not counter.debug.enabled


def test_a_switch_without_end_has_no_seconds_left() -> None:
    view = Counter(debug=DebugSwitch(enabled=True)).get("/debug")
    assert view == {"instance": "one", "enabled": True, "seconds_left": None}


def test_an_instance_whose_workers_share_nothing_refuses() -> None:
    counter = Counter(debug=DebugSwitch())
    assert "LBFLASK_DEBUG=1" in counter.act("PUT", "/debug", 503, json={})["detail"]


def test_readers_may_look_and_operators_switch() -> None:
    counter = Counter(admin={"tokens": TOKENS})
    assert [counter.ask(method, "/debug", GRAFANA, json={}).status_code for method in ("PUT", "DELETE")] == [403, 403]
    assert counter.get("/debug", GRAFANA)["enabled"] is False
    assert counter.ask("PUT", "/debug", ALICE, json={}).status_code == 200


def test_it_is_an_event_with_the_operator_and_the_instance() -> None:
    counter = Counter(admin={"tokens": TOKENS})
    counter.act("PUT", "/debug", json={"seconds": 60}, token=ALICE)
    counter.act("DELETE", "/debug", token=ALICE)
    off, on = counter.facts.read_events(5)
    assert (on.kind, on.what, on.reason, on.actor) == ("operator", "debug", "on for 60 s at one", "alice (127.0.0.1)")
    assert off.reason == "off at one"
