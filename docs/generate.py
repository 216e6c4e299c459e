"""Writes the pages of docs/ that are generated from the code. Tests compare them, so they can't go stale."""

from __future__ import annotations

from pathlib import Path

from devtools import settings_page
from lbflask.control.api import endpoints
from lbflask.store import keys
from lbflask.telemetry.metrics import definitions

HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Each page and what should be in it."""
    return {
        HERE / "configuration.md": settings_page.as_markdown(),
        HERE / "redis-keys.md": keys.as_markdown(),
        HERE / "metrics.md": definitions.as_markdown(),
        HERE / "openapi.json": endpoints.openapi_text(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
