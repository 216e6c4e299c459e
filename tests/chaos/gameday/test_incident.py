"""When an incident counts as named, and as ended."""

from __future__ import annotations

import os
from dataclasses import replace

from chaos.gameday.incident import Incident, Result, Sighting
from chaos.gameday.surfaces import Seen, View

KILLED = Incident(
    "backend killed", lambda _: None, {"doctor": "w1.*refused", "events": "w1"}, "backend-down", advice="start it",
    wrong="3 of 3", hand="start the backend",
)  # fmt: skip
REFUSED = Seen("bad", "backend w1", "down: connection refused", "nothing listens there: start it")
ALL_SERVE = Seen("good", "pool default", "3 of 3 backends serve", "")
EVENT = {"events": "w1 is down"}


def after(*views: tuple[View, float]) -> Sighting:
    sighting = Sighting(KILLED)
    for view, elapsed in views:
        sighting.look(view, elapsed)
    return sighting


def test_the_first_time_of_each_surface_counts() -> None:
    sighting = after((View([REFUSED], {}), 1.0), (View([REFUSED], EVENT), 2.0))
    assert sighting.seconds == {"doctor": 1.0, "events": 2.0}
    assert sighting.complete
    assert sighting.finding == REFUSED


def test_a_surface_that_does_not_name_it_is_a_fault_with_what_doctor_shows_instead() -> None:
    assert after((View([REFUSED], {}), 1.0)).faults == [
        "not named by events", "doctor shows backend w1: down: connection refused",
    ]  # fmt: skip


def test_a_finding_that_is_good_names_nothing() -> None:
    sighting = after((View([replace(REFUSED, level="good")], EVENT), 1.0))
    assert sighting.missing == ["doctor"]
    assert sighting.finding is None


def test_what_is_marked_as_good_although_it_is_broken_is_a_fault_until_it_is_gone() -> None:
    wrong, right = View([REFUSED, ALL_SERVE], EVENT), View([REFUSED], EVENT)
    assert after((wrong, 1.0)).faults == ["✓ pool default: 3 of 3 backends serve"]
    assert after((wrong, 1.0), (right, 2.0)).complete


def test_wrong_advice_is_a_fault_and_the_finding_with_the_right_one_counts() -> None:
    seen = replace(REFUSED, advice="check the network")
    assert after((View([seen], EVENT), 1.0)).faults == ["advice: check the network"]
    assert after((View([seen, REFUSED], EVENT), 1.0)).finding == REFUSED


def test_an_incident_passes_if_it_was_named_and_its_remedy_ended_it() -> None:
    sighting = after((View([REFUSED], EVENT), 1.0))
    assert Result(KILLED, sighting, 0.5).verdict == "pass"
    assert Result(KILLED, sighting, None, remains="store: away").verdict == (
        "MISS: the remedy does not end it: store: away"
    )
    assert Result(KILLED, sighting, None, error="OSError: no port").faults == ["OSError: no port"]


def test_a_row_has_what_was_executed_without_the_host_and_numbers_of_one_run() -> None:
    sighting, name = after((View([REFUSED], EVENT), 1.0)), f"{os.uname().nodename}/127.0.0.1:8080"
    primary = "redis-cli -u redis://127.0.0.1:40001/0 replicaof no one"
    executed = [f"lbflask instance undrain {name}", "kill -KILL 4711", primary, "kill -KILL 4712"]
    assert Result(KILLED, sighting, 0.5, executed).row() == [
        "backend killed", "doctor 1.0 s, events 1.0 s",
        "`lbflask instance undrain HOST/127.0.0.1:N`, `kill -KILL N`, "
        "`redis-cli -u redis://127.0.0.1:N/0 replicaof no one`",
        "start the backend", "0.5 s", "[backend-down](runbook.md#backend-down)", "pass",
    ]  # fmt: skip
