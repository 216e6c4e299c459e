"""The documentation site: built without a warning from all pages, complete in itself, with a search that finds."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devtools.environment import HOST, ROOT
from devtools.ports import free_port
from devtools.servers import require
from devtools.wait import PATIENCE
from tests.docs.blocks import PAGES
from tests.support.browser import chromium

#: Building the site takes long.
pytestmark = pytest.mark.thorough

#: Attributes whose target a browser loads by itself; of `link` only where `rel` is one of these.
LOADED = frozenset({"src", "srcset", "poster", "data", "background", "action", "formaction"})
LINKS = frozenset(
    {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
)
ELSEWHERE = re.compile(r"\s*(?:https?:)?//")


class Loads(HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        names = LOADED | ({"href"} if LINKS.intersection(values.get("rel", "").split()) else frozenset())
        parts = [part for name in names & values.keys() for part in values[name].split(",")]
        parts += re.findall(r"url=(.*)", values.get("content", "")) if "http-equiv" in values else []
        self.found += [part for part in parts if ELSEWHERE.match(part)]
        self.found += loaded_by_style(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.found += loaded_by_style(data) if self.cdata_elem == "style" else loaded_by_script(data)


def loaded_by_style(text: str) -> list[str]:
    targets = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text)
    return [one for pair in targets for one in pair if ELSEWHERE.match(one)]


def loaded_by_script(text: str) -> list[str]:
    """Addresses that a script gives to what loads them. An address that it shows as a link is none of these."""
    calls = r"(?:import|fetch|importScripts|Worker|WebSocket|EventSource|sendBeacon|\.src\s*=)\s*\(?\s*[\"'`]([^\"'`]+)"
    return [one for one in re.findall(calls, text) if ELSEWHERE.match(one) or one.startswith("ws")]


def loaded_elsewhere(file: Path) -> list[str]:
    text = file.read_text("utf-8")
    if file.suffix == ".css":
        return loaded_by_style(text)
    if file.suffix == ".js":
        return loaded_by_script(text)
    page = Loads()
    page.feed(text)
    return page.found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command of `make docs` at another place."""
    require(importlib.util.find_spec("sphinx"), "Sphinx")
    folder = tmp_path_factory.mktemp("site")
    (recipe,) = re.findall(r"^\t\$\(BIN\)/python (-m sphinx .*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    options = recipe.replace("build/doctrees", str(folder / "doctrees")).replace("build/site", str(folder / "site"))
    command = [sys.executable, *options.split()]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "site"


def loading_files(site: Path) -> Iterator[Path]:
    return (file for file in site.rglob("*") if file.suffix in (".html", ".css", ".js"))


def test_every_page_is_in_the_site(site: Path) -> None:
    served = ("docs", "deploy")
    pages = [
        page for page in (one.relative_to(ROOT) for one in PAGES) if page.parent == Path() or page.parts[0] in served
    ]
    assert len(pages) > 60
    assert [str(page) for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = list(loading_files(site))
    assert len(files) > 60
    assert {str(file.relative_to(site)): found for file in files if (found := loaded_elsewhere(file))} == {}


def test_all_that_a_page_loads_is_in_the_site(site: Path) -> None:
    missing = []
    for file in site.rglob("*.html"):
        for target in re.findall(
            r"<(?:script|img)[^>]* src=\"([^\"?#]+)|<link[^>]* href=\"([^\"?#]+)", file.read_text("utf-8")
        ):
            path = "".join(target)
            if not path.startswith("data:") and not (file.parent / path).exists():
                missing.append(f"{file.relative_to(site)}: {path}")
    assert missing == []


def test_the_address_of_the_site_leads_to_its_front_page(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", (site / "index.html").read_text("utf-8"))
    assert "lbflask documentation" in (site / target).read_text("utf-8")


def test_the_navigation_has_the_kinds_of_documentation_in_order(site: Path) -> None:
    page = (site / "docs" / "index.html").read_text("utf-8")
    captions = re.findall(r'class="caption-text">([^<]+)<', page)
    assert captions == ["Start", "How-to", "Reference", "Explanation", "Contributing", "Decisions"]


def test_diagrams_are_readable_without_a_script(site: Path) -> None:
    page = (site / "docs" / "architecture.html").read_text("utf-8")
    assert "sequenceDiagram" in page
    assert "highlight-mermaid" in page


def pages_with(word: str, site: Path) -> set[str]:
    """The pages that the search index has for a stem."""
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    numbers = [index[part].get(word, []) for part in ("terms", "titleterms")]
    return {
        index["docnames"][number] for found in numbers for number in (found if isinstance(found, list) else [found])
    }


@pytest.mark.parametrize(
    ("stem", "page"),
    [
        ("ticket", "docs/glossary"),
        ("dashboard", "docs/operating"),
        ("tutori", "docs/tutorial"),
        ("kustom", "deploy/README"),
        ("epoch", "docs/health-checks"),
    ],
)
def test_the_search_index_names_the_page_of_a_word(site: Path, stem: str, page: str) -> None:
    assert page in pages_with(stem, site)


def test_a_word_that_no_page_has_is_not_found(site: Path) -> None:
    assert pages_with("xylophon", site) == set()


class SilentFiles(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the library
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server with the files of the folder."""
    with ThreadingHTTPServer((HOST, free_port()), partial(SilentFiles, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_the_search_of_a_browser_finds_a_page_and_sends_no_request_elsewhere(site: Path) -> None:
    requested: list[str] = []
    with served(site) as address, chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        page.wait_for_url("**/docs/index.html", timeout=PATIENCE * 1000)
        page.goto(f"{address}search.html?q=outlier+detection")
        found = page.locator("#search-results li a", has_text="Glossary").first
        found.click(timeout=PATIENCE * 1000)
        page.wait_for_url("**/docs/glossary.html**", timeout=PATIENCE * 1000)
    assert len(requested) > 10
    assert [url for url in requested if not url.startswith((address, "data:"))] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//cdn.example/x.css">'),
        ("a.html", '<img srcset="a.png 1x, https://cdn.example/a.png 2x">'),
        ("a.html", '<meta http-equiv="refresh" content="0; url=https://cdn.example/">'),
        ("a.html", "<style>@import 'https://cdn.example/x.css'</style>"),
        ("a.html", "<p style=\"background: url('https://cdn.example/x.png')\">"),
        ("a.html", '<script type="module">import("https://cdn.example/x.mjs")</script>'),
        ("a.css", "@font-face { src: url(https://cdn.example/x.woff2) }"),
        ("a.js", "fetch('https://cdn.example/x')"),
    ],
)
def test_a_page_that_loads_from_another_host_is_noticed(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert len(loaded_elsewhere(tmp_path / name)) == 1


def test_a_link_to_another_host_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.org/">there</a> <link rel="author" href="https://b/">')
    assert loaded_elsewhere(tmp_path / "a.html") == []
