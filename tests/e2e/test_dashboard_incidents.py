"""The dashboard in incidents of a real fleet: the first thing that one reads, sees or hears is the incident with its
figure and its remedy, on a desk and on a telephone, in light and in dark; and the remedy as the page states it ends it.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from chaos.gameday.fleet import GameFleet, game_fleet, light_load
from devtools.wait import PATIENCE
from tests.support.browser import Visit, assert_accessible, chromium, visiting
from tests.support.incidents import INCIDENTS, PicturedIncident

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

DESK, TELEPHONE = (1280, 800), (390, 844)
#: Milliseconds until the page is as before an incident: its figures are of the last ten seconds.
CLEAN_WITHIN = 2 * PATIENCE * 1000

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="module")
def fleet() -> Iterator[GameFleet]:
    with game_fleet() as fleet:
        yield fleet


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, fleet: GameFleet) -> Iterator[Visit]:
    """The page of a fleet at rest, under light load."""
    with (
        ExitStack() as fleet.incident,
        light_load(fleet),
        visiting(browser, fleet.balancer.admin_port, *DESK) as visit,
    ):
        expect_rest(visit.page)
        yield visit


def expect_rest(page: Page) -> None:
    expect(page.get_by_text("All is well")).to_be_visible(timeout=CLEAN_WITHIN)
    expect(page.locator("#findings")).to_be_hidden()


def first_heading(page: Page) -> str:
    return page.locator("main").get_by_role("heading").first.inner_text()


def assert_above_the_fold(page: Page, height: int) -> None:
    """The headline and its remedy are seen without scrolling."""
    for part in ("#findings-kind", "#findings-title", "#findings-remedy"):
        box = page.locator(part).bounding_box()
        assert box is not None, part
        assert 0 <= box["y"] < box["y"] + box["height"] <= height, (part, box)


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_the_first_thing_one_reads_is_the_incident(visit: Visit, fleet: GameFleet, incident: PicturedIncident) -> None:
    page = visit.page
    visit.expected = ("401", "net::ERR_")  # of streams, whose worker ends
    incident.inject(fleet)
    expect(page.locator("#findings-title")).to_have_text(incident.headline)
    expect(page.locator("#findings-remedy")).to_have_text(incident.advice)
    assert incident.headline.search(first_heading(page))
    spoken = page.get_by_role("alert").or_(page.get_by_role("status"))
    expect(spoken.filter(has_text=re.compile(incident.headline.pattern.removeprefix("^")))).to_have_count(1)
    for width, height in (DESK, TELEPHONE):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert_above_the_fold(page, height)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
            assert_accessible(page)
    incident.remedy(fleet, page.locator("#findings-remedy").inner_text())
    expect_rest(page)


def test_a_page_whose_worker_freezes_goes_on_at_another_worker(visit: Visit, fleet: GameFleet) -> None:
    """After the first of two workers has frozen, the page is at the second one; then that one freezes."""
    page = visit.page
    for pid in fleet.balancer.workers():
        os.kill(pid, signal.SIGSTOP)
        expect(page.locator("#findings-title")).to_contain_text(f"worker {pid} has been silent")
        expect(page.locator("#banner")).to_be_hidden()
        os.kill(pid, signal.SIGKILL)
        expect_rest(page)
