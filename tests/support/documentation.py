"""What the documentation states, for tests that compare the package with it."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    """The text of a page below docs/."""
    return (ROOT / "docs" / name).read_text("utf-8")


def defaults(section: str) -> dict[str, Any]:
    """The defaults of a section of docs/configuration.md by key; None for one that is unset."""
    _, found, rest = page("configuration.md").partition(f"\n## {section}\n")
    assert found, f"there is no section {section}"
    rows = re.findall(r"^\| `(\w+)` \|(?: `\w+` \|)? (?:`(.*?)`|unset) \|", rest.partition("\n## ")[0], re.MULTILINE)
    return {key: json.loads(default) if default else None for key, default in rows}


def public_values(kind: type[StrEnum]) -> list[str]:
    """The values of an enumeration that users read or store, as `tests/public_names.txt` lists them."""
    names = (ROOT / "tests" / "public_names.txt").read_text("utf-8")
    return re.findall(rf"^{kind.__name__} (\w+)$", names, re.MULTILINE)
