"""The blocks and code spans of the Markdown pages, with their places."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from devtools.environment import ROOT


def _pages() -> Iterator[Path]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in ("build", "dist")]
        yield from (Path(folder, name) for name in files if name.endswith(".md"))


#: Every page of the repository.
PAGES = sorted(_pages())
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Block(NamedTuple):
    """A block of code; `before` is the paragraph directly above it. An indented block has no language."""

    place: str
    language: str
    text: str
    before: str


def blocks_of(text: str, name: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    before = ""
    for token in _MARKDOWN.parse(text):
        if token.type in ("fence", "code_block"):
            line = token.map[0] + 1 if token.map else 0
            yield Block(f"{name}:{line}", token.info.strip(), token.content, before)
        if token.type == "inline":
            before = token.content
        elif token.type in ("fence", "code_block", "heading_open"):
            before = ""


def spans_of(text: str, name: str) -> Iterator[tuple[str, str]]:
    """The code spans of a page, with their places."""
    line = 0
    for token in _MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else line
        for child in token.children or ():
            if child.type == "code_inline":
                yield f"{name}:{line}", child.content


def blocks_on(page: Path) -> list[Block]:
    return list(blocks_of(page.read_text("utf-8"), str(page.relative_to(ROOT))))


def all_spans() -> list[tuple[str, str]]:
    return [span for page in PAGES for span in spans_of(page.read_text("utf-8"), str(page.relative_to(ROOT)))]


def page_of(place: str) -> Path:
    """The page of a place."""
    return ROOT / place.rpartition(":")[0]
