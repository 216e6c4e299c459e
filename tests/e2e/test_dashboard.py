"""The dashboard in a real Chromium: it shows the fleet, says within two seconds what has happened and why, drains from
the page for all instances, asks nobody outside, and is usable without eyes and without a mouse.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from devtools.cluster import Cluster
from devtools.servers import free_port, get
from devtools.wait import PATIENCE, eventually, in_time
from tests.support.browser import Visit, assert_accessible, chromium, visiting

pytestmark = pytest.mark.e2e

expect.set_options(timeout=PATIENCE * 1000)

ALICE, GRAFANA = "alice-has-a-secret-token", "grafana-may-only-read"
NAMES = ["web1", "web2", "web3"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    file = tmp_path_factory.mktemp("dashboard") / "lbflask.toml"
    ports = {name: free_port() for name in NAMES}
    listed = ", ".join(f'{{ url = "http://127.0.0.1:{port}", name = "{name}" }}' for name, port in ports.items())
    file.write_text(f"backends = [{listed}]")
    tokens = f"operator:alice:{ALICE},read:grafana:{GRAFANA}"
    settings = {"health__interval": 0.3, "health__fall": 2, "admin__tokens": tokens}
    with Cluster(2, 1, list(ports.values()), 2, config=file, **settings) as cluster:
        first = cluster.balancers[0]
        eventually(lambda: first.health(first.port)[1]["pools"]["default"]["serving"] == 3, "all serve")
        yield cluster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, cluster: Cluster) -> Iterator[Visit]:
    """The page before login. Whatever it complains of, or asks another host for, fails the test."""
    with visiting(browser, cluster.balancers[0].admin_port, 1280, 900) as visit:
        yield visit


def log_in(visit: Visit, token: str = ALICE) -> Page:
    page = visit.page
    page.get_by_label("Token").fill(token)
    page.get_by_label("Token").press("Enter")
    expect(page.get_by_role("row", name=re.compile("web3"))).to_be_visible()
    return page


def row(page: Page, name: str) -> object:
    return page.get_by_role("row", name=re.compile(name))


def test_nothing_is_shown_without_a_token(visit: Visit) -> None:
    page = visit.page
    page.get_by_label("Token").fill("not-the-right-token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").filter(has_text="Invalid token")).to_be_visible()
    expect(page.get_by_text("web1")).to_have_count(0)
    assert_accessible(page)


def test_a_reader_sees_all_and_changes_nothing(visit: Visit) -> None:
    page = log_in(visit, GRAFANA)
    expect(page.get_by_text("grafana (read-only)")).to_be_visible()
    expect(page.get_by_role("button", name="Drain web1")).to_be_hidden()
    cookie = visit.page.context.cookies(f"{page.url}api/v1")[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_focused()


def test_it_shows_the_whole_fleet_in_light_in_dark_and_on_a_telephone(visit: Visit, cluster: Cluster) -> None:
    page = log_in(visit)
    for _ in range(20):
        cluster.ask()
    expect(page.get_by_text("All is well")).to_be_visible()
    expect(page.get_by_text("in 2 instances")).to_be_visible()
    expect(page.locator("#total-rate")).not_to_have_text("0.0")
    for name in NAMES:
        expect(row(page, name)).to_contain_text("up")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert_accessible(page)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing sticks out"
    assert_accessible(page)


def test_a_backend_that_dies_is_seen_within_two_seconds_with_the_reason(visit: Visit, cluster: Cluster) -> None:
    web3 = list(cluster.demos)[2]
    page = log_in(visit)

    def seconds() -> float:
        cluster.demos[web3].kill()
        get(cluster.balancers[0].port)
        killed = time.monotonic()
        expect(page.get_by_text(re.compile("^(connection refused|requests failed)"))).to_be_visible()
        took = time.monotonic() - killed
        expect(row(page, "web3")).to_contain_text(re.compile("down|ejected"))
        expect(page.locator("#findings")).to_contain_text(re.compile("backend web3: (down|ejected)"))
        expect(page.get_by_role("log")).to_contain_text("web3 is")
        expect(page.get_by_text("1 backend needs attention")).to_be_visible()
        cluster.start_demo(web3)
        expect(page.get_by_text("All is well")).to_be_visible()
        return took

    in_time(seconds, lambda took: took > 2)


def test_a_backend_is_drained_and_weighed_by_keyboard_for_all_instances(visit: Visit, cluster: Cluster) -> None:
    page = log_in(visit)
    page.get_by_role("button", name="Drain web1").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Drain web1?")
    expect(dialog).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row(page, "web1")).to_contain_text("up")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Drain", exact=True).press("Enter")
    expect(page.get_by_role("status").filter(has_text="web1 is draining")).to_be_visible()
    expect(row(page, "web1")).to_contain_text("draining")
    for instance in (0, 1):
        eventually(lambda instance=instance: cluster.served_by(instance) == set(cluster.ids[1:]), "web1 gets none")
    page.get_by_role("button", name="Enable web1").click()
    page.get_by_role("dialog").get_by_role("button", name="Enable").click()
    expect(row(page, "web1")).to_contain_text("up")
    page.get_by_role("button", name="Weight web1").click()
    page.get_by_label("Weight, 0 to 256").fill("0")
    page.get_by_role("dialog").get_by_role("button", name="Set weight").click()
    expect(row(page, "web1")).to_contain_text("0 (configured 1)")
    expect(page.get_by_role("log")).to_contain_text("by alice (127.0.0.1)")


def test_the_newest_bans_are_shown_with_the_time_left_while_there_are_any(visit: Visit, cluster: Cluster) -> None:
    page = log_in(visit)
    panel = page.get_by_role("region", name="Bans")
    expect(panel).to_be_hidden()
    headers = {"Authorization": f"Bearer {ALICE}", "Content-Type": "application/json"}

    def operate(path: str, **body: object) -> None:
        response = get(cluster.balancers[1].admin_port, f"/api/v1{path}", "POST", headers, json.dumps(body))
        assert response.status == 200, response.body

    networks = [f"198.51.100.{number}" for number in range(1, 8)]
    for network in networks:
        operate("/bans", network=network, seconds=7200, reason="<img src=x onerror=alert(1)>")
    shown = panel.get_by_role("row", name="198.51.100.7")
    expect(shown).to_contain_text("alice (127.0.0.1)")
    expect(shown).to_contain_text("<img src=x onerror=alert(1)>")
    expect(shown).to_contain_text(re.compile(r"(2 h|1\d\d min)$"))
    expect(panel.locator("img")).to_have_count(0)
    expect(panel).to_contain_text("and 2 earlier bans: lbflask bans")
    expect(page.get_by_role("log")).to_contain_text("bans 198.51.100.7 for 7200 s")
    assert_accessible(page)
    for network in networks:
        operate("/bans/end", network=network)
    expect(panel).to_be_hidden()


def test_it_says_so_when_the_store_is_out_of_reach_and_when_nobody_answers(visit: Visit, cluster: Cluster) -> None:
    page = visit.page
    page.clock.install()
    page.reload()
    log_in(visit)
    cluster.store.signal(signal.SIGSTOP)
    try:
        expect(page.get_by_role("alert").filter(has_text="store: unreachable")).to_be_visible()
        expect(page.get_by_text("Degraded")).to_be_visible()
        expect(page.locator("#total-rate")).to_have_text("unknown")
        expect(page.locator("#total-workers")).to_have_text("unknown")
    finally:
        cluster.store.signal(signal.SIGCONT)
    expect(page.get_by_role("alert").filter(has_text="store: unreachable")).to_be_hidden()
    visit.expected = ("401", "net::ERR_")
    cluster.balancers[0].kill()
    page.clock.fast_forward(6000)
    expect(page.get_by_role("alert").filter(has_text="No data from the balancer")).to_be_visible()
