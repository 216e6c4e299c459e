"""An application for one synchronous worker: a small page, a large one, and a page that reads what it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGE = 8 << 20
_PIECE = b"0123456789abcdef" * 4096


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """As of PEP 3333. The last field is the framing of the body."""
    path = environ["PATH_INFO"]
    if path == "/large":
        start_response("200 OK", [("Content-Length", str(LARGE))])
        return [_PIECE] * (LARGE // len(_PIECE))
    body = environ["wsgi.input"].read()
    content = b"%d" % len(body) if environ["REQUEST_METHOD"] == "POST" else b"small"
    framing = environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING", "none")
    start_response("200 OK", [("Content-Length", str(len(content))), ("X-Framing", framing)])
    return [content]
