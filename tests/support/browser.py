"""A real Chromium, for the pages that people open."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from devtools.servers import require

#: Chromium as it runs in a container, and without its calls home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium for the length of a block. Skips the test if there is none; in CI that fails."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    require(program, "Chromium")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=FLAGS) as browser:
        yield browser


@dataclass
class Visit:
    """A page, and what it said and asked for on the side."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    expected: tuple[str, ...] = ("401",)  #: what Chromium says of a request without a session


@contextmanager
def visiting(browser: Browser, port: int, width: int, height: int) -> Iterator[Visit]:
    """Open the page at this port of loopback. Whatever it complains of, or asks another host for, fails the test."""
    origin = f"http://127.0.0.1:{port}"
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    visit = Visit(page)
    page.on("console", lambda said: visit.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("request", lambda request: visit.asked.add(re.sub(r"^(\w+://[^/]*).*", r"\1", request.url)))
    page.goto(f"{origin}/")
    yield visit
    assert visit.asked == {origin}
    assert [said for said in visit.complaints if not any(word in said for word in visit.expected)] == []
    context.close()


def assert_accessible(page: Page) -> None:
    """Fail if axe finds something serious or critical in the page as it is."""
    found = Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in grave] == []
