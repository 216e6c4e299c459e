"""gunicorn's parsers of request heads that are installed here, by gunicorn's names (`http_parser`)."""

from __future__ import annotations

try:
    import gunicorn_h1c  # noqa: F401 - optional: `lbflask[fast]`
except ImportError:
    PARSERS: tuple[str, ...] = ("python",)
else:
    PARSERS = ("fast", "python")
