"""Writes the table of licences in docs/dependencies.md: `make licences`.

The licence is what the metadata of the installed package declares. A package that is not installed here, because it
is for another platform or needs a compiler, keeps the licence that the table has.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata

from devtools.environment import ROOT
from devtools.locks import pins

PAGE = ROOT / "docs" / "dependencies.md"
#: What is installed to run lbflask, with all extras that add something to it.
RUNTIME = ("base", "acme", "auth", "compression", "embedded", "fast", "import", "otel", "re2")
BEGIN, END = "<!-- licences -->\n", "<!-- /licences -->\n"
UNTOLD = "unknown"


def names() -> set[str]:
    """The packages that the table has to list."""
    return {requirement.name for lock in RUNTIME for requirement in pins(lock)}


def listed(page: str) -> dict[str, str]:
    """The licence of each package in the table."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    return dict(re.findall(r"^\| (\w[\w-]*) \| (.+) \|$", table, re.MULTILINE)[1:])


def declared(name: str) -> str | None:
    """The licence in the metadata: an SPDX expression where there is one. None if the package is not installed."""
    try:
        fields = metadata(name)
    except PackageNotFoundError:
        return None
    classifiers = [
        one.rpartition(" :: ")[2] for one in fields.get_all("Classifier", []) if one.startswith("License ::")
    ]
    free = fields.get("License", "")
    return fields.get("License-Expression") or (free if free and "\n" not in free else "; ".join(classifiers)) or UNTOLD


def with_table(page: str) -> str:
    """The page with its table written anew."""
    before = listed(page)
    rows = [f"| {name} | {declared(name) or before.get(name, UNTOLD)} |" for name in sorted(names())]
    head, rest = page.split(BEGIN)
    table = "\n".join(["| package | licence |", "| --- | --- |", *rows])
    return f"{head}{BEGIN}{table}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
