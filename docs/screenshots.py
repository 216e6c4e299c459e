"""Takes the pictures of the dashboard in docs/images/: two instances, three backends and a busy minute, in Chromium.

`python docs/screenshots.py`; nothing compares them, so they are taken anew when the page has changed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from devtools.servers import Gunicorn, free_port, get, start_checker, start_demo, valkey  # noqa: E402
from tests.e2e.test_dashboard import FLAGS  # noqa: E402

IMAGES = ROOT / "docs" / "images"
NAMES = ("web1", "web2", "web3", "web4")


def _configuration(ports: dict[str, int]) -> str:
    """Four backends of two pools."""
    table = '{{ url = "http://127.0.0.1:{port}", name = "{name}", weight = {weight} }}'
    listed = [table.format(port=ports[name], name=name, weight=2 if name == "web1" else 1) for name in NAMES]
    return f'backends = [{", ".join(listed[:3])}]\n[pools.api]\nbackends = [{listed[3]}]\nstrategy = "random_two"\n'


def _load(balancers: list[Gunicorn], stop: threading.Event) -> None:
    """A few requests at once, some of which take a while."""

    def ask(port: int, path: str, pause: float) -> None:
        while not stop.wait(pause):
            with suppress(OSError, HTTPException):  # downloads from the backend that is killed
                get(port, path)

    for balancer in balancers:
        for path, pause in (("/", 0.005), ("/", 0.01), ("/slow?s=1", 0.1), ("/slow?s=2", 0.1)):
            threading.Thread(target=ask, args=(balancer.port, path, pause), daemon=True).start()


def _take(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True)


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    ports = {name: free_port() for name in NAMES}
    with ExitStack() as running:
        url = running.enter_context(valkey())
        backends = {name: running.enter_context(start_demo(port)) for name, port in ports.items()}
        file = Path(running.enter_context(tempfile.TemporaryDirectory())) / "lbflask.toml"
        file.write_text(_configuration(ports))
        settings = {"redis_url": url, "health__interval": 0.5, "config": file}
        running.enter_context(start_checker(**settings))
        balancers = [running.enter_context(Gunicorn(workers=2, **settings)) for _ in range(2)]
        stop = threading.Event()
        running.callback(stop.set)
        _load(balancers, stop)
        playwright = running.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"http://127.0.0.1:{balancers[0].admin_port}/")
        time.sleep(25)
        _take(page, "dashboard-light")
        backends["web3"].kill()
        drain = "/api/v1/pools/default/backends/web2/drain"
        print(json.loads(get(balancers[1].admin_port, drain, "POST").body)["changed"])  # noqa: T201 - a script
        expect(page.get_by_role("log")).to_contain_text("web3 is down")
        time.sleep(2)
        page.emulate_media(color_scheme="dark")
        _take(page, "dashboard-dark")
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=IMAGES / "dashboard-telephone.png")
        browser.close()


if __name__ == "__main__":
    main()
