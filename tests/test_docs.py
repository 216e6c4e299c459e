"""Generated pages match the code, links and named files exist, and each dependency has a reason."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES

ROOT = Path(__file__).parents[1]


def test_generated_pages_are_what_the_code_says() -> None:
    pages: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    assert len(pages) > 5
    assert [path.name for path, text in pages.items() if path.read_text("utf-8") != text] == [], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text("utf-8"))
    assert [
        (file, anchor) for file, anchor in links if anchor not in anchors(page.parent / file if file else page)
    ] == []


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = project.split("dependencies = [", 1)[1].split("[project.scripts]")[0]
    reasons = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    names = re.findall(r'"([A-Za-z0-9_-]+)(?:\[[a-z]+\])?[><=;"]', listed)
    assert len(names) > 10
    assert [name for name in names if name not in reasons] == []


def missing_files(page: Path) -> list[str]:
    """Files that the page names in code spans and that do not exist.

    A path starts at the root of the repository; a name alone may be anywhere in the package or in the tests.
    """
    spans = re.findall(r"`([\w./-]+\.(?:py|md|lua|txt|toml|json))`", page.read_text("utf-8"))
    return [
        name
        for name in spans
        if not (
            (ROOT / name).exists() if "/" in name else any((ROOT / "lbflask").rglob(name)) or (ROOT / name).exists()
        )
    ]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "contributing").glob("*.md")), ids=lambda page: page.stem)
def test_files_that_a_recipe_names_exist(page: Path) -> None:
    assert missing_files(page) == []


def test_twenty_things_are_found_by_the_name_of_a_file() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text("utf-8").rpartition("\n## ")[2]
    rows = re.findall(r"^\| (.+) \| `(\S+)` \|$", table, re.MULTILINE)
    assert len(rows) >= 20
    assert [file for _, file in rows if not (ROOT / file).is_file()] == []


def test_files_of_a_request_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("| step |")[2].partition("\n\n")[0]
    files = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(files) > 15
    assert [file for file in files if not (ROOT / "lbflask" / file).exists()] == []


def test_every_page_and_recipe_is_in_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text("utf-8")
    pages = [page.relative_to(docs).as_posix() for page in (*docs.glob("*.md"), *docs.glob("how-to/*.md"))]
    assert len(pages) > 30
    assert [page for page in pages if f"({page})" not in index and page != "index.md"] == []


def test_a_named_file_that_is_missing_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`lbflask/core/retry.py`, `retry.py`, `lbflask/core/absent.py`, `absent.py` and `some.attribute`")
    assert missing_files(page) == ["lbflask/core/absent.py", "absent.py"]
