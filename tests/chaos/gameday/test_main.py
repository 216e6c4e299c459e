"""The incidents as a whole, and one of them in a real fleet."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from chaos.gameday.__main__ import BEGIN, END, INCIDENTS, PAGE, new_fleet
from chaos.gameday.run import all_of
from devtools.environment import ROOT

#: Incidents that the fleet repairs by itself within a second or two: the log has them.
BRIEF = {"worker killed"}
BY_NAME = {one.name: one for one in INCIDENTS}


def test_there_are_at_least_thirty_incidents_with_names_of_their_own() -> None:
    assert len({one.name for one in INCIDENTS}) == len(INCIDENTS) >= 30


def test_each_incident_is_named_by_doctor_or_status() -> None:
    assert {one.name for one in INCIDENTS if not {"doctor", "status"} & one.named.keys()} == BRIEF


def test_each_incident_has_a_section_of_the_runbook() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    anchors = {
        line.removeprefix("## ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")
    }
    assert {one.anchor for one in INCIDENTS} <= anchors


def test_each_expression_is_valid() -> None:
    for one in INCIDENTS:
        for expression in (*one.named.values(), one.advice, one.wrong):
            re.compile(expression)


def test_each_incident_is_ended_by_its_advice_or_says_what_is_done_by_hand() -> None:
    for one in INCIDENTS:
        assert (one.by_hand is None) == (one.hand == ""), one.name
        assert one.advice or one.hand, one.name


def test_most_remedies_are_executed_as_written() -> None:
    by_hand_alone = [one.name for one in INCIDENTS if one.by_hand is not None and "`" not in one.advice]
    assert len(by_hand_alone) <= len(INCIDENTS) // 2


def test_the_page_has_a_place_for_the_table() -> None:
    text = PAGE.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.e2e
@pytest.mark.thorough
def test_an_incident_in_a_real_fleet_passes() -> None:
    (result,) = all_of([BY_NAME["backend drained and forgotten"]], new_fleet, 120)
    assert result.faults == []
    assert result.executed == ["lbflask enable w1"]


@pytest.mark.e2e
@pytest.mark.thorough
def test_an_incident_that_no_surface_names_is_a_fault() -> None:
    incident = replace(BY_NAME["backend drained and forgotten"], named={"doctor": "no such words"}, ended_within=1.0)
    (result,) = all_of([incident], new_fleet, 120)
    assert result.faults[0] == "not named by doctor"
    assert "drained by" in result.faults[1], "what it shows instead"
