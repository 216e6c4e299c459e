"""Takes the pictures of the dashboard in docs/images/, in Chromium: a fleet at work, and incidents of a real fleet.

`python docs/screenshots.py [NAME …]` takes all, or those named; `python docs/screenshots.py --list` prints the names.
Nothing compares them, so they are taken anew when the page has changed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from chaos.gameday.fleet import GameFleet, game_fleet, light_load  # noqa: E402
from tests.support.browser import chromium, visiting  # noqa: E402
from tests.support.incidents import INCIDENTS, PicturedIncident  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DESK, TELEPHONE = (1280, 800), (390, 844)
#: Seconds: of figures before a picture, and until the page shows what a picture is about.
HISTORY, SHOWN_WITHIN = 20.0, 60.0
#: Incidents that are pictured in dark.
DARK = {"hanging", "store"}


@contextmanager
def _page(browser: Browser, fleet: GameFleet) -> Iterator[Page]:
    """The dashboard of a fleet under light load, which has no finding."""
    with ExitStack() as fleet.incident, light_load(fleet), visiting(browser, fleet.balancer.admin_port, *DESK) as visit:
        visit.expected = ("net::ERR_",)  # of streams, whose worker ends
        expect(visit.page.get_by_text("All is well")).to_be_visible(timeout=SHOWN_WITHIN * 1000)
        yield visit.page


def _take(page: Page, name: str, *, whole: bool = False) -> None:
    page.screenshot(path=IMAGES / f"{name}.png", full_page=whole, animations="disabled")


def _at_work(page: Page, fleet: GameFleet) -> None:
    """Without incident in light; with one backend down and one drained in dark, and on a telephone."""
    time.sleep(HISTORY)
    _take(page, "dashboard-light", whole=True)
    fleet.members["w3"].process.kill()
    fleet.act("w2", "drain", body={"reason": "ticket 123"})
    expect(page.locator("#findings")).to_contain_text("backend w3: down", timeout=SHOWN_WITHIN * 1000)
    page.emulate_media(color_scheme="dark")
    _take(page, "dashboard-dark")
    page.set_viewport_size({"width": TELEPHONE[0], "height": TELEPHONE[1]})
    _take(page, "dashboard-telephone")


def _incident(incident: PicturedIncident) -> Callable[[Page, GameFleet], None]:
    def take(page: Page, fleet: GameFleet) -> None:
        page.emulate_media(color_scheme="dark" if incident.name in DARK else "light")
        time.sleep(HISTORY)
        incident.inject(fleet)
        expect(page.locator("#findings-title")).to_have_text(incident.headline, timeout=SHOWN_WITHIN * 1000)
        time.sleep(incident.settles)
        expect(page.locator("#findings-title")).to_have_text(incident.headline, timeout=SHOWN_WITHIN * 1000)
        _take(page, f"incident-{incident.name}")

    return take


#: What takes them, by name.
PICTURES: dict[str, Callable[[Page, GameFleet], None]] = {
    "dashboard": _at_work,
    **{f"incident-{one.name}": _incident(one) for one in INCIDENTS if one.pictured},
}


def main(names: list[str]) -> None:
    """Take them, each with a fleet of its own. Raises KeyError for an unknown name."""
    if names == ["--list"]:
        sys.stdout.write("".join(f"{name}\n" for name in PICTURES))
        return
    chosen = {name: PICTURES[name] for name in names or PICTURES}
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser:
        for name, take in chosen.items():
            with game_fleet() as fleet, _page(browser, fleet) as page:
                take(page, fleet)
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
