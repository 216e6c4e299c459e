"""The generated pages of docs/ say what the code says, and the pages that others link to are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lbflask.core.log_fields import FIELDS

ROOT = Path(__file__).parents[1]
PAGES: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
WRITTEN = [
    page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_what_the_code_says(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path], "run: make docs"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_page_on_logs_has_every_name_that_a_format_may_ask_for() -> None:
    page = (ROOT / "docs" / "logging.md").read_text("utf-8")
    assert [name for name, what in FIELDS.items() if f"| `{name}` | {what} |" not in page] == []


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = project.split("dependencies = [", 1)[1].split("[project.scripts]")[0]
    reasons = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    names = re.findall(r'"([A-Za-z0-9_-]+)(?:\[[a-z]+\])?[><=;"]', listed)
    assert len(names) > 10
    assert [name for name in names if name not in reasons] == []
